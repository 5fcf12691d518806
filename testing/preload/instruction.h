// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_PRELOAD_INSTRUCTION_H_
#define PASSTHRU_TESTING_PRELOAD_INSTRUCTION_H_

#include <stdint.h>

namespace passthru::preload {

// An instruction of x86-64 without its meaning (Intel SDM vol. 2, chapter 2).
struct Instruction {
  enum class Encoding { kLegacy, kVex, kEvex };
  // The table of the opcode: one byte, or behind 0F, 0F 38, 0F 3A.
  enum class Map { kOneByte, k0f, k0f38, k0f3a };

  Encoding encoding = Encoding::kLegacy;
  Map map = Map::kOneByte;
  uint8_t opcode = 0;
  bool operand16 = false;  // Prefix 66.
  uint8_t repeat = 0;      // Prefix F2 or F3, or 0.
  bool has_rex = false;
  bool wide = false;  // REX.W, VEX.W or EVEX.W.
  unsigned vector_bytes = 16;
  bool broadcast = false;      // EVEX.b.
  bool zeroes = false;         // EVEX.z.
  unsigned mask_register = 0;  // EVEX.aaa, 0 for none.

  // Of the ModRM byte, with the bits of the prefixes. `reg` is 0 to 31.
  bool has_memory = false;
  unsigned reg = 0;
  unsigned opcode_extension = 0;  // The three bits of `reg` alone.
  uint64_t address = 0;           // Of the memory operand.
  int64_t immediate = 0;          // Sign-extended.
  unsigned immediate_bytes = 0;
  unsigned modrm_offset = 0;  // From the beginning.
  unsigned length = 0;
};

// Decodes the instruction at `code`. `registers` are in the order of their
// numbers, RAX first. Returns false if it has a form that the emulator does not
// know.
bool Decode(const uint8_t* code, const uint64_t registers[16],
            Instruction* instruction);

}  // namespace passthru::preload

#endif  // PASSTHRU_TESTING_PRELOAD_INSTRUCTION_H_
