// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_PRELOAD_FILES_H_
#define PASSTHRU_TESTING_PRELOAD_FILES_H_

#include "testing/preload/protocol.h"

namespace passthru::preload {

// Does what openat(2) does, and what the launcher does if the path leads there.
// Returns the descriptor, or minus an errno.
long OpenAt(int directory, const char* name, int flags, unsigned mode);

// Writes the path of a descriptor in /proc, which needs 32 bytes.
void DescriptorPath(int fd, char* path);

// Ends a wait of another thread in a child of fork(2).
void ForgetStreamsLock();

// The close of a descriptor, which may have been the last one of a file of the
// launcher or of an eventfd that it watches. Constructed before the close.
class Closing {
 public:
  explicit Closing(int fd);
  // Waits until the launcher has done what the close means.
  void Done();

 private:
  Request request_;
  bool told_;
};

}  // namespace passthru::preload

#endif  // PASSTHRU_TESTING_PRELOAD_FILES_H_
