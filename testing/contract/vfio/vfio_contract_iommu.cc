// SPDX-License-Identifier: Apache-2.0
// The questions about DMA mapping.
#include <linux/vfio.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "passthru/testing/contract/vfio/vfio_questions.h"
#include "passthru/testing/journal/user_memory.h"

namespace passthru::contract {
namespace {

constexpr uint32_t kRead = VFIO_DMA_MAP_FLAG_READ;
constexpr uint32_t kWrite = VFIO_DMA_MAP_FLAG_WRITE;
constexpr uint32_t kVaddr = VFIO_DMA_MAP_FLAG_VADDR;
constexpr uint64_t kLastPage = ~uint64_t{0} - kPage + 1;
constexpr uint64_t kFirst = uint64_t{1} << 20;

template <typename T>
T At(const std::vector<uint8_t>& bytes, size_t offset) {
  T value{};
  if (offset + sizeof(value) <= bytes.size()) {
    std::memcpy(&value, bytes.data() + offset, sizeof(value));
  }
  return value;
}

}  // namespace

uint64_t VfioQuestions::NewPages(size_t pages, int protection) {
  const auto mapped = kernel_.Mmap(nullptr, pages * kPage, protection,
                                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  memory_.emplace_back(mapped.value, pages * kPage);
  return reinterpret_cast<uintptr_t>(mapped.value);
}

int VfioQuestions::Map(uint32_t flags, uint64_t vaddr, uint64_t iova,
                       uint64_t size) {
  vfio_iommu_type1_dma_map map = {};
  map.argsz = sizeof(map);
  map.flags = flags;
  map.vaddr = vaddr;
  map.iova = iova;
  map.size = size;
  return kernel_.Ioctl(container_, VFIO_IOMMU_MAP_DMA, &map).error;
}

void VfioQuestions::Unmap(uint64_t iova, uint64_t size) {
  vfio_iommu_type1_dma_unmap unmap = {};
  unmap.argsz = offsetof(vfio_iommu_type1_dma_unmap, data);
  unmap.iova = iova;
  unmap.size = size;
  kernel_.Ioctl(container_, VFIO_IOMMU_UNMAP_DMA, &unmap);
}

void VfioQuestions::AskMap(const std::string& question, uint32_t flags,
                           uint64_t vaddr, uint64_t iova, uint64_t size,
                           uint32_t argsz) {
  vfio_iommu_type1_dma_map map = {};
  map.argsz = argsz;
  map.flags = flags;
  map.vaddr = vaddr;
  map.iova = iova;
  map.size = size;
  Ask("MAP_DMA " + question, container_, VFIO_IOMMU_MAP_DMA, &map);
}

void VfioQuestions::AskUnmap(const std::string& question, uint32_t flags,
                             uint64_t iova, uint64_t size, uint32_t argsz) {
  constexpr size_t kSize = offsetof(vfio_iommu_type1_dma_unmap, size);
  // The struct has a struct vfio_bitmap as its tail.
  std::vector<uint8_t> request(sizeof(vfio_iommu_type1_dma_unmap) +
                               sizeof(vfio_bitmap));
  vfio_iommu_type1_dma_unmap unmap = {};
  unmap.argsz = argsz;
  unmap.flags = flags;
  unmap.iova = iova;
  unmap.size = size;
  std::memcpy(request.data(), &unmap, sizeof(unmap));
  std::memcpy(request.data() + sizeof(unmap) + offsetof(vfio_bitmap, pgsize),
              &kPage, sizeof(kPage));
  Ask("UNMAP_DMA " + question, container_, VFIO_IOMMU_UNMAP_DMA,
      request.data());
  Detail(absl::StrFormat("size out=%#x", At<uint64_t>(request, kSize)));
}

void VfioQuestions::AskDirty(const std::string& question, uint32_t flags) {
  vfio_iommu_type1_dirty_bitmap dirty = {};
  dirty.argsz = offsetof(vfio_iommu_type1_dirty_bitmap, data);
  dirty.flags = flags;
  Ask("DIRTY_PAGES " + question, container_, VFIO_IOMMU_DIRTY_PAGES, &dirty);
}

void VfioQuestions::AskIommu() {
  Begin("iommu");
  AskIommuInfo();
  AskMappings();
  AskUnmappings();
  AskVaddr();
  AskDirty("START", VFIO_IOMMU_DIRTY_PAGES_FLAG_START);
  AskDirty("START again", VFIO_IOMMU_DIRTY_PAGES_FLAG_START);
  AskDirty("START|STOP", VFIO_IOMMU_DIRTY_PAGES_FLAG_START |
                             VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP);
  AskDirty("0", 0);
  AskDirty("STOP", VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP);
  AskEntryLimit();
}

void VfioQuestions::AskIommuInfo() {
  constexpr size_t kFlags = offsetof(vfio_iommu_type1_info, flags);
  constexpr size_t kSizes = offsetof(vfio_iommu_type1_info, iova_pgsizes);
  constexpr size_t kCapOffset = offsetof(vfio_iommu_type1_info, cap_offset);
  std::vector<uint8_t> info(4096, 0);
  const auto ask = [&](std::string_view what, uint32_t argsz) {
    std::fill(info.begin(), info.end(), uint8_t{0});
    std::memcpy(info.data(), &argsz, sizeof(argsz));
    return Ask(absl::StrCat("IOMMU_GET_INFO argsz=", what), container_,
               VFIO_IOMMU_GET_INFO, info.data());
  };
  ask("8", 8);
  ask("16", 16);
  Detail(absl::StrFormat("argsz=%d flags=%#x pgsizes=%#x",
                         At<uint32_t>(info, 0), At<uint32_t>(info, kFlags),
                         At<uint64_t>(info, kSizes)));
  ask("sizeof", sizeof(vfio_iommu_type1_info));
  Detail(absl::StrFormat("argsz=%d flags=%#x cap_offset=%d",
                         At<uint32_t>(info, 0), At<uint32_t>(info, kFlags),
                         At<uint32_t>(info, kCapOffset)));
  ask("4096", 4096);
  uint32_t at = At<uint32_t>(info, kCapOffset);
  Detail(absl::StrFormat("argsz=%d flags=%#x pgsizes=%#x cap_offset=%d",
                         At<uint32_t>(info, 0), At<uint32_t>(info, kFlags),
                         At<uint64_t>(info, kSizes), at));
  for (int i = 0; i < 8 && at != 0; ++i) {
    const uint16_t id = At<uint16_t>(info, at);
    const uint32_t next = At<uint32_t>(info, at + 4);
    Detail(absl::StrFormat("cap@%d id=%d ver=%d next=%d", at, id,
                           At<uint16_t>(info, at + 2), next));
    if (id == VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION) {
      Detail(absl::StrFormat(
          "flags=%d pgsize=%#x max=%#x", At<uint32_t>(info, at + 8),
          At<uint64_t>(info, at + 16), At<uint64_t>(info, at + 24)));
    } else if (id == VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL) {
      Detail(absl::StrCat("avail=", At<uint32_t>(info, at + 8)));
    } else if (id == VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE) {
      for (uint32_t range = 0; range < At<uint32_t>(info, at + 8); ++range) {
        Detail(absl::StrFormat("[%#x-%#x]",
                               At<uint64_t>(info, at + 16 + 16 * range),
                               At<uint64_t>(info, at + 24 + 16 * range)));
      }
    }
    at = next;
  }
}

void VfioQuestions::AskMappings() {
  const uint64_t memory = NewPages(16, PROT_READ | PROT_WRITE);
  constexpr uint32_t kBoth = kRead | kWrite;
  AskMap("argsz=24", kBoth, memory, kFirst, kPage, 24);
  AskMap("flags=0", 0, memory, kFirst, kPage);
  AskMap("flags=0x8", 8, memory, kFirst, kPage);
  AskMap("flags=0xb", 0xb, memory, kFirst, kPage);
  AskMap("size=0", kBoth, memory, kFirst, 0);
  AskMap("iova unaligned", kBoth, memory, kFirst + 0x800, kPage);
  AskMap("vaddr unaligned", kBoth, memory + 0x800, kFirst, kPage);
  AskMap("size unaligned", kBoth, memory, kFirst, 0x800);
  AskMap("RW 16K @1M", kBoth, memory, kFirst, 4 * kPage);
  AskMap("same again", kBoth, memory, kFirst, 4 * kPage);
  AskMap("overlap inner", kBoth, memory, kFirst + kPage, kPage);
  AskMap("overlap head", kBoth, memory, kFirst - kPage, 2 * kPage);
  AskMap("adjacent after", kBoth, memory, kFirst + 4 * kPage, kPage);
  AskMap("READ only", kRead, memory, 2 * kFirst, kPage);
  AskMap("WRITE only", kWrite, memory, 2 * kFirst + 2 * kPage, kPage);

  // Below vm.mmap_min_addr, where no thread gets memory meanwhile.
  constexpr uint64_t kUnmapped = kPage;
  constexpr uint64_t kElsewhere = 8 * kFirst;
  AskMap("vaddr unmapped", kBoth, kUnmapped, kElsewhere, kPage);
  AskMap("vaddr PROT_NONE", kBoth, NewPages(1, PROT_NONE), kElsewhere, kPage);
  const uint64_t read_only = NewPages(1, PROT_READ);
  AskMap("vaddr PROT_READ, flags RW", kBoth, read_only, kElsewhere, kPage);
  AskMap("vaddr PROT_READ, flags R", kRead, read_only, kElsewhere, kPage);
  // The second page stays mapped, because a thread could get its address.
  const uint64_t half = NewPages(2, PROT_NONE);
  kernel_.Mmap(journal::UserPointer(half), kPage, PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  AskMap("vaddr half PROT_NONE (2 areas)", kBoth, half, 2 * kElsewhere,
         2 * kPage);
  AskMap("iova in MSI window 0xfee00000", kBoth, memory, 0xfee00000, kPage);
  AskMap("iova straddles MSI window", kBoth, memory, 0xfee00000 - kPage,
         2 * kPage);
  AskMap("iova wrap", kBoth, memory, kLastPage, 2 * kPage);
  AskMap("iova last page of 64-bit", kBoth, memory, kLastPage, kPage);
  AskMap("iova beyond aperture 1<<48", kBoth, memory, uint64_t{1} << 48, kPage);
  AskMap("iova beyond 1<<39", kBoth, memory, uint64_t{1} << 39, kPage);
  AskMap("VADDR flag on valid mapping", kVaddr, memory, kFirst, 4 * kPage);
  AskMap("VADDR|READ", kVaddr | kRead, memory, kFirst, 4 * kPage);
  AskMap("VADDR no mapping", kVaddr, memory, 9 * kFirst, kPage);
}

void VfioQuestions::AskUnmappings() {
  AskUnmap("argsz=16", 0, kFirst, 4 * kPage, 16);
  AskUnmap("flags=0x8", 8, kFirst, 4 * kPage);
  AskUnmap("size=0", 0, kFirst, 0);
  AskUnmap("unaligned iova", 0, kFirst + 0x800, kPage);
  AskUnmap("partial head", 0, kFirst, kPage);
  AskUnmap("partial inner", 0, kFirst + kPage, kPage);
  AskUnmap("bisect tail", 0, kFirst + 3 * kPage, 2 * kPage);
  AskUnmap("hole", 0, 3 * kFirst, kPage);
  AskUnmap("superset of 2 adjacent", 0, kFirst, 5 * kPage);
  AskUnmap("superset with holes (0x200000..0x202000)", 0, 2 * kFirst,
           4 * kPage);
  AskUnmap("wrap", 0, kLastPage, 2 * kPage);
  AskUnmap("ALL with iova", VFIO_DMA_UNMAP_FLAG_ALL, kPage, 0);
  AskUnmap("ALL with size", VFIO_DMA_UNMAP_FLAG_ALL, 0, kPage);
  AskUnmap("ALL", VFIO_DMA_UNMAP_FLAG_ALL, 0, 0);
  AskUnmap("ALL again (empty)", VFIO_DMA_UNMAP_FLAG_ALL, 0, 0);
}

void VfioQuestions::AskVaddr() {
  constexpr uint32_t kBoth = kRead | kWrite;
  const uint64_t memory = NewPages(16, PROT_READ | PROT_WRITE);
  AskUnmap("VADDR on empty range", VFIO_DMA_UNMAP_FLAG_VADDR, kFirst,
           4 * kPage);
  AskMap("RW @1M", kBoth, memory, kFirst, 4 * kPage);
  AskUnmap("VADDR", VFIO_DMA_UNMAP_FLAG_VADDR, kFirst, 4 * kPage);
  AskUnmap("VADDR twice", VFIO_DMA_UNMAP_FLAG_VADDR, kFirst, 4 * kPage);
  AskMap("new while vaddr invalid", kBoth, memory, 3 * kFirst, kPage);
  AskMap("VADDR re-set wrong size", kVaddr, memory, kFirst, kPage);
  AskMap("VADDR re-set", kVaddr, memory, kFirst, 4 * kPage);
  constexpr uint32_t kWithBitmap = 24 + sizeof(vfio_bitmap);
  AskUnmap("DIRTY flag not tracking", VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP,
           kFirst, 4 * kPage, kWithBitmap);
  AskUnmap("DIRTY|ALL",
           VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP | VFIO_DMA_UNMAP_FLAG_ALL, 0, 0,
           kWithBitmap);
  AskUnmap("ALL", VFIO_DMA_UNMAP_FLAG_ALL, 0, 0);
}

void VfioQuestions::AskEntryLimit() {
  constexpr int kEnough = 100'000;
  const uint64_t memory = NewPages(1, PROT_READ | PROT_WRITE);
  int mapped = 0;
  int error = 0;
  while (mapped < kEnough) {
    error = Map(kRead | kWrite, memory,
                kFirst + static_cast<uint64_t>(mapped) * kPage, kPage);
    if (error != 0) break;
    ++mapped;
  }
  Write("MAP_DMA until it fails",
        absl::StrCat(mapped, " then ",
                     error == 0 ? "no error" : strerrorname_np(error)));
  AskUnmap("ALL", VFIO_DMA_UNMAP_FLAG_ALL, 0, 0);
}

}  // namespace passthru::contract
