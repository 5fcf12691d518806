// SPDX-License-Identifier: Apache-2.0
//
// Resets of VfioPciDevices, alone or together with the functions on their bus.

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/log/log.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/keep_first.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/vfio_pci/vfio_pci_device_impl.h"
#include "passthru/pci/advanced_features.h"
#include "passthru/pci/capabilities.h"
#include "passthru/pci/capability_id.h"
#include "passthru/pci/little_endian.h"
#include "passthru/pci/pcie_capability.h"
#include "passthru/pci/power_management.h"
#include "passthru/pci/registers.h"

namespace passthru::vfio_pci {
namespace {

// How often a hot reset is tried whose functions changed meanwhile (EINVAL), or
// that met another access to one of them (EBUSY).
constexpr int kMaxHotResets = 4;

// COMMAND's reserved bits, which read 0 (PCI 3.0, 6.2.2). vfio-pci shows its
// own copy of the vendor and device ID, and with them a device that is gone.
constexpr uint16_t kReservedCommandBits = 0xf800;

// Returns how the kernel resets a function with VFIO_DEVICE_RESET, as far as
// its capabilities tell.
ResetKind KindOfDeviceReset(absl::Span<const uint8_t> image) {
  const pci::CapabilityList list = pci::WalkCapabilities(image);
  if (const auto* found = list.Find(pci::CapabilityId::kPciExpress)) {
    const auto reg = pci::PcieCapability::kDeviceCapabilities.At(found->offset);
    if (pci::PcieDeviceCapabilities::kFunctionLevelReset.Get(
            pci::ReadRegister(image, reg))) {
      return ResetKind::kFunctionLevel;
    }
  }
  if (const auto* found = list.Find(pci::CapabilityId::kAdvancedFeatures)) {
    const auto reg = pci::AfCapability::kCapabilities.At(found->offset);
    if (pci::AfCapabilities::kFunctionLevelReset.Get(
            pci::ReadRegister(image, reg))) {
      return ResetKind::kFunctionLevel;
    }
  }
  if (const auto* found = list.Find(pci::CapabilityId::kPowerManagement)) {
    const auto reg =
        pci::PowerManagementCapability::kControlStatus.At(found->offset);
    if (!pci::PmControlStatus::kNoSoftReset.Get(
            pci::ReadRegister(image, reg))) {
      return ResetKind::kPowerManagement;
    }
  }
  return ResetKind::kByKernel;
}

}  // namespace

absl::Status VfioPciDevice::Reset(absl::Span<VfioPciDevice* const> vm_devices) {
  Impl* const self = impl_.get();
  std::vector<Impl*> vm = {self};
  for (VfioPciDevice* device : vm_devices) {
    if (device != this) vm.push_back(device->impl_.get());
  }
  return Impl::ResetTargets(vm, self);
}

absl::Status VfioPciDevice::ResetAll(
    absl::Span<VfioPciDevice* const> vm_devices) {
  std::vector<Impl*> vm;
  vm.reserve(vm_devices.size());
  for (VfioPciDevice* device : vm_devices) vm.push_back(device->impl_.get());
  return Impl::ResetTargets(vm, nullptr);
}

// A failure means that the kernel lists no functions, and so that there is no
// hot reset. It need not keep the device from the guest.
void VfioPciDevice::Impl::FindReset() {
  if (device_->can_reset()) {
    reset_.kind = KindOfDeviceReset(image_);
    return;
  }
  const absl::StatusOr<std::vector<vfio::HotResetDevice>> functions =
      device_->GetHotResetDevices();
  if (!functions.ok()) {
    reset_.why_none = absl::StrCat("the device has no reset of its own, and ",
                                   functions.status().message());
    LOG(WARNING) << name_ << ": a reset of the machine will not reset it: "
                 << reset_.why_none;
    return;
  }
  reset_.kind = ResetKind::kHotReset;
  for (const vfio::HotResetDevice& function : *functions) {
    if (function.address != device_->address()) {
      reset_.also_resets.push_back(function);
    }
  }
}

absl::Status VfioPciDevice::Impl::ResetTargets(absl::Span<Impl* const> vm,
                                               Impl* only) {
  std::vector<std::unique_ptr<LayoutUse>> uses;
  std::vector<Impl*> devices;
  for (Impl* device : vm) {
    if (device->layout_lock_ != vm.front()->layout_lock_) {
      return absl::InvalidArgumentError(
          absl::StrCat(device->name_, " and ", vm.front()->name_,
                       " are not of one VM: their layout locks differ"));
    }
    uses.push_back(std::make_unique<LayoutUse>(device));
    if (*uses.back()) devices.push_back(device);
  }
  const auto is_attached = [&devices](const Impl* device) {
    return std::find(devices.begin(), devices.end(), device) != devices.end();
  };
  if (only != nullptr && !is_attached(only)) return only->DetachedError();
  if (devices.empty()) return absl::OkStatus();
  memory::LayoutLockHolder layout(devices.front()->layout_lock_);
  // Detach() takes devices away under the layout lock only.
  std::erase_if(devices,
                [](const Impl* device) { return !device->attached(); });
  if (only != nullptr && !is_attached(only)) return only->DetachedError();
  const std::vector<Impl*> targets =
      only == nullptr ? devices : std::vector<Impl*>{only};
  // A hot reset spares functions on its bus a reset of their own, so these come
  // first.
  absl::Status first;
  std::vector<Impl*> done;
  for (const bool alone : {false, true}) {
    for (Impl* device : targets) {
      if (device->device_->can_reset() != alone ||
          std::find(done.begin(), done.end(), device) != done.end()) {
        continue;
      }
      device->AssertLayoutHeld();
      kernel::KeepFirst(first, alone ? device->ResetAlone()
                                     : device->ResetTogether(devices, done));
    }
  }
  return first;
}

absl::StatusOr<VfioPciDevice::Impl::HotReset> VfioPciDevice::Impl::PlanHotReset(
    absl::Span<Impl* const> vm) const {
  absl::StatusOr<std::vector<vfio::HotResetDevice>> functions =
      device_->GetHotResetDevices();
  if (!functions.ok()) {
    // The kernel finds neither a slot nor a bus to reset (ENODEV), or has no
    // such call (ENOTTY).
    const int error = kernel::ErrnoOf(functions.status());
    if (error == ENODEV || error == ENOTTY) {
      return absl::UnimplementedError(
          absl::StrCat("the device has no reset of its own, and ",
                       functions.status().message()));
    }
    return functions.status();
  }
  std::map<uint32_t, int> vm_groups;
  for (const Impl* device : vm) {
    vm_groups.emplace(device->device_->group()->number(),
                      device->device_->group()->fd());
  }
  HotReset reset = {.functions = *std::move(functions)};
  std::map<uint32_t, int> groups;
  std::vector<vfio::HotResetDevice> foreign;
  for (const vfio::HotResetDevice& function : reset.functions) {
    const auto group = vm_groups.find(function.group);
    if (group == vm_groups.end()) {
      foreign.push_back(function);
      continue;
    }
    groups.insert(*group);
    for (Impl* device : vm) {
      if (device->device_->address() == function.address) {
        reset.members.push_back(device);
      }
    }
  }
  if (!foreign.empty()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the device has no reset of its own, and a hot reset of its slot or "
        "bus would also reset functions that are not this VM's: ",
        absl::StrJoin(foreign, ", "), "; attach them to this VM too"));
  }
  for (const auto& [number, fd] : groups) reset.group_fds.push_back(fd);
  return reset;
}

bool VfioPciDevice::Impl::HotReset::IsAttached(pci::Bdf function) const {
  return std::any_of(members.begin(), members.end(), [&](const Impl* member) {
    return member->device_->address() == function;
  });
}

// Resets this function by VFIO_DEVICE_RESET.
absl::Status VfioPciDevice::Impl::ResetAlone() {
  absl::Status status;
  const absl::Status answers = ResetMembers({this}, [&] {
    status = device_->Reset();
    if (status.ok()) return;
    const absl::StatusOr<HotReset> plan = PlanHotReset({this});
    if (!plan.ok() || plan->functions.size() != 1) return;
    const absl::Status hot_reset = device_->HotReset(plan->group_fds);
    if (hot_reset.ok()) {
      failures_.Add("the device's slot or bus is reset instead", status);
      status = absl::OkStatus();
    } else {
      status = kernel::Annotate(status, absl::StrCat("a hot reset fails too (",
                                                     hot_reset.message(), ")"));
    }
  });
  return status.ok()
             ? answers
             : kernel::Annotate(status, absl::StrCat(name_, " is not reset"));
}

// Resets this function, which has no reset of its own, with its slot or bus.
// Adds to `done` the devices that need no other attempt.
absl::Status VfioPciDevice::Impl::ResetTogether(absl::Span<Impl* const> vm,
                                                std::vector<Impl*>& done) {
  absl::Status status;
  absl::Status answers;
  std::vector<vfio::HotResetDevice> functions;
  for (int attempt = 0; attempt < kMaxHotResets; ++attempt) {
    const absl::StatusOr<HotReset> plan = PlanHotReset(vm);
    // The kernel refuses a list that is out of date. If it is not, another
    // attempt would be refused as well.
    if (attempt > 0 && kernel::ErrnoOf(status) == EINVAL && plan.ok() &&
        plan->functions == functions) {
      std::vector<vfio::HotResetDevice> others;
      for (const vfio::HotResetDevice& function : functions) {
        if (!plan->IsAttached(function.address)) {
          others.push_back(function);
        }
      }
      if (others.empty()) break;
      status = kernel::Annotate(
          status, absl::StrCat("the kernel resets a bus only if vfio-pci has "
                               "all its functions, which is not so for one of ",
                               absl::StrJoin(others, ", ")));
      break;
    }
    // Without a plan the device still stops, and so does the guest's view.
    std::vector<Impl*> members = {this};
    if (plan.ok()) {
      functions = plan->functions;
      for (Impl* member : plan->members) {
        if (member != this) members.push_back(member);
      }
    }
    answers = ResetMembers(members, [&] {
      status = plan.ok() ? device_->HotReset(plan->group_fds) : plan.status();
    });
    for (Impl* member : members) {
      // One that has a reset of its own takes that if this one failed.
      if (status.ok() || !member->device_->can_reset()) done.push_back(member);
    }
    const int error = kernel::ErrnoOf(status);
    if (!plan.ok() || (error != EINVAL && error != EBUSY)) break;
  }
  return status.ok()
             ? answers
             : kernel::Annotate(status, absl::StrCat(name_, " is not reset"));
}

// Resets the functions of `members` by `reset_bus`. The slots of all of them
// are removed first, because it makes the kernel revoke the pages of all their
// mappings.
absl::Status VfioPciDevice::Impl::ResetMembers(
    std::vector<Impl*> members, absl::FunctionRef<void()> reset_bus) {
  // Several control mutexes are acquired in the order of their addresses.
  std::sort(members.begin(), members.end(), std::less<>());
  for (Impl* member : members) {
    member->AssertLayoutHeld();
    member->Retract({}).IgnoreError();  // Logged.
  }
  absl::Status first;
  ResetNested(members, reset_bus, first);
  for (Impl* member : members) {
    member->AssertLayoutHeld();
    member->mapper_->Place({});  // Others may get what the members had.
  }
  return first;
}

void VfioPciDevice::Impl::ResetNested(absl::Span<Impl* const> members,
                                      absl::FunctionRef<void()> reset_bus,
                                      absl::Status& first) {
  if (members.empty()) {
    reset_bus();
    return;
  }
  Impl* const member = members.front();
  member->AssertLayoutHeld();
  absl::Status answers = member->ResetRetracted(ResetCause::kMachine, [&] {
    ResetNested(members.subspan(1), reset_bus, first);
  });
  kernel::KeepFirst(first, std::move(answers));
}

absl::Status VfioPciDevice::Impl::ResetRetracted(
    ResetCause cause, absl::FunctionRef<void()> reset_device) {
  const std::array<uint8_t, 2> no_command = {0, 0};
  absl::MutexLock lock(&mutex_);
  ++resets_;
  mode_->Apply({.intx = false});
  // The kernel saves COMMAND before a reset and restores it afterwards
  // (pci_dev_save_and_disable()). No DMA must start before a driver wants it.
  if (cause == ResetCause::kMachine) {
    WriteDevice(pci::kCommand.offset, no_command);
  }
  reset_device();
  // VFIO keeps its own view of the configuration across a reset. The shadow
  // takes the state that hardware would have, and the write below makes the
  // device agree.
  {
    absl::MutexLock publish(&shadow_mutex_);
    shadow_->Reset();
  }
  sizing_ = {};
  command_lost_ = !WriteDevice(pci::kCommand.offset, no_command);
  LeavePowerSaving();
  if (msix_table_ != nullptr) msix_table_->Reset();
  absl::Status answers =
      cause == ResetCause::kMachine ? CheckAnswers() : absl::OkStatus();
  UpdateInterrupts();
  return answers;
}

// Finds out whether the device came back from a reset. A device that did not
// reads all ones, and its BARs do not answer until the guest writes COMMAND.
absl::Status VfioPciDevice::Impl::CheckAnswers() {
  std::array<uint8_t, 2> bytes;
  const bool read = ReadDevice(pci::kCommand.offset, absl::MakeSpan(bytes));
  const auto command = pci::LoadLittleEndian<uint16_t>(bytes, 0);
  if (read && (command & kReservedCommandBits) != kReservedCommandBits) {
    return absl::OkStatus();
  }
  command_lost_ = true;
  absl::Status status = absl::UnavailableError(absl::StrFormat(
      "%s does not answer after its reset: COMMAND reads %#x", name_, command));
  failures_.Add("nothing is mapped", status);
  return status;
}

bool VfioPciDevice::Impl::attached() const {
  absl::MutexLock lock(&mutex_);
  return !detached_;
}

absl::Status VfioPciDevice::Impl::DetachedError() const {
  return absl::FailedPreconditionError(name_ + " is detached");
}

}  // namespace passthru::vfio_pci
