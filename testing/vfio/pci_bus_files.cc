// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/vfio/pci_bus_files.h"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace passthru::fake {
namespace {

constexpr std::string_view kDriversPath = "/sys/bus/pci/drivers/";
constexpr char kVfioPciName[] = "vfio-pci";
constexpr std::string_view kClassPath = "/sys/class/vfio-dev/vfio";

// The drivers of functions for which Debian's kernels have one and the
// simulation has a capture or a model.
struct NativeClass {
  uint32_t class_code;
  const char* driver;
};
constexpr NativeClass kNativeClasses[] = {
    {0x010802, "nvme"},         {0x010601, "ahci"},     {0x0c0330, "xhci_hcd"},
    {0x0c0320, "ehci-pci"},     {0x0c0300, "uhci_hcd"}, {0x0c0310, "ohci-pci"},
    {0x040300, "snd_hda_intel"}};
struct NativeId {
  uint32_t vendor;
  uint32_t device;
  const char* driver;
};
constexpr NativeId kNativeIds[] = {{0x8086, 0x100e, "e1000"},
                                   {0x8086, 0x10d3, "e1000e"},
                                   {0x8086, 0x10c9, "igb"},
                                   {0x8086, 0x10ca, "igbvf"},
                                   {0x15ad, 0x07b0, "vmxnet3"}};
constexpr uint32_t kVirtioVendorId = 0x1af4;

std::string NativeDriver(const SysfsPciDevice& device) {
  for (const NativeId& id : kNativeIds) {
    if (id.vendor == device.vendor && id.device == device.device) {
      return id.driver;
    }
  }
  if (device.vendor == kVirtioVendorId && device.device >= 0x1000 &&
      device.device < 0x1080) {
    return "virtio-pci";
  }
  for (const NativeClass& known : kNativeClasses) {
    if (known.class_code == device.class_code) return known.driver;
  }
  return "";
}

// Returns the text as the kernel's string functions see it, which is up to the
// first zero byte, without a newline at its end.
std::string_view WithoutNewline(std::string_view text) {
  text = text.substr(0, text.find('\0'));
  absl::ConsumeSuffix(&text, "\n");
  return text;
}

// Parses what kstrtoul() does with base 0. Returns false for anything else.
bool ParseNumber(std::string_view text, uint64_t* value) {
  text = WithoutNewline(text);
  if (absl::ConsumePrefix(&text, "0x")) {
    return absl::SimpleHexAtoi(text, value);
  }
  return absl::SimpleAtoi(text, value);
}

// Parses the first two hexadecimal numbers of the text.
bool ParseId(std::string_view text, std::pair<uint32_t, uint32_t>* id) {
  const std::vector<std::string_view> words =
      absl::StrSplit(text, absl::ByAnyChar(" \t\n"), absl::SkipEmpty());
  return words.size() >= 2 && absl::SimpleHexAtoi(words[0], &id->first) &&
         absl::SimpleHexAtoi(words[1], &id->second);
}

}  // namespace

PciBusFiles::PciBusFiles(FakeSysfs* paths, KernelVersion version,
                         bool allow_unsafe_interrupts, Machine machine)
    : paths_(*paths), version_(version), machine_(std::move(machine)) {
  AddModules(allow_unsafe_interrupts);
  AddDriver(kVfioPciName);
  paths_.AddDirectory("/sys/bus/pci/slots");
  paths_.AddDirectory("/sys/class/vfio-dev");
  paths_.AddFile("/sys/bus/pci/drivers_autoprobe", "1\n");
  paths_.AddAttribute("/sys/bus/pci/drivers_probe",
                      {.show = nullptr, .store = [this](std::string_view text) {
                         return ProbeNamed(text);
                       }});
  paths_.AddAttribute("/sys/bus/pci/rescan",
                      {.show = nullptr, .store = [this](std::string_view text) {
                         return Rescan(text);
                       }});
}

PciBusFiles::~PciBusFiles() {
  for (const auto& [bdf, device] : devices_) paths_.RemovePciDevice(bdf);
  paths_.Remove("/sys/class/vfio-dev");
  for (const auto& [name, ids] : drivers_) {
    paths_.Remove(absl::StrCat(kDriversPath, name));
  }
  paths_.Remove("/sys/bus/pci/drivers_probe");
  paths_.Remove("/sys/bus/pci/rescan");
}

void PciBusFiles::AddModules(bool allow_unsafe_interrupts) {
  std::vector<std::string> modules = {"vfio", "vfio_pci", "vfio_pci_core",
                                      "vfio_iommu_type1"};
  // It became a part of vfio in 6.2.
  if (version_ < KernelVersion::k6_12) modules.push_back("vfio_virqfd");
  for (const std::string& name : modules) {
    const std::string folder = absl::StrCat("/sys/module/", name);
    paths_.AddDirectory(folder);
    paths_.AddFile(folder + "/initstate", "live\n");
    paths_.AddFile(folder + "/refcnt", "0\n");
  }
  const auto parameter = [this](std::string_view module, std::string_view name,
                                std::string_view value) {
    paths_.AddFile(absl::StrCat("/sys/module/", module, "/parameters/", name),
                   absl::StrCat(value, "\n"));
  };
  parameter("vfio", "enable_unsafe_noiommu_mode", "N");
  parameter("vfio_iommu_type1", "allow_unsafe_interrupts",
            allow_unsafe_interrupts ? "Y" : "N");
  parameter("vfio_iommu_type1", "disable_hugepages", "N");
  parameter("vfio_iommu_type1", "dma_entry_limit", "65535");
  for (const std::string_view name :
       {"nointxmask", "disable_vga", "disable_idle_d3", "enable_sriov",
        "disable_denylist"}) {
    parameter("vfio_pci", name, "N");
  }
  parameter("vfio_pci", "ids", "");
  paths_.AddLink("/sys/module/vfio_pci/drivers/pci:vfio-pci",
                 "../../../bus/pci/drivers/vfio-pci");
}

void PciBusFiles::AddDriver(const std::string& name) {
  if (name.empty() || drivers_.contains(name)) return;
  drivers_[name] = {};
  const std::string folder = absl::StrCat(kDriversPath, name);
  paths_.AddDirectory(folder);
  const auto written = [&](std::string_view file,
                           int (PciBusFiles::*store)(const std::string&,
                                                     std::string_view)) {
    paths_.AddAttribute(
        absl::StrCat(folder, "/", file),
        {.show = nullptr, .store = [this, name, store](std::string_view text) {
           return (this->*store)(name, text);
         }});
  };
  written("bind", &PciBusFiles::Bind);
  written("unbind", &PciBusFiles::Unbind);
  written("new_id", &PciBusFiles::AddId);
  written("remove_id", &PciBusFiles::RemoveId);
  const std::string module = absl::StrReplaceAll(name, {{"-", "_"}});
  paths_.Adopt(absl::StrCat("/sys/module/", module));
  paths_.AddFile(absl::StrCat("/sys/module/", module, "/initstate"), "live\n");
  paths_.AddLink(folder + "/module",
                 absl::StrCat("../../../../module/", module));
}

PciBusFiles::Device* PciBusFiles::Find(std::string_view bdf) {
  const auto found = devices_.find(WithoutNewline(bdf));
  return found == devices_.end() || found->second.removed ? nullptr
                                                          : &found->second;
}

void PciBusFiles::AddDevice(const SysfsPciDevice& device, bool can_reset) {
  const std::string driver = device.driver;
  Device added{.entry = device, .can_reset = can_reset};
  added.native =
      driver.empty() || driver == kVfioPciName ? NativeDriver(device) : driver;
  AddDriver(added.native);
  AddDriver(driver);
  devices_[device.bdf] = std::move(added);
  paths_.AddPciDevice(device);
  AddAttributes(device.bdf);
  SetDriver(device.bdf, driver);
}

void PciBusFiles::AddAttributes(const std::string& bdf) {
  const Device& device = devices_.at(bdf);
  const std::string folder = FakeSysfs::DevicePath(bdf);
  const auto add = [&](std::string_view name, SysfsAttribute attribute) {
    paths_.AddAttribute(absl::StrCat(folder, "/", name), std::move(attribute));
  };
  const auto stored =
      [&](int (PciBusFiles::*store)(const std::string&, std::string_view)) {
        return [this, bdf, store](std::string_view text) {
          return (this->*store)(bdf, text);
        };
      };
  add("driver_override",
      {.show =
           [this, bdf] {
             const std::string& name = devices_.at(bdf).override_driver;
             return name.empty() ? std::string("(null)\n")
                                 : absl::StrCat(name, "\n");
           },
       .store =
           [this, bdf](std::string_view text) {
             // Python writes a zero byte to clear it (driver_set_override()).
             text = text.substr(0, text.find('\0'));
             devices_.at(bdf).override_driver =
                 std::string(text.substr(0, text.find('\n')));
             return 0;
           }});
  add("enable", {.show =
                     [this, bdf] {
                       return devices_.at(bdf).enabled || machine_.is_open(bdf)
                                  ? std::string("1\n")
                                  : std::string("0\n");
                     },
                 .store = stored(&PciBusFiles::Enable)});
  add("power_state",
      {.show = [this, bdf] { return PowerState(bdf); }, .store = nullptr});
  add("remove", {.show = nullptr, .store = stored(&PciBusFiles::Remove)});
  add("rescan", {.show = nullptr, .store = [this](std::string_view text) {
                   return Rescan(text);
                 }});
  if (device.can_reset) {
    add("reset", {.show = nullptr, .store = stored(&PciBusFiles::Reset)});
  }
  if (device.entry.sriov.has_value()) {
    add("sriov_numvfs", {.show = [] { return std::string("0\n"); },
                         .store = stored(&PciBusFiles::SetNumberOfVfs)});
  }
}

// A device of vfio-pci is one of the class vfio-dev, too, whose number is the
// first that is free (vfio_init_device()).
void PciBusFiles::SetDriver(const std::string& bdf, const std::string& driver) {
  AddDriver(driver);
  paths_.SetDriver(bdf, driver);
  const auto found = devices_.find(bdf);
  if (found == devices_.end()) return;
  Device& device = found->second;
  const std::string folder = FakeSysfs::DevicePath(bdf) + "/vfio-dev";
  paths_.Remove(folder);
  if (device.vfio_index.has_value()) {
    paths_.Remove(absl::StrCat(kClassPath, *device.vfio_index));
  }
  device.vfio_index.reset();
  if (driver != kVfioPciName) return;
  for (unsigned index = 0; !device.vfio_index.has_value(); ++index) {
    const bool taken = std::any_of(devices_.begin(), devices_.end(),
                                   [index](const auto& other) {
                                     return other.second.vfio_index == index;
                                   });
    if (!taken) device.vfio_index = index;
  }
  const std::string vfio = absl::StrCat(folder, "/vfio", *device.vfio_index);
  paths_.AddLink(vfio + "/device", absl::StrCat("../../../", bdf));
  paths_.AddLink(vfio + "/subsystem", "../../../../../class/vfio-dev");
  paths_.AddAttribute(vfio + "/uevent",
                      {.show = [] { return std::string(); },
                       .store = [](std::string_view) { return 0; }});
  paths_.AddLink(absl::StrCat(kClassPath, *device.vfio_index),
                 absl::StrCat("../..", vfio.substr(std::strlen("/sys"))));
}

bool PciBusFiles::Matches(const Device& device,
                          const std::string& driver) const {
  if (!device.override_driver.empty()) {
    return device.override_driver == driver;
  }
  const auto found = drivers_.find(driver);
  return device.native == driver ||
         (found != drivers_.end() &&
          found->second.contains({device.entry.vendor, device.entry.device}));
}

// Answers like bind_store() and device_driver_attach().
int PciBusFiles::Bind(const std::string& driver, std::string_view text) {
  Device* const device = Find(text);
  if (device == nullptr || !Matches(*device, driver)) return ENODEV;
  if (!paths_.DriverOf(device->entry.bdf).empty()) return EBUSY;
  return machine_.bind(device->entry.bdf, driver);
}

// Answers like unbind_store().
int PciBusFiles::Unbind(const std::string& driver, std::string_view text) {
  const Device* const device = Find(text);
  if (device == nullptr || paths_.DriverOf(device->entry.bdf) != driver) {
    return ENODEV;
  }
  return machine_.bind(device->entry.bdf, "");
}

// Answers like new_id_store(), which then offers the driver what has none.
int PciBusFiles::AddId(const std::string& driver, std::string_view text) {
  Id id;
  if (!ParseId(text, &id)) return EINVAL;
  if (!drivers_.at(driver).insert(id).second) return EEXIST;
  for (auto& [bdf, device] : devices_) {
    if (!device.removed && paths_.DriverOf(bdf).empty() &&
        Matches(device, driver)) {
      machine_.bind(bdf, driver);
    }
  }
  return 0;
}

int PciBusFiles::RemoveId(const std::string& driver, std::string_view text) {
  Id id;
  if (!ParseId(text, &id)) return EINVAL;
  return drivers_.at(driver).erase(id) == 0 ? ENODEV : 0;
}

void PciBusFiles::Probe(Device& device) {
  const std::string bdf = device.entry.bdf;
  if (!paths_.DriverOf(bdf).empty()) return;
  for (const auto& [driver, ids] : drivers_) {
    if (Matches(device, driver) && machine_.bind(bdf, driver) == 0) return;
  }
}

// Answers like drivers_probe_store(), which succeeds whether or not a driver
// takes the function.
int PciBusFiles::ProbeNamed(std::string_view text) {
  Device* const device = Find(text);
  if (device == nullptr) return ENODEV;
  Probe(*device);
  return 0;
}

int PciBusFiles::Rescan(std::string_view text) {
  uint64_t value = 0;
  if (!ParseNumber(text, &value)) return EINVAL;
  if (value == 0) return 0;
  std::vector<std::string> found;
  for (const auto& [bdf, device] : devices_) {
    if (device.removed) found.push_back(bdf);
  }
  for (const std::string& bdf : found) {
    SysfsPciDevice entry = devices_.at(bdf).entry;
    entry.driver.clear();
    AddDevice(entry, devices_.at(bdf).can_reset);
    machine_.restore(bdf);
    Probe(devices_.at(bdf));
  }
  return 0;
}

int PciBusFiles::Remove(const std::string& bdf, std::string_view text) {
  uint64_t value = 0;
  if (!ParseNumber(text, &value)) return EINVAL;
  if (value == 0) return 0;
  if (!paths_.DriverOf(bdf).empty()) {
    if (const int error = machine_.bind(bdf, ""); error != 0) return error;
  }
  machine_.remove(bdf);
  paths_.RemovePciDevice(bdf);
  devices_.at(bdf).removed = true;
  return 0;
}

// Answers like power_state_show(). A device of vfio-pci that nobody has open is
// suspended (vfio_pci_core_register_device()).
std::string PciBusFiles::PowerState(const std::string& bdf) const {
  const Device& device = devices_.at(bdf);
  if (!machine_.is_open(bdf) && device.entry.has_power_management &&
      paths_.DriverOf(bdf) == kVfioPciName) {
    return "D3hot\n";
  }
  constexpr const char* kNames[] = {"D0\n", "D1\n", "D2\n", "D3hot\n"};
  return kNames[machine_.power_state(bdf) & 3];
}

// Answers like reset_store().
int PciBusFiles::Reset(const std::string& bdf, std::string_view text) {
  uint64_t value = 0;
  if (!ParseNumber(text, &value) || value != 1) return EINVAL;
  return machine_.reset(bdf);
}

// Answers like enable_store().
int PciBusFiles::Enable(const std::string& bdf, std::string_view text) {
  uint64_t value = 0;
  if (!ParseNumber(text, &value)) return EINVAL;
  if (!paths_.DriverOf(bdf).empty()) return EBUSY;
  Device& device = devices_.at(bdf);
  if (value == 0 && !device.enabled) return EIO;
  device.enabled = value != 0;
  return 0;
}

// Answers like sriov_numvfs_store(). The simulation has no driver that makes
// virtual functions, and vfio-pci only does with its parameter enable_sriov.
int PciBusFiles::SetNumberOfVfs(const std::string& bdf, std::string_view text) {
  uint64_t value = 0;
  if (!ParseNumber(text, &value) || value > 0xffff) return EINVAL;
  if (value > devices_.at(bdf).entry.sriov->total_vfs) return ERANGE;
  return value == 0 ? 0 : ENOENT;
}

}  // namespace passthru::fake
