// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_VFIO_TYPE1_IOMMU_H_
#define PASSTHRU_TESTING_VFIO_TYPE1_IOMMU_H_

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/types/span.h"
#include "passthru/testing/kernel/fake_file.h"
#include "passthru/testing/kernel/mapping_table.h"
#include "passthru/testing/vfio/vfio_rules.h"

namespace passthru::fake {

// The addresses from `first` to `last`, both included.
struct IovaRange {
  uint64_t first = 0;
  uint64_t last = 0;
  friend bool operator==(const IovaRange&, const IovaRange&) = default;
};

// One mapping of VFIO_IOMMU_MAP_DMA.
struct DmaMapping {
  uint64_t iova = 0;
  uint64_t size = 0;
  uint64_t vaddr = 0;
  bool read = false;
  bool write = false;
  bool vaddr_invalid = false;  // Between UNMAP and MAP with the VADDR flag.
  pid_t process = 0;           // Whose address it is, or 0 for this process.

  uint64_t last() const { return iova + size - 1; }
  friend bool operator==(const DmaMapping&, const DmaMapping&) = default;
};

// The IOMMU domain behind one container. It combines
// drivers/vfio/vfio_iommu_type1.c, without the copying of ioctl arguments, with
// the translation that hardware does. Methods that stand for an ioctl return an
// errno, or 0 on success.
//
// Linux pins the pages when they are mapped, so that a device still reaches
// them whatever the process does to the address later. A process cannot pin its
// own pages under another name, so the simulation keeps the address. Once the
// process unmaps it, DMA through it is refused (kUnpinned) and does not crash.
// If the process maps other memory there, the device sees that. Code that
// relies on pages that stay pinned after munmap(2) is therefore reported and
// not served.
//
// Guarded by the fake kernel's mutex (Thread-compatible).
class Type1Iommu {
 public:
  struct Options {
    VfioRules rules;
    // Bit n stands for pages of 1 << n bytes. The lowest is the granularity.
    uint64_t page_sizes = 0x40201000;
    // In ascending order. The default is that of a 39-bit Intel IOMMU, which
    // leaves out the window of message signalled interrupts.
    std::vector<IovaRange> iova_ranges = {{0, 0xfedf'ffff},
                                          {0xfef0'0000, 0x7f'ffff'ffff}};
    // Module parameter dma_entry_limit.
    uint32_t max_mappings = 65535;
    // RLIMIT_MEMLOCK of a process without CAP_IPC_LOCK, in bytes.
    uint64_t locked_memory_limit = ~uint64_t{0};
    // True for VFIO_TYPE1v2_IOMMU, false for VFIO_TYPE1_IOMMU, whose unmap is
    // laxer.
    bool version2 = true;
    // Knows which memory is another device's BAR, to which DMA goes through the
    // device (FakeFile::PeerStore()). Without it all memory is memory.
    const MappingTable* mappings = nullptr;
  };

  explicit Type1Iommu(Options options) : options_(std::move(options)) {}
  Type1Iommu(const Type1Iommu&) = delete;
  Type1Iommu& operator=(const Type1Iommu&) = delete;

  uint64_t page_sizes() const { return options_.page_sizes; }
  const std::vector<IovaRange>& iova_ranges() const {
    return options_.iova_ranges;
  }
  uint32_t available() const {
    return options_.max_mappings - static_cast<uint32_t>(mappings_.size());
  }
  bool version2() const { return options_.version2; }
  const VfioRules& rules() const { return options_.rules; }

  // Carries out VFIO_IOMMU_MAP_DMA. `flags` are known flags of the UAPI.
  int Map(uint32_t flags, uint64_t vaddr, uint64_t iova, uint64_t size);

  // Carries out VFIO_IOMMU_UNMAP_DMA without a bitmap. On success sets `size`
  // to how much was unmapped.
  int Unmap(uint32_t flags, uint64_t iova, uint64_t* size);

  // Carry out VFIO_IOMMU_DIRTY_PAGES.
  void StartDirtyTracking() { dirty_tracking_ = true; }
  void StopDirtyTracking() { dirty_tracking_ = false; }
  bool dirty_tracking() const { return dirty_tracking_; }

  std::vector<DmaMapping> Mappings() const;
  const std::map<uint64_t, DmaMapping>& by_iova() const { return mappings_; }

  // Carry out a device's access. On kUnmapped and kPermission they transfer no
  // data. On kUnpinned they may have transferred a part.
  enum class Access { kDone, kUnmapped, kPermission, kUnpinned };
  Access Read(uint64_t iova, absl::Span<uint8_t> data) const;
  Access Write(uint64_t iova, absl::Span<const uint8_t> data) const;

 private:
  uint64_t granularity() const {
    return options_.page_sizes & (~options_.page_sizes + 1);
  }
  // Returns the first mapping that overlaps [iova, iova + size), or end().
  std::map<uint64_t, DmaMapping>::iterator FindFirst(uint64_t iova,
                                                     uint64_t size);
  int SetVaddr(uint64_t vaddr, uint64_t iova, uint64_t size);
  int InvalidateVaddr(uint64_t iova, uint64_t last, uint64_t* unmapped);
  bool InRange(uint64_t iova, uint64_t last) const;
  bool Bisects(uint64_t iova, uint64_t size);

  struct Piece {
    uint64_t vaddr = 0;
    uint64_t size = 0;
    pid_t process = 0;
  };
  Access Translate(uint64_t iova, uint64_t size, bool write,
                   std::vector<Piece>& pieces) const;

  // Calls `part` for parts of a piece, with where each is in the piece, its
  // size, and the file behind it, which is null if it is memory. Returns false
  // as soon as `part` does.
  bool ForEachPart(const Piece& piece,
                   absl::FunctionRef<bool(uint64_t done, uint64_t size,
                                          FakeFile* file, uint64_t offset)>
                       part) const;

  const Options options_;
  std::map<uint64_t, DmaMapping> mappings_;  // By iova. They are disjoint.
  uint64_t pinned_bytes_ = 0;
  bool dirty_tracking_ = false;
};

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_VFIO_TYPE1_IOMMU_H_
