// SPDX-License-Identifier: Apache-2.0
//
// Tests several devices of one VM and one container, in one IOMMU group and in
// two. A vCPU of its own drives each device.

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/log/check.h"
#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/guest/drivers/guest_edu.h"
#include "passthru/testing/guest/drivers/guest_nvme.h"
#include "passthru/testing/guest/guest_cpu.h"
#include "passthru/testing/guest/guest_layout.h"
#include "passthru/testing/guest/linux/guest_machine.h"
#include "passthru/testing/guest/linux/linux_pci_device.h"
#include "passthru/testing/guest/linux/linux_pci_probe.h"
#include "passthru/testing/host/simulated_host.h"
#include "passthru/testing/journal/journal.h"
#include "passthru/testing/kernel/leak_check.h"
#include "passthru/vmm/device_manager.h"
#include "passthru/vmm/guest_layout.h"
#include "passthru/vmm/machine.h"
#include "passthru/vmm/vcpu_runner.h"

namespace passthru::vmm {
namespace {

using ::absl_testing::IsOk;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr uint64_t kMemoryOfVcpu = uint64_t{4} << 20;

// Group 1 has two NVMe controllers and an edu, and group 2 has another edu.
constexpr char kNvmeFixture[] = "testing/fixtures/nvme.textproto";
constexpr char kEduFixture[] = "testing/fixtures/edu.textproto";

constexpr pci::Bdf kNvmeA(0, 1, 0, 0);
constexpr pci::Bdf kNvmeB(0, 1, 0, 1);
constexpr pci::Bdf kEduA(0, 1, 0, 2);
constexpr pci::Bdf kEduB(0, 2, 0, 0);

class SeveralDevicesTest : public ::testing::Test {
 protected:
  static constexpr unsigned kVcpus = 4;

  SeveralDevicesTest() {
    AddDevice(kNvmeFixture, kNvmeA, 1);
    AddDevice(kNvmeFixture, kNvmeB, 1);
    AddDevice(kEduFixture, kEduA, 1);
    AddDevice(kEduFixture, kEduB, 2);
    machine_ = *Machine::Create({.syscalls = &host_.kernel(),
                                 .ram_size = (kVcpus + 1) * kMemoryOfVcpu,
                                 .vcpu_count = kVcpus});
    devices_ = *DeviceManager::Create(machine_.get());
  }

  void AddDevice(const char* fixture, pci::Bdf bdf, uint32_t group) {
    fake::DeviceOptions options;
    options.bdf = bdf;
    options.group = group;
    CHECK_OK(host_.AddFixture(fixture, std::move(options)));
  }

  pci::Bdf Attach(pci::Bdf device) {
    const auto guest = devices_->Attach(device);
    CHECK_OK(guest);
    return *guest;
  }

  // Returns the layout for the part of the guest that runs on one vCPU, with
  // its own memory and its own local APIC.
  static guest::GuestLayout LayoutOf(unsigned vcpu) {
    return {.dma_memory = {.base = (vcpu + 1) * kMemoryOfVcpu,
                           .size = kMemoryOfVcpu},
            .ecam = {.base = kEcamBase, .size = kEcamSize},
            .config_ports = false,
            .io_window = {.base = kPioBase, .size = kPioSize},
            .memory32_window = {.base = kMmio32Base, .size = kMmio32Size},
            .memory64_window = {.base = kMmio64Base, .size = kMmio64Size},
            .apic_id = static_cast<uint8_t>(vcpu)};
  }

  // Runs a driver for the device at `bdf` from probe to remove, and calls
  // `while_it_works` in the middle.
  static absl::Status Drive(
      guest::GuestCpu& cpu, unsigned vcpu, pci::Bdf bdf, int rounds,
      const std::function<void()>& while_it_works = [] {}) {
    guest::GuestMachine machine(&cpu, LayoutOf(vcpu));
    const auto device = guest::ProbeDevice(&machine.config(), bdf, {});
    if (device == nullptr) return absl::NotFoundError(bdf.ToString());
    // The BARs stay where the VMM placed them, because the vCPUs share no
    // allocator.
    machine.resources().Claim(*device);
    absl::Status status;
    if (device->info.class_code == 0x010802) {
      PASSTHRU_ASSIGN_OR_RETURN(
          auto nvme, guest::GuestNvme::Start(&machine, device.get(), {}));
      for (int i = 0; i < rounds; ++i) {
        if (i == rounds / 2) while_it_works();
        status.Update(nvme->WriteAndVerify(0, 32, vcpu * 100 + i));
      }
      status.Update(nvme->Shutdown());
    } else {
      PASSTHRU_ASSIGN_OR_RETURN(auto edu,
                                guest::GuestEdu::Start(&machine, device.get()));
      for (int i = 0; i < rounds; ++i) {
        if (i == rounds / 2) while_it_works();
        status.Update(edu->Factorial(12).status());
        status.Update(edu->CopyAndVerify(512, static_cast<uint8_t>(i)));
      }
      status.Update(edu->Shutdown());
    }
    if (!machine.interrupts().unexpected().empty()) {
      status.Update(absl::InternalError("another device's interrupt came"));
    }
    return status;
  }

  // Runs each program on a vCPU of its own, all at the same time, and returns
  // when all have ended.
  using Program = std::function<absl::Status(guest::GuestCpu&)>;
  void RunOnVcpus(const std::vector<Program>& programs) {
    std::vector<std::thread> threads;
    for (unsigned id = 0; id < programs.size(); ++id) {
      host_.kernel().kvm().SetGuestProgram(id, programs[id]);
    }
    for (unsigned id = 0; id < programs.size(); ++id) {
      threads.emplace_back([this, id] {
        VcpuRunner runner({.vcpu = &machine_->vcpu(id),
                           .mmio = &machine_->mmio(),
                           .pio = &machine_->pio()});
        EXPECT_THAT(runner.Run(), IsOk());
      });
    }
    for (std::thread& thread : threads) thread.join();
    for (unsigned id = 0; id < programs.size(); ++id) {
      const auto status = host_.kernel().kvm().GuestStatus(id);
      ASSERT_TRUE(status.has_value());
      EXPECT_THAT(*status, IsOk()) << "on vCPU " << id;
    }
    EXPECT_EQ(host_.kernel().kvm().LostInterrupts(), 0u);
  }

  fake::SimulatedHost host_;
  std::unique_ptr<Machine> machine_;
  std::unique_ptr<DeviceManager> devices_;
};

TEST_F(SeveralDevicesTest, AllWorkAtOnce) {
  host_.kernel().journal().Clear();
  std::vector<Program> programs;
  for (const pci::Bdf device : {kNvmeA, kNvmeB, kEduA, kEduB}) {
    const auto vcpu = static_cast<unsigned>(programs.size());
    programs.push_back([vcpu, guest = Attach(device)](guest::GuestCpu& cpu) {
      return Drive(cpu, vcpu, guest, /*rounds=*/4);
    });
  }
  host_.invariants().CheckAtRest();
  EXPECT_EQ(host_.kernel().journal().Count("VFIO_SET_IOMMU"), 1u);
  EXPECT_EQ(host_.kernel().journal().Count("VFIO_GROUP_SET_CONTAINER"), 2u);
  EXPECT_EQ(host_.kernel().journal().Count("VFIO_IOMMU_MAP_DMA"), 1u);
  RunOnVcpus(programs);
}

// The VMM detaches one device of the group while another one works.
TEST_F(SeveralDevicesTest, UnplugOfOneOfAGroupLeavesTheOthers) {
  const pci::Bdf stays = Attach(kNvmeA);
  const pci::Bdf goes = Attach(kNvmeB);
  const pci::Bdf other_group = Attach(kEduB);
  host_.kernel().journal().Clear();
  RunOnVcpus({[&](guest::GuestCpu& cpu) {
                return Drive(cpu, 0, stays, /*rounds=*/4, [&] {
                  EXPECT_THAT(devices_->Detach(goes), IsOk());
                });
              },
              [&](guest::GuestCpu& cpu) {
                return Drive(cpu, 1, other_group, /*rounds=*/4);
              }});
  EXPECT_EQ(host_.kernel().journal().Count("VFIO_GROUP_UNSET_CONTAINER"), 0u);
  EXPECT_EQ(host_.kernel().journal().Count("VFIO_IOMMU_UNMAP_DMA"), 0u);
  host_.invariants().CheckAtRest();
}

// The VMM attaches a device, the guest uses it, and the VMM detaches it. That
// leaves the kernel's resources for the other devices unchanged, and the VMM
// makes no kernel call on their descriptors. The devices share only the routing
// table.
TEST_F(SeveralDevicesTest, TheyShareNothingButTheRoutingTable) {
  const pci::Bdf here = Attach(kEduA);
  Attach(kEduB);
  pci::Bdf guest;
  absl::Notification attached;
  absl::Notification driven;
  RunOnVcpus({[&](guest::GuestCpu& cpu) {
                return Drive(cpu, 0, here, /*rounds=*/4, [&] {
                  fake::ResourceSnapshot before = host_.kernel().Resources();
                  host_.kernel().journal().Clear();
                  guest = Attach(kNvmeA);
                  attached.Notify();
                  driven.WaitForNotification();
                  EXPECT_THAT(devices_->Detach(guest), IsOk());
                  fake::ResourceSnapshot after = host_.kernel().Resources();
                  std::sort(before.begin(), before.end());
                  std::sort(after.begin(), after.end());
                  EXPECT_EQ(before, after);
                  for (const pci::Bdf other : {kEduA, kEduB}) {
                    const std::string subject =
                        absl::StrCat("vfio-device ", other.ToString());
                    EXPECT_THAT(host_.kernel().journal().EntriesWhere(
                                    [&](const journal::JournalEntry& entry) {
                                      return entry.call.subject == subject;
                                    }),
                                IsEmpty());
                  }
                });
              },
              [&](guest::GuestCpu& cpu) {
                attached.WaitForNotification();
                absl::Status status = Drive(cpu, 1, guest, /*rounds=*/2);
                driven.Notify();
                return status;
              }});
}

TEST_F(SeveralDevicesTest, TheyGoInAnyOrder) {
  const fake::ResourceSnapshot before = host_.kernel().Resources();
  std::vector<pci::Bdf> order = {kEduA, kEduB, kNvmeB};
  std::sort(order.begin(), order.end());
  do {
    std::map<pci::Bdf, pci::Bdf> guests;
    for (const pci::Bdf device : {kEduA, kEduB, kNvmeB}) {
      guests[device] = Attach(device);
    }
    for (const pci::Bdf device : order) {
      host_.invariants().CheckAtRest();
      EXPECT_THAT(devices_->Detach(guests.at(device)), IsOk());
    }
    EXPECT_THAT(host_.kernel().CheckLeaks(before).leaks, IsEmpty());
  } while (std::next_permutation(order.begin(), order.end()));
}

// While another function of the group has a host driver, the VMM cannot attach
// a device of the group. It can still attach every other device.
TEST_F(SeveralDevicesTest, AGroupThatIsNotViableDoesNotHurtTheOthers) {
  const pci::Bdf other_group = Attach(kEduB);
  ASSERT_THAT(host_.vfio().SetDriver(kNvmeB, "nvme"), IsOk());
  const fake::ResourceSnapshot before = host_.kernel().Resources();
  const auto refused = devices_->Attach(kEduA);
  EXPECT_THAT(std::string(refused.status().message()),
              AllOf(HasSubstr("attaching 0000:01:00.2"),
                    HasSubstr("IOMMU group 1 is not viable"),
                    HasSubstr("0000:01:00.1 is bound to nvme"),
                    HasSubstr("driver/unbind")));
  EXPECT_THAT(host_.kernel().CheckLeaks(before).leaks, IsEmpty());
  ASSERT_THAT(host_.vfio().SetDriver(kNvmeB, ""), IsOk());
  const pci::Bdf now = Attach(kEduA);
  RunOnVcpus(
      {[&](guest::GuestCpu& cpu) { return Drive(cpu, 0, now, 2); },
       [&](guest::GuestCpu& cpu) { return Drive(cpu, 1, other_group, 2); }});
}

}  // namespace
}  // namespace passthru::vmm
