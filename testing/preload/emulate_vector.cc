// SPDX-License-Identifier: Apache-2.0
//
// The moves of vector registers.
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "testing/preload/processor.h"
#include "testing/preload/vector_state.h"

namespace passthru::preload {
namespace {

using Map = Instruction::Map;

class VectorMove : Processor {
 public:
  explicit VectorMove(const Processor& processor) : Processor(processor) {}

  // Moves between memory and a vector register, or a general one (MOVBE).
  Emulated Run() {
    bool stores = false;
    const unsigned bytes = VectorBytes(&stores);
    if (bytes == 0 || i_.broadcast) return Emulated::kUnknown;
    // EVEX scales the displacement of such a move by its own size.
    if (i_.encoding == Instruction::Encoding::kEvex &&
        bytes != i_.vector_bytes) {
      return Emulated::kUnknown;
    }
    VectorState state(context_);
    uint8_t data[kVectorBytes] = {};
    if (i_.mask_register != 0) return Masked(state, bytes, stores);
    if (stores) {
      if (!state.Get(i_.reg, data)) return Emulated::kUnknown;
      const size_t from = IsHighHalf() ? 8 : 0;
      return store_(i_.address, data + from, bytes) ? Emulated::kDone
                                                    : Emulated::kNoAnswer;
    }
    if (IsHighHalf() || IsLowHalf()) return Emulated::kUnknown;
    if (!load_(i_.address, data, bytes)) return Emulated::kNoAnswer;
    // The legacy encoding keeps what is above 16 bytes.
    const bool keeps = i_.encoding == Instruction::Encoding::kLegacy;
    return state.Set(i_.reg, data, keeps ? 16 : kVectorBytes)
               ? Emulated::kDone
               : Emulated::kUnknown;
  }

 private:
  // Returns the size of the elements that an opmask selects, or 0 if the
  // instruction is no full move of EVEX.
  unsigned ElementBytes() const {
    switch (i_.opcode) {
      case 0x6f:
      case 0x7f:
        if (i_.repeat == 0xf2) return i_.wide ? 2 : 1;
        return i_.wide ? 8 : 4;
      case 0x10:
      case 0x11:
      case 0x28:
      case 0x29:
        return i_.repeat != 0 ? 0 : i_.wide ? 8 : 4;
      default:
        return 0;
    }
  }

  // Moves the elements that an opmask selects, each run of them as one access.
  Emulated Masked(VectorState& state, unsigned bytes, bool stores) {
    const unsigned element = ElementBytes();
    uint64_t mask;
    uint8_t data[kVectorBytes];
    if (element == 0 || !state.GetMask(i_.mask_register, &mask) ||
        !state.Get(i_.reg, data)) {
      return Emulated::kUnknown;
    }
    if (!stores) {
      memset(data + bytes, 0, sizeof(data) - bytes);
      if (i_.zeroes) memset(data, 0, bytes);
    }
    const unsigned count = bytes / element;
    for (unsigned i = 0; i < count; ++i) {
      if ((mask >> i & 1) == 0) continue;
      const unsigned first = i;
      while (i + 1 < count && (mask >> (i + 1) & 1) != 0) ++i;
      uint8_t* const at = data + first * element;
      const uint64_t address = i_.address + first * element;
      const size_t size = (i + 1 - first) * element;
      if (!(stores ? store_(address, at, size) : load_(address, at, size))) {
        return Emulated::kNoAnswer;
      }
    }
    return stores || state.Set(i_.reg, data, kVectorBytes) ? Emulated::kDone
                                                           : Emulated::kUnknown;
  }

  bool IsLowHalf() const { return (i_.opcode & ~1) == 0x12; }
  bool IsHighHalf() const { return (i_.opcode & ~1) == 0x16; }

  // Returns how many bytes a vector's move transfers, or 0 if it is no such.
  unsigned VectorBytes(bool* stores) const {
    const bool none = !i_.operand16 && i_.repeat == 0;
    const bool f2 = i_.repeat == 0xf2;
    const bool f3 = i_.repeat == 0xf3;
    if (i_.map == Map::k0f38) {
      return i_.opcode == 0x2a && i_.operand16 ? i_.vector_bytes : 0;
    }
    if (i_.map != Map::k0f) return 0;
    switch (i_.opcode) {
      case 0x10:  // MOVUPS, MOVUPD, MOVSS, MOVSD.
      case 0x11:
        *stores = i_.opcode == 0x11;
        return f3 ? 4 : f2 ? 8 : i_.vector_bytes;
      case 0x13:  // MOVLPS, MOVHPS and their like.
      case 0x17:
        *stores = true;
        return f2 || f3 ? 0 : 8;
      case 0x28:  // MOVAPS, MOVAPD, MOVNTPS, MOVNTPD.
      case 0x29:
      case 0x2b:
        *stores = i_.opcode != 0x28;
        return f2 || f3 ? 0 : i_.vector_bytes;
      case 0x6e:  // MOVD and MOVQ. Without a prefix they are of MMX.
      case 0x7e:
        if (none) return 0;
        *stores = i_.opcode == 0x7e && !f3;
        return f3 || i_.wide ? 8 : 4;
      case 0x6f:  // MOVDQA, MOVDQU and those of EVEX.
      case 0x7f:
        *stores = i_.opcode == 0x7f;
        return none ? 0 : i_.vector_bytes;
      case 0xd6:  // MOVQ.
        *stores = true;
        return i_.operand16 ? 8 : 0;
      case 0xe7:  // MOVNTDQ.
        *stores = true;
        return i_.operand16 ? i_.vector_bytes : 0;
      case 0xf0:  // LDDQU.
        return f2 ? i_.vector_bytes : 0;
      default:
        return 0;
    }
  }
};

}  // namespace

Emulated EmulateVector(const Processor& processor) {
  return VectorMove(processor).Run();
}

}  // namespace passthru::preload
