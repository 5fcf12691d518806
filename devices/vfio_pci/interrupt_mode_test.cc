// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/vfio_pci/interrupt_mode.h"

#include <cerrno>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/interrupts/gsi_router.h"
#include "passthru/devices/interrupts/routing_entries.h"
#include "passthru/devices/kernel/epoll_event_loop.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/failure_log.h"
#include "passthru/testing/rig/interrupt_rig.h"

namespace passthru::vfio_pci {
namespace {

using interrupts::MsixVectorGroup;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

class LoggingIntxHost final : public IntxHost {
 public:
  explicit LoggingIntxHost(fake::CallLog* log) : log_(log) {}
  absl::Status SetTrigger(int) override { return Note("INTx on"); }
  absl::Status SetUnmask(int) override { return absl::OkStatus(); }
  absl::Status Disable() override { return Note("INTx off"); }

  bool fail = false;

 private:
  absl::Status Note(const char* what) {
    log_->push_back(what);
    return fail ? kernel::ErrnoError(EIO, what) : absl::OkStatus();
  }
  fake::CallLog* const log_;
};

class InterruptModeTest : public ::testing::Test {
 protected:
  InterruptModeTest()
      : loop_(*kernel::EpollEventLoop::Create(rig_.syscalls())),
        router_(*interrupts::GsiRouter::Create(
            {.table = &rig_,
             .base_routes = interrupts::DefaultIrqchipRoutes()})),
        msi_(Group(MsixVectorGroup::Kind::kMsi)),
        msix_(Group(MsixVectorGroup::Kind::kMsix)),
        mode_({.failures = &failures_,
               .msi = &msi_,
               .msix = &msix_,
               .intx = &intx_,
               .set_enable_bit = [this](InterruptKind kind, bool enable) {
                 log_.push_back(absl::StrCat(std::string(Name(kind)),
                                             enable ? " bit on" : " bit off"));
               }}) {}

  MsixVectorGroup::Options Group(MsixVectorGroup::Kind kind) {
    return {.kind = kind,
            .vectors = 4,
            .syscalls = rig_.syscalls(),
            .host = &rig_,
            .router = router_.get(),
            .controller = &rig_,
            .loop = loop_.get(),
            .failures = &failures_,
            .name = "group"};
  }

  kernel::FailureLog failures_{"test"};
  fake::CallLog log_;
  fake::InterruptRig rig_{{.vectors = 4, .log = &log_}};
  std::unique_ptr<kernel::EpollEventLoop> loop_;
  std::unique_ptr<interrupts::GsiRouter> router_;
  MsixVectorGroup msi_;
  MsixVectorGroup msix_;
  LoggingIntxHost intx_host_{&log_};
  IntxLine intx_{{.name = "INTx",
                  .syscalls = rig_.syscalls(),
                  .host = &intx_host_,
                  .controller = &rig_,
                  .gsi = allocator::Gsi(16)}};
  InterruptMode mode_;
};

TEST_F(InterruptModeTest, IntxIsWhatThereIsAtFirst) {
  mode_.Apply({});
  EXPECT_EQ(mode_.kind(), InterruptKind::kIntx);
  EXPECT_THAT(log_, ElementsAre("irqfd on 16", "INTx on"));
}

TEST_F(InterruptModeTest, MsixOnAndOff) {
  mode_.Apply({});
  log_.clear();
  mode_.Apply({.msix = true});
  EXPECT_THAT(
      log_, ElementsAre("INTx off", "irqfd off 16", "set 0+1", "MSI-X bit on"));
  log_.clear();
  mode_.Apply({});
  EXPECT_THAT(
      log_, ElementsAre("MSI-X bit off", "set off", "irqfd on 16", "INTx on"));
}

TEST_F(InterruptModeTest, MsiToMsixGoesThroughOff) {
  mode_.Apply({.msi = true, .msi_vectors = 2});
  log_.clear();
  mode_.Apply({.msix = true});
  EXPECT_THAT(log_,
              ElementsAre("MSI bit off", "set off", "set 0+1", "MSI-X bit on"));
}

// The kernel allows one kind of interrupt at a time.
TEST_F(InterruptModeTest, WhatWasNotDisabledIsTriedAgainWithTheNextMode) {
  mode_.Apply({.msi = true, .msi_vectors = 2});
  log_.clear();
  rig_.FailDisable(1, EIO);
  mode_.Apply({.msix = true});
  EXPECT_THAT(log_, ElementsAre("MSI bit off", "set off", "set off", "set 0+1",
                                "MSI-X bit on"));
}

TEST_F(InterruptModeTest, ALineThatFailedIsTriedAgain) {
  intx_host_.fail = true;
  mode_.Apply({});
  EXPECT_FALSE(intx_.enabled());
  intx_host_.fail = false;
  mode_.Apply({});
  EXPECT_TRUE(intx_.enabled());
}

TEST_F(InterruptModeTest, NothingChangedIsNoCall) {
  mode_.Apply({.msi = true, .msi_vectors = 2});
  log_.clear();
  mode_.Apply({.msi = true, .msi_vectors = 2});
  EXPECT_THAT(log_, IsEmpty());
}

TEST_F(InterruptModeTest, AnotherNumberOfMsiVectorsIsOffAndOn) {
  mode_.Apply({.msi = true, .msi_vectors = 2});
  log_.clear();
  mode_.Apply({.msi = true, .msi_vectors = 4});
  EXPECT_THAT(log_,
              ElementsAre("MSI bit off", "set off", "set 0+4", "MSI bit on"));
}

TEST_F(InterruptModeTest, OfMsiAndMsixTheOneThatIsOnStays) {
  mode_.Apply({.msi = true});
  mode_.Apply({.msi = true, .msix = true});
  EXPECT_EQ(mode_.kind(), InterruptKind::kMsi);
  mode_.Apply({.msix = true});
  mode_.Apply({.msi = true, .msix = true});
  EXPECT_EQ(mode_.kind(), InterruptKind::kMsix);
}

TEST_F(InterruptModeTest, SilentIsNoneOfThem) {
  mode_.Apply({.msix = true});
  mode_.Apply({.intx = false});
  EXPECT_EQ(mode_.kind(), InterruptKind::kNone);
  EXPECT_FALSE(rig_.enabled());
}

TEST_F(InterruptModeTest, AFailureIsCountedAndTheModeChangesAllTheSame) {
  rig_.FailSet(1, EINVAL);
  mode_.Apply({.msix = true});
  EXPECT_EQ(mode_.kind(), InterruptKind::kMsix);
  EXPECT_EQ(failures_.count(), 1u);
}

}  // namespace
}  // namespace passthru::vfio_pci
