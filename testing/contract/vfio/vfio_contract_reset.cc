// SPDX-License-Identifier: Apache-2.0
// The questions about reset and power states.
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "passthru/testing/contract/vfio/vfio_questions.h"
#include "passthru/testing/fixture/fixture_bytes.h"

namespace passthru::contract {
void VfioQuestions::AskReset() {
  Begin("reset");
  const auto reset = [this](std::string question) {
    Ask(std::move(question), device_, VFIO_DEVICE_RESET, nullptr);
  };
  reset("RESET");
  AskHotReset();
  // The kernel's virtual view survives the reset.
  SetConfigValue(PCI_COMMAND, 2,
                 PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
  SetConfigValue(PCI_BASE_ADDRESS_0, 4, 0xabcd0000);
  const auto view = [this](std::string_view when) {
    Detail(absl::StrFormat("%s reset cmd=%#x bar0(virt)=%#x", when,
                           ConfigValue(PCI_COMMAND, 2),
                           ConfigValue(PCI_BASE_ADDRESS_0, 4)));
  };
  view("before");
  reset("RESET");
  view("after");

  const uint32_t index = irq_counts_[VFIO_PCI_MSIX_IRQ_INDEX] > 0
                             ? VFIO_PCI_MSIX_IRQ_INDEX
                             : VFIO_PCI_MSI_IRQ_INDEX;
  Count(eventfds_[0]);
  SetIrqs("SET_IRQS enable", index,
          VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER, 0, 1,
          Fds({eventfds_[0]}));
  reset("RESET with MSI(X) enabled");
  Detail(absl::StrFormat("ctrl after=%#x", MessageControl(index)));
  SetIrqs("SET_IRQS loopback after reset", index,
          VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER, 0, 1, {});
  Detail(absl::StrCat("efd=", Count(eventfds_[0])));
  SetIrqs("SET_IRQS disable", index,
          VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER, 0, 0, {});
}

void VfioQuestions::AskHotReset() {
  Begin("hot reset");
  // struct vfio_pci_hot_reset_info has argsz, flags, count and devices.
  constexpr size_t kHeader = offsetof(vfio_pci_hot_reset_info, devices);
  std::vector<uint8_t> info(4096, 0);
  const auto ask_info = [&](std::string_view what, uint32_t argsz) {
    std::fill(info.begin(), info.end(), uint8_t{0});
    std::memcpy(info.data(), &argsz, sizeof(argsz));
    return Ask(absl::StrCat("HOT_RESET_INFO argsz=", what), device_,
               VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, info.data());
  };
  const auto devices = [&] {
    return fixture::ReadLe32(info, offsetof(vfio_pci_hot_reset_info, count));
  };
  ask_info("8", 8);
  ask_info("sizeof", kHeader);
  Detail(absl::StrCat("count=", devices()));
  if (ask_info("4096", 4096).ok()) {
    for (uint32_t i = 0; i < devices(); ++i) {
      vfio_pci_dependent_device device = {};
      std::memcpy(&device, info.data() + kHeader + i * sizeof(device),
                  sizeof(device));
      Detail(absl::StrFormat("dev group=%d seg=%d bus=%d devfn=%d",
                             device.group_id, device.segment, device.bus,
                             device.devfn));
    }
  }

  const auto ask = [this](const std::string& question, uint32_t flags,
                          uint32_t count, const std::vector<int>& fds) {
    vfio_pci_hot_reset request = {};
    std::vector<uint8_t> bytes(sizeof(request));
    request.argsz = static_cast<uint32_t>(sizeof(request) + 4 * fds.size());
    request.flags = flags;
    request.count = count;
    std::memcpy(bytes.data(), &request, sizeof(request));
    const std::vector<uint8_t> tail = Fds(fds);
    bytes.insert(bytes.end(), tail.begin(), tail.end());
    Ask("HOT_RESET " + question, device_, VFIO_DEVICE_PCI_HOT_RESET,
        bytes.data());
  };
  ask("count=0 (group)", 0, 0, {});
  ask("bad fd", 0, 1, {kBadFd});
  ask("container fd", 0, 1, {container_});
  ask("flags=1", 1, 1, {group_});
  ask("own group", 0, 1, {group_});
  ask("count=50", 0, 50, std::vector<int>(50, group_));
  Begin("reset");
}

void VfioQuestions::AskPower() {
  Begin("power");
  const uint32_t capability = FindCapabilityOffset(PCI_CAP_ID_PM);
  Write("power management", capability == 0 ? "none" : "there");
  if (capability == 0) return;
  const uint32_t control = capability + PCI_PM_CTRL;
  SetConfigValue(control, 2, 3);
  Write("pmcsr after D3 write",
        absl::StrFormat("%#x", ConfigValue(control, 2)));
  AskRead("BAR in D3hot", regions_[0].offset, 4);
  SetConfigValue(control, 2, 0);
  Write("pmcsr after D0 write",
        absl::StrFormat("%#x cmd=%#x", ConfigValue(control, 2),
                        ConfigValue(PCI_COMMAND, 2)));
  AskRead("BAR back in D0", regions_[0].offset, 4);

  // The power state affects only reads, writes and mappings of BARs.
  const auto mapped =
      kernel_.Mmap(nullptr, regions_[0].size, PROT_READ | PROT_WRITE,
                   MAP_SHARED, device_, regions_[0].offset);
  for (uint32_t state = 1; state <= 4; ++state) {
    const std::string name = absl::StrFormat("D%d ", state % 4);
    SetConfigValue(control, 1, state % 4);
    Write(name + "state read back",
          absl::StrFormat("%#x", ConfigValue(control, 1) & 3u));
    AskRead(name + "BAR", regions_[0].offset, 4);
    AskRead(name + "config", regions_[VFIO_PCI_CONFIG_REGION_INDEX].offset, 4);
    if (mapped.ok()) AskTouch(name + "BAR", mapped.value);
    Write(name + "command",
          absl::StrFormat("%#x", ConfigValue(PCI_COMMAND, 2)));
  }
  if (mapped.ok()) kernel_.Munmap(mapped.value, regions_[0].size);
}

}  // namespace passthru::contract