// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_VFIO_DMA_LISTENER_H_
#define PASSTHRU_DEVICES_VFIO_DMA_LISTENER_H_

#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "passthru/devices/memory/memory_area.h"
#include "passthru/devices/memory/memory_listener.h"
#include "passthru/devices/vfio/vfio_container.h"

namespace passthru::vfio {

// A listener that lets the devices of a container do DMA to guest memory. It
// maps every area at the IOVA that equals its guest address.
//
// OnAdd() returns OutOfRange for an area that does not lie in one of the
// IOMMU's address ranges. It never maps a part of an area, because a device
// that reaches only half of the RAM corrupts data silently.
//
// Thread-safe. Add it to a map while the container has a group. Remove it
// before the container's last group is destroyed.
class DmaListener final : public memory::MemoryListener {
 public:
  struct Options {
    // Whether to map the BARs of passed-through devices too, so that devices
    // can do DMA to one another.
    bool device_bars = false;
  };

  explicit DmaListener(std::shared_ptr<VfioContainer> container)
      : DmaListener(std::move(container), Options()) {}
  DmaListener(std::shared_ptr<VfioContainer> container, Options options)
      : container_(std::move(container)), options_(options) {}

  absl::Status OnAdd(const memory::MemoryArea& area) override;
  absl::Status OnRemove(const memory::MemoryArea& area) override;

 private:
  bool Concerns(const memory::MemoryArea& area) const {
    return area.kind == memory::MemoryArea::Kind::kRam || options_.device_bars;
  }

  const std::shared_ptr<VfioContainer> container_;
  const Options options_;
};

}  // namespace passthru::vfio

#endif  // PASSTHRU_DEVICES_VFIO_DMA_LISTENER_H_
