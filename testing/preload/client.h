// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_PRELOAD_CLIENT_H_
#define PASSTHRU_TESTING_PRELOAD_CLIENT_H_

#include <stddef.h>
#include <stdint.h>

#include "testing/preload/protocol.h"

namespace passthru::preload {

// The connection to the launcher. All functions may be called from any thread,
// from signal handlers, and between vfork(2) and execve(2).

// Reads kFolderVariable. Does nothing more after the first time.
void Start();

// Returns the launcher's folder without a slash at its end, or null if the
// program was not started by it.
const char* Folder();
size_t FolderLength();
bool KvmIsSimulated();
// Returns the st_dev of the launcher's folder.
uint64_t FolderDevice();

// Sends a request, with a path or null, and waits for the reply. Returns its
// result, or minus its errno. A descriptor that came with it is in `fd`, if
// that is not null, and else closed. `reply` may be null.
long Call(const Request& request, Reply* reply = nullptr,
          const char* path = nullptr, int* fd = nullptr);

// Returns whether the launcher has asked for what the flag of Reply says.
bool Watches(uint32_t flag);

// Returns whether the descriptor is one of the launcher's files. If so, and
// `request` is not null, fills in the descriptor and the identity.
bool IsOurs(int fd, Request* request = nullptr);

// Returns whether this is a descriptor of the connection, which the program
// does not know.
bool IsConnection(int fd);
// Closes idle connections whose descriptor is in the range.
void DropConnections(unsigned first, unsigned last);
// Forgets the connections in a child of fork(2).
void ForgetConnections();

// Writes a sentence to the standard error.
void Say(const char* text, const char* more = "");

}  // namespace passthru::preload

#endif  // PASSTHRU_TESTING_PRELOAD_CLIENT_H_
