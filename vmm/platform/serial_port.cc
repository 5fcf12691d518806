// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/platform/serial_port.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

namespace passthru::vmm {
namespace {

// The registers, by offset. Some differ for reading and writing, and the first
// two are the divisor while kDivisorAccess is set.
constexpr uint64_t kData = 0;
constexpr uint64_t kInterruptEnable = 1;
constexpr uint64_t kInterruptIdOrFifo = 2;
constexpr uint64_t kLineControl = 3;
constexpr uint64_t kModemControl = 4;
constexpr uint64_t kLineStatus = 5;
constexpr uint64_t kModemStatus = 6;
constexpr uint64_t kScratch = 7;

// The received bytes that a 16550A keeps.
constexpr size_t kFifoSize = 16;

constexpr uint8_t kEnableReceived = 1 << 0;
constexpr uint8_t kEnableEmpty = 1 << 1;
constexpr uint8_t kEnableLineStatus = 1 << 2;
constexpr uint8_t kEnableMask = 0x0f;

constexpr uint8_t kNoInterrupt = 0x01;
constexpr uint8_t kEmptyInterrupt = 0x02;
constexpr uint8_t kReceivedInterrupt = 0x04;
constexpr uint8_t kLineStatusInterrupt = 0x06;
constexpr uint8_t kFifosAreOn = 0xc0;

constexpr uint8_t kFifoEnable = 1 << 0;
constexpr uint8_t kFifoClearReceived = 1 << 1;

constexpr uint8_t kDivisorAccess = 1 << 7;

constexpr uint8_t kModemMask = 0x1f;
constexpr uint8_t kLoopback = 1 << 4;
// CTS, DSR and DCD, as of a partner that is there.
constexpr uint8_t kModemReady = 0xb0;

constexpr uint8_t kReceived = 1 << 0;
constexpr uint8_t kOverrun = 1 << 1;
constexpr uint8_t kTransmitterEmpty = 1 << 5 | 1 << 6;

}  // namespace

SerialPort::SerialPort(Options options) : options_(std::move(options)) {}

void SerialPort::Input(std::string_view bytes) {
  absl::MutexLock lock(&mutex_);
  for (const char byte : bytes) {
    if (input_.size() >= kInputLimit) {
      overrun_ = true;
      break;
    }
    input_.push_back(static_cast<uint8_t>(byte));
  }
  UpdateLine();
}

uint64_t SerialPort::accesses() const {
  absl::MutexLock lock(&mutex_);
  return accesses_;
}

absl::Status SerialPort::Read(uint64_t offset, absl::Span<uint8_t> data) {
  absl::MutexLock lock(&mutex_);
  ++accesses_;
  for (uint8_t& byte : data) byte = ReadRegister(offset++);
  UpdateLine();
  return absl::OkStatus();
}

absl::Status SerialPort::Write(uint64_t offset,
                               absl::Span<const uint8_t> data) {
  absl::MutexLock lock(&mutex_);
  ++accesses_;
  for (const uint8_t byte : data) WriteRegister(offset++, byte);
  UpdateLine();
  return absl::OkStatus();
}

uint8_t SerialPort::ReadRegister(uint64_t index) {
  const bool divisor = (line_control_ & kDivisorAccess) != 0;
  switch (index) {
    case kData: {
      if (divisor) return static_cast<uint8_t>(divisor_);
      if (input_.empty()) return 0;
      const uint8_t byte = input_.front();
      input_.pop_front();
      return byte;
    }
    case kInterruptEnable:
      if (divisor) return static_cast<uint8_t>(divisor_ >> 8);
      return interrupt_enable_;
    case kInterruptIdOrFifo: {
      const uint8_t id = InterruptId();
      if (id == kEmptyInterrupt) empty_pending_ = false;
      const bool fifos = (fifo_control_ & kFifoEnable) != 0;
      return static_cast<uint8_t>(id | (fifos ? kFifosAreOn : 0));
    }
    case kLineControl:
      return line_control_;
    case kModemControl:
      return modem_control_;
    case kLineStatus: {
      const uint8_t status = LineStatus();
      overrun_ = false;
      return status;
    }
    case kModemStatus:
      return ModemStatus();
    case kScratch:
      return scratch_;
    default:
      return 0xff;
  }
}

void SerialPort::WriteRegister(uint64_t index, uint8_t value) {
  const bool divisor = (line_control_ & kDivisorAccess) != 0;
  switch (index) {
    case kData:
      if (divisor) {
        divisor_ = static_cast<uint16_t>((divisor_ & 0xff00) | value);
      } else if ((modem_control_ & kLoopback) != 0) {
        if (input_.size() < kInputLimit) input_.push_back(value);
        empty_pending_ = true;
      } else {
        options_.output(value);
        empty_pending_ = true;
      }
      return;
    case kInterruptEnable:
      if (divisor) {
        divisor_ = static_cast<uint16_t>((divisor_ & 0xff) | value << 8);
        return;
      }
      // An empty transmitter interrupts when its interrupt is enabled.
      if ((value & ~interrupt_enable_ & kEnableEmpty) != 0) {
        empty_pending_ = true;
      }
      interrupt_enable_ = value & kEnableMask;
      return;
    case kInterruptIdOrFifo:
      fifo_control_ = value;
      // What is not in the FIFO is still on the line.
      if ((value & kFifoClearReceived) != 0) {
        input_.erase(input_.begin(),
                     input_.begin() + static_cast<ptrdiff_t>(
                                          std::min(input_.size(), kFifoSize)));
      }
      return;
    case kLineControl:
      line_control_ = value;
      return;
    case kModemControl:
      modem_control_ = value & kModemMask;
      return;
    case kScratch:
      scratch_ = value;
      return;
    default:
      return;
  }
}

uint8_t SerialPort::LineStatus() const {
  uint8_t status = kTransmitterEmpty;
  if (!input_.empty()) status |= kReceived;
  if (overrun_) status |= kOverrun;
  return status;
}

uint8_t SerialPort::ModemStatus() const {
  if ((modem_control_ & kLoopback) == 0) return kModemReady;
  // In loopback RTS, DTR, OUT1 and OUT2 are CTS, DSR, RI and DCD.
  const uint8_t control = modem_control_;
  return static_cast<uint8_t>(
      (control & 1 << 1) << 3 | (control & 1 << 0) << 5 |
      (control & 1 << 2) << 4 | (control & 1 << 3) << 4);
}

uint8_t SerialPort::InterruptId() const {
  if (overrun_ && (interrupt_enable_ & kEnableLineStatus) != 0) {
    return kLineStatusInterrupt;
  }
  if (!input_.empty() && (interrupt_enable_ & kEnableReceived) != 0) {
    return kReceivedInterrupt;
  }
  if (empty_pending_ && (interrupt_enable_ & kEnableEmpty) != 0) {
    return kEmptyInterrupt;
  }
  return kNoInterrupt;
}

void SerialPort::UpdateLine() {
  const bool up = InterruptId() != kNoInterrupt;
  if (up && !line_) options_.interrupt();
  line_ = up;
}

}  // namespace passthru::vmm
