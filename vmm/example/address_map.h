// SPDX-License-Identifier: Apache-2.0
#ifndef ADDRESS_MAP_H_
#define ADDRESS_MAP_H_

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <utility>

#include "passthru/passthru.h"

namespace example {

// The address map. Only the vCPU's thread uses it, so Remove() has no other
// thread to wait for.
class AddressMap final : public passthru::bus::AddressSpace {
 public:
  absl::StatusOr<passthru::bus::RangeHandle> Add(
      uint64_t base, uint64_t size,
      std::shared_ptr<passthru::bus::BusDevice> device, int priority) override {
    ranges_[++last_] = {base, size, std::move(device), priority};
    return passthru::bus::RangeHandle(last_);
  }
  void Remove(passthru::bus::RangeHandle handle) override {
    ranges_.erase(handle.id());
  }
  void Access(uint64_t address, absl::Span<uint8_t> data, bool is_write) {
    const Range* found = nullptr;
    for (const auto& [id, range] : ranges_) {
      if (address - range.base < range.size &&
          (found == nullptr || range.priority > found->priority))
        found = &range;
    }
    absl::Status status = absl::NotFoundError("nothing is there");
    if (found != nullptr) {
      const auto device = found->device;  // The access may remove the range.
      const uint64_t offset = address - found->base;
      status =
          is_write ? device->Write(offset, data) : device->Read(offset, data);
    }
    if (!status.ok() && !is_write) std::fill(data.begin(), data.end(), 0xff);
  }

 private:
  struct Range {
    uint64_t base, size;
    std::shared_ptr<passthru::bus::BusDevice> device;
    int priority;
  };
  std::map<uint64_t, Range> ranges_;
  uint64_t last_ = 0;
};

}  // namespace example

#endif  // ADDRESS_MAP_H_
