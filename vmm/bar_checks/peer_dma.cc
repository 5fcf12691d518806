// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/testing/guest/guest_cpu.h"
#include "passthru/testing/guest/guest_layout.h"
#include "passthru/vmm/bar_checks/bar_checks.h"
#include "passthru/vmm/bar_checks/bench.h"
#include "passthru/vmm/guest/guest_run.h"

namespace passthru::vmm {
namespace {

// From QEMU's docs/specs/edu.
constexpr uint64_t kSource = 0x80;
constexpr uint64_t kDestination = 0x88;
constexpr uint64_t kCount = 0x90;
constexpr uint64_t kCommand = 0x98;
constexpr uint64_t kStartToDevice = 0x1;
constexpr uint64_t kStartFromDevice = 0x3;
constexpr uint64_t kRunning = 0x1;
constexpr uint64_t kDeviceBuffer = 0x40000;

constexpr uint64_t kCopied = 64;
// A transfer of QEMU's takes 100 ms.
constexpr int kMaxPolls = 1000000;

// Different in each of the guest's buffers.
constexpr uint64_t kRamPattern = 0x1111'2222'3333'4444;
constexpr uint64_t kBarPattern = 0x5555'6666'7777'8888;
constexpr uint64_t kUntouched = 0xeeee'eeee'eeee'eeee;

// The part of the check that runs in the guest.
class PeerDmaGuest {
 public:
  struct Places {
    uint64_t registers = 0;  // BAR 0 of the edu
    uint64_t shared = 0;     // BAR 2 of its peer
    uint64_t ram = 0;
  };

  PeerDmaGuest(guest::GuestCpu* cpu, const Places& places)
      : cpu_(*cpu), places_(places) {}

  absl::Status Run(bool reaches) {
    const uint64_t ram = places_.ram;
    const uint64_t ram_target = ram + 0x1000;
    const uint64_t bar = places_.shared;
    const uint64_t bar_target = bar + 0x1000;
    // The device must reach the RAM whatever it reaches else.
    Fill(ram, kRamPattern);
    Fill(ram_target, kUntouched);
    PASSTHRU_RETURN_IF_ERROR(Copy(ram, ram_target));
    PASSTHRU_RETURN_IF_ERROR(
        Expect(ram_target, kRamPattern, true, "RAM, copied to RAM,"));
    // It reads the BAR of the other device.
    Fill(bar, kBarPattern);
    Fill(ram_target, kUntouched);
    PASSTHRU_RETURN_IF_ERROR(Copy(bar, ram_target));
    PASSTHRU_RETURN_IF_ERROR(Expect(ram_target, kBarPattern, reaches,
                                    "the peer's BAR, copied to RAM,"));
    // It writes to the BAR.
    Fill(bar_target, kUntouched);
    PASSTHRU_RETURN_IF_ERROR(Copy(ram, bar_target));
    PASSTHRU_RETURN_IF_ERROR(Expect(bar_target,
                                    reaches ? kRamPattern : kUntouched, true,
                                    "RAM, copied to the peer's BAR,"));
    return absl::OkStatus();
  }

 private:
  void Fill(uint64_t at, uint64_t pattern) {
    for (uint64_t i = 0; i < kCopied; i += 8) cpu_.Store(at + i, 8, pattern);
  }

  // Returns an error unless the first and the last word at `at` are `pattern`,
  // or are not.
  absl::Status Expect(uint64_t at, uint64_t pattern, bool same,
                      std::string_view what) {
    const uint64_t first = cpu_.Load(at, 8);
    const uint64_t last = cpu_.Load(at + kCopied - 8, 8);
    if ((first == pattern) == same && (last == pattern) == same) {
      return absl::OkStatus();
    }
    return absl::DataLossError(absl::StrCat(
        what, " reads ", absl::Hex(first), " to ", absl::Hex(last), ", which ",
        same ? "should be " : "must not be ", absl::Hex(pattern)));
  }

  absl::Status Copy(uint64_t from, uint64_t to) {
    PASSTHRU_RETURN_IF_ERROR(Transfer(from, kDeviceBuffer, kStartToDevice));
    return Transfer(kDeviceBuffer, to, kStartFromDevice);
  }

  absl::Status Transfer(uint64_t from, uint64_t to, uint64_t command) {
    cpu_.Store(places_.registers + kSource, 8, from);
    cpu_.Store(places_.registers + kDestination, 8, to);
    cpu_.Store(places_.registers + kCount, 8, kCopied);
    cpu_.Store(places_.registers + kCommand, 8, command);
    for (int i = 0; i < kMaxPolls; ++i) {
      if ((cpu_.Load(places_.registers + kCommand, 8) & kRunning) == 0) {
        return absl::OkStatus();
      }
      if (cpu_.Stopping()) break;
    }
    return absl::DeadlineExceededError("the edu's transfer does not end");
  }

  guest::GuestCpu& cpu_;
  const Places places_;
};

}  // namespace

absl::Status CheckPeerDma(const BarChecksHost& host, pci::Bdf edu,
                          pci::Bdf peer, bool peer_to_peer) {
  PASSTHRU_ASSIGN_OR_RETURN(const auto bench,
                            BarChecksBench::Create(host, peer_to_peer));
  PASSTHRU_ASSIGN_OR_RETURN(const auto edu_device, bench->Attach(edu));
  PASSTHRU_ASSIGN_OR_RETURN(const auto peer_device, bench->Attach(peer));
  PASSTHRU_ASSIGN_OR_RETURN(const auto registers, FindBar(*edu_device, 0));
  PASSTHRU_ASSIGN_OR_RETURN(const auto shared, FindBar(*peer_device, 2));
  const PeerDmaGuest::Places places = {
      .registers = registers.bar.address,
      .shared = shared.bar.address,
      .ram = GuestLayoutOf(bench->machine()).dma_memory.base};
  return bench->Run([&](guest::GuestCpu& cpu) {
    return PeerDmaGuest(&cpu, places).Run(peer_to_peer);
  });
}

}  // namespace passthru::vmm
