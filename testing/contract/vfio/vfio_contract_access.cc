// SPDX-License-Identifier: Apache-2.0
// The questions about read(2), write(2) and mmap(2) of a device.
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "passthru/testing/contract/vfio/vfio_questions.h"
#include "passthru/testing/fixture/fixture_bytes.h"

namespace passthru::contract {
namespace {

constexpr uint64_t kPeerIova = uint64_t{1} << 30;
// Kernels that put the region's index above bit 40 of an offset use this shift.
constexpr unsigned kRegionShift = 40;

sigjmp_buf on_sigbus;

void HandleSigbus(int) { siglongjmp(on_sigbus, 1); }

// Loads from the address. Returns false if that raised SIGBUS. A function of
// its own, because the jump may lose values in the frame of sigsetjmp().
bool Load(const volatile uint32_t* address, volatile uint32_t* value) {
  if (sigsetjmp(on_sigbus, 1) != 0) return false;
  *value = *address;
  return true;
}

}  // namespace

void VfioQuestions::AskRead(const std::string& question, uint64_t offset,
                            size_t count) {
  std::vector<uint8_t> data(std::max<size_t>(count, 1));
  const auto result = kernel_.Pread(device_, data.data(), count, offset);
  Write("pread " + question, result.ok() ? absl::StrCat(result.value)
                                         : strerrorname_np(result.error));
}

void VfioQuestions::AskWrite(const std::string& question, uint64_t offset,
                             const std::vector<uint8_t>& data) {
  const auto result = kernel_.Pwrite(device_, data.data(), data.size(), offset);
  Write("pwrite " + question, result.ok() ? absl::StrCat(result.value)
                                          : strerrorname_np(result.error));
}

void VfioQuestions::AskMmap(const std::string& question, uint64_t offset,
                            size_t length, int flags) {
  const auto result = kernel_.Mmap(nullptr, length, PROT_READ | PROT_WRITE,
                                   flags, device_, offset);
  Write("mmap " + question, result.ok() ? "0" : strerrorname_np(result.error));
  if (result.ok()) kernel_.Munmap(result.value, length);
}

void VfioQuestions::AskTouch(const std::string& question, const void* address) {
  struct sigaction action = {};
  struct sigaction old = {};
  action.sa_handler = HandleSigbus;
  sigaction(SIGBUS, &action, &old);
  volatile uint32_t value = 0;
  const bool loaded =
      Load(static_cast<const volatile uint32_t*>(address), &value);
  sigaction(SIGBUS, &old, nullptr);
  Write("touch mmap " + question,
        loaded ? absl::StrFormat("%#x", uint32_t{value}) : "SIGBUS");
}

uint32_t VfioQuestions::ConfigValue(uint64_t offset, unsigned width) {
  std::vector<uint8_t> data(4, 0);
  kernel_.Pread(device_, data.data(), width,
                regions_[VFIO_PCI_CONFIG_REGION_INDEX].offset + offset);
  return fixture::ReadLe32(data, 0);
}

void VfioQuestions::SetConfigValue(uint64_t offset, unsigned width,
                                   uint32_t value) {
  kernel_.Pwrite(device_, &value, width,
                 regions_[VFIO_PCI_CONFIG_REGION_INDEX].offset + offset);
}

uint32_t VfioQuestions::FindCapabilityOffset(uint8_t id) {
  std::vector<uint8_t> config(256, 0);
  kernel_.Pread(device_, config.data(), config.size(),
                regions_[VFIO_PCI_CONFIG_REGION_INDEX].offset);
  return fixture::FindCapability(config, id).value_or(0);
}

uint32_t VfioQuestions::MessageControl(uint32_t irq_index) {
  const uint32_t capability = FindCapabilityOffset(
      irq_index == VFIO_PCI_MSIX_IRQ_INDEX ? PCI_CAP_ID_MSIX : PCI_CAP_ID_MSI);
  return ConfigValue(capability + PCI_MSI_FLAGS, 2);
}

void VfioQuestions::AskAccess() {
  Begin("access");
  AskConfigAccess();
  std::optional<uint32_t> absent;
  for (uint32_t bar = 0; bar < VFIO_PCI_ROM_REGION_INDEX; ++bar) {
    if (regions_[bar].size != 0) {
      AskBar(bar);
    } else if (!absent.has_value()) {
      absent = bar;
    }
  }
  const auto offset = [](uint64_t index) { return index << kRegionShift; };
  if (absent.has_value()) AskRead("BAR absent", offset(*absent), 4);
  AskRead("ROM read", offset(VFIO_PCI_ROM_REGION_INDEX), 4);
  AskWrite("ROM write", offset(VFIO_PCI_ROM_REGION_INDEX), {0, 0, 0, 0});
  AskRead("VGA read", offset(VFIO_PCI_VGA_REGION_INDEX), 4);
  AskMmap("config region", offset(VFIO_PCI_CONFIG_REGION_INDEX), kPage,
          MAP_SHARED);
  AskMmap("ROM", offset(VFIO_PCI_ROM_REGION_INDEX), kPage, MAP_SHARED);
  AskMmap("idx9", offset(VFIO_PCI_NUM_REGIONS), kPage, MAP_SHARED);
  if (irq_counts_[VFIO_PCI_MSIX_IRQ_INDEX] > 0) AskMsixTable();
}

void VfioQuestions::AskConfigAccess() {
  const RegionAnswer& config = regions_[VFIO_PCI_CONFIG_REGION_INDEX];
  AskRead("cfg 0 len0", config.offset, 0);
  AskRead("cfg 0 len4", config.offset, 4);
  AskRead("cfg 1 len4 (unaligned)", config.offset + 1, 4);
  AskRead("cfg 0 len 64", config.offset, 64);
  AskRead("cfg all", config.offset, config.size);
  AskRead("cfg end-2 len4 (straddle)", config.offset + config.size - 2, 4);
  AskRead("cfg end len1", config.offset + config.size, 1);
  AskRead("cfg 0 len size+1", config.offset, config.size + 1);
  AskRead("region index 9", uint64_t{9} << kRegionShift, 4);
  AskRead("region index 20", uint64_t{20} << kRegionShift, 4);
  AskWrite("cfg 0 write id", config.offset, {0xaa, 0xbb, 0xcc, 0xdd});
  Detail(absl::StrFormat("id now=%#x cmd=%#x", ConfigValue(0, 4),
                         ConfigValue(PCI_COMMAND, 2)));
}

void VfioQuestions::AskBar(uint32_t bar) {
  const RegionAnswer& region = regions_[bar];
  const std::string name = absl::StrCat("BAR", bar, " ");
  const uint32_t command = ConfigValue(PCI_COMMAND, 2);
  AskRead(absl::StrFormat("%soff0 len4 (cmd=%#x)", name, command),
          region.offset, 4);
  SetConfigValue(PCI_COMMAND, 2, 0);
  AskRead(name + "off0 len4 MEM/IO disabled", region.offset, 4);
  AskWrite(name + "write off0 MEM/IO disabled", region.offset, {0, 0, 0, 0});
  SetConfigValue(PCI_COMMAND, 2, command);
  AskRead(name + "off0 len4 enabled", region.offset, 4);
  AskRead(name + "end len4", region.offset + region.size, 4);
  AskRead(name + "end-2 len4 (clamp)", region.offset + region.size - 2, 4);
  if ((region.flags & VFIO_REGION_INFO_FLAG_MMAP) == 0) {
    AskMmap(name + "(no MMAP flag)", region.offset, kPage, MAP_SHARED);
    return;
  }
  AskBarMapping(bar);
}

void VfioQuestions::AskBarMapping(uint32_t bar) {
  const RegionAnswer& region = regions_[bar];
  const std::string name = absl::StrCat("BAR", bar, " ");
  const auto mapped = kernel_.Mmap(nullptr, region.size, PROT_READ | PROT_WRITE,
                                   MAP_SHARED, device_, region.offset);
  Write("mmap " + name + "full SHARED",
        mapped.ok() ? "0" : strerrorname_np(mapped.error));
  AskMmap(name + "PRIVATE", region.offset, region.size, MAP_PRIVATE);
  AskMmap(name + "size+4K", region.offset, region.size + kPage, MAP_SHARED);
  AskMmap(name + "at end", region.offset + region.size, kPage, MAP_SHARED);
  if (!mapped.ok()) return;
  const uint32_t command = ConfigValue(PCI_COMMAND, 2);
  AskTouch(name + "enabled", mapped.value);
  SetConfigValue(PCI_COMMAND, 2, 0);
  AskTouch(name + "MEM disabled", mapped.value);
  SetConfigValue(PCI_COMMAND, 2, command);
  AskTouch(name + "re-enabled", mapped.value);
  const uint64_t vaddr = reinterpret_cast<uintptr_t>(mapped.value);
  const int error = Map(kReadWrite, vaddr, kPeerIova, region.size);
  Write("MAP_DMA of mmapped BAR (p2p)",
        error == 0 ? "0" : strerrorname_np(error));
  Unmap(kPeerIova, region.size);
  kernel_.Munmap(mapped.value, region.size);
}

void VfioQuestions::AskMsixTable() {
  const uint32_t table =
      ConfigValue(FindCapabilityOffset(PCI_CAP_ID_MSIX) + PCI_MSIX_TABLE, 4);
  const uint64_t offset = regions_[table & PCI_MSIX_TABLE_BIR].offset +
                          (table & PCI_MSIX_TABLE_OFFSET);
  std::vector<uint8_t> entry(PCI_MSIX_ENTRY_SIZE, 0);
  AskRead("MSI-X table region", offset, entry.size());
  kernel_.Pread(device_, entry.data(), entry.size(), offset);
  Detail("table via vfio:");
  for (size_t i = 0; i < entry.size(); i += 4) {
    Detail(absl::StrFormat("%#x", fixture::ReadLe32(entry, i)));
  }
  AskWrite("MSI-X table write", offset, {0x12, 0x34, 0x56, 0x78});
  AskRead("MSI-X table", offset, 4);
  kernel_.Pread(device_, entry.data(), 4, offset);
  Detail(absl::StrFormat("after write: %#x", fixture::ReadLe32(entry, 0)));
}

}  // namespace passthru::contract
