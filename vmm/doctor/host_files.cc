// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/doctor/host_files.h"

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/read_file.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/vmm/doctor/doctor_report.pb.h"
#include "passthru/vmm/doctor/shell_word.h"

namespace passthru::doctor {
namespace {

template <typename T>
Answer<T> Failure(const std::string& path, int error) {
  return {.error = error,
          .known_by = absl::StrCat(path, ": ", ErrnoName(error))};
}

// Almost all files are shorter than the first limit. The interrupts or mounts
// of a large host are not.
constexpr size_t kUsualLimit = 64 * 1024;
constexpr size_t kTextLimit = 16 * 1024 * 1024;

}  // namespace

std::string ErrnoName(int error) {
  const char* const name = strerrorname_np(error);
  return name == nullptr ? absl::StrCat("errno ", error) : name;
}

Answer<std::string> HostFiles::Text(const std::string& path) const {
  Answer<std::string> text = Bytes(path, kUsualLimit);
  if (text.value.size() == kUsualLimit) text = Bytes(path, kTextLimit);
  if (!text.ok()) return text;
  // There may be more of it.
  if (text.value.size() == kTextLimit) {
    return Failure<std::string>(path, EFBIG);
  }
  std::string value(absl::StripAsciiWhitespace(text.value));
  const bool many_lines = absl::StrContains(value, '\n');
  return {.value = value,
          .known_by = many_lines ? path
                      : value.empty()
                          ? absl::StrCat(path, " is empty")
                          : absl::StrCat(path, " = ", Printable(value))};
}

Answer<std::string> HostFiles::Bytes(const std::string& path,
                                     size_t limit) const {
  absl::StatusOr<std::string> bytes = kernel::ReadFile(syscalls_, path, limit);
  if (!bytes.ok()) {
    const int error = kernel::ErrnoOf(bytes.status());
    return Failure<std::string>(path, error == 0 ? EIO : error);
  }
  return {.value = *std::move(bytes), .known_by = path};
}

Answer<std::string> HostFiles::Link(const std::string& path) const {
  const kernel::SyscallResult<std::string> link =
      syscalls_->Readlink(path.c_str());
  if (!link.ok()) return Failure<std::string>(path, link.error);
  std::string name = link.value.substr(link.value.rfind('/') + 1);
  std::string known_by = absl::StrCat(path, " -> ", name);
  return {.value = std::move(name), .known_by = std::move(known_by)};
}

Answer<std::string> HostFiles::Target(const std::string& path) const {
  kernel::SyscallResult<std::string> link = syscalls_->Readlink(path.c_str());
  if (!link.ok()) return Failure<std::string>(path, link.error);
  std::string known_by = absl::StrCat(path, " -> ", link.value);
  return {.value = std::move(link.value), .known_by = std::move(known_by)};
}

Answer<std::vector<std::string>> HostFiles::Folder(
    const std::string& path) const {
  kernel::SyscallResult<std::vector<std::string>> names =
      syscalls_->ReadDirectory(path.c_str());
  if (!names.ok()) return Failure<std::vector<std::string>>(path, names.error);
  std::string known_by = path;
  if (names.value.empty()) absl::StrAppend(&known_by, " is empty");
  return {.value = std::move(names.value), .known_by = std::move(known_by)};
}

std::string LineAfter(std::string_view text, std::string_view label) {
  for (std::string_view line : absl::StrSplit(text, '\n')) {
    if (!absl::ConsumePrefix(&line, label)) continue;
    line = absl::StripLeadingAsciiWhitespace(line);
    absl::ConsumePrefix(&line, ":");
    return std::string(absl::StripAsciiWhitespace(line));
  }
  return "";
}

std::vector<std::string> CommandsIn(std::string_view message) {
  std::vector<std::string> commands;
  const std::vector<std::string_view> parts = absl::StrSplit(message, '`');
  // What is between two backquotes has an odd index.
  for (size_t i = 1; i + 1 < parts.size(); i += 2) {
    for (const std::string_view command : absl::StrSplit(parts[i], "; ")) {
      commands.emplace_back(command);
    }
  }
  return commands;
}

std::string WithoutCommands(std::string_view message) {
  message = message.substr(0, message.find(" (errno "));
  if (!absl::StrContains(message, '`')) return std::string(message);
  return std::string(message.substr(0, message.find(": ")));
}

std::string Bytes(uint64_t bytes) {
  static constexpr std::pair<int, const char*> kUnits[] = {
      {40, "TiB"}, {30, "GiB"}, {20, "MiB"}, {10, "KiB"}};
  for (const auto& [shift, unit] : kUnits) {
    const uint64_t size = uint64_t{1} << shift;
    if (bytes < size) continue;
    if (bytes % size == 0) return absl::StrCat(bytes >> shift, " ", unit);
    return absl::StrFormat(
        "%.1f %s", static_cast<double>(bytes) / static_cast<double>(size),
        unit);
  }
  return absl::StrCat(bytes, " bytes");
}

Finding MakeFinding(std::string_view check, Verdict verdict,
                    std::string_view what,
                    const std::vector<std::string>& known_by,
                    std::vector<std::string> to_do) {
  Finding finding;
  finding.set_check(Printable(check));
  finding.set_verdict(verdict);
  finding.set_what(Printable(what));
  for (const std::string& line : known_by) {
    finding.add_known_by(Printable(line));
  }
  for (std::string& line : to_do) finding.add_to_do(std::move(line));
  return finding;
}

}  // namespace passthru::doctor
