// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_VFIO_DMA_LISTENER_H_
#define PASSTHRU_DEVICES_VFIO_DMA_LISTENER_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "passthru/devices/kernel/failure_log.h"
#include "passthru/devices/memory/guest_address.h"
#include "passthru/devices/memory/memory_area.h"
#include "passthru/devices/memory/memory_listener.h"
#include "passthru/devices/vfio/vfio_container.h"

namespace passthru::vfio {

// Guest memory that devices reach, at the IOVA that equals its guest address.
struct DmaMapping {
  memory::GuestAddress guest;
  uint64_t size = 0;
  bool read_only = false;
  std::string name;  // MemoryArea::name

  friend bool operator==(const DmaMapping&, const DmaMapping&) = default;
};

// A listener that lets the devices of a container do DMA to guest memory. It
// maps every area at the IOVA that equals its guest address.
//
// OnAdd() returns OutOfRange for RAM that does not lie in one of the IOMMU's
// address ranges. It never maps a part of an area, because a device that
// reaches only half of the RAM corrupts data silently.
//
// The BAR of a device is another matter. The guest's accesses to it do not
// depend on the IOMMU, and no other device need ever do DMA to it. If a BAR
// cannot be mapped, OnAdd() therefore succeeds and logs a warning, and only DMA
// to this BAR fails. A guest can cause this at any rate by moving a BAR to
// where the IOMMU translates nothing, so the log has a limit.
//
// Thread-safe. Add it to a map while the container has a group. Remove it
// before the container's last group is destroyed.
class DmaListener final : public memory::MemoryListener {
 public:
  struct Options {
    // Whether to map the BARs of passed-through devices too, so that devices
    // can do DMA to one another (peer-to-peer).
    bool device_bars = false;
  };

  explicit DmaListener(std::shared_ptr<VfioContainer> container)
      : DmaListener(std::move(container), Options()) {}
  DmaListener(std::shared_ptr<VfioContainer> container, Options options)
      : container_(std::move(container)), options_(options) {}

  absl::Status OnAdd(const memory::MemoryArea& area) override;
  absl::Status OnRemove(const memory::MemoryArea& area) override;

  // Returns how many BAR areas of the guest devices cannot reach now, although
  // Options::device_bars asks for it.
  size_t unreachable_bars() const;
  // Returns what is mapped now, in ascending order.
  std::vector<DmaMapping> Mappings() const;
  // Returns the latest failures to map a BAR, oldest first.
  std::vector<std::string> RecentFailures() const { return failures_.Recent(); }

 private:
  bool Concerns(const memory::MemoryArea& area) const {
    return area.kind == memory::MemoryArea::Kind::kRam || options_.device_bars;
  }

  absl::Status Map(const memory::MemoryArea& area);

  const std::shared_ptr<VfioContainer> container_;
  const Options options_;
  kernel::FailureLog failures_{"DMA from device to device"};

  mutable absl::Mutex mutex_;
  // The addresses of the BAR areas that could not be mapped.
  absl::flat_hash_set<memory::GuestAddress> unreachable_
      ABSL_GUARDED_BY(mutex_);
  std::map<memory::GuestAddress, DmaMapping> mapped_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace passthru::vfio

#endif  // PASSTHRU_DEVICES_VFIO_DMA_LISTENER_H_
