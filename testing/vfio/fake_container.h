// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_VFIO_FAKE_CONTAINER_H_
#define PASSTHRU_TESTING_VFIO_FAKE_CONTAINER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "passthru/devices/kernel/syscalls.h"
#include "passthru/testing/journal/call.h"
#include "passthru/testing/kernel/fake_file.h"
#include "passthru/testing/vfio/type1_iommu.h"
#include "passthru/testing/vfio/vfio_rules.h"

namespace passthru::fake {

// What the host's IOMMU is like.
struct IommuProperties {
  std::vector<IovaRange> iova_ranges = Type1Iommu::Options{}.iova_ranges;
  uint64_t page_sizes = Type1Iommu::Options{}.page_sizes;
  uint32_t max_mappings = Type1Iommu::Options{}.max_mappings;
  uint64_t locked_memory_limit = Type1Iommu::Options{}.locked_memory_limit;
  // Interrupts are isolated; without it (and without the module parameter
  // allow_unsafe_interrupts) no container gets an IOMMU.
  bool interrupt_remapping = true;
  bool allow_unsafe_interrupts = false;
  // DMA is coherent whatever the device asks: VFIO_DMA_CC_IOMMU.
  bool enforces_coherency = false;
};

// A VFIO container (struct vfio_container): the groups in it and, once
// VFIO_SET_IOMMU was called, their IOMMU domain. Lives as long as its file is
// open or a group is in it.
//
// Guarded by the fake kernel's mutex (Thread-compatible).
class FakeContainer {
 public:
  FakeContainer(int id, VfioRules rules, IommuProperties properties)
      : id_(id), rules_(rules), properties_(std::move(properties)) {}
  FakeContainer(const FakeContainer&) = delete;
  FakeContainer& operator=(const FakeContainer&) = delete;

  std::string Describe() const;

  // Called by groups. The last one out takes the IOMMU along.
  void AttachGroup() { ++groups_; }
  void DetachGroup();

  bool has_iommu() const { return iommu_ != nullptr; }
  // Null before VFIO_SET_IOMMU.
  Type1Iommu* iommu() const { return iommu_.get(); }

  kernel::SyscallResult<int> Ioctl(unsigned long request, void* arg);

 private:
  int CheckExtension(uint64_t extension) const;
  int SetIommu(uint64_t type);
  int GetInfo(void* arg) const;
  int MapDma(const void* arg);
  int UnmapDma(void* arg);
  int DirtyPages(const void* arg);

  const int id_;
  const VfioRules rules_;
  const IommuProperties properties_;
  int groups_ = 0;
  std::unique_ptr<Type1Iommu> iommu_;
};

// An open /dev/vfio/vfio.
class ContainerFile final : public FakeFile {
 public:
  explicit ContainerFile(std::shared_ptr<FakeContainer> container)
      : container_(std::move(container)) {}

  const std::shared_ptr<FakeContainer>& container() const { return container_; }

  std::string Describe() const override { return container_->Describe(); }
  journal::Call DescribeIoctl(unsigned long request,
                              const void* arg) const override;
  kernel::SyscallResult<int> Ioctl(unsigned long request, void* arg) override;

 private:
  const std::shared_ptr<FakeContainer> container_;
};

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_VFIO_FAKE_CONTAINER_H_
