// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/guest/linux/linux_pci_probe.h"

#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/guest/direct/captured_functions.h"
#include "passthru/testing/guest/direct/direct_machine.h"
#include "passthru/testing/guest/linux/config_access.h"
#include "passthru/testing/guest/linux/linux_pci_device.h"

namespace passthru::guest {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr pci::Bdf kProbeSlot(0, 0, 4, 0);

class LinuxPciProbeTest : public ::testing::Test {
 protected:
  LinuxPciProbeTest() : config_(&machine_, machine_.layout()) {}

  std::unique_ptr<LinuxPciDevice> Probe(
      BarSizing sizing = BarSizing::kDecodeOffOnce) {
    return ProbeDevice(&config_, kProbeSlot, {.sizing = sizing});
  }
  // Returns the accesses to COMMAND, the BARs and the ROM, which sizing makes.
  std::vector<std::string> SizingTrace() {
    std::vector<std::string> lines;
    for (const std::string& line : machine_.trace()) {
      const std::string at = line.substr(7, 3);
      if (at == "004" || (at >= "010" && at < "028") || at == "030") {
        lines.push_back(line);
      }
    }
    return lines;
  }

  DirectMachine machine_;
  LinuxConfigAccess config_;
};

TEST_F(LinuxPciProbeTest, AnEmptySlotIsNothing) { EXPECT_EQ(Probe(), nullptr); }

TEST_F(LinuxPciProbeTest, NvmeIsReadAsCaptured) {
  machine_.AddFunction(kProbeSlot, CapturedNvme(), nullptr);
  const std::unique_ptr<LinuxPciDevice> device = Probe();
  ASSERT_NE(device, nullptr);
  const GuestPciInfo& info = device->info;
  EXPECT_EQ(info.vendor_id, 0x1b36);
  EXPECT_EQ(info.device_id, 0x0010);
  EXPECT_EQ(info.subsystem_vendor_id, 0x1af4);
  EXPECT_EQ(info.subsystem_id, 0x1100);
  EXPECT_EQ(info.class_code, 0x010802u);
  EXPECT_EQ(info.revision, 2);
  EXPECT_EQ(info.config_size, 4096);
  EXPECT_EQ(info.interrupt_pin, 1);
  EXPECT_EQ(info.interrupt_line, 11);
  EXPECT_TRUE(info.pcie);
  EXPECT_TRUE(info.intx_maskable);
  EXPECT_FALSE(info.multifunction);
  EXPECT_THAT(info.bars, ElementsAre(GuestBar{
                             .index = 0,
                             .kind = GuestBar::Kind::kMemory64,
                             .prefetchable = false,
                             .size = 0x4000,
                             .address = 0xfe600000,
                             .flags = 0x4,
                         }));
  EXPECT_THAT(info.capabilities, ElementsAre(GuestCapability{0x11, 0x40},
                                             GuestCapability{0x10, 0x80},
                                             GuestCapability{0x01, 0x60}));
  EXPECT_THAT(info.extended_capabilities, IsEmpty());
}

TEST_F(LinuxPciProbeTest, EduIsConventional) {
  machine_.AddFunction(kProbeSlot, CapturedEdu(), nullptr);
  const std::unique_ptr<LinuxPciDevice> device = Probe();
  ASSERT_NE(device, nullptr);
  EXPECT_FALSE(device->info.pcie);
  EXPECT_EQ(device->info.config_size, 256);
  ASSERT_THAT(device->info.bars, SizeIs(1));
  EXPECT_EQ(device->info.bars[0].size, 0x100000u);
  EXPECT_EQ(device->info.bars[0].kind, GuestBar::Kind::kMemory32);
}

TEST_F(LinuxPciProbeTest, AllKindsOfBarAreSized) {
  machine_.AddFunction(kProbeSlot, MixedFunction(false), nullptr);
  const std::unique_ptr<LinuxPciDevice> device = Probe();
  ASSERT_NE(device, nullptr);
  ASSERT_THAT(device->info.bars, SizeIs(3));
  EXPECT_EQ(device->info.bars[0].size, 0x1000u);
  EXPECT_TRUE(device->info.bars[1].is_io());
  EXPECT_EQ(device->info.bars[1].size, 32u);
  EXPECT_EQ(device->info.bars[1].flags, 1u);
  EXPECT_TRUE(device->info.bars[2].is_64bit());
  EXPECT_TRUE(device->info.bars[2].prefetchable);
  EXPECT_EQ(device->info.bars[2].size, uint64_t{8} << 30);
}

TEST_F(LinuxPciProbeTest, SizingTurnsDecodeOffOnce) {
  machine_.AddFunction(kProbeSlot, CapturedNvme(), nullptr);
  ASSERT_NE(Probe(), nullptr);
  std::vector<std::string> expected = {
      // Mirrors pci_intx_mask_broken().
      "cfg r2 004", "cfg w2 004=503", "cfg r2 004", "cfg w2 004=103",
      // Decode is turned off.
      "cfg r2 004", "cfg w2 004=100"};
  for (const char* line :
       {"cfg r4 010", "cfg w4 010=ffffffff", "cfg r4 010",
        "cfg w4 010=fe600004", "cfg r4 014", "cfg w4 014=ffffffff",
        "cfg r4 014", "cfg w4 014=0", "cfg r4 018", "cfg w4 018=ffffffff",
        "cfg r4 018", "cfg w4 018=0", "cfg r4 01c", "cfg w4 01c=ffffffff",
        "cfg r4 01c", "cfg w4 01c=0", "cfg r4 020", "cfg w4 020=ffffffff",
        "cfg r4 020", "cfg w4 020=0", "cfg r4 024", "cfg w4 024=ffffffff",
        "cfg r4 024", "cfg w4 024=0", "cfg r4 030", "cfg w4 030=fffff800",
        "cfg r4 030", "cfg w4 030=0", "cfg w2 004=103",
        // The registers are read with decode on again.
        "cfg r4 010", "cfg r4 014", "cfg r4 018", "cfg r4 01c", "cfg r4 020",
        "cfg r4 024", "cfg r4 030"}) {
    expected.push_back(line);
  }
  EXPECT_THAT(SizingTrace(), ElementsAreArray(expected));
}

TEST_F(LinuxPciProbeTest, OlderKernelsTurnDecodeOffForEachBar) {
  machine_.AddFunction(kProbeSlot, CapturedEdu(), nullptr);
  const std::unique_ptr<LinuxPciDevice> device =
      Probe(BarSizing::kDecodeOffPerBar);
  ASSERT_NE(device, nullptr);
  EXPECT_EQ(device->info.bars[0].size, 0x100000u);
  int off = 0;
  for (const std::string& line : machine_.trace()) {
    off += line == "cfg w2 004=100";
  }
  EXPECT_EQ(off, 7);  // Six BARs and the ROM.
}

TEST_F(LinuxPciProbeTest, BothWaysFindTheSame) {
  for (const auto& function :
       {CapturedNvme(), CapturedEdu(), MixedFunction(false)}) {
    machine_.AddFunction(kProbeSlot, function, nullptr);
    const std::unique_ptr<LinuxPciDevice> once = Probe();
    const std::unique_ptr<LinuxPciDevice> each =
        Probe(BarSizing::kDecodeOffPerBar);
    EXPECT_EQ(once->info.bars, each->info.bars);
  }
}

TEST_F(LinuxPciProbeTest, RegistersAreLeftAsTheyWere) {
  DirectFunction& function =
      machine_.AddFunction(kProbeSlot, CapturedNvme(), nullptr);
  std::vector<uint32_t> before;
  for (uint16_t at = 0; at < 256; at += 4) {
    before.push_back(function.ConfigRead(at, 4));
  }
  Probe();
  for (uint16_t at = 0; at < 256; at += 4) {
    EXPECT_EQ(function.ConfigRead(at, 4), before[at / 4]) << at;
  }
}

TEST_F(LinuxPciProbeTest, MessageInterruptsOfFirmwareAreTurnedOff) {
  DirectFunction::Options nvme = CapturedNvme();
  nvme.config[0x43] = 0x80;
  DirectFunction& msix = machine_.AddFunction(kProbeSlot, nvme, nullptr);
  Probe();
  EXPECT_EQ(msix.ConfigRead(0x42, 2), 0x0040u);
  DirectFunction::Options edu = CapturedEdu();
  edu.config[0x42] = 0x81;
  DirectFunction& msi = machine_.AddFunction(kProbeSlot, edu, nullptr);
  Probe();
  EXPECT_EQ(msi.ConfigRead(0x42, 2), 0x0080u);
}

TEST_F(LinuxPciProbeTest, ExtendedCapabilitiesAreFollowed) {
  DirectFunction::Options options = CapturedNvme();
  // AER version 2, then a device serial number.
  options.config[0x100] = 0x01;
  options.config[0x102] = 0x02;
  options.config[0x103] = 0x14;
  options.config[0x140] = 0x03;
  options.config[0x142] = 0x01;
  machine_.AddFunction(kProbeSlot, options, nullptr);
  const std::unique_ptr<LinuxPciDevice> device = Probe();
  EXPECT_THAT(
      device->info.extended_capabilities,
      ElementsAre(GuestCapability{0x01, 0x100}, GuestCapability{0x03, 0x140}));
  EXPECT_EQ(device->FindExtendedCapability(3), 0x140);
}

TEST_F(LinuxPciProbeTest, AUnknownHeaderTypeIsIgnored) {
  DirectFunction::Options options = CapturedEdu();
  options.config[0x0e] = 0x02;
  machine_.AddFunction(kProbeSlot, options, nullptr);
  EXPECT_EQ(Probe(), nullptr);
}

TEST_F(LinuxPciProbeTest, PortsServeBelow256AndEcamAbove) {
  machine_.AddFunction(kProbeSlot, CapturedNvme(), nullptr);
  Probe();
  EXPECT_GT(machine_.port_accesses(), 50u);
  EXPECT_GT(machine_.ecam_accesses(), 0u);
  EXPECT_LT(machine_.ecam_accesses(), 5u);
}

TEST_F(LinuxPciProbeTest, ScanFindsFunctionsBehindAMultifunctionDevice) {
  machine_.AddFunction(pci::Bdf(0, 0, 0, 0), PlainHostBridge(), nullptr);
  machine_.AddFunction(pci::Bdf(0, 0, 5, 0), MixedFunction(true), nullptr);
  machine_.AddFunction(pci::Bdf(0, 0, 5, 6), CapturedEdu(), nullptr);
  machine_.AddFunction(pci::Bdf(0, 0, 31, 0), CapturedEdu(), nullptr);
  // These are hidden, because function 0 is not multifunction or is absent.
  machine_.AddFunction(pci::Bdf(0, 0, 31, 1), CapturedEdu(), nullptr);
  machine_.AddFunction(pci::Bdf(0, 0, 9, 1), CapturedEdu(), nullptr);
  std::vector<pci::Bdf> found;
  for (const auto& device : ScanBus0(&config_, {})) {
    found.push_back(device->info.bdf);
  }
  EXPECT_THAT(found, ElementsAre(pci::Bdf(0, 0, 0, 0), pci::Bdf(0, 0, 5, 0),
                                 pci::Bdf(0, 0, 5, 6), pci::Bdf(0, 0, 31, 0)));
}

// Probing ends whatever a function answers.
TEST_F(LinuxPciProbeTest, AnyContentsEnd) {
  std::mt19937 random(3);
  for (int round = 0; round < 100; ++round) {
    DirectFunction::Options options;
    options.config.resize(round % 2 == 0 ? 256 : 4096);
    for (uint8_t& byte : options.config) {
      byte = static_cast<uint8_t>(random());
    }
    options.config[0x06] |= 0x10;
    options.config[0x0e] = 0;
    machine_.AddFunction(kProbeSlot, options, nullptr);
    const std::unique_ptr<LinuxPciDevice> device = Probe();
    if (device == nullptr) continue;
    EXPECT_LE(device->info.capabilities.size(), 48u);
    EXPECT_LE(device->info.extended_capabilities.size(), 480u);
    machine_.ClearTrace();
  }
}

}  // namespace
}  // namespace passthru::guest
