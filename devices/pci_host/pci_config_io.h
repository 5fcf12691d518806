// SPDX-License-Identifier: Apache-2.0

#ifndef PASSTHRU_DEVICES_PCI_HOST_PCI_CONFIG_IO_H_
#define PASSTHRU_DEVICES_PCI_HOST_PCI_CONFIG_IO_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "passthru/devices/bus/bus_device.h"
#include "passthru/devices/pci_host/pci_segment.h"

namespace passthru::pci_host {

// Configuration mechanism #1 (PCI 3.0, 3.2.2.3.2), which consists of the ports
// 0xCF8 to 0xCFF. A dword that the guest writes to CONFIG_ADDRESS selects a
// register. CONFIG_DATA then accesses that register's dword, at any width. The
// mechanism reaches the first 256 bytes of each function of `segment`.
//
// CONFIG_ADDRESS answers only full dword accesses. Narrower accesses are
// ordinary I/O, which this device ignores. They read as all ones and change
// nothing. One of them is a chipset's reset control register, 0xCF9, for which
// a VMM may give a function. (It cannot add a range of its own there, because
// its bus would then cut the dword accesses.)
//
// Thread-safe. As on hardware, the guest must make sure that between its
// accesses to CONFIG_ADDRESS and CONFIG_DATA no other vCPU writes
// CONFIG_ADDRESS.
class PciConfigIo final : public bus::BusDevice {
 public:
  static constexpr uint64_t kPort = 0xcf8;
  static constexpr uint64_t kPortCount = 8;

  // Calls `on_reset_control`, if it is set, with each byte that the guest
  // writes to port 0xCF9 alone. The call comes from the vCPU's thread.
  explicit PciConfigIo(std::shared_ptr<PciSegment> segment,
                       std::function<void(uint8_t)> on_reset_control = nullptr);

  std::string_view name() const override { return "PCI config ports"; }
  absl::Status Read(uint64_t offset, absl::Span<uint8_t> data) override;
  absl::Status Write(uint64_t offset, absl::Span<const uint8_t> data) override;

 private:
  const std::shared_ptr<PciSegment> segment_;
  const std::function<void(uint8_t)> on_reset_control_;
  std::atomic<uint32_t> address_ = 0;
};

}  // namespace passthru::pci_host

#endif  // PASSTHRU_DEVICES_PCI_HOST_PCI_CONFIG_IO_H_
