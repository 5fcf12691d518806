// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/simulate/report.h"

#include <cstddef>
#include <ostream>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "passthru/testing/vfio/fake_vfio_device.h"

namespace passthru::simulate {
namespace {

void WriteList(std::ostream& out, const char* title,
               const std::vector<std::string>& lines) {
  if (lines.empty()) return;
  out << "simulate: " << title << "\n";
  for (const std::string& line : lines) out << "  " << line << "\n";
}

}  // namespace

void Report::Write(std::ostream& out,
                   const std::vector<std::string>& left_open) {
  for (std::string& violation : host_->invariants().Take()) {
    broken_.push_back(std::move(violation));
  }
  const std::vector<fake::DmaFault> faults = host_->vfio().DmaFaults();
  for (; dma_faults_seen_ < faults.size(); ++dma_faults_seen_) {
    const fake::DmaFault& fault = faults[dma_faults_seen_];
    // The other reasons may be the guest's doing, or that of the driver.
    if (fault.reason != fake::DmaFault::Reason::kUnpinned) continue;
    broken_.push_back(absl::StrFormat(
        "%s: DMA %s at IOVA 0x%x reached memory that is gone",
        fault.bdf.ToString(), fault.is_write ? "write" : "read", fault.iova));
  }
  WriteList(out, "rules that were broken:", broken_);
  WriteList(out, "left open at the end:", left_open);
}

}  // namespace passthru::simulate
