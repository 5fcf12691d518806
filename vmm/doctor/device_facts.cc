// SPDX-License-Identifier: Apache-2.0
#include <cerrno>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/types/span.h"
#include "passthru/pci/bdf.h"
#include "passthru/pci/class_code.h"
#include "passthru/pci/config_reg.h"
#include "passthru/pci/registers.h"
#include "passthru/vmm/doctor/checks.h"
#include "passthru/vmm/doctor/host_files.h"

namespace passthru::doctor {
namespace {

std::optional<uint32_t> Hex(const HostFiles& host, const std::string& path) {
  uint32_t value = 0;
  if (!absl::SimpleHexAtoi(host.Text(path).value, &value)) return std::nullopt;
  return value;
}

std::string Id(std::optional<uint32_t> id) {
  return id.has_value() ? absl::StrFormat("%04x", *id) : "????";
}

}  // namespace

DeviceFacts ReadDevice(const HostFiles& host, pci::Bdf address) {
  DeviceFacts device = {
      .address = address,
      .folder = absl::StrCat("/sys/bus/pci/devices/", address.ToString())};
  const std::optional<uint32_t> class_code =
      Hex(host, device.folder + "/class");
  device.class_code = class_code.value_or(0);
  const pci::ClassCode code = {
      .base = static_cast<uint8_t>(device.class_code >> 16),
      .sub = static_cast<uint8_t>(device.class_code >> 8),
      .interface = static_cast<uint8_t>(device.class_code)};
  device.identity = absl::StrCat(
      Id(Hex(host, device.folder + "/vendor")), ":",
      Id(Hex(host, device.folder + "/device")), " ",
      class_code.has_value() ? absl::StrFormat("%v [%v]", pci::Name(code), code)
                             : "of a class that cannot be read");
  device.is_virtual_function = host.Link(device.folder + "/physfn").ok();
  device.config =
      host.Bytes(device.folder + "/config", pci::kExtendedConfigSpaceSize)
          .value;
  const absl::Span<const uint8_t> config = device.config_bytes();
  constexpr uint8_t kBridge = 0x06;
  device.stays =
      code.base == kBridge ||
      (config.size() >= pci::kStandardHeaderSize &&
       pci::ReadRegister<uint16_t>(config, pci::kVendorId) != 0xffff &&
       pci::HeaderType::kLayout.Get(pci::ReadRegister(
           config, pci::kHeaderType)) != pci::HeaderType::kLayoutNormal);
  const auto driver = host.Link(device.folder + "/driver");
  device.driver = driver.value;
  // A device without a driver has no such link.
  if (!driver.ok() && driver.error != ENOENT) {
    device.driver_unknown = driver.known_by;
  }
  return device;
}

}  // namespace passthru::doctor
