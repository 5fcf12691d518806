// SPDX-License-Identifier: Apache-2.0
#include "testing/preload/instruction.h"

#include <string.h>

namespace passthru::preload {
namespace {

// The prefixes of any encoding, as far as they extend the operands.
struct Extensions {
  bool r = false, x = false, b = false;
  bool r2 = false;  // EVEX.R', for registers 16 to 31.
};

template <typename T>
T Take(const uint8_t*& at) {
  T value;
  memcpy(&value, at, sizeof(value));
  at += sizeof(value);
  return value;
}

// Sets what the "pp" field of VEX and EVEX stands for.
void SetPrefix(unsigned pp, Instruction* i) {
  i->operand16 = pp == 1;
  i->repeat = pp == 2 ? 0xf3 : pp == 3 ? 0xf2 : 0;
}

bool SetMap(unsigned map, Instruction* i) {
  if (map < 1 || map > 3) return false;
  i->map = map == 1   ? Instruction::Map::k0f
           : map == 2 ? Instruction::Map::k0f38
                      : Instruction::Map::k0f3a;
  return true;
}

// Reads prefixes and opcode (SDM vol. 2, 2.1 to 2.3 and 2.7).
bool TakeOpcode(const uint8_t*& at, Instruction* i, Extensions* extensions) {
  for (;; ++at) {
    if (*at == 0x66) {
      i->operand16 = true;
    } else if (*at == 0xf2 || *at == 0xf3) {
      i->repeat = *at;
    } else if (*at != 0xf0 && *at != 0x2e && *at != 0x36 && *at != 0x3e &&
               *at != 0x26) {
      break;
    }
  }
  if (*at == 0x64 || *at == 0x65 || *at == 0x67) return false;
  if (*at == 0xc5) {
    i->encoding = Instruction::Encoding::kVex;
    extensions->r = (at[1] & 0x80) == 0;
    i->vector_bytes = (at[1] & 4) != 0 ? 32 : 16;
    SetPrefix(at[1] & 3, i);
    i->map = Instruction::Map::k0f;
    at += 2;
  } else if (*at == 0xc4 || *at == 0x62) {
    const bool evex = *at == 0x62;
    i->encoding =
        evex ? Instruction::Encoding::kEvex : Instruction::Encoding::kVex;
    extensions->r = (at[1] & 0x80) == 0;
    extensions->x = (at[1] & 0x40) == 0;
    extensions->b = (at[1] & 0x20) == 0;
    extensions->r2 = evex && (at[1] & 0x10) == 0;
    if (!SetMap(at[1] & (evex ? 7 : 31), i)) return false;
    i->wide = (at[2] & 0x80) != 0;
    SetPrefix(at[2] & 3, i);
    if (evex) {
      i->vector_bytes = 16u << ((at[3] >> 5) & 3);
      i->broadcast = (at[3] & 0x10) != 0;
      i->zeroes = (at[3] & 0x80) != 0;
      i->mask_register = at[3] & 7;
      if (i->vector_bytes > 64) return false;
    } else {
      i->vector_bytes = (at[2] & 4) != 0 ? 32 : 16;
    }
    at += evex ? 4 : 3;
  } else {
    if ((*at & 0xf0) == 0x40) {
      i->has_rex = true;
      i->wide = (*at & 8) != 0;
      extensions->r = (*at & 4) != 0;
      extensions->x = (*at & 2) != 0;
      extensions->b = (*at & 1) != 0;
      ++at;
    }
    if (*at == 0x0f) {
      ++at;
      i->map = Instruction::Map::k0f;
      if (*at == 0x38 || *at == 0x3a) {
        i->map =
            *at == 0x38 ? Instruction::Map::k0f38 : Instruction::Map::k0f3a;
        ++at;
      }
    }
  }
  i->opcode = *at++;
  return true;
}

// Returns how long the immediate is, without those of moffs.
unsigned ImmediateBytes(const Instruction& i) {
  const unsigned full = i.operand16 ? 2 : 4;
  if (i.map == Instruction::Map::k0f3a) return 1;
  if (i.map == Instruction::Map::k0f) {
    const bool has = i.opcode == 0x70 || i.opcode == 0xba || i.opcode == 0xc2 ||
                     (i.opcode >= 0xc4 && i.opcode <= 0xc6);
    return has ? 1 : 0;
  }
  if (i.map != Instruction::Map::kOneByte) return 0;
  switch (i.opcode) {
    case 0x80:
    case 0x83:
    case 0xc0:
    case 0xc1:
    case 0xc6:
      return 1;
    case 0x81:
    case 0xc7:
      return full;
    case 0xf6:
      return i.opcode_extension < 2 ? 1 : 0;
    case 0xf7:
      return i.opcode_extension < 2 ? full : 0;
    default:
      return 0;
  }
}

bool HasModrm(const Instruction& i) {
  if (i.map != Instruction::Map::kOneByte) return true;
  return !(i.opcode >= 0xa0 && i.opcode <= 0xaf);
}

// Reads ModRM, SIB and displacement (SDM vol. 2, 2.1.5).
void TakeModrm(const uint8_t*& at, const uint64_t registers[16],
               const Extensions& extensions, Instruction* i,
               bool* relative_to_next) {
  const uint8_t modrm = *at++;
  const unsigned mod = modrm >> 6;
  const unsigned rm = modrm & 7;
  i->opcode_extension = (modrm >> 3) & 7;
  i->reg =
      i->opcode_extension | (extensions.r ? 8 : 0) | (extensions.r2 ? 16 : 0);
  i->has_memory = mod != 3;
  if (!i->has_memory) return;
  uint64_t address = 0;
  bool has_base = true;
  unsigned base = rm | (extensions.b ? 8 : 0);
  if (rm == 4) {
    const uint8_t sib = *at++;
    const unsigned index = ((sib >> 3) & 7) | (extensions.x ? 8 : 0);
    base = (sib & 7) | (extensions.b ? 8 : 0);
    if (index != 4) address = registers[index] << (sib >> 6);
    has_base = mod != 0 || (sib & 7) != 5;
    if (!has_base) address += static_cast<uint64_t>(Take<int32_t>(at));
  } else if (mod == 0 && rm == 5) {
    has_base = false;
    *relative_to_next = true;
    address = static_cast<uint64_t>(Take<int32_t>(at));
  }
  if (has_base) address += registers[base];
  if (mod == 1) {
    // EVEX multiplies a short displacement by the size of the operand
    // (SDM vol. 2, 2.7.5), which for those known here is the vector's, or that
    // of the element that is broadcast.
    const unsigned operand = i->broadcast ? (i->wide ? 8 : 4) : i->vector_bytes;
    const int64_t scale = i->encoding == Instruction::Encoding::kEvex
                              ? static_cast<int64_t>(operand)
                              : 1;
    address += static_cast<uint64_t>(Take<int8_t>(at) * scale);
  } else if (mod == 2) {
    address += static_cast<uint64_t>(Take<int32_t>(at));
  }
  i->address = address;
}

}  // namespace

bool Decode(const uint8_t* code, const uint64_t registers[16],
            Instruction* instruction) {
  const uint8_t* at = code;
  Extensions extensions;
  if (!TakeOpcode(at, instruction, &extensions)) return false;
  bool relative_to_next = false;
  if (HasModrm(*instruction)) {
    instruction->modrm_offset = static_cast<unsigned>(at - code);
    TakeModrm(at, registers, extensions, instruction, &relative_to_next);
  } else if (instruction->opcode <= 0xa3) {
    // The address is in the instruction (moffs).
    instruction->has_memory = true;
    instruction->address = Take<uint64_t>(at);
  }
  instruction->immediate_bytes = ImmediateBytes(*instruction);
  switch (instruction->immediate_bytes) {
    case 1:
      instruction->immediate = Take<int8_t>(at);
      break;
    case 2:
      instruction->immediate = Take<int16_t>(at);
      break;
    case 4:
      instruction->immediate = Take<int32_t>(at);
      break;
    default:
      break;
  }
  instruction->length = static_cast<unsigned>(at - code);
  if (relative_to_next) {
    instruction->address +=
        reinterpret_cast<uint64_t>(code) + instruction->length;
  }
  return true;
}

}  // namespace passthru::preload
