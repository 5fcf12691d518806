// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_PLATFORM_SERIAL_PORT_H_
#define PASSTHRU_VMM_PLATFORM_SERIAL_PORT_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "passthru/devices/bus/bus_device.h"

namespace passthru::vmm {

// A serial port of the kind 16550A (National Semiconductor, PC16550D), with the
// eight registers of a PC. What the guest sends is out at once. The line has no
// speed, no errors and no modem.
//
// Thread-safe. Both functions are called with the port's lock held.
class SerialPort final : public bus::BusDevice {
 public:
  struct Options {
    // Takes a byte that the guest sends.
    std::function<void(uint8_t)> output;
    // Raises the interrupt, which is edge-triggered as on the ISA bus.
    std::function<void()> interrupt;
  };
  explicit SerialPort(Options options);

  // Lets the guest receive these bytes. If it does not read them, those beyond
  // kInputLimit are lost, as a port loses what overruns it.
  void Input(std::string_view bytes);
  static constexpr size_t kInputLimit = 4096;

  // How often the guest accessed the port. Each access is an exit.
  uint64_t accesses() const;

  std::string_view name() const override { return "serial port"; }
  absl::Status Read(uint64_t offset, absl::Span<uint8_t> data) override;
  absl::Status Write(uint64_t offset, absl::Span<const uint8_t> data) override;

 private:
  uint8_t ReadRegister(uint64_t index) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void WriteRegister(uint64_t index, uint8_t value)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  uint8_t LineStatus() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  uint8_t ModemStatus() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  uint8_t InterruptId() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Raises the interrupt if its line just went up.
  void UpdateLine() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Options options_;

  mutable absl::Mutex mutex_;
  std::deque<uint8_t> input_ ABSL_GUARDED_BY(mutex_);
  bool overrun_ ABSL_GUARDED_BY(mutex_) = false;
  // Whether "transmitter empty" waits to be taken by the guest.
  bool empty_pending_ ABSL_GUARDED_BY(mutex_) = false;
  bool line_ ABSL_GUARDED_BY(mutex_) = false;
  uint8_t interrupt_enable_ ABSL_GUARDED_BY(mutex_) = 0;
  uint8_t fifo_control_ ABSL_GUARDED_BY(mutex_) = 0;
  uint8_t line_control_ ABSL_GUARDED_BY(mutex_) = 0;
  uint8_t modem_control_ ABSL_GUARDED_BY(mutex_) = 0;
  uint8_t scratch_ ABSL_GUARDED_BY(mutex_) = 0;
  uint16_t divisor_ ABSL_GUARDED_BY(mutex_) = 12;
  uint64_t accesses_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_PLATFORM_SERIAL_PORT_H_
