// SPDX-License-Identifier: Apache-2.0
//
// Mappings for DMA, and of regions.

#include <linux/vfio.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/str_format.h"
#include "passthru/testing/random_calls/answer_text.h"
#include "passthru/testing/random_calls/call_runner.h"
#include "passthru/testing/random_calls/objects.h"
#include "passthru/testing/random_calls/random_call.h"

namespace passthru::random_calls {
namespace {

constexpr uintptr_t kUnmappedAddress = 0x1000;

sigjmp_buf on_sigbus;

void HandleSigbus(int) { siglongjmp(on_sigbus, 1); }

// Loads from the address. Returns false if that raised SIGBUS. A function of
// its own, because the jump may lose values in the frame of sigsetjmp().
bool Load(const volatile uint8_t* address) {
  if (sigsetjmp(on_sigbus, 1) != 0) return false;
  static_cast<void>(*address);
  return true;
}

}  // namespace

std::string CallRunner::Map(const RandomCall& call) {
  vfio_iommu_type1_dma_map map = {};
  map.argsz = sizeof(map);
  map.iova = call.arguments[0];
  map.size = call.arguments[1];
  map.vaddr =
      call.arguments[2] == kNoMemory
          ? kUnmappedAddress
          : reinterpret_cast<uintptr_t>(objects_.memory) + call.arguments[2];
  map.flags = static_cast<uint32_t>(call.arguments[3]);
  return Ioctl(objects_.container, VFIO_IOMMU_MAP_DMA, &map);
}

std::string CallRunner::Unmap(const RandomCall& call) {
  vfio_iommu_type1_dma_unmap unmap = {};
  unmap.argsz = sizeof(unmap);
  unmap.iova = call.arguments[0];
  unmap.size = call.arguments[1];
  unmap.flags = static_cast<uint32_t>(call.arguments[2]);
  std::string text = Ioctl(objects_.container, VFIO_IOMMU_UNMAP_DMA, &unmap);
  return text == "0" ? absl::StrFormat("0 size=%#x", unmap.size) : text;
}

std::string CallRunner::Mmap(const RandomCall& call) {
  const size_t slot = call.arguments[0];
  Munmap(slot);
  const auto mapped = kernel_.Mmap(
      nullptr, call.arguments[3], PROT_READ | PROT_WRITE,
      call.arguments[4] != 0 ? MAP_PRIVATE : MAP_SHARED, objects_.device,
      RegionOffset(call.arguments[1], call.arguments[2]));
  if (!mapped.ok()) return ErrorName(mapped.error);
  objects_.mappings[slot] = {.address = mapped.value,
                             .length = call.arguments[3]};
  return "mapped";
}

std::string CallRunner::Munmap(size_t slot) {
  Objects::Mapping& mapping = objects_.mappings[slot];
  if (mapping.address == nullptr) return "none";
  std::string text = Text(kernel_.Munmap(mapping.address, mapping.length));
  mapping = {};
  return text;
}

std::string CallRunner::Touch(size_t slot, uint64_t page) {
  const Objects::Mapping& mapping = objects_.mappings[slot];
  if (mapping.address == nullptr) return "none";
  const uint64_t pages = (mapping.length + kPage - 1) / kPage;
  struct sigaction action = {};
  struct sigaction old = {};
  action.sa_handler = HandleSigbus;
  sigaction(SIGBUS, &action, &old);
  const bool loaded = Load(static_cast<const uint8_t*>(mapping.address) +
                           kPage * (page % pages));
  sigaction(SIGBUS, &old, nullptr);
  return loaded ? "loaded" : "SIGBUS";
}

}  // namespace passthru::random_calls
