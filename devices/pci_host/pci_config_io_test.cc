// SPDX-License-Identifier: Apache-2.0

#include "passthru/devices/pci_host/pci_config_io.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/bus/bus.h"
#include "passthru/devices/pci_host/fake_pci_function.h"
#include "passthru/devices/pci_host/pci_segment.h"
#include "passthru/pci/bdf.h"

namespace passthru::pci_host {
namespace {

using ::absl_testing::IsOk;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr uint16_t kAddress = 0xcf8;
constexpr uint16_t kData = 0xcfc;

// Accesses the ports as a guest does, through a bus.
class PciConfigIoTest : public testing::Test {
 protected:
  PciConfigIoTest() {
    EXPECT_THAT(ports_.Add(PciConfigIo::kPort, PciConfigIo::kPortCount,
                           std::make_shared<PciConfigIo>(segment_), 0),
                IsOk());
    EXPECT_THAT(segment_->Add(pci::Bdf(0, 1, 2, 3), function_), IsOk());
    for (size_t i = 0; i < 4096; ++i)
      function_->bytes[i] = static_cast<uint8_t>(i + (i >> 8));
    // The segment would correct the header type at 0x0e.
    function_->bytes[0x0e] = 0;
  }

  uint32_t In(uint16_t port, unsigned width) {
    uint8_t data[4];
    ports_.Read(port, absl::MakeSpan(data, width));
    uint32_t value = 0;
    for (unsigned i = 0; i < width; ++i) value |= uint32_t{data[i]} << (8 * i);
    return value;
  }

  void Out(uint16_t port, unsigned width, uint32_t value) {
    uint8_t data[4];
    for (unsigned i = 0; i < width; ++i)
      data[i] = static_cast<uint8_t>(value >> (8 * i));
    ports_.Write(port, absl::MakeConstSpan(data, width));
  }

  // Enable, bus 1, device 2, function 3.
  static constexpr uint32_t kSelect = 0x80011300;

  const std::shared_ptr<PciSegment> segment_ = std::make_shared<PciSegment>();
  const std::shared_ptr<FakePciFunction> function_ =
      std::make_shared<FakePciFunction>();
  bus::Bus ports_{"pio"};
};

TEST_F(PciConfigIoTest, TheResetControlRegisterIsAByteAmongTheAddressPorts) {
  std::vector<uint8_t> written;
  bus::Bus ports("pio");
  ASSERT_THAT(
      ports.Add(PciConfigIo::kPort, PciConfigIo::kPortCount,
                std::make_shared<PciConfigIo>(
                    segment_,
                    [&written](uint8_t value) { written.push_back(value); }),
                0),
      IsOk());
  const std::vector<uint8_t> address = {0x00, 0x13, 0x01, 0x80};
  ports.Write(kAddress, address);
  const std::vector<uint8_t> reset = {0x06};
  ports.Write(kAddress + 1, reset);
  const std::vector<uint8_t> two = {0x06, 0x06};
  ports.Write(kAddress + 1, two);
  EXPECT_THAT(written, ElementsAre(0x06));
  std::vector<uint8_t> read(4);
  ports.Read(kAddress, absl::MakeSpan(read));
  EXPECT_EQ(read, address) << "the dword is not cut";
}

// Does what pci_check_type1() in arch/x86/pci/direct.c does. It writes a byte
// to 0xCFB, which must have no effect, and then the dword 0x80000000, which
// must read back.
TEST_F(PciConfigIoTest, LinuxFindsConfigurationMechanismOne) {
  Out(0xcfb, 1, 0x01);
  const uint32_t saved = In(kAddress, 4);
  Out(kAddress, 4, 0x80000000);
  EXPECT_EQ(In(kAddress, 4), 0x80000000u);
  Out(kAddress, 4, saved);
  EXPECT_EQ(In(kAddress, 4), saved);
}

TEST_F(PciConfigIoTest, TheAddressIsZeroAtFirst) {
  EXPECT_EQ(In(kAddress, 4), 0u);
}

TEST_F(PciConfigIoTest, ReservedAddressBitsReadZero) {
  Out(kAddress, 4, 0xffffffff);
  EXPECT_EQ(In(kAddress, 4), 0x80fffffcu);
}

TEST_F(PciConfigIoTest, ReadsTheDataAtEveryWidth) {
  Out(kAddress, 4, kSelect | 0x40);
  EXPECT_EQ(In(kData, 4), 0x43424140u);
  EXPECT_EQ(In(kData, 2), 0x4140u);
  EXPECT_EQ(In(kData + 2, 2), 0x4342u);
  EXPECT_EQ(In(kData + 1, 2), 0x4241u);
  for (unsigned i = 0; i < 4; ++i)
    EXPECT_EQ(In(static_cast<uint16_t>(kData + i), 1), 0x40u + i);
}

TEST_F(PciConfigIoTest, WritesTheDataAtEveryWidth) {
  Out(kAddress, 4, kSelect | 0x40);
  Out(kData, 4, 0x11223344);
  EXPECT_EQ(In(kData, 4), 0x11223344u);
  Out(kData + 2, 2, 0xaabb);
  EXPECT_EQ(In(kData, 4), 0xaabb3344u);
  Out(kData + 1, 1, 0xcc);
  EXPECT_EQ(In(kData, 4), 0xaabbcc44u);
  Out(kData + 1, 2, 0xddee);
  EXPECT_EQ(In(kData, 4), 0xaaddee44u);
}

TEST_F(PciConfigIoTest, TheTwoLowBitsOfTheAddressSelectNothing) {
  Out(kAddress, 4, kSelect | 0x43);
  EXPECT_EQ(In(kData, 4), 0x43424140u);
}

TEST_F(PciConfigIoTest, ReachesTheLastRegister) {
  Out(kAddress, 4, kSelect | 0xfc);
  EXPECT_EQ(In(kData + 3, 1), 0xffu);
  EXPECT_EQ(In(kData, 4), 0xfffefdfcu);
}

TEST_F(PciConfigIoTest, WithoutTheEnableBitNobodyAnswers) {
  Out(kAddress, 4, (kSelect | 0x40) & 0x7fffffff);
  EXPECT_EQ(In(kData, 4), 0xffffffffu);
  Out(kData, 4, 0);
  EXPECT_THAT(function_->log, IsEmpty());
}

TEST_F(PciConfigIoTest, AnAbsentFunctionReadsAllOnes) {
  for (const uint32_t select : {0x80011200u, 0x80011b00u, 0x80021300u}) {
    Out(kAddress, 4, select);
    EXPECT_EQ(In(kData, 4), 0xffffffffu);
  }
}

TEST_F(PciConfigIoTest, NarrowAccessesToTheAddressAreOrdinaryIo) {
  Out(kAddress, 4, kSelect | 0x40);
  for (const unsigned width : {1u, 2u}) {
    for (unsigned i = 0; i + width <= 4; ++i) {
      const uint16_t port = static_cast<uint16_t>(kAddress + i);
      Out(port, width, 0);
      EXPECT_EQ(In(port, width), width == 1 ? 0xffu : 0xffffu);
    }
  }
  EXPECT_EQ(In(kAddress, 4), kSelect | 0x40);
}

// A CPU splits such an access in two. One that arrives whole has the same
// effect.
TEST_F(PciConfigIoTest, AnAccessAcrossBothPortsSeesDataOnly) {
  Out(kAddress, 4, kSelect | 0x40);
  EXPECT_EQ(In(0xcfa, 4), 0x4140ffffu);
  Out(0xcfa, 4, 0x88776655);
  EXPECT_EQ(In(kAddress, 4), kSelect | 0x40);
  EXPECT_EQ(In(kData, 4), 0x43428877u);
}

TEST_F(PciConfigIoTest, AnAccessBeyondTheDataPortsIsCut) {
  Out(kAddress, 4, kSelect | 0x40);
  EXPECT_EQ(In(0xcfe, 4), 0xffff4342u);
  EXPECT_EQ(In(0xcfd, 4), 0xff434241u);
  EXPECT_THAT(function_->log,
              ElementsAre("read 0x42 2", "read 0x41 1", "read 0x42 2"));
}

TEST_F(PciConfigIoTest, WhatIsBeyondItsOwnPortsIsNobodys) {
  PciConfigIo ports(segment_);
  uint8_t data[4] = {};
  EXPECT_THAT(ports.Read(8, absl::MakeSpan(data)), IsOk());
  EXPECT_THAT(data, testing::Each(0xff));
  EXPECT_THAT(ports.Write(uint64_t{1} << 40, data), IsOk());
  EXPECT_THAT(function_->log, IsEmpty());
}

}  // namespace
}  // namespace passthru::pci_host
