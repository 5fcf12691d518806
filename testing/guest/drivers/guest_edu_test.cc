// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/guest/drivers/guest_edu.h"

#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/guest/direct/captured_functions.h"
#include "passthru/testing/guest/direct/direct_machine.h"
#include "passthru/testing/guest/guest_layout.h"
#include "passthru/testing/guest/linux/guest_machine.h"
#include "passthru/testing/guest/linux/linux_pci_device.h"
#include "passthru/testing/guest/linux/linux_pci_probe.h"
#include "passthru/testing/models/edu_model.h"

namespace passthru::guest {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

constexpr pci::Bdf kSlot(0, 0, 1, 0);

class GuestEduTest : public ::testing::Test {
 protected:
  GuestEduTest()
      : guest_(&machine_, machine_.layout()),
        function_(machine_.AddFunction(kSlot, CapturedEdu(), &model_)),
        device_(ProbeDevice(&guest_.config(), kSlot, {})) {}

  std::unique_ptr<GuestEdu> Start() {
    auto driver = GuestEdu::Start(&guest_, device_.get());
    EXPECT_THAT(driver, IsOk());
    return driver.ok() ? *std::move(driver) : nullptr;
  }

  DirectMachine machine_;
  GuestMachine guest_;
  models::EduModel model_;
  DirectFunction& function_;
  std::unique_ptr<LinuxPciDevice> device_;
};

TEST_F(GuestEduTest, FactorialComesWithAnInterrupt) {
  const auto driver = Start();
  EXPECT_EQ(driver->report().identification, 0x010000edu);
  EXPECT_TRUE(driver->report().alive);
  EXPECT_THAT(driver->Factorial(10), IsOkAndHolds(3628800u));
  EXPECT_EQ(driver->report().interrupts, 1u);
  EXPECT_THAT(driver->Factorial(0), IsOkAndHolds(1u));
  EXPECT_EQ(driver->report().interrupts, 2u);
}

TEST_F(GuestEduTest, DataGoesThroughTheDeviceAndBack) {
  const auto driver = Start();
  for (uint64_t size : {1, 7, 256, 4095, 4096}) {
    EXPECT_THAT(driver->CopyAndVerify(size, static_cast<uint8_t>(size)),
                IsOk());
  }
  EXPECT_EQ(model_.counters().transfers, 10u);
  EXPECT_EQ(driver->report().bytes_verified, 8455u);
  EXPECT_EQ(driver->report().interrupts, 10u);
}

TEST_F(GuestEduTest, RefusedDmaIsFoundOut) {
  const auto driver = Start();
  ASSERT_THAT(driver->CopyAndVerify(64, 1), IsOk());
  // With bus mastering off neither the transfers nor the message happen.
  function_.ConfigWrite(0x04, 2, 0x0503);
  EXPECT_THAT(driver->CopyAndVerify(64, 2),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_EQ(model_.counters().failed_transfers, 1u);
}

TEST_F(GuestEduTest, SizeIsChecked) {
  const auto driver = Start();
  EXPECT_THAT(driver->CopyAndVerify(0, 1),
              StatusIs(absl::StatusCode::kOutOfRange));
  EXPECT_THAT(driver->CopyAndVerify(4097, 1),
              StatusIs(absl::StatusCode::kOutOfRange));
}

TEST_F(GuestEduTest, ShutdownTurnsMsiOff) {
  const auto driver = Start();
  EXPECT_EQ(function_.ConfigRead(0x42, 2), 0x0081u);
  ASSERT_THAT(driver->Shutdown(), IsOk());
  EXPECT_EQ(function_.ConfigRead(0x42, 2), 0x0080u);
  EXPECT_THAT(driver->Factorial(1),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(driver->CopyAndVerify(1, 1),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(driver->Shutdown(), IsOk());
}

TEST_F(GuestEduTest, AnotherDeviceIsNotTakenForIt) {
  machine_.AddFunction(kSlot, CapturedEdu(), nullptr);
  EXPECT_THAT(
      GuestEdu::Start(&guest_, device_.get()),
      StatusIs(absl::StatusCode::kNotFound, HasSubstr("identifies itself")));
}

TEST(GuestEduLayoutTest, MemoryAbove28BitsIsRefused) {
  DirectMachine machine;
  GuestLayout layout = machine.layout();
  layout.dma_memory = {uint64_t{1} << 28, 0x10000};
  GuestMachine guest(&machine, layout);
  models::EduModel model;
  machine.AddFunction(kSlot, CapturedEdu(), &model);
  const auto device = ProbeDevice(&guest.config(), kSlot, {});
  EXPECT_THAT(GuestEdu::Start(&guest, device.get()),
              StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("28 bits")));
}

}  // namespace
}  // namespace passthru::guest
