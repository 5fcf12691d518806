// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_KVM_KVM_TEST_VM_H_
#define PASSTHRU_TESTING_KVM_KVM_TEST_VM_H_

#include <linux/kvm.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "passthru/devices/kernel/syscalls.h"
#include "passthru/testing/guest/guest_cpu.h"

namespace passthru::fake {

// A VM made by bare system calls, for the fake's own tests: irqchip, RAM in
// slot 0, vCPUs, and an exit loop. Gives everything back on destruction.
class KvmTestVm {
 public:
  static constexpr uint64_t kRamSize = 16 * 4096;

  explicit KvmTestVm(kernel::Syscalls* syscalls, bool irqchip = true,
                     unsigned vcpus = 1);
  KvmTestVm(const KvmTestVm&) = delete;
  KvmTestVm& operator=(const KvmTestVm&) = delete;
  ~KvmTestVm();

  int fd() const { return vm_; }
  uint8_t* ram() const { return ram_; }
  kvm_run& run(unsigned vcpu = 0) const { return *vcpus_[vcpu].run; }
  int vcpu_fd(unsigned vcpu = 0) const { return vcpus_[vcpu].fd; }

  int SetSlot(uint32_t slot, uint64_t guest, uint64_t size, void* host,
              uint32_t flags = 0);
  int SetIrqfd(int event_fd, uint32_t gsi, uint32_t flags = 0,
               int resample_fd = -1);
  // Replaces the table by MSI routes from GSI `first` on.
  int SetRoutes(uint32_t first,
                const std::vector<guest::GuestInterrupt>& messages);
  kernel::SyscallResult<int> SignalMsi(const guest::GuestInterrupt& message);

  // KVM_RUN once.
  kernel::SyscallResult<int> Run(unsigned vcpu = 0);

  // Exits until KVM_EXIT_SHUTDOWN; each MMIO or I/O exit goes to `handler`.
  // The number of exits, or -1 if something else happened.
  using Handler = std::function<void(kvm_run&)>;
  int RunUntilShutdown(const Handler& handler = {}, unsigned vcpu = 0);

 private:
  struct Vcpu {
    int fd = -1;
    kvm_run* run = nullptr;
  };

  kernel::Syscalls* const syscalls_;
  int kvm_ = -1;
  int vm_ = -1;
  uint8_t* ram_ = nullptr;
  std::vector<Vcpu> vcpus_;
};

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_KVM_KVM_TEST_VM_H_
