// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_MODELS_VIRTIO_VIRTIO_NET_MODEL_H_
#define PASSTHRU_TESTING_MODELS_VIRTIO_VIRTIO_NET_MODEL_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <string_view>
#include <vector>

#include "absl/types/span.h"
#include "passthru/pci/bar_index.h"
#include "passthru/testing/models/device_model.h"
#include "passthru/testing/models/virtio/virtio_queue.h"

namespace passthru::models::virtio {

// Where a structure of the device is (struct virtio_pci_cap).
struct Structure {
  uint8_t bar = 0;
  uint64_t offset = 0;
  uint64_t length = 0;

  bool Contains(uint8_t in, uint64_t at) const {
    return in == bar && at >= offset && at - offset < length;
  }
};

// A modern virtio network device (virtio 1.2, 5.1) with one pair of split
// queues, by its registers in BARs (4.1.4). It offers VERSION_1,
// ACCESS_PLATFORM, a MAC address and the status of its link, and nothing that
// saves work. What it sends arrives at its peer, another model, or is lost. The
// link is up while the driver of the peer runs, and always without a peer.
//
// The device signals by MSI-X, or by its pin with the ISR status. It signals a
// change of the link, too.
//
// If the platform refuses the DMA of a ring or of a buffer, or the guest breaks
// a rule of the rings, the device sets DEVICE_NEEDS_RESET and stops until it is
// reset (2.1.2).
//
// Thread-compatible, as DeviceModel says. Both peers have the same caller.
class VirtioNetModel final : public DeviceModel {
 public:
  static constexpr uint16_t kQueueSize = 256;
  static constexpr uint16_t kReceive = 0;
  static constexpr uint16_t kTransmit = 1;
  // Frames that wait for a buffer of the driver. More are lost.
  static constexpr size_t kWaiting = 1024;

  struct Options {
    Structure common;
    Structure notify;
    Structure isr;
    Structure device;
    uint32_t notify_multiplier = 4;
    uint16_t vectors = 3;  // Size of the MSI-X table.
    std::array<uint8_t, 6> mac = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};
  };

  struct Counters {
    uint64_t sent = 0;
    uint64_t received = 0;
    uint64_t lost = 0;
    uint64_t interrupts = 0;
  };

  explicit VirtioNetModel(const Options& options) : options_(options) {}
  ~VirtioNetModel() override { Disconnect(); }

  // Wires two devices back to back. A device that has a peer leaves it.
  static void Connect(VirtioNetModel& a, VirtioNetModel& b);
  void Disconnect();

  std::string_view name() const override { return "virtio-net"; }
  bool HandlesBar(pci::BarIndex bar, uint64_t offset) const override;
  bool IsDoorbell(pci::BarIndex bar, uint64_t offset) const override;
  uint64_t ReadBar(pci::BarIndex bar, uint64_t offset, unsigned width) override;
  void WriteBar(pci::BarIndex bar, uint64_t offset, unsigned width,
                uint64_t value) override;
  // Sends one frame, receives one, or signals a change of the link.
  bool Step() override;
  void Reset(ResetKind kind) override;

  const Counters& counters() const { return counters_; }

 private:
  std::vector<uint8_t> CommonBytes() const;
  void WriteCommon(uint64_t offset, uint32_t value);
  void WriteStatus(uint8_t value);
  uint64_t AcceptedFeatures() const;
  VirtQueue* Selected();
  void ResetDevice();
  void Fail();
  bool Running() const;
  bool LinkIsUp() const { return peer_ == nullptr || peer_->Running(); }

  // Returns whether there was a change to show or to signal.
  bool UpdateLink();
  bool Send();
  bool Receive();
  void Interrupt(VirtQueue& queue);
  // Sends the message, or asserts the pin with a bit of the ISR status.
  void Signal(uint16_t vector, uint8_t isr_bit);

  const Options options_;
  VirtioNetModel* peer_ = nullptr;
  // The link as the driver sees it.
  bool link_ = true;
  bool link_changed_ = false;  // The driver was not told.
  uint8_t config_generation_ = 0;

  uint32_t device_feature_select_ = 0;
  uint32_t driver_feature_select_ = 0;
  std::array<uint32_t, 2> driver_features_{};
  uint16_t config_vector_ = VirtQueue::kNoVector;
  uint8_t status_ = 0;
  uint16_t queue_select_ = 0;
  std::array<VirtQueue, 2> queues_{VirtQueue(kQueueSize),
                                   VirtQueue(kQueueSize)};
  // Whether a queue may have buffers that the device has not looked at.
  std::array<bool, 2> notified_{};
  uint8_t isr_ = 0;
  std::deque<std::vector<uint8_t>> waiting_;
  Counters counters_;
};

}  // namespace passthru::models::virtio

#endif  // PASSTHRU_TESTING_MODELS_VIRTIO_VIRTIO_NET_MODEL_H_
