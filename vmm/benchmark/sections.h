// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_BENCHMARK_SECTIONS_H_
#define PASSTHRU_VMM_BENCHMARK_SECTIONS_H_

#include "absl/status/status.h"
#include "passthru/vmm/benchmark/device_register.h"

namespace passthru::benchmark {

// The sections of the benchmark. Each measures and prints its table on standard
// output.

// Times guest accesses that the library answers, and the layers of one, and
// counts allocations. It is the first part of PrintAccesses().
void PrintGuestAccesses();
// Times also the search of a bus and of the address allocator, and writes to an
// MSI-X entry.
void PrintAccesses();
// Counts the kernel calls of attach and detach by kind, for 1 to 31 devices.
void PrintDeviceCosts();
// Times a call into the simulated kernel, and counts its allocations.
void PrintSimulatedCalls();
// Times an interrupt's way to a guest, and masking, on this machine's own KVM.
// Says so if there is none.
void PrintRealKvm();
// Times accesses to a register of a device of this machine, beside the bare
// pread and pwrite. The register is read, and written with what it held, often.
absl::Status PrintDeviceAccesses(const DeviceRegister& where);

}  // namespace passthru::benchmark

#endif  // PASSTHRU_VMM_BENCHMARK_SECTIONS_H_
