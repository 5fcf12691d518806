// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_CAPTURE_SYSFS_DEVICE_H_
#define PASSTHRU_TESTING_CAPTURE_SYSFS_DEVICE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "passthru/devices/kernel/file_descriptor.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/vfio/vfio_paths.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/fixture/device.pb.h"

namespace passthru::capture {

// A PCI function as sysfs shows it (Documentation/ABI/testing/sysfs-bus-pci).
struct SysfsDevice {
  // The hardware's configuration space. A user who is not root sees only its
  // first 64 bytes (CAP_SYS_ADMIN in pci_read_config()).
  std::vector<uint8_t> config;
  uint16_t vendor_id = 0;  // Not in `config` for a virtual function.
  uint16_t device_id = 0;
  bool is_virtual_function = false;
  std::vector<fixture::HostResource>
      resources;  // Without zero entries at the end.
  std::vector<fixture::Reset::Method> reset_methods;
  // Methods for which fixtures have no name ("cxl_bus").
  std::vector<std::string> other_reset_methods;
  // Whether this kernel has `reset_method` (since 5.15).
  bool has_reset_methods = false;
  std::vector<fixture::Sibling> siblings;
};

absl::StatusOr<SysfsDevice> ReadSysfsDevice(kernel::Syscalls* syscalls,
                                            const pci::Bdf& bdf,
                                            const vfio::VfioPaths& paths);

// The hardware's configuration registers, without VFIO in between. Uses sysfs'
// `config`, opened for writing. Thread-compatible.
class PhysicalConfig {
 public:
  static absl::StatusOr<PhysicalConfig> Open(kernel::Syscalls* syscalls,
                                             const pci::Bdf& bdf,
                                             const vfio::VfioPaths& paths);

  absl::StatusOr<uint8_t> Read(uint16_t offset) const;
  // Reads the first `size` bytes.
  absl::StatusOr<std::vector<uint8_t>> ReadAll(size_t size) const;
  absl::Status Write(uint16_t offset, uint8_t value) const;

 private:
  PhysicalConfig(kernel::Syscalls* syscalls, std::string path, int fd);

  absl::Status ReadAt(uint16_t offset, absl::Span<uint8_t> data) const;

  kernel::Syscalls* syscalls_;
  std::string path_;
  kernel::FileDescriptor file_;
};

}  // namespace passthru::capture

#endif  // PASSTHRU_TESTING_CAPTURE_SYSFS_DEVICE_H_
