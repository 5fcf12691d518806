// SPDX-License-Identifier: Apache-2.0

#include "passthru/devices/pci_host/host_bridge.h"

#include <cstdint>

#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "passthru/pci/config_space.h"
#include "passthru/pci/registers.h"

namespace passthru::pci_host {
namespace {

// Intel 82G33/G31/P35/P31 DRAM controller.
constexpr uint16_t kVendor = 0x8086;
constexpr uint16_t kDevice = 0x29c0;

// Bridge, and host bridge (PCI Code and ID Assignment 1.11, 1.7).
constexpr uint8_t kBridgeClass = 0x06;
constexpr uint8_t kHostBridgeSubClass = 0x00;

constexpr uint16_t kCommandMask =
    pci::Command::kInterruptDisable.Mask() | pci::Command::kSerrEnable.Mask() |
    pci::Command::kParityErrorResponse.Mask() |
    pci::Command::kBusMaster.Mask() | pci::Command::kMemorySpace.Mask() |
    pci::Command::kIoSpace.Mask();

}  // namespace

HostBridge::HostBridge() : config_(pci::kConfigSpaceSize) {
  config_.Set(pci::kVendorId, kVendor);
  config_.Set(pci::kDeviceId, kDevice);
  config_.Set(pci::kBaseClass, kBridgeClass);
  config_.Set(pci::kSubClass, kHostBridgeSubClass);
  config_.SetMask(pci::kCommand, kCommandMask);
}

uint32_t HostBridge::ConfigRead(uint16_t offset, unsigned width) {
  absl::MutexLock lock(&mutex_);
  return config_.Read(offset, width);
}

void HostBridge::ConfigWrite(uint16_t offset, absl::Span<const uint8_t> bytes) {
  absl::MutexLock lock(&mutex_);
  config_.Write(offset, bytes);
}

}  // namespace passthru::pci_host
