// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/vfio/vfio_device.h"

#include <linux/vfio.h>

#include <cerrno>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/no_destructor.h"
#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/types/span.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/file_descriptor.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/vfio/explain.h"
#include "passthru/devices/vfio/hot_reset.h"
#include "passthru/devices/vfio/info_query.h"
#include "passthru/devices/vfio/irq_info.h"
#include "passthru/devices/vfio/region_info.h"
#include "passthru/devices/vfio/vfio_group.h"
#include "passthru/pci/bdf.h"

namespace passthru::vfio {
namespace {

// vfio-pci has 9 regions and 5 interrupt types, and its variants add a few.
constexpr uint32_t kMinRegions = VFIO_PCI_CONFIG_REGION_INDEX + 1;
constexpr uint32_t kMaxRegions = 256;
constexpr uint32_t kMinIrqs = VFIO_PCI_MSIX_IRQ_INDEX + 1;
constexpr uint32_t kMaxIrqs = 64;

// A conventional PCI device has 256 bytes, and a PCI Express device has 4096.
constexpr uint64_t kMinConfigSize = 256;

// Returns whether uuid_parse() accepts the text.
bool IsUuid(std::string_view text) {
  constexpr std::string_view kForm = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
  if (text.size() != kForm.size()) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool fits =
        kForm[i] == '-'
            ? text[i] == '-'
            : absl::ascii_isxdigit(static_cast<unsigned char>(text[i]));
    if (!fits) return false;
  }
  return true;
}

}  // namespace

VfioDevice::VfioDevice(std::shared_ptr<VfioGroup> group, pci::Bdf address,
                       kernel::FileDescriptor device)
    : group_(std::move(group)),
      syscalls_(group_->syscalls()),
      address_(address),
      name_(address.ToString()),
      device_(std::move(device)) {}

absl::StatusOr<std::unique_ptr<VfioDevice>> VfioDevice::Open(
    std::shared_ptr<VfioGroup> group, pci::Bdf address,
    std::string_view vf_token) {
  kernel::Syscalls* const syscalls = group->syscalls();
  std::string name = address.ToString();
  // vfio_pci_core_match() parses what follows the address.
  if (!vf_token.empty()) {
    if (!IsUuid(vf_token)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "\"", vf_token, "\" is not a vf_token for ", name,
          ": it is a UUID, as \"83d8f4f2-509f-382f-3c1e-e6bfe0fa1003\""));
    }
    absl::StrAppend(&name, " vf_token=", vf_token);
  }
  const kernel::SyscallResult<int> opened =
      syscalls->Ioctl(group->fd(), VFIO_GROUP_GET_DEVICE_FD, name.data());
  if (!opened.ok()) {
    return ExplainDeviceOpen(opened.error, address.ToString(), group->number(),
                             !vf_token.empty());
  }
  return Adopt(std::move(group), address,
               kernel::FileDescriptor(syscalls, opened.value));
}

absl::StatusOr<std::unique_ptr<VfioDevice>> VfioDevice::Adopt(
    std::shared_ptr<VfioGroup> group, pci::Bdf address,
    kernel::FileDescriptor descriptor) {
  std::unique_ptr<VfioDevice> device = absl::WrapUnique(
      new VfioDevice(std::move(group), address, std::move(descriptor)));
  PASSTHRU_RETURN_IF_ERROR(device->Query());
  return device;
}

absl::Status VfioDevice::Query() {
  const std::string what = What("VFIO_DEVICE_GET_INFO");
  PASSTHRU_ASSIGN_OR_RETURN(const InfoAnswer<vfio_device_info> answer,
                            QueryInfo(syscalls_, fd(), VFIO_DEVICE_GET_INFO,
                                      vfio_device_info{}, what));
  const vfio_device_info& info = answer.info;
  if ((info.flags & VFIO_DEVICE_FLAGS_PCI) == 0) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "%s: it is not a PCI device (flags 0x%x)", what, info.flags));
  }
  if (info.num_regions < kMinRegions || info.num_regions > kMaxRegions) {
    return absl::DataLossError(
        absl::StrFormat("%s: %d regions; from %d to %d are accepted", what,
                        info.num_regions, kMinRegions, kMaxRegions));
  }
  if (info.num_irqs < kMinIrqs || info.num_irqs > kMaxIrqs) {
    return absl::DataLossError(
        absl::StrFormat("%s: %d interrupt types; from %d to %d are accepted",
                        what, info.num_irqs, kMinIrqs, kMaxIrqs));
  }
  flags_ = info.flags;
  // EINVAL means that the device has no such region or interrupt. After any
  // other errno this is unknown, and half a device is worse for a guest than
  // none.
  const auto is_unknown = [](const absl::Status& status) {
    const int error = kernel::ErrnoOf(status);
    return error != 0 && error != EINVAL;
  };
  for (uint32_t i = 0; i < info.num_regions; ++i) {
    regions_.push_back(QueryRegionInfo(syscalls_, fd(), i, name_));
    if (is_unknown(regions_.back().status)) return regions_.back().status;
  }
  for (uint32_t i = 0; i < info.num_irqs; ++i) {
    irqs_.push_back(QueryIrqInfo(syscalls_, fd(), i, name_));
    if (is_unknown(irqs_.back().status)) return irqs_.back().status;
  }
  const VfioRegionInfo& config = regions_[VFIO_PCI_CONFIG_REGION_INDEX];
  if (!config.status.ok()) return config.status;
  if (config.size < kMinConfigSize) {
    return absl::DataLossError(
        absl::StrFormat("%s has %d bytes of configuration space; a PCI "
                        "function has at least %d",
                        name_, config.size, kMinConfigSize));
  }
  return absl::OkStatus();
}

const VfioRegionInfo& VfioDevice::NoRegion() {
  static const absl::NoDestructor<VfioRegionInfo> kAbsent;
  return *kAbsent;
}

const VfioIrqInfo& VfioDevice::irq(uint32_t index) const {
  static const absl::NoDestructor<VfioIrqInfo> kAbsent;
  return index < irqs_.size() ? irqs_[index] : *kAbsent;
}

uint64_t VfioDevice::config_size() const {
  return region(VFIO_PCI_CONFIG_REGION_INDEX).size;
}

absl::Status VfioDevice::Reset() const {
  const std::string what = What("VFIO_DEVICE_RESET");
  if (!can_reset()) {
    return absl::UnimplementedError(absl::StrCat(
        what, ": the device has no reset of its own (no FLR, no PM reset)"));
  }
  const kernel::SyscallResult<int> result =
      syscalls_->Ioctl(fd(), VFIO_DEVICE_RESET, nullptr);
  if (!result.ok()) return kernel::ErrnoError(result.error, what);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<HotResetDevice>> VfioDevice::GetHotResetDevices()
    const {
  auto devices = QueryHotResetDevices(syscalls_, fd(), name_);
  if (!devices.ok()) return devices.status();
  // struct vfio_pci_dependent_device has 16 bits for the domain, which in Linux
  // may have more. A slot or bus is in one domain, that of this device.
  for (HotResetDevice& one : *devices) {
    if (one.address.segment() == (address_.segment() & 0xffff)) {
      one.address =
          pci::Bdf::FromRoutingId(address_.segment(), one.address.routing_id());
    }
  }
  return devices;
}

absl::Status VfioDevice::HotReset(absl::Span<const int> group_fds) const {
  return vfio::HotReset(syscalls_, fd(), name_, group_fds);
}

std::string VfioDevice::What(const char* call) const {
  return absl::StrCat(call, " on ", name_);
}

}  // namespace passthru::vfio
