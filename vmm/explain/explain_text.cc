// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/explain/explain_text.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "passthru/vmm/explain/explain_report.pb.h"
#include "passthru/vmm/explain/register_diff.h"

namespace passthru::explain {
namespace {

constexpr size_t kWidth = 100;

// Appends `head` and `text`, broken between words. Further lines begin in the
// column where `text` begins. No line ends with white space.
void AppendLine(std::string& out, std::string_view head,
                std::string_view text) {
  std::string line(head);
  const size_t indent = head.size();
  bool first = true;
  std::string_view gap = " ";
  for (const std::string_view word : absl::StrSplit(text, ' ')) {
    if (word.empty()) {
      gap = "  ";  // What lspci prints has gaps of two.
      continue;
    }
    if (!first && line.size() + gap.size() + word.size() > kWidth) {
      absl::StrAppend(&out, line, "\n");
      line.assign(indent, ' ');
      first = true;
    }
    absl::StrAppend(&line, first ? "" : gap, word);
    gap = " ";
    first = false;
  }
  line.erase(line.find_last_not_of(' ') + 1);
  absl::StrAppend(&out, line, "\n");
}

std::string SizeText(uint64_t bytes) {
  static constexpr std::pair<int, const char*> kUnits[] = {
      {30, "GiB"}, {20, "MiB"}, {10, "KiB"}};
  for (const auto& [shift, unit] : kUnits) {
    const uint64_t size = uint64_t{1} << shift;
    if (bytes >= size && bytes % size == 0) {
      return absl::StrCat(bytes >> shift, " ", unit);
    }
  }
  return absl::StrCat(bytes, " B");
}

std::string_view TreatmentWord(Capability::Treatment treatment) {
  switch (treatment) {
    case Capability::PASSED:
      return "passed";
    case Capability::VIRTUALIZED:
      return "virtualized";
    case Capability::HIDDEN:
      return "hidden";
    case Capability::HIDDEN_BY_KERNEL:
      return "not in VFIO";
    default:
      return "?";
  }
}

// Returns a decoded capability without its offset, "40: ".
std::string_view WithoutOffset(std::string_view decoded) {
  const size_t colon = decoded.find(": ");
  return colon == std::string_view::npos ? decoded : decoded.substr(colon + 2);
}

void AppendCapabilities(std::string& out, const Report& report) {
  if (report.capabilities().empty()) return;
  absl::StrAppend(&out,
                  "\nCapabilities, as the hardware has them, and how the "
                  "guest sees them\n");
  for (const Capability& capability : report.capabilities()) {
    const std::string offset = absl::StrFormat(
        "[%0*x]", capability.extended() ? 3 : 2, capability.offset());
    AppendLine(out,
               absl::StrFormat("  %-11s  %-6s",
                               TreatmentWord(capability.treatment()), offset),
               WithoutOffset(capability.hardware()));
    const std::string margin(21, ' ');
    if (!capability.guest().empty() &&
        capability.guest() != capability.hardware()) {
      AppendLine(out, margin + "guest: ", WithoutOffset(capability.guest()));
    }
    if (!capability.reason().empty()) {
      AppendLine(out, margin, absl::StrCat("(", capability.reason(), ")"));
    }
  }
}

void AppendBars(std::string& out, const Report& report) {
  if (report.bars().empty() && !report.has_rom()) return;
  absl::StrAppend(&out, "\nBARs\n");
  for (const Bar& bar : report.bars()) {
    absl::StrAppendFormat(&out, "  BAR%u  %s, %s\n", bar.index(), bar.type(),
                          SizeText(bar.size()));
    absl::StrAppend(&out, "    hardware  ",
                    bar.host_address() == 0
                        ? "the registers do not tell where"
                        : absl::StrFormat("at 0x%x", bar.host_address()),
                    "\n");
    AppendLine(out, "    VFIO      ", bar.vfio());
    bool first = true;
    for (const Area& area : bar.areas()) {
      AppendLine(out,
                 absl::StrFormat("    %s  +0x%05x %8s  %s  ",
                                 first ? "guest   " : "        ", area.offset(),
                                 SizeText(area.size()),
                                 area.mapped() ? "mapped " : "trapped"),
                 !area.reason().empty() ? area.reason()
                 : area.mapped() ? "it reaches the device without an exit"
                                 : "");
      first = false;
    }
  }
  if (report.has_rom()) {
    absl::StrAppend(&out, "  ROM\n");
    AppendLine(out, "    hardware  ", report.rom().hardware());
    AppendLine(out, "    VFIO      ", report.rom().vfio());
    AppendLine(out, "    guest     ", report.rom().guest());
  }
}

void AppendInterrupts(std::string& out, const Report& report) {
  if (report.interrupts().empty()) return;
  absl::StrAppend(&out, "\nInterrupts  hardware   VFIO  guest\n");
  for (const Interrupt& interrupt : report.interrupts()) {
    AppendLine(out,
               absl::StrFormat("  %-8s  %8u  %5u  %5u  ", interrupt.kind(),
                               interrupt.device(), interrupt.vfio(),
                               interrupt.guest()),
               interrupt.reason());
  }
}

std::string Value(const Register& reg, uint32_t value) {
  return absl::StrFormat("%0*x", 2 * static_cast<int>(reg.size()), value);
}

std::string Why(const Register& reg) {
  if (!reg.why_vfio().empty() && !reg.why_guest().empty()) {
    return absl::StrCat("VFIO: ", reg.why_vfio(), ". Guest: ", reg.why_guest());
  }
  if (!reg.why_vfio().empty()) return absl::StrCat("VFIO: ", reg.why_vfio());
  return reg.why_guest();
}

void AppendRegisters(std::string& out, const Report& report, bool all) {
  absl::StrAppend(
      &out,
      all ? "\nRegisters\n" : "\nRegisters that differ (--all for the rest)\n",
      absl::StrFormat("       %-23s  %8s  %8s  %8s  %s\n", "", "hardware",
                      "VFIO", "guest", "why (\" as above, = as on its left)"));
  std::string group = "none yet";
  std::string last;
  for (const Register& reg : report.registers()) {
    if (!all && !VfioDiffers(reg) && !GuestDiffers(reg)) continue;
    const std::string now =
        reg.group().empty() ? "In no capability"
        : reg.group_offset() == 0
            ? reg.group()
            : absl::StrFormat("%s at %x", reg.group(), reg.group_offset());
    if (now != group) absl::StrAppend(&out, "  ", now, "\n");
    if (now != group) last.clear();
    group = now;
    const std::string hardware =
        reg.has_hardware() ? Value(reg, reg.hardware()) : "?";
    const std::string vfio =
        reg.has_hardware() && !VfioDiffers(reg) ? "=" : Value(reg, reg.vfio());
    const std::string guest = GuestDiffers(reg) ? Value(reg, reg.guest()) : "=";
    std::string why = Why(reg);
    const bool again = !why.empty() && why == last;
    if (!why.empty()) last = why;
    AppendLine(out,
               absl::StrFormat("  %03x  %-23s  %8s  %8s  %8s  ", reg.offset(),
                               reg.name(), hardware, vfio, guest),
               again ? "\"" : why);
  }
  if (report.registers_size() == 0) return;
  const Register& end = report.registers(report.registers_size() - 1);
  const uint32_t size = end.offset() + end.size();
  if (report.hardware_bytes() < size) {
    AppendLine(out, "  ",
               absl::StrFormat("Of the hardware, this user reads %u of %u "
                               "bytes. Root reads all.",
                               report.hardware_bytes(), size));
  }
}

void AppendChanges(std::string& out, const Report& report) {
  absl::StrAppend(&out, "\nWhat the options change for the guest\n");
  if (report.changes().empty()) absl::StrAppend(&out, "  nothing\n");
  for (const Change& change : report.changes()) {
    AppendLine(out, absl::StrFormat("  %-45s  ", change.what()),
               change.before().empty()
                   ? change.after()
                   : absl::StrCat(change.before(), " -> ", change.after()));
  }
}

}  // namespace

std::string RenderText(const Report& report, bool all_registers) {
  std::string out;
  absl::StrAppend(&out, report.address(), "  ", report.identity(), "\n", "  ",
                  report.source(), "\n");
  if (report.with_options()) AppendChanges(out, report);
  AppendCapabilities(out, report);
  AppendBars(out, report);
  AppendInterrupts(out, report);
  absl::StrAppend(&out, "\nReset\n");
  AppendLine(out, "  ", report.reset());
  if (!report.notes().empty()) absl::StrAppend(&out, "\nNotes\n");
  for (const std::string& note : report.notes()) AppendLine(out, "  ", note);
  AppendRegisters(out, report, all_registers);
  if (!report.offers().empty()) {
    absl::StrAppend(&out, "\nOptions, which show what they change\n");
  }
  for (const Offer& offer : report.offers()) {
    AppendLine(out, absl::StrFormat("  %-22s  ", offer.option()), offer.what());
  }
  return out;
}

}  // namespace passthru::explain
