// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_PCI_BAR_H_
#define PASSTHRU_PCI_BAR_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "passthru/pci/bar_index.h"
#include "passthru/pci/config_reg.h"

// Base address registers (PCI 3.0 6.2.5, PCIe 6.0 7.5.1.2.1).

namespace passthru::pci {

enum class BarType { kIo, kMemory32, kMemory64 };

// Returns "I/O", "32-bit memory" or "64-bit memory".
absl::string_view Name(BarType type);

// The register of a BAR, or the two adjacent registers of a 64-bit BAR. The
// type also holds masks of their bits.
struct BarRegister {
  uint32_t low = 0;
  uint32_t high = 0;  // Zero and unused unless the BAR is 64 bits wide.
  friend constexpr bool operator==(BarRegister, BarRegister) = default;
};

// One implemented BAR, or the expansion ROM (32-bit memory). A plain value.
struct Bar {
  BarIndex index;
  BarType type = BarType::kMemory32;
  uint64_t size = 0;  // In bytes. A power of two, never 0.
  bool prefetchable = false;
  uint64_t address = 0;      // The register without its flags.
  bool rom_enabled = false;  // Bit 0 of a ROM's register.

  bool is_io() const { return type == BarType::kIo; }
  bool is_64bit() const { return type == BarType::kMemory64; }
  friend constexpr bool operator==(const Bar&, const Bar&) = default;
};

// Returns for example "BAR0: 64-bit memory, prefetchable, 16 KiB at
// 0xfebf0000".
std::string ToString(const Bar& bar);

// Returns the BAR's register in a type 0 header. The high half of a 64-bit BAR
// follows it.
ConfigReg<uint32_t> RegisterOf(BarIndex index);

// Returns the type that the low bits of BAR 0 to 5 declare. As in Linux, the
// obsolete "below 1 MiB" encoding and the reserved one count as 32-bit memory.
BarType DecodeBarType(uint32_t low);

// Returns the bits of the register that do not belong to the address. All of
// them are read-only, except the ROM's enable bit.
uint32_t BarFlagsMask(BarIndex index, BarType type);

// Returns the size of a BAR, given what its register read back after software
// wrote all ones to it (PCI 3.0 6.2.5.1), or 0 if the BAR is not implemented.
// Fails if the writable bits are not one run up to the top bit, because they
// then tell no size. An I/O BAR may hardwire its upper 16 bits to zero.
absl::StatusOr<uint64_t> BarSizeFromMask(BarIndex index, BarType type,
                                         BarRegister read_back);

// Returns the BAR whose register holds `value` and whose size the caller knows
// from elsewhere, such as VFIO. Fails if the size is not a power of two or is
// too small or too large for the type, or if BAR 5 claims to be 64 bits wide.
absl::StatusOr<Bar> MakeBar(BarIndex index, BarRegister value, uint64_t size);

// Returns all implemented BARs and the ROM of a function with a type 0 header.
// `config` must hold at least the first 64 bytes of its configuration space.
// `sizes` must hold seven sizes in order of index, with 0 for a BAR that is not
// implemented and for the upper half of a 64-bit BAR.
absl::StatusOr<std::vector<Bar>> DecodeBars(absl::Span<const uint8_t> config,
                                            absl::Span<const uint64_t> sizes);

// Like DecodeBars(), but takes the sizes from what the seven registers read
// back after software wrote all ones to them. `read_back` is in order of index.
absl::StatusOr<std::vector<Bar>> DecodeBarsFromMasks(
    absl::Span<const uint8_t> config, absl::Span<const uint32_t> read_back);

// Returns the value of the register, which is the address and the flags.
BarRegister EncodeBar(const Bar& bar);

// Returns the bits that software can write. These are neither the flags nor the
// address bits below the size, so after a write of all ones the register reads
// (mask | flags). Sizing therefore needs no special case.
BarRegister BarWriteMask(const Bar& bar);

// Returns `bar` with the address and the ROM enable bit that `value` holds.
Bar WithRegister(Bar bar, BarRegister value);

// Returns OK if `bar` can decode at `address`, and kInvalidArgument otherwise.
// It cannot decode at an address that is misaligned, or that lies beyond what
// its register or, for I/O, the x86 port space can express. Two more addresses
// are refused because software only passes through them: 0, which stands for
// "not assigned", and for memory the highest address, which the register holds
// while software sizes the BAR.
absl::Status ValidateBarAddress(const Bar& bar, uint64_t address);

}  // namespace passthru::pci

#endif  // PASSTHRU_PCI_BAR_H_
