// SPDX-License-Identifier: Apache-2.0
#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "passthru/devices/kernel/page_size.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/pci/bar_index.h"
#include "passthru/testing/guest/guest_cpu.h"
#include "passthru/vmm/bar_checks/bar_checks.h"
#include "passthru/vmm/bar_checks/bench.h"

namespace passthru::vmm {
namespace {

struct SmallBarRead {
  uint64_t value = 0;
  uint64_t exits = 0;
};

absl::Status CheckRead(const char* where, const SmallBarRead& read,
                       uint64_t exits) {
  if (read.exits == exits) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("a read of the BAR ", where,
                                          " takes ", read.exits,
                                          " exits instead of ", exits));
}

}  // namespace

absl::Status CheckSmallBar(const BarChecksHost& host, pci::Bdf device) {
  PASSTHRU_ASSIGN_OR_RETURN(const auto bench,
                            BarChecksBench::Create(host, false));
  PASSTHRU_ASSIGN_OR_RETURN(const auto attached, bench->Attach(device));
  PASSTHRU_ASSIGN_OR_RETURN(const auto report, FindBar(*attached, 0));
  const uint64_t alone = report.bar.address;
  const uint64_t inside = alone + report.bar.size;
  if (report.bar.size >= kernel::PageSize()) {
    return absl::InvalidArgumentError("the BAR has a page or more");
  }
  SmallBarRead mapped;
  SmallBarRead trapped;
  const auto read_both = [&](guest::GuestCpu& cpu) -> absl::Status {
    const auto read = [&](uint64_t address) {
      const uint64_t before = bench->MemoryExits();
      const uint64_t value = cpu.Load(address, 1);
      return SmallBarRead{.value = value,
                          .exits = bench->MemoryExits() - before};
    };
    mapped = read(alone);
    PASSTHRU_RETURN_IF_ERROR(attached->SetBarAddress(pci::BarIndex(0), inside));
    trapped = read(inside);
    return attached->SetBarAddress(pci::BarIndex(0), alone);
  };
  PASSTHRU_RETURN_IF_ERROR(bench->Run(read_both));
  PASSTHRU_RETURN_IF_ERROR(CheckRead("in a page of its own", mapped, 0));
  PASSTHRU_RETURN_IF_ERROR(CheckRead("inside of a page", trapped, 1));
  if (mapped.value != trapped.value) {
    return absl::DataLossError(
        absl::StrCat("the BAR reads ", absl::Hex(mapped.value), " mapped and ",
                     absl::Hex(trapped.value), " trapped"));
  }
  PASSTHRU_ASSIGN_OR_RETURN(const auto again, FindBar(*attached, 0));
  if (!again.areas.at(0).in_guest) {
    return absl::InternalError("the BAR is not mapped after it has moved back");
  }
  return absl::OkStatus();
}

}  // namespace passthru::vmm
