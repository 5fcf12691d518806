// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/root_port/port_interrupt.h"

#include <cerrno>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/kernel/failure_log.h"
#include "passthru/pci/msi_message.h"
#include "passthru/testing/rig/interrupt_rig.h"

namespace passthru::root_port {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr pci::MsiMessage kMessage = {.address = 0xfee01000, .data = 0x41};

class RecordingLine final : public interrupts::InterruptLine {
 public:
  RecordingLine(bool* level, const absl::Status* answer)
      : level_(level), answer_(answer) {}
  absl::Status Set(bool asserted) override {
    *level_ = asserted;
    return *answer_;
  }

 private:
  bool* const level_;
  const absl::Status* const answer_;
};

class PortInterruptTest : public ::testing::Test {
 protected:
  PortInterruptTest() {
    state_.bus_master = true;
    state_.msi = {.enabled = true, .programmed = kMessage};
  }

  // Returns the messages that the update caused.
  std::vector<pci::MsiMessage> Update() {
    interrupt_.Update(state_);
    return controller_.TakeDelivered();
  }

  fake::InterruptRig controller_;
  kernel::FailureLog failures_{"port"};
  bool level_ = false;
  absl::Status line_answer_;
  PortInterrupt interrupt_{
      &controller_, std::make_unique<RecordingLine>(&level_, &line_answer_),
      &failures_};
  PortInterrupt::State state_;
};

TEST_F(PortInterruptTest, AMessageIsSentWhenAnEventComes) {
  EXPECT_THAT(Update(), IsEmpty());
  state_.event = true;
  EXPECT_THAT(Update(), ElementsAre(kMessage));
  EXPECT_THAT(Update(), IsEmpty()) << "it is the same condition";
  state_.event = false;
  EXPECT_THAT(Update(), IsEmpty());
  state_.event = true;
  EXPECT_THAT(Update(), ElementsAre(kMessage));
  EXPECT_FALSE(level_);
}

// The condition includes the enable bits (PCIe 6.0 6.7.3.4).
TEST_F(PortInterruptTest, AnEventBeforeMsiIsEnabledIsSentThen) {
  state_.event = true;
  state_.msi.enabled = false;
  EXPECT_THAT(Update(), IsEmpty());
  state_.msi.enabled = true;
  EXPECT_THAT(Update(), ElementsAre(kMessage));
}

TEST_F(PortInterruptTest, AMessageNeedsBusMastering) {
  state_.event = true;
  state_.bus_master = false;
  EXPECT_THAT(Update(), IsEmpty());
  state_.bus_master = true;
  EXPECT_THAT(Update(), ElementsAre(kMessage));
}

TEST_F(PortInterruptTest, AMaskedMessageWaits) {
  state_.event = true;
  state_.msi.mask_bits = 1;
  EXPECT_THAT(Update(), IsEmpty());
  EXPECT_TRUE(interrupt_.msi_pending());
  state_.msi.mask_bits = 0;
  EXPECT_THAT(Update(), ElementsAre(kMessage));
  EXPECT_FALSE(interrupt_.msi_pending());
}

TEST_F(PortInterruptTest, AMaskedMessageWhoseEventWasSeenIsNotSent) {
  state_.event = true;
  state_.msi.mask_bits = 1;
  Update();
  state_.event = false;
  Update();
  EXPECT_FALSE(interrupt_.msi_pending());
  state_.msi.mask_bits = 0;
  EXPECT_THAT(Update(), IsEmpty());
}

// Linux masks and unmasks a message to move it to another CPU.
TEST_F(PortInterruptTest, UnmaskingDoesNotSendAMessageAgain) {
  state_.event = true;
  EXPECT_THAT(Update(), ElementsAre(kMessage));
  state_.msi.mask_bits = 1;
  EXPECT_THAT(Update(), IsEmpty());
  EXPECT_FALSE(interrupt_.msi_pending());
  state_.msi.mask_bits = 0;
  EXPECT_THAT(Update(), IsEmpty());
}

TEST_F(PortInterruptTest, TheLineFollowsTheCondition) {
  state_.msi.enabled = false;
  state_.event = true;
  EXPECT_THAT(Update(), IsEmpty());
  EXPECT_TRUE(level_);
  state_.intx_disabled = true;
  Update();
  EXPECT_FALSE(level_);
  state_.intx_disabled = false;
  Update();
  EXPECT_TRUE(level_);
  state_.event = false;
  Update();
  EXPECT_FALSE(level_);
}

TEST_F(PortInterruptTest, MsiTakesTheLineDown) {
  state_.msi.enabled = false;
  state_.event = true;
  Update();
  ASSERT_TRUE(level_);
  state_.msi.enabled = true;
  EXPECT_THAT(Update(), ElementsAre(kMessage));
  EXPECT_FALSE(level_);
}

TEST_F(PortInterruptTest, WithoutALineOnlyMessagesCome) {
  PortInterrupt interrupt(&controller_, nullptr, &failures_);
  EXPECT_FALSE(interrupt.has_line());
  state_.event = true;
  state_.msi.enabled = false;
  interrupt.Update(state_);
  EXPECT_EQ(failures_.count(), 0u);
}

TEST_F(PortInterruptTest, ABadMessageIsLostAndReported) {
  state_.event = true;
  state_.msi.programmed.address = 0x1000;
  EXPECT_THAT(Update(), IsEmpty());
  EXPECT_THAT(failures_.Recent(),
              ElementsAre(HasSubstr("a hot-plug interrupt is lost")));
}

TEST_F(PortInterruptTest, AFailureOfTheKernelIsReported) {
  controller_.FailSignal(1, EIO);
  state_.event = true;
  EXPECT_THAT(Update(), IsEmpty());
  line_answer_ = absl::InternalError("KVM_IRQ_LINE");
  Update();
  EXPECT_THAT(failures_.Recent(),
              ElementsAre(HasSubstr("a hot-plug interrupt is lost"),
                          HasSubstr("INTx keeps its level")));
}

}  // namespace
}  // namespace passthru::root_port
