// SPDX-License-Identifier: Apache-2.0
#include "passthru/pci/msi_capability.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"
#include "absl/types/span.h"
#include "passthru/pci/capability_check.h"
#include "passthru/pci/capability_id.h"
#include "passthru/pci/config_reg.h"
#include "passthru/pci/msi_message.h"
#include "passthru/pci/vector_index.h"

namespace passthru::pci {
namespace {

// 0 to 5 stand for 1 to 32 vectors, and 6 and 7 are reserved (PCI 3.0 6.8.1.3).
constexpr uint32_t kMaxEncodedVectors = 5;

// The low two bits of Message Address are reserved (PCI 3.0 6.8.1.4).
constexpr uint32_t kAddressMask = 0xfffffffc;

}  // namespace

MsiMessage MsiState::message(VectorIndex vector) const {
  const uint32_t number_bits = vector_count - 1u;
  MsiMessage message = programmed;
  message.data = (message.data & ~number_bits) | (vector.value() & number_bits);
  return message;
}

bool MsiState::masked(VectorIndex vector) const {
  if (vector.value() >= vector_count) return true;
  return ((mask_bits >> vector.value()) & 1) != 0;
}

absl::StatusOr<MsiCapability> MsiCapability::Parse(
    absl::Span<const uint8_t> config, uint8_t offset) {
  constexpr size_t kUpToControl = 4;
  if (absl::Status status =
          CheckCapability(config, offset, CapabilityId::kMsi, kUpToControl);
      !status.ok()) {
    return status;
  }
  const MsiControl control = ReadRegister(config, kControl.At(offset));
  const uint32_t encoded = MsiControl::kMultipleMessageCapable.Get(control);
  if (encoded > kMaxEncodedVectors) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "MSI capability at 0x%02x: multiple message capable is %d, which is "
        "reserved",
        offset, encoded));
  }
  const MsiCapability capability(offset, MsiControl::k64Bit.Get(control),
                                 MsiControl::kPerVectorMasking.Get(control),
                                 static_cast<uint16_t>(1u << encoded));
  if (absl::Status status = CheckCapability(config, offset, CapabilityId::kMsi,
                                            capability.size());
      !status.ok()) {
    return status;
  }
  return capability;
}

// PCI 3.0 figure 6-9 shows the four layouts.
uint8_t MsiCapability::SizeOf(MsiControl control) {
  const unsigned up_to_data = MsiControl::k64Bit.Get(control) ? 14 : 10;
  // With masking, two reserved bytes, the mask bits and the pending bits follow
  // the data.
  return static_cast<uint8_t>(MsiControl::kPerVectorMasking.Get(control)
                                  ? up_to_data + 10
                                  : up_to_data);
}

uint8_t MsiCapability::size() const {
  MsiControl control;
  MsiControl::k64Bit.Set(control, is_64bit_);
  MsiControl::kPerVectorMasking.Set(control, per_vector_masking_);
  return SizeOf(control);
}

ConfigReg<uint16_t> MsiCapability::data() const {
  return {static_cast<uint16_t>(is_64bit_ ? 0x0c : 0x08)};
}

std::optional<ConfigReg<uint32_t>> MsiCapability::mask() const {
  if (!per_vector_masking_) return std::nullopt;
  return ConfigReg<uint32_t>{static_cast<uint16_t>(is_64bit_ ? 0x10 : 0x0c)};
}

std::optional<ConfigReg<uint32_t>> MsiCapability::pending() const {
  if (!per_vector_masking_) return std::nullopt;
  return ConfigReg<uint32_t>{static_cast<uint16_t>(is_64bit_ ? 0x14 : 0x10)};
}

MsiState MsiCapability::Decode(absl::Span<const uint8_t> bytes) const {
  const MsiControl control = ReadRegister(bytes, kControl);
  MsiState state;
  state.enabled = MsiControl::kEnable.Get(control);
  state.vector_count = static_cast<uint16_t>(std::min<uint32_t>(
      1u << MsiControl::kMultipleMessageEnable.Get(control), max_vectors_));
  state.programmed.address = ReadRegister(bytes, kAddress) & kAddressMask;
  if (is_64bit_) {
    state.programmed.address |= uint64_t{ReadRegister(bytes, kAddressHigh)}
                                << 32;
  }
  state.programmed.data = ReadRegister(bytes, data());
  if (per_vector_masking_) {
    // Bits beyond the function's vectors are reserved.
    const uint32_t existing = ~uint32_t{0} >> (32 - max_vectors_);
    state.mask_bits = ReadRegister(bytes, *mask()) & existing;
    state.pending_bits = ReadRegister(bytes, *pending()) & existing;
  }
  return state;
}

std::array<uint8_t, MsiCapability::kMaxSize> MsiCapability::WriteMask() const {
  std::array<uint8_t, kMaxSize> masks{};
  const absl::Span<uint8_t> out = absl::MakeSpan(masks);
  MsiControl control;
  MsiControl::kEnable.Set(control, true);
  MsiControl::kMultipleMessageEnable.Set(control, 7);
  WriteRegister(out, kControl, control);
  WriteRegister(out, kAddress, kAddressMask);
  if (is_64bit_) WriteRegister(out, kAddressHigh, ~uint32_t{0});
  WriteRegister(out, data(), uint16_t{0xffff});
  if (per_vector_masking_) {
    WriteRegister(out, *mask(), ~uint32_t{0} >> (32 - max_vectors_));
  }
  return masks;
}

}  // namespace passthru::pci
