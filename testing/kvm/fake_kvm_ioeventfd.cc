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

// KVM_IOEVENTFD_VALID_FLAG_MASK
constexpr uint32_t kIoeventfdFlags =
    (uint32_t{1} << kvm_ioeventfd_flag_nr_max) - 1;

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
  const Ioeventfd wanted{.bus = BusOf(request.flags),
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
  ioeventfds_.push_back(wanted);
  return 0;
}

int FakeKvmIoeventfds::Deassign(const kvm_ioeventfd& request) {
  core_->mutex.AssertHeld();
  const auto eventfd = core_->eventfds.Lookup(request.fd);
  if (!eventfd.ok()) return eventfd.error;
  const Bus bus = BusOf(request.flags);
  const bool wildcard = (request.flags & KVM_IOEVENTFD_FLAG_DATAMATCH) == 0;
  const auto found = std::find_if(
      ioeventfds_.begin(), ioeventfds_.end(), [&](const Ioeventfd& candidate) {
        return candidate.bus == bus && candidate.eventfd == eventfd.value &&
               candidate.address == request.addr &&
               candidate.length == request.len &&
               candidate.wildcard == wildcard &&
               (wildcard || candidate.data_match == request.datamatch);
      });
  if (found == ioeventfds_.end()) return ENOENT;
  ioeventfds_.erase(found);
  return 0;
}

// Answers like ioeventfd_bus_from_flags(), which also knows the bus of s390.
FakeKvmIoeventfds::Bus FakeKvmIoeventfds::BusOf(uint32_t flags) {
  if ((flags & KVM_IOEVENTFD_FLAG_PIO) != 0) return Bus::kPorts;
  if ((flags & KVM_IOEVENTFD_FLAG_VIRTIO_CCW_NOTIFY) != 0) return Bus::kCcw;
  return Bus::kMemory;
}

// Answers like ioeventfd_check_collision().
bool FakeKvmIoeventfds::Collide(const Ioeventfd& a, const Ioeventfd& b) {
  return a.bus == b.bus && a.address == b.address &&
         (a.length == 0 || b.length == 0 ||
          (a.length == b.length &&
           (a.wildcard || b.wildcard || a.data_match == b.data_match)));
}

// Matches like ioeventfd_in_range().
bool FakeKvmIoeventfds::OnWrite(bool pio, uint64_t address, unsigned width,
                                uint64_t value) {
  core_->mutex.AssertHeld();
  const Bus bus = pio ? Bus::kPorts : Bus::kMemory;
  for (const Ioeventfd& candidate : ioeventfds_) {
    if (candidate.bus != bus || candidate.address != address) continue;
    if (candidate.length != 0 && candidate.length != width) continue;
    if (!candidate.wildcard && candidate.data_match != value) continue;
    core_->eventfds.Signal(*candidate.eventfd);
    return true;
  }
  return false;
}

}  // namespace passthru::fake
