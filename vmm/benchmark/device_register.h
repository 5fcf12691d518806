// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_BENCHMARK_DEVICE_REGISTER_H_
#define PASSTHRU_VMM_BENCHMARK_DEVICE_REGISTER_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/vfio/vfio_device.h"

namespace passthru::benchmark {

// A register of 4 bytes of a host's device, as a user names it.
struct DeviceRegister {
  static constexpr uint64_t kWidth = 4;

  std::string device;   // "0000:01:00.0"
  uint64_t bar = 0;     // The index of the BAR.
  uint64_t offset = 0;  // In the BAR, in bytes.
};

// Opens the device of `where` and lets it decode memory. Returns an error of
// one sentence unless the register is in a BAR of memory.
absl::StatusOr<std::unique_ptr<vfio::VfioDevice>> OpenDevice(
    kernel::Syscalls* syscalls, const DeviceRegister& where);

}  // namespace passthru::benchmark

#endif  // PASSTHRU_VMM_BENCHMARK_DEVICE_REGISTER_H_
