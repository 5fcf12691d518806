// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/regression/guest_interrupts.h"

#include <linux/pci_regs.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "passthru/devices/interrupts/msix_vector_group.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/vfio_pci/device_report.h"
#include "passthru/testing/guest/guest_cpu.h"
#include "passthru/testing/guest/linux/linux_irq_vectors.h"
#include "passthru/testing/guest/linux/linux_msi.h"
#include "passthru/testing/guest/linux/linux_msix.h"
#include "passthru/testing/guest/linux/linux_pci_core.h"
#include "passthru/testing/guest/linux/msi_allocator.h"
#include "passthru/testing/models/device_platform.h"
#include "passthru/vmm/guest_layout.h"
#include "passthru/vmm/plural.h"

namespace passthru::vmm {
namespace {

using guest::GuestMessage;

// The most vectors that the guest enables. Its one CPU has enough vectors for
// them and for its other uses. Linux would spread more over its CPUs.
constexpr uint16_t kMaxVectors = 128;

// A check of the MSI-X or MSI vectors that are in use. It fires them from the
// hardware and looks at what arrives.
class VectorCheck {
 public:
  VectorCheck(guest::GuestMachine& guest, RegressionBench& bench,
              guest::LinuxIrqVectors& vectors, vfio_pci::InterruptKind kind)
      : guest_(guest), bench_(bench), vectors_(vectors), kind_(kind) {}

  void Fire(uint16_t vector) {
    bench_.Act([&](models::DevicePlatform& hardware) {
      if (kind_ == vfio_pci::InterruptKind::kMsix) {
        hardware.RaiseMsix(vector);
      } else {
        hardware.RaiseMsi(vector);
      }
    });
  }

  // Lets the guest take what arrived. Returns how many of these were
  // `vector`'s.
  size_t Take(uint16_t vector) {
    const auto taken = TakeAll();
    const auto found = taken.find(vectors_.message(vector).data);
    size_t others = 0;
    for (const auto& [data, count] : taken) {
      if (data != vectors_.message(vector).data) others += count;
    }
    if (others != 0) {
      bench_.transcript().Problem(absl::StrCat(Count(others, "interrupt"),
                                               " of others when vector ",
                                               vector, " was meant"));
    }
    return found == taken.end() ? 0 : found->second;
  }

  // Lets the guest take what arrived. Returns how often each message did, by
  // its data, which differs for each vector of a run.
  std::map<uint32_t, size_t> TakeAll() {
    std::map<uint32_t, size_t> taken;
    for (const GuestMessage& message : bench_.TakeMessages()) {
      const auto interrupt = guest_.cpu().WaitForInterrupt();
      if (!interrupt.has_value() || *interrupt != message) {
        bench_.transcript().Problem(
            absl::StrFormat("message 0x%x data 0x%02x reached no CPU",
                            message.address, message.data));
        continue;
      }
      ++taken[message.data];
    }
    return taken;
  }

  // Calls `once` for every vector. It returns what went wrong, or an empty
  // string.
  void ForEach(std::string_view what,
               const std::function<std::string(uint16_t)>& once) {
    std::string first_failure;
    uint16_t failures = 0;
    for (uint16_t vector = 0; vector < vectors_.count(); ++vector) {
      const std::string failure = once(vector);
      if (failure.empty()) continue;
      if (++failures == 1) {
        first_failure = absl::StrCat("vector ", vector, ": ", failure);
      }
    }
    bench_.transcript().Line(absl::StrCat(
        what, ": ", vectors_.count() - failures, " of ", vectors_.count()));
    if (failures != 0) bench_.transcript().Problem(first_failure);
  }

  void FireEach() {
    ForEach("each fired once and arrived once, as its own message",
            [&](uint16_t vector) -> std::string {
              Fire(vector);
              const size_t count = Take(vector);
              return count == 1
                         ? ""
                         : absl::StrCat("arrived ", Count(count, "time"));
            });
    DescribeStates();
  }

  // Masks each vector, fires it twice, and unmasks it again. `pending` reads
  // the vector's pending bit.
  void MaskEach(const std::function<bool(uint16_t)>& pending) {
    ForEach(
        "each masked and fired twice: held back, pending, and arrived once "
        "when unmasked",
        [&](uint16_t vector) -> std::string {
          vectors_.Mask(vector);
          Fire(vector);
          Fire(vector);
          if (const size_t count = Take(vector); count != 0) {
            return absl::StrCat("arrived ", Count(count, "time"),
                                " while masked");
          }
          if (!pending(vector)) return "was not pending";
          vectors_.Unmask(vector);
          if (const size_t count = Take(vector); count != 1) {
            return absl::StrCat("arrived ", Count(count, "time"),
                                " when unmasked");
          }
          return pending(vector) ? "is still pending" : "";
        });
  }

  // Adds a line on how the VMM delivers the vectors now.
  void DescribeStates() {
    std::map<std::string, int> states;
    for (const auto& group : bench_.device().Describe().vector_groups) {
      if (group.kind != kind_) continue;
      for (const interrupts::VectorReport& vector : group.vectors) {
        ++states[std::string(interrupts::Name(vector.state))];
      }
    }
    bench_.transcript().Line(
        absl::StrCat("vectors by state: ",
                     absl::StrJoin(states, ", ", absl::PairFormatter(" "))));
  }

 private:
  guest::GuestMachine& guest_;
  RegressionBench& bench_;
  guest::LinuxIrqVectors& vectors_;
  const vfio_pci::InterruptKind kind_;
};

absl::Status RequestAll(guest::LinuxIrqVectors& vectors) {
  for (uint16_t vector = 0; vector < vectors.count(); ++vector) {
    PASSTHRU_RETURN_IF_ERROR(
        vectors.Request(vector, absl::StrCat("vector ", vector), [] {}));
  }
  return absl::OkStatus();
}

std::string EnableLine(const guest::LinuxIrqVectors& vectors, uint16_t there) {
  const GuestMessage first = vectors.message(0);
  const GuestMessage last =
      vectors.message(static_cast<uint16_t>(vectors.count() - 1));
  return absl::StrFormat("%d of %s, messages 0x%x data 0x%02x to 0x%02x",
                         vectors.count(), Count(there, "vector"), first.address,
                         first.data, last.data);
}

void CheckFunctionMask(guest::LinuxMsix& msix, VectorCheck& check,
                       Transcript& transcript) {
  msix.SetFunctionMask(true);
  for (uint16_t vector = 0; vector < msix.count(); ++vector) check.Fire(vector);
  if (!check.TakeAll().empty()) {
    transcript.Problem("interrupts arrived while the function was masked");
  }
  msix.SetFunctionMask(false);
  const std::map<uint32_t, size_t> taken = check.TakeAll();
  const auto once = std::ranges::count_if(
      taken, [](const auto& message) { return message.second == 1; });
  transcript.Line(
      absl::StrCat("the function masked and each fired: held back, and arrived "
                   "once when unmasked: ",
                   once, " of ", msix.count()));
  if (once != msix.count() || taken.size() != msix.count()) {
    transcript.Problem("interrupts were lost or doubled");
  }
}

void CheckFreed(guest::LinuxIrqVectors& vectors, VectorCheck& check,
                Transcript& transcript) {
  vectors.Free();
  check.Fire(0);
  transcript.Line("switched off, and vector 0 fired: nothing arrived");
  if (!check.TakeAll().empty()) {
    transcript.Problem("an interrupt arrived though they were off");
  }
}

absl::Status CheckMsix(guest::GuestMachine& guest,
                       guest::LinuxPciDevice& device, RegressionBench& bench) {
  const uint16_t there = guest::MsixVectorCount(device);
  if (there == 0) return absl::OkStatus();
  Transcript& transcript = bench.transcript();
  transcript.Begin("MSI-X: bring up");
  PASSTHRU_ASSIGN_OR_RETURN(
      auto vectors, guest::LinuxMsix::Enable(guest.irq_context(), device,
                                             std::min(there, kMaxVectors)));
  PASSTHRU_RETURN_IF_ERROR(RequestAll(*vectors));
  transcript.Line(EnableLine(*vectors, there));
  VectorCheck check(guest, bench, *vectors, vfio_pci::InterruptKind::kMsix);
  check.DescribeStates();

  transcript.Begin("MSI-X: interrupts");
  check.FireEach();
  transcript.Begin("MSI-X: the same again");
  check.FireEach();
  transcript.Begin("MSI-X: mask bits");
  check.MaskEach([&](uint16_t vector) { return vectors->Pending(vector); });
  transcript.Begin("MSI-X: function mask");
  CheckFunctionMask(*vectors, check, transcript);
  transcript.Begin("MSI-X: off");
  CheckFreed(*vectors, check, transcript);
  return absl::OkStatus();
}

// Returns the offset of MSI's pending bits, or nothing if the vectors cannot be
// masked.
std::optional<uint16_t> MsiPendingOffset(const guest::LinuxPciDevice& device) {
  const uint16_t at = device.FindCapability(PCI_CAP_ID_MSI);
  const uint16_t control = device.ReadWord(at + PCI_MSI_FLAGS);
  if ((control & PCI_MSI_FLAGS_MASKBIT) == 0) return std::nullopt;
  const int pending = (control & PCI_MSI_FLAGS_64BIT) != 0 ? PCI_MSI_PENDING_64
                                                           : PCI_MSI_PENDING_32;
  return static_cast<uint16_t>(at + pending);
}

absl::Status CheckMsi(guest::GuestMachine& guest, guest::LinuxPciDevice& device,
                      RegressionBench& bench) {
  const uint16_t there = guest::MsiVectorCount(device);
  if (there == 0) return absl::OkStatus();
  Transcript& transcript = bench.transcript();
  transcript.Begin("MSI: bring up");
  PASSTHRU_ASSIGN_OR_RETURN(
      auto vectors,
      guest::LinuxMsi::Enable(guest.irq_context(), device, there));
  PASSTHRU_RETURN_IF_ERROR(RequestAll(*vectors));
  transcript.Line(EnableLine(*vectors, there));
  VectorCheck check(guest, bench, *vectors, vfio_pci::InterruptKind::kMsi);
  check.DescribeStates();

  transcript.Begin("MSI: interrupts");
  check.FireEach();
  transcript.Begin("MSI: the same again");
  check.FireEach();
  if (const auto pending = MsiPendingOffset(device); pending.has_value()) {
    transcript.Begin("MSI: mask bits");
    check.MaskEach([&](uint16_t vector) {
      return ((device.ReadDword(*pending) >> vector) & 1) != 0;
    });
  }
  transcript.Begin("MSI: off");
  CheckFreed(*vectors, check, transcript);
  return absl::OkStatus();
}

void CheckIntx(guest::LinuxPciDevice& device, RegressionBench& bench) {
  Transcript& transcript = bench.transcript();
  transcript.Begin("INTx");
  const uint8_t pin = device.info.interrupt_pin;
  if (pin == 0) {
    transcript.Line("the guest sees no pin");
    return;
  }
  const uint32_t gsi = IntxGsi(bench.guest_bdf().device());
  transcript.Line(absl::StrFormat("INT%c on GSI %d", 'A' + pin - 1, gsi));
  const auto expect = [&](bool high, std::string_view when) {
    transcript.Line(
        absl::StrCat(when, ": the line is ", high ? "high" : "low"));
    if (bench.kvm().LineLevel(gsi) != high) {
      transcript.Problem(absl::StrCat("the line is ", high ? "low" : "high"));
    }
  };
  const auto assert_pin = [&](bool asserted) {
    bench.Act(
        [&](models::DevicePlatform& hardware) { hardware.SetIntx(asserted); });
  };
  assert_pin(true);
  expect(true, "the device asserts its pin");
  bench.kvm().Acknowledge(gsi);
  expect(true, "the guest acknowledges while it is asserted");
  assert_pin(false);
  bench.kvm().Acknowledge(gsi);
  expect(false, "the device releases it, the guest acknowledges");
  guest::PciIntx(device, false);
  assert_pin(true);
  expect(false, "asserted with interrupts disabled in COMMAND");
  guest::PciIntx(device, true);
  expect(true, "enabled there");
  assert_pin(false);
  bench.kvm().Acknowledge(gsi);
  expect(false, "released and acknowledged");
}

}  // namespace

absl::Status CheckInterrupts(guest::GuestMachine& guest,
                             guest::LinuxPciDevice& device,
                             RegressionBench& bench) {
  CheckIntx(device, bench);
  PASSTHRU_RETURN_IF_ERROR(CheckMsix(guest, device, bench));
  return CheckMsi(guest, device, bench);
}

absl::Status LeaveInterruptsOn(guest::GuestMachine& guest,
                               guest::LinuxPciDevice& device,
                               RegressionBench& bench) {
  vfio_pci::InterruptKind kind = vfio_pci::InterruptKind::kMsix;
  absl::StatusOr<std::unique_ptr<guest::LinuxIrqVectors>> vectors;
  if (guest::MsixVectorCount(device) != 0) {
    vectors = guest::LinuxMsix::Enable(guest.irq_context(), device, 1);
  } else if (guest::MsiVectorCount(device) != 0) {
    kind = vfio_pci::InterruptKind::kMsi;
    vectors = guest::LinuxMsi::Enable(guest.irq_context(), device, 1);
  } else {
    return absl::OkStatus();
  }
  if (!vectors.ok()) return vectors.status();
  PASSTHRU_RETURN_IF_ERROR(RequestAll(**vectors));
  VectorCheck check(guest, bench, **vectors, kind);
  // A vector that was fired while they were off is still pending, unless a
  // reset of the device cleared it.
  if (!check.TakeAll().empty()) {
    bench.transcript().Line("what was fired before arrived");
  }
  check.FireEach();
  return absl::OkStatus();
}

}  // namespace passthru::vmm
