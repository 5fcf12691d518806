// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/vfio/mapped_registers.h"

#include <endian.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>

#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace passthru::fake {
namespace {

constexpr uint64_t kWidth = sizeof(uint32_t);
constexpr uint32_t kNothingStored = 0xffffffff;

// The guest's accesses are a processor's, which are atomic where they are
// aligned.
std::atomic_ref<uint32_t> Cell(uint8_t* memory, uint64_t offset) {
  return std::atomic_ref<uint32_t>(
      *reinterpret_cast<uint32_t*>(memory + offset));
}

}  // namespace

absl::StatusOr<std::unique_ptr<MappedRegisters>> MappedRegisters::Create(
    models::DeviceModel* model, pci::BarIndex bar, const BarMemory* memory) {
  const auto mapped =
      memory->Map(nullptr, memory->size(), PROT_READ | PROT_WRITE, MAP_SHARED,
                  /*offset=*/0, /*alive=*/true);
  if (!mapped.ok()) {
    return absl::ErrnoToStatus(mapped.error,
                               absl::StrCat("mmap of ", model->name(), " ", bar,
                                            " for its registers"));
  }
  auto registers = absl::WrapUnique(new MappedRegisters(
      model, bar, static_cast<uint8_t*>(mapped.value), memory->size()));
  for (uint64_t offset = memory->size() & ~(kWidth - 1); offset != 0;) {
    offset -= kWidth;
    if (!model->IsPolled(bar, offset)) continue;
    registers->registers_.push_back(
        {.offset = offset, .is_doorbell = model->IsDoorbell(bar, offset)});
  }
  registers->Reset();
  return registers;
}

MappedRegisters::~MappedRegisters() { munmap(memory_, size_); }

bool MappedRegisters::Sync() {
  bool stored = false;
  for (Register& reg : registers_) stored |= TakeStore(reg);
  Show();
  return stored;
}

void MappedRegisters::Show() {
  for (Register& reg : registers_) Show(reg);
}

void MappedRegisters::Reset() {
  for (Register& reg : registers_) {
    reg.shown =
        reg.is_doorbell
            ? kNothingStored
            : static_cast<uint32_t>(model_->ReadBar(bar_, reg.offset, kWidth));
    Cell(memory_, reg.offset).store(htole32(reg.shown));
  }
}

bool MappedRegisters::TakeStore(Register& reg) {
  const std::atomic_ref<uint32_t> cell = Cell(memory_, reg.offset);
  // Empties the doorbell before the model sees the value, so that the guest's
  // next store counts as another one.
  const uint32_t value = le32toh(
      reg.is_doorbell ? cell.exchange(htole32(kNothingStored)) : cell.load());
  if (value == reg.shown) return false;
  if (!reg.is_doorbell) reg.shown = value;
  model_->WriteBar(bar_, reg.offset, kWidth, value);
  return true;
}

void MappedRegisters::Show(Register& reg) {
  if (reg.is_doorbell) return;
  const auto value =
      static_cast<uint32_t>(model_->ReadBar(bar_, reg.offset, kWidth));
  if (value == reg.shown) return;
  // Keeps a store that the guest made in between. The next Sync() takes it.
  uint32_t expected = htole32(reg.shown);
  if (Cell(memory_, reg.offset)
          .compare_exchange_strong(expected, htole32(value))) {
    reg.shown = value;
  }
}

}  // namespace passthru::fake
