// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_LINUX_BOOT_H_
#define PASSTHRU_VMM_LINUX_BOOT_H_

#include <linux/kvm.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace passthru::vmm {

// A range of the guest's memory map (e820).
struct E820Range {
  enum class Type : uint32_t { kRam = 1, kReserved = 2 };
  uint64_t first = 0;
  uint64_t size = 0;
  Type type = Type::kRam;
};

// What the guest boots.
struct LinuxBoot {
  absl::Span<const uint8_t> kernel;  // a bzImage
  absl::Span<const uint8_t> initrd;  // may be empty
  std::string command_line;
  std::vector<E820Range> memory_map;  // at most 128
  uint64_t acpi_rsdp = 0;             // the guest address, or 0 for none
};

// Where the guest starts.
struct LinuxEntry {
  uint64_t kernel = 0;  // of its 64-bit entry point
  uint64_t boot_params = 0;
  uint64_t page_tables = 0;
  uint64_t gdt = 0;
};

// Writes kernel, initrd, command line, boot_params, page tables that map the
// lower 4 GiB one to one, and a GDT into the guest's RAM, as the 64-bit boot
// protocol wants it (Documentation/arch/x86/boot.rst). `ram` is the guest's RAM
// from address 0 on. Everything is below 640 KiB or from the address on that
// the kernel prefers, so the caller may use what is between 640 KiB and 1 MiB.
//
// Returns InvalidArgument, with a sentence for the user, if something is
// malformed or does not fit. RAM then has undefined contents.
absl::StatusOr<LinuxEntry> LoadLinux(absl::Span<uint8_t> ram,
                                     const LinuxBoot& boot);

// Sets the registers of the first vCPU for `entry`. `sregs` must be those after
// power-on.
void SetEntryRegisters(const LinuxEntry& entry, kvm_regs& regs,
                       kvm_sregs& sregs);

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_LINUX_BOOT_H_
