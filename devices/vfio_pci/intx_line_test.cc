// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/vfio_pci/intx_line.h"

#include <cerrno>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/linux_syscalls.h"

namespace passthru::vfio_pci {
namespace {

using ::absl_testing::IsOk;
using ::testing::ElementsAre;

// Both ends of the line. Records the calls in order, and fails one on demand.
class FakeEnds final : public IntxHost, public interrupts::InterruptController {
 public:
  absl::Status SetTrigger(int fd) override {
    return Note(fd >= 0 ? "trigger" : "?");
  }
  absl::Status SetUnmask(int fd) override {
    return Note(fd >= 0 ? "unmask" : "no unmask");
  }
  absl::Status Disable() override { return Note("disable"); }
  absl::Status AssignResampleIrqfd(int, int, allocator::Gsi) override {
    return Note("irqfd on");
  }
  absl::Status DeassignIrqfd(int, allocator::Gsi) override {
    return Note("irqfd off");
  }
  absl::Status AssignIrqfd(int, allocator::Gsi) override { return Note("?"); }
  absl::Status SignalMsi(const pci::MsiMessage&) override { return Note("?"); }

  std::vector<std::string> log;
  std::string fail;

 private:
  absl::Status Note(const char* what) {
    log.push_back(what);
    return fail == what ? kernel::ErrnoError(EIO, what) : absl::OkStatus();
  }
};

class IntxLineTest : public ::testing::Test {
 protected:
  kernel::LinuxSyscalls syscalls_;
  FakeEnds ends_;
  IntxLine line_{{.name = "INTx",
                  .syscalls = &syscalls_,
                  .host = &ends_,
                  .controller = &ends_,
                  .gsi = allocator::Gsi(16)}};
};

TEST_F(IntxLineTest, IsConnectedFromTheGuestsEnd) {
  ASSERT_THAT(line_.Enable(), IsOk());
  EXPECT_THAT(ends_.log, ElementsAre("irqfd on", "trigger", "unmask"));
  EXPECT_THAT(line_.Enable(), IsOk());
  EXPECT_EQ(ends_.log.size(), 3u);
}

TEST_F(IntxLineTest, IsTakenApartFromTheDevicesEnd) {
  ASSERT_THAT(line_.Enable(), IsOk());
  ends_.log.clear();
  ASSERT_THAT(line_.Disable(), IsOk());
  EXPECT_THAT(ends_.log, ElementsAre("no unmask", "disable", "irqfd off"));
  EXPECT_THAT(line_.Disable(), IsOk());
  EXPECT_EQ(ends_.log.size(), 3u);
}

TEST_F(IntxLineTest, AFailureTakesBackWhatWasDone) {
  ends_.fail = "irqfd on";
  EXPECT_EQ(kernel::ErrnoOf(line_.Enable()), EIO);
  EXPECT_THAT(ends_.log, ElementsAre("irqfd on"));
  ends_.log.clear();
  ends_.fail = "trigger";
  EXPECT_EQ(kernel::ErrnoOf(line_.Enable()), EIO);
  EXPECT_THAT(ends_.log, ElementsAre("irqfd on", "trigger", "irqfd off"));
  ends_.log.clear();
  ends_.fail = "unmask";
  EXPECT_EQ(kernel::ErrnoOf(line_.Enable()), EIO);
  EXPECT_THAT(ends_.log, ElementsAre("irqfd on", "trigger", "unmask", "disable",
                                     "irqfd off"));
  EXPECT_FALSE(line_.enabled());
}

TEST_F(IntxLineTest, DisableGoesOnAfterAFailure) {
  ASSERT_THAT(line_.Enable(), IsOk());
  ends_.log.clear();
  ends_.fail = "disable";
  EXPECT_EQ(kernel::ErrnoOf(line_.Disable()), EIO);
  EXPECT_THAT(ends_.log, ElementsAre("no unmask", "disable", "irqfd off"));
  EXPECT_FALSE(line_.enabled());
}

// The kernel still has INTx on, and refuses any other kind until it is off.
TEST_F(IntxLineTest, ADisableThatFailedIsTriedAgain) {
  ASSERT_THAT(line_.Enable(), IsOk());
  ends_.fail = "disable";
  EXPECT_EQ(kernel::ErrnoOf(line_.Disable()), EIO);
  ends_.log.clear();
  EXPECT_EQ(kernel::ErrnoOf(line_.Enable()), EIO);
  EXPECT_THAT(ends_.log, ElementsAre("disable"));
  ends_.fail.clear();
  ends_.log.clear();
  EXPECT_THAT(line_.Disable(), IsOk());
  EXPECT_THAT(line_.Disable(), IsOk());
  EXPECT_THAT(ends_.log, ElementsAre("disable"));
}

// The device is closed after that, so the destructor must not call it.
TEST_F(IntxLineTest, AfterShutdownTheHostIsNotCalled) {
  ASSERT_THAT(line_.Enable(), IsOk());
  ends_.fail = "disable";
  line_.Shutdown();
  EXPECT_FALSE(line_.enabled());
  ends_.log.clear();
  EXPECT_THAT(line_.Disable(), IsOk());
  line_.Shutdown();
  EXPECT_THAT(ends_.log, testing::IsEmpty());
}

}  // namespace
}  // namespace passthru::vfio_pci
