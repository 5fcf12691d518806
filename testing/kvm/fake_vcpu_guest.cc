// SPDX-License-Identifier: Apache-2.0
//
// The guest's half of FakeVcpu, which is its loads, stores and waits.
#include <endian.h>
#include <linux/kvm.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/log/check.h"
#include "absl/log/log.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "passthru/testing/guest/guest_cpu.h"
#include "passthru/testing/journal/call.h"
#include "passthru/testing/journal/user_memory.h"
#include "passthru/testing/kernel/fake_file.h"
#include "passthru/testing/kernel/kernel_core.h"
#include "passthru/testing/kernel/mapping_table.h"
#include "passthru/testing/kvm/fake_kvm_caps.h"
#include "passthru/testing/kvm/fake_vcpu.h"

namespace passthru::fake {
namespace {

// A program that makes this many calls after the VM stopped does not end, which
// is a bug of the test.
constexpr uint64_t kCallsAfterStop = 10'000'000;

uint64_t AllOnes(unsigned width) {
  return ~uint64_t{0} >> (64 - 8 * std::min(width, 8u));
}

bool IsWidth(unsigned width, unsigned largest) {
  return width <= largest &&
         (width == 1 || width == 2 || width == 4 || width == 8);
}

// Returns the size of the part of [address, address + size) in the first page.
size_t InFirstPage(uint64_t address, size_t size) {
  return std::min<size_t>(size, kKvmPageSize - address % kKvmPageSize);
}

absl::Span<uint8_t> Bytes(uint64_t& value, unsigned width) {
  return {reinterpret_cast<uint8_t*>(&value), width};
}

}  // namespace

uint64_t FakeVcpu::Load(uint64_t address, unsigned width) {
  CHECK(IsWidth(width, 8)) << width;
  if (CallAfterStop()) return AllOnes(width);
  uint64_t value = 0;
  absl::Span<uint8_t> rest = Bytes(value, width);
  const absl::MutexLock lock(&core_->mutex);
  if (!AwaitGuestMode()) return AllOnes(width);
  options_.platform->StepHardware();
  while (!rest.empty()) {
    const size_t size = InFirstPage(address, rest.size());
    if (!LoadFragment(address, rest.first(size))) return AllOnes(width);
    address += size;
    rest.remove_prefix(size);
  }
  return le64toh(value);
}

void FakeVcpu::Store(uint64_t address, unsigned width, uint64_t value) {
  CHECK(IsWidth(width, 8)) << width;
  if (CallAfterStop()) return;
  value = htole64(value);
  absl::Span<const uint8_t> rest = Bytes(value, width);
  const absl::MutexLock lock(&core_->mutex);
  while (!rest.empty()) {
    const size_t size = InFirstPage(address, rest.size());
    if (!StoreFragment(address, rest.first(size))) return;
    address += size;
    rest.remove_prefix(size);
  }
}

uint32_t FakeVcpu::In(uint16_t port, unsigned width) {
  CHECK(IsWidth(width, 4)) << width;
  if (CallAfterStop()) return static_cast<uint32_t>(AllOnes(width));
  uint64_t value = 0;
  const absl::MutexLock lock(&core_->mutex);
  if (!AwaitGuestMode()) return static_cast<uint32_t>(AllOnes(width));
  options_.platform->StepHardware();
  if (!IoExit(port, Bytes(value, width), /*is_write=*/false)) {
    return static_cast<uint32_t>(AllOnes(width));
  }
  return static_cast<uint32_t>(le64toh(value));
}

void FakeVcpu::Out(uint16_t port, unsigned width, uint32_t value) {
  CHECK(IsWidth(width, 4)) << width;
  if (CallAfterStop()) return;
  uint64_t data = htole64(value & AllOnes(width));
  const absl::MutexLock lock(&core_->mutex);
  if (!AwaitGuestMode()) return;
  if (options_.platform->OnUnbackedWrite(/*pio=*/true, port, width,
                                         le64toh(data))) {
    ++counts_.ioeventfds;
    return;
  }
  IoExit(port, Bytes(data, width), /*is_write=*/true);
}

std::optional<guest::GuestInterrupt> FakeVcpu::WaitForInterrupt() {
  if (CallAfterStop()) return std::nullopt;
  const absl::MutexLock lock(&core_->mutex);
  const absl::Duration limit = options_.platform->WaitLimit();
  const absl::Time deadline = absl::Now() + limit;
  for (;;) {
    if (!AwaitGuestMode()) return std::nullopt;
    if (!interrupts_.empty()) {
      const guest::GuestInterrupt interrupt = interrupts_.front();
      interrupts_.pop_front();
      return interrupt;
    }
    if (!options_.platform->InterruptsInKernel()) {
      ++counts_.halts;
      if (!Exit(KVM_EXIT_HLT)) return std::nullopt;
      continue;
    }
    if (options_.platform->StepHardware()) continue;
    // The devices are idle, but another vCPU, the VMM's event loop or a device
    // thread can still cause an interrupt.
    if (changed_.WaitWithDeadline(&core_->mutex, deadline) &&
        interrupts_.empty()) {
      journal::Call event{.name = "no-interrupt",
                          .subject = absl::StrCat("vcpu ", options_.id)};
      event.Text("waited", absl::FormatDuration(limit));
      core_->journal.RecordEvent(std::move(event));
      return std::nullopt;
    }
  }
}

bool FakeVcpu::CallAfterStop() {
  if (!stopping_.load()) return false;
  if (++calls_after_stop_ > kCallsAfterStop) {
    LOG(FATAL) << "the guest program of vCPU " << options_.id
               << " does not end: it must bound its polling or ask Stopping()";
  }
  return true;
}

bool FakeVcpu::LoadFragment(uint64_t address, absl::Span<uint8_t> data) {
  for (;;) {
    if (!AwaitGuestMode()) return false;
    const auto backing = options_.platform->Translate(address);
    if (!backing.has_value()) return MmioExit(address, data, false);
    if (LoadBacked(backing->host_address, data)) return true;
    if (!ExitWithError(EFAULT)) return false;
  }
}

bool FakeVcpu::StoreFragment(uint64_t address, absl::Span<const uint8_t> data) {
  for (;;) {
    if (!AwaitGuestMode()) return false;
    const auto backing = options_.platform->Translate(address);
    if (!backing.has_value() || backing->read_only) {
      uint64_t value = 0;
      std::memcpy(&value, data.data(), data.size());
      if (options_.platform->OnUnbackedWrite(
              /*pio=*/false, address, static_cast<unsigned>(data.size()),
              le64toh(value))) {
        ++counts_.ioeventfds;
        return true;
      }
      return MmioExit(address, Bytes(value, static_cast<unsigned>(data.size())),
                      true);
    }
    if (StoreBacked(backing->host_address, data)) return true;
    if (!ExitWithError(EFAULT)) return false;
  }
}

bool FakeVcpu::LoadBacked(uint64_t host_address, absl::Span<uint8_t> data) {
  const Mapping* const mapping = core_->mappings.Find(host_address);
  if (mapping != nullptr && mapping->file != nullptr) {
    switch (mapping->file->MappedLoad(
        mapping->offset + (host_address - mapping->address), data)) {
      case MappedAccess::kHandled:
        ++counts_.memory_accesses;
        ++counts_.register_accesses;
        core_->device_work.Signal();
        return true;
      case MappedAccess::kFault:
        return false;
      case MappedAccess::kPlainMemory:
        break;
    }
  }
  if (!journal::CopyFromUser(data.data(), journal::UserPointer(host_address),
                             data.size())) {
    return false;
  }
  ++counts_.memory_accesses;
  return true;
}

bool FakeVcpu::StoreBacked(uint64_t host_address,
                           absl::Span<const uint8_t> data) {
  const Mapping* const mapping = core_->mappings.Find(host_address);
  if (mapping != nullptr && mapping->file != nullptr) {
    switch (mapping->file->MappedStore(
        mapping->offset + (host_address - mapping->address), data)) {
      case MappedAccess::kHandled:
        ++counts_.memory_accesses;
        ++counts_.register_accesses;
        core_->device_work.Signal();
        return true;
      case MappedAccess::kFault:
        return false;
      case MappedAccess::kPlainMemory:
        break;
    }
  }
  if (!journal::CopyToUser(journal::UserPointer(host_address), data.data(),
                           data.size())) {
    return false;
  }
  ++counts_.memory_accesses;
  return true;
}

// Exits with KVM_EXIT_MMIO. The access never crosses a page, so it is one
// fragment of at most 8 bytes.
bool FakeVcpu::MmioExit(uint64_t address, absl::Span<uint8_t> data,
                        bool is_write) {
  run_->mmio.phys_addr = address;
  run_->mmio.len = static_cast<uint32_t>(data.size());
  run_->mmio.is_write = is_write ? 1 : 0;
  std::memset(run_->mmio.data, 0, sizeof(run_->mmio.data));
  if (is_write) {
    ++counts_.mmio_writes;
    std::memcpy(run_->mmio.data, data.data(), data.size());
  } else {
    ++counts_.mmio_reads;
    pending_result_ = absl::MakeConstSpan(run_->mmio.data, data.size());
  }
  if (!Exit(KVM_EXIT_MMIO)) return false;
  if (!is_write) std::memcpy(data.data(), result_, data.size());
  return true;
}

// Exits with KVM_EXIT_IO. The data is in the page after struct kvm_run.
bool FakeVcpu::IoExit(uint16_t port, absl::Span<uint8_t> data, bool is_write) {
  uint8_t* const buffer = reinterpret_cast<uint8_t*>(run_) + kKvmPageSize;
  run_->io.direction = is_write ? KVM_EXIT_IO_OUT : KVM_EXIT_IO_IN;
  run_->io.size = static_cast<uint8_t>(data.size());
  run_->io.port = port;
  run_->io.count = 1;
  run_->io.data_offset = kKvmPageSize;
  std::memset(buffer, 0, sizeof(uint32_t));
  if (is_write) {
    ++counts_.io_writes;
    std::memcpy(buffer, data.data(), data.size());
  } else {
    ++counts_.io_reads;
    pending_result_ = absl::MakeConstSpan(buffer, data.size());
  }
  if (!Exit(KVM_EXIT_IO)) return false;
  if (!is_write) std::memcpy(data.data(), result_, data.size());
  return true;
}

}  // namespace passthru::fake
