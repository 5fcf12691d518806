// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/models/device_platform.h"

namespace passthru::models {
namespace {

constexpr uint16_t kStatusOffset = 0x06;
constexpr uint32_t kStatusCapabilityList = 1u << 4;
constexpr uint16_t kCapabilityPointerOffset = 0x34;
constexpr uint8_t kMsiCapabilityId = 0x05;
constexpr uint8_t kMsixCapabilityId = 0x11;
constexpr uint32_t kMsiEnable = 1u << 0;
constexpr uint32_t kMsixEnable = 1u << 15;

// If a list has more capabilities than fit in 192 bytes, it has a cycle.
constexpr int kMaxCapabilities = 48;

}  // namespace

InterruptMode DevicePlatform::ReadInterruptMode() {
  if ((ReadConfig(kStatusOffset, 2) & kStatusCapabilityList) == 0) {
    return InterruptMode::kIntx;
  }
  bool msi_enabled = false;
  uint32_t offset = ReadConfig(kCapabilityPointerOffset, 1) & 0xfc;
  for (int i = 0; i < kMaxCapabilities && offset >= 0x40; ++i) {
    const uint16_t at = static_cast<uint16_t>(offset);
    const uint32_t header = ReadConfig(at, 2);
    const uint8_t id = header & 0xff;
    if (id == kMsixCapabilityId && (ReadConfig(at + 2, 2) & kMsixEnable) != 0) {
      return InterruptMode::kMsix;
    }
    if (id == kMsiCapabilityId && (ReadConfig(at + 2, 2) & kMsiEnable) != 0) {
      msi_enabled = true;
    }
    offset = (header >> 8) & 0xfc;
  }
  return msi_enabled ? InterruptMode::kMsi : InterruptMode::kIntx;
}

absl::Status UnconnectedHost::DmaRead(uint64_t, absl::Span<uint8_t>) {
  return absl::FailedPreconditionError("the device model has no host");
}

absl::Status UnconnectedHost::DmaWrite(uint64_t, absl::Span<const uint8_t>) {
  return absl::FailedPreconditionError("the device model has no host");
}

}  // namespace passthru::models
