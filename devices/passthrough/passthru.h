// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_PASSTHROUGH_PASSTHRU_H_
#define PASSTHRU_DEVICES_PASSTHROUGH_PASSTHRU_H_

// Everything that a VMM needs in order to pass devices through, in the order in
// which it needs it. docs/use-in-your-vmm.md explains each.

// The kernel, and the VM in it. IWYU pragma: begin_exports
#include "passthru/devices/kernel/epoll_event_loop.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/event_fd.h"
#include "passthru/devices/kernel/event_loop.h"
#include "passthru/devices/kernel/file_descriptor.h"
#include "passthru/devices/kernel/linux_syscalls.h"
#include "passthru/devices/kernel/mapped_region.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/kvm/kvm_vcpu.h"
#include "passthru/devices/kvm/kvm_vm.h"
#include "passthru/devices/kvm/vcpu_exit.h"

// Guest memory, slots, and guest accesses that exit.
#include "passthru/allocator/address_allocator.h"
#include "passthru/allocator/id_allocator.h"
#include "passthru/allocator/memory_slot.h"
#include "passthru/devices/bus/address_space.h"
#include "passthru/devices/bus/bus.h"
#include "passthru/devices/kvm/slot_listener.h"
#include "passthru/devices/memory/guest_memory.h"
#include "passthru/devices/memory/guest_memory_map.h"
#include "passthru/devices/memory/layout_lock.h"
#include "passthru/devices/memory/memory_source.h"

// Interrupts.
#include "passthru/devices/interrupts/gsi_router.h"
#include "passthru/devices/interrupts/interrupt_budget.h"
#include "passthru/devices/interrupts/interrupt_controller.h"
#include "passthru/devices/interrupts/msi_router.h"
#include "passthru/devices/interrupts/routing_entries.h"
#include "passthru/devices/interrupts/routing_table.h"
#include "passthru/devices/interrupts/shared_lines.h"

// The PCI bus of the guest.
#include "passthru/devices/pci_host/function_bus.h"
#include "passthru/devices/pci_host/host_bridge.h"
#include "passthru/devices/pci_host/pci_config_io.h"
#include "passthru/devices/pci_host/pci_config_mmio.h"
#include "passthru/devices/pci_host/pci_segment.h"
#include "passthru/devices/root_port/root_port.h"

// Where DMA goes, and the devices.
#include "passthru/devices/passthrough/device_set.h"
#include "passthru/devices/passthrough/dma_space.h"
#include "passthru/devices/passthrough/group_dma_space.h"
#include "passthru/devices/passthrough/version.h"
#include "passthru/devices/vfio/find_group.h"
#include "passthru/devices/vfio_pci/capability_policy.h"
#include "passthru/devices/vfio_pci/device_report.h"
#include "passthru/devices/vfio_pci/vfio_pci_device.h"
#include "passthru/devices/vfio_pci/vm_interfaces.h"
#include "passthru/pci/bdf.h"
// IWYU pragma: end_exports

#endif  // PASSTHRU_DEVICES_PASSTHROUGH_PASSTHRU_H_
