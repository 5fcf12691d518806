// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/linux_vm/reporter.h"

#include <cstdint>
#include <fstream>
#include <ios>
#include <utility>

#include "absl/strings/str_cat.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/testing/program/program.h"

namespace passthru::vmm {
namespace {

constexpr std::string_view kPageFlag = "--report=";
constexpr std::string_view kTraceFlag = "--trace=";

absl::Status OpenFile(std::string_view flag, const std::string& path) {
  if (path.empty()) return absl::OkStatus();
  const std::ofstream file(program::UserPath(path), std::ios::app);
  if (file.is_open()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(flag, path, " cannot be written."));
}

absl::Status WriteFile(std::string_view flag, const std::string& path,
                       const std::string& text) {
  std::ofstream file(program::UserPath(path));
  file << text;
  file.close();
  if (file.good()) return absl::OkStatus();
  return absl::UnavailableError(
      absl::StrCat(flag, path, " could not be written."));
}

}  // namespace

absl::Status Reporter::Open() const {
  PASSTHRU_RETURN_IF_ERROR(OpenFile(kPageFlag, options_.page));
  return OpenFile(kTraceFlag, options_.trace);
}

void Reporter::AddTo(LinuxVm::Options& options) {
  if (options_.page.empty() && options_.trace.empty()) return;
  report_ = std::make_unique<VmReport>(VmReport::Options{
      .syscalls = options.syscalls, .fixtures = options_.fixtures});
  report_->AddTo(options);
  if (options_.host == nullptr) return;
  options_.host->vfio().SetInterruptListener(
      [report = report_.get()](const pci::Bdf& host, std::string_view kind,
                               uint32_t vector) {
        report->OnInterrupt(host, kind, vector);
      });
}

void Reporter::Begin(std::string_view phase) {
  if (report_ != nullptr) report_->Begin(phase);
}

void Reporter::Watch(LinuxVm* vm) {
  if (report_ != nullptr) report_->Watch(vm);
}

void Reporter::End() {
  if (report_ == nullptr) return;
  if (options_.host != nullptr) {
    options_.host->vfio().SetInterruptListener(nullptr);
  }
  report_->End();
}

absl::Status Reporter::Write() const {
  if (report_ == nullptr) return absl::OkStatus();
  if (!options_.page.empty()) {
    PASSTHRU_ASSIGN_OR_RETURN(const std::string page, report_->Html());
    PASSTHRU_RETURN_IF_ERROR(WriteFile(kPageFlag, options_.page, page));
  }
  if (options_.trace.empty()) return absl::OkStatus();
  return WriteFile(kTraceFlag, options_.trace, report_->Trace());
}

}  // namespace passthru::vmm
