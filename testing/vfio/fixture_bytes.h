// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_VFIO_FIXTURE_BYTES_H_
#define PASSTHRU_TESTING_VFIO_FIXTURE_BYTES_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "testing/proto/device.pb.h"

namespace passthru::fake {

// Two-digit hexadecimal numbers separated by single spaces: "11 80 40 00".
// An empty string is no bytes.
absl::StatusOr<std::vector<uint8_t>> ParseHexBytes(std::string_view text);

// The configuration space of a fixture, byte by byte. All four vectors have
// the size of the space.
struct ConfigImage {
  std::vector<uint8_t> bytes;
  // A bit is 1 if a write changes it.
  std::vector<uint8_t> writable;
  // A bit is 1 if nobody measured what a write does to it; `writable` is 0.
  std::vector<uint8_t> unknown;
  // A bit is 1 if writing 1 clears it.
  std::vector<uint8_t> write_one_to_clear;
};

// These two expect a device that passed Validate(); of another, whatever does
// not fit is left out.
ConfigImage ExpandConfig(const PciDevice& device);
// `size` bytes, of which `rows` fill in some.
std::vector<uint8_t> ExpandRows(
    const google::protobuf::RepeatedPtrField<ByteRow>& rows, size_t size);

// The BAR registers as the host has assigned them. A virtual function's own are
// 0: its BARs are where and what the host's resources say.
using BarRegisters = std::array<uint32_t, 6>;
BarRegisters AssignedBars(const PciDevice& device,
                          absl::Span<const uint8_t> config);

// Offset of the first capability `id` (PCI Local Bus 3.0, 6.7) in a
// configuration space of any contents; the walk is bounded. The simulation has
// its own walk so that a mistake in //pci is not repeated by what tests it.
std::optional<uint8_t> FindCapability(absl::Span<const uint8_t> config,
                                      uint8_t id);

// Little-endian value at `offset`; bytes outside read as zero.
uint16_t ReadLe16(absl::Span<const uint8_t> bytes, size_t offset);
uint32_t ReadLe32(absl::Span<const uint8_t> bytes, size_t offset);

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_VFIO_FIXTURE_BYTES_H_
