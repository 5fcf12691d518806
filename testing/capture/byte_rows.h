// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_CAPTURE_BYTE_ROWS_H_
#define PASSTHRU_TESTING_CAPTURE_BYTE_ROWS_H_

#include <cstdint>
#include <map>
#include <string>

#include "absl/types/span.h"
#include "testing/proto/device.pb.h"
#include "testing/vfio/fixture_bytes.h"

namespace passthru::fake {

// Bytes as fixtures hold them. There is one way to write given bytes, so that
// what is captured twice can be compared.

// "11 80 40 00".
std::string HexBytes(absl::Span<const uint8_t> bytes);

// `bytes` from the start of a space, in rows of 16 that begin at a multiple of
// 16; rows of zeros are left out.
google::protobuf::RepeatedPtrField<ByteRow> ToRows(
    absl::Span<const uint8_t> bytes);
// The same of bytes here and there, by offset.
google::protobuf::RepeatedPtrField<ByteRow> ToRows(
    const std::map<uint64_t, uint8_t>& bytes);

// The masks of an image: one row with a length for 16 bytes and more that are
// masked alike, rows of 16 otherwise, none for bytes that nobody measured.
google::protobuf::RepeatedPtrField<WriteMask> ToWriteMasks(
    const ConfigImage& image);

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_CAPTURE_BYTE_ROWS_H_
