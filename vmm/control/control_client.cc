// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/control/control_client.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <string>
#include <string_view>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/vmm/control/socket_address.h"

namespace passthru::vmm {
namespace {

absl::Status NoAnswer(const std::string& path) {
  return absl::UnavailableError(
      absl::StrCat("the VM at ", path,
                   " ended, or closed the connection, before it "
                   "answered"));
}

// Reads until `text` has `size` bytes, or a line if that is 0. Returns false at
// the end of the stream.
bool ReadUpTo(int socket, size_t size, std::string& text) {
  while (size == 0 ? !absl::EndsWith(text, "\n") : text.size() < size) {
    char buffer[4096];
    const size_t wanted =
        size == 0 ? 1 : std::min(sizeof(buffer), size - text.size());
    const ssize_t got = recv(socket, buffer, wanted, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    text.append(buffer, static_cast<size_t>(got));
  }
  return true;
}

}  // namespace

absl::StatusOr<std::string> SendCommand(const std::string& path,
                                        std::string_view command) {
  if (command.find('\n') != std::string_view::npos) {
    return absl::InvalidArgumentError("a command is one line");
  }
  PASSTHRU_ASSIGN_OR_RETURN(const SocketAddress address,
                            SocketAddress::Of(path));
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return kernel::ErrnoError(errno, "socket(AF_UNIX)");
  const absl::Cleanup close_socket = [fd] { close(fd); };
  if (connect(fd, address.get(), address.size()) != 0) {
    return absl::UnavailableError(
        absl::StrCat("no VM listens at ", path, ": ",
                     kernel::ErrnoError(errno, "connect").message(),
                     ". Start passthrough_vm with --control=", path, "."));
  }
  const std::string line = absl::StrCat(command, "\n");
  // An answer may be there although the VMM does not take the command, as if
  // there are too many connections.
  (void)send(fd, line.data(), line.size(), MSG_NOSIGNAL);
  std::string head;
  if (!ReadUpTo(fd, 0, head)) return NoAnswer(path);
  std::string_view rest = absl::StripSuffix(head, "\n");
  const bool ok = absl::ConsumePrefix(&rest, "ok ");
  size_t size = 0;
  if ((!ok && !absl::ConsumePrefix(&rest, "error ")) ||
      !absl::SimpleAtoi(rest, &size)) {
    return absl::InternalError(absl::StrCat(
        "what listens at ", path, " is no VM, because it answers '",
        absl::StripSuffix(head, "\n"), "'"));
  }
  std::string text;
  if (size != 0 && !ReadUpTo(fd, size, text)) return NoAnswer(path);
  if (ok) return text;
  return absl::FailedPreconditionError(absl::StripSuffix(text, "\n"));
}

}  // namespace passthru::vmm
