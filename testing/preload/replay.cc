// SPDX-License-Identifier: Apache-2.0
#include "testing/preload/replay.h"

#include <string.h>
#include <sys/mman.h>

#include "testing/preload/instruction.h"
#include "testing/preload/raw.h"

namespace passthru::preload {
namespace {

using Map = Instruction::Map;
using Encoding = Instruction::Encoding;

// An instruction and its operand. A slot is in use only while one is executed,
// in a handler of SIGSEGV, which another one may interrupt.
struct Slot {
  alignas(64) uint8_t operand[64];
  uint8_t code[60];
  int in_use;
};
static_assert(sizeof(Slot) == 128);
constexpr int kSlots = 32;
Slot* slots;

// Returns a slot, or null if the program may have no memory for code.
Slot* TakeSlot() {
  Slot* all = __atomic_load_n(&slots, __ATOMIC_ACQUIRE);
  if (all == nullptr) {
    const long made = Raw(SYS_mmap, 0, kSlots * sizeof(Slot),
                          PROT_READ | PROT_WRITE | PROT_EXEC,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (IsError(made)) return nullptr;
    auto* const mine = reinterpret_cast<Slot*>(made);
    if (__atomic_compare_exchange_n(&slots, &all, mine, false, __ATOMIC_ACQ_REL,
                                    __ATOMIC_ACQUIRE)) {
      all = mine;
    } else {
      Raw(SYS_munmap, made, kSlots * sizeof(Slot));
    }
  }
  for (;;) {
    for (int i = 0; i < kSlots; ++i) {
      int free = 0;
      if (__atomic_compare_exchange_n(&all[i].in_use, &free, 1, false,
                                      __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
        return &all[i];
      }
    }
    Raw(SYS_sched_yield);
  }
}

bool IsBetween(uint8_t opcode, uint8_t first, uint8_t last) {
  return opcode >= first && opcode <= last;
}

// Returns whether the instruction computes with a whole vector of memory and
// stores nothing there (SDM vol. 2, appendix A.3).
bool ReadsWholeVector(const Instruction& i) {
  const uint8_t code = i.opcode;
  const bool evex = i.encoding == Encoding::kEvex;
  switch (i.map) {
    case Map::k0f:
      if (i.repeat != 0) return false;
      // Of floating point, UNPCKLPS to UNPCKHPD, ANDPS to MULPD, SUBPS to
      // MAXPD, CMPPS and SHUFPS.
      if (code == 0x14 || code == 0x15 || IsBetween(code, 0x54, 0x59) ||
          IsBetween(code, 0x5c, 0x5f) || code == 0xc2 || code == 0xc6) {
        return true;
      }
      // Of integers, which without the prefix are of MMX.
      return i.operand16 &&
             (IsBetween(code, 0x60, 0x6d) || code == 0x70 ||
              IsBetween(code, 0x74, 0x76) || IsBetween(code, 0xd4, 0xd5) ||
              IsBetween(code, 0xd8, 0xdf) || code == 0xe0 ||
              IsBetween(code, 0xe3, 0xe5) || IsBetween(code, 0xe8, 0xef) ||
              IsBetween(code, 0xf4, 0xf6) || IsBetween(code, 0xf8, 0xfe));
    case Map::k0f38:
      // VPTESTM and VPTESTNM.
      if (evex && (code == 0x26 || code == 0x27)) return i.repeat != 0xf2;
      return i.operand16 &&
             (IsBetween(code, 0x00, 0x0b) || IsBetween(code, 0x1c, 0x1e) ||
              IsBetween(code, 0x28, 0x29) || IsBetween(code, 0x37, 0x40) ||
              (code == 0x17 && !evex));
    case Map::k0f3a:
      // PALIGNR, and of EVEX VPCMP and VPTERNLOG.
      return i.operand16 &&
             (code == 0x0f ||
              (evex && (code == 0x1e || code == 0x1f || code == 0x25 ||
                        code == 0x3e || code == 0x3f)));
    default:
      return false;
  }
}

// The state of the signal frame, which XSAVE has written in its standard form
// (SDM vol. 1, 13.4), and which components it has room for.
constexpr size_t kSoftware = 464;        // struct _fpx_sw_bytes.
constexpr uint32_t kMagic = 0x46505853;  // FP_XSTATE_MAGIC1.
constexpr uint64_t kVectors = 0xe7;  // x87 to ZMM31, without MPX and others.

// Calls the code with the state and the arithmetic flags, and puts what it
// leaves there. RDI, RSI, RDX and RCX have the arguments.
extern "C" __attribute__((naked, visibility("hidden"))) void passthru_execute(
    void* /*state*/, uint64_t /*components*/, const void* /*code*/,
    uint64_t* /*flags*/) {
  __asm__(
      "push %rbx\n\tpush %r12\n\tpush %r13\n\tpush %r14\n\tsub $8, %rsp\n\t"
      "mov %rdi, %rbx\n\tmov %rsi, %r12\n\tmov %rdx, %r13\n\tmov %rcx, %r14\n\t"
      "mov %r12d, %eax\n\txor %edx, %edx\n\txrstor64 (%rbx)\n\t"
      "pushq (%r14)\n\tpopfq\n\tcall *%r13\n\tpushfq\n\tpopq (%r14)\n\t"
      "mov %r12d, %eax\n\txor %edx, %edx\n\txsave64 (%rbx)\n\t"
      "add $8, %rsp\n\tpop %r14\n\tpop %r13\n\tpop %r12\n\tpop %rbx\n\tret");
}

}  // namespace

Emulated Replay(mcontext_t& context, LoadMemory load) {
  static constexpr int kGeneral[16] = {
      REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
      REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
  // Carry, parity, adjust, zero, sign and overflow.
  constexpr uint64_t kArithmetic = 0x8d5;
  uint64_t registers[16];
  for (int n = 0; n < 16; ++n) {
    registers[n] = static_cast<uint64_t>(context.gregs[kGeneral[n]]);
  }
  const auto* const code =
      reinterpret_cast<const uint8_t*>(context.gregs[REG_RIP]);
  Instruction i;
  if (!Decode(code, registers, &i) || !i.has_memory || !ReadsWholeVector(i)) {
    return Emulated::kUnknown;
  }
  auto* const state = reinterpret_cast<uint8_t*>(context.fpregs);
  uint32_t magic = 0;
  uint64_t components = 0;
  if (state != nullptr) memcpy(&magic, state + kSoftware, sizeof(magic));
  if (magic != kMagic) return Emulated::kUnknown;
  memcpy(&components, state + kSoftware + 8, sizeof(components));

  const size_t size = i.broadcast ? (i.wide ? 8 : 4) : i.vector_bytes;
  // What an opmask leaves out may be in a page that is not there.
  if (i.mask_register != 0 && i.address % 4096 + size > 4096) {
    return Emulated::kUnknown;
  }
  Slot* const slot = TakeSlot();
  if (slot == nullptr) return Emulated::kUnknown;
  Emulated result = Emulated::kNoAnswer;
  if (load(i.address, slot->operand, size)) {
    // The same instruction with the operand at RIP and a displacement, behind
    // which is the immediate (SDM vol. 2, 2.2.1.6).
    uint8_t* to = slot->code;
    memcpy(to, code, i.modrm_offset);
    to += i.modrm_offset;
    *to++ = static_cast<uint8_t>((code[i.modrm_offset] & 0x38) | 5);
    const auto displacement = static_cast<int32_t>(
        slot->operand - (to + sizeof(int32_t) + i.immediate_bytes));
    memcpy(to, &displacement, sizeof(displacement));
    to += sizeof(displacement);
    memcpy(to, code + i.length - i.immediate_bytes, i.immediate_bytes);
    to += i.immediate_bytes;
    *to = 0xc3;  // RET
    auto flags = static_cast<uint64_t>(context.gregs[REG_EFL]) & kArithmetic;
    passthru_execute(state, components & kVectors, slot->code, &flags);
    context.gregs[REG_EFL] = static_cast<greg_t>(
        (static_cast<uint64_t>(context.gregs[REG_EFL]) & ~kArithmetic) |
        (flags & kArithmetic));
    context.gregs[REG_RIP] += i.length;
    result = Emulated::kDone;
  }
  __atomic_store_n(&slot->in_use, 0, __ATOMIC_RELEASE);
  return result;
}

}  // namespace passthru::preload
