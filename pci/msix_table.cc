// SPDX-License-Identifier: Apache-2.0
#include "passthru/pci/msix_table.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/log/check.h"
#include "absl/types/span.h"
#include "passthru/pci/little_endian.h"
#include "passthru/pci/msi_message.h"
#include "passthru/pci/msix_capability.h"
#include "passthru/pci/vector_index.h"

namespace passthru::pci {
namespace {

// The layout of an entry (PCI 3.0 figure 6-12).
constexpr uint32_t kAddressOffset = 0x0;
constexpr uint32_t kDataOffset = 0x8;
constexpr uint32_t kVectorControlOffset = 0xc;
constexpr uint8_t kMaskBit = 1;

// The bits that software can write. Software must write the low two bits of the
// address as zero (6.8.2.6). Of Vector Control, only the mask bit is writable
// (6.8.2.9). The steering tag that PCIe puts into its upper half belongs to
// TPH, which this library hides from guests.
constexpr std::array<uint8_t, MsixTable::kEntrySize> kWriteMask = {
    0xfc, 0xff, 0xff, 0xff, 0xff, 0xff,    0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, kMaskBit};

}  // namespace

MsixTable::MsixTable(uint16_t vectors) : bytes_(size_t{vectors} * kEntrySize) {
  static_assert(kEntrySize == MsixCapability::kEntrySize);
  CHECK(vectors >= 1 && vectors <= MsixCapability::kMaxVectors) << vectors;
  Reset();
}

void MsixTable::Reset() {
  std::fill(bytes_.begin(), bytes_.end(), uint8_t{0});
  for (size_t entry = 0; entry < bytes_.size(); entry += kEntrySize) {
    bytes_[entry + kVectorControlOffset] = kMaskBit;
  }
}

void MsixTable::Read(uint32_t offset, absl::Span<uint8_t> out) const {
  const size_t begin = std::min<size_t>(offset, bytes_.size());
  const size_t count = std::min(out.size(), bytes_.size() - begin);
  std::copy_n(bytes_.begin() + begin, count, out.begin());
  std::fill(out.begin() + count, out.end(), uint8_t{0xff});
}

MsixTableChange MsixTable::Write(uint32_t offset,
                                 absl::Span<const uint8_t> bytes) {
  MsixTableChange changes;
  for (size_t i = 0; i < bytes.size(); ++i) {
    const uint64_t at = uint64_t{offset} + i;
    if (at >= bytes_.size()) break;
    const auto in_entry = static_cast<uint32_t>(at % kEntrySize);
    const unsigned mask = kWriteMask[in_entry];
    const unsigned new_value = (bytes_[at] & ~mask) | (bytes[i] & mask);
    if (new_value == bytes_[at]) continue;
    bytes_[at] = static_cast<uint8_t>(new_value);

    const VectorIndex vector(static_cast<uint16_t>(at / kEntrySize));
    if (changes.empty() || changes.back().vector != vector) {
      changes.push_back(MsixVectorChange{.vector = vector});
    }
    if (in_entry >= kVectorControlOffset) {
      changes.back().mask = true;
    } else {
      changes.back().message = true;
    }
  }
  return changes;
}

MsiMessage MsixTable::message(VectorIndex vector) const {
  const uint32_t entry = EntryOffset(vector);
  return MsiMessage{
      .address = LoadLittleEndian<uint64_t>(bytes_, entry + kAddressOffset),
      .data = LoadLittleEndian<uint32_t>(bytes_, entry + kDataOffset)};
}

bool MsixTable::masked(VectorIndex vector) const {
  return (bytes_[EntryOffset(vector) + kVectorControlOffset] & kMaskBit) != 0;
}

uint32_t MsixTable::EntryOffset(VectorIndex vector) const {
  CHECK_LT(vector.value(), size());
  return vector.value() * kEntrySize;
}

}  // namespace passthru::pci
