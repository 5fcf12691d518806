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

// Base address registers: PCI 3.0 6.2.5, PCIe 6.0 7.5.1.2.1.

namespace passthru::pci {

enum class BarType { kIo, kMemory32, kMemory64 };

// "I/O", "32-bit memory", "64-bit memory".
absl::string_view Name(BarType type);

// A BAR's register, or, for a 64-bit one, its two adjacent registers. Also used
// for a mask of their bits.
struct BarRegister {
  uint32_t low = 0;
  uint32_t high = 0;  // Zero and unused unless the BAR is 64 bits wide.
  friend constexpr bool operator==(BarRegister, BarRegister) = default;
};

// One implemented BAR, or the expansion ROM (32-bit memory). A plain value.
struct Bar {
  BarIndex index;
  BarType type = BarType::kMemory32;
  uint64_t size = 0;  // In bytes: a power of two, never 0.
  bool prefetchable = false;
  uint64_t address = 0;      // What the register holds, flags removed.
  bool rom_enabled = false;  // The ROM's own decode enable, bit 0.

  bool is_io() const { return type == BarType::kIo; }
  bool is_64bit() const { return type == BarType::kMemory64; }
  friend constexpr bool operator==(const Bar&, const Bar&) = default;
};

// "BAR0: 64-bit memory, prefetchable, 16 KiB at 0xfebf0000".
std::string ToString(const Bar& bar);

// Where the register is in a type 0 header; the high half of a 64-bit BAR
// follows it.
ConfigReg<uint32_t> RegisterOf(BarIndex index);

// The type that the low bits of a BAR 0 to 5 declare. As Linux does, the
// obsolete "below 1 MiB" and the reserved encoding count as 32-bit.
BarType DecodeBarType(uint32_t low);

// The bits of the register that are not address: read-only, except for the
// ROM's enable bit.
uint32_t BarFlagsMask(BarIndex index, BarType type);

// The size of the BAR of that index and type, from what its register read back
// after all ones were written to it (PCI 3.0 6.2.5.1). 0: not implemented.
// Fails when the writable bits are not one run up to the top, from which no
// size can be told. An I/O BAR may hardwire its upper 16 bits to zero.
absl::StatusOr<uint64_t> BarSizeFromMask(BarIndex index, BarType type,
                                         BarRegister read_back);

// The BAR whose register holds `value` and whose size is known otherwise (VFIO
// tells it). Fails when the size is no power of two, too small or too large for
// the type, or when BAR 5 claims to be 64 bits wide.
absl::StatusOr<Bar> MakeBar(BarIndex index, BarRegister value, uint64_t size);

// All implemented BARs and the ROM of a function with a type 0 header.
// `config` is at least its first 64 bytes; `sizes` are seven, in order of
// index, 0 where not implemented. The second half of a 64-bit BAR must be 0.
absl::StatusOr<std::vector<Bar>> DecodeBars(absl::Span<const uint8_t> config,
                                            absl::Span<const uint64_t> sizes);

// The same from registers as they read back after all ones (`read_back`: seven,
// in order of index).
absl::StatusOr<std::vector<Bar>> DecodeBarsFromMasks(
    absl::Span<const uint8_t> config, absl::Span<const uint32_t> read_back);

// What the register reads: the address and the flags.
BarRegister EncodeBar(const Bar& bar);

// The bits that software can write. Flags and the address bits below the size
// are not among them, so all ones written read back as
// (mask | flags): that is sizing, and it needs no special case.
BarRegister BarWriteMask(const Bar& bar);

// `bar` after its register came to hold `value` (address, ROM enable).
Bar WithRegister(Bar bar, BarRegister value);

// Can `bar` decode at `address`? Not where it is misaligned or beyond what its
// register or, for I/O, the x86 port space can express. Nor at two places that
// software passes through without meaning them: 0, which stands for "not
// assigned", and for memory the highest place, which is what a register holds
// while all ones are written to find its size.
absl::Status ValidateBarAddress(const Bar& bar, uint64_t address);

}  // namespace passthru::pci

#endif  // PASSTHRU_PCI_BAR_H_
