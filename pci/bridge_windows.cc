// SPDX-License-Identifier: Apache-2.0
#include "passthru/pci/bridge_windows.h"

#include <cstdint>
#include <string_view>

#include "absl/strings/str_format.h"
#include "passthru/pci/config_reg.h"
#include "passthru/pci/registers.h"

namespace passthru::pci {
namespace {

// The low four bits of a base or limit register tell how wide the addresses
// are. 1 means that there are the upper registers too.
constexpr unsigned kWidthBits = 0xf;
constexpr unsigned kWideAddresses = 1;

// Returns the window from the first byte of `base` to the last byte of the
// granule at `limit`.
BridgeWindow Between(uint64_t base, uint64_t limit, uint64_t granule) {
  if (limit < base) return {};
  return {.base = base, .size = limit - base + granule};
}

// Returns the registers of a closed window as in QEMU and Linux, which are a
// base above the limit.
struct Ends {
  uint64_t base;
  uint64_t limit;
};
Ends EndsOf(const BridgeWindow& window, uint64_t granule) {
  if (window.size == 0) return {.base = granule * 0xf, .limit = 0};
  return {.base = window.base, .limit = window.base + window.size - granule};
}

absl::Status CheckWindow(std::string_view name, const BridgeWindow& window,
                         uint64_t granule, unsigned address_bits) {
  if (window.size == 0) return absl::OkStatus();
  const uint64_t last = window.base + (window.size - 1);
  if (window.base % granule == 0 && window.size % granule == 0 &&
      last >= window.base &&
      (address_bits == 64 || last >> address_bits == 0)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrFormat(
      "a bridge has no %s window of %#x bytes at %#x: it has multiples of %#x "
      "in %u address bits",
      name, window.size, window.base, granule, address_bits));
}

template <typename T>
T WithWidthBits(const ConfigSpace& config, ConfigReg<T> reg, uint64_t bits) {
  return static_cast<T>(bits | (config.Get(reg) & kWidthBits));
}

bool IsWide(unsigned base) { return (base & kWidthBits) == kWideAddresses; }

}  // namespace

BridgeWindows BridgeWindows::Read(absl::Span<const uint8_t> config) {
  const auto get = [config](auto reg) -> uint64_t {
    return ReadRegister(config, reg);
  };
  const auto aligned = [&get](auto reg) { return get(reg) & ~uint64_t{0xf}; };
  uint64_t io_base = aligned(kIoBase) << 8;
  uint64_t io_limit = aligned(kIoLimit) << 8;
  if (IsWide(ReadRegister(config, kIoBase))) {
    io_base |= get(kIoBaseUpper) << 16;
    io_limit |= get(kIoLimitUpper) << 16;
  }
  uint64_t prefetchable_base = aligned(kPrefetchableMemoryBase) << 16;
  uint64_t prefetchable_limit = aligned(kPrefetchableMemoryLimit) << 16;
  if (IsWide(ReadRegister(config, kPrefetchableMemoryBase))) {
    prefetchable_base |= get(kPrefetchableBaseUpper) << 32;
    prefetchable_limit |= get(kPrefetchableLimitUpper) << 32;
  }
  return {.io = Between(io_base, io_limit, kIoGranule),
          .memory = Between(aligned(kMemoryBase) << 16,
                            aligned(kMemoryLimit) << 16, kMemoryGranule),
          .prefetchable =
              Between(prefetchable_base, prefetchable_limit, kMemoryGranule)};
}

absl::Status BridgeWindows::Write(ConfigSpace& config) const {
  const bool wide_io = IsWide(config.Get(kIoBase));
  const bool wide_memory = IsWide(config.Get(kPrefetchableMemoryBase));
  absl::Status status = CheckWindow("I/O", io, kIoGranule, wide_io ? 32 : 16);
  status.Update(CheckWindow("memory", memory, kMemoryGranule, 32));
  status.Update(CheckWindow("prefetchable", prefetchable, kMemoryGranule,
                            wide_memory ? 64 : 32));
  if (!status.ok()) return status;

  const Ends io_ends = EndsOf(io, kIoGranule);
  config.Set(kIoBase, WithWidthBits(config, kIoBase, io_ends.base >> 8 & 0xf0));
  config.Set(kIoLimit,
             WithWidthBits(config, kIoLimit, io_ends.limit >> 8 & 0xf0));
  config.Set(kIoBaseUpper, static_cast<uint16_t>(io_ends.base >> 16));
  config.Set(kIoLimitUpper, static_cast<uint16_t>(io_ends.limit >> 16));

  const Ends memory_ends = EndsOf(memory, kMemoryGranule);
  config.Set(kMemoryBase, static_cast<uint16_t>(memory_ends.base >> 16));
  config.Set(kMemoryLimit, static_cast<uint16_t>(memory_ends.limit >> 16));

  const Ends ends = EndsOf(prefetchable, kMemoryGranule);
  config.Set(
      kPrefetchableMemoryBase,
      WithWidthBits(config, kPrefetchableMemoryBase, ends.base >> 16 & 0xfff0));
  config.Set(kPrefetchableMemoryLimit,
             WithWidthBits(config, kPrefetchableMemoryLimit,
                           ends.limit >> 16 & 0xfff0));
  config.Set(kPrefetchableBaseUpper, static_cast<uint32_t>(ends.base >> 32));
  config.Set(kPrefetchableLimitUpper, static_cast<uint32_t>(ends.limit >> 32));
  return absl::OkStatus();
}

}  // namespace passthru::pci
