// SPDX-License-Identifier: Apache-2.0
#include "passthru/pci/capabilities.h"

#include <algorithm>
#include <bitset>
#include <cstddef>
#include <cstdint>

#include "absl/strings/str_format.h"
#include "absl/types/span.h"
#include "passthru/pci/capability_id.h"
#include "passthru/pci/config_reg.h"
#include "passthru/pci/little_endian.h"
#include "passthru/pci/registers.h"

namespace passthru::pci {
namespace {

// Next capability pointers are multiples of four. Software masks their low two
// bits, which are reserved (PCI 3.0 6.7, PCIe 6.0 7.6.3).
constexpr unsigned kAlignment = 4;
constexpr uint8_t kPointerMask = 0xfc;
constexpr unsigned kCapabilityHeaderSize = 2;
constexpr unsigned kExtendedCapabilityHeaderSize = 4;

// The value that reads from an absent or unresponsive function return.
constexpr uint8_t kNobodyAnswers = 0xff;
constexpr uint32_t kNobodyAnswersExtended = 0xffffffff;

uint8_t FirstCapability(absl::Span<const uint8_t> config) {
  const HeaderType type = ReadRegister(config, kHeaderType);
  const bool cardbus =
      HeaderType::kLayout.Get(type) == HeaderType::kLayoutCardbus;
  return ReadRegister(config, cardbus ? kCardbusCapabilitiesPointer
                                      : kCapabilitiesPointer) &
         kPointerMask;
}

}  // namespace

CapabilityList WalkCapabilities(absl::Span<const uint8_t> config) {
  CapabilityList list;
  config = config.first(std::min<size_t>(config.size(), kConfigSpaceSize));
  if (config.size() < kStandardHeaderSize) {
    list.malformed = absl::StrFormat(
        "the image has %d bytes, less than a configuration header",
        config.size());
    return list;
  }
  if (!Status::kCapabilitiesList.Get(ReadRegister(config, kStatus))) {
    return list;
  }
  std::bitset<kConfigSpaceSize / kAlignment> visited;
  unsigned from = 0;
  for (uint8_t offset = FirstCapability(config); offset != 0;) {
    // Messages also name the location of the pointer, because that is the place
    // to look at.
    if (offset < kStandardHeaderSize) {
      list.malformed = absl::StrFormat(
          "the pointer at 0x%02x leads to 0x%02x, into the header", from,
          offset);
      return list;
    }
    if (offset + kCapabilityHeaderSize > config.size()) {
      list.malformed = absl::StrFormat(
          "the pointer at 0x%02x leads to 0x%02x, beyond the image's %d bytes",
          from, offset, config.size());
      return list;
    }
    if (visited.test(offset / kAlignment)) {
      list.malformed = absl::StrFormat(
          "the pointer at 0x%02x leads back to 0x%02x: a cycle", from, offset);
      return list;
    }
    visited.set(offset / kAlignment);
    const uint8_t id = config[offset];
    if (id == kNobodyAnswers) {
      list.malformed = absl::StrFormat(
          "the capability ID at 0x%02x reads as all ones", offset);
      return list;
    }
    const uint8_t next = config[offset + 1] & kPointerMask;
    list.entries.push_back(Capability{
        .id = static_cast<CapabilityId>(id), .offset = offset, .next = next});
    from = offset + 1u;
    offset = next;
  }
  return list;
}

ExtendedCapabilityList WalkExtendedCapabilities(
    absl::Span<const uint8_t> config) {
  ExtendedCapabilityList list;
  config =
      config.first(std::min<size_t>(config.size(), kExtendedConfigSpaceSize));
  if (config.size() < kConfigSpaceSize + kExtendedCapabilityHeaderSize) {
    return list;
  }
  // A function without extended capabilities has an all-zero header at 0x100
  // (PCIe 6.0 7.6.2). The header reads as all ones if no device answers, for
  // example behind a bridge that does not forward extended accesses.
  const uint32_t first = LoadLittleEndian<uint32_t>(config, kConfigSpaceSize);
  if (first == 0 || first == kNobodyAnswersExtended) return list;

  std::bitset<kExtendedConfigSpaceSize / kAlignment> visited;
  uint16_t from = 0;
  for (uint16_t offset = kConfigSpaceSize; offset != 0;) {
    if (offset < kConfigSpaceSize) {
      list.malformed = absl::StrFormat(
          "the header at 0x%03x leads to 0x%03x, below the extended space",
          from, offset);
      return list;
    }
    if (offset + kExtendedCapabilityHeaderSize > config.size()) {
      list.malformed = absl::StrFormat(
          "the header at 0x%03x leads to 0x%03x, beyond the image's %d bytes",
          from, offset, config.size());
      return list;
    }
    if (visited.test(offset / kAlignment)) {
      list.malformed = absl::StrFormat(
          "the header at 0x%03x leads back to 0x%03x: a cycle", from, offset);
      return list;
    }
    visited.set(offset / kAlignment);
    const uint32_t header = LoadLittleEndian<uint32_t>(config, offset);
    if (header == kNobodyAnswersExtended) {
      list.malformed =
          absl::StrFormat("the header at 0x%03x reads as all ones", offset);
      return list;
    }
    const auto next = static_cast<uint16_t>((header >> 20) & 0xffc);
    list.entries.push_back(ExtendedCapability{
        .id = static_cast<ExtendedCapabilityId>(header & 0xffff),
        .version = static_cast<uint8_t>((header >> 16) & 0xf),
        .offset = offset,
        .next = next});
    from = offset;
    offset = next;
  }
  return list;
}

}  // namespace passthru::pci
