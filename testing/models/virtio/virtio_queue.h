// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_MODELS_VIRTIO_VIRTIO_QUEUE_H_
#define PASSTHRU_TESTING_MODELS_VIRTIO_VIRTIO_QUEUE_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "passthru/testing/models/device_platform.h"

namespace passthru::models::virtio {

// The device's side of a split virtqueue (virtio 1.2, 2.7), without indirect
// descriptors and event indices.
//
// The rings are the guest's, so every field of them may be anything. Methods
// return an error if the platform refuses an access, or if the guest broke a
// rule of the ring, after which the device needs a reset.
//
// Thread-compatible.
class VirtQueue {
 public:
  static constexpr uint16_t kNoVector = 0xffff;

  // What the driver programs before it enables the queue.
  struct Setup {
    uint16_t size = 0;
    uint16_t vector = kNoVector;
    bool enabled = false;
    uint64_t descriptors = 0;  // The descriptor table.
    uint64_t driver = 0;       // The available ring.
    uint64_t device = 0;       // The used ring.
  };

  explicit VirtQueue(uint16_t max_size) : max_size_(max_size) { Reset(); }

  uint16_t max_size() const { return max_size_; }
  Setup& setup() { return setup_; }
  const Setup& setup() const { return setup_; }

  void Reset();

  // One buffer of the driver, which may have several parts.
  struct Buffer {
    struct Part {
      uint64_t address = 0;
      uint32_t length = 0;
    };
    uint16_t head = 0;
    std::vector<Part> readable;
    std::vector<Part> writable;
  };
  // Returns the next buffer that the driver made available, or nullopt.
  absl::StatusOr<std::optional<Buffer>> Take(DevicePlatform& host);
  // Makes the buffer that was taken last the next one again.
  void PutBack() { --next_available_; }
  // Gives a buffer back, of which the device wrote `written` bytes.
  absl::Status Return(DevicePlatform& host, const Buffer& buffer,
                      uint32_t written);
  // Returns whether the driver wants an interrupt.
  absl::StatusOr<bool> WantsInterrupt(DevicePlatform& host) const;

 private:
  const uint16_t max_size_;
  Setup setup_;
  uint16_t next_available_ = 0;
  uint16_t next_used_ = 0;
};

// Returns all that is in the parts, or an error for more than `limit` bytes.
absl::StatusOr<std::vector<uint8_t>> Gather(
    DevicePlatform& host, const std::vector<VirtQueue::Buffer::Part>& parts,
    uint64_t limit);
// Writes the data into the parts. Returns false if it does not fit, and then
// writes nothing.
absl::StatusOr<bool> Scatter(DevicePlatform& host,
                             const std::vector<VirtQueue::Buffer::Part>& parts,
                             absl::Span<const uint8_t> data);

}  // namespace passthru::models::virtio

#endif  // PASSTHRU_TESTING_MODELS_VIRTIO_VIRTIO_QUEUE_H_
