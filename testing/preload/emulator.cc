// SPDX-License-Identifier: Apache-2.0
#include "testing/preload/emulator.h"

#include <stdint.h>

#include "testing/preload/instruction.h"
#include "testing/preload/processor.h"

namespace passthru::preload {
namespace {

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
    result = EmulateString(processor);
  } else if (instruction.has_memory) {
    result = EmulateGeneral(processor);
    if (result == Emulated::kUnknown) result = EmulateVector(processor);
  }
  if (result == Emulated::kDone) context.gregs[REG_RIP] += instruction.length;
  return result;
}

}  // namespace passthru::preload
