// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_GUEST_DIRECT_DIRECT_MACHINE_H_
#define PASSTHRU_TESTING_GUEST_DIRECT_DIRECT_MACHINE_H_

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "passthru/pci/bdf.h"
#include "passthru/testing/guest/direct/direct_function.h"
#include "passthru/testing/guest/guest_cpu.h"
#include "passthru/testing/guest/guest_layout.h"
#include "passthru/testing/guest/linux/msi_allocator.h"
#include "passthru/testing/models/device_model.h"

namespace passthru::guest {

// A machine without a VMM, for the tests of the guest. It is a CPU whose
// accesses go straight to flat RAM, to the configuration mechanisms and to the
// functions' BARs, as hardware would route them. It shares only interfaces with
// the code under test, and it records what the guest does to its functions.
//
// Time passes only while the guest waits for an interrupt. Device models then
// step until one arrives or all are idle.
//
// Thread-compatible.
class DirectMachine final : public GuestCpu {
 public:
  static constexpr uint64_t kRamBase = 0x100000;
  static constexpr uint64_t kRamSize = 0x800000;

  DirectMachine();
  ~DirectMachine() override;

  // Adds a function. `model` is not owned, and null means plain registers.
  DirectFunction& AddFunction(pci::Bdf bdf, DirectFunction::Options options,
                              models::DeviceModel* model);
  // Returns a layout that names this machine's memory and windows.
  GuestLayout layout() const;

  uint64_t Load(uint64_t address, unsigned width) override;
  void Store(uint64_t address, unsigned width, uint64_t value) override;
  uint32_t In(uint16_t port, unsigned width) override;
  void Out(uint16_t port, unsigned width, uint32_t value) override;
  std::optional<GuestInterrupt> WaitForInterrupt() override;
  bool Stopping() const override { return stopping_; }

  void set_stopping(bool stopping) { stopping_ = stopping; }
  // Queues an interrupt, as if it had arrived.
  void Inject(const GuestInterrupt& interrupt) {
    arrived_.push_back(interrupt);
  }

  // The guest's accesses to functions in order, one per line, for example "cfg
  // r2 006", "cfg w4 010=ffffffff" and "mmio w4 0:200c=1" (BAR 0).
  const std::vector<std::string>& trace() const { return trace_; }
  void ClearTrace() { trace_.clear(); }
  // How many memory accesses no RAM, ECAM window or BAR answered.
  uint64_t misses() const { return misses_; }
  // How many configuration accesses used each mechanism.
  uint64_t port_accesses() const { return port_accesses_; }
  uint64_t ecam_accesses() const { return ecam_accesses_; }

 private:
  uint32_t ReadConfig(uint32_t routing_id, uint16_t offset, unsigned width);
  void WriteConfig(uint32_t routing_id, uint16_t offset, unsigned width,
                   uint32_t value);
  bool StepDevices();

  std::vector<uint8_t> ram_;
  std::map<uint32_t, std::unique_ptr<DirectFunction>> functions_;
  uint32_t config_address_ = 0;
  std::deque<GuestInterrupt> arrived_;
  bool stopping_ = false;
  std::vector<std::string> trace_;
  uint64_t misses_ = 0;
  uint64_t port_accesses_ = 0;
  uint64_t ecam_accesses_ = 0;
};

}  // namespace passthru::guest

#endif  // PASSTHRU_TESTING_GUEST_DIRECT_DIRECT_MACHINE_H_
