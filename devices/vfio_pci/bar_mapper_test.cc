// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/vfio_pci/bar_mapper.h"

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/bus/bus.h"
#include "passthru/devices/kernel/failure_log.h"
#include "passthru/devices/vfio_pci/bar_trap.h"
#include "passthru/devices/vfio_pci/fake_regions.h"

namespace passthru::vfio_pci {
namespace {

using ::absl_testing::IsOk;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

constexpr uint64_t kAddress = 0xe0000000;

class FakeMemory final : public memory::GuestMemory {
 public:
  absl::StatusOr<memory::AreaId> Add(const memory::MemoryArea& area) override {
    log.push_back(absl::StrCat("add ", absl::Hex(area.guest.value())));
    if (refuse) return absl::AlreadyExistsError("overlaps ram");
    areas[++last_] = area;
    return memory::AreaId(last_);
  }
  absl::Status Remove(memory::AreaId id) override {
    log.push_back(
        absl::StrCat("remove ", absl::Hex(areas.at(id.value()).guest.value())));
    if (stuck) return absl::InternalError("stuck");
    areas.erase(id.value());
    return absl::OkStatus();
  }
  absl::Status Abandon(memory::AreaId id) override {
    abandoned.push_back(id.value());
    return Remove(id);
  }

  std::map<uint64_t, memory::MemoryArea> areas;
  std::vector<std::string> log;
  std::vector<uint64_t> abandoned;
  bool refuse = false;
  bool stuck = false;

 private:
  uint64_t last_ = 0;
};

class BarMapperTest : public ::testing::Test {
 protected:
  // Creates a memory BAR of 16 KiB with a hole, and a BAR of 32 ports.
  void Create(bool read_only = false) {
    const pci::Bar memory_bar = {.index = pci::BarIndex(0),
                                 .type = pci::BarType::kMemory64,
                                 .size = 0x4000};
    const pci::Bar io_bar = {
        .index = pci::BarIndex(2), .type = pci::BarType::kIo, .size = 0x20};
    const auto trap = [this](uint8_t index) {
      return std::make_shared<BarTrap>("trap", pci::BarIndex(index), &regions_,
                                       &failures_, nullptr);
    };
    mapper_ = std::make_unique<BarMapper>(
        BarMapper::Options{.name = "test",
                           .failures = &failures_,
                           .regions = &regions_,
                           .mmio = &mmio_,
                           .pio = &pio_,
                           .memory = &memory_,
                           .physical_address_bits = 39,
                           .retries = &retries_},
        std::vector<BarMapper::Bar>{
            {memory_bar,
             {{0, 0x1000, BarAreaKind::kMapped},
              {0x1000, 0x1000, BarAreaKind::kMsixTable},
              {0x2000, 0x2000, BarAreaKind::kMapped}},
             trap(0),
             read_only},
            {io_bar, {{0, 0x20, BarAreaKind::kIoPorts}}, trap(2)}});
  }
  // Creates a memory BAR of 256 bytes, which the kernel lets be mapped.
  void CreateSmall(bus::AddressSpace* mmio = nullptr) {
    mapper_ = std::make_unique<BarMapper>(
        BarMapper::Options{.name = "test",
                           .failures = &failures_,
                           .regions = &regions_,
                           .mmio = mmio == nullptr ? &mmio_ : mmio,
                           .pio = &pio_,
                           .memory = &memory_,
                           .retries = &retries_},
        std::vector<BarMapper::Bar>{
            {{.index = pci::BarIndex(0),
              .type = pci::BarType::kMemory32,
              .size = 0x100},
             {{0, 0x100, BarAreaKind::kMapped}},
             std::make_shared<BarTrap>("trap", pci::BarIndex(0), &regions_,
                                       &failures_, nullptr)}});
  }
  // Adds what else the guest may have in the page of a BAR.
  bus::RangeHandle AddNeighbour(uint64_t address) {
    return *mmio_.Add(address, 0x100,
                      std::make_shared<BarTrap>("other", pci::BarIndex(1),
                                                &regions_, &failures_, nullptr),
                      bus::AddressSpace::kBarPriority);
  }
  BarAreaReport SmallArea() { return mapper_->Describe({})[0].areas[0]; }

  absl::Status Move(BarAddresses desired) {
    absl::Status status = mapper_->Retract(desired);
    mapper_->Place(desired);
    return status;
  }
  static BarAddresses At(std::optional<uint64_t> memory,
                         std::optional<uint64_t> io = {}) {
    BarAddresses addresses;
    addresses[0] = memory;
    addresses[2] = io;
    return addresses;
  }
  bool Answers(bus::Bus& space, uint64_t address) {
    const uint64_t misses = space.stats().misses;
    std::vector<uint8_t> byte(1);
    space.Read(address, absl::MakeSpan(byte));
    return space.stats().misses == misses;
  }

  kernel::FailureLog failures_{"device"};
  FakeRegions regions_;
  bus::Bus mmio_{"memory"};
  bus::Bus pio_{"ports"};
  FakeMemory memory_;
  BarRetries retries_;
  std::unique_ptr<BarMapper> mapper_;
};

TEST_F(BarMapperTest, MapsOnceAtCreation) {
  Create();
  EXPECT_THAT(regions_.log,
              ElementsAre("map BAR0+0x0 0x1000", "map BAR0+0x2000 0x2000"));
  EXPECT_THAT(memory_.log, IsEmpty());
}

TEST_F(BarMapperTest, PlacesMappedAreasAndTrapsTheWhole) {
  Create();
  ASSERT_THAT(Move(At(kAddress)), IsOk());
  EXPECT_THAT(memory_.log, ElementsAre("add e0000000", "add e0002000"));
  EXPECT_TRUE(Answers(mmio_, kAddress));
  EXPECT_TRUE(Answers(mmio_, kAddress + 0x3fff));
  EXPECT_FALSE(Answers(mmio_, kAddress + 0x4000));
  EXPECT_EQ(mapper_->placements(), 1u);
}

TEST_F(BarMapperTest, AreasOfABarThatCannotBeWrittenAreReadOnly) {
  Create(/*read_only=*/true);
  ASSERT_THAT(Move(At(kAddress)), IsOk());
  ASSERT_THAT(memory_.areas, SizeIs(2));
  for (const auto& [id, area] : memory_.areas) EXPECT_TRUE(area.read_only);
}

TEST_F(BarMapperTest, WhatStaysIsNotTouched) {
  Create();
  ASSERT_THAT(Move(At(kAddress)), IsOk());
  memory_.log.clear();
  ASSERT_THAT(Move(At(kAddress, 0xc000)), IsOk());
  EXPECT_THAT(memory_.log, IsEmpty());
  EXPECT_TRUE(Answers(pio_, 0xc01f));
}

TEST_F(BarMapperTest, AMoveTakesTheOldAwayFirst) {
  Create();
  ASSERT_THAT(Move(At(kAddress)), IsOk());
  memory_.log.clear();
  ASSERT_THAT(Move(At(kAddress + 0x4000)), IsOk());
  EXPECT_THAT(memory_.log, ElementsAre("remove e0000000", "remove e0002000",
                                       "add e0004000", "add e0006000"));
  EXPECT_FALSE(Answers(mmio_, kAddress));
}

TEST_F(BarMapperTest, AnAddressThatMakesNoSenseIsNotPlaced) {
  Create();
  for (const uint64_t address : {uint64_t{0}, uint64_t{0x1000}}) {
    ASSERT_THAT(Move(At(address)), IsOk());
    EXPECT_THAT(memory_.areas, IsEmpty());
    EXPECT_FALSE(Answers(mmio_, address));
    EXPECT_NE(mapper_->Describe({})[0].problem, "");
  }
}

TEST_F(BarMapperTest, ARefusedSlotLeavesTheTrap) {
  Create();
  memory_.refuse = true;
  ASSERT_THAT(Move(At(kAddress)), IsOk());
  EXPECT_TRUE(Answers(mmio_, kAddress));
  EXPECT_EQ(mapper_->refused(), 2u);
  const BarReport report = mapper_->Describe({})[0];
  EXPECT_TRUE(report.placed);
  EXPECT_FALSE(report.areas[0].in_guest);
  EXPECT_EQ(report.areas[0].refused, "overlaps ram");
}

TEST_F(BarMapperTest, ARefusedSlotIsTriedAgainWithTheNextChange) {
  Create();
  memory_.refuse = true;
  ASSERT_THAT(Move(At(kAddress)), IsOk());
  ASSERT_THAT(Move(At(kAddress)), IsOk());
  EXPECT_EQ(mapper_->refused(), 2u) << "each counts once";
  memory_.refuse = false;
  ASSERT_THAT(Move(At(kAddress)), IsOk());
  EXPECT_EQ(memory_.areas.size(), 2u);
  EXPECT_EQ(mapper_->Describe({})[0].areas[0].refused, "");
  EXPECT_EQ(mapper_->placements(), 1u);
}

TEST_F(BarMapperTest, ARetryThatFailsForTheSameReasonIsNoNews) {
  Create();
  memory_.refuse = true;
  ASSERT_THAT(Move(At(kAddress)), IsOk());
  EXPECT_EQ(failures_.count(), 2u);
  for (int i = 0; i < 3; ++i) retries_.Retry(nullptr);
  EXPECT_EQ(failures_.count(), 2u);
  EXPECT_EQ(mapper_->refused(), 2u);
}

TEST_F(BarMapperTest, ARefusedSlotIsTriedAgainWhenAnotherDeviceFreesPlace) {
  Create();
  memory_.refuse = true;
  ASSERT_THAT(Move(At(kAddress)), IsOk());
  memory_.refuse = false;
  retries_.Retry(nullptr);
  EXPECT_EQ(memory_.areas.size(), 2u);
  EXPECT_TRUE(mapper_->Describe({})[0].areas[0].in_guest);
}

TEST_F(BarMapperTest, OthersRetryAfterAMoveAndNotBefore) {
  struct Other final : BarRetries::Waiter {
    void RetryRefused() override { log->push_back("retry"); }
    std::vector<std::string>* log = nullptr;
  };
  Create();
  Other other;
  other.log = &memory_.log;
  retries_.Add(&other);
  ASSERT_THAT(Move(At(kAddress)), IsOk());
  EXPECT_THAT(memory_.log, ElementsAre("add e0000000", "add e0002000"))
      << "nothing became free";
  memory_.log.clear();
  ASSERT_THAT(Move(At(kAddress + 0x4000)), IsOk());
  EXPECT_THAT(memory_.log,
              ElementsAre("remove e0000000", "remove e0002000", "add e0004000",
                          "add e0006000", "retry"));
  memory_.log.clear();
  ASSERT_THAT(Move(At(kAddress + 0x4000)), IsOk());
  EXPECT_THAT(memory_.log, IsEmpty());
  ASSERT_THAT(mapper_->Unmap(), IsOk());
  EXPECT_THAT(memory_.log,
              ElementsAre("remove e0004000", "remove e0006000", "retry"));
  mapper_.reset();
  retries_.Remove(&other);
}

TEST_F(BarMapperTest, BeyondTheGuestsCpusABarAnswersNowhereWithoutComplaint) {
  Create();
  for (const uint64_t address :
       {uint64_t{1} << 39, uint64_t{0xffffffff'e0000000},
        uint64_t{0xff'e0000000}}) {
    ASSERT_THAT(Move(At(address)), IsOk());
    EXPECT_THAT(memory_.log, IsEmpty());
    EXPECT_FALSE(Answers(mmio_, address));
    EXPECT_THAT(mapper_->Describe({})[0].problem,
                HasSubstr("beyond the 39 address bits of the guest's CPUs"));
  }
  EXPECT_EQ(failures_.count(), 0u);
  EXPECT_EQ(mapper_->refused(), 0u);
  ASSERT_THAT(Move(At((uint64_t{1} << 39) - 0x4000)), IsOk());
  EXPECT_THAT(memory_.areas, SizeIs(2));
}

TEST_F(BarMapperTest, AMappingThatFailsBecomesATrap) {
  regions_.fail = true;
  Create();
  ASSERT_THAT(Move(At(kAddress)), IsOk());
  EXPECT_THAT(memory_.log, IsEmpty());
  EXPECT_TRUE(Answers(mmio_, kAddress));
  EXPECT_EQ(mapper_->Describe({})[0].areas[0].area.kind,
            BarAreaKind::kMapFailed);
}

TEST_F(BarMapperTest, ASlotThatStaysIsTriedAgain) {
  Create();
  ASSERT_THAT(Move(At(kAddress)), IsOk());
  memory_.stuck = true;
  EXPECT_THAT(Move(At({})), Not(IsOk()));
  EXPECT_FALSE(Answers(mmio_, kAddress));
  memory_.stuck = false;
  EXPECT_THAT(Move(At({})), IsOk());
  EXPECT_THAT(memory_.areas, IsEmpty());
}

TEST_F(BarMapperTest, ASlotLeftBehindByAMoveIsTriedAgain) {
  Create();
  ASSERT_THAT(Move(At(kAddress)), IsOk());
  memory_.stuck = true;
  EXPECT_THAT(Move(At(kAddress + 0x4000)), Not(IsOk()));
  memory_.stuck = false;
  memory_.log.clear();
  EXPECT_THAT(Move(At(kAddress + 0x4000)), IsOk());
  EXPECT_THAT(memory_.log, ElementsAre("remove e0000000", "remove e0002000",
                                       "add e0004000", "add e0006000"));
  EXPECT_TRUE(Answers(mmio_, kAddress + 0x4000));
}

// The guest still reaches the mapping.
TEST_F(BarMapperTest, ASlotThatStaysForGoodKeepsItsMapping) {
  Create();
  ASSERT_THAT(Move(At(kAddress)), IsOk());
  memory_.stuck = true;
  EXPECT_THAT(mapper_->Unmap(), Not(IsOk()));
  EXPECT_THAT(memory_.abandoned, ElementsAre(1u, 2u));
  for (const auto& [id, area] : memory_.areas) {
    EXPECT_EQ(area.backing.use_count(), 1) << "nobody else holds it";
  }
}

TEST_F(BarMapperTest, UnmapTakesEverythingAway) {
  Create();
  ASSERT_THAT(Move(At(kAddress, 0xc000)), IsOk());
  EXPECT_THAT(mapper_->Unmap(), IsOk());
  EXPECT_THAT(memory_.areas, IsEmpty());
  EXPECT_FALSE(Answers(mmio_, kAddress));
  EXPECT_FALSE(Answers(pio_, 0xc000));
}

TEST_F(BarMapperTest, ASmallBarAloneInItsPageHasASlotOfThePage) {
  CreateSmall();
  ASSERT_THAT(Move(At(kAddress)), IsOk());
  ASSERT_THAT(memory_.areas, SizeIs(1));
  EXPECT_EQ(memory_.areas[1].guest.value(), kAddress);
  EXPECT_EQ(memory_.areas[1].size, 0x1000u);
  EXPECT_TRUE(SmallArea().in_guest);
  EXPECT_EQ(SmallArea().shares_page, "");
  EXPECT_FALSE(Answers(mmio_, kAddress + 0x100)) << "no more is trapped";
}

TEST_F(BarMapperTest, ASmallBarAtNoPageIsTrappedWithoutComplaint) {
  CreateSmall();
  ASSERT_THAT(Move(At(kAddress + 0x100)), IsOk());
  EXPECT_THAT(memory_.log, IsEmpty());
  EXPECT_TRUE(Answers(mmio_, kAddress + 0x100));
  EXPECT_THAT(SmallArea().shares_page, HasSubstr("not where a page"));
  EXPECT_EQ(SmallArea().refused, "");
  EXPECT_EQ(failures_.count(), 0u);
  ASSERT_THAT(Move(At(kAddress)), IsOk());
  EXPECT_TRUE(SmallArea().in_guest);
  ASSERT_THAT(Move(At({})), IsOk());
  EXPECT_EQ(SmallArea().shares_page, "");
}

TEST_F(BarMapperTest, ASmallBarMakesWayForWhatComesIntoItsPage) {
  CreateSmall();
  ASSERT_THAT(Move(At(kAddress)), IsOk());
  memory_.log.clear();
  const bus::RangeHandle other = AddNeighbour(kAddress + 0xf00);
  EXPECT_THAT(memory_.log, ElementsAre("remove e0000000"));
  EXPECT_THAT(SmallArea().shares_page, HasSubstr("not alone"));
  EXPECT_FALSE(SmallArea().in_guest);
  EXPECT_TRUE(Answers(mmio_, kAddress)) << "it is trapped";
  retries_.Retry(nullptr);
  EXPECT_THAT(memory_.areas, IsEmpty());
  // The other one goes, and then a device of the VM tells.
  mmio_.Remove(other);
  retries_.Retry(nullptr);
  EXPECT_TRUE(SmallArea().in_guest);
  EXPECT_EQ(SmallArea().shares_page, "");
  EXPECT_EQ(failures_.count(), 0u);
  EXPECT_EQ(mapper_->refused(), 0u);
}

TEST_F(BarMapperTest, ASmallBarThatComesIntoATakenPageIsTrapped) {
  CreateSmall();
  AddNeighbour(kAddress + 0x800);
  ASSERT_THAT(Move(At(kAddress)), IsOk());
  EXPECT_THAT(memory_.log, IsEmpty());
  EXPECT_THAT(SmallArea().shares_page, HasSubstr("not alone"));
}

// It must not tell from its own ranges alone that the page is free.
TEST_F(BarMapperTest, AnAddressSpaceThatDoesNotKnowGetsTraps) {
  struct PlainSpace final : bus::AddressSpace {
    absl::StatusOr<bus::RangeHandle> Add(uint64_t base, uint64_t size,
                                         std::shared_ptr<bus::BusDevice> device,
                                         int priority) override {
      return bus->Add(base, size, std::move(device), priority);
    }
    void Remove(bus::RangeHandle handle) override { bus->Remove(handle); }
    bus::Bus* bus = nullptr;
  };
  PlainSpace space;
  space.bus = &mmio_;
  CreateSmall(&space);
  ASSERT_THAT(Move(At(kAddress)), IsOk());
  EXPECT_THAT(memory_.log, IsEmpty());
  EXPECT_TRUE(Answers(mmio_, kAddress));
  mapper_.reset();
}

TEST_F(BarMapperTest, ASmallBarWhoseSlotIsRefusedIsTrapped) {
  CreateSmall();
  memory_.refuse = true;
  ASSERT_THAT(Move(At(kAddress)), IsOk());
  EXPECT_EQ(SmallArea().refused, "overlaps ram");
  EXPECT_EQ(mapper_->refused(), 1u);
  // What stands in its way now is no failure.
  const bus::RangeHandle other = AddNeighbour(kAddress + 0x100);
  retries_.Retry(nullptr);
  EXPECT_EQ(SmallArea().refused, "");
  memory_.refuse = false;
  mmio_.Remove(other);
  retries_.Retry(nullptr);
  EXPECT_TRUE(SmallArea().in_guest);
}

TEST_F(BarMapperTest, ASlotThatCannotMakeWayIsToldAndTriedAgain) {
  CreateSmall();
  ASSERT_THAT(Move(At(kAddress)), IsOk());
  memory_.stuck = true;
  AddNeighbour(kAddress + 0x100);
  EXPECT_FALSE(SmallArea().in_guest);
  EXPECT_TRUE(SmallArea().stale_slot);
  EXPECT_THAT(SmallArea().refused, HasSubstr("stuck"));
  EXPECT_EQ(failures_.count(), 1u);
  memory_.stuck = false;
  // The next change of the device, whatever it is.
  ASSERT_THAT(Move(At(kAddress)), IsOk());
  EXPECT_THAT(memory_.areas, IsEmpty());
  EXPECT_FALSE(SmallArea().stale_slot);
  EXPECT_THAT(SmallArea().shares_page, HasSubstr("not alone"));
  EXPECT_TRUE(Answers(mmio_, kAddress));
}

TEST_F(BarMapperTest, ASlotThatCouldNotMakeWayIsGoodWhenThePageIsFree) {
  CreateSmall();
  ASSERT_THAT(Move(At(kAddress)), IsOk());
  memory_.stuck = true;
  const bus::RangeHandle other = AddNeighbour(kAddress + 0x100);
  mmio_.Remove(other);
  retries_.Retry(nullptr);
  EXPECT_TRUE(SmallArea().in_guest);
  EXPECT_EQ(SmallArea().refused, "");
  memory_.stuck = false;
}

// Both are placed by one write, and the first does not take the page first.
TEST_F(BarMapperTest, SmallBarsOfOneDeviceInOnePageMakeNoSlots) {
  std::vector<BarMapper::Bar> bars;
  for (const uint8_t index : {0, 1}) {
    bars.push_back({{.index = pci::BarIndex(index),
                     .type = pci::BarType::kMemory32,
                     .size = 0x100},
                    {{0, 0x100, BarAreaKind::kMapped}},
                    std::make_shared<BarTrap>("trap", pci::BarIndex(index),
                                              &regions_, &failures_, nullptr)});
  }
  mapper_ =
      std::make_unique<BarMapper>(BarMapper::Options{.name = "test",
                                                     .failures = &failures_,
                                                     .regions = &regions_,
                                                     .mmio = &mmio_,
                                                     .pio = &pio_,
                                                     .memory = &memory_},
                                  std::move(bars));
  BarAddresses addresses;
  addresses[0] = kAddress;
  addresses[1] = kAddress + 0x100;
  ASSERT_THAT(Move(addresses), IsOk());
  EXPECT_THAT(memory_.log, IsEmpty());
  // The second one moves to a page of its own, and the first gets its page.
  addresses[1] = kAddress + 0x1000;
  ASSERT_THAT(Move(addresses), IsOk());
  EXPECT_THAT(memory_.log, ElementsAre("add e0000000", "add e0001000"));
  memory_.log.clear();
  addresses[1] = kAddress + 0x200;
  ASSERT_THAT(Move(addresses), IsOk());
  EXPECT_THAT(memory_.log, ElementsAre("remove e0001000", "remove e0000000"));
}

}  // namespace
}  // namespace passthru::vfio_pci
