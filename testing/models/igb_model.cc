// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/models/igb_model.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>

#include "absl/types/span.h"
#include "passthru/pci/little_endian.h"
#include "passthru/testing/models/device_platform.h"

namespace passthru::models {
namespace {

constexpr pci::BarIndex kRegisterBar(0);

// Registers of 8.2 to 8.12.
constexpr uint64_t kCtrl = 0x0000;
constexpr uint64_t kIgbStatus = 0x0008;
constexpr uint64_t kEecd = 0x0010;
constexpr uint64_t kMdic = 0x0020;
constexpr uint64_t kRctl = 0x0100;
constexpr uint64_t kTctl = 0x0400;
constexpr uint64_t kGpie = 0x1514;
constexpr uint64_t kEics = 0x1520;
constexpr uint64_t kEims = 0x1524;
constexpr uint64_t kEimc = 0x1528;
constexpr uint64_t kEiac = 0x152c;
constexpr uint64_t kEiam = 0x1530;
constexpr uint64_t kEicr = 0x1580;
constexpr uint64_t kIvar0 = 0x1700;
// Of queue 0, and offsets in both.
constexpr uint64_t kReceiveRing = 0x2800;
constexpr uint64_t kTransmitRing = 0x3800;
constexpr uint64_t kRingLow = 0x00;
constexpr uint64_t kRingHigh = 0x04;
constexpr uint64_t kRingLength = 0x08;
constexpr uint64_t kRingSrrctl = 0x0c;  // Only of the receive ring.
constexpr uint64_t kRingHead = 0x10;
constexpr uint64_t kRingTail = 0x18;
constexpr uint64_t kRingControl = 0x28;

// Those that the model handles, in whole units of 8 bytes.
struct Span8 {
  uint64_t begin;
  uint64_t end;
};
constexpr Span8 kHandled[] = {
    {0x0000, 0x0018}, {0x0020, 0x0028}, {0x0100, 0x0108},
    {0x0400, 0x0408}, {0x1510, 0x1538}, {0x1580, 0x1588},
    {0x1700, 0x1708}, {0x2800, 0x2830}, {0x3800, 0x3830}};

constexpr uint32_t kCtrlLinkUp = 1u << 6;  // SLU.
constexpr uint32_t kCtrlReset = 1u << 26;
constexpr uint32_t kStatusFullDuplex = 1u << 0;
constexpr uint32_t kStatusLinkUp = 1u << 1;
constexpr uint32_t kEecdPresent = 1u << 8;
constexpr uint32_t kEecdAutoRead = 1u << 9;
constexpr uint32_t kMdicWrite = 1u << 26;
constexpr uint32_t kMdicRead = 2u << 26;
constexpr uint32_t kMdicReady = 1u << 28;
constexpr uint32_t kEnable = 1u << 1;        // Of RCTL and TCTL.
constexpr uint32_t kQueueEnable = 1u << 25;  // Of RXDCTL and TXDCTL.
constexpr uint32_t kLoopbackMac = 1u << 6;   // RCTL.LBM.
constexpr uint32_t kGpieMultiple = 1u << 4;
constexpr uint32_t kGpieEiame = 1u << 30;
constexpr uint32_t kIvarValid = 0x80;
constexpr uint32_t kIvarVector = 0x1f;

constexpr size_t kPhyControl = 0;
constexpr uint16_t kPhyLoopback = 1u << 14;

// Descriptors (7.1.4, 7.1.5 and 7.2.2). The command byte is the same in both
// formats of the transmit ring.
constexpr size_t kDescriptorBytes = 16;
constexpr uint32_t kTransmitEnd = 1u << 24;
constexpr uint32_t kTransmitReport = 1u << 27;
constexpr uint32_t kTransmitAdvanced = 1u << 29;
constexpr uint32_t kTypeMask = 0xfu << 20;
constexpr uint32_t kTypeData = 3u << 20;
constexpr uint32_t kDescriptorDone = 1u << 0;
constexpr uint32_t kEndOfPacket = 1u << 1;
constexpr unsigned kSrrctlTypeShift = 25;

uint32_t Word(absl::Span<const uint8_t> descriptor, size_t offset) {
  return pci::LoadLittleEndian<uint32_t>(descriptor, offset);
}

}  // namespace

bool IgbModel::HandlesBar(pci::BarIndex bar, uint64_t offset) const {
  return bar == kRegisterBar &&
         std::any_of(std::begin(kHandled), std::end(kHandled),
                     [offset](const Span8& span) {
                       return offset >= span.begin && offset < span.end;
                     });
}

bool IgbModel::IsPolled(pci::BarIndex bar, uint64_t offset) const {
  return HandlesBar(bar, offset) && offset != kEicr;
}

uint32_t IgbModel::Get(uint64_t offset) const {
  const auto found = registers_.find(offset);
  return found == registers_.end() ? 0 : found->second;
}

uint64_t IgbModel::ReadBar(pci::BarIndex bar, uint64_t offset, unsigned width) {
  if (!HandlesBar(bar, offset) || width != 4 || offset % 4 != 0) return 0;
  switch (offset) {
    case kIgbStatus:
      return kStatusFullDuplex |
             ((Get(kCtrl) & kCtrlLinkUp) != 0 ? kStatusLinkUp : 0);
    case kEecd:
      // What the NVM says was read before any access arrives.
      return Get(kEecd) | kEecdPresent | kEecdAutoRead;
    case kEicr: {
      // Reading clears all (7.3.4.3).
      const uint32_t causes = Get(kEicr);
      registers_.erase(kEicr);
      return causes;
    }
    case kEics:
    case kEimc:
      return 0;  // These can only be written.
    default:
      return Get(offset);
  }
}

void IgbModel::WriteBar(pci::BarIndex bar, uint64_t offset, unsigned width,
                        uint64_t value) {
  if (!HandlesBar(bar, offset) || width != 4 || offset % 4 != 0) return;
  const uint32_t word = static_cast<uint32_t>(value);
  switch (offset) {
    case kCtrl:
      // The bit is clear again as soon as the reset is done (8.2.1).
      if ((word & kCtrlReset) != 0) {
        Clear();
      } else {
        registers_[kCtrl] = word;
      }
      break;
    case kIgbStatus:
      break;
    case kMdic:
      AccessPhy(word);
      break;
    case kEics:
      SignalVectors(word);
      break;
    case kEims:
      registers_[kEims] |= word;
      SignalVectors(0);
      break;
    case kEimc:
      registers_[kEims] &= ~word;
      break;
    case kEicr:
      registers_[kEicr] &= ~word;
      break;
    default:
      registers_[offset] = word;
      break;
  }
}

// Carries out a command of MDIC at once (8.2.4). There is one PHY, whatever its
// address.
void IgbModel::AccessPhy(uint32_t command) {
  uint16_t& phy = phy_[command >> 16 & (kPhyRegisters - 1)];
  if ((command & kMdicWrite) != 0) phy = static_cast<uint16_t>(command);
  if ((command & kMdicRead) != 0) command = (command & 0xffff0000) | phy;
  registers_[kMdic] = command | kMdicReady;
}

bool IgbModel::LoopsBack() const {
  return (Get(kRctl) & kLoopbackMac) != 0 ||
         (phy_[kPhyControl] & kPhyLoopback) != 0;
}

uint32_t IgbModel::RingSize(uint64_t ring) const {
  constexpr uint32_t kLengthMask = 0xfff80;  // RDLEN, TDLEN.
  return (Get(ring + kRingLength) & kLengthMask) / kDescriptorBytes;
}

uint64_t IgbModel::DescriptorAddress(uint64_t ring, uint32_t index) const {
  const uint64_t base = uint64_t{Get(ring + kRingHigh)} << 32 |
                        (Get(ring + kRingLow) & ~uint32_t{0x7f});
  return base + uint64_t{index} * kDescriptorBytes;
}

// Returns whether a ring is on and has descriptors for the device. Indices
// beyond its end, which only broken software writes, stop it.
bool IgbModel::RingRuns(uint64_t ring, uint64_t control) const {
  const uint32_t size = RingSize(ring);
  const uint32_t head = Get(ring + kRingHead);
  const uint32_t tail = Get(ring + kRingTail);
  return (Get(control) & kEnable) != 0 &&
         (Get(ring + kRingControl) & kQueueEnable) != 0 && head < size &&
         tail < size && head != tail;
}

bool IgbModel::Step() {
  if (!RingRuns(kTransmitRing, kTctl)) return false;
  const uint32_t head = Get(kTransmitRing + kRingHead);
  const uint32_t tail = Get(kTransmitRing + kRingTail);
  const uint32_t size = RingSize(kTransmitRing);
  // Up to the tail or the end of the ring.
  const uint32_t count =
      std::min((tail > head ? tail : size) - head, uint32_t{kBatch});
  std::array<uint8_t, kBatch * kDescriptorBytes> fetched;
  const absl::Span<uint8_t> descriptors =
      absl::MakeSpan(fetched).first(count * kDescriptorBytes);
  const bool good =
      host().DmaRead(DescriptorAddress(kTransmitRing, head), descriptors).ok();
  if (!good) ++counters_.refused;
  for (uint32_t i = 0; good && i < count; ++i) {
    Transmit(head + i,
             descriptors.subspan(i * kDescriptorBytes, kDescriptorBytes));
  }
  registers_[kTransmitRing + kRingHead] = (head + count) % size;
  return true;
}

void IgbModel::Transmit(uint32_t index, absl::Span<const uint8_t> descriptor) {
  const uint32_t command = Word(descriptor, 8);
  if ((command & kTransmitAdvanced) != 0 &&
      (command & kTypeMask) != kTypeData) {
    return;  // A context, which only offloads need.
  }
  const size_t length = command & 0xffff;
  if (frame_.size() + length > kMaxFrame) frame_is_bad_ = true;
  if (!frame_is_bad_) {
    const size_t before = frame_.size();
    frame_.resize(before + length);
    if (!host()
             .DmaRead(pci::LoadLittleEndian<uint64_t>(descriptor, 0),
                      absl::MakeSpan(frame_).subspan(before))
             .ok()) {
      ++counters_.refused;
      frame_is_bad_ = true;
    }
  }
  if ((command & kTransmitEnd) == 0) return;
  if (!frame_is_bad_) {
    ++counters_.sent;
    if (LoopsBack()) Receive(frame_);
  }
  frame_.clear();
  frame_is_bad_ = false;
  if ((command & kTransmitReport) == 0) return;
  std::array<uint8_t, 4> done = {kDescriptorDone};
  if (!host()
           .DmaWrite(DescriptorAddress(kTransmitRing, index) + 12,
                     absl::MakeConstSpan(done))
           .ok()) {
    ++counters_.refused;
  }
  SignalQueue(1);
}

// Puts a frame into as many buffers as it needs.
void IgbModel::Receive(absl::Span<const uint8_t> frame) {
  const uint32_t srrctl = Get(kReceiveRing + kRingSrrctl);
  // In units of 1 KiB, or of RCTL.BSIZE if it is 0 (7.1.3.1).
  size_t buffer = size_t{srrctl & 0x7f} << 10;
  if (buffer == 0) buffer = size_t{2048} >> (Get(kRctl) >> 16 & 3);
  while (!frame.empty()) {
    const absl::Span<const uint8_t> part =
        frame.first(std::min(buffer, frame.size()));
    frame.remove_prefix(part.size());
    if (!ReceivePart(part, frame.empty())) return;
  }
  ++counters_.received;
  SignalQueue(0);
}

// Fills one buffer, and writes its descriptor back. Returns false if the frame
// is lost.
bool IgbModel::ReceivePart(absl::Span<const uint8_t> part, bool last) {
  if (!RingRuns(kReceiveRing, kRctl)) return false;
  const uint32_t head = Get(kReceiveRing + kRingHead);
  registers_[kReceiveRing + kRingHead] = (head + 1) % RingSize(kReceiveRing);
  const uint64_t address = DescriptorAddress(kReceiveRing, head);
  std::array<uint8_t, kDescriptorBytes> descriptor;
  if (!host().DmaRead(address, absl::MakeSpan(descriptor)).ok() ||
      !host()
           .DmaWrite(pci::LoadLittleEndian<uint64_t>(descriptor, 0), part)
           .ok()) {
    ++counters_.refused;
    return false;
  }
  const uint32_t status = kDescriptorDone | (last ? kEndOfPacket : 0);
  const uint16_t length = static_cast<uint16_t>(part.size());
  const absl::Span<uint8_t> bytes = absl::MakeSpan(descriptor);
  if (Get(kReceiveRing + kRingSrrctl) >> kSrrctlTypeShift == 0) {
    // The legacy format keeps the address (7.1.4).
    pci::StoreLittleEndian<uint32_t>(bytes, 8, length);
    pci::StoreLittleEndian<uint32_t>(bytes, 12, status);
  } else {
    pci::StoreLittleEndian<uint64_t>(bytes, 0, uint64_t{0});
    pci::StoreLittleEndian<uint32_t>(bytes, 8, status);
    pci::StoreLittleEndian<uint32_t>(bytes, 12, length);
  }
  if (host().DmaWrite(address, bytes).ok()) return true;
  ++counters_.refused;
  return false;
}

// IVAR0 has a byte for each cause: 0 is the receive queue 0, 1 the transmit
// queue 0.
void IgbModel::SignalQueue(unsigned cause) {
  const uint32_t entry = Get(kIvar0) >> (8 * cause) & 0xff;
  if ((Get(kGpie) & kGpieMultiple) == 0 || (entry & kIvarValid) == 0) return;
  SignalVectors(1u << (entry & kIvarVector));
}

// Adds causes, and signals those that are not masked. A signal clears the bits
// of EIAC, and masks those of EIAM (8.8.5, 8.8.6).
void IgbModel::SignalVectors(uint32_t vectors) {
  registers_[kEicr] |= vectors;
  const uint32_t signalled = Get(kEicr) & Get(kEims);
  for (uint16_t vector = 0; vector < vectors_ && vector < 32; ++vector) {
    const uint32_t bit = 1u << vector;
    if ((signalled & bit) == 0) continue;
    host().RaiseMsix(vector);
    registers_[kEicr] &= ~(Get(kEiac) & bit);
    if ((Get(kGpie) & kGpieEiame) != 0) {
      registers_[kEims] &= ~(Get(kEiam) & bit);
    }
  }
}

void IgbModel::Clear() {
  registers_.clear();
  phy_.fill(0);
  frame_.clear();
  frame_is_bad_ = false;
}

void IgbModel::Reset(ResetKind) { Clear(); }

}  // namespace passthru::models
