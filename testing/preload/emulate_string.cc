// SPDX-License-Identifier: Apache-2.0
//
// The string instructions.
#include <stdint.h>

#include "testing/preload/processor.h"

namespace passthru::preload {
namespace {

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

}  // namespace

Emulated EmulateString(const Processor& processor) {
  return StringMove(processor).Run();
}

}  // namespace passthru::preload
