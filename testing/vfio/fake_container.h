// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_VFIO_FAKE_CONTAINER_H_
#define PASSTHRU_TESTING_VFIO_FAKE_CONTAINER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "passthru/devices/kernel/syscalls.h"
#include "passthru/testing/journal/call.h"
#include "passthru/testing/kernel/fake_file.h"
#include "passthru/testing/kernel/mapping_table.h"
#include "passthru/testing/vfio/type1_iommu.h"
#include "passthru/testing/vfio/vfio_rules.h"

namespace passthru::fake {

// The properties of the host's IOMMU.
struct IommuProperties {
  std::vector<IovaRange> iova_ranges = Type1Iommu::Options{}.iova_ranges;
  uint64_t page_sizes = Type1Iommu::Options{}.page_sizes;
  uint32_t max_mappings = Type1Iommu::Options{}.max_mappings;
  uint64_t locked_memory_limit = Type1Iommu::Options{}.locked_memory_limit;
  // Whether interrupts are isolated. If not, a container gets an IOMMU only
  // with the module parameter allow_unsafe_interrupts.
  bool interrupt_remapping = true;
  bool allow_unsafe_interrupts = false;
  // Whether all DMA is coherent, whatever the device requests
  // (VFIO_DMA_CC_IOMMU).
  bool enforces_coherency = false;
};

// A VFIO container (struct vfio_container). It has groups and, after
// VFIO_SET_IOMMU, their IOMMU domain. It lives as long as its file is open or a
// group is in it.
//
// Guarded by the fake kernel's mutex (Thread-compatible).
class FakeContainer {
 public:
  // `mappings` knows what is mapped where, and must outlive the object.
  FakeContainer(int id, VfioRules rules, IommuProperties properties,
                const MappingTable* mappings)
      : id_(id),
        rules_(rules),
        properties_(std::move(properties)),
        mappings_(mappings) {}
  FakeContainer(const FakeContainer&) = delete;
  FakeContainer& operator=(const FakeContainer&) = delete;

  std::string Describe() const;

  // Called by groups. When the last group leaves, the IOMMU domain is
  // destroyed.
  void AttachGroup() { ++groups_; }
  void DetachGroup();

  bool has_iommu() const { return iommu_ != nullptr; }
  // Returns null before VFIO_SET_IOMMU.
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
  const MappingTable* const mappings_;
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
  std::string_view IoctlName(unsigned long request) const override;
  kernel::SyscallResult<int> Ioctl(unsigned long request, void* arg) override;

 private:
  const std::shared_ptr<FakeContainer> container_;
};

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_VFIO_FAKE_CONTAINER_H_
