// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/doctor/doctor.h"

#include <cerrno>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/types/span.h"
#include "passthru/pci/bdf.h"
#include "passthru/pci/class_code.h"
#include "passthru/pci/config_reg.h"
#include "passthru/pci/registers.h"
#include "passthru/vmm/doctor/checks.h"
#include "passthru/vmm/doctor/doctor_report.pb.h"
#include "passthru/vmm/doctor/host_files.h"

namespace passthru::doctor {
namespace {

constexpr std::string_view kDevices = "/sys/bus/pci/devices";

uint32_t Hex(const HostFiles& host, const std::string& path) {
  uint32_t value = 0;
  if (!absl::SimpleHexAtoi(host.Text(path).value, &value)) return 0;
  return value;
}

DeviceFacts ReadDevice(const HostFiles& host, pci::Bdf address) {
  DeviceFacts device = {
      .address = address,
      .folder = absl::StrCat(kDevices, "/", address.ToString())};
  device.class_code = Hex(host, device.folder + "/class");
  const pci::ClassCode code = {
      .base = static_cast<uint8_t>(device.class_code >> 16),
      .sub = static_cast<uint8_t>(device.class_code >> 8),
      .interface = static_cast<uint8_t>(device.class_code)};
  device.identity = absl::StrFormat(
      "%04x:%04x %s [%v]", Hex(host, device.folder + "/vendor"),
      Hex(host, device.folder + "/device"), pci::Name(code), code);
  device.is_virtual_function = host.Link(device.folder + "/physfn").ok();
  device.config =
      host.Bytes(device.folder + "/config", pci::kExtendedConfigSpaceSize)
          .value;
  const absl::Span<const uint8_t> config(
      reinterpret_cast<const uint8_t*>(device.config.data()),
      device.config.size());
  constexpr uint8_t kBridge = 0x06;
  device.stays =
      code.base == kBridge ||
      (config.size() >= pci::kStandardHeaderSize &&
       pci::ReadRegister<uint16_t>(config, pci::kVendorId) != 0xffff &&
       pci::HeaderType::kLayout.Get(pci::ReadRegister(
           config, pci::kHeaderType)) != pci::HeaderType::kLayoutNormal);
  device.driver = host.Link(device.folder + "/driver").value;
  return device;
}

bool HasProblem(const google::protobuf::RepeatedPtrField<Finding>& findings) {
  for (const Finding& finding : findings) {
    if (finding.verdict() == Finding::PROBLEM) return true;
  }
  return false;
}

void AddAll(Findings findings,
            google::protobuf::RepeatedPtrField<Finding>* to) {
  for (Finding& finding : findings) *to->Add() = std::move(finding);
}

void ExamineDevice(const HostFiles& host, const HostFacts& facts,
                   pci::Bdf address, Device& report) {
  report.set_address(address.ToString());
  DeviceFacts device = ReadDevice(host, address);
  const auto folder = host.Folder(device.folder);
  if (folder.error == ENOENT) {
    report.set_identity("not there");
    *report.add_findings() = MakeFinding(
        "device", Finding::PROBLEM,
        "there is none at this address; it may be powered off, removed, or a "
        "virtual function that nobody made",
        {folder.known_by}, {"lspci -D  # lists the addresses"});
    return;
  }
  report.set_identity(device.identity);
  report.set_stays(device.stays);
  AddAll(CheckDevice(host, facts, device), report.mutable_findings());
  if (device.stays) return;
  AddAll(CheckUses(host, device), report.mutable_findings());
  AddAll(CheckGroup(host, facts, device), report.mutable_findings());
}

}  // namespace

Report Examine(const Options& options) {
  const HostFiles host(options.syscalls);
  HostFacts facts;
  facts.guest_memory = options.guest_memory;
  Report report;
  AddAll(CheckHost(host, facts), report.mutable_host());
  std::vector<pci::Bdf> devices = options.devices;
  if (devices.empty()) {
    for (const std::string& name : host.Folder(std::string(kDevices)).value) {
      const auto address = pci::Bdf::Parse(name);
      if (address.ok()) devices.push_back(*address);
    }
  }
  const bool host_ready = !HasProblem(report.host());
  for (const pci::Bdf address : devices) {
    Device& device = *report.add_devices();
    ExamineDevice(host, facts, address, device);
    device.set_ready(host_ready && !HasProblem(device.findings()));
  }
  return report;
}

}  // namespace passthru::doctor
