// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_GUEST_LINUX_CONFIG_ACCESS_H_
#define PASSTHRU_TESTING_GUEST_LINUX_CONFIG_ACCESS_H_

#include <cstdint>

#include "passthru/pci/bdf.h"
#include "passthru/testing/guest/guest_cpu.h"
#include "passthru/testing/guest/guest_layout.h"

namespace passthru::guest {

// A way for a guest to reach configuration space. `width` is 1, 2 or 4, and the
// access is naturally aligned. Unreachable registers read all ones.
//
// Only the guest's thread may use it.
class ConfigAccess {
 public:
  virtual ~ConfigAccess() = default;

  virtual uint32_t Read(pci::Bdf bdf, uint16_t offset, unsigned width) = 0;
  virtual void Write(pci::Bdf bdf, uint16_t offset, unsigned width,
                     uint32_t value) = 0;
};

// Configuration mechanism 1 (PCI 3.0, 3.2.2.3.2), byte for byte as Linux's
// pci_conf1_read() and pci_conf1_write() use it. They access the data port at
// the offset's low bits, with the access's width. It reaches 256 bytes.
class PortConfigAccess final : public ConfigAccess {
 public:
  explicit PortConfigAccess(GuestCpu* cpu) : cpu_(cpu) {}

  uint32_t Read(pci::Bdf bdf, uint16_t offset, unsigned width) override;
  void Write(pci::Bdf bdf, uint16_t offset, unsigned width,
             uint32_t value) override;

 private:
  GuestCpu* const cpu_;
};

// The enhanced mechanism (PCIe 6.0, 7.2.2), with one page of memory per
// function.
class EcamConfigAccess final : public ConfigAccess {
 public:
  EcamConfigAccess(GuestCpu* cpu, GuestRange ecam) : cpu_(cpu), ecam_(ecam) {}

  uint32_t Read(pci::Bdf bdf, uint16_t offset, unsigned width) override;
  void Write(pci::Bdf bdf, uint16_t offset, unsigned width,
             uint32_t value) override;

 private:
  GuestCpu* const cpu_;
  const GuestRange ecam_;
};

// The choice that Linux makes on x86, as in raw_pci_read() of
// arch/x86/pci/common.c. If the machine has both mechanisms, this uses ports
// below offset 256 and ECAM from there on. Otherwise it uses the one there is.
class LinuxConfigAccess final : public ConfigAccess {
 public:
  LinuxConfigAccess(GuestCpu* cpu, const GuestLayout& layout);

  uint32_t Read(pci::Bdf bdf, uint16_t offset, unsigned width) override;
  void Write(pci::Bdf bdf, uint16_t offset, unsigned width,
             uint32_t value) override;

 private:
  ConfigAccess& Mechanism(uint16_t offset);

  const bool has_ports_;
  const bool has_ecam_;
  PortConfigAccess ports_;
  EcamConfigAccess ecam_;
};

}  // namespace passthru::guest

#endif  // PASSTHRU_TESTING_GUEST_LINUX_CONFIG_ACCESS_H_
