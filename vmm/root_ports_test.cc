// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/root_ports.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/allocator/gsi.h"
#include "passthru/devices/interrupts/interrupt_controller.h"
#include "passthru/devices/pci_host/pci_segment.h"
#include "passthru/pci/bar.h"
#include "passthru/pci/bar_index.h"
#include "passthru/pci/bdf.h"
#include "passthru/pci/bridge_windows.h"
#include "passthru/pci/msi_message.h"
#include "passthru/vmm/bar_windows.h"
#include "passthru/vmm/guest_layout.h"

namespace passthru::vmm {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// No port interrupts here.
class NoInterrupts final : public interrupts::InterruptController {
 public:
  absl::Status AssignIrqfd(int, allocator::Gsi) override {
    return absl::UnimplementedError("");
  }
  absl::Status AssignResampleIrqfd(int, int, allocator::Gsi) override {
    return absl::UnimplementedError("");
  }
  absl::Status DeassignIrqfd(int, allocator::Gsi) override {
    return absl::UnimplementedError("");
  }
  absl::Status SignalMsi(const pci::MsiMessage&) override {
    return absl::UnimplementedError("");
  }
};

pci::Bar PortBar(pci::BarType type, uint64_t size, bool prefetchable = false) {
  return {.index = pci::BarIndex(0),
          .type = type,
          .size = size,
          .prefetchable = prefetchable};
}

class RootPortsTest : public ::testing::Test {
 protected:
  absl::Status Create(const std::vector<RootPortOptions>& wanted) {
    auto ports = RootPorts::Create({.segment = &segment_,
                                    .windows = windows_.get(),
                                    .controller = &controller_},
                                   wanted);
    if (!ports.ok()) return ports.status();
    ports_ = *std::move(ports);
    return absl::OkStatus();
  }

  // Returns the windows that a guest finds in a port.
  pci::BridgeWindows Windows(size_t number) {
    std::vector<uint8_t> bytes(256);
    segment_.ConfigRead(ports_->place(number), 0, absl::MakeSpan(bytes));
    return pci::BridgeWindows::Read(bytes);
  }
  uint32_t Read(pci::Bdf bdf, uint16_t offset) {
    std::vector<uint8_t> data(4);
    segment_.ConfigRead(bdf, offset, absl::MakeSpan(data));
    return data[0] | data[1] << 8 | data[2] << 16 | uint32_t{data[3]} << 24;
  }

  pci_host::PciSegment segment_;
  std::unique_ptr<BarWindows> windows_ = *BarWindows::Create(46);
  NoInterrupts controller_;
  std::unique_ptr<RootPorts> ports_;
};

TEST_F(RootPortsTest, EachHasABusAndWindowsOfItsOwn) {
  ASSERT_THAT(Create({{}, {}}), IsOk());
  ASSERT_EQ(ports_->size(), 2u);
  EXPECT_EQ(Read(ports_->place(0), 0x18), 0x00010100u);
  EXPECT_EQ(Read(ports_->place(1), 0x18), 0x00020200u);
  const pci::BridgeWindows first = Windows(0);
  const pci::BridgeWindows second = Windows(1);
  EXPECT_EQ(first.io.size, 0x1000u);
  EXPECT_EQ(first.memory.size, uint64_t{2} << 20);
  EXPECT_EQ(first.prefetchable.size, uint64_t{1} << 30);
  EXPECT_GE(first.prefetchable.base, kMmio64Base);
  EXPECT_GE(second.io.base, first.io.base + first.io.size);
  EXPECT_FALSE(first.memory.Contains(second.memory.base, 1));
  EXPECT_FALSE(first.prefetchable.Contains(second.prefetchable.base, 1));
  // The port is enabled, as firmware leaves it.
  EXPECT_EQ(Read(ports_->place(0), 0x04) & 0x7, 0x7u);
}

TEST_F(RootPortsTest, SizesAreTheVmmsChoice) {
  ASSERT_THAT(Create({{.io = 0,
                       .memory = uint64_t{64} << 20,
                       .prefetchable = uint64_t{256} << 30}}),
              IsOk());
  const pci::BridgeWindows windows = Windows(0);
  EXPECT_EQ(windows.io.size, 0u);
  EXPECT_EQ(windows.memory.size, uint64_t{64} << 20);
  EXPECT_EQ(windows.prefetchable.size, uint64_t{256} << 30);
}

TEST_F(RootPortsTest, SlotsAreTheFirstFreeOnesOrTheVmmsChoice) {
  ASSERT_THAT(Create({{}, {.slot = 9}, {}}), IsOk());
  EXPECT_THAT(segment_.Functions(),
              ElementsAre(pci::Bdf(0, 0, 0, 0), pci::Bdf(0, 0, 1, 0),
                          pci::Bdf(0, 0, 9, 0)));
  EXPECT_EQ(ports_->place(1), pci::Bdf(0, 0, 9, 0));
  ports_.reset();
  EXPECT_THAT(segment_.Functions(), IsEmpty());
}

TEST_F(RootPortsTest, WhatIsBehindAPortHasItsFirstBusNumber) {
  ASSERT_THAT(Create({{}, {}}), IsOk());
  EXPECT_EQ(ports_->Behind(1), pci::Bdf(0, 2, 0, 0));
  EXPECT_EQ(ports_->PortOf(pci::Bdf(0, 2, 0, 5)), 1u);
  EXPECT_EQ(ports_->PortOf(pci::Bdf(0, 2, 1, 0)), std::nullopt);
  EXPECT_EQ(ports_->PortOf(pci::Bdf(0, 0, 1, 0)), std::nullopt);
}

TEST_F(RootPortsTest, ImpossiblePortsAreNamed) {
  EXPECT_THAT(Create({{}, {.slot = 32}}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("root port 1: bus 0 has slots 0 to 31")));
  EXPECT_THAT(
      Create({{.slot = 3}, {.slot = 3}}),
      StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("root port 1")));
  EXPECT_THAT(
      Create({{.memory = uint64_t{4} << 30}}),
      StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("root port 0")));
  EXPECT_THAT(Create({{.memory = 0x1000}}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("multiples of 0x100000")));
  EXPECT_THAT(segment_.Functions(), IsEmpty());
  // Nothing of the failures is left.
  std::vector<RootPortOptions> many(14);
  EXPECT_THAT(Create(many), IsOk());
}

TEST_F(RootPortsTest, BarsGoWhereTheyMay) {
  ASSERT_THAT(Create({{}}), IsOk());
  const pci::BridgeWindows windows = Windows(0);
  const auto place = [&](const pci::Bar& bar) {
    return ports_->PlaceBar(0, bar, std::nullopt);
  };
  const auto io = place(PortBar(pci::BarType::kIo, 0x20));
  ASSERT_THAT(io, IsOk());
  EXPECT_TRUE(windows.io.Contains(io->address(), 0x20));
  const auto plain = place(PortBar(pci::BarType::kMemory64, 0x4000));
  ASSERT_THAT(plain, IsOk());
  EXPECT_TRUE(windows.memory.Contains(plain->address(), 0x4000));
  const auto prefetchable =
      place(PortBar(pci::BarType::kMemory64, 0x4000, /*prefetchable=*/true));
  ASSERT_THAT(prefetchable, IsOk());
  EXPECT_TRUE(windows.prefetchable.Contains(prefetchable->address(), 0x4000));
  // A 32-bit BAR cannot be above 4 GiB.
  const auto narrow =
      place(PortBar(pci::BarType::kMemory32, 0x4000, /*prefetchable=*/true));
  ASSERT_THAT(narrow, IsOk());
  EXPECT_TRUE(windows.memory.Contains(narrow->address(), 0x4000));
  EXPECT_THAT(place(PortBar(pci::BarType::kMemory32, 0x400000)),
              StatusIs(absl::StatusCode::kResourceExhausted));
}

TEST_F(RootPortsTest, BarsAtGivenAddressesAreInAWindow) {
  ASSERT_THAT(Create({{.io = 0}}), IsOk());
  const uint64_t base = Windows(0).memory.base;
  const pci::Bar bar = PortBar(pci::BarType::kMemory32, 0x4000);
  const auto place = ports_->PlaceBar(0, bar, base + 0x8000);
  ASSERT_THAT(place, IsOk());
  EXPECT_EQ(place->address(), base + 0x8000);
  EXPECT_THAT(ports_->PlaceBar(0, bar, base + 0x8000),
              StatusIs(absl::StatusCode::kAlreadyExists));
  EXPECT_THAT(ports_->PlaceBar(0, bar, base + 0x1000),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(ports_->PlaceBar(0, bar, 0x1000),
              StatusIs(absl::StatusCode::kOutOfRange));
  EXPECT_THAT(
      ports_->PlaceBar(0, PortBar(pci::BarType::kIo, 0x20), {}),
      StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("no window")));
}

TEST_F(RootPortsTest, AResetWritesTheWindowsAgain) {
  ASSERT_THAT(Create({{}}), IsOk());
  const pci::BridgeWindows before = Windows(0);
  segment_.ConfigWrite(ports_->place(0), 0x20, {0, 0, 0, 0});
  segment_.ConfigWrite(ports_->place(0), 0x18, {0, 9, 9});
  ports_->ResetAll();
  EXPECT_EQ(Windows(0), before);
  EXPECT_EQ(Read(ports_->place(0), 0x18), 0x00010100u);
}

}  // namespace
}  // namespace passthru::vmm
