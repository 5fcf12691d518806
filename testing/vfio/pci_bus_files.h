// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_VFIO_PCI_BUS_FILES_H_
#define PASSTHRU_TESTING_VFIO_PCI_BUS_FILES_H_

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "passthru/testing/kernel/fake_sysfs.h"
#include "passthru/testing/kernel/kernel_version.h"

namespace passthru::fake {

// The files of sysfs by which programs bind drivers, reset functions, and
// remove and find them, as drivers/base/bus.c, drivers/pci/pci-driver.c and
// drivers/pci/pci-sysfs.c make them:
//
// - /sys/bus/pci/{drivers_probe,rescan} and the like
// - bind, unbind, new_id and remove_id of every driver
// - driver_override, enable, power_state, reset, remove, rescan, sriov_numvfs
//   and vfio-dev of every function
// - /sys/class/vfio-dev
// - /sys/module/vfio*
//
// Guarded by the fake kernel's mutex (Thread-compatible).
class PciBusFiles {
 public:
  // What the files do to the machine. Those that return int return an errno,
  // or 0 on success.
  struct Machine {
    // Binds a driver to a function without one, or unbinds it if empty.
    std::function<int(const std::string& bdf, const std::string& driver)> bind;
    std::function<int(const std::string& bdf)> reset;
    // Takes a function without a driver off the bus, and puts it back.
    std::function<void(const std::string& bdf)> remove;
    std::function<void(const std::string& bdf)> restore;
    std::function<bool(const std::string& bdf)> is_open;
    // 0 to 3 for D0 to D3hot.
    std::function<unsigned(const std::string& bdf)> power_state;
  };

  PciBusFiles(FakeSysfs* paths, KernelVersion version,
              bool allow_unsafe_interrupts, Machine machine);
  PciBusFiles(const PciBusFiles&) = delete;
  PciBusFiles& operator=(const PciBusFiles&) = delete;
  // Removes the files whose readers would refer to this object.
  ~PciBusFiles();

  // Adds a function with its attributes.
  void AddDevice(const SysfsPciDevice& device, bool can_reset);
  // Changes what shows the driver of a function. Called when the machine has
  // changed it.
  void SetDriver(const std::string& bdf, const std::string& driver);

 private:
  using Id = std::pair<uint32_t, uint32_t>;  // Vendor and device.
  struct Device {
    SysfsPciDevice entry;
    bool can_reset = false;
    bool enabled = false;
    std::string override_driver;
    std::string native;  // The driver whose table has the function.
    std::optional<unsigned> vfio_index;
    bool removed = false;
  };

  void AddModules(bool allow_unsafe_interrupts);
  void AddDriver(const std::string& name);
  void AddAttributes(const std::string& bdf);
  Device* Find(std::string_view bdf);

  bool Matches(const Device& device, const std::string& driver) const;
  int Bind(const std::string& driver, std::string_view text);
  int Unbind(const std::string& driver, std::string_view text);
  int AddId(const std::string& driver, std::string_view text);
  int RemoveId(const std::string& driver, std::string_view text);
  // Binds the first driver that takes the function, if it has none.
  void Probe(Device& device);
  int ProbeNamed(std::string_view text);
  int Rescan(std::string_view text);
  int Remove(const std::string& bdf, std::string_view text);
  int Reset(const std::string& bdf, std::string_view text);
  int Enable(const std::string& bdf, std::string_view text);
  std::string PowerState(const std::string& bdf) const;
  int SetNumberOfVfs(const std::string& bdf, std::string_view text);

  FakeSysfs& paths_;
  const KernelVersion version_;
  const Machine machine_;
  std::map<std::string, Device, std::less<>> devices_;
  std::map<std::string, std::set<Id>> drivers_;  // With their dynamic ids.
};

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_VFIO_PCI_BUS_FILES_H_
