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
#include "passthru/devices/vfio_pci/bar_retries.h"

namespace passthru::vfio_pci {

// What one VM provides to the devices that are passed through to it. Every
// pointer is required, unless its comment says otherwise, and must outlive the
// devices.
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
  // Lets a BAR that was refused a place because of the BAR of another device
  // try again when that one goes. Guarded by the layout lock. Null if nothing
  // but the guest's own next change shall retry. passthrough::DeviceSet brings
  // its own.
  BarRetries* bar_retries = nullptr;
  // How many bits of a memory address the guest's CPUs have (CPUID leaf
  // 0x80000008, kvm::GuestPhysicalAddressBits()). A BAR beyond them does not
  // answer, without any complaint, because software that sizes a 64-bit BAR
  // puts it there. The default is the most that x86 has.
  unsigned physical_address_bits = 52;
};

}  // namespace passthru::vfio_pci

#endif  // PASSTHRU_DEVICES_VFIO_PCI_VM_INTERFACES_H_
