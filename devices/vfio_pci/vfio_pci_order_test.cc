// SPDX-License-Identifier: Apache-2.0
//
// The orders of steps that a passed-through device requires, each read off the
// journal of the simulated kernel. Without a test, an order that is right by
// accident would be lost with the next change.

#include <linux/vfio.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/testing/journal/journal.h"
#include "passthru/testing/rig/passthrough_rig.h"

namespace passthru::vfio_pci {
namespace {

using ::absl_testing::IsOk;
using fake::kBar;
using fake::PassthroughRig;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr int64_t kDeassign = 1;  // KVM_IRQFD_FLAG_DEASSIGN

// Returns the relevant part of a call in short, or "" for irrelevant calls.
std::string Brief(const journal::JournalEntry& entry) {
  const std::string& name = entry.call.name;
  // Eventfds and epoll are not part of these orders.
  if (name == "read" || name == "epoll_wait" || name == "poll") return "";
  if (entry.error != 0) return absl::StrCat(name, " failed");
  if (name == "KVM_SET_USER_MEMORY_REGION") {
    return entry.Number("memory_size") == 0 ? "slot off" : "slot on";
  }
  if (name == "KVM_SET_GSI_ROUTING") return "route";
  if (name == "KVM_SIGNAL_MSI") return "signal";
  if (name == "KVM_IRQFD") {
    return (entry.Number("flags") & kDeassign) != 0 ? "irqfd off" : "irqfd on";
  }
  if (name == "VFIO_DEVICE_SET_IRQS") {
    static constexpr const char* kNames[] = {"INTx", "MSI", "MSI-X", "ERR",
                                             "REQ"};
    const char* type = kNames[entry.Number("index")];
    if ((entry.Number("flags") & VFIO_IRQ_SET_ACTION_UNMASK) != 0) {
      return absl::StrCat(type, " unmask");
    }
    return absl::StrCat(type, entry.Number("count") == 0 ? " off" : " set");
  }
  if (name == "pwrite") {
    return absl::StrFormat("config %#x", entry.Number("offset") & 0xfff);
  }
  if (name == "VFIO_DEVICE_RESET") return "reset";
  if (name == "mmap") return "mmap";
  if (name == "munmap") return "munmap";
  if (name == "close" &&
      entry.call.subject.find("eventfd") == std::string::npos) {
    return absl::StrCat("close ", entry.call.subject);
  }
  return "";
}

class VfioPciOrderTest : public ::testing::Test {
 protected:
  void Attach(PassthroughRig::Options options = {}) {
    rig_ = std::make_unique<PassthroughRig>(std::move(options));
    ASSERT_THAT(rig_->Attach(), IsOk());
    Clear();
  }
  void Clear() { rig_->kernel().journal().Clear(); }
  std::vector<std::string> Calls() {
    std::vector<std::string> calls;
    for (const journal::JournalEntry& entry :
         rig_->kernel().journal().Entries()) {
      if (entry.kind != journal::JournalEntry::Kind::kCall) continue;
      if (std::string brief = Brief(entry); !brief.empty()) {
        calls.push_back(std::move(brief));
      }
    }
    return calls;
  }
  uint16_t At(uint8_t capability, uint16_t offset) {
    return static_cast<uint16_t>(rig_->FindCapability(capability) + offset);
  }

  std::unique_ptr<PassthroughRig> rig_;
};

TEST_F(VfioPciOrderTest, SlotsComeAfterTheWriteThatTurnsDecodeOn) {
  Attach();
  ASSERT_THAT(rig_->device().SetBarAddress(pci::BarIndex(0), kBar), IsOk());
  EXPECT_THAT(Calls(), IsEmpty());
  rig_->Write(0x04, 2, 0x2);
  EXPECT_THAT(Calls(), ElementsAre("config 0x4", "slot on"));
}

TEST_F(VfioPciOrderTest, SlotsGoBeforeTheWriteThatTurnsDecodeOff) {
  Attach();
  rig_->PlaceBar(0, kBar);
  Clear();
  rig_->Write(0x04, 2, 0x0);
  EXPECT_THAT(Calls(), ElementsAre("slot off", "config 0x4"));
}

TEST_F(VfioPciOrderTest, AWriteOfCommandThatKeepsDecodeKeepsTheSlots) {
  Attach();
  rig_->PlaceBar(0, kBar);
  Clear();
  rig_->Write(0x04, 2, 0x402);
  EXPECT_THAT(Calls(), ElementsAre("config 0x4"));
}

TEST_F(VfioPciOrderTest, SlotsGoBeforeD3hotAndComeAfterD0) {
  Attach();
  rig_->PlaceBar(0, kBar);
  const uint16_t control = At(0x01, 4);
  Clear();
  rig_->Write(control, 2, 0x3);
  EXPECT_THAT(Calls(),
              ElementsAre("slot off", absl::StrFormat("config %#x", control)));
  Clear();
  rig_->Write(control, 2, 0x0);
  EXPECT_THAT(Calls(),
              ElementsAre(absl::StrFormat("config %#x", control), "slot on"));
}

TEST_F(VfioPciOrderTest, AMoveDeletesTheOldSlotFirst) {
  Attach();
  rig_->PlaceBar(0, kBar);
  Clear();
  rig_->Write(0x10, 4, 0xd0000000);
  EXPECT_THAT(Calls(), ElementsAre("slot off", "slot on"));
}

TEST_F(VfioPciOrderTest, MsixOnIsHostVectorsThenTheEnableBit) {
  Attach();
  const std::string control = absl::StrFormat("config %#x", At(0x11, 2));
  Clear();
  rig_->SetMsixControl(/*enable=*/true, /*function_mask=*/true);
  EXPECT_THAT(Calls(), ElementsAre("MSI-X set", control));
}

TEST_F(VfioPciOrderTest, MsixOffIsTheEnableBitThenIrqfdsThenHostVectors) {
  Attach();
  const std::string control = absl::StrFormat("config %#x", At(0x11, 2));
  rig_->PlaceBar(0, kBar);
  rig_->SetMsixControl(true, false);
  rig_->WriteVector(0, 0x30, /*masked=*/false);
  rig_->RaiseMsix(0);
  Clear();
  rig_->SetMsixControl(false, false);
  EXPECT_THAT(Calls(), ElementsAre(control, "irqfd off", "MSI-X off"));
}

TEST_F(VfioPciOrderTest, MsiOnIsHostVectorsThenTheEnableBit) {
  Attach({.fixture = "edu"});
  const uint16_t msi = rig_->FindCapability(0x05);
  const std::string control = absl::StrFormat("config %#x", msi + 2);
  rig_->Write(msi + 4, 4, 0xfee00000);
  rig_->Write(msi + 12, 2, 0x31);
  Clear();
  rig_->Write(msi + 2, 2, 0x1);
  EXPECT_THAT(Calls(), ElementsAre("MSI set", control));
  Clear();
  rig_->Write(msi + 2, 2, 0x0);
  EXPECT_THAT(Calls(), ElementsAre(control, "MSI off"));
}

TEST_F(VfioPciOrderTest, MsiTakesTheDeviceFromIntxAndGivesItBack) {
  Attach({.fixture = "edu", .edit_options = [](auto& options) {
            options.intx_gsi = allocator::Gsi(16);
          }});
  const uint16_t msi = rig_->FindCapability(0x05);
  const std::string control = absl::StrFormat("config %#x", msi + 2);
  rig_->Write(msi + 4, 4, 0xfee00000);
  rig_->Write(msi + 12, 2, 0x31);
  Clear();
  rig_->Write(msi + 2, 2, 0x1);
  EXPECT_THAT(Calls(), ElementsAre("INTx unmask", "INTx off", "irqfd off",
                                   "MSI set", control));
  Clear();
  rig_->Write(msi + 2, 2, 0x0);
  EXPECT_THAT(Calls(), ElementsAre(control, "MSI off", "irqfd on", "INTx set",
                                   "INTx unmask"));
}

TEST_F(VfioPciOrderTest, TheRouteIsCommittedBeforeItsIrqfd) {
  Attach();
  rig_->PlaceBar(0, kBar);
  rig_->SetMsixControl(true, false);
  rig_->WriteVector(0, 0x30, /*masked=*/false);
  Clear();
  rig_->RaiseMsix(0);
  EXPECT_THAT(Calls(), ElementsAre("signal", "route", "irqfd on"));
}

TEST_F(VfioPciOrderTest, AnMsiBeforeItsRouteIsSignalledFromUserSpace) {
  Attach({.fixture = "edu"});
  const uint16_t msi = rig_->FindCapability(0x05);
  rig_->Write(0x04, 2, 0x4);
  rig_->Write(msi + 4, 4, 0xfee00000);
  rig_->Write(msi + 12, 2, 0x31);
  rig_->Write(msi + 2, 2, 0x1);
  Clear();
  rig_->RaiseMsi(0);
  EXPECT_THAT(Calls(), ElementsAre("signal", "route", "irqfd on"));
}

TEST_F(VfioPciOrderTest, TheIrqfdIsOffBeforeAMessageChanges) {
  Attach();
  rig_->PlaceBar(0, kBar);
  rig_->SetMsixControl(true, false);
  rig_->WriteVector(0, 0x30, /*masked=*/false);
  rig_->RaiseMsix(0);
  Clear();
  rig_->Store(kBar + 0x2000 + 8, 4, 0x44);
  EXPECT_THAT(Calls(), ElementsAre("irqfd off"));
  Clear();
  rig_->RaiseMsix(0);
  EXPECT_THAT(Calls(), ElementsAre("signal", "route", "irqfd on"));
}

TEST_F(VfioPciOrderTest, FunctionLevelResetIsTheLastThingTheGuestsDeviceSees) {
  Attach();
  const std::string msix = absl::StrFormat("config %#x", At(0x11, 2));
  const uint16_t control = At(0x10, 8);
  rig_->PlaceBar(0, kBar);
  rig_->SetMsixControl(true, false);
  rig_->WriteVector(0, 0x30, /*masked=*/false);
  rig_->RaiseMsix(0);
  Clear();
  rig_->Write(control, 2, 0x8000);
  EXPECT_THAT(Calls(), ElementsAre("slot off", msix, "irqfd off", "MSI-X off",
                                   absl::StrFormat("config %#x", control),
                                   "config 0x4"));
}

TEST_F(VfioPciOrderTest, MachineResetComesAfterSlotsAndInterrupts) {
  Attach();
  const std::string msix = absl::StrFormat("config %#x", At(0x11, 2));
  rig_->PlaceBar(0, kBar);
  rig_->SetMsixControl(true, false);
  Clear();
  ASSERT_THAT(rig_->device().Reset(), IsOk());
  EXPECT_THAT(Calls(), ElementsAre("slot off", msix, "MSI-X off", "config 0x4",
                                   "reset", "config 0x4"));
}

TEST_F(VfioPciOrderTest, UnplugIsSlotsMappingsInterruptsDeviceGroupContainer) {
  Attach();
  const std::string msix = absl::StrFormat("config %#x", At(0x11, 2));
  rig_->PlaceBar(0, kBar);
  rig_->SetMsixControl(true, false);
  rig_->WriteVector(0, 0x30, /*masked=*/false);
  rig_->RaiseMsix(0);
  Clear();
  ASSERT_THAT(rig_->device().Detach(), IsOk());
  EXPECT_THAT(Calls(),
              ElementsAre("slot off", "munmap", msix, "irqfd off", "MSI-X off",
                          "route", "close vfio-device 0000:02:00.0",
                          "close vfio-group 7", "close vfio-container 1"));
}

TEST_F(VfioPciOrderTest, TheBarIsMappedOnceAtAttach) {
  rig_ = std::make_unique<PassthroughRig>();
  Clear();
  ASSERT_THAT(rig_->Attach(), IsOk());
  EXPECT_EQ(rig_->kernel().journal().Count("mmap"), 1u);
  Clear();
  rig_->PlaceBar(0, kBar);
  rig_->Write(0x04, 2, 0);
  rig_->Write(0x04, 2, 2);
  EXPECT_EQ(rig_->kernel().journal().Count("mmap"), 0u);
}

}  // namespace
}  // namespace passthru::vfio_pci
