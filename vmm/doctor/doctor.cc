// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/doctor/doctor.h"

#include <algorithm>
#include <cerrno>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "passthru/pci/bdf.h"
#include "passthru/vmm/doctor/checks.h"
#include "passthru/vmm/doctor/doctor_report.pb.h"
#include "passthru/vmm/doctor/host_files.h"

namespace passthru::doctor {
namespace {

constexpr std::string_view kDevices = "/sys/bus/pci/devices";

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
        "virtual function that the host has not made",
        {folder.known_by}, {"lspci -D  # lists the addresses"});
    return;
  }
  report.set_identity(device.identity);
  report.set_stays(device.stays);
  *report.add_findings() = CheckType(host, device);
  if (device.stays) return;
  // What the host has to end comes before the driver is taken away.
  Findings uses = CheckUses(host, facts, device);
  const bool in_the_way = HasProblem(uses);
  AddAll(std::move(uses), report.mutable_findings());
  AddAll(CheckDevice(host, facts, device, in_the_way),
         report.mutable_findings());
  AddAll(CheckGroup(host, facts, device), report.mutable_findings());
}

}  // namespace

bool HasProblem(const Findings& findings) {
  return std::any_of(findings.begin(), findings.end(), [](const Finding& one) {
    return one.verdict() == Finding::PROBLEM;
  });
}

Report Examine(const Options& options) {
  const HostFiles host(options.syscalls);
  HostFacts facts;
  facts.guest_memory = options.guest_memory;
  Report report;
  Findings of_host = CheckHost(host, facts);
  const bool host_ready = !HasProblem(of_host);
  AddAll(std::move(of_host), report.mutable_host());
  std::vector<pci::Bdf> devices = options.devices;
  if (devices.empty()) {
    for (const std::string& name : host.Folder(std::string(kDevices)).value) {
      const auto address = pci::Bdf::Parse(name);
      if (address.ok()) devices.push_back(*address);
    }
  }
  for (const pci::Bdf address : devices) {
    Device& device = *report.add_devices();
    ExamineDevice(host, facts, address, device);
    const Findings findings(device.findings().begin(), device.findings().end());
    device.set_ready(host_ready && !HasProblem(findings));
  }
  return report;
}

}  // namespace passthru::doctor
