// SPDX-License-Identifier: Apache-2.0
#include "testing/preload/vector_state.h"

#include <cpuid.h>
#include <string.h>

namespace passthru::preload {
namespace {

// The state components (Intel SDM vol. 1, 13.1).
constexpr unsigned kSse = 1;
constexpr unsigned kUpperYmm = 2;  // The upper 16 bytes of YMM0 to 15.
constexpr unsigned kOpmask = 5;
constexpr unsigned kUpperZmm = 6;   // The upper 32 bytes of ZMM0 to 15.
constexpr unsigned kHigherZmm = 7;  // ZMM16 to 31.

constexpr size_t kXmm = 160;             // In the legacy region.
constexpr size_t kSoftware = 464;        // struct _fpx_sw_bytes.
constexpr size_t kHeader = 512;          // XSTATE_BV.
constexpr uint32_t kMagic = 0x46505853;  // FP_XSTATE_MAGIC1.

size_t ComponentOffset(unsigned component) {
  unsigned size, offset, c, d;
  __cpuid_count(0xd, component, size, offset, c, d);
  return offset;
}

}  // namespace

VectorState::VectorState(mcontext_t& context)
    : area_(reinterpret_cast<uint8_t*>(context.fpregs)) {
  if (area_ == nullptr) return;
  components_ = 1u << kSse;
  uint32_t magic;
  memcpy(&magic, area_ + kSoftware, sizeof(magic));
  if (magic != kMagic) return;
  uint64_t features;
  memcpy(&features, area_ + kSoftware + 8, sizeof(features));
  components_ |= features;
}

uint8_t* VectorState::Component(unsigned component, size_t offset) const {
  if ((components_ >> component & 1) == 0) return nullptr;
  return area_ + ComponentOffset(component) + offset;
}

// A component that is not in use has its initial value, zero, and not what the
// frame holds.
bool VectorState::IsInUse(unsigned component) const {
  if ((components_ >> component & 1) == 0) return false;
  if (component == kSse && components_ == 1u << kSse) return true;
  uint64_t in_use;
  memcpy(&in_use, area_ + kHeader, sizeof(in_use));
  return (in_use >> component & 1) != 0;
}

bool VectorState::Get(unsigned number, uint8_t* data) const {
  memset(data, 0, kVectorBytes);
  if (area_ == nullptr || number > 31) return false;
  if (number >= 16) {
    const uint8_t* const all = Component(kHigherZmm, 64 * (number - 16));
    if (all == nullptr) return false;
    if (IsInUse(kHigherZmm)) memcpy(data, all, 64);
    return true;
  }
  if (IsInUse(kSse)) memcpy(data, area_ + kXmm + 16 * number, 16);
  if (IsInUse(kUpperYmm)) {
    memcpy(data + 16, Component(kUpperYmm, 16 * number), 16);
  }
  if (IsInUse(kUpperZmm)) {
    memcpy(data + 32, Component(kUpperZmm, 32 * number), 32);
  }
  return true;
}

bool VectorState::GetMask(unsigned number, uint64_t* mask) const {
  *mask = 0;
  const uint8_t* const all = Component(kOpmask, 8 * number);
  if (all == nullptr || number > 7) return false;
  if (IsInUse(kOpmask)) memcpy(mask, all, sizeof(*mask));
  return true;
}

// Makes a component in use, with zeros in it.
void VectorState::Clear(unsigned component) {
  if ((components_ >> component & 1) == 0 || IsInUse(component)) return;
  if (component == kSse) {
    memset(area_ + kXmm, 0, size_t{16} * 16);
  } else {
    const size_t size = component == kUpperYmm   ? 16 * 16
                        : component == kUpperZmm ? 16 * 32
                                                 : 16 * 64;
    memset(Component(component, 0), 0, size);
  }
  uint64_t in_use;
  memcpy(&in_use, area_ + kHeader, sizeof(in_use));
  in_use |= uint64_t{1} << component;
  memcpy(area_ + kHeader, &in_use, sizeof(in_use));
}

bool VectorState::Set(unsigned number, const uint8_t* data, size_t bytes) {
  if (area_ == nullptr || number > 31) return false;
  if (number >= 16) {
    Clear(kHigherZmm);
    uint8_t* const all = Component(kHigherZmm, 64 * (number - 16));
    if (all == nullptr) return false;
    memcpy(all, data, bytes);
    return true;
  }
  Clear(kSse);
  memcpy(area_ + kXmm + 16 * number, data, 16);
  if (bytes == 16) return true;
  static constexpr uint8_t kZeros[32] = {};
  // A component out of use is zero already.
  if (IsInUse(kUpperYmm) || memcmp(data + 16, kZeros, 16) != 0) {
    Clear(kUpperYmm);
    uint8_t* const upper = Component(kUpperYmm, 16 * number);
    if (upper == nullptr) return false;
    memcpy(upper, data + 16, 16);
  }
  if (IsInUse(kUpperZmm) || memcmp(data + 32, kZeros, 32) != 0) {
    Clear(kUpperZmm);
    uint8_t* const upper = Component(kUpperZmm, 32 * number);
    if (upper == nullptr) return false;
    memcpy(upper, data + 32, 32);
  }
  return true;
}

}  // namespace passthru::preload
