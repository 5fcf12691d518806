// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_MODELS_IGB_MODEL_H_
#define PASSTHRU_TESTING_MODELS_IGB_MODEL_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string_view>
#include <vector>

#include "absl/types/span.h"
#include "passthru/pci/bar_index.h"
#include "passthru/testing/models/device_model.h"

namespace passthru::models {

// A model of Intel's 82576 Ethernet controller without a network. Its queues 0
// carry frames from the transmit to the receive ring while the loopback of the
// MAC or of the PHY is on, and otherwise what it sends is lost. Section numbers
// are those of the 82576 datasheet.
//
// It signals by MSI-X with the causes of IVAR0 (8.8.13). BAR 0 has the
// registers that do something, at offsets of 4 bytes. The others are plain
// memory, which the device's own reset (CTRL.RST) leaves alone.
//
// A frame whose DMA the platform refuses is lost, and the rings go on. Frames
// are received without their CRC.
//
// Thread-compatible, as DeviceModel says.
class IgbModel final : public DeviceModel {
 public:
  static constexpr size_t kMaxFrame = 9728;  // The longest that it sends.
  // Descriptors of one call of Step().
  static constexpr uint32_t kBatch = 64;

  struct Counters {
    uint64_t sent = 0;
    uint64_t received = 0;
    uint64_t refused = 0;  // DMA that the platform did not carry out.
  };

  // `vectors` is the size of the MSI-X table.
  explicit IgbModel(uint16_t vectors) : vectors_(vectors) {}

  std::string_view name() const override { return "igb"; }
  bool HandlesBar(pci::BarIndex bar, uint64_t offset) const override;
  uint64_t ReadBar(pci::BarIndex bar, uint64_t offset, unsigned width) override;
  void WriteBar(pci::BarIndex bar, uint64_t offset, unsigned width,
                uint64_t value) override;
  // Looking at EICR (8.8.3) would clear it.
  bool IsPolled(pci::BarIndex bar, uint64_t offset) const override;
  // Fetches up to kBatch descriptors of the transmit ring, and delivers their
  // frames.
  bool Step() override;
  void Reset(ResetKind kind) override;

  const Counters& counters() const { return counters_; }

 private:
  static constexpr size_t kPhyRegisters = 32;

  // The registers of a ring, from its base on, are laid out alike for both
  // directions.
  uint32_t RingSize(uint64_t ring) const;
  uint64_t DescriptorAddress(uint64_t ring, uint32_t index) const;
  bool RingRuns(uint64_t ring, uint64_t control) const;

  uint32_t Get(uint64_t offset) const;
  void Clear();
  void AccessPhy(uint32_t command);
  bool LoopsBack() const;

  void Transmit(uint32_t index, absl::Span<const uint8_t> descriptor);
  void Receive(absl::Span<const uint8_t> frame);
  bool ReceivePart(absl::Span<const uint8_t> part, bool last);

  // Signal the causes of the queues, and vectors.
  void SignalQueue(unsigned cause);
  void SignalVectors(uint32_t vectors);

  const uint16_t vectors_;
  std::map<uint64_t, uint32_t> registers_;  // Those that are not 0.
  std::array<uint16_t, kPhyRegisters> phy_ = {};
  std::vector<uint8_t> frame_;  // What was fetched of it.
  bool frame_is_bad_ = false;
  Counters counters_;
};

}  // namespace passthru::models

#endif  // PASSTHRU_TESTING_MODELS_IGB_MODEL_H_
