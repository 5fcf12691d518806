// SPDX-License-Identifier: Apache-2.0
#include <linux/vfio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/log/check.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "passthru/devices/kernel/forwarding_syscalls.h"
#include "passthru/devices/kernel/linux_syscalls.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/host/fake_kernel.h"
#include "passthru/testing/host/simulated_host.h"
#include "passthru/testing/journal/call_recorder.h"
#include "passthru/testing/journal/vfio_offset.h"
#include "passthru/testing/rig/passthrough_rig.h"
#include "passthru/vmm/benchmark/measure.h"
#include "passthru/vmm/benchmark/sections.h"
#include "passthru/vmm/device_manager.h"
#include "passthru/vmm/machine.h"

namespace passthru::benchmark {
namespace {

using CallCounts = journal::CallRecorder::Counts;

constexpr char kNvme[] = "testing/fixtures/nvme.textproto";
constexpr std::array<int, 6> kDeviceCounts = {1, 2, 4, 8, 16, 31};

// The calls of attaching and of detaching some devices.
struct Attachment {
  CallCounts attach;
  CallCounts detach;
};

Attachment CountAttachment(int devices) {
  fake::SimulatedHost host;
  std::vector<pci::Bdf> on_host;
  for (int i = 0; i < devices; ++i) {
    const pci::Bdf bdf(0, static_cast<uint8_t>(i + 1), 0, 0);
    CHECK_OK(host.AddFixture(
        kNvme, {.bdf = bdf, .group = static_cast<uint32_t>(i + 1)}));
    on_host.push_back(bdf);
  }
  journal::CallRecorder calls(&host.kernel());
  const auto machine = *vmm::Machine::Create({.syscalls = &calls});
  const auto manager = *vmm::DeviceManager::Create(machine.get());
  calls.Take();
  std::vector<pci::Bdf> in_guest;
  in_guest.reserve(on_host.size());
  for (const pci::Bdf& bdf : on_host) {
    in_guest.push_back(*manager->Attach(bdf));
  }
  Attachment result;
  result.attach = calls.Take();
  for (const pci::Bdf& bdf : in_guest) CHECK_OK(manager->Detach(bdf));
  result.detach = calls.Take();
  return result;
}

void PrintCounts(std::string_view title,
                 const std::vector<CallCounts>& counts) {
  std::map<std::string, std::vector<uint64_t>> kinds;
  for (size_t i = 0; i < counts.size(); ++i) {
    for (const auto& [name, count] : counts[i]) {
      // Their number depends on the event loop's thread.
      if (name == "epoll_wait" || name == "read" || name == "write") continue;
      kinds[name].resize(counts.size());
      kinds[name][i] = count;
    }
  }
  Rows rows = {{"devices"}};
  for (const int devices : kDeviceCounts) {
    rows.front().push_back(absl::StrCat(devices));
  }
  rows.front().push_back("each more");
  std::vector<uint64_t> sums(counts.size());
  const auto add = [&rows](const std::string& name,
                           const std::vector<uint64_t>& of_kind) {
    std::vector<std::string> row = {name};
    for (const uint64_t count : of_kind) row.push_back(absl::StrCat(count));
    const double more = (static_cast<double>(of_kind.back()) -
                         static_cast<double>(of_kind.front())) /
                        (kDeviceCounts.back() - kDeviceCounts.front());
    row.push_back(absl::StrFormat("%.1f", more));
    rows.push_back(std::move(row));
  };
  for (const auto& [name, of_kind] : kinds) {
    add(name, of_kind);
    for (size_t i = 0; i < sums.size(); ++i) sums[i] += of_kind[i];
  }
  add("all", sums);
  PrintTable(title,
             "NVMe controllers, each in an IOMMU group of its own, on the "
             "simulated Linux 6.12.",
             rows);
}

// Remembers the descriptor of the device, and where its BAR is in the file.
class LastPread final : public kernel::ForwardingSyscalls {
 public:
  using ForwardingSyscalls::ForwardingSyscalls;
  kernel::SyscallResult<size_t> Pread(int fd, void* buffer, size_t count,
                                      uint64_t offset) override {
    fd_ = fd;
    return ForwardingSyscalls::Pread(fd, buffer, count, offset);
  }
  int fd() const { return fd_; }

 private:
  int fd_ = -1;
};

}  // namespace

void PrintDeviceCosts() {
  std::vector<CallCounts> attach;
  std::vector<CallCounts> detach;
  for (const int devices : kDeviceCounts) {
    Attachment attachment = CountAttachment(devices);
    attach.push_back(std::move(attachment.attach));
    detach.push_back(std::move(attachment.detach));
  }
  PrintCounts("Attach: kernel calls by kind", attach);
  PrintCounts("Detach: kernel calls by kind", detach);
}

void PrintSimulatedCalls() {
  LastPread* calls = nullptr;
  fake::PassthroughRig rig({.wrap_calls = [&](kernel::Syscalls* kernel) {
    auto last = std::make_unique<LastPread>(kernel);
    calls = last.get();
    return last;
  }});
  CHECK_OK(rig.Attach());
  rig.PlaceBar(0, fake::kBar);
  const int fd = calls->fd();
  fake::FakeKernel& kernel = rig.kernel();
  kernel::LinuxSyscalls linux_kernel;
  const double bare =
      NanosecondsEach([&] { Use(linux_kernel.Ioctl(fd, 0, nullptr)); });

  Rows rows = {
      {"", "ns", "allocations", "beside a failing ioctl of this machine"}};
  const auto add = [&](std::string_view what, auto call) {
    // The entries would fill the memory.
    kernel.journal().set_keep_entries(false);
    const double nanoseconds = NanosecondsEach(call);
    kernel.journal().set_keep_entries(true);
    const double allocations = AllocationsEach(call);
    kernel.journal().Clear();
    rows.push_back({std::string(what), absl::StrFormat("%.0f", nanoseconds),
                    absl::StrFormat("%.1f", allocations),
                    absl::StrFormat("%.0f", nanoseconds / bare)});
  };
  uint64_t value = 0;
  const auto config = journal::FileOffset(VFIO_PCI_CONFIG_REGION_INDEX, 0);
  const auto bar = journal::FileOffset(VFIO_PCI_BAR0_REGION_INDEX, 0x2800);
  add("pread of a configuration dword",
      [&] { Use(kernel.Pread(fd, &value, 4, config)); });
  add("pread of a BAR", [&] { Use(kernel.Pread(fd, &value, 8, bar)); });
  add("pwrite to a BAR", [&] { Use(kernel.Pwrite(fd, &value, 8, bar)); });
  vfio_irq_info irq = {.argsz = sizeof(irq)};
  irq.index = VFIO_PCI_MSIX_IRQ_INDEX;
  add("VFIO_DEVICE_GET_IRQ_INFO",
      [&] { Use(kernel.Ioctl(fd, VFIO_DEVICE_GET_IRQ_INFO, &irq)); });
  PrintTable(
      "A call into the simulated kernel",
      "With its invariants checked after each. The allocations include the "
      "journal's entry, and the times leave it out.",
      rows);
}

}  // namespace passthru::benchmark
