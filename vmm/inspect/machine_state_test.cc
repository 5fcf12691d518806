// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/inspect/machine_state.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/log/check.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/vfio_pci/device_report.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/host/simulated_host.h"
#include "passthru/testing/rig/page_sample.h"
#include "passthru/testing/vfio/fake_vfio.h"
#include "passthru/vmm/device_manager.h"
#include "passthru/vmm/machine.h"

namespace passthru::vmm {
namespace {

using ::absl_testing::IsOk;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr pci::Bdf kPort(0, 0, 1, 0);
constexpr pci::Bdf kNvme(0, 1, 0, 0);

// A machine with an NVMe controller behind the first of two root ports.
class MachineStateTest : public ::testing::Test {
 protected:
  MachineStateTest() {
    fake::DeviceOptions device;
    device.bdf = kHost;
    device.group = 12;
    CHECK_OK(
        host_.AddFixture("testing/fixtures/nvme.textproto", std::move(device)));
    machine_ = *Machine::Create({.syscalls = &host_.kernel()});
    manager_ = *DeviceManager::Create(machine_.get(),
                                      {.intx = true, .root_ports = {{}, {}}});
    CHECK_OK(manager_->Attach({.host = kHost, .root_port = 0}));
  }

  void WriteConfig(pci::Bdf bdf, uint16_t offset, uint16_t value) {
    machine_->segment().ConfigWrite(
        bdf, offset,
        std::vector<uint8_t>{static_cast<uint8_t>(value),
                             static_cast<uint8_t>(value >> 8)});
  }
  void WriteMemory(uint64_t address, uint32_t value) {
    std::vector<uint8_t> bytes(4);
    for (size_t i = 0; i < bytes.size(); ++i) {
      bytes[i] = static_cast<uint8_t>(value >> 8 * i);
    }
    machine_->mmio().Write(address, bytes);
  }
  // Does what a guest's driver does: enables memory and bus mastering, and uses
  // two vectors, one of which it masks.
  void BringUp() {
    WriteConfig(kNvme, 0x04, 0x0006);
    const auto device = manager_->Find(kNvme);
    if (device == nullptr) return;
    const uint64_t table = device->Describe().bars[0].bar.address + 0x2000;
    for (uint32_t vector = 0; vector < 2; ++vector) {
      WriteMemory(table + 16 * vector, 0xfee00000);
      WriteMemory(table + 16 * vector + 8, 0x30 + vector);
      WriteMemory(table + 16 * vector + 12, vector);
    }
    WriteConfig(kNvme, kMsixControl, 0x8000);
  }
  StateTree Describe() {
    return DescribeMachine(*machine_, *manager_, ExitCounts{.mmio_writes = 7});
  }

  static constexpr pci::Bdf kHost{0, 3, 0, 0};
  static constexpr uint16_t kMsixControl = 0x42;
  fake::SimulatedHost host_;
  std::unique_ptr<Machine> machine_;
  std::unique_ptr<DeviceManager> manager_;
};

TEST_F(MachineStateTest, TheReadmeShowsIt) {
  BringUp();
  EXPECT_TRUE(fake::PageShows("vmm/inspect/README.md", Describe().ToText()));
}

// Numbers are numbers for programs, or null if there is none, and every key is
// always there.
TEST_F(MachineStateTest, JsonHasNumbersAndAllKeys) {
  EXPECT_THAT(Describe().ToJson(), HasSubstr("\"access\": null"));
  BringUp();
  const std::string json = Describe().ToJson();
  EXPECT_THAT(json, HasSubstr("{\"slot\": 0, \"address\": \"0x0\""));
  EXPECT_THAT(json, HasSubstr("\"groups\": [12]"));
  EXPECT_THAT(json, HasSubstr("\"root_port\": 0"));
  EXPECT_THAT(json, HasSubstr("\"masked\": false, \"gsi\": 24"));
  EXPECT_THAT(json, HasSubstr("\"masked\": true, \"gsi\": null"));
  EXPECT_THAT(json,
              HasSubstr("\"unreachable_bars\": 0,\n    \"failures\": []"));
}

TEST_F(MachineStateTest, ABarOutsideOfItsPortHasAReason) {
  BringUp();
  WriteConfig(kPort, 0x04, 0);
  EXPECT_THAT(Describe().ToText(), HasSubstr("does not forward all of"));
}

TEST_F(MachineStateTest, ADeviceThatIsGoneIsNotShown) {
  EXPECT_THAT(Describe().ToJson(), HasSubstr("\"0000:03:00.0\": {"));
  ASSERT_THAT(manager_->RequestUnplug(kNvme), IsOk());
  EXPECT_THAT(Describe().ToJson(), HasSubstr("\"asked\": true"));
  ASSERT_THAT(manager_->Detach(kNvme), IsOk());
  EXPECT_THAT(Describe().ToJson(), HasSubstr("\"devices\": {}"));
  EXPECT_THAT(Describe().ToJson(), HasSubstr("\"mappings\": []"));
}

// Failures of the kernel are in the tree, at the device that had them.
TEST_F(MachineStateTest, FailuresAndDegradationsAreShown) {
  host_.kernel().faults().FailNthOf("KVM_SET_USER_MEMORY_REGION", 1, 28);
  BringUp();
  const std::string text = Describe().ToText();
  EXPECT_THAT(text, HasSubstr("is trapped instead of mapped"));
  EXPECT_THAT(text, HasSubstr("failure_count  1"));
  EXPECT_THAT(text, Not(HasSubstr("last_failures: none")));
}

// For ThreadSanitizer: everything is looked at while it changes.
TEST_F(MachineStateTest, WhileTheMachineChanges) {
  std::thread guest([this] {
    for (int i = 0; i < 50; ++i) {
      BringUp();
      WriteConfig(kNvme, kMsixControl, 0);
      WriteConfig(kNvme, 0x04, 0);
    }
  });
  std::thread vmm([this] {
    for (unsigned i = 0; i < 10; ++i) {
      EXPECT_THAT(manager_->Detach(manager_->Devices().back()), IsOk());
      EXPECT_THAT(manager_->Attach({.host = kHost, .root_port = size_t{i % 2}}),
                  IsOk());
    }
  });
  for (int i = 0; i < 50; ++i) {
    EXPECT_THAT(Describe().ToText(), HasSubstr("root_ports"));
    EXPECT_THAT(Describe().ToJson(), HasSubstr("\"root_ports\": ["));
  }
  guest.join();
  vmm.join();
}

}  // namespace
}  // namespace passthru::vmm
