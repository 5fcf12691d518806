// SPDX-License-Identifier: Apache-2.0
// Tests KvmSlotListener against a kernel (see kvm_test_backend.h).
#include <cerrno>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/allocator/id_allocator.h"
#include "passthru/allocator/memory_slot.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/mapped_region.h"
#include "passthru/devices/kernel/page_size.h"
#include "passthru/devices/kvm/kvm_vm.h"
#include "passthru/devices/kvm/slot_listener.h"
#include "passthru/devices/memory/guest_address.h"
#include "passthru/devices/memory/memory_area.h"
#include "passthru/testing/rig/kvm_test_backend.h"

namespace passthru::kvm {
namespace {

using absl_testing::IsOk;
using absl_testing::StatusIs;
using fake::KvmContractTest;
using kernel::ErrnoOf;
using memory::GuestAddress;
using memory::MemoryArea;
using testing::HasSubstr;

class KvmSlotListenerTest : public KvmContractTest {
 protected:
  void SetUp() override {
    KvmContractTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    absl::StatusOr<kernel::MappedRegion> memory =
        kernel::MappedRegion::Allocate(syscalls(), 4 * kernel::PageSize(),
                                       "guest memory");
    ASSERT_THAT(memory, IsOk());
    memory_ = *std::move(memory);
    // Allocates slots 10 and 11 and leaves those below to the VMM.
    auto slots =
        allocator::MemorySlotAllocator::Create(allocator::MemorySlot(10), 2);
    ASSERT_THAT(slots, IsOk());
    slots_ = *std::move(slots);
    listener_ = std::make_unique<KvmSlotListener>(&vm(), slots_.get());
  }

  MemoryArea Area(uint64_t page, bool read_only = false) {
    return {.guest = GuestAddress(page * kernel::PageSize()),
            .size = kernel::PageSize(),
            .host = memory_.data(),
            .read_only = read_only,
            .kind = MemoryArea::Kind::kRam,
            .name = "ram"};
  }

  kernel::MappedRegion memory_;
  std::unique_ptr<allocator::MemorySlotAllocator> slots_;
  std::unique_ptr<KvmSlotListener> listener_;
};

TEST_F(KvmSlotListenerTest, AreaTakesASlotAndGivesItBack) {
  EXPECT_THAT(listener_->OnAdd(Area(1)), IsOk());
  EXPECT_EQ(listener_->slot_count(), 1u);
  const auto slots = listener_->Slots();
  ASSERT_EQ(slots.size(), 1u);
  EXPECT_EQ(slots.begin()->first, Area(1).guest);
  EXPECT_EQ(slots_->available(), 1u);
  // The kernel has the slot and refuses another one at the same place.
  EXPECT_EQ(ErrnoOf(vm().SetMemorySlot(allocator::MemorySlot(0), Area(1).guest,
                                       Area(1).size, memory_.data(), false)),
            EEXIST);
  EXPECT_THAT(listener_->OnRemove(Area(1)), IsOk());
  EXPECT_EQ(listener_->slot_count(), 0u);
  EXPECT_EQ(slots_->available(), 2u);
  EXPECT_EQ(ErrnoOf(vm().DeleteMemorySlot(allocator::MemorySlot(10))), EINVAL);
}

TEST_F(KvmSlotListenerTest, ReadOnlyAreaIsAReadOnlySlot) {
  EXPECT_THAT(listener_->OnAdd(Area(1, /*read_only=*/true)), IsOk());
  // The kernel accepts the slot again unchanged but refuses to make it
  // writable.
  EXPECT_THAT(vm().SetMemorySlot(allocator::MemorySlot(10), Area(1).guest,
                                 Area(1).size, memory_.data(), true),
              IsOk());
  EXPECT_EQ(ErrnoOf(vm().SetMemorySlot(allocator::MemorySlot(10), Area(1).guest,
                                       Area(1).size, memory_.data(), false)),
            EINVAL);
}

TEST_F(KvmSlotListenerTest, MoreAreasThanSlotsAreRefused) {
  EXPECT_THAT(listener_->OnAdd(Area(1)), IsOk());
  EXPECT_THAT(listener_->OnAdd(Area(2)), IsOk());
  EXPECT_THAT(listener_->OnAdd(Area(3)),
              StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_THAT(listener_->OnRemove(Area(1)), IsOk());
  EXPECT_THAT(listener_->OnAdd(Area(3)), IsOk());
}

TEST_F(KvmSlotListenerTest, RefusedAreaHoldsNoSlot) {
  EXPECT_THAT(vm().SetMemorySlot(allocator::MemorySlot(0), Area(1).guest,
                                 Area(1).size, memory_.data(), false),
              IsOk());
  const absl::Status status = listener_->OnAdd(Area(1));
  EXPECT_EQ(ErrnoOf(status), EEXIST);
  EXPECT_THAT(status.message(), HasSubstr("guest=0x1000"));
  EXPECT_EQ(listener_->slot_count(), 0u);
  EXPECT_EQ(slots_->available(), 2u);
}

TEST_F(KvmSlotListenerTest, UnknownAreaIsNotFound) {
  EXPECT_THAT(listener_->OnRemove(Area(1)),
              StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(KvmSlotListenerTest, FailedRemovalKeepsTheSlotForAnotherTry) {
  ASSERT_THAT(listener_->OnAdd(Area(1)), IsOk());
  // Deletes the slot without the listener's knowledge.
  ASSERT_THAT(vm().DeleteMemorySlot(allocator::MemorySlot(10)), IsOk());
  EXPECT_EQ(ErrnoOf(listener_->OnRemove(Area(1))), EINVAL);
  EXPECT_EQ(listener_->slot_count(), 1u);
  EXPECT_EQ(slots_->available(), 1u);
  ASSERT_THAT(vm().SetMemorySlot(allocator::MemorySlot(10), Area(1).guest,
                                 Area(1).size, memory_.data(), false),
              IsOk());
  EXPECT_THAT(listener_->OnRemove(Area(1)), IsOk());
  EXPECT_EQ(slots_->available(), 2u);
}

}  // namespace
}  // namespace passthru::kvm
