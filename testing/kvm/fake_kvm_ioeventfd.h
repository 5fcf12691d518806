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

// The ioeventfds of one VM, with the rules of virt/kvm/eventfd.c. A guest store
// that matches one, and that no memory slot takes, signals its eventfd and does
// not exit.
class FakeKvmIoeventfds {
 public:
  explicit FakeKvmIoeventfds(KernelCore* core) : core_(core) {}
  FakeKvmIoeventfds(const FakeKvmIoeventfds&) = delete;
  FakeKvmIoeventfds& operator=(const FakeKvmIoeventfds&) = delete;

  // Carries out KVM_IOEVENTFD. Returns 0 or an errno.
  int Set(const kvm_ioeventfd& request);

  // Offers a guest's write to the ioeventfds. Returns whether one took it.
  bool OnWrite(bool pio, uint64_t address, unsigned width, uint64_t value);

  size_t size() const { return ioeventfds_.size(); }

 private:
  enum class Bus { kMemory, kPorts, kCcw };
  struct Ioeventfd {
    Bus bus = Bus::kMemory;
    std::shared_ptr<FakeEventfd> eventfd;
    uint64_t address = 0;
    uint32_t length = 0;  // 0 matches any width.
    bool wildcard = true;
    uint64_t data_match = 0;
  };

  int Assign(const kvm_ioeventfd& request);
  int Deassign(const kvm_ioeventfd& request);
  static Bus BusOf(uint32_t flags);
  static bool Collide(const Ioeventfd& a, const Ioeventfd& b);

  KernelCore* const core_;
  std::list<Ioeventfd> ioeventfds_;
};

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_KVM_FAKE_KVM_IOEVENTFD_H_
