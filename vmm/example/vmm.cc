// SPDX-License-Identifier: Apache-2.0
#include "vmm.h"

#include <fcntl.h>
#include <sys/mman.h>

#include "absl/log/check.h"
#include "absl/log/log_sink_registry.h"
#include "clock.h"
#include "pci/bar.h"

namespace example {

Vmm::Vmm(kernel::Syscalls* kernel, bool split_irqchip)
    : own_interrupt_(*kernel::EventFd::Create(kernel)),
      own_event_(*kernel::EventFd::Create(kernel)),
      loop_(kernel) {
  absl::AddLogSink(this);
  ram_ =
      *kernel::MappedRegion::Map(kernel, {.length = kRamSize,
                                          .protection = PROT_READ | PROT_WRITE,
                                          .flags = MAP_PRIVATE | MAP_ANONYMOUS,
                                          .name = "RAM"});
  kernel::FileDescriptor kvm(kernel, kernel->Open("/dev/kvm", O_RDWR).value);
  const int vm = kernel->IoctlInt(kvm.get(), KVM_CREATE_VM, 0).value;
  kvm_enable_cap split = {};
  split.cap = KVM_CAP_SPLIT_IRQCHIP;
  split.args[0] = 24;  // GSIs of the IOAPIC in user space
  CHECK(split_irqchip ? kernel->Ioctl(vm, KVM_ENABLE_CAP, &split).ok()
                      : kernel->IoctlInt(vm, KVM_CREATE_IRQCHIP, 0).ok());
  vm_ = *kvm::KvmVm::Adopt(kernel, kernel::FileDescriptor(kernel, vm));
  slots_ = std::make_unique<Slots>(vm_.get());
  CHECK_OK(slots_->Add({.size = kRamSize, .host = ram_.data(), .name = "RAM"}));
  vcpu_ = *kvm::KvmVcpu::Create(vm_.get(), 0);

  routes_.vm = vm_.get();
  routes_.own = vm_->BaseRoutes();
  routes_.own.push_back(interrupts::MsiRoutingEntry(
      kOwnGsi, {.address = 0xfee00000, .data = kOwnVector}));
  CHECK_OK(routes_.SetGsiRouting({}));
  CHECK_OK(vm_->AssignIrqfd(own_interrupt_.fd(), kOwnGsi));

  CHECK_OK(pio_.Add(kClockPort, 1, std::make_shared<Clock>(&own_event_), 100));
  loop_.Add(own_event_.fd(), [this] {
    own_events += static_cast<int>(own_event_.Read().value_or(0));
  });

  // What passthru needs: a loop in the VMM's loop, a router for its part of the
  // table, a PCI host, and where DMA goes.
  device_loop_ = *kernel::EpollEventLoop::Create(kernel);
  loop_.Add(device_loop_->fd(),
            [this] { device_loop_->RunOnce(0).IgnoreError(); });
  router_ = *interrupts::GsiRouter::Create(
      {.table = &routes_,
       .first_gsi = kFirstDeviceGsi,
       .max_entries =
           vm_->MaxRoutes() - static_cast<uint32_t>(routes_.own.size())});
  pci_ = std::make_shared<pci_host::PciSegment>();
  auto ports = std::make_shared<pci_host::PciConfigIo>(pci_);
  CHECK_OK(pio_.Add(0xcf8, 8, ports, bus::AddressSpace::kPlatformPriority));
  dma_ = std::make_unique<passthrough::GroupDmaSpace>(
      passthrough::GroupDmaSpace::Options{
          .syscalls = kernel, .memory = slots_.get(), .vm = vm_.get()});
  devices_ = std::make_unique<passthrough::DeviceSet>(
      passthrough::DeviceSet::Options{.vm = {.syscalls = kernel,
                                             .mmio = &mmio_,
                                             .pio = &pio_,
                                             .memory = slots_.get(),
                                             .router = router_.get(),
                                             .controller = vm_.get(),
                                             .loop = device_loop_.get(),
                                             .layout_lock = &layout_},
                                      .dma = dma_.get(),
                                      .bus = pci_.get()});
  loop_.Start();
}

Vmm::~Vmm() {
  devices_.reset();
  absl::RemoveLogSink(this);
}

absl::StatusOr<std::shared_ptr<vfio_pci::VfioPciDevice>> Vmm::Attach(
    pci::Bdf host, pci::Bdf guest) {
  const auto place = [this](vfio_pci::VfioPciDevice& device) {
    absl::Status status;
    for (const pci::Bar& bar : device.bars()) {
      if (bar.is_io() || bar.index.is_rom()) continue;  // The guest places it.
      next_bar_ = (next_bar_ + bar.size - 1) & ~(bar.size - 1);
      status.Update(device.SetBarAddress(bar.index, next_bar_));
      next_bar_ += bar.size;
    }
    return status;
  };
  return devices_->Attach({.host = host,
                           .guest = guest,
                           .place_bars = place,
                           .device = {.intx_gsi = allocator::Gsi(16)}});
}

absl::Status Vmm::Run() {
  while (true) {
    absl::StatusOr<kvm::VcpuExit> exit = vcpu_->Run();
    if (!exit.ok()) return exit.status();
    if (auto* io = std::get_if<kvm::IoExit>(&*exit)) {
      pio_.Access(io->port, io->data, io->is_write);
    } else if (auto* mmio = std::get_if<kvm::MmioExit>(&*exit)) {
      mmio_.Access(mmio->address.value(), mmio->data, mmio->is_write);
    } else if (!std::holds_alternative<kvm::InterruptedExit>(*exit)) {
      return absl::OkStatus();
    }
  }
}

}  // namespace example
