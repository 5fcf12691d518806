// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_PRELOAD_PATHS_H_
#define PASSTHRU_TESTING_PRELOAD_PATHS_H_

#include <stddef.h>

#include "testing/preload/protocol.h"

struct stat;

namespace passthru::preload {

// The simulated part of the file system is a tree of real files in the
// launcher's folder. A path into it is translated once, at its beginning. What
// comes after (links, "..", the folder as the working directory) the real
// kernel resolves in the tree.

// A path as the real kernel shall see it.
class Path {
 public:
  Path(int directory, const char* path);
  Path(const Path&) = delete;
  Path& operator=(const Path&) = delete;

  const char* get() const { return path_; }
  // Returns whether the path leads into the tree.
  bool translated() const { return path_ == buffer_; }

 private:
  // Writes the folder and a path that begins with a slash. Returns whether the
  // path belongs to the tree and has room.
  bool Translate(const char* path);
  // Tells the launcher of a path of /sys, if it wants to know.
  void Tell() const;

  const char* path_;
  char buffer_[kLongestPath];
};

// Removes the launcher's folder from the beginning of a path that the kernel
// has written, which is `length` long. Returns the new length.
size_t ShowPath(char* path, size_t length);

// Returns whether the file of the tree stands for one that only the launcher
// can open.
bool IsLive(const struct stat& status);
// Makes what stat(2) says of a file of the tree what it would say of the file
// for which it stands.
void ShowStatus(struct stat& status);

}  // namespace passthru::preload

#endif  // PASSTHRU_TESTING_PRELOAD_PATHS_H_
