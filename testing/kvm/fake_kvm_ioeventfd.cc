// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/kvm/fake_kvm_ioeventfd.h"

#include <linux/kvm.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>

#include "passthru/testing/kernel/eventfd_table.h"
#include "passthru/testing/kernel/kernel_core.h"

namespace passthru::fake {
namespace {

constexpr size_t kMaxDevices = 1000;  // NR_IOBUS_DEVS

// The fake has no bus for Virtio CCW, and so refuses its flag as unknown.
constexpr uint32_t kIoeventfdFlags = KVM_IOEVENTFD_FLAG_DATAMATCH |
                                     KVM_IOEVENTFD_FLAG_PIO |
                                     KVM_IOEVENTFD_FLAG_DEASSIGN;

}  // namespace

int FakeKvmIoeventfds::Set(const kvm_ioeventfd& request) {
  return (request.flags & KVM_IOEVENTFD_FLAG_DEASSIGN) != 0 ? Deassign(request)
                                                            : Assign(request);
}

int FakeKvmIoeventfds::Assign(const kvm_ioeventfd& request) {
  core_->mutex.AssertHeld();
  switch (request.len) {
    case 0:
    case 1:
    case 2:
    case 4:
    case 8:
      break;
    default:
      return EINVAL;
  }
  if (request.addr + request.len < request.addr) return EINVAL;
  if ((request.flags & ~kIoeventfdFlags) != 0) return EINVAL;
  const bool matches_data = (request.flags & KVM_IOEVENTFD_FLAG_DATAMATCH) != 0;
  if (request.len == 0 && matches_data) return EINVAL;

  const auto eventfd = core_->eventfds.Lookup(request.fd);
  if (!eventfd.ok()) return eventfd.error;
  const Ioeventfd wanted{.pio = (request.flags & KVM_IOEVENTFD_FLAG_PIO) != 0,
                         .eventfd = eventfd.value,
                         .address = request.addr,
                         .length = request.len,
                         .wildcard = !matches_data,
                         .data_match = request.datamatch};
  if (std::any_of(ioeventfds_.begin(), ioeventfds_.end(),
                  [&wanted](const Ioeventfd& other) {
                    return Collide(wanted, other);
                  })) {
    return EEXIST;
  }
  if (ioeventfds_.size() >= kMaxDevices) return ENOSPC;
  ioeventfds_.push_back(wanted);
  return 0;
}

int FakeKvmIoeventfds::Deassign(const kvm_ioeventfd& request) {
  core_->mutex.AssertHeld();
  const auto eventfd = core_->eventfds.Lookup(request.fd);
  if (!eventfd.ok()) return eventfd.error;
  const bool pio = (request.flags & KVM_IOEVENTFD_FLAG_PIO) != 0;
  const bool wildcard = (request.flags & KVM_IOEVENTFD_FLAG_DATAMATCH) == 0;
  const auto found = std::find_if(
      ioeventfds_.begin(), ioeventfds_.end(), [&](const Ioeventfd& candidate) {
        return candidate.pio == pio && candidate.eventfd == eventfd.value &&
               candidate.address == request.addr &&
               candidate.length == request.len &&
               candidate.wildcard == wildcard &&
               (wildcard || candidate.data_match == request.datamatch);
      });
  if (found == ioeventfds_.end()) return ENOENT;
  ioeventfds_.erase(found);
  return 0;
}

// Answers like ioeventfd_check_collision().
bool FakeKvmIoeventfds::Collide(const Ioeventfd& a, const Ioeventfd& b) {
  return a.pio == b.pio && a.address == b.address &&
         (a.length == 0 || b.length == 0 ||
          (a.length == b.length &&
           (a.wildcard || b.wildcard || a.data_match == b.data_match)));
}

// Matches like ioeventfd_in_range().
bool FakeKvmIoeventfds::OnWrite(bool pio, uint64_t address, unsigned width,
                                uint64_t value) {
  core_->mutex.AssertHeld();
  for (const Ioeventfd& candidate : ioeventfds_) {
    if (candidate.pio != pio || candidate.address != address) continue;
    if (candidate.length != 0 && candidate.length != width) continue;
    if (!candidate.wildcard && candidate.data_match != value) continue;
    core_->eventfds.Signal(*candidate.eventfd);
    return true;
  }
  return false;
}

}  // namespace passthru::fake
