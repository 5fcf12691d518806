// SPDX-License-Identifier: Apache-2.0
#include "testing/preload/emulator.h"

#include <string.h>

#include "testing/preload/instruction.h"
#include "testing/preload/vector_state.h"

namespace passthru::preload {
namespace {

using Map = Instruction::Map;

// RFLAGS (Intel SDM vol. 1, 3.4.3).
constexpr uint64_t kCarry = 1u << 0, kParity = 1u << 2, kAdjust = 1u << 4,
                   kZero = 1u << 6, kSign = 1u << 7, kDirection = 1u << 10,
                   kOverflow = 1u << 11;
constexpr uint64_t kArithmetic =
    kCarry | kParity | kAdjust | kZero | kSign | kOverflow;

constexpr int kGeneral[16] = {
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

class StringMove : Processor {
 public:
  explicit StringMove(const Processor& processor) : Processor(processor) {}

  // Carries out MOVS, STOS and LODS, with or without REP. What a refused access
  // leaves is what the processor leaves: the elements before it are done.
  Emulated Run() {
    const unsigned width = WidthOf(i_.opcode);
    const bool moves = (i_.opcode & ~1) == 0xa4;
    const bool stores = (i_.opcode & ~1) == 0xaa;
    const bool loads = (i_.opcode & ~1) == 0xac;
    if (!moves && !stores && !loads) return Emulated::kUnknown;
    const auto step = (Flags() & kDirection) != 0 ? -static_cast<greg_t>(width)
                                                  : static_cast<greg_t>(width);
    greg_t& source = context_.gregs[REG_RSI];
    greg_t& target = context_.gregs[REG_RDI];
    greg_t& count = context_.gregs[REG_RCX];
    while (i_.repeat == 0 || count != 0) {
      uint64_t value = Get(0, width);
      if (!stores && !load_(static_cast<uint64_t>(source), &value, width)) {
        return Emulated::kNoAnswer;
      }
      if (loads) {
        Set(0, width, value);
      } else if (!store_(static_cast<uint64_t>(target), &value, width)) {
        return Emulated::kNoAnswer;
      }
      if (!stores) source += step;
      if (!loads) target += step;
      if (i_.repeat == 0) break;
      --count;
    }
    return Emulated::kDone;
  }
};

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

bool IsString(const Instruction& i) {
  return i.encoding == Instruction::Encoding::kLegacy &&
         i.map == Instruction::Map::kOneByte && i.opcode >= 0xa4 &&
         i.opcode <= 0xaf;
}

}  // namespace

Emulated Emulate(mcontext_t& context, LoadMemory load, StoreMemory store) {
  uint64_t registers[16];
  for (int i = 0; i < 16; ++i) {
    registers[i] = static_cast<uint64_t>(context.gregs[kGeneral[i]]);
  }
  const auto* const code =
      reinterpret_cast<const uint8_t*>(context.gregs[REG_RIP]);
  Instruction instruction;
  if (!Decode(code, registers, &instruction)) return Emulated::kUnknown;
  const Processor processor(context, instruction, load, store);
  Emulated result = Emulated::kUnknown;
  if (IsString(instruction)) {
    result = StringMove(processor).Run();
  } else if (instruction.has_memory) {
    result = General(processor).Run();
    if (result == Emulated::kUnknown) result = VectorMove(processor).Run();
  }
  if (result == Emulated::kDone) context.gregs[REG_RIP] += instruction.length;
  return result;
}

}  // namespace passthru::preload
