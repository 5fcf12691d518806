// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/control/socket_address.h"

#include <cstring>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

namespace passthru::vmm {

absl::StatusOr<SocketAddress> SocketAddress::Of(std::string path) {
  SocketAddress address(std::move(path));
  sockaddr_un& unix_address = address.address_;
  unix_address.sun_family = AF_UNIX;
  if (address.path_.empty() ||
      address.path_.size() >= sizeof(unix_address.sun_path)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "'", address.path_, "' is no path of a socket, which has from 1 to ",
        sizeof(unix_address.sun_path) - 1, " bytes"));
  }
  std::memcpy(unix_address.sun_path, address.path_.c_str(),
              address.path_.size());
  return address;
}

}  // namespace passthru::vmm
