// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_GUEST_LINUX_CONFIG_ACCESS_H_
#define PASSTHRU_TESTING_GUEST_LINUX_CONFIG_ACCESS_H_

#include <cstdint>

#include "passthru/pci/bdf.h"
#include "passthru/testing/guest/guest_cpu.h"
#include "passthru/testing/guest/guest_layout.h"

namespace passthru::guest {

// How a guest reaches configuration space. `width` is 1, 2 or 4 and the access
// is naturally aligned. What cannot be reached reads all ones.
//
// Used by the guest's thread only.
class ConfigAccess {
 public:
  virtual ~ConfigAccess() = default;

  virtual uint32_t Read(pci::Bdf bdf, uint16_t offset, unsigned width) = 0;
  virtual void Write(pci::Bdf bdf, uint16_t offset, unsigned width,
                     uint32_t value) = 0;
};

// Configuration mechanism 1 (PCI 3.0, 3.2.2.3.2), byte for byte as Linux's
// pci_conf1_read() and pci_conf1_write() do it: the data port is accessed at
// the offset's low bits with the access's own width. Reaches 256 bytes.
class PortConfigAccess final : public ConfigAccess {
 public:
  explicit PortConfigAccess(GuestCpu* cpu) : cpu_(cpu) {}

  uint32_t Read(pci::Bdf bdf, uint16_t offset, unsigned width) override;
  void Write(pci::Bdf bdf, uint16_t offset, unsigned width,
             uint32_t value) override;

 private:
  GuestCpu* const cpu_;
};

// The enhanced mechanism (PCIe 6.0, 7.2.2): one page of memory per function.
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

// What Linux on x86 uses where it has both (raw_pci_read() in
// arch/x86/pci/common.c): ports below offset 256, ECAM from there on. With one
// mechanism only, that one.
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
