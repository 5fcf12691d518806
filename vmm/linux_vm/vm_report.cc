// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/linux_vm/vm_report.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "passthru/devices/kernel/read_file.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/vfio/find_group.h"
#include "passthru/testing/program/program.h"
#include "passthru/vmm/guest_layout.h"
#include "passthru/vmm/report/device_section.h"
#include "passthru/vmm/report/host_interrupts.h"
#include "passthru/vmm/report/html_page.h"
#include "passthru/vmm/report/trace_events.h"

namespace passthru::vmm {
VmReport::VmReport(Options options)
    : options_(std::move(options)),
      calls_(options_.syscalls, /*journal=*/nullptr, &timeline_),
      phases_(
          &calls_, &timeline_, [this] { return Exits(); }, &report_) {
  report_.mutable_source()->set_program("passthrough_vm");
  report_.mutable_source()->set_simulated(!options_.fixtures.empty());
}

void VmReport::AddTo(LinuxVm::Options& options) {
  options.syscalls = &calls_;
  options.on_handled = [this](const kvm::VcpuExit& exit) { OnHandled(exit); };
  options.on_stopped = [this] { Begin("give back"); };
  options.before_detach = [this](pci::Bdf guest) { BeforeDetach(guest); };
}

void VmReport::OnInterrupt(const pci::Bdf& host, std::string_view kind,
                           uint32_t vector) {
  timeline_.OnDevice(
      absl::StrCat(kind, " ", vector),
      absl::StrCat(host.ToString(), " raised ", kind, " vector ", vector));
  const absl::MutexLock lock(&mutex_);
  ++raised_[{host, std::string(kind)}][vector];
}

void VmReport::End() {
  phases_.End();
  vm_ = nullptr;
}

CountsByName VmReport::Exits() const {
  if (vm_ == nullptr) return {};
  // An exit is counted before it is handled, so that these are not more.
  const uint64_t reads = console_reads_;
  const uint64_t writes = console_writes_;
  CountsByName exits = ByReason(vm_->exits());
  exits["port read"] -= reads;
  exits["port write"] -= writes;
  exits["serial console"] = reads + writes;
  return exits;
}

void VmReport::OnHandled(const kvm::VcpuExit& exit) {
  const auto* const io = std::get_if<kvm::IoExit>(&exit);
  if (io == nullptr || io->port < kSerialPort ||
      io->port >= kSerialPort + kSerialPortSize) {
    timeline_.OnExit(exit);
  } else {
    // The console takes two exits for a character.
    ++(io->is_write ? console_writes_ : console_reads_);
    timeline_.OmitExit();
  }
  LookNowAndThen();
}

void VmReport::LookNowAndThen() {
  const uint64_t exits = ++exits_;
  if (!look_mutex_.TryLock()) return;  // Another vCPU looks.
  const absl::Time now = absl::Now();
  if (exits - exits_at_look_ >= 16 + exits / 64 ||
      now - looked_ >= absl::Seconds(1)) {
    exits_at_look_ = exits;
    looked_ = now;
    for (const pci::Bdf guest : vm_->devices().Devices()) {
      const auto device = vm_->devices().Find(guest);
      if (device != nullptr) Look(guest, *device);
    }
  }
  look_mutex_.Unlock();
}

void VmReport::Look(pci::Bdf guest, const vfio_pci::VfioPciDevice& device) {
  vfio_pci::DeviceReport report = device.Describe();
  vfio_pci::DeviceReport& busiest = busiest_[guest];
  if (VectorActivity(report) >= VectorActivity(busiest)) {
    busiest = std::move(report);
  }
  const absl::StatusOr<pci::Bdf> host = pci::Bdf::Parse(device.name());
  if (host.ok()) CountInterrupts(*host);
}

void VmReport::CountInterrupts(const pci::Bdf& host) {
  // A simulated device tells of each interrupt.
  if (!options_.fixtures.empty()) return;
  // The file has a column for each CPU.
  constexpr size_t kLimit = size_t{16} << 20;
  const auto text =
      kernel::ReadFile(options_.syscalls, "/proc/interrupts", kLimit);
  if (!text.ok()) return;
  const absl::MutexLock lock(&mutex_);
  for (const auto& [vector, count] : HostInterrupts(*text, host)) {
    uint64_t& most = raised_[{host, ""}][vector];
    most = std::max(most, count);
  }
}

void VmReport::BeforeDetach(pci::Bdf guest) {
  const std::shared_ptr<vfio_pci::VfioPciDevice> device =
      vm_ == nullptr ? nullptr : vm_->devices().Find(guest);
  if (device == nullptr) return;
  const absl::StatusOr<pci::Bdf> host = pci::Bdf::Parse(device->name());
  if (!host.ok()) return;
  vfio_pci::DeviceReport settled;
  {
    const absl::MutexLock lock(&look_mutex_);
    Look(guest, *device);
    vfio_pci::DeviceReport& busiest = busiest_[guest];
    settled = device->Describe();
    settled.interrupt = busiest.interrupt;
    settled.vector_groups = std::move(busiest.vector_groups);
    settled.bars = std::move(busiest.bars);
    busiest_.erase(guest);
  }
  const auto group = vfio::FindGroup(options_.syscalls, *host);
  if (report_.devices_size() >= kMostDevices) {
    report_.mutable_devices()->DeleteSubrange(0, 1);
  }
  Passthrough& section = *report_.add_devices();
  section = ReportAttached(
      {.host = *host,
       .guest = guest,
       .iommu_group = group.ok() ? std::optional(*group) : std::nullopt,
       .report = settled});
  const auto fixture = options_.fixtures.find(*host);
  if (fixture != options_.fixtures.end()) {
    section.mutable_device()->set_fixture(fixture->second);
  }
  AddState(settled, section);
  const absl::MutexLock lock(&mutex_);
  const std::string kind =
      options_.fixtures.empty() ? "" : std::string(Name(settled.interrupt));
  AddActivity(settled, raised_[{*host, kind}], section);
}

absl::StatusOr<std::string> VmReport::Html() const {
  PASSTHRU_ASSIGN_OR_RETURN(const std::string json, program::Json(report_));
  return HtmlPage(json, timeline_.Data());
}

std::string VmReport::Trace() const {
  return TraceEventsJson(timeline_.Data());
}

}  // namespace passthru::vmm
