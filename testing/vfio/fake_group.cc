// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/vfio/fake_group.h"

#include <linux/vfio.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "passthru/testing/journal/decode_vfio.h"
#include "passthru/testing/journal/user_memory.h"
#include "passthru/testing/vfio/fake_vfio_device.h"
#include "passthru/testing/vfio/ioctl_answer.h"

namespace passthru::fake {
namespace {

using kernel::SyscallResult;

constexpr std::string_view kVfioDriver = "vfio-pci";
constexpr size_t kPageSize = 4096;  // Limit of strndup_user() in GET_DEVICE_FD.

// Returns whether the driver leaves the devices of its group to user space
// (pci_driver.driver_managed_dma).
bool LeavesDmaAlone(std::string_view driver) {
  return driver.empty() || driver == kVfioDriver || driver == "pci-stub" ||
         driver == "pcieport";
}

// Checks the options that may follow the address like vfio_pci_core_match() and
// vfio_pci_validate_vf_token(). `wanted` is the token of the physical function
// of a virtual one. Every other option is an error. Spaces alone are none.
int CheckOptions(std::string_view options,
                 const std::optional<std::string>& wanted) {
  options = absl::StripAsciiWhitespace(options);
  if (options.empty()) return wanted.has_value() ? EACCES : 0;
  if (!absl::ConsumePrefix(&options, "vf_token=") || !wanted.has_value() ||
      options.size() != wanted->size()) {
    return EINVAL;
  }
  return absl::AsciiStrToLower(options) == *wanted ? 0 : EACCES;
}

}  // namespace

std::string FakeGroup::Describe() const {
  return absl::StrCat("vfio-group ", number_);
}

bool FakeGroup::has_vfio_member() const {
  return std::any_of(members_.begin(), members_.end(), [](const Member& m) {
    return m.device != nullptr && m.driver == kVfioDriver;
  });
}

bool FakeGroup::viable() const {
  return std::all_of(members_.begin(), members_.end(),
                     [](const Member& m) { return LeavesDmaAlone(m.driver); });
}

SyscallResult<std::shared_ptr<FakeFile>> FakeGroup::Open() {
  if (opened_) return {nullptr, EBUSY};
  opened_ = true;
  file_open_ = true;
  return {std::make_shared<GroupFile>(shared_from_this()), 0};
}

void FakeGroup::OnFileReleased() {
  file_open_ = false;
  CloseIfUnused();
}

void FakeGroup::OnDeviceClosed() {
  --open_devices_;
  // An unbind may have waited for the user to close the device.
  OnDriverChanged();
  CloseIfUnused();
}

void FakeGroup::OnDriverChanged() {
  const bool in_use =
      open_devices_ > 0 ||
      std::any_of(members_.begin(), members_.end(), [](const Member& member) {
        return member.driver == kVfioDriver;
      });
  if (!in_use) Detach();
}

// A device's file holds the group's file, so the release waits for both.
void FakeGroup::CloseIfUnused() {
  if (file_open_ || open_devices_ > 0) return;
  Detach();
  opened_ = false;
}

void FakeGroup::Detach() {
  if (container_ == nullptr) return;
  container_->DetachGroup();
  container_.reset();
}

SyscallResult<int> FakeGroup::Ioctl(unsigned long request, void* arg) {
  switch (request) {
    case VFIO_GROUP_GET_STATUS:
      return FromErrno(GetStatus(arg));
    case VFIO_GROUP_SET_CONTAINER:
      return FromErrno(SetContainer(arg));
    case VFIO_GROUP_UNSET_CONTAINER:
      return FromErrno(UnsetContainer());
    case VFIO_GROUP_GET_DEVICE_FD:
      return GetDeviceFd(arg);
    default:
      return FromErrno(ENOTTY);
  }
}

int FakeGroup::GetStatus(void* arg) const {
  vfio_group_status status = {};
  if (!journal::CopyFromUser(&status, arg, sizeof(status))) return EFAULT;
  if (status.argsz < sizeof(status)) return EINVAL;
  status.flags = 0;
  if (container_ != nullptr) {
    status.flags = VFIO_GROUP_FLAGS_CONTAINER_SET | VFIO_GROUP_FLAGS_VIABLE;
  } else if (viable()) {
    status.flags = VFIO_GROUP_FLAGS_VIABLE;
  }
  return journal::CopyToUser(arg, &status, sizeof(status)) ? 0 : EFAULT;
}

int FakeGroup::SetContainer(const void* arg) {
  core_->mutex.AssertHeld();
  const std::optional<int32_t> fd = journal::CopyFromUser<int32_t>(arg);
  if (!fd.has_value()) return EFAULT;
  if (*fd < 0 || !FileTable::IsOpen(*fd)) return EBADF;
  if (container_ != nullptr) return EINVAL;
  const FileRef file = core_->files.Lookup(*fd);
  const auto* container = dynamic_cast<const ContainerFile*>(file.get());
  if (container == nullptr) return rules_.not_a_container_error;
  // iommu_group_claim_dma_owner() makes this check.
  if (!viable()) return EPERM;
  container_ = container->container();
  container_->AttachGroup();
  return 0;
}

int FakeGroup::UnsetContainer() {
  if (container_ == nullptr) return EINVAL;
  if (open_devices_ > 0) return EBUSY;
  Detach();
  return 0;
}

SyscallResult<int> FakeGroup::GetDeviceFd(const void* arg) {
  core_->mutex.AssertHeld();
  std::string name;
  for (;;) {
    char c = 0;
    if (!journal::CopyFromUser(&c, static_cast<const char*>(arg) + name.size(),
                               1)) {
      return FromErrno(EFAULT);
    }
    if (c == 0) break;
    name.push_back(c);
    if (name.size() >= kPageSize) return FromErrno(EINVAL);
  }
  std::shared_ptr<FakeVfioDevice> device;
  for (const Member& member : members_) {
    const std::string address = member.bdf.ToString();
    if (member.device == nullptr || member.driver != kVfioDriver ||
        !absl::StartsWith(name, address)) {
      continue;
    }
    std::string_view rest = name;
    rest.remove_prefix(address.size());
    if (!rest.empty() && rest[0] != ' ') continue;
    if (const int error = CheckOptions(rest, member.device->vf_token());
        error != 0) {
      return FromErrno(error);
    }
    device = member.device;
    break;
  }
  if (device == nullptr) return FromErrno(ENODEV);
  if (container_ == nullptr || !container_->has_iommu()) {
    return FromErrno(EINVAL);
  }
  const std::shared_ptr<FakeFile> file = device->Open();
  const SyscallResult<int> fd = core_->files.Install(file);
  // The process has no free descriptor, so nothing else will close the file.
  if (!fd.ok()) device->OnFileReleased(file.get());
  return fd;
}

journal::Call GroupFile::DescribeIoctl(unsigned long request,
                                       const void* arg) const {
  return journal::DescribeVfioIoctl(request, arg);
}

std::string_view GroupFile::IoctlName(unsigned long request) const {
  return journal::NameOfVfioIoctl(request);
}

}  // namespace passthru::fake
