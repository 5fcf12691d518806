// SPDX-License-Identifier: Apache-2.0
// FakeVfioDevice's resets and ioeventfds.
#include <linux/vfio.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "passthru/testing/journal/user_memory.h"
#include "passthru/testing/journal/vfio_offset.h"
#include "passthru/testing/vfio/fake_vfio_device.h"
#include "passthru/testing/vfio/ioctl_answer.h"

namespace passthru::fake {
namespace {

constexpr size_t kMaxIoEventFds = 1000;

// The group of a neighbour that the fixture names and that the host lacks. No
// user can have it.
constexpr uint32_t kGroupOfNobody = ~uint32_t{0};

constexpr std::string_view kVfioPciDriver = "vfio-pci";

vfio_pci_dependent_device DependentDevice(const HostFunction& function) {
  vfio_pci_dependent_device entry = {};
  entry.group_id = function.group;
  // The field has 16 bits, and vfio_pci_fill_devs() cuts the domain.
  entry.segment = static_cast<uint16_t>(function.bdf.segment());
  entry.bus = function.bdf.bus();
  entry.devfn = static_cast<uint8_t>(function.bdf.routing_id());
  return entry;
}

bool IsOnBus(const pci::Bdf& function, const pci::Bdf& other) {
  return function.segment() == other.segment() && function.bus() == other.bus();
}

}  // namespace

// Resets like vfio_pci_ioctl_reset(). The kernel keeps its own view, which is
// virtual BARs and COMMAND, eventfds, MSI and MSI-X.
int FakeVfioDevice::Reset() {
  if (!reset_at_open_.has_value()) return EINVAL;
  const std::vector<fixture::Reset::Method> methods = ResetMethods();
  // The power state changes even if the reset then fails.
  config_->SetPowerState(0);
  if (!methods.empty()) ResetFunction(KindOf(methods.front()));
  UpdateMappings();
  return methods.empty() ? ENOTTY : 0;
}

int FakeVfioDevice::ResetFromFile() {
  const std::vector<fixture::Reset::Method> methods = ResetMethods();
  if (methods.empty()) return ENOTTY;
  ResetFunction(KindOf(methods.front()));
  UpdateMappings();
  return 0;
}

// A reset of the bus is one of this function alone only if no other function is
// on the bus (pci_parent_bus_reset(), pci_dev_reset_slot_function()).
std::vector<fixture::Reset::Method> FakeVfioDevice::ResetMethods() const {
  std::vector<fixture::Reset::Method> methods;
  const bool alone = HotResetSet().size() == 1;
  for (const int method : options_.fixture.reset().methods()) {
    if (method == fixture::Reset::BUS && !alone) continue;
    methods.push_back(static_cast<fixture::Reset::Method>(method));
  }
  return methods;
}

// Walks the bus like vfio_pci_for_each_slot_or_bus(). No reset reaches a root
// bus. There the set has what the fixture names.
std::vector<HostFunction> FakeVfioDevice::HotResetSet() const {
  std::vector<HostFunction> set = {
      {.bdf = bdf(),
       .group = group()->number(),
       .driver = std::string(kVfioPciDriver),
       .device = const_cast<FakeVfioDevice*>(this)}};
  const auto add = [&set](const HostFunction& function) {
    const bool known = std::any_of(
        set.begin(), set.end(),
        [&](const HostFunction& other) { return other.bdf == function.bdf; });
    if (!known) set.push_back(function);
  };
  const std::vector<HostFunction> host = options_.host_functions();
  if (bdf().bus() != 0) {
    for (const HostFunction& function : host) {
      if (IsOnBus(function.bdf, bdf())) add(function);
    }
  }
  for (const std::string& address :
       options_.fixture.reset().hot_reset_also_affects()) {
    const auto named = pci::Bdf::Parse(address);
    if (!named.ok()) continue;
    const auto found = std::find_if(
        host.begin(), host.end(),
        [&](const HostFunction& function) { return function.bdf == *named; });
    add(found != host.end()
            ? *found
            : HostFunction{.bdf = *named, .group = kGroupOfNobody});
  }
  return set;
}

int FakeVfioDevice::GetHotResetInfo(void* arg) const {
  // Has no initializer, because clang takes one of its tail for an extension.
  vfio_pci_hot_reset_info header;
  if (const int error = CopyHeader(arg, sizeof(header), &header)) return error;
  if (!options_.fixture.reset().hot_reset_listed()) return ENODEV;
  std::vector<vfio_pci_dependent_device> devices;
  for (const HostFunction& function : HotResetSet()) {
    devices.push_back(DependentDevice(function));
  }
  header.flags = 0;
  header.count = static_cast<uint32_t>(devices.size());
  const bool fits =
      header.argsz >=
      sizeof(header) + devices.size() * sizeof(vfio_pci_dependent_device);
  if (fits) {
    if (!journal::CopyToUser(static_cast<uint8_t*>(arg) + sizeof(header),
                             devices.data(),
                             devices.size() * sizeof(devices[0]))) {
      return EFAULT;
    }
  }
  if (!journal::CopyToUser(arg, &header, sizeof(header))) return EFAULT;
  return fits ? 0 : ENOSPC;
}

// Makes the checks of vfio_pci_ioctl_pci_hot_reset() in the same order.
int FakeVfioDevice::HotReset(const void* arg) {
  options_.core->mutex.AssertHeld();
  vfio_pci_hot_reset header = {};
  if (const int error = CopyHeader(arg, sizeof(header), &header)) return error;
  if (header.flags != 0) return EINVAL;
  if (options_.rules.hot_reset_count_first && header.count == 0) return EINVAL;
  if (!options_.fixture.reset().hot_reset_listed()) return ENODEV;
  const std::vector<HostFunction> set = HotResetSet();
  if (header.count == 0 || header.count > set.size()) return EINVAL;

  std::vector<int32_t> fds(header.count);
  if (!journal::CopyFromUser(fds.data(),
                             static_cast<const uint8_t*>(arg) + sizeof(header),
                             fds.size() * sizeof(fds[0]))) {
    return EFAULT;
  }
  std::vector<uint32_t> groups;
  for (const int32_t fd : fds) {
    if (fd < 0 || !FileTable::IsOpen(fd)) return EBADF;
    const FileRef file = options_.core->files.Lookup(fd);
    const auto* group = dynamic_cast<const GroupFile*>(file.get());
    if (group == nullptr) return EINVAL;
    groups.push_back(group->group()->number());
  }
  // vfio_pci_dev_set_resettable() wants every function bound to vfio-pci, and
  // vfio_pci_dev_set_hot_reset() its group among those given. None of them
  // needs to be open.
  const bool owns_all =
      std::all_of(set.begin(), set.end(), [&](const HostFunction& function) {
        return function.device != nullptr &&
               function.driver == kVfioPciDriver &&
               std::find(groups.begin(), groups.end(), function.group) !=
                   groups.end();
      });
  if (!owns_all) return EINVAL;
  // vfio_pci_dev_set_hot_reset() does this whether or not the reset then works.
  for (const HostFunction& function : set) function.device->GoToD0();
  if (const uint32_t error = options_.fixture.reset().hot_reset_errno()) {
    return static_cast<int>(error);
  }
  for (const HostFunction& function : set) function.device->BusReset();
  return 0;
}

// Answers like vfio_pci_ioctl_ioeventfd() and vfio_pci_ioeventfd().
int FakeVfioDevice::SetIoEventFd(const void* arg) {
  constexpr size_t kMinimum =
      offsetof(vfio_device_ioeventfd, fd) + sizeof(int32_t);
  vfio_device_ioeventfd request = {};
  if (const int error = CopyHeader(arg, kMinimum, &request)) return error;
  if ((request.flags & ~uint32_t{VFIO_DEVICE_IOEVENTFD_SIZE_MASK}) != 0 ||
      !std::has_single_bit(request.flags) || request.fd < -1) {
    return EINVAL;
  }
  const IoEventFd::Target target{.bar = journal::RegionOf(request.offset),
                                 .offset = journal::OffsetOf(request.offset),
                                 .data = request.data,
                                 .width = request.flags};
  if (target.bar >= VFIO_PCI_ROM_REGION_INDEX ||
      target.offset + target.width > hardware_->bar_size(target.bar) ||
      IsMsixTable(target.bar, target.offset, target.width)) {
    return EINVAL;
  }
  const auto found = std::find_if(
      ioeventfds_.begin(), ioeventfds_.end(),
      [&](const auto& entry) { return entry->target() == target; });
  if (request.fd == -1) {
    if (found == ioeventfds_.end()) return ENODEV;
    ioeventfds_.erase(found);
    return 0;
  }
  if (found != ioeventfds_.end()) return EEXIST;
  if (ioeventfds_.size() >= kMaxIoEventFds) return ENOSPC;
  options_.core->mutex.AssertHeld();
  auto eventfd = options_.core->eventfds.Lookup(request.fd);
  if (!eventfd.ok()) return eventfd.error;
  ioeventfds_.push_back(std::make_unique<IoEventFd>(
      &options_.core->eventfds, std::move(eventfd.value), target,
      [this, target] {
        std::vector<uint8_t> data;
        for (uint32_t i = 0; i < target.width; ++i) {
          data.push_back(static_cast<uint8_t>(target.data >> (8 * i)));
        }
        BarAccess(target.bar, target.offset, absl::MakeSpan(data), true);
      }));
  return 0;
}

}  // namespace passthru::fake
