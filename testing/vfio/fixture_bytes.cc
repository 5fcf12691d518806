// SPDX-License-Identifier: Apache-2.0
#include "testing/vfio/fixture_bytes.h"

#include <linux/pci_regs.h>

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace passthru::fake {
namespace {

void Place(const std::vector<uint8_t>& pattern, size_t offset, size_t length,
           std::vector<uint8_t>& out) {
  if (pattern.empty()) return;
  for (size_t i = 0; i < length && offset + i < out.size(); ++i) {
    out[offset + i] = pattern[i % pattern.size()];
  }
}

std::vector<uint8_t> BytesOrNone(std::string_view text) {
  return ParseHexBytes(text).value_or(std::vector<uint8_t>());
}

}  // namespace

absl::StatusOr<std::vector<uint8_t>> ParseHexBytes(std::string_view text) {
  std::vector<uint8_t> bytes;
  if (text.empty()) return bytes;
  for (std::string_view token : absl::StrSplit(text, ' ')) {
    if (token.size() != 2 || !absl::ascii_isxdigit(token[0]) ||
        !absl::ascii_isxdigit(token[1])) {
      return absl::InvalidArgumentError(absl::StrCat(
          "\"", absl::CHexEscape(token),
          "\" is not a byte; write two hexadecimal digits for each, separated "
          "by one space"));
    }
    uint32_t value = 0;
    if (!absl::SimpleHexAtoi(token, &value)) {
      return absl::InternalError(
          "SimpleHexAtoi refused two hexadecimal digits");
    }
    bytes.push_back(static_cast<uint8_t>(value));
  }
  return bytes;
}

ConfigImage ExpandConfig(const PciDevice& device) {
  const size_t size = device.config_space_size();
  ConfigImage image{
      .bytes = ExpandRows(device.config(), size),
      .writable = std::vector<uint8_t>(size, 0),
      .unknown = std::vector<uint8_t>(size, 0xff),
      .write_one_to_clear = std::vector<uint8_t>(size, 0),
  };
  for (const WriteMask& row : device.write_masks()) {
    const std::vector<uint8_t> writable = BytesOrNone(row.writable());
    const size_t length = row.length() == 0 ? writable.size() : row.length();
    const std::vector<uint8_t> none(1, 0);
    const std::vector<uint8_t> unknown = BytesOrNone(row.unknown());
    const std::vector<uint8_t> clear = BytesOrNone(row.write_one_to_clear());
    Place(writable, row.offset(), length, image.writable);
    Place(unknown.empty() ? none : unknown, row.offset(), length,
          image.unknown);
    Place(clear.empty() ? none : clear, row.offset(), length,
          image.write_one_to_clear);
  }
  return image;
}

std::vector<uint8_t> ExpandRows(
    const google::protobuf::RepeatedPtrField<ByteRow>& rows, size_t size) {
  std::vector<uint8_t> out(size, 0);
  for (const ByteRow& row : rows) {
    const std::vector<uint8_t> bytes = BytesOrNone(row.bytes());
    Place(bytes, row.offset(), bytes.size(), out);
  }
  return out;
}

BarRegisters AssignedBars(const PciDevice& device,
                          absl::Span<const uint8_t> config) {
  // <linux/ioport.h>: the low bits of a PCI resource's flags are the
  // register's.
  constexpr uint64_t kRegisterBits = 0xf;
  constexpr uint64_t kMemory64 = 0x100000;  // IORESOURCE_MEM_64
  BarRegisters registers = {};
  if (!device.is_virtual_function()) {
    for (size_t i = 0; i < registers.size(); ++i) {
      registers[i] = ReadLe32(config, PCI_BASE_ADDRESS_0 + 4 * i);
    }
    return registers;
  }
  const size_t count = std::min<size_t>(
      registers.size(), static_cast<size_t>(device.host_resources_size()));
  for (size_t i = 0; i < count; ++i) {
    const HostResource& resource = device.host_resources(static_cast<int>(i));
    if (resource.flags() == 0) continue;
    registers[i] = static_cast<uint32_t>(resource.start() |
                                         (resource.flags() & kRegisterBits));
    if ((resource.flags() & kMemory64) != 0 && i + 1 < registers.size()) {
      registers[i + 1] = static_cast<uint32_t>(resource.start() >> 32);
    }
  }
  return registers;
}

std::optional<uint8_t> FindCapability(absl::Span<const uint8_t> config,
                                      uint8_t id) {
  constexpr size_t kStatus = 0x06;
  constexpr uint16_t kStatusCapabilityList = 1u << 4;
  constexpr size_t kCapabilityPointer = 0x34;
  constexpr int kMaxCapabilities = (256 - 64) / 4;
  if (config.size() < 256 ||
      (ReadLe16(config, kStatus) & kStatusCapabilityList) == 0) {
    return std::nullopt;
  }
  uint8_t offset = config[kCapabilityPointer] & 0xfc;
  for (int i = 0; i < kMaxCapabilities && offset >= 0x40; ++i) {
    if (config[offset] == id) return offset;
    offset = config[offset + 1] & 0xfc;
  }
  return std::nullopt;
}

uint16_t ReadLe16(absl::Span<const uint8_t> bytes, size_t offset) {
  return static_cast<uint16_t>(ReadLe32(bytes, offset) & 0xffff);
}

uint32_t ReadLe32(absl::Span<const uint8_t> bytes, size_t offset) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4 && offset + i < bytes.size(); ++i) {
    value |= uint32_t{bytes[offset + i]} << (8 * i);
  }
  return value;
}

}  // namespace passthru::fake
