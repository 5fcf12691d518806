// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/host/simulated_host.h"

#include <fcntl.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/rig/vfio_user.h"

namespace passthru::fake {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr uint32_t kGroup = 5;

std::string Fixture(const std::string& name) {
  return "testing/fixtures/" + name + ".textproto";
}

TEST(SimulatedHostTest, ControllerMemoryBufferIsThatOfTheFixture) {
  for (const auto& [name, size] :
       {std::pair("nvme_cmb", 0x421du), std::pair("qemu10_nvme", 0u)}) {
    SimulatedHost host;
    const auto bdf = host.AddFixture(Fixture(name), {.group = kGroup});
    ASSERT_THAT(bdf, IsOk());
    VfioUser user(&host, *bdf, kGroup);
    user.WriteConfig(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
    uint64_t value = 0;
    ASSERT_EQ(user.ReadBar(0, 0, 8, &value), 8);
    EXPECT_EQ(value >> 57 & 1, size == 0 ? 0u : 1u) << name;
    user.WriteBar(0, 0x50, 4, 1);
    ASSERT_EQ(user.ReadBar(0, 0x3c, 4, &value), 4);
    EXPECT_EQ(value, size) << name;
  }
}

TEST(SimulatedHostTest, DiskImageIsForADiskOnly) {
  const std::string image = ::testing::TempDir() + "/host.img";
  std::ofstream(image, std::ios::binary).put('\0');
  std::filesystem::resize_file(image, 1 << 20);
  SimulatedHost host;
  EXPECT_THAT(host.AddFixture(Fixture("nvme"), {},
                              {.disk_bytes = 0, .disk_file = image}),
              IsOk());
  EXPECT_THAT(host.AddFixture(Fixture("edu"), {},
                              {.disk_bytes = 0, .disk_file = image}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("give the disk to an NVMe controller")));
  EXPECT_THAT(host.AddFixture(Fixture("qemu10_nvme"), {.group = kGroup},
                              {.disk_bytes = 1000, .disk_file = ""}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("no multiple of 512")));
  EXPECT_THAT(host.AddFixture(Fixture("nvme_msix1"), {},
                              {.disk_bytes = 0, .disk_file = "/nowhere"}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("disk image /nowhere")));
}

// Asks the controller for its serial number, with an admin queue of two
// commands (NVMe base 2.0, 3.1.3, 5.17.2.1).
std::string SerialNumber(SimulatedHost& host, const pci::Bdf& bdf,
                         uint32_t group) {
  VfioUser user(&host, bdf, group);
  uint8_t* const memory = user.NewMemory(3 * 4096);
  EXPECT_EQ(user.MapDma(0x10000, memory, 3 * 4096,
                        VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE),
            0);
  user.WriteConfig(PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
  user.WriteBar(0, 0x24, 4, 0x0001'0001);
  user.WriteBar(0, 0x28, 8, 0x10000);
  user.WriteBar(0, 0x30, 8, 0x11000);
  user.WriteBar(0, 0x14, 4, 0x0046'0001);
  memory[0] = 6;      // Identify
  memory[25] = 0x20;  // to 0x12000
  memory[26] = 0x01;
  memory[40] = 1;  // the controller.
  user.WriteBar(0, 0x1000, 4, 1);
  while (host.kernel().StepDevices()) {
  }
  return std::string(reinterpret_cast<char*>(memory) + 2 * 4096 + 4, 20);
}

// Linux rejects a second controller of the same subsystem name.
TEST(SimulatedHostTest, DisksHaveDifferentSerialNumbers) {
  SimulatedHost host;
  const auto first = host.AddFixture(Fixture("nvme"), {.group = 1});
  const auto second = host.AddFixture(
      Fixture("nvme"),
      {.bdf = pci::Bdf::Parse("0000:03:00.0").value(), .group = 2});
  ASSERT_THAT(first, IsOk());
  ASSERT_THAT(second, IsOk());
  EXPECT_EQ(SerialNumber(host, *first, 1), "PASSTHRU0001        ");
  EXPECT_EQ(SerialNumber(host, *second, 2), "PASSTHRU0002        ");
}

TEST(SimulatedHostTest, NetworkDevicesAreConnected) {
  SimulatedHost host;
  const auto nvme = host.AddFixture(Fixture("nvme"));
  const auto first = host.AddFixture(Fixture("virtio_net"), {.group = kGroup});
  const auto second =
      host.AddFixture(Fixture("qemu10_virtio_net"),
                      {.bdf = pci::Bdf(0, 9, 0, 0)}, {.mac_tail = 0x57});
  ASSERT_THAT(nvme, IsOk());
  ASSERT_THAT(first, IsOk());
  ASSERT_THAT(second, IsOk());
  EXPECT_THAT(host.Connect(*first, *second), IsOk());
  EXPECT_THAT(host.Connect(*first, *first),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(host.Connect(*first, *nvme),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("no model of a virtio network device")));
  VfioUser user(&host, *first, kGroup);
  user.WriteConfig(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
  uint64_t queues = 0;
  ASSERT_EQ(user.ReadBar(4, 0x12, 2, &queues), 2);
  EXPECT_EQ(queues, 2u);
}

TEST(SimulatedHostTest, IgbHasTheModelOfItsIdentity) {
  SimulatedHost host;
  const auto igb = host.AddFixture(Fixture("igb"), {.group = kGroup});
  ASSERT_THAT(igb, IsOk());
  VfioUser user(&host, *igb, kGroup);
  user.WriteConfig(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
  uint64_t eecd = 0;
  ASSERT_EQ(user.ReadBar(0, 0x10, 4, &eecd), 4);
  EXPECT_EQ(eecd, 0x300u);  // There is an NVM, and it was read.
}

TEST(SimulatedHostTest, WithoutAJournalCallsAreOnlyCounted) {
  SimulatedHost host({.kernel = {.journal = false}});
  for (int i = 0; i < 100; ++i) {
    const auto opened = host.kernel().Open("/dev/vfio/vfio", O_RDWR);
    ASSERT_TRUE(opened.ok());
    host.kernel().Close(opened.value);
  }
  EXPECT_THAT(host.kernel().journal().Entries(), IsEmpty());
  EXPECT_EQ(host.kernel().journal().Count("open"), 100u);
}

}  // namespace
}  // namespace passthru::fake
