// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/attributes.h"
#include "absl/log/check.h"
#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "absl/types/span.h"
#include "passthru/devices/bus/bus.h"
#include "passthru/devices/bus/bus_device.h"
#include "passthru/devices/kernel/failure_log.h"
#include "passthru/devices/kernel/forwarding_syscalls.h"
#include "passthru/devices/kernel/linux_syscalls.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/vfio/vfio_device.h"
#include "passthru/devices/vfio_pci/bar_trap.h"
#include "passthru/devices/vfio_pci/device_regions.h"
#include "passthru/devices/vfio_pci/vfio_adapters.h"
#include "passthru/devices/vfio_pci/vfio_pci_device.h"
#include "passthru/pci/bar_index.h"
#include "passthru/testing/rig/passthrough_rig.h"
#include "passthru/vmm/benchmark/measure.h"
#include "passthru/vmm/benchmark/sections.h"

namespace passthru::benchmark {
namespace {

using fake::kBar;
using fake::kNvmePba;
using fake::kNvmeTable;
using fake::PassthroughRig;

constexpr uint64_t kTrapped = kNvmeTable + 0x800;  // in the table's page
constexpr off_t kPageOffset = 0x800;
constexpr size_t kWidth = 8;

// A BAR's page, as an anonymous file. Its pread and pwrite are about the
// cheapest that Linux has. A page that was never written is a hole, which is
// cheaper still.
class BarPage {
 public:
  BarPage() : fd_(::memfd_create("bar", MFD_CLOEXEC)) {
    CHECK_GE(fd_, 0);
    const std::array<uint8_t, kSize> page = {};
    CHECK_EQ(::pwrite(fd_, page.data(), page.size(), 0), kSize);
  }
  ~BarPage() { ::close(fd_); }
  BarPage(const BarPage&) = delete;
  BarPage& operator=(const BarPage&) = delete;

  static constexpr off_t kSize = 4096;
  int fd() const { return fd_; }

 private:
  const int fd_;
};

// Once told, carries out the calls of accesses on this machine's kernel, those
// of the device on a BarPage, so that they cost what they cost on Linux and not
// what the simulated kernel costs.
class PlainAccesses final : public kernel::ForwardingSyscalls {
 public:
  PlainAccesses(kernel::Syscalls* target, const BarPage* page)
      : ForwardingSyscalls(target), page_(*page) {}

  void Begin() { begun_ = true; }
  void End() { begun_ = false; }

  kernel::SyscallResult<size_t> Pread(int fd, void* buffer, size_t count,
                                      uint64_t offset) override {
    if (!begun_) return ForwardingSyscalls::Pread(fd, buffer, count, offset);
    return linux_.Pread(page_.fd(), buffer, count, offset % BarPage::kSize);
  }
  kernel::SyscallResult<size_t> Pwrite(int fd, const void* buffer, size_t count,
                                       uint64_t offset) override {
    if (!begun_) return ForwardingSyscalls::Pwrite(fd, buffer, count, offset);
    return linux_.Pwrite(page_.fd(), buffer, count, offset % BarPage::kSize);
  }
  kernel::SyscallResult<int> Poll(pollfd* fds, nfds_t count,
                                  int timeout_ms) override {
    if (!begun_) return ForwardingSyscalls::Poll(fds, count, timeout_ms);
    return linux_.Poll(fds, count, timeout_ms);  // Of real eventfds.
  }

 private:
  const BarPage& page_;
  kernel::LinuxSyscalls linux_;
  bool begun_ = false;
};

// Adds a row for an access that makes no kernel call.
template <typename Access>
void AddAccess(Rows& rows, std::string_view what, Access access) {
  rows.push_back({std::string(what),
                  absl::StrFormat("%.1f", NanosecondsEach(access)), "", "",
                  absl::StrFormat("%.0f", AllocationsEach(access))});
}

// Makes `call` from the innermost of `functions` functions, of which each does
// nothing but call the next one.
template <typename Call>
ABSL_ATTRIBUTE_NOINLINE ssize_t CallThrough(size_t functions, Call call) {
  const ssize_t result =
      functions == 1 ? call() : CallThrough(functions - 1, call);
  Use(result);  // Keeps it from being a jump.
  return result;
}

// Prints what each layer of a trapped access adds to the one below it.
void PrintLayers(const vfio::VfioDevice& device, kernel::Syscalls& calls,
                 bus::Bus& mmio, const BarPage& page) {
  constexpr std::array<std::string_view, 6> kLayers = {
      "the bare call", "Syscalls", "VfioDevice",
      "BarTrap",       "Bus",      "the bare call through 4 functions"};
  constexpr pci::BarIndex kBar0(0);
  constexpr uint64_t kOffset = kTrapped - kBar;
  kernel::FailureLog failures("device");
  vfio_pci::VfioRegions regions(&device);
  vfio_pci::BarTrap trap("BAR", kBar0, &regions, &failures, nullptr);
  // The compiler must not know which classes these are.
  kernel::Syscalls* volatile calls_pointer = &calls;
  vfio_pci::DeviceRegions* volatile regions_pointer = &regions;
  bus::BusDevice* volatile trap_pointer = &trap;
  std::array<uint8_t, kWidth> bytes = {};
  uint8_t* const raw = bytes.data();
  const absl::Span<uint8_t> data = absl::MakeSpan(bytes);
  const auto bare_read = [&] {
    return ::pread(page.fd(), raw, kWidth, kPageOffset);
  };
  const auto bare_write = [&] {
    return ::pwrite(page.fd(), raw, kWidth, kPageOffset);
  };
  const auto reads = NanosecondsOfEach(
      [&] { Use(bare_read()); },
      [&] { Use(calls_pointer->Pread(-1, raw, kWidth, kPageOffset)); },
      [&] { Use(regions_pointer->ReadBar(kBar0, kOffset, data)); },
      [&] { Use(trap_pointer->Read(kOffset, data)); },
      [&] { mmio.Read(kTrapped, data); },
      [&] { Use(CallThrough(4, bare_read)); });
  const auto writes = NanosecondsOfEach(
      [&] { Use(bare_write()); },
      [&] { Use(calls_pointer->Pwrite(-1, raw, kWidth, kPageOffset)); },
      [&] { Use(regions_pointer->WriteBar(kBar0, kOffset, data)); },
      [&] { Use(trap_pointer->Write(kOffset, data)); },
      [&] { mmio.Write(kTrapped, data); },
      [&] { Use(CallThrough(4, bare_write)); });
  Rows rows = {
      {"", "read, ns", "beside the bare", "write, ns", "beside the bare"}};
  for (size_t i = 0; i < kLayers.size(); ++i) {
    rows.push_back({std::string(kLayers[i]), absl::StrFormat("%.1f", reads[i]),
                    absl::StrFormat("%+.1f", reads[i] - reads[0]),
                    absl::StrFormat("%.1f", writes[i]),
                    absl::StrFormat("%+.1f", writes[i] - writes[0])});
  }
  PrintTable("The layers of a trapped BAR access, from within",
             "Each calls the one above it. The last line is what returning "
             "through four functions costs after a kernel call.",
             rows);
}

}  // namespace

void PrintGuestAccesses() {
  const BarPage page;
  PlainAccesses* calls = nullptr;
  const vfio::VfioDevice* device = nullptr;
  PassthroughRig rig({.edit_options =
                          [&](vfio_pci::VfioPciDevice::Options& options) {
                            device = options.device.get();
                          },
                      .wrap_calls =
                          [&](kernel::Syscalls* kernel) {
                            auto plain =
                                std::make_unique<PlainAccesses>(kernel, &page);
                            calls = plain.get();
                            return plain;
                          }});
  CHECK_OK(rig.Attach());
  rig.PlaceBar(0, kBar);
  rig.SetMsixControl(/*enable=*/true, /*function_mask=*/false);
  rig.WriteVector(2, 0x32, /*masked=*/false);
  rig.Store(kNvmeTable + 2 * 16 + 12, 4, 1);
  rig.RaiseMsix(2);  // is pending

  const int event = ::eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
  CHECK_GE(event, 0);
  bus::Bus& mmio = rig.mmio();
  std::array<uint8_t, kWidth> bytes = {};
  const absl::Span<uint8_t> data = absl::MakeSpan(bytes);
  Rows rows = {{"", "ns", "bare call, ns", "ours beside it", "allocations"}};
  calls->Begin();
  AddAccess(rows, "configuration read, answered by the shadow",
            [&] { Use(rig.device().ConfigRead(0x10, 4)); });
  AddAccess(rows, "MSI-X table read", [&] { mmio.Read(kNvmeTable + 8, data); });
  AddAccessBeside(
      rows, "pending bits read, one vector masked",
      [&] { mmio.Read(kNvmePba, data); },
      [&] {
        pollfd poll = {.fd = event, .events = POLLIN, .revents = 0};
        Use(::poll(&poll, 1, 0));
      });
  AddAccessBeside(
      rows, "trapped BAR read", [&] { mmio.Read(kTrapped, data); },
      [&] { Use(::pread(page.fd(), bytes.data(), kWidth, kPageOffset)); });
  AddAccessBeside(
      rows, "trapped BAR write", [&] { mmio.Write(kTrapped, data); },
      [&] { Use(::pwrite(page.fd(), bytes.data(), kWidth, kPageOffset)); });
  PrintTable("Guest accesses that exit, without the exit itself",
             "The bare calls are poll of an eventfd, and pread and pwrite of 8 "
             "bytes of an anonymous file, which are cheaper than a device's.",
             rows);
  PrintLayers(*device, *calls, mmio, page);
  calls->End();
  ::close(event);
}

}  // namespace passthru::benchmark
