// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/control/control_client.h"

#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <string>
#include <string_view>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
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

absl::Status NoVm(const std::string& path, std::string_view said) {
  return absl::InternalError(absl::StrCat("what listens at ", path,
                                          " is no VM, because it answers '",
                                          absl::CHexEscape(said), "'"));
}

// Returns how many seconds a VM may take for a command. Only an unplug takes
// more than a few, 60 or as many as the command ends with.
time_t AnswerTime(std::string_view command) {
  uint32_t seconds = 0;
  const std::string_view last = command.substr(command.rfind(' ') + 1);
  return time_t{120} + (absl::SimpleAtoi(last, &seconds) ? seconds : 0);
}

// "error " and the digits of a size are fewer, and no state is as large.
constexpr size_t kMostOfLine = 64;
constexpr size_t kMostOfAnswer = size_t{1} << 30;

// Reads until `text` has `size` bytes, or a line if that is 0.
absl::Status ReadUpTo(int socket, const std::string& path, size_t size,
                      std::string& text) {
  while (size == 0 ? !absl::EndsWith(text, "\n") : text.size() < size) {
    if (size == 0 && text.size() >= kMostOfLine) return NoVm(path, text);
    char buffer[4096];
    const size_t wanted =
        size == 0 ? 1 : std::min(sizeof(buffer), size - text.size());
    const ssize_t got = recv(socket, buffer, wanted, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) {
      return absl::UnavailableError(absl::StrCat(
          "what listens at ", path,
          " did not answer in time: the VM hangs, or it is another program"));
    }
    if (got <= 0) return NoAnswer(path);
    text.append(buffer, static_cast<size_t>(got));
  }
  return absl::OkStatus();
}

// Returns why nothing can be sent to the socket.
absl::Status CannotConnect(int error, const std::string& path) {
  const std::string why(kernel::ErrnoError(error, "connect").message());
  if (error == EACCES) {
    return absl::UnavailableError(
        absl::StrCat("you may not connect to ", path,
                     ", which another user's VM made: ", why));
  }
  return absl::UnavailableError(
      absl::StrCat("no VM listens at ", path, ": ", why,
                   ". Start passthrough_vm with --control=", path, "."));
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
    return CannotConnect(errno, path);
  }
  const timeval time = {.tv_sec = AnswerTime(command), .tv_usec = 0};
  if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof(time)) != 0) {
    return kernel::ErrnoError(errno, "setsockopt(SO_RCVTIMEO)");
  }
  const std::string line = absl::StrCat(command, "\n");
  // An answer may be there although the VMM does not take the command, as if
  // there are too many connections.
  (void)send(fd, line.data(), line.size(), MSG_NOSIGNAL);
  std::string head;
  PASSTHRU_RETURN_IF_ERROR(ReadUpTo(fd, path, 0, head));
  std::string_view rest = absl::StripSuffix(head, "\n");
  const bool ok = absl::ConsumePrefix(&rest, "ok ");
  size_t size = 0;
  if ((!ok && !absl::ConsumePrefix(&rest, "error ")) ||
      !absl::SimpleAtoi(rest, &size) || size > kMostOfAnswer) {
    return NoVm(path, absl::StripSuffix(head, "\n"));
  }
  std::string text;
  if (size != 0) PASSTHRU_RETURN_IF_ERROR(ReadUpTo(fd, path, size, text));
  if (ok) return text;
  return absl::FailedPreconditionError(absl::StripSuffix(text, "\n"));
}

}  // namespace passthru::vmm
