// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/models/nvme/nvme_spec.h"

#include <array>
#include <cstdint>

#include "absl/types/span.h"
#include "passthru/pci/little_endian.h"

namespace passthru::models::nvme {

std::array<uint8_t, Completion::kSize> Completion::Encode() const {
  std::array<uint8_t, kSize> bytes{};
  const absl::Span<uint8_t> out = absl::MakeSpan(bytes);
  pci::StoreLittleEndian<uint32_t>(out, 0, result);
  pci::StoreLittleEndian<uint16_t>(out, 8, submission_head);
  pci::StoreLittleEndian<uint16_t>(out, 10, submission_queue);
  pci::StoreLittleEndian<uint16_t>(out, 12, command_id);
  const int status_and_phase = status.raw() << 1 | (phase ? 1 : 0);
  pci::StoreLittleEndian<uint16_t>(out, 14,
                                   static_cast<uint16_t>(status_and_phase));
  return bytes;
}

Completion Completion::Decode(absl::Span<const uint8_t> bytes) {
  const uint16_t last = pci::LoadLittleEndian<uint16_t>(bytes, 14);
  Completion completion;
  completion.result = pci::LoadLittleEndian<uint32_t>(bytes, 0);
  completion.submission_head = pci::LoadLittleEndian<uint16_t>(bytes, 8);
  completion.submission_queue = pci::LoadLittleEndian<uint16_t>(bytes, 10);
  completion.command_id = pci::LoadLittleEndian<uint16_t>(bytes, 12);
  completion.status = Status(static_cast<uint16_t>(last >> 1));
  completion.phase = (last & 1) != 0;
  return completion;
}

}  // namespace passthru::models::nvme
