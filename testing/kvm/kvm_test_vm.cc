// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/kvm/kvm_test_vm.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/log/check.h"
#include "passthru/devices/kernel/flex_array.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/testing/guest/guest_cpu.h"
#include "passthru/testing/kvm/fake_kvm_caps.h"

namespace passthru::fake {

using kernel::SyscallResult;

KvmTestVm::KvmTestVm(kernel::Syscalls* syscalls, bool irqchip, unsigned vcpus)
    : syscalls_(syscalls) {
  kvm_ = syscalls_->Open("/dev/kvm", O_RDWR | O_CLOEXEC).value;
  vm_ = syscalls_->IoctlInt(kvm_, KVM_CREATE_VM, 0).value;
  if (irqchip) {
    CHECK(syscalls_->IoctlInt(vm_, KVM_CREATE_IRQCHIP, 0).ok());
  }
  const auto ram = syscalls_->Mmap(nullptr, kRamSize, PROT_READ | PROT_WRITE,
                                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(ram.ok());
  ram_ = static_cast<uint8_t*>(ram.value);
  CHECK_EQ(SetSlot(0, 0, kRamSize, ram_), 0);
  for (unsigned id = 0; id < vcpus; ++id) {
    const auto fd = syscalls_->IoctlInt(vm_, KVM_CREATE_VCPU, id);
    CHECK(fd.ok());
    const auto run =
        syscalls_->Mmap(nullptr, kVcpuMmapSize, PROT_READ | PROT_WRITE,
                        MAP_SHARED, fd.value, 0);
    CHECK(run.ok());
    vcpus_.push_back({fd.value, static_cast<kvm_run*>(run.value)});
  }
}

KvmTestVm::~KvmTestVm() {
  for (const Vcpu& vcpu : vcpus_) {
    syscalls_->Munmap(vcpu.run, kVcpuMmapSize);
    syscalls_->Close(vcpu.fd);
  }
  syscalls_->Close(vm_);
  syscalls_->Munmap(ram_, kRamSize);
  syscalls_->Close(kvm_);
}

int KvmTestVm::SetSlot(uint32_t slot, uint64_t guest, uint64_t size, void* host,
                       uint32_t flags) {
  kvm_userspace_memory_region region{
      .slot = slot,
      .flags = flags,
      .guest_phys_addr = guest,
      .memory_size = size,
      .userspace_addr = reinterpret_cast<uintptr_t>(host)};
  return syscalls_->Ioctl(vm_, KVM_SET_USER_MEMORY_REGION, &region).error;
}

int KvmTestVm::SetIrqfd(int event_fd, uint32_t gsi, uint32_t flags,
                        int resample_fd) {
  kvm_irqfd request{.fd = static_cast<uint32_t>(event_fd),
                    .gsi = gsi,
                    .flags = flags,
                    .resamplefd = static_cast<uint32_t>(resample_fd)};
  return syscalls_->Ioctl(vm_, KVM_IRQFD, &request).error;
}

int KvmTestVm::SetRoutes(uint32_t first,
                         const std::vector<guest::GuestInterrupt>& messages) {
  kernel::FlexArray<kvm_irq_routing, kvm_irq_routing_entry> table(
      messages.size());
  table.header().nr = static_cast<uint32_t>(messages.size());
  for (size_t i = 0; i < messages.size(); ++i) {
    kvm_irq_routing_entry& entry = table.elements()[i];
    entry.gsi = first + static_cast<uint32_t>(i);
    entry.type = KVM_IRQ_ROUTING_MSI;
    entry.u.msi.address_lo = static_cast<uint32_t>(messages[i].address);
    entry.u.msi.address_hi = static_cast<uint32_t>(messages[i].address >> 32);
    entry.u.msi.data = messages[i].data;
  }
  return syscalls_->Ioctl(vm_, KVM_SET_GSI_ROUTING, table.data()).error;
}

SyscallResult<int> KvmTestVm::SignalMsi(const guest::GuestInterrupt& message) {
  kvm_msi msi{};
  msi.address_lo = static_cast<uint32_t>(message.address);
  msi.address_hi = static_cast<uint32_t>(message.address >> 32);
  msi.data = message.data;
  return syscalls_->Ioctl(vm_, KVM_SIGNAL_MSI, &msi);
}

SyscallResult<int> KvmTestVm::Run(unsigned vcpu) {
  return syscalls_->IoctlInt(vcpu_fd(vcpu), KVM_RUN, 0);
}

int KvmTestVm::RunUntilShutdown(const Handler& handler, unsigned vcpu) {
  for (int exits = 0;; ++exits) {
    if (!Run(vcpu).ok()) return -1;
    switch (run(vcpu).exit_reason) {
      case KVM_EXIT_SHUTDOWN:
        return exits;
      case KVM_EXIT_MMIO:
      case KVM_EXIT_IO:
        if (handler != nullptr) handler(run(vcpu));
        break;
      default:
        return -1;
    }
  }
}

}  // namespace passthru::fake
