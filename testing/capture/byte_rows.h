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

// Writes bytes as fixtures hold them. The same bytes always give the same rows,
// so that two captures can be compared.

// Returns the bytes as "11 80 40 00".
std::string HexBytes(absl::Span<const uint8_t> bytes);

// Returns `bytes` from the start of a space, in rows of 16 that begin at a
// multiple of 16. Rows of zeros are left out.
google::protobuf::RepeatedPtrField<fixture::ByteRow> ToRows(
    absl::Span<const uint8_t> bytes);
// Like the above, for single bytes by offset.
google::protobuf::RepeatedPtrField<fixture::ByteRow> ToRows(
    const std::map<uint64_t, uint8_t>& bytes);

// Returns the masks of an image. A run of 16 bytes and more with the same masks
// is one row with a length. Other bytes are in rows of 16, and bytes whose
// masks are all unknown have no row.
google::protobuf::RepeatedPtrField<fixture::WriteMask> ToWriteMasks(
    const fixture::ConfigImage& image);

}  // namespace passthru::capture

#endif  // PASSTHRU_TESTING_CAPTURE_BYTE_ROWS_H_
