// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_KVM_FAKE_KVM_IOEVENTFD_H_
#define PASSTHRU_TESTING_KVM_FAKE_KVM_IOEVENTFD_H_

#include <linux/kvm.h>

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>

#include "passthru/testing/kernel/eventfd_table.h"
#include "passthru/testing/kernel/kernel_core.h"

namespace passthru::fake {

// The ioeventfds of one VM, as virt/kvm/eventfd.c does them: a guest store that
// no slot takes and that matches one signals its eventfd and does not exit.
//
// Guarded by the fake kernel's mutex (Thread-compatible).
class FakeKvmIoeventfds {
 public:
  explicit FakeKvmIoeventfds(KernelCore* core) : core_(core) {}
  FakeKvmIoeventfds(const FakeKvmIoeventfds&) = delete;
  FakeKvmIoeventfds& operator=(const FakeKvmIoeventfds&) = delete;

  // KVM_IOEVENTFD: 0 or an errno.
  int Set(const kvm_ioeventfd& request);

  // A guest's write; whether an ioeventfd took it.
  bool OnWrite(bool pio, uint64_t address, unsigned width, uint64_t value);

  size_t size() const { return ioeventfds_.size(); }

 private:
  struct Ioeventfd {
    bool pio = false;
    std::shared_ptr<FakeEventfd> eventfd;
    uint64_t address = 0;
    uint32_t length = 0;  // 0: any.
    bool wildcard = true;
    uint64_t data_match = 0;
  };

  int Assign(const kvm_ioeventfd& request);
  int Deassign(const kvm_ioeventfd& request);
  static bool Collide(const Ioeventfd& a, const Ioeventfd& b);

  KernelCore* const core_;
  std::list<Ioeventfd> ioeventfds_;
};

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_KVM_FAKE_KVM_IOEVENTFD_H_
