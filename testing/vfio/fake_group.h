// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_VFIO_FAKE_GROUP_H_
#define PASSTHRU_TESTING_VFIO_FAKE_GROUP_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "passthru/devices/kernel/syscalls.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/journal/call.h"
#include "passthru/testing/kernel/fake_file.h"
#include "passthru/testing/kernel/kernel_core.h"
#include "passthru/testing/kernel/kernel_version.h"
#include "passthru/testing/vfio/fake_container.h"
#include "passthru/testing/vfio/vfio_rules.h"

namespace passthru::fake {

class FakeVfioDevice;

// An IOMMU group and its VFIO side (struct vfio_group). It has the functions in
// the group, the one file that may be open on it, and its container.
//
// Guarded by the fake kernel's mutex (Thread-compatible).
class FakeGroup : public std::enable_shared_from_this<FakeGroup> {
 public:
  // A function of the group.
  struct Member {
    pci::Bdf bdf;
    std::string driver;                      // Empty if none is bound.
    std::shared_ptr<FakeVfioDevice> device;  // Null if only its driver matters.
  };

  FakeGroup(KernelCore* core, uint32_t number, VfioRules rules)
      : core_(core), number_(number), rules_(rules) {}
  FakeGroup(const FakeGroup&) = delete;
  FakeGroup& operator=(const FakeGroup&) = delete;

  uint32_t number() const { return number_; }
  std::string Describe() const;

  std::vector<Member>& members() { return members_; }
  const std::vector<Member>& members() const { return members_; }
  // Returns whether a function of the group is bound to vfio-pci, which is when
  // the group's device node exists.
  bool has_vfio_member() const;
  // Returns whether no function is bound to a host driver that does DMA.
  bool viable() const;

  const std::shared_ptr<FakeContainer>& container() const { return container_; }

  // Carries out open(2) of the node.
  kernel::SyscallResult<std::shared_ptr<FakeFile>> Open();
  void OnFileReleased();
  void OnDeviceOpened() { ++open_devices_; }
  void OnDeviceClosed();
  // When the last device leaves vfio-pci, the group leaves its container
  // (vfio_device_remove_group()). Linux waits for that until the device is
  // closed, and so does this.
  void OnDriverChanged();

  kernel::SyscallResult<int> Ioctl(unsigned long request, void* arg);

 private:
  int GetStatus(void* arg) const;
  int SetContainer(const void* arg);
  int UnsetContainer();
  kernel::SyscallResult<int> GetDeviceFd(const void* arg);
  void Detach();
  void CloseIfUnused();

  KernelCore* const core_;
  const uint32_t number_;
  const VfioRules rules_;
  std::vector<Member> members_;
  std::shared_ptr<FakeContainer> container_;
  // The group stays open from open(2) until its file and all its devices are
  // closed, because a device holds the file.
  bool opened_ = false;
  bool file_open_ = false;
  int open_devices_ = 0;  // Open device files.
};

// An open /dev/vfio/NUMBER.
class GroupFile final : public FakeFile {
 public:
  explicit GroupFile(std::shared_ptr<FakeGroup> group)
      : group_(std::move(group)) {}

  const std::shared_ptr<FakeGroup>& group() const { return group_; }

  std::string Describe() const override { return group_->Describe(); }
  journal::Call DescribeIoctl(unsigned long request,
                              const void* arg) const override;
  std::string_view IoctlName(unsigned long request) const override;
  kernel::SyscallResult<int> Ioctl(unsigned long request, void* arg) override {
    return group_->Ioctl(request, arg);
  }
  bool IsVfioFile(KernelVersion) const override { return true; }
  void OnRelease() override { group_->OnFileReleased(); }

 private:
  const std::shared_ptr<FakeGroup> group_;
};

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_VFIO_FAKE_GROUP_H_
