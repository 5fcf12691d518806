// SPDX-License-Identifier: Apache-2.0
//
// The instructions on general registers: moves, arithmetic and bit tests.
#include <stdint.h>

#include "testing/preload/processor.h"

namespace passthru::preload {
namespace {

using Map = Instruction::Map;

class General : Processor {
 public:
  explicit General(const Processor& processor) : Processor(processor) {}

  Emulated Run() {
    const bool legacy = i_.encoding == Instruction::Encoding::kLegacy;
    if (legacy && i_.map == Map::kOneByte) return OneByte();
    if (legacy && i_.map == Map::k0f) return TwoBytes();
    return Emulated::kUnknown;
  }

 private:
  static uint64_t ResultFlags(uint64_t result, unsigned width) {
    uint64_t flags = 0;
    if (result == 0) flags |= kZero;
    if ((result & TopBit(width)) != 0) flags |= kSign;
    if (__builtin_parity(result & 0xff) == 0) flags |= kParity;
    return flags;
  }

  // Carries out ADD, OR, ADC, SBB, AND, SUB, XOR or CMP, by number.
  uint64_t Arithmetic(unsigned operation, uint64_t a, uint64_t b,
                      unsigned width) {
    const uint64_t mask = Mask(width);
    const bool carry =
        (Flags() & kCarry) != 0 && (operation == 2 || operation == 3);
    uint64_t result = 0;
    uint64_t flags = 0;
    switch (operation) {
      case 0:
      case 2:
        result = (a + b + carry) & mask;
        if (result < a || (carry && result == a)) flags |= kCarry;
        if (((a ^ result) & (b ^ result) & TopBit(width)) != 0) {
          flags |= kOverflow;
        }
        break;
      case 3:
      case 5:
      case 7:
        result = (a - b - carry) & mask;
        if (a < b || (carry && a == b)) flags |= kCarry;
        if (((a ^ b) & (a ^ result) & TopBit(width)) != 0) flags |= kOverflow;
        break;
      case 1:
        result = a | b;
        break;
      case 4:
        result = a & b;
        break;
      default:
        result = a ^ b;
        break;
    }
    const bool logic = operation == 1 || operation == 4 || operation == 6;
    if (!logic) flags |= (a ^ b ^ result) & kAdjust;
    SetFlags(kArithmetic, flags | ResultFlags(result, width));
    return result;
  }

  // Memory is the first operand, and gets the result but for CMP.
  Emulated MemoryArithmetic(unsigned operation, uint64_t other,
                            unsigned width) {
    uint64_t value;
    if (!Load(&value, width)) return Emulated::kNoAnswer;
    const uint64_t flags = Flags();
    const uint64_t result =
        Arithmetic(operation, value, other & Mask(width), width);
    if (operation == 7 || Store(result, width)) return Emulated::kDone;
    SetFlags(~uint64_t{0}, flags);
    return Emulated::kNoAnswer;
  }

  Emulated LoadTo(unsigned width) {
    uint64_t value;
    if (!Load(&value, width)) return Emulated::kNoAnswer;
    Set(i_.reg, width, value);
    return Emulated::kDone;
  }

  Emulated StoreValue(uint64_t value, unsigned width) {
    return Store(value, width) ? Emulated::kDone : Emulated::kNoAnswer;
  }

  Emulated OneByte() {
    const uint8_t opcode = i_.opcode;
    const unsigned width = WidthOf(opcode);
    if (opcode < 0x40 && (opcode & 7) < 4) {
      const unsigned operation = opcode >> 3;
      if ((opcode & 2) == 0) {
        return MemoryArithmetic(operation, Get(i_.reg, width), width);
      }
      uint64_t value;
      if (!Load(&value, width)) return Emulated::kNoAnswer;
      const uint64_t result =
          Arithmetic(operation, Get(i_.reg, width), value, width);
      if (operation != 7) Set(i_.reg, width, result);
      return Emulated::kDone;
    }
    const auto immediate = static_cast<uint64_t>(i_.immediate);
    switch (opcode) {
      case 0x63:  // MOVSXD.
        return Extend(4, Width(), true);
      case 0x80:
      case 0x81:
        return MemoryArithmetic(i_.opcode_extension, immediate, width);
      case 0x83:
        return MemoryArithmetic(i_.opcode_extension, immediate, Width());
      case 0x84:
      case 0x85:
        return Test(Get(i_.reg, width), width);
      case 0x86:
      case 0x87:
        return Exchange(width);
      case 0x88:
      case 0x89:
        return StoreValue(Get(i_.reg, width), width);
      case 0x8a:
      case 0x8b:
        return LoadTo(width);
      case 0xa0:
      case 0xa1:
        i_.reg = 0;
        return LoadTo(width);
      case 0xa2:
      case 0xa3:
        return StoreValue(Get(0, width), width);
      case 0xc6:
      case 0xc7:
        if (i_.opcode_extension != 0) return Emulated::kUnknown;
        return StoreValue(immediate, width);
      case 0xf6:
      case 0xf7:
        if (i_.opcode_extension < 2) return Test(immediate, width);
        if (i_.opcode_extension == 2) return Invert(width);
        return Emulated::kUnknown;
      case 0xfe:
      case 0xff:
        if (i_.opcode_extension > 1) return Emulated::kUnknown;
        return Step(i_.opcode_extension == 1, width);
      default:
        return Emulated::kUnknown;
    }
  }

  Emulated Extend(unsigned from, unsigned to, bool with_sign) {
    uint64_t value;
    if (!Load(&value, from)) return Emulated::kNoAnswer;
    if (with_sign && (value & TopBit(from)) != 0) value |= ~Mask(from);
    Set(i_.reg, to, value);
    return Emulated::kDone;
  }

  Emulated Test(uint64_t other, unsigned width) {
    uint64_t value;
    if (!Load(&value, width)) return Emulated::kNoAnswer;
    Arithmetic(4, value, other & Mask(width), width);
    return Emulated::kDone;
  }

  Emulated Exchange(unsigned width) {
    uint64_t value;
    if (!Load(&value, width) || !Store(Get(i_.reg, width), width)) {
      return Emulated::kNoAnswer;
    }
    Set(i_.reg, width, value);
    return Emulated::kDone;
  }

  Emulated Invert(unsigned width) {  // NOT changes no flag.
    uint64_t value;
    if (!Load(&value, width)) return Emulated::kNoAnswer;
    return StoreValue(~value, width);
  }

  Emulated Step(bool down, unsigned width) {  // INC and DEC keep the carry.
    const uint64_t carry = Flags();
    const Emulated result = MemoryArithmetic(down ? 5 : 0, 1, width);
    SetFlags(kCarry, carry);
    return result;
  }

  Emulated TwoBytes() {
    const unsigned width = WidthOf(i_.opcode);
    switch (i_.opcode) {
      case 0xb6:  // MOVZX and MOVSX.
        return Extend(1, Width(), false);
      case 0xb7:
        return Extend(2, Width(), false);
      case 0xbe:
        return Extend(1, Width(), true);
      case 0xbf:
        return Extend(2, Width(), true);
      case 0xc3:  // MOVNTI.
        return StoreValue(Get(i_.reg, Width()), Width());
      case 0xb0:
      case 0xb1:
        return CompareAndExchange(width);
      case 0xc0:
      case 0xc1:
        return ExchangeAndAdd(width);
      case 0xa3:
      case 0xab:
      case 0xb3:
      case 0xbb:
        return Bit((i_.opcode >> 3) & 3, RegisterBit());
      case 0xba:
        if (i_.opcode_extension < 4) return Emulated::kUnknown;
        return Bit(i_.opcode_extension & 3,
                   static_cast<unsigned>(i_.immediate) & (8 * Width() - 1));
      case 0x0d:  // Prefetches touch nothing.
      case 0x18:
        return Emulated::kDone;
      default:
        return Emulated::kUnknown;
    }
  }

  // Returns the bit that a register names, and moves the operand to it.
  unsigned RegisterBit() {
    const unsigned width = Width();
    const auto bits = static_cast<int64_t>(8 * width);
    int64_t bit = static_cast<int64_t>(Get(i_.reg, width));
    if (width < 8 && (bit & static_cast<int64_t>(TopBit(width))) != 0) {
      bit |= ~static_cast<int64_t>(Mask(width));
    }
    const int64_t word = bit >= 0 ? bit / bits : -((bits - 1 - bit) / bits);
    i_.address += static_cast<uint64_t>(word * static_cast<int64_t>(width));
    return static_cast<unsigned>(bit - word * bits);
  }

  // Carries out BT, BTS, BTR or BTC, by number.
  Emulated Bit(unsigned operation, unsigned bit) {
    uint64_t value;
    if (!Load(&value, Width())) return Emulated::kNoAnswer;
    const uint64_t one = uint64_t{1} << bit;
    const uint64_t result = operation == 1   ? value | one
                            : operation == 2 ? value & ~one
                                             : value ^ one;
    if (operation != 0 && !Store(result, Width())) return Emulated::kNoAnswer;
    SetFlags(kCarry, (value & one) != 0 ? kCarry : 0);
    return Emulated::kDone;
  }

  Emulated CompareAndExchange(unsigned width) {
    uint64_t value;
    if (!Load(&value, width)) return Emulated::kNoAnswer;
    const uint64_t expected = Get(0, width);
    const bool equal = value == expected;
    if (equal && !Store(Get(i_.reg, width), width)) return Emulated::kNoAnswer;
    Arithmetic(7, expected, value, width);
    if (!equal) Set(0, width, value);
    return Emulated::kDone;
  }

  Emulated ExchangeAndAdd(unsigned width) {
    uint64_t value;
    if (!Load(&value, width)) return Emulated::kNoAnswer;
    const uint64_t flags = Flags();
    const uint64_t sum = Arithmetic(0, value, Get(i_.reg, width), width);
    if (!Store(sum, width)) {
      SetFlags(~uint64_t{0}, flags);
      return Emulated::kNoAnswer;
    }
    Set(i_.reg, width, value);
    return Emulated::kDone;
  }
};

}  // namespace

Emulated EmulateGeneral(const Processor& processor) {
  return General(processor).Run();
}

}  // namespace passthru::preload
