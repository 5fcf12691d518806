// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_MODELS_DEVICE_MODEL_H_
#define PASSTHRU_TESTING_MODELS_DEVICE_MODEL_H_

#include <cstdint>
#include <string_view>

#include "passthru/pci/bar_index.h"
#include "passthru/testing/models/device_platform.h"

namespace passthru::models {

// Why a function returns to its reset state. Models that do not care treat all
// alike; what survives which reset is in each model's class comment.
enum class ResetKind {
  kPowerOn,
  kFunctionLevel,  // FLR by the PCI Express or Advanced Features capability.
  kBus,            // Secondary bus, slot or hot reset.
  kPowerState,     // D3hot to D0 without No_Soft_Reset.
};

// The hardware behind one PCI function: what its registers do and what work
// they start. It knows nothing of the kernel, of VFIO or of KVM; it reaches the
// platform only through its DevicePlatform.
//
// A BAR offset is either a register, for which HandlesBar() is true and each
// access calls ReadBar() or WriteBar(), or plain memory, which the model never
// sees. That holds for both ways in: a trapped access (pread or pwrite of the
// region by the VMM) and an access of the guest to a mapped BAR, which the fake
// vCPU looks up here before it touches the mapping. MSI-X table and PBA are
// the platform's and never reach the model.
//
// Models trust nobody: addresses, sizes, indices and doorbells come from a
// guest. Every call does bounded work, and none of them fails or crashes.
//
// Contract with the caller:
//  - HandlesBar() is constant for the model's life and may be called from any
//    thread. It is asked for the first byte of an access; registers and plain
//    memory do not share a naturally aligned 8 bytes.
//  - All other calls are serialized by the caller. `width` is 1, 2, 4 or 8 and
//    the value is in the low bytes.
//  - ReadBar() and WriteBar() may raise interrupts; DMA happens only in Step().
//  - Whether memory decode is on and the function is in D0 is the caller's
//    question: the model is called only for accesses that reach the function.
//
// Thread-compatible, except for HandlesBar().
class DeviceModel {
 public:
  virtual ~DeviceModel() = default;

  DeviceModel() = default;
  DeviceModel(const DeviceModel&) = delete;
  DeviceModel& operator=(const DeviceModel&) = delete;

  // What the model is, for messages: "nvme", "edu".
  virtual std::string_view name() const = 0;

  virtual bool HandlesBar(pci::BarIndex bar, uint64_t offset) const = 0;

  // Whether each write of the register counts, also of the value that was
  // written last, and its value is nobody's: not all ones, and never read.
  // Asked for registers only, and constant.
  virtual bool IsDoorbell(pci::BarIndex, uint64_t) const { return false; }

  virtual uint64_t ReadBar(pci::BarIndex bar, uint64_t offset,
                           unsigned width) = 0;
  virtual void WriteBar(pci::BarIndex bar, uint64_t offset, unsigned width,
                        uint64_t value) = 0;

  // Does one bounded piece of asynchronous work: a command, a transfer.
  // Returns whether anything was done; false means idle until the next
  // register write.
  virtual bool Step() { return false; }

  // Back to the reset state. Work in flight is forgotten, nothing is signalled,
  // the pin is deasserted.
  virtual void Reset(ResetKind kind) = 0;

  // Not owned; must outlive the model or be replaced. Null disconnects.
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
