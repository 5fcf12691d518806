// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/capture/sysfs_device.h"

#include <fcntl.h>

#include <cerrno>
#include <string_view>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/read_file.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/vfio/find_group.h"

namespace passthru::capture {
namespace {

std::string Folder(const pci::Bdf& bdf, const vfio::VfioPaths& paths) {
  return absl::StrCat(paths.sysfs_pci, "/", bdf.ToString());
}

absl::StatusOr<uint16_t> ReadNumber(kernel::Syscalls* syscalls,
                                    const std::string& path) {
  PASSTHRU_ASSIGN_OR_RETURN(const std::string text,
                            kernel::ReadFile(syscalls, path));
  uint32_t value = 0;
  if (!absl::SimpleHexAtoi(absl::StripAsciiWhitespace(text), &value) ||
      value > 0xffff) {
    return absl::DataLossError(
        absl::StrCat(path, " holds \"", text, "\", no 16-bit number"));
  }
  return static_cast<uint16_t>(value);
}

// Parses lines "0xSTART 0xEND 0xFLAGS", as resource_show() writes them.
absl::Status ReadResources(kernel::Syscalls* syscalls, const std::string& path,
                           std::vector<fixture::HostResource>& resources) {
  PASSTHRU_ASSIGN_OR_RETURN(const std::string text,
                            kernel::ReadFile(syscalls, path));
  for (const std::string_view line :
       absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const std::vector<std::string_view> fields =
        absl::StrSplit(line, ' ', absl::SkipEmpty());
    uint64_t start = 0;
    uint64_t end = 0;
    uint64_t flags = 0;
    if (fields.size() != 3 || !absl::SimpleHexAtoi(fields[0], &start) ||
        !absl::SimpleHexAtoi(fields[1], &end) ||
        !absl::SimpleHexAtoi(fields[2], &flags)) {
      return absl::DataLossError(absl::StrCat(
          path, " has the line \"", line, "\", not three hexadecimal numbers"));
    }
    fixture::HostResource resource;
    resource.set_start(start);
    resource.set_end(end);
    resource.set_flags(flags);
    resources.push_back(std::move(resource));
  }
  while (!resources.empty() && resources.back().flags() == 0 &&
         resources.back().end() == 0) {
    resources.pop_back();
  }
  return absl::OkStatus();
}

// The names are those of pci_reset_fn_methods[].
fixture::Reset::Method MethodNamed(std::string_view name) {
  if (name == "device_specific") return fixture::Reset::DEVICE_SPECIFIC;
  if (name == "acpi") return fixture::Reset::ACPI;
  if (name == "flr") return fixture::Reset::FLR;
  if (name == "af_flr") return fixture::Reset::AF_FLR;
  if (name == "pm") return fixture::Reset::POWER_MANAGEMENT;
  if (name == "bus") return fixture::Reset::BUS;
  return fixture::Reset::METHOD_UNSPECIFIED;
}

absl::Status ReadResetMethods(kernel::Syscalls* syscalls,
                              const std::string& path, SysfsDevice& device) {
  const absl::StatusOr<std::string> text = kernel::ReadFile(syscalls, path);
  // The file is absent if the function cannot be reset, and on old kernels.
  if (kernel::ErrnoOf(text.status()) == ENOENT) return absl::OkStatus();
  if (!text.ok()) return text.status();
  device.has_reset_methods = true;
  for (const std::string_view name : absl::StrSplit(
           absl::StripAsciiWhitespace(*text), ' ', absl::SkipEmpty())) {
    const fixture::Reset::Method method = MethodNamed(name);
    if (method == fixture::Reset::METHOD_UNSPECIFIED) {
      device.other_reset_methods.emplace_back(name);
    } else {
      device.reset_methods.push_back(method);
    }
  }
  return absl::OkStatus();
}

absl::Status ReadSiblings(kernel::Syscalls* syscalls, const pci::Bdf& bdf,
                          const vfio::VfioPaths& paths, SysfsDevice& device) {
  const std::string path =
      absl::StrCat(Folder(bdf, paths), "/iommu_group/devices");
  const kernel::SyscallResult<std::vector<std::string>> names =
      syscalls->ReadDirectory(path.c_str());
  if (!names.ok()) {
    return kernel::ErrnoError(names.error, absl::StrCat("opendir of ", path));
  }
  for (const std::string& name : names.value) {
    if (name == bdf.ToString()) continue;
    PASSTHRU_ASSIGN_OR_RETURN(const std::string driver,
                              vfio::DriverOf(syscalls, name, paths));
    fixture::Sibling sibling;
    sibling.set_bdf(name);
    sibling.set_driver(driver);
    device.siblings.push_back(std::move(sibling));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<SysfsDevice> ReadSysfsDevice(kernel::Syscalls* syscalls,
                                            const pci::Bdf& bdf,
                                            const vfio::VfioPaths& paths) {
  const std::string folder = Folder(bdf, paths);
  SysfsDevice device;
  PASSTHRU_ASSIGN_OR_RETURN(
      const std::string config,
      kernel::ReadFile(syscalls, absl::StrCat(folder, "/config")));
  device.config.assign(config.begin(), config.end());

  PASSTHRU_ASSIGN_OR_RETURN(
      const auto vendor, ReadNumber(syscalls, absl::StrCat(folder, "/vendor")));
  device.vendor_id = vendor;
  PASSTHRU_ASSIGN_OR_RETURN(
      const auto id, ReadNumber(syscalls, absl::StrCat(folder, "/device")));
  device.device_id = id;
  device.is_virtual_function =
      syscalls->Readlink(absl::StrCat(folder, "/physfn").c_str()).ok();

  PASSTHRU_RETURN_IF_ERROR(ReadResources(
      syscalls, absl::StrCat(folder, "/resource"), device.resources));
  PASSTHRU_RETURN_IF_ERROR(ReadResetMethods(
      syscalls, absl::StrCat(folder, "/reset_method"), device));
  PASSTHRU_RETURN_IF_ERROR(ReadSiblings(syscalls, bdf, paths, device));
  return device;
}

absl::StatusOr<PhysicalConfig> PhysicalConfig::Open(
    kernel::Syscalls* syscalls, const pci::Bdf& bdf,
    const vfio::VfioPaths& paths) {
  std::string path = absl::StrCat(Folder(bdf, paths), "/config");
  const kernel::SyscallResult<int> file =
      syscalls->Open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (file.error == EACCES || file.error == EPERM) {
    return kernel::ExplainedErrnoError(
        file.error,
        absl::StrCat("write masks are measured by writing to ", path,
                     ", which needs root and a kernel that is not locked "
                     "down"));
  }
  if (!file.ok()) {
    return kernel::ErrnoError(file.error, absl::StrCat("open of ", path));
  }
  return PhysicalConfig(syscalls, std::move(path), file.value);
}

PhysicalConfig::PhysicalConfig(kernel::Syscalls* syscalls, std::string path,
                               int fd)
    : syscalls_(syscalls), path_(std::move(path)), file_(syscalls, fd) {}

absl::Status PhysicalConfig::ReadAt(uint16_t offset,
                                    absl::Span<uint8_t> data) const {
  const kernel::SyscallResult<size_t> done =
      syscalls_->Pread(file_.get(), data.data(), data.size(), offset);
  if (!done.ok()) {
    return kernel::ErrnoError(
        done.error, absl::StrFormat("read of %s at 0x%x", path_, offset));
  }
  if (done.value != data.size()) {
    return absl::OutOfRangeError(
        absl::StrFormat("%s ends at 0x%x: reading it all needs root", path_,
                        offset + done.value));
  }
  return absl::OkStatus();
}

absl::StatusOr<uint8_t> PhysicalConfig::Read(uint16_t offset) const {
  uint8_t value = 0;
  absl::Status status = ReadAt(offset, absl::MakeSpan(&value, 1));
  if (!status.ok()) return status;
  return value;
}

absl::StatusOr<std::vector<uint8_t>> PhysicalConfig::ReadAll(
    size_t size) const {
  std::vector<uint8_t> bytes(size);
  absl::Status status = ReadAt(0, absl::MakeSpan(bytes));
  if (!status.ok()) return status;
  return bytes;
}

absl::Status PhysicalConfig::Write(uint16_t offset, uint8_t value) const {
  const kernel::SyscallResult<size_t> done =
      syscalls_->Pwrite(file_.get(), &value, 1, offset);
  if (!done.ok() || done.value != 1) {
    return kernel::ErrnoError(
        done.ok() ? EIO : done.error,
        absl::StrFormat("write of 0x%02x to %s at 0x%x", value, path_, offset));
  }
  return absl::OkStatus();
}

}  // namespace passthru::capture
