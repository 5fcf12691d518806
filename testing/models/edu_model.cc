// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/models/edu_model.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>

#include "absl/types/span.h"

namespace passthru::models {
namespace {

// Register offsets and bits, from "MMIO area spec" of QEMU's docs/specs/edu.
constexpr uint64_t kIdentificationOffset = 0x00;
constexpr uint64_t kLivenessOffset = 0x04;
constexpr uint64_t kFactorialOffset = 0x08;
constexpr uint64_t kEduStatusOffset = 0x20;
constexpr uint64_t kInterruptStatusOffset = 0x24;
constexpr uint64_t kInterruptRaiseOffset = 0x60;
constexpr uint64_t kInterruptAckOffset = 0x64;
constexpr uint64_t kDmaSourceOffset = 0x80;
constexpr uint64_t kDmaDestinationOffset = 0x88;
constexpr uint64_t kDmaCountOffset = 0x90;
constexpr uint64_t kDmaCommandOffset = 0x98;

constexpr uint32_t kStatusComputing = 0x01;
constexpr uint32_t kStatusInterruptOnFactorial = 0x80;

constexpr uint64_t kDmaRun = 0x1;
constexpr uint64_t kDmaToSystemMemory = 0x2;
constexpr uint64_t kDmaInterrupt = 0x4;

constexpr uint32_t kFactorialInterrupt = 0x00000001;
constexpr uint32_t kDmaInterruptStatus = 0x00000100;

bool WidthAllowed(uint64_t offset, unsigned width) {
  return width == 4 || (offset >= 0x80 && width == 8);
}

// Returns the offset into the internal buffer of [address, address + count), if
// the range lies inside it.
std::optional<uint64_t> BufferOffset(uint64_t address, uint64_t count) {
  if (address < EduModel::kBufferAddress) return std::nullopt;
  const uint64_t offset = address - EduModel::kBufferAddress;
  if (count == 0 || offset >= EduModel::kBufferSize ||
      count > EduModel::kBufferSize - offset) {
    return std::nullopt;
  }
  return offset;
}

}  // namespace

bool EduModel::HandlesBar(pci::BarIndex bar, uint64_t) const {
  return bar == pci::BarIndex(0);
}

// The rest of the BAR, which is 1 MiB, has no registers.
bool EduModel::IsPolled(pci::BarIndex bar, uint64_t offset) const {
  return HandlesBar(bar, offset) && offset < kDmaCommandOffset + 8;
}

uint64_t* EduModel::DmaRegister(uint64_t offset) {
  switch (offset) {
    case kDmaSourceOffset:
      return &dma_.source;
    case kDmaDestinationOffset:
      return &dma_.destination;
    case kDmaCountOffset:
      return &dma_.count;
    case kDmaCommandOffset:
      return &dma_.command;
    default:
      return nullptr;
  }
}

uint64_t EduModel::ReadBar(pci::BarIndex bar, uint64_t offset, unsigned width) {
  const uint64_t all_ones = ~uint64_t{0};
  if (!HandlesBar(bar, offset) || !WidthAllowed(offset, width)) return all_ones;
  if (const uint64_t* dma = DmaRegister(offset); dma != nullptr) return *dma;
  switch (offset) {
    case kIdentificationOffset:
      return kIdentification;
    case kLivenessOffset:
      return liveness_;
    case kFactorialOffset:
      return factorial_;
    case kEduStatusOffset:
      return status_;
    case kInterruptStatusOffset:
      return interrupt_status_;
    default:
      return all_ones;
  }
}

void EduModel::WriteBar(pci::BarIndex bar, uint64_t offset, unsigned width,
                        uint64_t value) {
  if (!HandlesBar(bar, offset) || !WidthAllowed(offset, width)) return;
  if (DmaRegister(offset) != nullptr) {
    WriteDma(offset, width, value);
    return;
  }
  const uint32_t word = static_cast<uint32_t>(value);
  switch (offset) {
    case kLivenessOffset:
      liveness_ = ~word;
      break;
    case kFactorialOffset:
      if ((status_ & kStatusComputing) != 0) break;
      factorial_ = word;
      status_ |= kStatusComputing;
      break;
    case kEduStatusOffset:
      status_ = (status_ & ~kStatusInterruptOnFactorial) |
                (word & kStatusInterruptOnFactorial);
      break;
    case kInterruptRaiseOffset:
      RaiseInterrupt(word);
      break;
    case kInterruptAckOffset:
      LowerInterrupt(word);
      break;
    default:
      break;
  }
}

void EduModel::WriteDma(uint64_t offset, unsigned width, uint64_t value) {
  // The registers do not change while a transfer runs.
  if ((dma_.command & kDmaRun) != 0) return;
  const uint64_t written = width == 4 ? value & 0xffffffff : value;
  if (offset == kDmaCommandOffset && (written & kDmaRun) == 0) return;
  *DmaRegister(offset) = written;
}

void EduModel::RaiseInterrupt(uint32_t bits) {
  interrupt_status_ |= bits;
  if (interrupt_status_ == 0) return;
  ++counters_.interrupts;
  if (host().ReadInterruptMode() == InterruptMode::kMsi) {
    host().RaiseMsi(0);
  } else {
    host().SetIntx(true);
  }
}

void EduModel::LowerInterrupt(uint32_t bits) {
  interrupt_status_ &= ~bits;
  // This happens under MSI too, because the device may have asserted the pin
  // before software enabled MSI.
  if (interrupt_status_ == 0) host().SetIntx(false);
}

bool EduModel::Step() {
  if ((status_ & kStatusComputing) != 0) {
    ComputeFactorial();
    return true;
  }
  if ((dma_.command & kDmaRun) != 0) {
    Transfer();
    return true;
  }
  return false;
}

void EduModel::ComputeFactorial() {
  uint32_t result = 1;
  // From n = 34 on n! has more than 31 factors of two, so the product is zero
  // modulo 2^32 after at most that many steps, whatever n the guest wrote.
  for (uint32_t n = factorial_; n > 0 && result != 0; --n) result *= n;
  factorial_ = result;
  status_ &= ~kStatusComputing;
  ++counters_.factorials;
  if ((status_ & kStatusInterruptOnFactorial) != 0) {
    RaiseInterrupt(kFactorialInterrupt);
  }
}

void EduModel::Transfer() {
  if (TransferBytes()) {
    ++counters_.transfers;
  } else {
    ++counters_.failed_transfers;
  }
  dma_.command &= ~kDmaRun;
  if ((dma_.command & kDmaInterrupt) != 0) {
    RaiseInterrupt(kDmaInterruptStatus);
  }
}

bool EduModel::TransferBytes() {
  const bool to_system = (dma_.command & kDmaToSystemMemory) != 0;
  const std::optional<uint64_t> at =
      BufferOffset(to_system ? dma_.source : dma_.destination, dma_.count);
  if (!at.has_value()) return false;
  const absl::Span<uint8_t> bytes =
      absl::MakeSpan(buffer_).subspan(*at, dma_.count);
  if (to_system) {
    return host().DmaWrite(dma_.destination & dma_mask_, bytes).ok();
  }
  // A refused read leaves its target unspecified, but the buffer must keep its
  // contents.
  std::array<uint8_t, kBufferSize> incoming;
  const absl::Span<uint8_t> read =
      absl::MakeSpan(incoming).subspan(0, dma_.count);
  if (!host().DmaRead(dma_.source & dma_mask_, read).ok()) return false;
  std::copy(read.begin(), read.end(), bytes.begin());
  return true;
}

void EduModel::Reset(ResetKind) {
  liveness_ = 0;
  factorial_ = 0;
  status_ = 0;
  interrupt_status_ = 0;
  dma_ = Dma();
  buffer_.fill(0);
  host().SetIntx(false);
}

}  // namespace passthru::models
