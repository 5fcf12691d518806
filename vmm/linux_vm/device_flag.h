// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_LINUX_VM_DEVICE_FLAG_H_
#define PASSTHRU_VMM_LINUX_VM_DEVICE_FLAG_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "passthru/vmm/device_manager.h"
#include "passthru/vmm/root_ports.h"

namespace passthru::vmm {

// The value of a flag that names a device and says how the guest gets it, such
// as "0000:01:00.0,slot=4,rom=off,max_vectors=8".
struct DeviceFlag {
  std::string name;                      // what comes before the first comma
  std::string rom;                       // a file with a ROM, or empty
  DeviceManager::AttachOptions options;  // without `host` and the ROM's bytes
};

// Parses such a value. Returns InvalidArgument, with a sentence for the user,
// if it is malformed.
absl::StatusOr<DeviceFlag> ParseDeviceFlag(std::string_view text);

// The options that ParseDeviceFlag() knows, one a line, for --help.
std::string_view DeviceOptionsHelp();

// Parses the value of a flag that says how large the windows of a root port
// are, such as "memory=64M,prefetchable=8G,io=0". What it does not name stays
// at its default. Returns InvalidArgument, with a sentence for the user, if it
// is malformed.
absl::StatusOr<RootPortOptions> ParsePortWindows(std::string_view text);

// Parses a size such as 512M or 2G, or a number of bytes.
absl::StatusOr<uint64_t> ParseSize(std::string_view text);

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_LINUX_VM_DEVICE_FLAG_H_
