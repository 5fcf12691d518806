// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_VFIO_PCI_VFIO_PCI_DEVICE_H_
#define PASSTHRU_DEVICES_VFIO_PCI_VFIO_PCI_DEVICE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "passthru/allocator/gsi.h"
#include "passthru/devices/interrupts/interrupt_budget.h"
#include "passthru/devices/pci_host/pci_bridge.h"
#include "passthru/devices/pci_host/pci_function.h"
#include "passthru/devices/vfio/vfio_device.h"
#include "passthru/devices/vfio_pci/capability_policy.h"
#include "passthru/devices/vfio_pci/expansion_rom.h"
#include "passthru/devices/vfio_pci/identity.h"
#include "passthru/devices/vfio_pci/vm_interfaces.h"
#include "passthru/pci/bar.h"
#include "passthru/pci/bar_index.h"
#include "passthru/pci/bdf.h"

namespace passthru::vfio_pci {

struct DeviceReport;  // device_report.h

// A host PCI device that is passed through to the guest. It provides the
// guest's view of the configuration space, the BARs in the guest's address
// spaces, and the interrupts.
//
// It combines ConfigShadow (what a configuration access means), InterruptMode
// (INTx, MSI or MSI-X), MsixTableTrap (the emulated table) and BarMapper (slots
// and traps), and orders their steps and those of the device:
//  - A BAR's slots are removed before the write that turns its decode off
//    (COMMAND, D3hot, a reset), and added after the write that turns it on.
//  - MSI and MSI-X are turned on by INTx off, SET_IRQS and the device's enable
//    bit, in this order, and turned off in the reverse order.
//  - Detach() releases slots, mappings, interrupts and device, in this order.
//
// If the device or the kernel refuses a call after Create(), the guest sees
// what dead hardware would show (reads are all ones, writes are dropped). The
// refusal is counted and logged.
//
// Thread-safe. Three kinds of locks are acquired in this order:
//  - The VM's layout lock is held during every change of what is mapped or
//    trapped where.
//  - The control mutex guards the shadow and the interrupt mode. The device
//    calls the router, the interrupt controller and EventLoop::Add() under it,
//    but never the address spaces or the guest memory.
//  - The mutexes of the interrupt classes come last.
// A read that the shadow answers takes none of these, but a mutex under which
// no call is made.
class VfioPciDevice final : public pci_host::PciFunction {
 public:
  struct Options {
    VmInterfaces vm;                           // required
    std::unique_ptr<vfio::VfioDevice> device;  // required

    // The name in messages. If empty, the host address is used.
    std::string name;
    // Whether the guest finds the device on the root bus. A PCI Express
    // endpoint has no link there, so it is shown as integrated into the root
    // complex. A Legacy Endpoint, as most GPUs are, is shown there as a
    // function of conventional PCI, whose extended configuration space guests
    // do not read. Below a port it stays what it is.
    bool on_root_bus = true;
    // The port above, if there is one. BARs and expansion ROM then answer only
    // while it forwards all of their addresses. It must outlive the device.
    const pci_host::Upstream* upstream = nullptr;
    // The GSI that INTx is wired to. Without it, and if INTx cannot be turned
    // on or the controller cannot deliver level-triggered interrupts
    // (CheckResampleIrqfd()), the guest sees no interrupt pin.
    std::optional<allocator::Gsi> intx_gsi;
    interrupts::InterruptBudget* budget = nullptr;  // no limits if null
    // The most MSI or MSI-X vectors to show the guest, from 1 to 2048. Of MSI,
    // which has powers of two, it shows at most the next lower one.
    std::optional<uint32_t> max_vectors;
    // Which capabilities the guest sees.
    CapabilityPolicy policy;
    // What the guest is told that the device is.
    IdentityOverride identity;
    // The expansion ROM that the guest sees. By default there is none, because
    // a ROM is code for the firmware of the host's platform. Firmware of the
    // guest that has no driver for the device may need it, as may the driver of
    // a GPU.
    RomOptions rom;
    // Called when the host wants the device back (VFIO_PCI_REQ_IRQ_INDEX) and
    // when it reports an uncorrectable error (VFIO_PCI_ERR_IRQ_INDEX). Both
    // run in the event loop with no lock held.
    std::function<void()> on_unplug_request;
    std::function<void()> on_error;
  };

  // Attaches the device. Fails if the guest would be left without any interrupt
  // for want of something of the host, such as vectors or descriptors. Returns
  // kInvalidArgument, and calls nothing, if options make no sense. After a
  // failure everything is released, including `options.device`.
  static absl::StatusOr<std::shared_ptr<VfioPciDevice>> Create(Options options);

  VfioPciDevice(const VfioPciDevice&) = delete;
  VfioPciDevice& operator=(const VfioPciDevice&) = delete;
  ~VfioPciDevice() override;  // Calls Detach().

  uint32_t ConfigRead(uint16_t offset, unsigned width) override;
  void ConfigWrite(uint16_t offset, absl::Span<const uint8_t> bytes) override;
  void OnUpstreamChange() override;

  // The implemented BARs in order of index, as they were at attach, for
  // placement. The addresses are the host's, or 0 for a virtual function, whose
  // BAR registers are 0. Describe() has the current addresses in the guest.
  absl::Span<const pci::Bar> bars() const;

  // The expansion ROM that the guest is shown, if any, with its size. It is not
  // among bars(). Firmware places it, and it answers only while it is enabled.
  std::optional<pci::Bar> rom() const;

  // Writes an address into a BAR, or into the register of the expansion ROM, as
  // firmware does. Returns kNotFound if the BAR is not implemented,
  // kInvalidArgument if it cannot hold the address, and kFailedPrecondition
  // after Detach().
  absl::Status SetBarAddress(pci::BarIndex index, uint64_t address);

  // Resets the device for a reset of the machine, and returns the guest's view
  // to its state after power-on. It takes the first of these ways that there
  // is, which DeviceReport::reset names:
  //  1. VFIO_DEVICE_RESET resets this function alone.
  //  2. VFIO_DEVICE_PCI_HOT_RESET resets the slot or bus, and with it all
  //     functions there. Each must be one of `vm_devices`, or in the IOMMU
  //     group of one. Those that are attached return to their state after
  //     power-on too. `vm_devices` has the other devices of the VM, which share
  //     its layout lock. It may include this one.
  // If way 1 fails, way 2 is tried if it reaches no other function.
  //
  // Beforehand, all functions concerned lose their slots and interrupts and
  // stop their DMA, and they have none afterwards, whether or not the reset
  // succeeds.
  //
  // Returns kUnimplemented if there is no way, kFailedPrecondition if a
  // function on the slot or bus, which the message names, is not the VM's,
  // kUnavailable if the device does not answer after its reset, and the
  // kernel's error. Returns kFailedPrecondition after Detach().
  //
  // No vCPU should run, because the other functions are in use without notice.
  absl::Status Reset(absl::Span<VfioPciDevice* const> vm_devices = {});

  // Resets all devices of a VM, each slot or bus once. Continues after a
  // failure and returns the first one. Leaves out devices that are detached.
  static absl::Status ResetAll(absl::Span<VfioPciDevice* const> vm_devices);

  // Repairs the slots after KVM_RUN failed with EFAULT. In that case the guest
  // touched a slot whose device does not answer, because the slot could not be
  // deleted in time or because the device stopped decoding without a guest
  // access. Reads what the device decodes, and retries to delete the slots that
  // do not belong.
  void ReconcileBars();

  // Removes the device from the guest, leaves nothing of it in the VM, and
  // closes it. Continues after a failure and returns the first one. From then
  // on configuration reads are all ones, and Describe() returns what it
  // returned last.
  //
  // Returns OK if the device is detached. If another thread is detaching it,
  // waits until that thread has finished. Only a call from on_unplug_request
  // or on_error then returns OK at once, because that thread waits for the
  // callback.
  //
  // After it returns, the device uses nothing that Options points to. The VM
  // may be destroyed while there are references to the device, whose methods
  // may still be called.
  //
  // Waits for running callbacks and for calls of other methods. Do not call it
  // from an event-loop callback (on_unplug_request and on_error excepted) or
  // while holding a lock that such a callback takes.
  absl::Status Detach();

  // Returns a snapshot of the device and its activity (device_report.h).
  DeviceReport Describe() const;
  const std::string& name() const;
  // Returns where the host has the device.
  pci::Bdf host() const;

 private:
  class Impl;
  explicit VfioPciDevice(std::unique_ptr<Impl> impl);

  const std::unique_ptr<Impl> impl_;
};

}  // namespace passthru::vfio_pci

#endif  // PASSTHRU_DEVICES_VFIO_PCI_VFIO_PCI_DEVICE_H_
