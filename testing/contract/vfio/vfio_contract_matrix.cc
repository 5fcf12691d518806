// SPDX-License-Identifier: Apache-2.0
//
// The questions that try all combinations.
// - SET_IRQS by state, index, kind of data and action.
// - Configuration space by register.
// - VFIO_DEVICE_IOEVENTFD by width, place and state.
#include <linux/pci_regs.h>
#include <linux/vfio.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "passthru/testing/contract/vfio/vfio_questions.h"

namespace passthru::contract {
namespace {

using kernel::SyscallResult;

constexpr std::string_view kIndexNames[] = {"INTx", "MSI", "MSI-X", "ERR",
                                            "REQ"};
struct Flag {
  uint32_t flag;
  std::string_view name;
};
constexpr Flag kData[] = {{VFIO_IRQ_SET_DATA_NONE, "NONE"},
                          {VFIO_IRQ_SET_DATA_BOOL, "BOOL"},
                          {VFIO_IRQ_SET_DATA_EVENTFD, "EVENTFD"}};
constexpr Flag kActions[] = {{VFIO_IRQ_SET_ACTION_MASK, "MASK"},
                             {VFIO_IRQ_SET_ACTION_UNMASK, "UNMASK"},
                             {VFIO_IRQ_SET_ACTION_TRIGGER, "TRIGGER"}};
struct Range {
  uint32_t start;
  uint32_t count;
};
constexpr Range kRanges[] = {{0, 0}, {0, 1}, {1, 1}};
// These questions measure masks only where any value may be written and
// restored.
constexpr uint32_t kHeaderEnd = PCI_STD_HEADER_SIZEOF;

}  // namespace

SyscallResult<int> VfioQuestions::SetIrq(uint32_t index, uint32_t flags,
                                         const std::vector<int>& fds) {
  const std::vector<uint8_t> data = Fds(fds);
  std::vector<uint8_t> request(sizeof(vfio_irq_set) + data.size());
  vfio_irq_set header = {};
  header.argsz = static_cast<uint32_t>(request.size());
  header.flags = flags;
  header.index = index;
  header.count = static_cast<uint32_t>(fds.size());
  std::memcpy(request.data(), &header, sizeof(header));
  if (!data.empty()) {
    std::memcpy(request.data() + sizeof(header), data.data(), data.size());
  }
  return kernel_.Ioctl(device_, VFIO_DEVICE_SET_IRQS, request.data());
}

bool VfioQuestions::EnableIrq(uint32_t index, int fd) {
  const auto result = SetIrq(
      index, VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER, {fd});
  return result.ok() && result.value == 0;
}

void VfioQuestions::DisableIrqs() {
  for (uint32_t index = 0; index <= VFIO_PCI_MSIX_IRQ_INDEX; ++index) {
    SetIrq(index, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER, {});
  }
  for (uint32_t index = VFIO_PCI_ERR_IRQ_INDEX; index < VFIO_PCI_NUM_IRQS;
       ++index) {
    EnableIrq(index, -1);
  }
}

void VfioQuestions::AskIrqMatrix() {
  Begin("SET_IRQS matrix");
  const int enabled = eventfds_[0];
  const int given = eventfds_[1];
  constexpr uint32_t kOff = VFIO_PCI_MSIX_IRQ_INDEX + 1;
  const auto ask = [&](uint32_t state, uint32_t index, const Flag& data,
                       const Flag& action, const Range& range) {
    // Every question starts from the same state.
    DisableIrqs();
    if (state != kOff && !EnableIrq(state, enabled)) return;
    Count(enabled);
    std::vector<uint8_t> bytes;
    if (data.flag == VFIO_IRQ_SET_DATA_BOOL) bytes.assign(range.count, 1);
    if (data.flag == VFIO_IRQ_SET_DATA_EVENTFD) {
      bytes = Fds(std::vector<int>(range.count, given));
    }
    SetIrqs(absl::StrFormat("%s, %s %s %s start=%d count=%d",
                            state == kOff ? "off" : kIndexNames[state],
                            kIndexNames[index], data.name, action.name,
                            range.start, range.count),
            index, data.flag | action.flag, range.start, range.count, bytes);
    if (const uint64_t count = Count(enabled); count != 0) {
      Detail(absl::StrCat("signalled=", count));
    }
  };
  for (const uint32_t state :
       {kOff, uint32_t{VFIO_PCI_INTX_IRQ_INDEX},
        uint32_t{VFIO_PCI_MSI_IRQ_INDEX}, uint32_t{VFIO_PCI_MSIX_IRQ_INDEX}}) {
    for (uint32_t index = 0; index < VFIO_PCI_NUM_IRQS; ++index) {
      for (const Flag& data : kData) {
        for (const Flag& action : kActions) {
          for (const Range& range : kRanges) {
            ask(state, index, data, action, range);
          }
        }
      }
    }
  }
  DisableIrqs();
}

void VfioQuestions::AskConfigMasks() {
  Begin("configuration");
  // Reads the four bytes at `offset` after writing ones, after writing zeroes,
  // and after restoring their value.
  const auto ask = [this](uint32_t offset, uint32_t writable) {
    const uint32_t before = ConfigValue(offset, 4);
    SetConfigValue(offset, 4, before | writable);
    const uint32_t ones = ConfigValue(offset, 4);
    SetConfigValue(offset, 4, before & ~writable);
    const uint32_t zeroes = ConfigValue(offset, 4);
    SetConfigValue(offset, 4, before);
    Write(absl::StrFormat("@%#05x", offset),
          absl::StrFormat("writable=%#x", ones ^ zeroes));
    if (ConfigValue(offset, 4) != before) {
      Detail(absl::StrFormat("not taken back: %#x, was %#x",
                             ConfigValue(offset, 4), before));
    }
  };
  constexpr uint32_t kAll = ~uint32_t{0};
  const uint32_t command = ConfigValue(PCI_COMMAND, 2);
  for (uint32_t offset = 0; offset < kHeaderEnd; offset += 4) {
    ask(offset, kAll);
  }
  SetConfigValue(PCI_COMMAND, 2, command);
  const uint32_t power = FindCapabilityOffset(PCI_CAP_ID_PM);
  const uint32_t express = FindCapabilityOffset(PCI_CAP_ID_EXP);
  for (uint32_t offset = kHeaderEnd; offset < 256; offset += 4) {
    uint32_t writable = kAll;
    // This leaves out the power state, which the power section changes, and
    // resets.
    if (power != 0 && offset == power + PCI_PM_CTRL) {
      writable &= ~uint32_t{PCI_PM_CTRL_STATE_MASK};
    }
    if (express != 0 && offset == express + PCI_EXP_DEVCTL) {
      writable &= ~uint32_t{PCI_EXP_DEVCTL_BCR_FLR};
    }
    ask(offset, writable);
  }
  SetConfigValue(PCI_COMMAND, 2, command);
  // Every width and place within COMMAND and STATUS, and across them.
  for (const unsigned width : {1u, 2u, 4u}) {
    for (uint32_t offset = 0; offset < 8; offset += 1) {
      AskRead(absl::StrFormat("config %#x width %d", offset, width),
              regions_[VFIO_PCI_CONFIG_REGION_INDEX].offset + offset, width);
    }
  }
}

void VfioQuestions::AskIoEventFds() {
  Begin("VFIO_DEVICE_IOEVENTFD");
  const auto ask = [this](std::string question, uint32_t flags, uint64_t offset,
                          int fd, uint64_t data = 0x1234) {
    vfio_device_ioeventfd request = {};
    request.argsz = sizeof(request);
    request.flags = flags;
    request.offset = offset;
    request.data = data;
    request.fd = fd;
    Ask(std::move(question), device_, VFIO_DEVICE_IOEVENTFD, &request);
  };
  const uint64_t bar = regions_[0].offset;
  const int fd = eventfds_[0];
  constexpr Flag kWidths[] = {{VFIO_DEVICE_IOEVENTFD_8, "8"},
                              {VFIO_DEVICE_IOEVENTFD_16, "16"},
                              {VFIO_DEVICE_IOEVENTFD_32, "32"},
                              {VFIO_DEVICE_IOEVENTFD_64, "64"}};
  for (const Flag& width : kWidths) {
    const std::string name = absl::StrCat(width.name, " bits ");
    ask(name + "at BAR0", width.flag, bar, fd);
    ask(name + "again", width.flag, bar, fd);
    ask(name + "other data", width.flag, bar, fd, 0x5678);
    ask(name + "unaligned", width.flag, bar + 1, fd);
    ask(name + "removed", width.flag, bar, -1);
    ask(name + "other data removed", width.flag, bar, -1, 0x5678);
    ask(name + "unaligned removed", width.flag, bar + 1, -1);
    ask(name + "removed again", width.flag, bar, -1);
    ask(name + "at the end of BAR0", width.flag, bar + regions_[0].size, fd);
  }
  ask("no width", 0, bar, fd);
  ask("two widths", VFIO_DEVICE_IOEVENTFD_8 | VFIO_DEVICE_IOEVENTFD_16, bar,
      fd);
  ask("unknown flag", VFIO_DEVICE_IOEVENTFD_32 | 0x10, bar, fd);
  ask("config", VFIO_DEVICE_IOEVENTFD_32,
      regions_[VFIO_PCI_CONFIG_REGION_INDEX].offset, fd);
  ask("bad fd", VFIO_DEVICE_IOEVENTFD_32, bar, 9999);
  ask("fd -2", VFIO_DEVICE_IOEVENTFD_32, bar, -2);
  ask("/dev/null", VFIO_DEVICE_IOEVENTFD_32, bar, null_);
  ask("region 9", VFIO_DEVICE_IOEVENTFD_32, uint64_t{9} << 40, fd);
  if (irq_counts_[VFIO_PCI_MSIX_IRQ_INDEX] > 0) {
    const uint32_t table =
        ConfigValue(FindCapabilityOffset(PCI_CAP_ID_MSIX) + PCI_MSIX_TABLE, 4);
    ask("MSI-X table", VFIO_DEVICE_IOEVENTFD_32,
        regions_[table & PCI_MSIX_TABLE_BIR].offset +
            (table & PCI_MSIX_TABLE_OFFSET),
        fd);
  }
}

}  // namespace passthru::contract
