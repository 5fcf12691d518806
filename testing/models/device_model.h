// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_MODELS_DEVICE_MODEL_H_
#define PASSTHRU_TESTING_MODELS_DEVICE_MODEL_H_

#include <cstdint>
#include <string_view>

#include "passthru/pci/bar_index.h"
#include "passthru/testing/models/device_platform.h"

namespace passthru::models {

// Why a function returns to its reset state. Most models treat all resets
// alike. Each model's class comment says what survives which reset.
enum class ResetKind {
  kPowerOn,
  kFunctionLevel,  // FLR by the PCI Express or Advanced Features capability.
  kBus,            // Secondary bus, slot or hot reset.
  kPowerState,     // D3hot to D0 without No_Soft_Reset.
};

// A model of the hardware behind one PCI function, with its registers and the
// work that they start. It knows nothing of the kernel, of VFIO or of KVM, and
// reaches the platform only through its DevicePlatform.
//
// A BAR offset is either a register or plain memory. For a register
// HandlesBar() is true and each access calls ReadBar() or WriteBar(). The model
// never sees accesses to plain memory. This holds both for trapped accesses
// (the VMM's pread and pwrite of the region) and for the guest's accesses to a
// mapped BAR, for which the fake vCPU calls HandlesBar() before it touches the
// mapping. The platform handles the MSI-X table and PBA, which never reach the
// model.
//
// Models trust none of the addresses, sizes, indices and doorbells that they
// receive, because these come from a guest. Every call does bounded work, and
// none of them fails or crashes.
//
// Contract with the caller:
// - HandlesBar() is constant for the model's life and may be called from any
//   thread. The caller passes the first byte of an access. Registers and plain
//   memory do not share a naturally aligned 8 bytes.
// - The caller serializes all other calls. `width` is 1, 2, 4 or 8 and the
//   value is in the low bytes.
// - ReadBar() and WriteBar() may raise interrupts. DMA happens only in Step().
// - The caller passes only accesses that reach the function. It checks that
//   memory decode is on and that the function is in D0.
//
// Thread-compatible, except for HandlesBar().
class DeviceModel {
 public:
  virtual ~DeviceModel() = default;

  DeviceModel() = default;
  DeviceModel(const DeviceModel&) = delete;
  DeviceModel& operator=(const DeviceModel&) = delete;

  // Returns the model's name for messages, "nvme" or "edu".
  virtual std::string_view name() const = 0;

  virtual bool HandlesBar(pci::BarIndex bar, uint64_t offset) const = 0;

  // Returns whether the register is a doorbell. Every write of a doorbell acts,
  // even of a repeated value, and software never reads it and never writes all
  // ones to it. The answer is constant. The caller
  // asks only about registers.
  virtual bool IsDoorbell(pci::BarIndex, uint64_t) const { return false; }

  // Returns whether a processor that reaches the BAR as memory, past the model,
  // may expect the register there. Few are better, because each is looked at
  // again and again.
  virtual bool IsPolled(pci::BarIndex bar, uint64_t offset) const {
    return HandlesBar(bar, offset);
  }

  virtual uint64_t ReadBar(pci::BarIndex bar, uint64_t offset,
                           unsigned width) = 0;
  virtual void WriteBar(pci::BarIndex bar, uint64_t offset, unsigned width,
                        uint64_t value) = 0;

  // Does one bounded piece of asynchronous work, a command or a transfer.
  // Returns false if there was none, and then stays idle until the next
  // register write.
  virtual bool Step() { return false; }

  // Returns to the reset state. This drops work in flight, signals nothing and
  // deasserts the pin.
  virtual void Reset(ResetKind kind) = 0;

  // Connects the model to its platform, or disconnects it if null. `host` is
  // not owned and must outlive the model or be replaced.
  void set_host(DevicePlatform* host) {
    host_ = host == nullptr ? &unconnected_ : host;
  }

 protected:
  DevicePlatform& host() { return *host_; }

 private:
  UnconnectedHost unconnected_;
  DevicePlatform* host_ = &unconnected_;
};

}  // namespace passthru::models

#endif  // PASSTHRU_TESTING_MODELS_DEVICE_MODEL_H_
