// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_CAPTURE_BYTE_ROWS_H_
#define PASSTHRU_TESTING_CAPTURE_BYTE_ROWS_H_

#include <cstdint>
#include <map>
#include <string>

#include "absl/types/span.h"
#include "passthru/testing/fixture/device.pb.h"
#include "passthru/testing/fixture/fixture_bytes.h"

namespace passthru::capture {

// Bytes as fixtures hold them. There is one way to write given bytes, so that
// what is captured twice can be compared.

// "11 80 40 00".
std::string HexBytes(absl::Span<const uint8_t> bytes);

// `bytes` from the start of a space, in rows of 16 that begin at a multiple of
// 16; rows of zeros are left out.
google::protobuf::RepeatedPtrField<fixture::ByteRow> ToRows(
    absl::Span<const uint8_t> bytes);
// The same of bytes here and there, by offset.
google::protobuf::RepeatedPtrField<fixture::ByteRow> ToRows(
    const std::map<uint64_t, uint8_t>& bytes);

// The masks of an image: one row with a length for 16 bytes and more that are
// masked alike, rows of 16 otherwise, none for bytes that nobody measured.
google::protobuf::RepeatedPtrField<fixture::WriteMask> ToWriteMasks(
    const fixture::ConfigImage& image);

}  // namespace passthru::capture

#endif  // PASSTHRU_TESTING_CAPTURE_BYTE_ROWS_H_
