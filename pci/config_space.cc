// SPDX-License-Identifier: Apache-2.0
#include "passthru/pci/config_space.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "absl/log/check.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "passthru/pci/little_endian.h"
#include "passthru/pci/registers.h"

namespace passthru::pci {
namespace {

bool IsConfigSpaceSize(size_t size) {
  return size == kConfigSpaceSize || size == kExtendedConfigSpaceSize;
}

// Copies as much of `from` as fits behind `offset`.
void CopyInto(absl::Span<uint8_t> to, uint32_t offset,
              absl::Span<const uint8_t> from) {
  if (offset >= to.size()) return;
  const size_t count = std::min(from.size(), to.size() - offset);
  std::copy_n(from.begin(), count, to.begin() + offset);
}

}  // namespace

bool ConfigWriteResult::Changed(uint32_t offset, uint32_t size) const {
  return std::any_of(ranges_.begin(), ranges_.end(), [&](Range range) {
    return range.offset < uint64_t{offset} + size &&
           offset < uint32_t{range.offset} + range.size;
  });
}

void ConfigWriteResult::AddByte(uint16_t offset) {
  if (!ranges_.empty() &&
      ranges_.back().offset + ranges_.back().size == offset) {
    ++ranges_.back().size;
    return;
  }
  ranges_.push_back(Range{.offset = offset, .size = 1});
}

ConfigSpace::ConfigSpace(size_t size)
    : values_(size), write_masks_(size), clear_masks_(size) {
  CHECK(IsConfigSpaceSize(size)) << size;
}

absl::StatusOr<ConfigSpace> ConfigSpace::FromBytes(
    absl::Span<const uint8_t> bytes) {
  if (!IsConfigSpaceSize(bytes.size())) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a configuration space has 256 or 4096 bytes, not ", bytes.size()));
  }
  ConfigSpace config(bytes.size());
  config.SetBytes(0, bytes);
  return config;
}

uint32_t ConfigSpace::Read(uint32_t offset, unsigned width) const {
  CHECK(width >= 1 && width <= sizeof(uint32_t)) << width;
  const uint32_t value = LoadLittleEndian<uint32_t>(values_, offset);
  return value & (~uint32_t{0} >> (32 - 8 * width));
}

void ConfigSpace::Read(uint32_t offset, absl::Span<uint8_t> out) const {
  std::fill(out.begin(), out.end(), uint8_t{0xff});
  if (offset >= size()) return;
  const size_t count = std::min(out.size(), size() - offset);
  std::copy_n(values_.begin() + offset, count, out.begin());
}

ConfigWriteResult ConfigSpace::Write(uint32_t offset,
                                     absl::Span<const uint8_t> bytes) {
  ConfigWriteResult result;
  for (size_t i = 0; i < bytes.size(); ++i) {
    const uint64_t at = uint64_t{offset} + i;
    if (at >= size()) break;
    const unsigned old_value = values_[at];
    const unsigned clear = clear_masks_[at];
    const unsigned writable = write_masks_[at] & ~clear;
    const unsigned written = bytes[i];
    const unsigned new_value =
        ((old_value & ~writable) | (written & writable)) & ~(written & clear);
    if (new_value == old_value) continue;
    values_[at] = static_cast<uint8_t>(new_value);
    result.AddByte(static_cast<uint16_t>(at));
  }
  return result;
}

void ConfigSpace::SetBytes(uint32_t offset, absl::Span<const uint8_t> bytes) {
  CopyInto(absl::MakeSpan(values_), offset, bytes);
}

void ConfigSpace::SetMaskBytes(uint32_t offset,
                               absl::Span<const uint8_t> masks) {
  CopyInto(absl::MakeSpan(write_masks_), offset, masks);
}

}  // namespace passthru::pci
