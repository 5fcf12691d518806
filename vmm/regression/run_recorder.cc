// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/regression/run_recorder.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "passthru/vmm/report/device_section.h"

namespace passthru::vmm {

RunRecorder::RunRecorder(fake::SimulatedHost* host, Timeline* timeline)
    : host_(host),
      timeline_(timeline),
      calls_(&host->kernel(), /*journal=*/nullptr, timeline),
      phases_(
          &calls_, timeline, [this] { return Exits(); }, &report_) {
  report_.mutable_source()->set_program("passthrough_regression");
  report_.mutable_source()->set_simulated(true);
  host_->vfio().SetInterruptListener(
      [this](const pci::Bdf& device, std::string_view kind, uint32_t vector) {
        timeline_->OnDevice(absl::StrCat(kind, " ", vector),
                            absl::StrCat(device.ToString(), " raised ", kind,
                                         " vector ", vector));
        const absl::MutexLock lock(&mutex_);
        ++raised_[std::string(kind)][vector];
      });
}

RunRecorder::~RunRecorder() { host_->vfio().SetInterruptListener(nullptr); }

void RunRecorder::Begin(std::string_view phase,
                        const vfio_pci::VfioPciDevice* device) {
  if (device != nullptr) Look(*device);
  phases_.Begin(phase);
}

void RunRecorder::SetRunner(const VcpuRunner* runner) {
  if (runner == nullptr && runner_ != nullptr) exits_ = runner_->counts();
  runner_ = runner;
}

CountsByName RunRecorder::Exits() const {
  return ByReason(runner_ == nullptr ? exits_ : runner_->counts());
}

void RunRecorder::Look(const vfio_pci::VfioPciDevice& device) {
  vfio_pci::DeviceReport report = device.Describe();
  if (VectorActivity(report) >= VectorActivity(busiest_)) {
    busiest_ = std::move(report);
  }
}

void RunRecorder::AddDevice(pci::Bdf host, pci::Bdf guest,
                            const vfio_pci::VfioPciDevice& device) {
  Look(device);
  vfio_pci::DeviceReport settled = device.Describe();
  settled.interrupt = busiest_.interrupt;
  settled.vector_groups = busiest_.vector_groups;
  Passthrough& section = *report_.add_devices();
  section = ReportAttached({.host = host, .guest = guest, .report = settled});
  AddState(settled, section);
  const absl::MutexLock lock(&mutex_);
  AddActivity(settled, raised_[std::string(Name(settled.interrupt))], section);
}

}  // namespace passthru::vmm
