// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_VFIO_PCI_VM_INTERFACES_H_
#define PASSTHRU_DEVICES_VFIO_PCI_VM_INTERFACES_H_

#include "passthru/devices/bus/address_space.h"
#include "passthru/devices/interrupts/interrupt_controller.h"
#include "passthru/devices/interrupts/msi_router.h"
#include "passthru/devices/kernel/event_loop.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/memory/guest_memory.h"
#include "passthru/devices/memory/layout_lock.h"

namespace passthru::vfio_pci {

// What one VM provides to the devices that are passed through to it. Every
// member is required and must outlive the devices.
struct VmInterfaces {
  // The kernel. kernel::LinuxSyscalls, or fake::FakeKernel in tests.
  kernel::Syscalls* syscalls = nullptr;
  // Where guest accesses to memory and to I/O ports find the traps of BARs.
  bus::AddressSpace* mmio = nullptr;
  bus::AddressSpace* pio = nullptr;
  // Where mapped BARs become memory slots.
  memory::GuestMemory* memory = nullptr;
  // The routes of MSI messages, and the calls that inject interrupts.
  interrupts::MsiRouter* router = nullptr;
  interrupts::InterruptController* controller = nullptr;
  // The thread that delivers what has no route, and hears the device's events.
  kernel::EventLoop* loop = nullptr;
  // Serializes changes of what is where in the guest. A caller of a device's
  // methods must not hold it.
  memory::LayoutLock* layout_lock = nullptr;
};

}  // namespace passthru::vfio_pci

#endif  // PASSTHRU_DEVICES_VFIO_PCI_VM_INTERFACES_H_
