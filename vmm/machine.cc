// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/machine.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/log/log.h"
#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "passthru/devices/kernel/page_size.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/kvm/cpuid.h"
#include "passthru/devices/pci_host/host_bridge.h"
#include "passthru/devices/pci_host/pci_config_io.h"
#include "passthru/devices/pci_host/pci_config_mmio.h"
#include "passthru/vmm/guest_layout.h"

namespace passthru::vmm {

absl::StatusOr<std::unique_ptr<Machine>> Machine::Create(
    const Options& options) {
  auto machine = absl::WrapUnique(new Machine(options.syscalls));
  PASSTHRU_RETURN_IF_ERROR(machine->CreateVm());
  PASSTHRU_RETURN_IF_ERROR(machine->CreateMemory(options));
  PASSTHRU_RETURN_IF_ERROR(machine->CreateVcpus(options.vcpu_count));
  PASSTHRU_RETURN_IF_ERROR(machine->CreatePciHost(options));
  PASSTHRU_ASSIGN_OR_RETURN(machine->loop_,
                            kernel::EpollEventLoop::Create(options.syscalls));
  PASSTHRU_RETURN_IF_ERROR(machine->loop_->Start());
  return machine;
}

Machine::Machine(kernel::Syscalls* syscalls)
    : syscalls_(syscalls),
      memory_({{.first = memory::GuestAddress(kEcamBase),
                .size = kEcamSize,
                .name = "ECAM"},
               {.first = memory::GuestAddress(kPlatformBase),
                .size = kPlatformSize,
                .name = "the interrupt controllers"}}) {}

unsigned Machine::physical_address_bits() const {
  return kvm::GuestPhysicalAddressBits(cpuid_);
}

Machine::~Machine() {
  for (const memory::AreaId area : ram_areas_) {
    if (absl::Status status = memory_.Remove(area); !status.ok()) {
      LOG(ERROR) << "guest RAM stays mapped in KVM: " << status;
    }
  }
  if (listening_) {
    if (absl::Status status = memory_.RemoveListener(slot_listener_.get());
        !status.ok()) {
      LOG(ERROR) << "memory slots are left: " << status;
    }
  }
}

absl::Status Machine::CreateVm() {
  PASSTHRU_ASSIGN_OR_RETURN(vm_, kvm::KvmVm::Create(syscalls_));
  PASSTHRU_ASSIGN_OR_RETURN(cpuid_, kvm::SupportedCpuid(syscalls_));
  // Before the interrupt controllers and the first vCPU, as KVM wants it.
  PASSTHRU_RETURN_IF_ERROR(
      vm_->SetTssAddress(memory::GuestAddress(kTssAddress)));
  PASSTHRU_RETURN_IF_ERROR(
      vm_->SetIdentityMapAddress(memory::GuestAddress(kIdentityMapAddress)));
  PASSTHRU_RETURN_IF_ERROR(vm_->CreateIrqchip());
  PASSTHRU_RETURN_IF_ERROR(vm_->CreatePit());

  PASSTHRU_ASSIGN_OR_RETURN(router_, interrupts::GsiRouter::Create(
                                         {.table = vm_.get(),
                                          .base_routes = vm_->BaseRoutes(),
                                          .max_entries = vm_->MaxRoutes()}));
  return absl::OkStatus();
}

absl::Status Machine::CreateMemory(const Options& options) {
  const uint64_t size = options.ram_size;
  const uint64_t low_end = options.low_ram_end;
  if (low_end == 0 || low_end % kernel::PageSize() != 0 ||
      low_end > kMaxLowRamSize) {
    return absl::InvalidArgumentError(
        absl::StrCat("guest RAM below 4 GiB cannot end at ", low_end,
                     ": the end must be a positive multiple of ",
                     kernel::PageSize(), " and at most ", kMaxLowRamSize));
  }
  low_ram_size_ = std::min(size, low_end);
  const uint64_t most = low_ram_size_ + kMaxHighRamSize;
  if (size == 0 || size % kernel::PageSize() != 0 || size > most) {
    return absl::InvalidArgumentError(
        absl::StrCat("guest RAM cannot have ", size,
                     " bytes: the size must be a positive multiple of ",
                     kernel::PageSize(), " and at most ", most));
  }
  const uint64_t high = size - low_ram_size_;
  const unsigned address_bits = physical_address_bits();
  if (high > 0 && (kHighRamBase + high - 1) >> address_bits != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "guest RAM of ", size, " bytes ends beyond the ", address_bits,
        " bits of physical address that the guest's CPUs have: give it less"));
  }
  PASSTHRU_ASSIGN_OR_RETURN(
      slots_, allocator::MemorySlotAllocator::Create(allocator::MemorySlot(0),
                                                     vm_->MaxSlots()));
  slot_listener_ =
      std::make_unique<kvm::KvmSlotListener>(vm_.get(), slots_.get());
  PASSTHRU_RETURN_IF_ERROR(memory_.AddListener(slot_listener_.get()));
  listening_ = true;

  auto ram = kernel::MappedRegion::Map(
      syscalls_, {.length = size,
                  .protection = PROT_READ | PROT_WRITE,
                  .flags = (options.ram_fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS
                                               : MAP_SHARED) |
                           MAP_NORESERVE,
                  .fd = options.ram_fd,
                  .name = "guest RAM"});
  if (!ram.ok()) return ram.status();
  ram_ = *std::move(ram);
  PASSTHRU_RETURN_IF_ERROR(AddRam(kRamBase, low_ram_size_, 0, "ram"));
  if (high == 0) return absl::OkStatus();
  return AddRam(kHighRamBase, high, low_ram_size_, "high ram");
}

absl::Status Machine::AddRam(uint64_t base, uint64_t size, uint64_t offset,
                             const char* name) {
  PASSTHRU_ASSIGN_OR_RETURN(
      auto area,
      memory_.Add({.guest = memory::GuestAddress(base),
                   .size = size,
                   .host = static_cast<uint8_t*>(ram_.data()) + offset,
                   .kind = memory::MemoryArea::Kind::kRam,
                   .name = name}));
  ram_areas_.push_back(area);
  return absl::OkStatus();
}

absl::Status Machine::CreateVcpus(unsigned count) {
  for (unsigned id = 0; id < count; ++id) {
    PASSTHRU_ASSIGN_OR_RETURN(auto vcpu, kvm::KvmVcpu::Create(vm_.get(), id));
    vcpus_.push_back(std::move(vcpu));
  }
  return absl::OkStatus();
}

absl::Status Machine::CreatePciHost(const Options& options) {
  segment_ = std::make_shared<pci_host::PciSegment>();
  PASSTHRU_RETURN_IF_ERROR(
      segment_->Add(pci::Bdf(), std::make_shared<pci_host::HostBridge>()));
  PASSTHRU_RETURN_IF_ERROR(pio_.Add(kPciConfigPort, kPciConfigPortSize,
                                    std::make_shared<pci_host::PciConfigIo>(
                                        segment_, options.on_reset_control),
                                    bus::AddressSpace::kPlatformPriority)
                               .status());
  auto ecam = mmio_.Add(
      kEcamBase, kEcamSize,
      std::make_shared<pci_host::PciConfigMmio>(
          segment_, kEcamSize / pci_host::PciConfigMmio::kBytesPerBus),
      bus::AddressSpace::kPlatformPriority);
  return ecam.status();
}

}  // namespace passthru::vmm
