// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/demo/demo_text.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "google/protobuf/map.h"
#include "passthru/vmm/plural.h"

namespace passthru::vmm {
namespace {

// The maximum width of a line, in columns.
constexpr size_t kWidth = 100;

std::string Size(uint64_t bytes) {
  static constexpr std::pair<uint64_t, const char*> kUnits[] = {
      {uint64_t{1} << 30, "GiB"}, {uint64_t{1} << 20, "MiB"}, {1024, "KiB"}};
  for (const auto& [unit, name] : kUnits) {
    if (bytes >= unit && bytes % unit == 0) {
      return absl::StrCat(bytes / unit, " ", name);
    }
  }
  return absl::StrCat(bytes, " B");
}

// Rows of cells. Each column is as wide as its widest cell. Numbers are aligned
// right and other cells left. No line ends with white space.
class Table {
 public:
  void Add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }

  void AppendTo(std::string& out) const {
    std::vector<size_t> widths;
    for (const auto& row : rows_) {
      widths.resize(std::max(widths.size(), row.size()));
      for (size_t i = 0; i < row.size(); ++i) {
        widths[i] = std::max(widths[i], row[i].size());
      }
    }
    for (const auto& row : rows_) {
      std::string line = " ";
      for (size_t i = 0; i < row.size(); ++i) {
        const std::string padding(widths[i] - row[i].size(), ' ');
        absl::StrAppend(&line, " ", IsNumber(row[i]) ? padding : "", row[i],
                        IsNumber(row[i]) ? "" : padding, " ");
      }
      line.erase(line.find_last_not_of(' ') + 1);
      absl::StrAppend(&out, line, "\n");
    }
  }

  bool empty() const { return rows_.empty(); }

 private:
  static bool IsNumber(std::string_view cell) {
    return cell == "." ||
           (!cell.empty() && std::all_of(cell.begin(), cell.end(), [](char c) {
             return c >= '0' && c <= '9';
           }));
  }

  std::vector<std::vector<std::string>> rows_;
};

void Heading(std::string& out, std::string_view text) {
  absl::StrAppend(&out, "\n", text, "\n");
}

void AppendDevice(std::string& out, const Source& source,
                  const Device& device) {
  absl::StrAppend(&out, device.host_bdf(), "  ", device.identity(), "\n");
  if (source.simulated()) {
    absl::StrAppend(&out, "  simulated ", source.kernel(), ", hardware as in ",
                    device.fixture(), "\n");
  } else {
    absl::StrAppend(&out, "  real hardware, this machine's kernel\n");
  }
  absl::StrAppend(&out, "  IOMMU group ", device.iommu_group(),
                  ", in the guest at ", device.guest_bdf(), "\n");
}

void AppendCapabilities(std::string& out, const Passthrough& report) {
  Heading(out, "Capabilities and what the guest sees of them");
  if (report.capabilities().empty()) absl::StrAppend(&out, "  none\n");
  for (const Capability& capability : report.capabilities()) {
    absl::StrAppendFormat(&out, "  %-11s  %s\n", capability.treatment(),
                          capability.decoded().empty()
                              ? absl::StrFormat("%02x: %s", capability.offset(),
                                                capability.name())
                              : capability.decoded());
    if (!capability.reason().empty()) {
      absl::StrAppendFormat(&out, "  %-11s      (%s)\n", "",
                            capability.reason());
    }
  }
  const Device& device = report.device();
  absl::StrAppend(
      &out, "  The shadow answered ",
      Count(device.config_reads_from_shadow(), "configuration read"), " and ",
      Count(device.config_writes_to_shadow(), "write"),
      " of the guest,\n  and the device answered ",
      Count(device.config_reads_from_device(), "read"), " and ",
      Count(device.config_writes_to_device(), "write"), ".\n");
}

void AppendBars(std::string& out, const Passthrough& report) {
  Heading(out, "Address map");
  Table table;
  for (const Bar& bar : report.bars()) {
    std::string place = absl::StrFormat("at 0x%x", bar.address());
    if (bar.moved_from() != 0) {
      absl::StrAppendFormat(&place, ", moved there from 0x%x",
                            bar.moved_from());
    }
    absl::StrAppend(&out, "  ", bar.index() == 6 ? "ROM" : "BAR",
                    bar.index() == 6 ? "" : absl::StrCat(bar.index()), "  ",
                    bar.type(), bar.prefetchable() ? " prefetchable" : "", ", ",
                    Size(bar.size()), " ", place, "\n");
    Table areas;
    for (const Area& area : bar.areas()) {
      areas.Add({absl::StrFormat("  +0x%05x", area.offset()), Size(area.size()),
                 area.mapped() ? "mapped" : "trapped",
                 area.mapped() ? "the guest reaches it without an exit"
                               : area.reason()});
    }
    areas.AppendTo(out);
  }
}

void AppendSteps(std::string& out, const Passthrough& report) {
  Heading(out, "What the guest did");
  Table table;
  for (const Step& step : report.steps()) {
    table.Add({step.title(), step.result()});
  }
  table.AppendTo(out);
}

void AppendVectors(std::string& out, const Passthrough& report) {
  Heading(out, "Interrupt routes: device -> eventfd -> irqfd -> GSI -> guest");
  Table table;
  table.Add({"vector", "GSI", "message", "state", "taken",
             "of these from user space", "handler"});
  uint32_t unused = 0;
  for (const Vector& vector : report.vectors()) {
    if (vector.state() == "Off" && vector.taken() == 0) {
      ++unused;
      continue;
    }
    table.Add({absl::StrCat(vector.index()),
               vector.has_gsi() ? absl::StrCat(vector.gsi()) : "-",
               absl::StrFormat("0x%x data 0x%02x", vector.message_address(),
                               vector.message_data()),
               vector.state(), absl::StrCat(vector.taken()),
               absl::StrCat(vector.from_user_space()), vector.handler()});
  }
  table.AppendTo(out);
  if (unused != 0) {
    absl::StrAppend(&out, "  ", Count(unused, "unused vector"),
                    " took no host vector, no eventfd and no route.\n");
  }
}

// Returns whether the guest runs in this phase. In the other phases the VMM
// prepares or cleans up.
bool GuestRuns(const Phase& phase) {
  return phase.name() != "create VM" && phase.name() != "attach" &&
         phase.name() != "detach";
}

using Counts = google::protobuf::Map<std::string, google::protobuf::uint64>;

// Returns whether a kernel call waits. Such calls are no work of the VMM.
bool Waits(std::string_view call) {
  return call == "KVM_RUN" || call == "epoll_wait";
}

// Appends the kernel calls of a phase, the most frequent first. An example is
// "attach: 38 calls: 10 VFIO_DEVICE_GET_REGION_INFO, ...".
void AppendCallLine(std::string& out, const Phase& phase) {
  std::vector<std::pair<uint64_t, std::string>> calls;
  uint64_t total = 0;
  for (const auto& [name, count] : phase.kernel_calls()) {
    if (Waits(name)) continue;
    calls.emplace_back(count, name);
    total += count;
  }
  std::sort(calls.begin(), calls.end(), [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first > b.first : a.second < b.second;
  });
  std::string line =
      absl::StrCat("  ", phase.name(), ": ", Count(total, "call"), ":");
  for (size_t i = 0; i < calls.size(); ++i) {
    const std::string item =
        absl::StrCat(" ", calls[i].first, " ", calls[i].second,
                     i + 1 == calls.size() ? "" : ",");
    if (line.size() + item.size() > kWidth) {
      absl::StrAppend(&out, line, "\n");
      line = "   ";
    }
    absl::StrAppend(&line, item);
  }
  absl::StrAppend(&out, line, "\n");
}

// Appends a table of `counts`. It has one column for each phase in which the
// guest runs, and one row for each name that occurs in any of them.
void AppendCounts(std::string& out, const RunReport& report,
                  absl::FunctionRef<const Counts&(const Phase&)> counts) {
  std::vector<std::string> header = {""};
  std::map<std::string, std::vector<uint64_t>> rows;
  size_t column = 0;
  for (const Phase& phase : report.phases()) {
    if (!GuestRuns(phase)) continue;
    header.push_back(phase.name());
    ++column;
    for (const auto& [name, count] : counts(phase)) {
      if (Waits(name)) continue;
      rows[name].resize(std::max(rows[name].size(), column));
      rows[name][column - 1] = count;
    }
  }
  Table table;
  table.Add(header);
  for (auto& [name, values] : rows) {
    values.resize(column);
    std::vector<std::string> row = {name};
    for (const uint64_t value : values) {
      row.push_back(value == 0 ? "." : absl::StrCat(value));
    }
    table.Add(std::move(row));
  }
  table.AppendTo(out);
}

void AppendTeardown(std::string& out, const RunReport& report) {
  Heading(out, "Left behind");
  const Teardown& teardown = report.teardown();
  if (teardown.leftovers().empty()) {
    absl::StrAppend(&out,
                    "  nothing: no descriptor, mapping, memory slot, irqfd, "
                    "route or DMA mapping.\n");
    return;
  }
  for (const std::string& leftover : teardown.leftovers()) {
    absl::StrAppend(&out, "  ", leftover, "\n");
  }
}

}  // namespace

std::string RenderText(const RunReport& report) {
  std::string out;
  for (const Passthrough& device : report.devices()) {
    if (!out.empty()) absl::StrAppend(&out, "\n\n");
    AppendDevice(out, report.source(), device.device());
    AppendCapabilities(out, device);
    AppendSteps(out, device);
    AppendBars(out, device);
    AppendVectors(out, device);
  }
  if (report.devices_size() > 1) {
    Heading(out, "All devices together");
  }
  Heading(out, "Exits of the vCPU");
  AppendCounts(out, report, [](const Phase& phase) -> const Counts& {
    return phase.exits();
  });
  Heading(out, "Kernel calls of the VMM (without KVM_RUN and epoll_wait)");
  AppendCounts(out, report, [](const Phase& phase) -> const Counts& {
    return phase.kernel_calls();
  });
  for (const Phase& phase : report.phases()) {
    if (phase.name() == "attach" || phase.name() == "detach") {
      AppendCallLine(out, phase);
    }
  }
  AppendTeardown(out, report);
  return out;
}

}  // namespace passthru::vmm
