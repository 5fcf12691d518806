// SPDX-License-Identifier: Apache-2.0
//
// The questions about a device, its regions, interrupt indices and features.
#include <linux/pci_regs.h>
#include <linux/vfio.h>

#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "passthru/testing/contract/vfio/vfio_questions.h"

namespace passthru::contract {
namespace {

constexpr uint32_t kRegionsAsked = 11;
constexpr uint32_t kFeaturesAsked = 13;

}  // namespace

void VfioQuestions::AskDevice() {
  Begin("device");
  vfio_device_info info = {};
  const auto ask = [&](std::string_view what, uint32_t argsz) {
    info = {};
    info.argsz = argsz;
    Ask(absl::StrCat("GET_INFO argsz=", what), device_, VFIO_DEVICE_GET_INFO,
        &info);
  };
  ask("8", 8);
  ask("16", 16);
  // The size of the struct before it was padded.
  ask("sizeof", offsetof(vfio_device_info, cap_offset) + sizeof(uint32_t));
  Detail(absl::StrFormat("argsz=%d flags=%#x regions=%d irqs=%d cap=%d",
                         info.argsz, info.flags, info.num_regions,
                         info.num_irqs, info.cap_offset));
  for (uint32_t index = 0; index < kRegionsAsked; ++index) AskRegionInfo(index);
  vfio_region_info small = {};
  small.argsz = 8;
  Ask("GET_REGION_INFO argsz=8", device_, VFIO_DEVICE_GET_REGION_INFO, &small);

  for (uint32_t index = 0; index <= VFIO_PCI_NUM_IRQS; ++index) {
    vfio_irq_info irq = {};
    irq.argsz = sizeof(irq);
    irq.index = index;
    if (Ask(absl::StrCat("GET_IRQ_INFO ", index), device_,
            VFIO_DEVICE_GET_IRQ_INFO, &irq)
            .ok()) {
      Detail(absl::StrFormat("flags=%#x count=%d", irq.flags, irq.count));
      irq_counts_[index] = irq.count;
    }
  }
  vfio_irq_info small_irq = {};
  small_irq.argsz = 8;
  Ask("GET_IRQ_INFO argsz=8", device_, VFIO_DEVICE_GET_IRQ_INFO, &small_irq);
  Ask("device unknown ioctl", device_, kUnknownIoctl, nullptr);
  AskFeatures();
}

void VfioQuestions::AskRegionInfo(uint32_t index) {
  vfio_region_info info = {};
  info.argsz = sizeof(info);
  info.index = index;
  if (!Ask(absl::StrCat("GET_REGION_INFO ", index, " argsz=sizeof"), device_,
           VFIO_DEVICE_GET_REGION_INFO, &info)
           .ok()) {
    return;
  }
  Detail(absl::StrFormat("argsz=%d flags=%#x size=%#x off=%#x cap=%d",
                         info.argsz, info.flags, info.size, info.offset,
                         info.cap_offset));
  if (index < regions_.size()) {
    regions_[index] = {
        .size = info.size, .offset = info.offset, .flags = info.flags};
  }
  if (info.argsz <= sizeof(info)) return;
  std::vector<uint8_t> big(4096, 0);
  info = {};
  info.argsz = static_cast<uint32_t>(big.size());
  info.index = index;
  std::memcpy(big.data(), &info, sizeof(info));
  kernel_.Ioctl(device_, VFIO_DEVICE_GET_REGION_INFO, big.data());
  std::memcpy(&info, big.data(), sizeof(info));
  Detail(absl::StrFormat("big argsz: argsz=%d flags=%#x cap=%d", info.argsz,
                         info.flags, info.cap_offset));
  for (uint32_t at = info.cap_offset; at != 0 && at + 8 <= big.size();) {
    vfio_info_cap_header header = {};
    std::memcpy(&header, big.data() + at, sizeof(header));
    Detail(absl::StrFormat("cap id=%d ver=%d next=%d", header.id,
                           header.version, header.next));
    at = header.next;
  }
}

void VfioQuestions::AskFeatures() {
  const auto ask = [this](const std::string& question, uint32_t flags,
                          uint32_t argsz) {
    vfio_device_feature feature = {};
    feature.argsz = argsz;
    feature.flags = flags;
    Ask("DEVICE_FEATURE " + question, device_, VFIO_DEVICE_FEATURE, &feature);
  };
  constexpr uint32_t kHeader = sizeof(vfio_device_feature);
  constexpr uint32_t kGet = VFIO_DEVICE_FEATURE_GET;
  constexpr uint32_t kSet = VFIO_DEVICE_FEATURE_SET;
  constexpr uint32_t kProbe = VFIO_DEVICE_FEATURE_PROBE;
  for (uint32_t feature = 0; feature < kFeaturesAsked; ++feature) {
    ask(absl::StrCat("PROBE ", feature), kProbe | feature, kHeader);
    ask(absl::StrCat("PROBE|GET ", feature), kProbe | kGet | feature, kHeader);
  }
  constexpr uint32_t kEntry = VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY;
  constexpr uint32_t kExit = VFIO_DEVICE_FEATURE_LOW_POWER_EXIT;
  ask("argsz=4", kProbe | kEntry, 4);
  ask("unknown flag", 1u << 19 | kProbe | kEntry, kHeader);
  ask("GET|SET", kGet | kSet | kEntry, kHeader);
  ask("no op", kEntry, kHeader);
  ask("LOW_POWER_EXIT SET", kSet | kExit, kHeader);
  ask("LOW_POWER_ENTRY SET", kSet | kEntry, kHeader);
  ask("LOW_POWER_ENTRY SET twice", kSet | kEntry, kHeader);
  ask("LOW_POWER_EXIT SET", kSet | kExit, kHeader);
}

}  // namespace passthru::contract
