// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/guest/direct/direct_machine.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_format.h"
#include "absl/types/span.h"

namespace passthru::guest {
namespace {

constexpr uint64_t kEcamBase = 0xe0000000;
constexpr uint64_t kEcamSize = 0x100000;

uint64_t Truncate(uint64_t value, unsigned width) {
  return width >= 8 ? value : value & ((uint64_t{1} << (8 * width)) - 1);
}

}  // namespace

DirectMachine::DirectMachine() : ram_(kRamSize) {}
DirectMachine::~DirectMachine() = default;

DirectFunction& DirectMachine::AddFunction(pci::Bdf bdf,
                                           DirectFunction::Options options,
                                           models::DeviceModel* model) {
  const DirectFunction::Platform platform = {
      .ram = [this](uint64_t address, uint64_t size) -> absl::Span<uint8_t> {
        if (address < kRamBase || address - kRamBase > kRamSize ||
            size > kRamSize - (address - kRamBase)) {
          return {};
        }
        return absl::MakeSpan(ram_).subspan(address - kRamBase, size);
      },
      .deliver =
          [this](const GuestMessage& message) { arrived_.push_back(message); },
  };
  std::unique_ptr<DirectFunction>& slot = functions_[bdf.routing_id()];
  slot = std::make_unique<DirectFunction>(std::move(options), platform, model);
  return *slot;
}

GuestLayout DirectMachine::layout() const {
  GuestLayout layout;
  layout.dma_memory = {kRamBase, kRamSize};
  layout.ecam = {kEcamBase, kEcamSize};
  layout.io_window = {0x1000, 0xf000};
  layout.memory32_window = {0xc0000000, 0x20000000};
  layout.memory64_window = {0x800000000, 0x800000000};
  return layout;
}

uint32_t DirectMachine::ReadConfig(uint32_t routing_id, uint16_t offset,
                                   unsigned width) {
  const auto it = functions_.find(routing_id);
  if (it == functions_.end()) {
    return static_cast<uint32_t>(Truncate(~uint64_t{0}, width));
  }
  trace_.push_back(absl::StrFormat("cfg r%d %03x", width, offset));
  return it->second->ConfigRead(offset, width);
}

void DirectMachine::WriteConfig(uint32_t routing_id, uint16_t offset,
                                unsigned width, uint32_t value) {
  const auto it = functions_.find(routing_id);
  if (it == functions_.end()) return;
  trace_.push_back(absl::StrFormat("cfg w%d %03x=%x", width, offset, value));
  it->second->ConfigWrite(offset, width, value);
}

uint64_t DirectMachine::Load(uint64_t address, unsigned width) {
  const uint64_t all_ones = Truncate(~uint64_t{0}, width);
  if (stopping_) return all_ones;
  if (address >= kRamBase && address + width <= kRamBase + kRamSize) {
    uint64_t value = 0;
    for (unsigned i = 0; i < width; ++i) {
      value |= uint64_t{ram_[address - kRamBase + i]} << (8 * i);
    }
    return value;
  }
  if (address >= kEcamBase && address < kEcamBase + kEcamSize) {
    ++ecam_accesses_;
    const uint64_t at = address - kEcamBase;
    return ReadConfig(static_cast<uint32_t>(at >> 12), at & 0xfff, width);
  }
  for (auto& [id, function] : functions_) {
    if (const auto hit = function->FindMemory(address); hit.has_value()) {
      trace_.push_back(
          absl::StrFormat("mmio r%d %d:%x", width, hit->bar, hit->offset));
      return Truncate(function->BarRead(*hit, width), width);
    }
  }
  ++misses_;
  return all_ones;
}

void DirectMachine::Store(uint64_t address, unsigned width, uint64_t value) {
  if (stopping_) return;
  if (address >= kRamBase && address + width <= kRamBase + kRamSize) {
    for (unsigned i = 0; i < width; ++i) {
      ram_[address - kRamBase + i] = static_cast<uint8_t>(value >> (8 * i));
    }
    return;
  }
  if (address >= kEcamBase && address < kEcamBase + kEcamSize) {
    ++ecam_accesses_;
    const uint64_t at = address - kEcamBase;
    WriteConfig(static_cast<uint32_t>(at >> 12), at & 0xfff, width,
                static_cast<uint32_t>(value));
    return;
  }
  for (auto& [id, function] : functions_) {
    if (const auto hit = function->FindMemory(address); hit.has_value()) {
      trace_.push_back(absl::StrFormat("mmio w%d %d:%x=%x", width, hit->bar,
                                       hit->offset, value));
      function->BarWrite(*hit, width, value);
      return;
    }
  }
  ++misses_;
}

uint32_t DirectMachine::In(uint16_t port, unsigned width) {
  const uint16_t at = port & 3;
  if ((port & ~3) != 0xcfc || (config_address_ & 0x80000000) == 0 ||
      stopping_) {
    return static_cast<uint32_t>(Truncate(~uint64_t{0}, width));
  }
  ++port_accesses_;
  return ReadConfig((config_address_ >> 8) & 0xffff,
                    static_cast<uint16_t>((config_address_ & 0xfc) + at),
                    width);
}

void DirectMachine::Out(uint16_t port, unsigned width, uint32_t value) {
  if (stopping_) return;
  if (port == 0xcf8 && width == 4) {
    config_address_ = value;
    return;
  }
  if ((port & ~3) != 0xcfc || (config_address_ & 0x80000000) == 0) return;
  ++port_accesses_;
  WriteConfig((config_address_ >> 8) & 0xffff,
              static_cast<uint16_t>((config_address_ & 0xfc) + (port & 3)),
              width, value);
}

bool DirectMachine::StepDevices() {
  bool worked = false;
  for (auto& [id, function] : functions_) worked |= function->Step();
  return worked;
}

std::optional<GuestInterrupt> DirectMachine::WaitForInterrupt() {
  while (arrived_.empty() && !stopping_ && StepDevices()) {
  }
  if (arrived_.empty() || stopping_) return std::nullopt;
  const GuestInterrupt interrupt = arrived_.front();
  arrived_.pop_front();
  return interrupt;
}

}  // namespace passthru::guest
