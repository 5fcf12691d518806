// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_PRELOAD_PROCESSOR_H_
#define PASSTHRU_TESTING_PRELOAD_PROCESSOR_H_

#include <stddef.h>
#include <stdint.h>
#include <ucontext.h>

#include "testing/preload/emulator.h"
#include "testing/preload/instruction.h"

namespace passthru::preload {

// RFLAGS (Intel SDM vol. 1, 3.4.3).
inline constexpr uint64_t kCarry = 1u << 0, kParity = 1u << 2,
                          kAdjust = 1u << 4, kZero = 1u << 6, kSign = 1u << 7,
                          kDirection = 1u << 10, kOverflow = 1u << 11;
inline constexpr uint64_t kArithmetic =
    kCarry | kParity | kAdjust | kZero | kSign | kOverflow;

inline constexpr int kGeneral[16] = {
    REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
    REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

constexpr uint64_t Mask(unsigned bytes) {
  return bytes == 8 ? ~uint64_t{0} : (uint64_t{1} << (8 * bytes)) - 1;
}

constexpr uint64_t TopBit(unsigned bytes) {
  return uint64_t{1} << (8 * bytes - 1);
}

// The processor in front of an instruction, as those see it that carry the
// instruction out: the general registers, the flags, and the memory operand.
class Processor {
 public:
  Processor(mcontext_t& context, const Instruction& instruction,
            LoadMemory load, StoreMemory store)
      : context_(context), load_(load), store_(store), i_(instruction) {}

 protected:
  uint64_t Register(unsigned number) const {
    return static_cast<uint64_t>(context_.gregs[kGeneral[number]]);
  }

  // Returns the width of an operand that is not a byte.
  unsigned Width() const { return i_.wide ? 8 : i_.operand16 ? 2 : 4; }
  unsigned WidthOf(uint8_t opcode) const {
    return (opcode & 1) == 0 ? 1 : Width();
  }

  // Without REX the byte registers 4 to 7 are AH, CH, DH and BH.
  bool IsHighByte(unsigned number, unsigned width) const {
    return width == 1 && !i_.has_rex && number >= 4 && number < 8;
  }

  uint64_t Get(unsigned number, unsigned width) const {
    if (IsHighByte(number, width)) return Register(number - 4) >> 8 & 0xff;
    return Register(number) & Mask(width);
  }

  // A result of 4 bytes clears the upper half (SDM vol. 1, 3.4.1.1).
  void Set(unsigned number, unsigned width, uint64_t value) {
    const unsigned shift = IsHighByte(number, width) ? 8 : 0;
    const unsigned whole = shift == 0 ? number : number - 4;
    uint64_t result = value & Mask(width);
    if (width < 4) {
      result = (Register(whole) & ~(Mask(width) << shift)) | result << shift;
    }
    context_.gregs[kGeneral[whole]] = static_cast<greg_t>(result);
  }

  uint64_t Flags() const {
    return static_cast<uint64_t>(context_.gregs[REG_EFL]);
  }
  void SetFlags(uint64_t which, uint64_t value) {
    context_.gregs[REG_EFL] =
        static_cast<greg_t>((Flags() & ~which) | (value & which));
  }

  bool Load(uint64_t* value, unsigned width) {
    *value = 0;
    return load_(i_.address, value, width);
  }
  bool Store(uint64_t value, unsigned width) {
    return store_(i_.address, &value, width);
  }

  mcontext_t& context_;
  const LoadMemory load_;
  const StoreMemory store_;
  Instruction i_;
};

// Carry out instructions of one kind. They return kUnknown, and have done
// nothing, if the instruction is of another kind. RIP stays.
Emulated EmulateGeneral(const Processor& processor);
Emulated EmulateString(const Processor& processor);
Emulated EmulateVector(const Processor& processor);

}  // namespace passthru::preload

#endif  // PASSTHRU_TESTING_PRELOAD_PROCESSOR_H_
