// SPDX-License-Identifier: Apache-2.0
// FakeVfioDevice's resets and ioeventfds.
#include <linux/vfio.h>

#include <algorithm>
#include <bit>
#include <cerrno>
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

vfio_pci_dependent_device DependentDevice(const pci::Bdf& bdf, uint32_t group) {
  vfio_pci_dependent_device entry = {};
  entry.group_id = group;
  // The field has 16 bits, and vfio_pci_fill_devs() cuts the domain.
  entry.segment = static_cast<uint16_t>(bdf.segment());
  entry.bus = bdf.bus();
  entry.devfn = static_cast<uint8_t>(bdf.routing_id());
  return entry;
}

}  // namespace

// Resets like vfio_pci_ioctl_reset(). The kernel keeps its own view, which is
// virtual BARs and COMMAND, eventfds, MSI and MSI-X.
int FakeVfioDevice::Reset() {
  if (options_.fixture.reset().methods().empty()) return EINVAL;
  hardware_->SetPowerState(0);
  ResetFunction(first_reset_kind());
  UpdateMappings();
  return 0;
}

std::vector<FakeVfioDevice*> FakeVfioDevice::HotResetSet(
    bool* all_known) const {
  std::vector<FakeVfioDevice*> set = {const_cast<FakeVfioDevice*>(this)};
  *all_known = true;
  for (const std::string& address :
       options_.fixture.reset().hot_reset_also_affects()) {
    const auto bdf = pci::Bdf::Parse(address);
    FakeVfioDevice* other = bdf.ok() ? options_.find_device(*bdf) : nullptr;
    if (other == nullptr) {
      *all_known = false;
    } else {
      set.push_back(other);
    }
  }
  return set;
}

int FakeVfioDevice::GetHotResetInfo(void* arg) const {
  // Has no initializer, because clang takes one of its tail for an extension.
  vfio_pci_hot_reset_info header;
  if (const int error = CopyHeader(arg, sizeof(header), &header)) return error;
  if (!options_.fixture.reset().hot_reset_listed()) return ENODEV;
  std::vector<vfio_pci_dependent_device> devices = {
      DependentDevice(bdf(), group()->number())};
  for (const std::string& address :
       options_.fixture.reset().hot_reset_also_affects()) {
    const auto bdf = pci::Bdf::Parse(address);
    if (!bdf.ok()) continue;
    const FakeVfioDevice* const other = options_.find_device(*bdf);
    devices.push_back(DependentDevice(
        *bdf, other == nullptr ? kGroupOfNobody : other->group()->number()));
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
  bool all_known = true;
  const std::vector<FakeVfioDevice*> set = HotResetSet(&all_known);
  if (header.count == 0 || header.count > set.size()) return EINVAL;

  std::vector<int32_t> fds(header.count);
  if (!journal::CopyFromUser(fds.data(),
                             static_cast<const uint8_t*>(arg) + sizeof(header),
                             fds.size() * sizeof(fds[0]))) {
    return EFAULT;
  }
  std::vector<const FakeGroup*> groups;
  for (const int32_t fd : fds) {
    if (fd < 0 || !FileTable::IsOpen(fd)) return EBADF;
    const FileRef file = options_.core->files.Lookup(fd);
    const auto* group = dynamic_cast<const GroupFile*>(file.get());
    if (group == nullptr) return EINVAL;
    groups.push_back(group->group().get());
  }
  const bool owns_all =
      all_known && std::all_of(set.begin(), set.end(), [&](const auto* device) {
        return std::find(groups.begin(), groups.end(), device->group().get()) !=
               groups.end();
      });
  if (!owns_all) return EINVAL;
  if (const uint32_t error = options_.fixture.reset().hot_reset_errno()) {
    return static_cast<int>(error);
  }
  for (FakeVfioDevice* device : set) device->BusReset();
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
