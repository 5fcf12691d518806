// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/regression/guest_program.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/vfio_pci/bar_area.h"
#include "passthru/devices/vfio_pci/device_report.h"
#include "passthru/pci/bar.h"
#include "passthru/testing/guest/linux/guest_machine.h"
#include "passthru/testing/guest/linux/linux_pci_core.h"
#include "passthru/testing/guest/linux/linux_pci_device.h"
#include "passthru/testing/guest/linux/linux_pci_probe.h"
#include "passthru/vmm/plural.h"
#include "passthru/vmm/regression/guest_interrupts.h"

namespace passthru::vmm {
namespace {

using vfio_pci::BarAreaKind;
using vfio_pci::BarAreaReport;
using vfio_pci::BarReport;

constexpr size_t kRow = 16;

// A part of a BAR that the guest looked at, and what it read there.
struct Look {
  int bar = 0;
  uint64_t offset = 0;
  unsigned width = 0;
  uint32_t value = 0;
};

uint32_t AllOnes(unsigned width) {
  return width == 4 ? 0xffffffff : (uint32_t{1} << (8 * width)) - 1;
}

std::string HexRow(const std::vector<uint8_t>& bytes, size_t offset) {
  std::string row = absl::StrFormat("%03x:", offset);
  for (size_t i = offset; i < offset + kRow; ++i) {
    absl::StrAppendFormat(&row, " %02x", bytes[i]);
  }
  return row;
}

class RegressionGuest {
 public:
  RegressionGuest(guest::GuestCpu& cpu, const guest::GuestLayout& layout,
                  RegressionBench& bench)
      : cpu_(cpu),
        machine_(&cpu, layout),
        bench_(bench),
        transcript_(bench.transcript()) {}

  absl::Status Run() {
    PASSTHRU_RETURN_IF_ERROR(Enumerate());
    ShowConfiguration();
    PASSTHRU_RETURN_IF_ERROR(Enable());
    LookAtBars();
    PASSTHRU_RETURN_IF_ERROR(MoveBars());
    PASSTHRU_RETURN_IF_ERROR(CheckInterrupts(machine_, *device_, bench_));
    ResetFunction();
    Sleep();
    ResetMachine();
    return UseAgain();
  }

 private:
  absl::Status Enumerate() {
    transcript_.Begin("Enumeration and sizing");
    auto devices = guest::ScanBus0(&machine_.config(), {});
    for (auto& device : devices) {
      machine_.resources().Claim(*device);
      if (device->info.bdf == bench_.guest_bdf()) device_ = std::move(device);
    }
    if (device_ == nullptr) {
      return absl::NotFoundError(absl::StrCat("the guest finds no device at ",
                                              bench_.guest_bdf().ToString()));
    }
    const guest::GuestPciInfo& info = device_->info;
    bench_.facts().class_code = info.class_code;
    bench_.facts().interrupt_pin = info.interrupt_pin;
    transcript_.Line(absl::StrFormat(
        "found %04x:%04x, class %06x, %s of configuration space, %s",
        info.vendor_id, info.device_id, info.class_code,
        Count(info.config_size, "byte"), Count(info.bars.size(), "BAR")));
    for (const std::string& error : info.bar_errors) transcript_.Line(error);
    for (const pci::Bar& bar : bench_.device().bars()) {
      const guest::GuestBar* const sized = device_->FindBar(bar.index.value());
      if (sized == nullptr || sized->size != bar.size) {
        transcript_.Problem(
            absl::StrFormat("the guest sizes BAR %d to %s", bar.index.value(),
                            Count(sized == nullptr ? 0 : sized->size, "byte")));
      }
    }
    return absl::OkStatus();
  }

  std::vector<uint8_t> ReadConfiguration() const {
    std::vector<uint8_t> bytes(device_->info.config_size);
    for (size_t i = 0; i < bytes.size(); i += 4) {
      const uint32_t dword = device_->ReadDword(static_cast<uint16_t>(i));
      for (size_t b = 0; b < 4; ++b) {
        bytes[i + b] = static_cast<uint8_t>(dword >> (8 * b));
      }
    }
    return bytes;
  }

  void ShowConfiguration() {
    transcript_.Begin("Configuration space as the guest reads it");
    transcript_.DropMeasurement();
    const vfio_pci::DeviceReport report = bench_.device().Describe();
    bench_.facts().report = report;
    for (const auto& capability : report.capabilities) {
      transcript_.Line(vfio_pci::ToString(capability));
    }
    for (const std::string& problem : report.malformed) {
      transcript_.Line(absl::StrCat("broken: ", problem));
    }
    const std::vector<uint8_t> bytes = ReadConfiguration();
    for (size_t row = 0; row < bytes.size(); row += kRow) {
      const auto begin = bytes.begin() + static_cast<ptrdiff_t>(row);
      if (std::all_of(begin, begin + kRow, [](uint8_t b) { return b == 0; })) {
        continue;
      }
      transcript_.Line(HexRow(bytes, row));
    }
    transcript_.Line("All else is 0.");
  }

  // Adds the rows that differ from `before`.
  void ShowChanges(const std::vector<uint8_t>& before) {
    const std::vector<uint8_t> now = ReadConfiguration();
    bool changed = false;
    for (size_t row = 0; row < now.size(); row += kRow) {
      const std::string was = HexRow(before, row);
      const std::string is = HexRow(now, row);
      if (was == is) continue;
      transcript_.Line(absl::StrCat("- ", was));
      transcript_.Line(absl::StrCat("+ ", is));
      changed = true;
    }
    if (!changed) transcript_.Line("configuration space: as it was");
  }

  absl::Status Enable() {
    transcript_.Begin("Decode and bus mastering on");
    PASSTHRU_RETURN_IF_ERROR(machine_.resources().AssignUnclaimed(*device_));
    PASSTHRU_RETURN_IF_ERROR(guest::PciEnableDevice(*device_));
    guest::PciSetMaster(*device_);
    return absl::OkStatus();
  }

  uint32_t Load(const guest::GuestBar& bar, uint64_t address, unsigned width) {
    return bar.is_io() ? cpu_.In(static_cast<uint16_t>(address), width)
                       : static_cast<uint32_t>(cpu_.Load(address, width));
  }
  void Store(const guest::GuestBar& bar, uint64_t address, unsigned width,
             uint32_t value) {
    if (bar.is_io()) {
      cpu_.Out(static_cast<uint16_t>(address), width, value);
    } else {
      cpu_.Store(address, width, value);
    }
  }

  // Adds the address map. The guest reads where each part of a BAR begins, and
  // writes there first unless the part is an MSI-X structure.
  void LookAtBars() {
    transcript_.Begin("Address map");
    for (const BarReport& report : bench_.device().Describe().bars) {
      // The first line is the BAR, and one for each area follows.
      std::vector<std::string> lines = vfio_pci::ToLines(report);
      const guest::GuestBar* const bar =
          device_->FindBar(report.bar.index.value());
      if (bar != nullptr && !bar->is_rom() && report.placed) {
        for (size_t i = 0; i < report.areas.size(); ++i) {
          absl::StrAppend(&lines[i + 1], "; ", LookAt(*bar, report.areas[i]));
        }
      }
      for (const std::string& line : lines) transcript_.Line(line);
    }
    for (const auto& mapping : bench_.DmaMappings()) {
      transcript_.Line(absl::StrFormat(
          "DMA reaches 0x%x to 0x%x, %s", mapping.iova, mapping.last(),
          mapping.write ? "read and write" : "read only"));
    }
  }

  std::string LookAt(const guest::GuestBar& bar, const BarAreaReport& report) {
    const vfio_pci::BarArea& area = report.area;
    Look look = {
        .bar = bar.index,
        .offset = area.offset,
        .width = static_cast<unsigned>(std::min<uint64_t>(4, area.size))};
    const uint64_t address = bar.address + area.offset;
    const uint64_t exits_before = bench_.kvm().ExitCounts().total();
    std::string text;
    if (area.kind != BarAreaKind::kMsixTable &&
        area.kind != BarAreaKind::kMsixPba) {
      const uint32_t pattern = ++pattern_ & AllOnes(look.width);
      Store(bar, address, look.width, pattern);
      absl::StrAppendFormat(&text, "written 0x%x, ", pattern);
    }
    look.value = Load(bar, address, look.width);
    const uint64_t exits = bench_.kvm().ExitCounts().total() - exits_before;
    absl::StrAppendFormat(&text, "reads 0x%x, %s", look.value,
                          Count(exits, "exit"));
    if (report.in_guest && exits != 0) {
      transcript_.Problem(
          absl::StrFormat("an access to BAR%d+0x%x, which is mapped, exits",
                          bar.index, area.offset));
    }
    looks_.push_back(look);
    return text;
  }

  // Adds a problem for every part of the BAR that does not read as it did.
  // `when` is a part of its text.
  void LookAgain(int bar, std::string_view when) {
    const guest::GuestBar* const at = device_->FindBar(bar);
    for (const Look& look : looks_) {
      if (look.bar != bar) continue;
      const uint32_t value = Load(*at, at->address + look.offset, look.width);
      if (value == look.value) continue;
      transcript_.Problem(absl::StrFormat("BAR%d+0x%x reads 0x%x %s", bar,
                                          look.offset, value, when));
    }
  }

  absl::Status MoveBars() {
    for (const guest::GuestBar& bar : device_->info.bars) {
      if (bar.is_rom()) continue;
      transcript_.Begin(absl::StrCat("BAR", bar.index, " moves"));
      const uint64_t from = bar.address;
      PASSTHRU_RETURN_IF_ERROR(machine_.resources().Move(*device_, bar.index));
      transcript_.Line(absl::StrFormat("from 0x%x to 0x%x, contents included",
                                       from, bar.address));
      LookAgain(bar.index, "after the move");
      for (const Look& look : looks_) {
        if (look.bar != bar.index) continue;
        const uint32_t value = Load(bar, from + look.offset, look.width);
        if (value != AllOnes(look.width)) {
          transcript_.Problem(absl::StrFormat(
              "the old place reads 0x%x at +0x%x", value, look.offset));
        }
      }
    }
    return absl::OkStatus();
  }

  void ResetFunction() {
    transcript_.EndMeasurement();
    const std::vector<uint8_t> before = ReadConfiguration();
    transcript_.Begin("Function level reset by the guest");
    const absl::Status status = guest::PciResetFunction(*device_);
    if (absl::IsNotFound(status)) {
      transcript_.Line("the guest sees no way to");
    } else if (!status.ok()) {
      transcript_.Problem(status.ToString());
    }
    transcript_.EndMeasurement();
    ShowChanges(before);
    ShowContents();
  }

  void Sleep() {
    const std::vector<uint8_t> before = ReadConfiguration();
    const guest::PciSavedState saved = guest::PciSaveState(*device_);
    transcript_.Begin("To D3hot and back");
    absl::Status status =
        guest::PciSetPowerState(*device_, guest::PciPowerState::kD3hot);
    if (absl::IsNotFound(status)) {
      transcript_.Line("no power management");
      return;
    }
    if (status.ok()) {
      ShowContents();
      status = guest::PciSetPowerState(*device_, guest::PciPowerState::kD0);
    }
    if (!status.ok()) transcript_.Problem(status.ToString());
    guest::PciRestoreState(*device_, saved);
    transcript_.EndMeasurement();
    ShowChanges(before);
    ShowContents();
  }

  void ResetMachine() {
    const std::vector<uint8_t> before = ReadConfiguration();
    saved_ = guest::PciSaveState(*device_);
    transcript_.Begin("Reset of the machine");
    if (absl::Status s = bench_.device().Reset(); !s.ok()) {
      transcript_.Line(s.ToString());
    }
    transcript_.EndMeasurement();
    ShowChanges(before);
  }

  absl::Status UseAgain() {
    transcript_.Begin("In use again");
    guest::PciRestoreState(*device_, saved_);
    ShowContents();
    return LeaveInterruptsOn(machine_, *device_, bench_);
  }

  // Adds a line with what the parts of the BARs read now.
  void ShowContents() {
    std::string line;
    for (const Look& look : looks_) {
      const guest::GuestBar* const bar = device_->FindBar(look.bar);
      absl::StrAppendFormat(&line, "%sBAR%d+0x%x reads 0x%x",
                            line.empty() ? "" : ", ", look.bar, look.offset,
                            Load(*bar, bar->address + look.offset, look.width));
    }
    if (!line.empty()) transcript_.Line(line);
  }

  guest::GuestCpu& cpu_;
  guest::GuestMachine machine_;
  RegressionBench& bench_;
  Transcript& transcript_;
  std::unique_ptr<guest::LinuxPciDevice> device_;
  uint32_t pattern_ = 0x5a5a5a00;
  std::vector<Look> looks_;
  guest::PciSavedState saved_;
};

}  // namespace

absl::Status RunRegressionGuest(guest::GuestCpu& cpu,
                                const guest::GuestLayout& layout,
                                RegressionBench& bench) {
  return RegressionGuest(cpu, layout, bench).Run();
}

}  // namespace passthru::vmm
