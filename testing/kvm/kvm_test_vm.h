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

// A VM made by plain system calls, for the fake's own tests. It has an irqchip,
// RAM in slot 0, vCPUs and an exit loop. The destructor releases everything.
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
  // Replaces the routing table with MSI routes from GSI `first` on.
  int SetRoutes(uint32_t first,
                const std::vector<guest::GuestInterrupt>& messages);
  kernel::SyscallResult<int> SignalMsi(const guest::GuestInterrupt& message);

  // Calls KVM_RUN once.
  kernel::SyscallResult<int> Run(unsigned vcpu = 0);

  // Runs until KVM_EXIT_SHUTDOWN and passes each MMIO or I/O exit to `handler`.
  // Returns the number of those exits, or -1 after any other exit or an error.
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
