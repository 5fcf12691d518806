// SPDX-License-Identifier: Apache-2.0
#include <linux/vfio.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/log/check.h"
#include "absl/log/log.h"
#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "passthru/devices/interrupts/host_vector_probe.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/page_size.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/vfio/region_info.h"
#include "passthru/devices/vfio_pci/bar_area.h"
#include "passthru/devices/vfio_pci/vfio_pci_device_impl.h"
#include "passthru/pci/capabilities.h"
#include "passthru/pci/msi_capability.h"
#include "passthru/pci/registers.h"

namespace passthru::vfio_pci {
namespace {

// The device whose on_unplug_request or on_error this thread is in, or null.
thread_local const void* device_of_running_callback = nullptr;

}  // namespace

absl::StatusOr<std::shared_ptr<VfioPciDevice>> VfioPciDevice::Create(
    Options options) {
  const VmInterfaces& vm = options.vm;
  CHECK(options.device != nullptr && vm.syscalls != nullptr &&
        vm.mmio != nullptr && vm.pio != nullptr && vm.memory != nullptr &&
        vm.router != nullptr && vm.controller != nullptr &&
        vm.loop != nullptr && vm.layout_lock != nullptr);
  auto impl = std::make_unique<Impl>(std::move(options));
  PASSTHRU_RETURN_IF_ERROR(impl->Initialize());
  return absl::WrapUnique(new VfioPciDevice(std::move(impl)));
}

VfioPciDevice::VfioPciDevice(std::unique_ptr<Impl> impl)
    : impl_(std::move(impl)) {}

VfioPciDevice::~VfioPciDevice() = default;

uint32_t VfioPciDevice::ConfigRead(uint16_t offset, unsigned width) {
  return impl_->ConfigRead(offset, width);
}

void VfioPciDevice::ConfigWrite(uint16_t offset,
                                absl::Span<const uint8_t> bytes) {
  impl_->ConfigWrite(offset, bytes);
}

void VfioPciDevice::OnUpstreamChange() { impl_->OnUpstreamChange(); }

absl::Span<const pci::Bar> VfioPciDevice::bars() const { return impl_->bars(); }

std::optional<pci::Bar> VfioPciDevice::rom() const { return impl_->rom(); }

absl::Status VfioPciDevice::SetBarAddress(pci::BarIndex index,
                                          uint64_t address) {
  return impl_->SetBarAddress(index, address);
}

void VfioPciDevice::ReconcileBars() { impl_->ReconcileBars(); }

absl::Status VfioPciDevice::Detach() { return impl_->Detach(); }

DeviceReport VfioPciDevice::Describe() const { return impl_->Describe(); }

const std::string& VfioPciDevice::name() const { return impl_->name(); }

pci::Bdf VfioPciDevice::host() const { return impl_->host(); }

absl::Status VfioPciDevice::Impl::SetBarAddress(pci::BarIndex index,
                                                uint64_t address) {
  const bool exists =
      (index.is_rom() && rom_bar_.has_value()) ||
      std::any_of(bars_.begin(), bars_.end(),
                  [index](const pci::Bar& bar) { return bar.index == index; });
  if (!exists) {
    return absl::NotFoundError(absl::StrFormat("%s has no %v", name_, index));
  }
  const LayoutUse use(this);
  if (!use) return DetachedError();
  memory::LayoutLockHolder layout(layout_lock_);
  Places decoded;
  {
    absl::MutexLock lock(&mutex_);
    if (detached_) return DetachedError();
    absl::MutexLock publish(&shadow_mutex_);
    if (!shadow_->SetBarAddress(index, address)) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "%s: %v cannot hold the address %#x", name_, index, address));
    }
    sizing_.Clear(index);
    decoded = Decoded(*shadow_, power_state_);
  }
  Retract(decoded).IgnoreError();  // Logged.
  Place(decoded);
  return absl::OkStatus();
}

VfioPciDevice::Impl::LayoutUse::LayoutUse(const Impl* device)
    : device_(nullptr) {
  absl::MutexLock lock(&device->mutex_);
  if (device->closed_) return;
  ++device->layout_uses_;
  device_ = device;
}

VfioPciDevice::Impl::LayoutUse::~LayoutUse() {
  if (device_ == nullptr) return;
  absl::MutexLock lock(&device_->mutex_);
  --device_->layout_uses_;
}

std::function<void()> VfioPciDevice::Impl::MarkCallback(
    std::function<void()> callback) const {
  return [this, callback = std::move(callback)] {
    // The callback may destroy the device.
    const void* const outer = std::exchange(device_of_running_callback, this);
    callback();
    device_of_running_callback = outer;
  };
}

absl::Status VfioPciDevice::Impl::Detach() {
  {
    absl::MutexLock lock(&mutex_);
    if (std::exchange(claimed_, true)) {
      if (device_of_running_callback != this) {
        mutex_.Await(absl::Condition(&detach_ended_));
      }
      return absl::OkStatus();
    }
  }
  absl::Status result;
  {
    memory::LayoutLockHolder layout(layout_lock_);
    {
      absl::MutexLock lock(&mutex_);
      absl::MutexLock publish(&shadow_mutex_);
      detached_ = true;
    }
    if (rom_ != nullptr) rom_->Retract(std::nullopt);
    if (mapper_ != nullptr) result.Update(mapper_->Unmap());
  }
  {
    absl::MutexLock lock(&mutex_);
    if (mode_ != nullptr) mode_->Apply({.intx = false});
    if (intx_ != nullptr) intx_->Shutdown();
  }
  // These wait for event-loop callbacks, which may be waiting for a lock.
  if (msi_.group != nullptr) msi_.group->Shutdown();
  if (msix_.group != nullptr) msix_.group->Shutdown();
  request_event_.reset();
  error_event_.reset();
  reservation_ = {};
  device_.reset();
  {
    memory::LayoutLockHolder layout(layout_lock_);
    absl::MutexLock lock(&mutex_);
    FillReport(last_report_);
    closed_ = true;
  }
  absl::MutexLock lock(&mutex_);
  const auto unused = [this] {
    mutex_.AssertHeld();
    return layout_uses_ == 0;
  };
  mutex_.Await(absl::Condition(&unused));
  detach_ended_ = true;
  return result;
}

DeviceReport VfioPciDevice::Impl::Describe() const {
  const LayoutUse use(this);
  if (!use) {
    absl::MutexLock lock(&mutex_);
    return last_report_;
  }
  DeviceReport report;
  memory::LayoutLockHolder layout(layout_lock_);
  absl::MutexLock lock(&mutex_);
  FillReport(report);
  return report;
}

void VfioPciDevice::Impl::FillReport(DeviceReport& report) const {
  // A device whose Create() failed has not all of its parts.
  if (!shadow_.has_value() || mapper_ == nullptr || mode_ == nullptr) return;
  report.name = name_;
  FillConfigReport(*shadow_, report);
  report.malformed.insert(report.malformed.end(), problems_.begin(),
                          problems_.end());
  report.overrides = options_.identity.Describe(image_);
  if (options_.policy.unlisted_read_only()) {
    report.overrides.push_back(
        "extended configuration space of no listed capability is read-only");
  }
  report.bars = mapper_->Describe(shadow_->Bars());
  for (BarReport& bar : report.bars) {
    if (!bar.placed && bar.problem.empty()) {
      bar.problem = WhyNotForwarded(bar.bar);
    }
  }
  report.rom = DescribeRom();
  report.interrupt = mode_->kind();
  report.intx_hidden_reason = intx_hidden_reason_;
  for (const InterruptKind kind : {InterruptKind::kMsi, InterruptKind::kMsix}) {
    const Vectors& vectors = kind == InterruptKind::kMsi ? msi_ : msix_;
    if (vectors.device != 0)
      report.vector_groups.push_back(DescribeGroup(kind));
  }
  report.config = counters_;
  report.config.reads_from_shadow += shadow_reads_;
  report.bar.placements = mapper_->placements();
  report.bar.refused_placements = mapper_->refused();
  report.bar.failures = mapper_->failures();
  for (const std::shared_ptr<BarTrap>& trap : traps_) {
    report.bar.device_reads += trap->device_reads();
    report.bar.device_writes += trap->device_writes();
    report.bar.failures += trap->failures();
  }
  if (msix_table_ != nullptr) {
    report.bar.table_reads = msix_table_->reads();
    report.bar.table_writes = msix_table_->writes();
  }
  report.reset = reset_;
  report.resets = resets_;
  AddDegradations(report);
  if (command_lost_) {
    report.degraded.push_back(
        {.kind = DegradationKind::kNotAnswering, .what = "the device"});
  }
  if (mode_->kind() == InterruptKind::kIntx && !intx_->enabled()) {
    report.degraded.push_back(
        {.kind = DegradationKind::kSilent, .what = "INTx"});
  }
  if (!intx_failure_.ok()) {
    report.degraded.push_back({.kind = DegradationKind::kHidden,
                               .what = "INTx",
                               .why = intx_hidden_reason_});
  }
  if (!no_interrupts_reason_.empty()) {
    report.degraded.push_back({.kind = DegradationKind::kSilent,
                               .what = "the device",
                               .why = no_interrupts_reason_});
  }
  report.failure_count = failures_.count();
  report.failures = failures_.Recent();
}

RomReport VfioPciDevice::Impl::DescribeRom() const {
  RomReport report = {.readable = rom_readable_};
  if (rom_ == nullptr) {
    report.hidden_reason = std::string(kRomNotWanted);
    return report;
  }
  report.source = options_.rom.source == RomOptions::Source::kDevice
                      ? "the device's own"
                      : "a file of the VMM's";
  report.bar = shadow_->Rom();
  report.note = RomMismatch(rom_->image(), shadow_->Get(pci::kVendorId),
                            shadow_->Get(pci::kDeviceId));
  rom_->Describe(report);
  if (report.bar.has_value() && report.problem.empty()) {
    report.problem = WhyNotForwarded(*report.bar);
  }
  return report;
}

VectorGroupReport VfioPciDevice::Impl::DescribeGroup(InterruptKind kind) const {
  const Vectors& vectors = kind == InterruptKind::kMsi ? msi_ : msix_;
  VectorGroupReport report = {.kind = kind,
                              .device_vectors = vectors.device,
                              .shown_vectors = vectors.shown,
                              .limited_by = vectors.limited_by};
  if (vectors.group != nullptr) {
    report.vectors = vectors.group->Describe();
    report.stats = vectors.group->stats();
  }
  return report;
}

}  // namespace passthru::vfio_pci
