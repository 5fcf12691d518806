// SPDX-License-Identifier: Apache-2.0
//
// FakeSysfs's PCI functions: their folders, attributes and links.
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "passthru/testing/kernel/fake_sysfs.h"

namespace passthru::fake {
namespace {

// Returns the text by which a driver's module is found (pci_uevent()).
std::string ModuleAlias(const SysfsPciDevice& device) {
  return absl::StrFormat(
      "pci:v%08Xd%08Xsv%08Xsd%08Xbc%02Xsc%02Xi%02X", device.vendor,
      device.device, device.subsystem_vendor, device.subsystem_device,
      device.class_code >> 16 & 0xff, device.class_code >> 8 & 0xff,
      device.class_code & 0xff);
}

// Parses what kstrtobool() takes, by its first letters.
bool ParseBool(std::string_view text, bool* value) {
  if (text.empty()) return false;
  if (absl::StrContains("yYtT1", text[0])) {
    *value = true;
    return true;
  }
  *value = false;
  if (absl::StrContains("nNfF0", text[0])) return true;
  if (text.size() < 2 || (text[0] != 'o' && text[0] != 'O')) return false;
  *value = text[1] == 'n' || text[1] == 'N';
  return *value || text[1] == 'f' || text[1] == 'F';
}

// An attribute that keeps a bool. One that takes numbers takes any
// (kstrtoul()), and another one takes words (kstrtobool()).
SysfsAttribute KeptBool(bool value, bool takes_numbers) {
  const auto kept = std::make_shared<bool>(value);
  return {.show = [kept] { return std::string(*kept ? "1\n" : "0\n"); },
          .store =
              [kept, takes_numbers](std::string_view text) {
                bool written = false;
                if (uint64_t number = 0; takes_numbers) {
                  if (!absl::SimpleAtoi(text, &number)) return EINVAL;
                  written = number != 0;
                } else if (!ParseBool(text, &written)) {
                  return EINVAL;
                }
                *kept = written;
                return 0;
              }};
}

// An attribute that keeps the node of a machine that has one (numa_node_show(),
// numa_node_store()).
SysfsAttribute KeptNode() {
  const auto node = std::make_shared<int>(-1);
  return {.show = [node] { return absl::StrCat(*node, "\n"); },
          .store =
              [node](std::string_view text) {
                int written = 0;
                if (!absl::SimpleAtoi(text, &written) || written < -1 ||
                    written > 0) {
                  return EINVAL;
                }
                *node = written;
                return 0;
              }};
}

std::string UeventOf(const SysfsPciDevice& device) {
  return absl::StrCat(
      device.driver.empty() ? "" : absl::StrCat("DRIVER=", device.driver, "\n"),
      absl::StrFormat("PCI_CLASS=%04X\nPCI_ID=%04X:%04X\n"
                      "PCI_SUBSYS_ID=%04X:%04X\nPCI_SLOT_NAME=%s\n",
                      device.class_code, device.vendor, device.device,
                      device.subsystem_vendor, device.subsystem_device,
                      device.bdf),
      "MODALIAS=", ModuleAlias(device), "\n");
}

}  // namespace

std::string FakeSysfs::DevicePath(std::string_view bdf) {
  // Here "0000:01:00.0" is directly below a root bus "pci0000:01", because
  // FakeSysfs shows no bridges.
  return absl::StrCat("/sys/devices/pci", bdf.substr(0, bdf.rfind(':')), "/",
                      bdf);
}

void FakeSysfs::AddPciDevice(const SysfsPciDevice& device) {
  RemovePciDevice(device.bdf);
  const std::string base = DevicePath(device.bdf);
  AddDirectory(base);
  const auto hex = [&](std::string_view name, uint32_t value, int digits) {
    AddFile(absl::StrCat(base, "/", name),
            absl::StrFormat("0x%0*x\n", digits, value));
  };
  hex("vendor", device.vendor, 4);
  hex("device", device.device, 4);
  hex("subsystem_vendor", device.subsystem_vendor, 4);
  hex("subsystem_device", device.subsystem_device, 4);
  hex("class", device.class_code, 6);
  hex("revision", device.revision, 2);
  const auto text = [&](std::string_view name, std::string contents) {
    AddFile(absl::StrCat(base, "/", name), std::move(contents));
  };
  text("irq", absl::StrCat(device.irq, "\n"));
  text("modalias", absl::StrCat(ModuleAlias(device), "\n"));
  const auto attribute = [&](std::string_view name, SysfsAttribute made) {
    AddAttribute(absl::StrCat(base, "/", name), std::move(made));
  };
  attribute("numa_node", KeptNode());
  attribute("broken_parity_status", KeptBool(false, /*takes_numbers=*/true));
  attribute("msi_bus", KeptBool(true, /*takes_numbers=*/true));
  // pci_pm_init() allows it.
  attribute("d3cold_allowed",
            KeptBool(device.has_power_management, /*takes_numbers=*/true));
  text("local_cpulist", "0\n");
  text("local_cpus", "1\n");
  text("dma_mask_bits", "32\n");
  text("consistent_dma_mask_bits", "32\n");
  text("ari_enabled", device.has_ari ? "1\n" : "0\n");
  for (const auto& [name, value] :
       {std::pair("current_link_speed", &device.link_speed),
        std::pair("current_link_width", &device.link_width),
        std::pair("max_link_speed", &device.max_link_speed),
        std::pair("max_link_width", &device.max_link_width)}) {
    if (!value->empty()) text(name, absl::StrCat(*value, "\n"));
  }
  AddAttribute(absl::StrCat(base, "/uevent"),
               {.show =
                    [this, bdf = device.bdf] {
                      const auto found = pci_devices_.find(bdf);
                      return found == pci_devices_.end()
                                 ? std::string()
                                 : UeventOf(found->second);
                    },
                .store = [](std::string_view) { return 0; }});
  if (device.sriov.has_value()) {
    const auto number = [&](std::string_view name, uint32_t value) {
      text(name, absl::StrCat(value, "\n"));
    };
    number("sriov_totalvfs", device.sriov->total_vfs);
    number("sriov_offset", device.sriov->offset);
    number("sriov_stride", device.sriov->stride);
    attribute("sriov_drivers_autoprobe",
              KeptBool(true, /*takes_numbers=*/false));
    number("sriov_vf_total_msix", 0);
    text("sriov_vf_device", absl::StrFormat("%x\n", device.sriov->vf_device));
  }
  AddFile(absl::StrCat(base, "/resource"), device.resource);
  if (!device.reset_method.empty()) {
    AddFile(absl::StrCat(base, "/reset_method"), device.reset_method);
  }
  if (device.config != nullptr) {
    AddBinaryFile(absl::StrCat(base, "/config"), device.config);
  }
  // This class does not know the physical function.
  if (device.is_virtual_function) AddLink(absl::StrCat(base, "/physfn"), "..");
  AddLink(absl::StrCat(base, "/subsystem"), "../../../bus/pci");
  AddLink(absl::StrCat("/sys/bus/pci/devices/", device.bdf),
          absl::StrCat("../../..", base.substr(std::strlen("/sys"))));
  if (device.iommu_group.has_value()) {
    const std::string group =
        absl::StrCat("/kernel/iommu_groups/", *device.iommu_group);
    AddLink(absl::StrCat(base, "/iommu_group"),
            absl::StrCat("../../..", group));
    AddFile(absl::StrCat("/sys", group, "/type"), "DMA-FQ\n");
    AddFile(absl::StrCat("/sys", group, "/reserved_regions"),
            "0x00000000fee00000 0x00000000feefffff msi\n");
    AddLink(absl::StrCat("/sys", group, "/devices/", device.bdf),
            absl::StrCat("../../../..", base.substr(std::strlen("/sys"))));
  }
  pci_devices_[device.bdf] = device;
  SetDriver(device.bdf, device.driver);
}

void FakeSysfs::SetDriver(std::string_view bdf, const std::string& driver) {
  const auto device = pci_devices_.find(bdf);
  if (device == pci_devices_.end()) return;
  const std::string link = absl::StrCat(DevicePath(bdf), "/driver");
  Remove(link);
  const std::string old = std::exchange(device->second.driver, driver);
  if (!old.empty()) {
    Remove(absl::StrCat("/sys/bus/pci/drivers/", old, "/", bdf));
  }
  if (driver.empty()) return;
  AddLink(link, absl::StrCat("../../../bus/pci/drivers/", driver));
  AddLink(
      absl::StrCat("/sys/bus/pci/drivers/", driver, "/", bdf),
      absl::StrCat("../../../..", DevicePath(bdf).substr(std::strlen("/sys"))));
}

std::string FakeSysfs::DriverOf(std::string_view bdf) const {
  const auto device = pci_devices_.find(bdf);
  return device == pci_devices_.end() ? "" : device->second.driver;
}

void FakeSysfs::RemovePciDevice(std::string_view bdf) {
  const auto device = pci_devices_.find(bdf);
  if (device == pci_devices_.end()) return;
  SetDriver(bdf, "");
  if (device->second.iommu_group.has_value()) {
    const std::string group =
        absl::StrCat("/sys/kernel/iommu_groups/", *device->second.iommu_group);
    Remove(absl::StrCat(group, "/devices/", bdf));
    const auto left = ReadDirectory(absl::StrCat(group, "/devices"));
    if (left.ok() && left.value.empty()) Remove(group);
  }
  Remove(absl::StrCat("/sys/bus/pci/devices/", bdf));
  Remove(DevicePath(bdf));
  pci_devices_.erase(device);
}

}  // namespace passthru::fake
