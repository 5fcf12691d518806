// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/guest/linux/config_access.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/guest/guest_cpu.h"
#include "passthru/testing/guest/guest_layout.h"

namespace passthru::guest {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// A CPU that returns a constant for loads and records each access.
class RecordingCpu final : public GuestCpu {
 public:
  uint64_t Load(uint64_t address, unsigned width) override {
    accesses.push_back(absl::StrFormat("load%d %x", width, address));
    return 0x8877665544332211;
  }
  void Store(uint64_t address, unsigned width, uint64_t value) override {
    accesses.push_back(absl::StrFormat("store%d %x=%x", width, address, value));
  }
  uint32_t In(uint16_t port, unsigned width) override {
    accesses.push_back(absl::StrFormat("in%d %x", width, port));
    return 0x44332211;
  }
  void Out(uint16_t port, unsigned width, uint32_t value) override {
    accesses.push_back(absl::StrFormat("out%d %x=%x", width, port, value));
  }
  std::optional<GuestInterrupt> WaitForInterrupt() override {
    return std::nullopt;
  }
  bool Stopping() const override { return false; }

  std::vector<std::string> accesses;
};

constexpr pci::Bdf kFunction(0, 0, 3, 2);

TEST(PortConfigAccessTest, AddressGoesOutAndDataComesAtTheLowBits) {
  RecordingCpu cpu;
  PortConfigAccess config(&cpu);
  EXPECT_EQ(config.Read(kFunction, 0x3d, 1), 0x11u);
  EXPECT_EQ(config.Read(kFunction, 0x06, 2), 0x2211u);
  EXPECT_EQ(config.Read(kFunction, 0x10, 4), 0x44332211u);
  EXPECT_THAT(cpu.accesses,
              ElementsAre("out4 cf8=80001a3c", "in1 cfd", "out4 cf8=80001a04",
                          "in2 cfe", "out4 cf8=80001a10", "in4 cfc"));
}

TEST(PortConfigAccessTest, WritesKeepTheirWidth) {
  RecordingCpu cpu;
  PortConfigAccess config(&cpu);
  config.Write(kFunction, 0x42, 2, 0x1c000);
  EXPECT_THAT(cpu.accesses, ElementsAre("out4 cf8=80001a40", "out2 cfe=c000"));
}

TEST(PortConfigAccessTest, ExtendedSpaceAndOtherSegmentsAreOutOfReach) {
  RecordingCpu cpu;
  PortConfigAccess config(&cpu);
  EXPECT_EQ(config.Read(kFunction, 0x100, 4), 0xffffffffu);
  EXPECT_EQ(config.Read(pci::Bdf(1, 0, 0, 0), 0, 2), 0xffffu);
  config.Write(kFunction, 0x100, 4, 0);
  EXPECT_THAT(cpu.accesses, IsEmpty());
}

TEST(EcamConfigAccessTest, EachFunctionHasItsPage) {
  RecordingCpu cpu;
  EcamConfigAccess config(&cpu, {0xe0000000, 0x100000});
  EXPECT_EQ(config.Read(kFunction, 0x100, 4), 0x44332211u);
  EXPECT_EQ(config.Read(kFunction, 0x3d, 1), 0x11u);
  config.Write(kFunction, 0x104, 4, 5);
  EXPECT_THAT(cpu.accesses, ElementsAre("load4 e001a100", "load1 e001a03d",
                                        "store4 e001a104=5"));
}

TEST(EcamConfigAccessTest, BusesOutsideOfTheWindowAreOutOfReach) {
  RecordingCpu cpu;
  EcamConfigAccess config(&cpu, {0xe0000000, 0x100000});
  EXPECT_EQ(config.Read(pci::Bdf(0, 1, 0, 0), 0, 4), 0xffffffffu);
  config.Write(pci::Bdf(0, 1, 0, 0), 0, 4, 0);
  EXPECT_THAT(cpu.accesses, IsEmpty());
}

TEST(LinuxConfigAccessTest, PortsBelow256AndEcamAbove) {
  RecordingCpu cpu;
  GuestLayout layout;
  layout.ecam = {0xe0000000, 0x100000};
  LinuxConfigAccess config(&cpu, layout);
  config.Read(kFunction, 0xfc, 4);
  config.Read(kFunction, 0x100, 4);
  EXPECT_THAT(cpu.accesses,
              ElementsAre("out4 cf8=80001afc", "in4 cfc", "load4 e001a100"));
}

TEST(LinuxConfigAccessTest, OneMechanismServesAll) {
  RecordingCpu cpu;
  GuestLayout layout;
  layout.ecam = {0xe0000000, 0x100000};
  layout.config_ports = false;
  LinuxConfigAccess ecam_only(&cpu, layout);
  ecam_only.Read(kFunction, 0, 4);
  EXPECT_THAT(cpu.accesses, ElementsAre("load4 e001a000"));
  cpu.accesses.clear();
  LinuxConfigAccess ports_only(&cpu, GuestLayout());
  EXPECT_EQ(ports_only.Read(kFunction, 0x100, 4), 0xffffffffu);
  EXPECT_THAT(cpu.accesses, IsEmpty());
}

}  // namespace
}  // namespace passthru::guest
