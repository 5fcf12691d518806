// SPDX-License-Identifier: Apache-2.0
// The questions that other sections ask of a function in D0 with decode on,
// asked in other states of it.
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <sys/mman.h>

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "passthru/testing/contract/vfio/vfio_questions.h"

namespace passthru::contract {
namespace {

constexpr uint32_t kDecode =
    PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
constexpr std::array<std::string_view, 3> kTypes = {"INTx", "MSI", "MSI-X"};

}  // namespace

void VfioQuestions::SetState(State state) {
  const uint32_t power = FindCapabilityOffset(PCI_CAP_ID_PM);
  // A function returns from D3hot before its COMMAND changes, because Linux
  // may restore COMMAND when it returns.
  if (power != 0) SetConfigValue(power + PCI_PM_CTRL, 1, 0);
  SetConfigValue(PCI_COMMAND, 2, state == State::kDecodeOff ? 0 : kDecode);
  if (state == State::kD3 && power != 0) {
    SetConfigValue(power + PCI_PM_CTRL, 1, 3);
  }
}

void VfioQuestions::Reset(Way way) {
  const uint32_t express = FindCapabilityOffset(PCI_CAP_ID_EXP);
  switch (way) {
    case Way::kIoctl:
      kernel_.Ioctl(device_, VFIO_DEVICE_RESET, nullptr);
      return;
    case Way::kDeviceControl:
      if (express == 0) return;
      SetConfigValue(
          express + PCI_EXP_DEVCTL, 2,
          ConfigValue(express + PCI_EXP_DEVCTL, 2) | PCI_EXP_DEVCTL_BCR_FLR);
      return;
  }
}

void VfioQuestions::DetailState() {
  const uint32_t power = FindCapabilityOffset(PCI_CAP_ID_PM);
  Detail(absl::StrFormat(
      "D%d cmd=%#x", power == 0 ? 0 : ConfigValue(power + PCI_PM_CTRL, 1) & 3,
      ConfigValue(PCI_COMMAND, 2)));
}

// Asks every call of a device that does not reset it.
void VfioQuestions::AskCallsIn(State state, std::string_view name) {
  const std::string in = absl::StrCat(", ", name);
  SetState(state);
  vfio_device_info info = {};
  info.argsz = sizeof(info);
  Ask("GET_INFO" + in, device_, VFIO_DEVICE_GET_INFO, &info);
  Detail(absl::StrFormat("flags=%#x", info.flags));
  for (const uint32_t index : {uint32_t{0}, uint32_t{VFIO_PCI_ROM_REGION_INDEX},
                               uint32_t{VFIO_PCI_CONFIG_REGION_INDEX}}) {
    vfio_region_info region = {};
    region.argsz = sizeof(region);
    region.index = index;
    Ask(absl::StrCat("GET_REGION_INFO ", index, in), device_,
        VFIO_DEVICE_GET_REGION_INFO, &region);
    Detail(absl::StrFormat("flags=%#x size=%#x", region.flags, region.size));
  }
  for (uint32_t index = 0; index < VFIO_PCI_NUM_IRQS; ++index) {
    vfio_irq_info irq = {};
    irq.argsz = sizeof(irq);
    irq.index = index;
    Ask(absl::StrCat("GET_IRQ_INFO ", index, in), device_,
        VFIO_DEVICE_GET_IRQ_INFO, &irq);
    Detail(absl::StrCat("count=", irq.count));
  }
  AskRead("config" + in, regions_[VFIO_PCI_CONFIG_REGION_INDEX].offset, 64);
  AskRead("BAR0" + in, regions_[0].offset, 4);
  AskRead("ROM" + in, regions_[VFIO_PCI_ROM_REGION_INDEX].offset, 4);
  AskMmap("BAR0" + in, regions_[0].offset, kPage, MAP_SHARED);
  vfio_device_ioeventfd event = {};
  event.argsz = sizeof(event);
  event.flags = VFIO_DEVICE_IOEVENTFD_32;
  event.offset = regions_[0].offset;
  event.fd = eventfds_[0];
  Ask("IOEVENTFD" + in, device_, VFIO_DEVICE_IOEVENTFD, &event);
  event.fd = -1;
  Ask("IOEVENTFD removed" + in, device_, VFIO_DEVICE_IOEVENTFD, &event);
  for (uint32_t index = VFIO_PCI_ERR_IRQ_INDEX; index < VFIO_PCI_NUM_IRQS;
       ++index) {
    SetIrqs(absl::StrCat("SET_IRQS ", index, in), index, kEventfd | kTrigger, 0,
            1, Fds({eventfds_[0]}));
    SetIrqs(absl::StrCat("SET_IRQS ", index, " off", in), index,
            kNone | kTrigger, 0, 0, {});
  }
  SetState(State::kOn);
}

// Turns each type of interrupt on and off in the state, and keeps one on over
// it and over a reset in it.
void VfioQuestions::AskInterruptsIn(State state, std::string_view name) {
  const std::string in = absl::StrCat(", ", name);
  for (uint32_t index = kIntx; index <= kMsix; ++index) {
    if (irq_counts_[index] == 0) continue;
    const std::string type(kTypes[index]);
    const auto set = [&](const std::string& what, uint32_t flags,
                         uint32_t count, const std::vector<int>& fds) {
      SetIrqs(absl::StrCat(type, " ", what, in), index, flags | kTrigger, 0,
              count, Fds(fds));
    };
    const auto off = [&] { set("off", kNone, 0, {}); };
    const auto loopback = [&](const std::string& what) {
      Count(eventfds_[0]);
      set(what, kNone, 1, {});
      Detail(absl::StrCat("eventfd=", Count(eventfds_[0])));
    };
    SetState(state);
    set("no vectors", kEventfd, 0, {});
    set("on", kEventfd, 1, {eventfds_[0]});
    loopback("loopback");
    off();
    SetState(State::kOn);
    set("on, before", kEventfd, 1, {eventfds_[0]});
    SetState(state);
    loopback("loopback of what is on");
    if (index == kMsix) Detail(absl::StrFormat("%#x", MessageControl(index)));
    set("another eventfd", kEventfd, 1, {eventfds_[1]});
    set("the first again", kEventfd, 1, {eventfds_[0]});
    if (irq_counts_[index] > 1) {
      set("two vectors", kEventfd, 2, {eventfds_[0], eventfds_[1]});
    }
    for (const Way way : {Way::kIoctl, Way::kDeviceControl}) {
      SetState(state);
      Reset(way);
      loopback(way == Way::kIoctl ? "loopback after RESET"
                                  : "loopback after FLR");
      DetailState();
      if (index == kMsix) Detail(absl::StrFormat("%#x", MessageControl(index)));
    }
    SetState(state);
    off();
    DetailState();
    SetState(State::kOn);
  }
}

// Asks what is left of the configuration after a reset, and after a change of
// it before the reset.
void VfioQuestions::AskResetsIn(State state, std::string_view name) {
  const std::string in = absl::StrCat(", ", name);
  SetState(state);
  Ask("RESET" + in, device_, VFIO_DEVICE_RESET, nullptr);
  DetailState();
  AskRead("BAR0 after RESET" + in, regions_[0].offset, 4);
  for (const Way way : {Way::kIoctl, Way::kDeviceControl}) {
    for (const uint32_t command : {0u, uint32_t{PCI_COMMAND_MEMORY}, kDecode}) {
      SetState(state);
      SetConfigValue(PCI_COMMAND, 2, command);
      Reset(way);
      Write(absl::StrFormat("%s with cmd=%#x%s",
                            way == Way::kIoctl ? "RESET" : "FLR", command, in),
            absl::StrFormat("id=%#x", ConfigValue(PCI_VENDOR_ID, 4)));
      DetailState();
      AskRead("BAR0 then" + in, regions_[0].offset, 4);
    }
  }
  for (const uint32_t command : {0u, uint32_t{PCI_COMMAND_MEMORY}, kDecode}) {
    SetState(state);
    SetConfigValue(PCI_COMMAND, 2, command);
    const uint32_t power = FindCapabilityOffset(PCI_CAP_ID_PM);
    if (power != 0) SetConfigValue(power + PCI_PM_CTRL, 1, 0);
    Write(absl::StrFormat("D0 with cmd=%#x%s", command, in),
          absl::StrFormat("cmd=%#x", ConfigValue(PCI_COMMAND, 2)));
  }
  SetState(State::kOn);
}

void VfioQuestions::AskStates() {
  Begin("states");
  DisableIrqs();
  const uint32_t command = ConfigValue(PCI_COMMAND, 2);
  const auto ask = [this](State state, std::string_view name) {
    AskCallsIn(state, name);
    AskInterruptsIn(state, name);
    AskResetsIn(state, name);
  };
  ask(State::kOn, "on");
  ask(State::kDecodeOff, "decode off");
  if (FindCapabilityOffset(PCI_CAP_ID_PM) != 0) ask(State::kD3, "D3hot");
  SetConfigValue(PCI_COMMAND, 2, command);
}

}  // namespace passthru::contract
