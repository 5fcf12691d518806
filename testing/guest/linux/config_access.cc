// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/guest/linux/config_access.h"

#include <cstdint>

#include "passthru/pci/bdf.h"
#include "passthru/testing/guest/guest_cpu.h"
#include "passthru/testing/guest/guest_layout.h"

namespace passthru::guest {
namespace {

constexpr uint16_t kConfigAddressPort = 0xcf8;
constexpr uint16_t kConfigDataPort = 0xcfc;
constexpr uint16_t kStandardSize = 256;
constexpr uint16_t kExtendedSize = 4096;

constexpr uint32_t AllOnes(unsigned width) {
  return width >= 4 ? 0xffffffff : (uint32_t{1} << (8 * width)) - 1;
}

uint32_t PortAddress(pci::Bdf bdf, uint16_t offset) {
  return 0x80000000 | uint32_t{bdf.routing_id()} << 8 | (offset & 0xfcu);
}

uint16_t DataPort(uint16_t offset) {
  return static_cast<uint16_t>(kConfigDataPort + (offset & 3));
}

uint64_t EcamOffset(pci::Bdf bdf, uint16_t offset) {
  return uint64_t{bdf.routing_id()} << 12 | offset;
}

}  // namespace

uint32_t PortConfigAccess::Read(pci::Bdf bdf, uint16_t offset, unsigned width) {
  if (offset >= kStandardSize || bdf.segment() != 0) return AllOnes(width);
  cpu_->Out(kConfigAddressPort, 4, PortAddress(bdf, offset));
  return cpu_->In(DataPort(offset), width) & AllOnes(width);
}

void PortConfigAccess::Write(pci::Bdf bdf, uint16_t offset, unsigned width,
                             uint32_t value) {
  if (offset >= kStandardSize || bdf.segment() != 0) return;
  cpu_->Out(kConfigAddressPort, 4, PortAddress(bdf, offset));
  cpu_->Out(DataPort(offset), width, value & AllOnes(width));
}

uint32_t EcamConfigAccess::Read(pci::Bdf bdf, uint16_t offset, unsigned width) {
  const uint64_t at = EcamOffset(bdf, offset);
  if (offset >= kExtendedSize || at >= ecam_.size) return AllOnes(width);
  return static_cast<uint32_t>(cpu_->Load(ecam_.base + at, width)) &
         AllOnes(width);
}

void EcamConfigAccess::Write(pci::Bdf bdf, uint16_t offset, unsigned width,
                             uint32_t value) {
  const uint64_t at = EcamOffset(bdf, offset);
  if (offset >= kExtendedSize || at >= ecam_.size) return;
  cpu_->Store(ecam_.base + at, width, value & AllOnes(width));
}

LinuxConfigAccess::LinuxConfigAccess(GuestCpu* cpu, const GuestLayout& layout)
    : has_ports_(layout.config_ports),
      has_ecam_(layout.ecam.size != 0),
      ports_(cpu),
      ecam_(cpu, layout.ecam) {}

ConfigAccess& LinuxConfigAccess::Mechanism(uint16_t offset) {
  const bool use_ports = has_ports_ && (offset < kStandardSize || !has_ecam_);
  return use_ports ? static_cast<ConfigAccess&>(ports_) : ecam_;
}

uint32_t LinuxConfigAccess::Read(pci::Bdf bdf, uint16_t offset,
                                 unsigned width) {
  return Mechanism(offset).Read(bdf, offset, width);
}

void LinuxConfigAccess::Write(pci::Bdf bdf, uint16_t offset, unsigned width,
                              uint32_t value) {
  Mechanism(offset).Write(bdf, offset, width, value);
}

}  // namespace passthru::guest
