// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/vfio/mapped_registers.h"

#include <sys/mman.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/pci/bar_index.h"
#include "passthru/testing/models/device_model.h"
#include "passthru/testing/vfio/bar_memory.h"

namespace passthru::fake {
namespace {

using absl_testing::IsOk;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

constexpr pci::BarIndex kBar(0);
constexpr uint32_t kNoDoorbell = 0xffffffff;
// The registers: two that keep what is written, one that does not, and a
// doorbell. Memory follows them.
constexpr uint64_t kFirst = 0x0;
constexpr uint64_t kSecond = 0x4;
constexpr uint64_t kReadOnly = 0x8;
constexpr uint64_t kDoorbell = 0xc;
constexpr uint64_t kMemory = 0x10;

class Registers final : public models::DeviceModel {
 public:
  std::string_view name() const override { return "registers"; }
  bool HandlesBar(pci::BarIndex bar, uint64_t offset) const override {
    return bar == kBar && offset < kMemory;
  }
  bool IsDoorbell(pci::BarIndex, uint64_t offset) const override {
    return offset == kDoorbell;
  }
  uint64_t ReadBar(pci::BarIndex, uint64_t offset, unsigned) override {
    return values[offset];
  }
  void WriteBar(pci::BarIndex, uint64_t offset, unsigned width,
                uint64_t value) override {
    EXPECT_EQ(width, 4u);
    writes.emplace_back(offset, value);
    if (offset < kReadOnly) values[offset] = static_cast<uint32_t>(value);
  }
  void Reset(models::ResetKind) override { values = {}; }

  std::map<uint64_t, uint32_t> values = {{kReadOnly, 0x1234}};
  std::vector<std::pair<uint64_t, uint64_t>> writes;
};

class MappedRegistersTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto memory = BarMemory::Create(0x1000, "BAR");
    ASSERT_THAT(memory, IsOk());
    memory_ = *std::move(memory);
    auto registers = MappedRegisters::Create(&model_, kBar, memory_.get());
    ASSERT_THAT(registers, IsOk());
    registers_ = *std::move(registers);
    const auto mapped = memory_->Map(nullptr, 0x1000, PROT_READ | PROT_WRITE,
                                     MAP_SHARED, 0, /*alive=*/true);
    ASSERT_TRUE(mapped.ok());
    guest_ = static_cast<volatile uint32_t*>(mapped.value);
  }
  void TearDown() override { munmap(const_cast<uint32_t*>(guest_), 0x1000); }

  // Returns the guest's view of a register.
  volatile uint32_t& At(uint64_t offset) { return guest_[offset / 4]; }

  Registers model_;
  std::unique_ptr<BarMemory> memory_;
  std::unique_ptr<MappedRegisters> registers_;
  volatile uint32_t* guest_ = nullptr;
};

TEST_F(MappedRegistersTest, MemoryShowsRegistersFromTheStart) {
  EXPECT_EQ(At(kReadOnly), 0x1234u);
  EXPECT_EQ(At(kDoorbell), kNoDoorbell);
  EXPECT_FALSE(registers_->Sync());
  EXPECT_THAT(model_.writes, IsEmpty());
}

TEST_F(MappedRegistersTest, StoreReachesTheModelOnce) {
  At(kFirst) = 0x55;
  EXPECT_TRUE(registers_->Sync());
  EXPECT_FALSE(registers_->Sync());
  EXPECT_THAT(model_.writes, ElementsAre(Pair(kFirst, 0x55)));
  EXPECT_EQ(At(kFirst), 0x55u);
}

TEST_F(MappedRegistersTest, StoresFoundTogetherGoFromTheHighestDown) {
  At(kFirst) = 1;
  At(kSecond) = 2;
  At(kDoorbell) = 3;
  registers_->Sync();
  EXPECT_THAT(model_.writes, ElementsAre(Pair(kDoorbell, 3), Pair(kSecond, 2),
                                         Pair(kFirst, 1)));
}

TEST_F(MappedRegistersTest, EveryDoorbellCounts) {
  for (const uint32_t value : {7u, 7u, 0u}) {
    At(kDoorbell) = value;
    EXPECT_TRUE(registers_->Sync());
    EXPECT_EQ(At(kDoorbell), kNoDoorbell);
  }
  EXPECT_THAT(model_.writes, ElementsAre(Pair(kDoorbell, 7), Pair(kDoorbell, 7),
                                         Pair(kDoorbell, 0)));
}

TEST_F(MappedRegistersTest, ReadOnlyRegisterShowsItsValueAgain) {
  At(kReadOnly) = 0;
  registers_->Sync();
  EXPECT_EQ(At(kReadOnly), 0x1234u);
}

TEST_F(MappedRegistersTest, WhatTheModelChangesIsShown) {
  model_.values[kReadOnly] = 0x4321;
  EXPECT_FALSE(registers_->Sync());
  EXPECT_EQ(At(kReadOnly), 0x4321u);
}

TEST_F(MappedRegistersTest, MemoryIsNotLookedAt) {
  At(kMemory) = 9;
  EXPECT_FALSE(registers_->Sync());
  EXPECT_EQ(At(kMemory), 9u);
}

TEST_F(MappedRegistersTest, ResetForgetsWhatWasStored) {
  At(kFirst) = 5;
  At(kDoorbell) = 5;
  model_.Reset(models::ResetKind::kBus);
  memory_->Clear();
  registers_->Reset();
  EXPECT_FALSE(registers_->Sync());
  EXPECT_THAT(model_.writes, IsEmpty());
  EXPECT_EQ(At(kFirst), 0u);
  EXPECT_EQ(At(kDoorbell), kNoDoorbell);
}

}  // namespace
}  // namespace passthru::fake
