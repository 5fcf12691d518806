// SPDX-License-Identifier: Apache-2.0
#ifndef SLOTS_H_
#define SLOTS_H_

#include <cstdint>
#include <map>

#include "passthru/passthru.h"

namespace example {

// The memory slots. They are RAM's and, from 100 on, those of BARs.
class Slots final : public passthru::memory::GuestMemory,
                    public passthru::memory::MemorySource {
 public:
  explicit Slots(passthru::kvm::KvmVm* vm) : vm_(vm) {}
  absl::StatusOr<passthru::memory::AreaId> Add(
      const passthru::memory::MemoryArea& a) override {
    absl::Status status =
        vm_->SetMemorySlot(Slot(++last_), a.guest, a.size, a.host, a.read_only);
    if (!status.ok()) return status;
    areas_[last_] = a;
    return passthru::memory::AreaId(last_);
  }
  absl::Status Remove(passthru::memory::AreaId id) override {
    absl::Status status = vm_->DeleteMemorySlot(Slot(id.value()));
    if (status.ok()) areas_.erase(id.value());
    return status;
  }
  absl::Status Abandon(passthru::memory::AreaId id) override {
    return Remove(id);
  }
  absl::Status AddListener(passthru::memory::MemoryListener* dma) override {
    return dma->OnAdd(areas_.at(1));  // RAM, which never changes
  }
  absl::Status RemoveListener(passthru::memory::MemoryListener* dma) override {
    return dma->OnRemove(areas_.at(1));
  }

 private:
  static passthru::allocator::MemorySlot Slot(uint64_t id) {
    return passthru::allocator::MemorySlot(
        static_cast<uint32_t>(id == 1 ? 0 : 98 + id));
  }
  passthru::kvm::KvmVm* const vm_;
  std::map<uint64_t, passthru::memory::MemoryArea> areas_;
  uint64_t last_ = 0;
};

}  // namespace example

#endif  // SLOTS_H_
