// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_KERNEL_FAKE_SYSFS_H_
#define PASSTHRU_TESTING_KERNEL_FAKE_SYSFS_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/types/span.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/testing/kernel/fake_file.h"

namespace passthru::fake {

// The contents of a binary attribute (struct bin_attribute). Called with the
// fake kernel's mutex held, for bytes within [0, size()).
class BinaryAttribute {
 public:
  virtual ~BinaryAttribute() = default;
  virtual uint64_t size() const = 0;
  virtual void Read(uint64_t offset, absl::Span<uint8_t> data) = 0;
  virtual void Write(uint64_t offset, absl::Span<const uint8_t> data) = 0;
};

// A text attribute that the kernel makes on each read, and that may do
// something when it is written. Called with the fake kernel's mutex held.
struct SysfsAttribute {
  // Returns the text, or null for an attribute that can only be written.
  std::function<std::string()> show;
  // Returns an errno, or 0 on success. Null for a read-only attribute.
  std::function<int(std::string_view)> store;
};

// What an SR-IOV capability says (SR-IOV 1.1, 3.3).
struct SysfsSriov {
  uint16_t total_vfs = 0;
  uint16_t offset = 0;
  uint16_t stride = 0;
  uint16_t vf_device = 0;
};

// A PCI function as sysfs shows it.
struct SysfsPciDevice {
  std::string bdf;  // Such as "0000:01:00.0".
  uint16_t vendor = 0;
  uint16_t device = 0;
  uint16_t subsystem_vendor = 0;
  uint16_t subsystem_device = 0;
  uint32_t class_code = 0;  // 24 bits.
  uint8_t revision = 0;
  uint32_t irq = 0;                     // Of the pin, or 0 if there is none.
  std::optional<SysfsSriov> sriov;      // Of a physical function.
  std::optional<uint32_t> iommu_group;  // Empty if there is no IOMMU.
  std::string driver;                   // Empty if none is bound.
  std::string resource;                 // Contents of the attribute.
  std::string reset_method;             // The same, such as "flr bus\n".
  bool is_virtual_function = false;
  bool has_power_management = false;  // The capability of that name.
  bool has_ari = false;               // Alternative Routing-ID.
  // Of a PCI Express link, or empty: such as "2.5 GT/s PCIe" and "1".
  std::string link_speed;
  std::string link_width;
  std::string max_link_speed;
  std::string max_link_width;
  std::shared_ptr<BinaryAttribute> config;  // Null if there is none.
};

// The part of the file system that belongs to the fake kernel: /dev/vfio,
// /dev/kvm, /dev/iommu (which does not exist) and the PCI and IOMMU parts of
// /sys, with their links, directories and text files. All other paths belong to
// the real kernel (see Owns()).
//
// Guarded by the fake kernel's mutex (Thread-compatible).
class FakeSysfs {
 public:
  // Opens a character device. `flags` are those of open(2).
  using Opener =
      std::function<kernel::SyscallResult<std::shared_ptr<FakeFile>>(int)>;

  FakeSysfs();
  FakeSysfs(const FakeSysfs&) = delete;
  FakeSysfs& operator=(const FakeSysfs&) = delete;
  ~FakeSysfs();

  // Returns whether the path belongs to the fake kernel, even if it does not
  // exist.
  static bool Owns(std::string_view path);
  // Makes the fake kernel the owner of a path and everything below it, too. A
  // test adopts the other parts of a host that it wants to choose, such as
  // "/sys/module" and "/proc/self/limits".
  void Adopt(std::string_view path);
  // Returns whether the path is owned, or at or below an adopted one.
  bool Has(std::string_view path) const;

  // Add nodes and their missing parents, and replace nodes that exist.
  void AddDirectory(std::string_view path);
  void AddFile(std::string_view path, std::string contents);
  void AddBinaryFile(std::string_view path,
                     std::shared_ptr<BinaryAttribute> attribute);
  void AddAttribute(std::string_view path, SysfsAttribute attribute);
  void AddLink(std::string_view path, std::string target);
  void AddCharacterDevice(std::string_view path, Opener opener);
  void Remove(std::string_view path);  // Also removes everything below it.

  // Adds /sys/devices/pci<segment>:<bus>/<bdf> with its attributes, the links
  // /sys/bus/pci/devices/<bdf>, .../iommu_group, .../driver, .../subsystem, and
  // /sys/kernel/iommu_groups/<n>/devices/<bdf>. Does not add /dev/vfio/<n>.
  void AddPciDevice(const SysfsPciDevice& device);
  // Changes the links as unbinding and binding a driver would. An empty
  // `driver` only unbinds. Returns the driver of a function, or an empty
  // string.
  void SetDriver(std::string_view bdf, const std::string& driver);
  std::string DriverOf(std::string_view bdf) const;
  void RemovePciDevice(std::string_view bdf);
  // Returns the folder of a function, /sys/devices/pci.../<bdf>.
  static std::string DevicePath(std::string_view bdf);

  // Makes every later open(2) of the node fail with `error`, such as EACCES for
  // a device node that the user may not open. 0 ends that.
  void SetOpenError(std::string_view path, int error);

  // Carry out the system calls. They follow links on the way. Readlink() does
  // not follow a link at the end of the path, and the others do.
  kernel::SyscallResult<std::shared_ptr<FakeFile>> Open(std::string_view path,
                                                        int flags);
  kernel::SyscallResult<std::string> Readlink(std::string_view path) const;
  kernel::SyscallResult<std::vector<std::string>> ReadDirectory(
      std::string_view path) const;

  // Returns all nodes, each after the directory that holds it.
  enum class Type {
    kDirectory,
    kLink,
    kText,
    kAttribute,
    kBinary,
    kCharacterDevice,
  };
  struct Entry {
    std::string path;
    Type type = Type::kDirectory;
    std::string text;   // The target of a link, or the contents of a text.
    uint64_t size = 0;  // Of a binary file.
    // Of an attribute.
    bool readable = true;
    bool writable = false;
  };
  std::vector<Entry> All() const;
  // Returns a number that differs after every change of the nodes.
  uint64_t changes() const { return changes_; }

 private:
  struct Node;

  kernel::SyscallResult<Node*> Resolve(std::string_view path,
                                       bool follow_last) const;
  Node* MakeNode(std::string_view path);

  std::unique_ptr<Node> root_;
  uint64_t changes_ = 0;
  std::vector<std::string> adopted_;
  std::map<std::string, SysfsPciDevice, std::less<>> pci_devices_;
};

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_KERNEL_FAKE_SYSFS_H_
