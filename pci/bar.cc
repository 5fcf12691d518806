// SPDX-License-Identifier: Apache-2.0
#include "passthru/pci/bar.h"

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "passthru/pci/bar_index.h"
#include "passthru/pci/config_reg.h"
#include "passthru/pci/field.h"
#include "passthru/pci/registers.h"

namespace passthru::pci {
namespace {

// The low bits of a BAR, PCI 3.0 figures 6-5 and 6-6.
struct BarFlags {
  using Raw = uint32_t;
  Raw raw = 0;
  static constexpr Field<BarFlags, 3> kPrefetchable{};
  static constexpr Field<BarFlags, 2, 1> kMemoryType{};
  static constexpr Field<BarFlags, 0> kIoSpace{};
  static constexpr uint32_t kMemoryType64 = 2;
};

constexpr uint32_t kIoFlagsMask = 0x3;
constexpr uint32_t kMemoryFlagsMask = 0xf;
// Bits 10:1 are reserved and bit 0 enables decoding (PCI 3.0 6.2.5.2).
constexpr uint32_t kRomFlagsMask = 0x7ff;
constexpr uint32_t kRomEnable = 1;

// x86 decodes 16 bits of an I/O address.
constexpr uint64_t kIoSpaceSize = uint64_t{1} << 16;
constexpr uint64_t kFourGiB = uint64_t{1} << 32;

constexpr uint8_t kLastPairIndex = 4;  // No register follows BAR 5.

uint64_t Joined(BarRegister value) {
  return uint64_t{value.high} << 32 | value.low;
}

BarRegister Split(uint64_t value) {
  return {.low = static_cast<uint32_t>(value),
          .high = static_cast<uint32_t>(value >> 32)};
}

BarType TypeOf(BarIndex index, uint32_t low) {
  return index.is_rom() ? BarType::kMemory32 : DecodeBarType(low);
}

// Returns for example "16 KiB".
std::string SizeToString(uint64_t size) {
  static constexpr std::array<absl::string_view, 7> kUnits = {
      "bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  size_t unit = 0;
  while (size >= 1024 && size % 1024 == 0) {
    size /= 1024;
    ++unit;
  }
  return absl::StrCat(size, " ", kUnits[unit]);
}

absl::Status CheckSize(BarIndex index, BarType type, uint64_t size) {
  const uint64_t smallest = uint64_t{BarFlagsMask(index, type)} + 1;
  // At least the top address bit must be writable.
  const uint64_t largest =
      type == BarType::kMemory64 ? uint64_t{1} << 63 : uint64_t{1} << 31;
  if (!std::has_single_bit(size)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%v: size 0x%x is not a power of two", index, size));
  }
  if (size < smallest || size > largest) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%v: size 0x%x is not 0x%x to 0x%x as %s allows", index, size, smallest,
        largest, index.is_rom() ? "a ROM" : Name(type)));
  }
  return absl::OkStatus();
}

absl::Status CheckType0(absl::Span<const uint8_t> config) {
  if (config.size() < kStandardHeaderSize) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "the image has %d bytes, less than a configuration header",
        config.size()));
  }
  const uint32_t layout =
      HeaderType::kLayout.Get(ReadRegister(config, kHeaderType));
  if (layout != HeaderType::kLayoutNormal) {
    return absl::InvalidArgumentError(
        absl::StrFormat("header type %d is not 0, that of a device", layout));
  }
  return absl::OkStatus();
}

}  // namespace

absl::string_view Name(BarType type) {
  switch (type) {
    case BarType::kIo:
      return "I/O";
    case BarType::kMemory32:
      return "32-bit memory";
    case BarType::kMemory64:
      return "64-bit memory";
  }
  return "unknown";
}

std::string ToString(const Bar& bar) {
  return absl::StrFormat(
      "%v: %s%s, %s at 0x%08x%s", bar.index, Name(bar.type),
      bar.prefetchable ? ", prefetchable" : "", SizeToString(bar.size),
      bar.address, bar.index.is_rom() && !bar.rom_enabled ? ", disabled" : "");
}

ConfigReg<uint32_t> RegisterOf(BarIndex index) {
  if (index.is_rom()) return {kExpansionRom.offset};
  return {static_cast<uint16_t>(kBar0.offset + 4 * index.value())};
}

BarType DecodeBarType(uint32_t low) {
  const BarFlags flags{.raw = low};
  if (BarFlags::kIoSpace.Get(flags)) return BarType::kIo;
  return BarFlags::kMemoryType.Get(flags) == BarFlags::kMemoryType64
             ? BarType::kMemory64
             : BarType::kMemory32;
}

uint32_t BarFlagsMask(BarIndex index, BarType type) {
  if (index.is_rom()) return kRomFlagsMask;
  return type == BarType::kIo ? kIoFlagsMask : kMemoryFlagsMask;
}

absl::StatusOr<uint64_t> BarSizeFromMask(BarIndex index, BarType type,
                                         BarRegister read_back) {
  BarRegister mask = read_back;
  mask.low &= ~BarFlagsMask(index, type);
  if (type != BarType::kMemory64) {
    if (mask.low == 0) return 0;
    mask.high = ~uint32_t{0};
    // A device may hardwire the upper 16 bits of I/O to zero (PCI 3.0 6.2.5.1).
    if (type == BarType::kIo && mask.low >> 16 == 0) mask.low |= 0xffff0000;
  }
  const uint64_t writable = Joined(mask);
  if (writable == 0) return 0;
  // If the writable bits are one run up to the top bit, their two's complement
  // is the lowest of them.
  const uint64_t size = ~writable + 1;
  if (!std::has_single_bit(size)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%v: the writable bits 0x%x of the %s register are not "
                        "one run up to the top, so they tell no size",
                        index, writable, Name(type)));
  }
  return size;
}

absl::StatusOr<Bar> MakeBar(BarIndex index, BarRegister value, uint64_t size) {
  Bar bar;
  bar.index = index;
  bar.type = TypeOf(index, value.low);
  bar.size = size;
  if (absl::Status status = CheckSize(index, bar.type, size); !status.ok()) {
    return status;
  }
  if (bar.is_64bit() && index.value() > kLastPairIndex) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%v: declared 64 bits wide, but no register is left for its upper half",
        index));
  }
  if (!index.is_rom() && !bar.is_io()) {
    bar.prefetchable = BarFlags::kPrefetchable.Get(BarFlags{.raw = value.low});
  }
  return WithRegister(bar, value);
}

absl::StatusOr<std::vector<Bar>> DecodeBars(absl::Span<const uint8_t> config,
                                            absl::Span<const uint64_t> sizes) {
  if (absl::Status status = CheckType0(config); !status.ok()) return status;
  if (sizes.size() != BarIndex::kCount) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%d BAR sizes given, not %d", sizes.size(), BarIndex::kCount));
  }
  std::vector<Bar> bars;
  for (uint8_t i = 0; i < BarIndex::kCount; ++i) {
    if (sizes[i] == 0) continue;
    const BarIndex index(i);
    BarRegister value{.low = ReadRegister(config, RegisterOf(index))};
    const bool pair = TypeOf(index, value.low) == BarType::kMemory64;
    if (pair && i <= kLastPairIndex) {
      value.high = ReadRegister(config, RegisterOf(BarIndex(i + 1)));
      if (sizes[i + 1] != 0) {
        return absl::InvalidArgumentError(absl::StrFormat(
            "%v: a size of 0x%x is given, but it is the upper half of the "
            "64-bit %v",
            BarIndex(i + 1), sizes[i + 1], index));
      }
    }
    absl::StatusOr<Bar> bar = MakeBar(index, value, sizes[i]);
    if (!bar.ok()) return bar.status();
    bars.push_back(*bar);
  }
  return bars;
}

absl::StatusOr<std::vector<Bar>> DecodeBarsFromMasks(
    absl::Span<const uint8_t> config, absl::Span<const uint32_t> read_back) {
  if (absl::Status status = CheckType0(config); !status.ok()) return status;
  if (read_back.size() != BarIndex::kCount) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%d BAR masks given, not %d", read_back.size(), BarIndex::kCount));
  }
  std::array<uint64_t, BarIndex::kCount> sizes{};
  for (uint8_t i = 0; i < BarIndex::kCount; ++i) {
    const BarIndex index(i);
    const BarType type = TypeOf(index, ReadRegister(config, RegisterOf(index)));
    BarRegister mask{.low = read_back[i]};
    const bool pair = type == BarType::kMemory64 && i <= kLastPairIndex;
    if (pair) mask.high = read_back[i + 1];
    absl::StatusOr<uint64_t> size = BarSizeFromMask(index, type, mask);
    if (!size.ok()) return size.status();
    sizes[i] = *size;
    if (pair) ++i;
  }
  return DecodeBars(config, sizes);
}

BarRegister EncodeBar(const Bar& bar) {
  BarRegister value = Split(bar.address);
  if (bar.index.is_rom()) {
    value.low |= bar.rom_enabled ? kRomEnable : 0;
    return value;
  }
  BarFlags flags;
  BarFlags::kIoSpace.Set(flags, bar.is_io());
  if (bar.is_64bit()) {
    BarFlags::kMemoryType.Set(flags, BarFlags::kMemoryType64);
  }
  BarFlags::kPrefetchable.Set(flags, bar.prefetchable);
  value.low |= flags.raw;
  return value;
}

BarRegister BarWriteMask(const Bar& bar) {
  BarRegister mask = Split(~(bar.size - 1));
  if (!bar.is_64bit()) mask.high = 0;
  mask.low &= ~BarFlagsMask(bar.index, bar.type);
  if (bar.index.is_rom()) mask.low |= kRomEnable;
  return mask;
}

Bar WithRegister(Bar bar, BarRegister value) {
  if (!bar.is_64bit()) value.high = 0;
  bar.address = Joined(value) & ~(bar.size - 1);
  bar.rom_enabled = bar.index.is_rom() && (value.low & kRomEnable) != 0;
  return bar;
}

absl::Status ValidateBarAddress(const Bar& bar, uint64_t address) {
  const auto refused = [&](absl::string_view why) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%v, %s, %s: cannot decode at 0x%x: %s", bar.index,
                        Name(bar.type), SizeToString(bar.size), address, why));
  };
  if (address == 0) return refused("0 stands for not assigned");
  if ((address & (bar.size - 1)) != 0) {
    return refused("not a multiple of its size");
  }
  // The address of the last byte. This cannot overflow, because `address` is a
  // multiple of the size.
  const uint64_t last = address + (bar.size - 1);
  switch (bar.type) {
    case BarType::kIo:
      if (last >= kIoSpaceSize) return refused("beyond the port space");
      break;
    case BarType::kMemory32:
      if (last >= kFourGiB) return refused("beyond 4 GiB");
      if (last == kFourGiB - 1) {
        return refused("the highest place is where sizing puts it");
      }
      break;
    case BarType::kMemory64:
      if (last == ~uint64_t{0}) {
        return refused("the highest place is where sizing puts it");
      }
      break;
  }
  return absl::OkStatus();
}

}  // namespace passthru::pci
