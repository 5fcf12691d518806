// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_PASSTHROUGH_GROUP_DMA_SPACE_H_
#define PASSTHRU_DEVICES_PASSTHROUGH_GROUP_DMA_SPACE_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "passthru/devices/kernel/file_descriptor.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/kvm/kvm_vfio_device.h"
#include "passthru/devices/kvm/kvm_vm.h"
#include "passthru/devices/memory/memory_source.h"
#include "passthru/devices/passthrough/dma_space.h"
#include "passthru/devices/vfio/dma_listener.h"
#include "passthru/devices/vfio/iommu_info.h"
#include "passthru/devices/vfio/vfio_container.h"
#include "passthru/devices/vfio/vfio_device.h"
#include "passthru/devices/vfio/vfio_group.h"
#include "passthru/devices/vfio/vfio_paths.h"
#include "passthru/pci/bdf.h"

namespace passthru::passthrough {

// What a GroupDmaSpace has now.
struct GroupDmaReport {
  std::vector<uint32_t> groups;  // the numbers of the groups in use
  std::vector<vfio::DmaMapping> mappings;
  // As GroupDmaSpace::unreachable_bars(), and why.
  size_t unreachable_bars = 0;
  std::vector<std::string> failures;
};

// A DmaSpace of VFIO groups. It has one container, in which guest memory is
// mapped at the IOVA that equals the guest address.
//
// For the first device it takes these steps, and for the last one it undoes
// them in the reverse order:
//  1. It opens the container.
//  2. It opens the device's group and attaches it, which gives the container
//     its IOMMU.
//  3. It creates KVM's VFIO device.
//  4. It maps guest memory for DMA and follows its changes.
//  5. It tells KVM of the group.
//  6. It opens the device.
// Further devices take steps 2, 5 and 6, or step 6 alone in a group that is
// open already.
//
// Another process may have opened the container, the groups or the devices and
// passed the descriptors on (inherited, or by SCM_RIGHTS). Adopt*() takes them
// over, and the step that would open the file is skipped.
//
// Thread-safe.
class GroupDmaSpace final : public DmaSpace {
 public:
  struct Options {
    kernel::Syscalls* syscalls = nullptr;
    // The guest memory to map. Must outlive the devices.
    memory::MemorySource* memory = nullptr;
    // The VM that is told of the groups, so that KVM knows of non-coherent DMA.
    // Null if there is none, as for a driver in user space.
    kvm::KvmVm* vm = nullptr;
    // Whether devices may do DMA to the BARs of one another (peer-to-peer). A
    // BAR that the IOMMU does not reach is a warning.
    bool peer_to_peer = false;
    vfio::VfioPaths paths;
  };
  explicit GroupDmaSpace(Options options) : options_(std::move(options)) {}

  // All devices must have been released.
  ~GroupDmaSpace() override;

  // Take over descriptors that were opened by another party, for the Open()
  // calls to come. A descriptor is kept until the last device that needs it is
  // released, and a later Open() then opens the file itself.
  //
  // `container` is /dev/vfio/vfio, with an IOMMU of type1v2 or without any. Its
  // DMA mappings must not overlap guest memory. Returns FailedPrecondition if a
  // container is open already.
  absl::Status AdoptContainer(kernel::FileDescriptor container);
  // `group` is /dev/vfio/<number>. It may be attached to the adopted container.
  absl::Status AdoptGroup(uint32_t number, kernel::FileDescriptor group);
  // `device` is what VFIO_GROUP_GET_DEVICE_FD returned for `address`.
  absl::Status AdoptDevice(pci::Bdf address, kernel::FileDescriptor device);

  using DmaSpace::Open;
  absl::StatusOr<std::unique_ptr<vfio::VfioDevice>> Open(
      pci::Bdf device, std::string_view vf_token) override;
  absl::Status Release(pci::Bdf device) override;

  // Returns the limits of the IOMMU, or nothing while no device is open.
  std::optional<vfio::IommuInfo> iommu() const;
  // Returns how many BAR areas of the guest devices cannot reach now, although
  // Options::peer_to_peer asks for it.
  size_t unreachable_bars() const;
  GroupDmaReport Describe() const;

 private:
  // A group in use by at least one device.
  struct GroupInUse {
    std::shared_ptr<vfio::VfioGroup> group;
    int devices = 0;
    bool known_to_kvm = false;
  };

  absl::Status AcquireGroup(uint32_t number)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status OpenContainer() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status OpenGroup(uint32_t number, GroupInUse& in_use)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status ReleaseGroup(uint32_t number)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status StartDma() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status StopDma() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Options options_;

  // Acquired before the locks of the guest memory.
  mutable absl::Mutex mutex_;
  std::shared_ptr<vfio::VfioContainer> container_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<kvm::KvmVfioDevice> kvm_vfio_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<vfio::DmaListener> dma_ ABSL_GUARDED_BY(mutex_);
  std::map<uint32_t, GroupInUse> groups_ ABSL_GUARDED_BY(mutex_);
  // The group of each device that is in the address space.
  std::map<pci::Bdf, uint32_t> devices_ ABSL_GUARDED_BY(mutex_);
  // Descriptors that were adopted and are not in use yet.
  std::map<uint32_t, kernel::FileDescriptor> adopted_groups_
      ABSL_GUARDED_BY(mutex_);
  std::map<pci::Bdf, kernel::FileDescriptor> adopted_devices_
      ABSL_GUARDED_BY(mutex_);
};

}  // namespace passthru::passthrough

#endif  // PASSTHRU_DEVICES_PASSTHROUGH_GROUP_DMA_SPACE_H_
