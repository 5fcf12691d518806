// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/models/virtio/virtio_net_model.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "passthru/pci/little_endian.h"
#include "passthru/testing/models/device_platform.h"

namespace passthru::models::virtio {
namespace {

// Offsets in struct virtio_pci_common_cfg (4.1.4.3).
constexpr uint64_t kDeviceFeatureSelect = 0;
constexpr uint64_t kDeviceFeature = 4;
constexpr uint64_t kDriverFeatureSelect = 8;
constexpr uint64_t kDriverFeature = 12;
constexpr uint64_t kConfigVector = 16;
constexpr uint64_t kNumQueues = 18;
constexpr uint64_t kStatus = 20;
constexpr uint64_t kConfigGeneration = 21;
constexpr uint64_t kQueueSelect = 22;
constexpr uint64_t kQueueSizeAt = 24;
constexpr uint64_t kQueueVector = 26;
constexpr uint64_t kQueueEnable = 28;
constexpr uint64_t kQueueNotifyOff = 30;
constexpr uint64_t kQueueDescriptors = 32;
constexpr uint64_t kQueueDriver = 40;
constexpr uint64_t kQueueDevice = 48;
constexpr size_t kCommonBytes = 56;

// Device status (2.1).
constexpr uint8_t kDriverOk = 4;
constexpr uint8_t kFeaturesOk = 8;
constexpr uint8_t kNeedsReset = 64;

constexpr uint64_t kFeatureMac = uint64_t{1} << 5;
constexpr uint64_t kFeatureStatus = uint64_t{1} << 16;
constexpr uint64_t kFeatureVersion1 = uint64_t{1} << 32;
constexpr uint64_t kFeatureAccessPlatform = uint64_t{1} << 33;
constexpr uint64_t kOffered =
    kFeatureMac | kFeatureStatus | kFeatureVersion1 | kFeatureAccessPlatform;

constexpr uint8_t kIsrQueue = 1;
constexpr uint8_t kIsrConfig = 2;
constexpr uint8_t kLinkUp = 1;  // VIRTIO_NET_S_LINK_UP.

// struct virtio_net_hdr, which has num_buffers with VERSION_1.
constexpr size_t kHeader = 12;
constexpr size_t kNumBuffers = 10;
constexpr uint64_t kMaxFrame = 65536;

void SetHalf(uint64_t& value, bool high, uint32_t half) {
  value = high ? (value & 0xffffffff) | uint64_t{half} << 32
               : (value >> 32 << 32) | half;
}

}  // namespace

void VirtioNetModel::Connect(VirtioNetModel& a, VirtioNetModel& b) {
  a.Disconnect();
  b.Disconnect();
  a.peer_ = &b;
  b.peer_ = &a;
  a.link_ = a.LinkIsUp();
  b.link_ = b.LinkIsUp();
}

void VirtioNetModel::Disconnect() {
  if (peer_ == nullptr) return;
  peer_->peer_ = nullptr;
  peer_ = nullptr;
}

bool VirtioNetModel::HandlesBar(pci::BarIndex bar, uint64_t offset) const {
  for (const Structure* structure :
       {&options_.common, &options_.notify, &options_.isr, &options_.device}) {
    if (structure->Contains(bar.value(), offset)) return true;
  }
  return false;
}

bool VirtioNetModel::IsDoorbell(pci::BarIndex bar, uint64_t offset) const {
  return options_.notify.Contains(bar.value(), offset);
}

// Returns the registers as the driver reads them now.
std::vector<uint8_t> VirtioNetModel::CommonBytes() const {
  std::vector<uint8_t> bytes(kCommonBytes);
  const auto store = [&bytes](uint64_t offset, auto value) {
    pci::StoreLittleEndian(absl::MakeSpan(bytes), offset, value);
  };
  store(kDeviceFeatureSelect, device_feature_select_);
  if (device_feature_select_ < 2) {
    store(kDeviceFeature,
          static_cast<uint32_t>(kOffered >> (32 * device_feature_select_)));
  }
  store(kDriverFeatureSelect, driver_feature_select_);
  if (driver_feature_select_ < 2) {
    store(kDriverFeature, driver_features_[driver_feature_select_]);
  }
  store(kConfigVector, config_vector_);
  store(kNumQueues, static_cast<uint16_t>(queues_.size()));
  bytes[kStatus] = status_;
  bytes[kConfigGeneration] = config_generation_;
  store(kQueueSelect, queue_select_);
  if (queue_select_ >= queues_.size()) return bytes;  // Size 0, no such queue.
  const VirtQueue::Setup& setup = queues_[queue_select_].setup();
  store(kQueueSizeAt, setup.size);
  store(kQueueVector, setup.vector);
  store(kQueueEnable, static_cast<uint16_t>(setup.enabled ? 1 : 0));
  store(kQueueNotifyOff, queue_select_);
  store(kQueueDescriptors, setup.descriptors);
  store(kQueueDriver, setup.driver);
  store(kQueueDevice, setup.device);
  return bytes;
}

uint64_t VirtioNetModel::ReadBar(pci::BarIndex bar, uint64_t offset,
                                 unsigned width) {
  std::vector<uint8_t> bytes;
  uint64_t at = 0;
  if (options_.common.Contains(bar.value(), offset)) {
    bytes = CommonBytes();
    at = offset - options_.common.offset;
  } else if (options_.isr.Contains(bar.value(), offset)) {
    at = offset - options_.isr.offset;
    bytes = {isr_};
    // Reading the status acknowledges it (4.1.4.5).
    if (at == 0) {
      isr_ = 0;
      host().SetIntx(false);
    }
  } else if (options_.device.Contains(bar.value(), offset)) {
    at = offset - options_.device.offset;
    bytes.assign(options_.mac.begin(), options_.mac.end());
    bytes.push_back(link_ ? kLinkUp : 0);
  }
  uint64_t value = 0;
  for (unsigned i = 0; i < width && at + i < bytes.size(); ++i) {
    value |= uint64_t{bytes[at + i]} << (8 * i);
  }
  return value;
}

void VirtioNetModel::WriteBar(pci::BarIndex bar, uint64_t offset,
                              unsigned width, uint64_t value) {
  if (options_.notify.Contains(bar.value(), offset)) {
    const uint64_t queue = (offset - options_.notify.offset) /
                           std::max(1u, options_.notify_multiplier);
    if (queue < notified_.size()) notified_[queue] = true;
    return;
  }
  if (!options_.common.Contains(bar.value(), offset)) return;
  const uint64_t at = offset - options_.common.offset;
  // A driver writes each field with its width, or 64 bits in two halves
  // (4.1.3.1).
  WriteCommon(at, static_cast<uint32_t>(value));
  if (width == 8) WriteCommon(at + 4, static_cast<uint32_t>(value >> 32));
}

VirtQueue* VirtioNetModel::Selected() {
  return queue_select_ < queues_.size() ? &queues_[queue_select_] : nullptr;
}

void VirtioNetModel::WriteCommon(uint64_t offset, uint32_t value) {
  const uint16_t half = static_cast<uint16_t>(value);
  // A vector that the table lacks reads back as none (4.1.5.1.2).
  const uint16_t vector = half < options_.vectors ? half : VirtQueue::kNoVector;
  switch (offset) {
    case kDeviceFeatureSelect:
      device_feature_select_ = value;
      return;
    case kDriverFeatureSelect:
      driver_feature_select_ = value;
      return;
    case kDriverFeature:
      if (driver_feature_select_ < 2 && (status_ & kFeaturesOk) == 0) {
        driver_features_[driver_feature_select_] = value;
      }
      return;
    case kConfigVector:
      config_vector_ = vector;
      return;
    case kStatus:
      WriteStatus(static_cast<uint8_t>(value));
      return;
    case kQueueSelect:
      queue_select_ = half;
      return;
    default:
      break;
  }
  VirtQueue* const queue = Selected();
  if (queue == nullptr) return;
  VirtQueue::Setup& setup = queue->setup();
  if (offset == kQueueVector) {
    setup.vector = vector;
    return;
  }
  // The rest may not change while the queue works.
  if (setup.enabled) return;
  switch (offset) {
    case kQueueSizeAt:
      // A power of two (2.7).
      if (half != 0 && half <= queue->max_size() && (half & (half - 1)) == 0) {
        setup.size = half;
      }
      return;
    case kQueueEnable:
      setup.enabled = half == 1;
      return;
    case kQueueDescriptors:
    case kQueueDescriptors + 4:
      SetHalf(setup.descriptors, offset != kQueueDescriptors, value);
      return;
    case kQueueDriver:
    case kQueueDriver + 4:
      SetHalf(setup.driver, offset != kQueueDriver, value);
      return;
    case kQueueDevice:
    case kQueueDevice + 4:
      SetHalf(setup.device, offset != kQueueDevice, value);
      return;
    default:
      return;
  }
}

uint64_t VirtioNetModel::AcceptedFeatures() const {
  return driver_features_[0] | uint64_t{driver_features_[1]} << 32;
}

void VirtioNetModel::WriteStatus(uint8_t value) {
  if (value == 0) {
    ResetDevice();
    return;
  }
  // The driver must take VERSION_1 and nothing that was not offered (3.1.1).
  if ((AcceptedFeatures() & kFeatureVersion1) == 0 ||
      (AcceptedFeatures() & ~kOffered) != 0) {
    value = static_cast<uint8_t>(value & ~kFeaturesOk);
  }
  status_ = static_cast<uint8_t>((status_ & kNeedsReset) | value);
  // The driver may have filled the queues before.
  if ((status_ & kDriverOk) != 0) notified_ = {true, true};
}

void VirtioNetModel::ResetDevice() {
  device_feature_select_ = 0;
  driver_feature_select_ = 0;
  driver_features_ = {};
  config_vector_ = VirtQueue::kNoVector;
  status_ = 0;
  queue_select_ = 0;
  for (VirtQueue& queue : queues_) queue.Reset();
  notified_ = {};
  isr_ = 0;
  link_changed_ = false;
  waiting_.clear();
  host().SetIntx(false);
}

void VirtioNetModel::Reset(ResetKind) { ResetDevice(); }

void VirtioNetModel::Fail() {
  status_ = static_cast<uint8_t>(status_ | kNeedsReset);
}

bool VirtioNetModel::Running() const {
  return (status_ & kDriverOk) != 0 && (status_ & kNeedsReset) == 0;
}

bool VirtioNetModel::Step() {
  const bool link = UpdateLink();
  if (!Running()) return link;
  return link || Receive() || Send();
}

bool VirtioNetModel::UpdateLink() {
  if (link_ != LinkIsUp()) {
    link_ = !link_;
    link_changed_ = true;
    ++config_generation_;
  }
  // The device may not signal before DRIVER_OK (3.1.1).
  if (!link_changed_ || !Running()) return false;
  link_changed_ = false;
  // The driver finds this bit with MSI-X, too (4.1.4.5.1).
  isr_ |= kIsrConfig;
  Signal(config_vector_, kIsrConfig);
  return true;
}

bool VirtioNetModel::Send() {
  VirtQueue& queue = queues_[kTransmit];
  if (!notified_[kTransmit]) return false;
  auto buffer = queue.Take(host());
  if (buffer.ok() && !buffer->has_value()) {
    notified_[kTransmit] = false;
    return false;
  }
  if (!buffer.ok()) {
    Fail();
    return true;
  }
  auto frame = Gather(host(), (*buffer)->readable, kHeader + kMaxFrame);
  if (!frame.ok() || frame->size() < kHeader ||
      !queue.Return(host(), **buffer, 0).ok()) {
    Fail();
    return true;
  }
  ++counters_.sent;
  frame->erase(frame->begin(), frame->begin() + kHeader);
  if (peer_ == nullptr || !peer_->Running() ||
      peer_->waiting_.size() >= kWaiting) {
    ++counters_.lost;
  } else {
    peer_->waiting_.push_back(*std::move(frame));
  }
  Interrupt(queue);
  return true;
}

// Receives a frame. A driver tells of each buffer that it adds, so the device
// looks for one only then, and as long as it found one.
bool VirtioNetModel::Receive() {
  VirtQueue& queue = queues_[kReceive];
  if (waiting_.empty() || !notified_[kReceive]) return false;
  auto buffer = queue.Take(host());
  if (buffer.ok() && !buffer->has_value()) {
    notified_[kReceive] = false;
    return false;
  }
  if (!buffer.ok()) {
    Fail();
    return true;
  }
  std::vector<uint8_t> data(kHeader, 0);
  pci::StoreLittleEndian<uint16_t>(absl::MakeSpan(data), kNumBuffers, 1);
  data.insert(data.end(), waiting_.front().begin(), waiting_.front().end());
  waiting_.pop_front();
  const auto fits = Scatter(host(), (*buffer)->writable, data);
  if (fits.ok() && !*fits) {
    queue.PutBack();
    ++counters_.lost;
    return true;
  }
  if (!fits.ok() ||
      !queue.Return(host(), **buffer, static_cast<uint32_t>(data.size()))
           .ok()) {
    Fail();
    return true;
  }
  ++counters_.received;
  Interrupt(queue);
  return true;
}

void VirtioNetModel::Interrupt(VirtQueue& queue) {
  const auto wanted = queue.WantsInterrupt(host());
  if (!wanted.ok()) {
    Fail();
    return;
  }
  if (*wanted) Signal(queue.setup().vector, kIsrQueue);
}

void VirtioNetModel::Signal(uint16_t vector, uint8_t isr_bit) {
  if (host().ReadInterruptMode() == InterruptMode::kIntx) {
    isr_ |= isr_bit;
    ++counters_.interrupts;
    host().SetIntx(true);
  } else if (vector != VirtQueue::kNoVector) {
    ++counters_.interrupts;
    host().RaiseMsix(vector);
  }
}

}  // namespace passthru::models::virtio
