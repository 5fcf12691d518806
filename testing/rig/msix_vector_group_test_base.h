// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_RIG_MSIX_VECTOR_GROUP_TEST_BASE_H_
#define PASSTHRU_TESTING_RIG_MSIX_VECTOR_GROUP_TEST_BASE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/interrupts/gsi_router.h"
#include "passthru/devices/interrupts/interrupt_budget.h"
#include "passthru/devices/interrupts/msix_vector_group.h"
#include "passthru/devices/interrupts/routing_entries.h"
#include "passthru/devices/kernel/epoll_event_loop.h"
#include "passthru/devices/kernel/failure_log.h"
#include "passthru/pci/msi_message.h"
#include "passthru/pci/vector_index.h"
#include "passthru/testing/rig/interrupt_rig.h"

namespace passthru::fake {

inline pci::MsiMessage VectorMessage(uint32_t data) {
  return {.address = 0xfee01000, .data = data};
}

// A group of 8 vectors on a simulated host, with a router and an event loop
// that runs only when the test lets it.
class MsixVectorGroupTest : public ::testing::Test {
 protected:
  using Kind = interrupts::MsixVectorGroup::Kind;
  static constexpr uint16_t kVectors = 8;

  MsixVectorGroupTest() { Create(Kind::kMsix, /*dynamic=*/true); }

  void Create(Kind kind, bool dynamic, uint32_t max_entries = 4096) {
    group_.reset();
    router_.reset();
    loop_.reset();
    rig_.emplace(InterruptRig::Options{.kind = kind == Kind::kMsi
                                                   ? InterruptRig::Kind::kMsi
                                                   : InterruptRig::Kind::kMsix,
                                       .vectors = kVectors,
                                       .dynamic = dynamic,
                                       .log = &log_});
    loop_ = *kernel::EpollEventLoop::Create(rig_->syscalls());
    router_ = *interrupts::GsiRouter::Create(
        {.table = &*rig_,
         .base_routes = interrupts::DefaultIrqchipRoutes(),
         .max_entries = max_entries});
    group_ = std::make_unique<interrupts::MsixVectorGroup>(
        interrupts::MsixVectorGroup::Options{.kind = kind,
                                             .vectors = kVectors,
                                             .syscalls = rig_->syscalls(),
                                             .host = &*rig_,
                                             .router = router_.get(),
                                             .controller = &*rig_,
                                             .loop = loop_.get(),
                                             .failures = &failures_,
                                             .budget = budget_,
                                             .name = "test MSI-X"});
    log_.clear();
  }

  void Set(uint16_t vector, uint32_t data, bool masked) {
    group_->SetVector(pci::VectorIndex(vector), VectorMessage(data), masked);
  }
  interrupts::VectorState State(uint16_t vector) const {
    return group_->state(pci::VectorIndex(vector));
  }
  bool Pending(uint16_t vector) const {
    return group_->Pending(pci::VectorIndex(vector), 1) == 1;
  }
  // Runs the callbacks that the event loop's thread would run.
  void RunLoop() {
    for (;;) {
      const absl::StatusOr<int> ran = loop_->RunOnce(/*timeout_ms=*/0);
      ASSERT_THAT(ran, absl_testing::IsOk());
      if (*ran == 0) return;
    }
  }
  void Fire(uint16_t vector) {
    ASSERT_TRUE(rig_->Fire(vector)) << "vector is not armed";
    RunLoop();
  }
  // Brings `vector` to kActive with message `data`.
  void Activate(uint16_t vector, uint32_t data) {
    Set(vector, data, /*masked=*/false);
    Fire(vector);
    ASSERT_EQ(State(vector), interrupts::VectorState::kActive);
    ASSERT_THAT(rig_->TakeDelivered(),
                ::testing::ElementsAre(VectorMessage(data)));
    log_.clear();
  }
  std::vector<pci::MsiMessage> Delivered() { return rig_->TakeDelivered(); }

  kernel::FailureLog failures_{"device"};
  CallLog log_;
  std::optional<InterruptRig> rig_;
  std::unique_ptr<kernel::EpollEventLoop> loop_;
  std::unique_ptr<interrupts::GsiRouter> router_;
  interrupts::InterruptBudget::Reservation* budget_ = nullptr;
  std::unique_ptr<interrupts::MsixVectorGroup> group_;
};

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_RIG_MSIX_VECTOR_GROUP_TEST_BASE_H_
