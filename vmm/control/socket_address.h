// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_CONTROL_SOCKET_ADDRESS_H_
#define PASSTHRU_VMM_CONTROL_SOCKET_ADDRESS_H_

#include <sys/socket.h>
#include <sys/un.h>

#include <string>
#include <utility>

#include "absl/status/statusor.h"

namespace passthru::vmm {

// The address of a Unix socket in the file system (unix(7)). A plain value.
class SocketAddress {
 public:
  // Returns kInvalidArgument, with a sentence for the user, for a path that the
  // kernel has no room for.
  static absl::StatusOr<SocketAddress> Of(std::string path);

  const std::string& path() const { return path_; }
  const sockaddr* get() const {
    return reinterpret_cast<const sockaddr*>(&address_);
  }
  socklen_t size() const { return sizeof(address_); }

 private:
  explicit SocketAddress(std::string path) : path_(std::move(path)) {}

  std::string path_;
  sockaddr_un address_ = {};
};

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_CONTROL_SOCKET_ADDRESS_H_
