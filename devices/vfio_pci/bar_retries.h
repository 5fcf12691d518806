// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_VFIO_PCI_BAR_RETRIES_H_
#define PASSTHRU_DEVICES_VFIO_PCI_BAR_RETRIES_H_

#include <vector>

namespace passthru::vfio_pci {

// Lets the devices of one VM place BARs again that were refused a place because
// of the BAR of another device. Two BARs overlap for a moment when a guest
// rebalances its bus, and the slots of a VM are limited. When a BAR moves or
// goes, the others try again. Without this, a BAR would stay trapped until the
// guest happens to change it.
//
// Thread-compatible. Callers hold the VM's layout lock.
class BarRetries {
 public:
  // A party that wants to know when guest addresses or slots became free.
  class Waiter {
   public:
    virtual ~Waiter() = default;
    // Tries again to place what was refused. Must not free any place itself.
    virtual void RetryRefused() = 0;
  };

  BarRetries() = default;
  BarRetries(const BarRetries&) = delete;
  BarRetries& operator=(const BarRetries&) = delete;

  // Adds a waiter, which must be removed before it is destroyed.
  void Add(Waiter* waiter) { waiters_.push_back(waiter); }
  void Remove(Waiter* waiter) { std::erase(waiters_, waiter); }

  // Lets all waiters except `freed_by`, in the order in which they were added,
  // try again.
  void Retry(const Waiter* freed_by) {
    for (Waiter* waiter : waiters_) {
      if (waiter != freed_by) waiter->RetryRefused();
    }
  }

 private:
  std::vector<Waiter*> waiters_;
};

}  // namespace passthru::vfio_pci

#endif  // PASSTHRU_DEVICES_VFIO_PCI_BAR_RETRIES_H_
