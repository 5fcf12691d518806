// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/capture/byte_rows.h"

#include <algorithm>
#include <cstddef>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace passthru::capture {
namespace {

constexpr size_t kRow = 16;

bool IsZero(absl::Span<const uint8_t> bytes) {
  return std::all_of(bytes.begin(), bytes.end(),
                     [](uint8_t byte) { return byte == 0; });
}

void AddRow(uint64_t offset, absl::Span<const uint8_t> bytes,
            google::protobuf::RepeatedPtrField<fixture::ByteRow>& rows) {
  if (IsZero(bytes)) return;
  fixture::ByteRow* const row = rows.Add();
  row->set_offset(static_cast<uint32_t>(offset));
  row->set_bytes(HexBytes(bytes));
}

// The masks of one byte.
struct ByteMask {
  uint8_t writable = 0;
  uint8_t unknown = 0;
  uint8_t write_one_to_clear = 0;
  friend bool operator==(const ByteMask&, const ByteMask&) = default;

  bool is_unknown() const {
    return unknown == 0xff && writable == 0 && write_one_to_clear == 0;
  }
};

ByteMask MaskAt(const fixture::ConfigImage& image, size_t offset) {
  return {.writable = image.writable[offset],
          .unknown = image.unknown[offset],
          .write_one_to_clear = image.write_one_to_clear[offset]};
}

// Returns how many bytes from `offset` on have the same masks.
size_t RunLength(const fixture::ConfigImage& image, size_t offset) {
  const ByteMask mask = MaskAt(image, offset);
  size_t end = offset;
  while (end < image.bytes.size() && MaskAt(image, end) == mask) ++end;
  return end - offset;
}

}  // namespace

std::string HexBytes(absl::Span<const uint8_t> bytes) {
  return absl::StrJoin(bytes, " ", [](std::string* out, uint8_t byte) {
    absl::StrAppendFormat(out, "%02x", byte);
  });
}

google::protobuf::RepeatedPtrField<fixture::ByteRow> ToRows(
    absl::Span<const uint8_t> bytes) {
  google::protobuf::RepeatedPtrField<fixture::ByteRow> rows;
  for (size_t offset = 0; offset < bytes.size(); offset += kRow) {
    AddRow(offset, bytes.subspan(offset, kRow), rows);
  }
  return rows;
}

google::protobuf::RepeatedPtrField<fixture::ByteRow> ToRows(
    const std::map<uint64_t, uint8_t>& bytes) {
  google::protobuf::RepeatedPtrField<fixture::ByteRow> rows;
  for (auto byte = bytes.begin(); byte != bytes.end();) {
    const uint64_t base = byte->first / kRow * kRow;
    std::vector<uint8_t> row;
    for (; byte != bytes.end() && byte->first < base + kRow; ++byte) {
      row.resize(byte->first - base + 1);
      row.back() = byte->second;
    }
    AddRow(base, row, rows);
  }
  return rows;
}

google::protobuf::RepeatedPtrField<fixture::WriteMask> ToWriteMasks(
    const fixture::ConfigImage& image) {
  google::protobuf::RepeatedPtrField<fixture::WriteMask> rows;
  for (size_t offset = 0; offset < image.bytes.size();) {
    const ByteMask mask = MaskAt(image, offset);
    const size_t run = RunLength(image, offset);
    if (mask.is_unknown()) {
      offset += run;
      continue;
    }
    size_t end = offset + 1;
    if (run < kRow) {
      const size_t limit =
          std::min(image.bytes.size(), (offset / kRow + 1) * kRow);
      while (end < limit && !MaskAt(image, end).is_unknown() &&
             RunLength(image, end) < kRow) {
        ++end;
      }
    }
    const auto part = [&](const std::vector<uint8_t>& bytes) {
      return absl::MakeConstSpan(bytes).subspan(offset, end - offset);
    };
    fixture::WriteMask* const row = rows.Add();
    row->set_offset(static_cast<uint32_t>(offset));
    row->set_writable(HexBytes(part(image.writable)));
    if (!IsZero(part(image.unknown))) {
      row->set_unknown(HexBytes(part(image.unknown)));
    }
    if (!IsZero(part(image.write_one_to_clear))) {
      row->set_write_one_to_clear(HexBytes(part(image.write_one_to_clear)));
    }
    if (run >= kRow) {
      row->set_length(static_cast<uint32_t>(run));
      end = offset + run;
    }
    offset = end;
  }
  return rows;
}

}  // namespace passthru::capture
