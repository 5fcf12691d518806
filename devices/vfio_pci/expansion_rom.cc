// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/vfio_pci/expansion_rom.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"
#include "absl/types/span.h"
#include "passthru/pci/bar_index.h"
#include "passthru/pci/little_endian.h"

namespace passthru::vfio_pci {
namespace {

// The register has no address bits below this one (PCI 3.0 6.2.5.2).
constexpr uint64_t kMinRomSize = 2048;

// The header of an image (PCI 3.0 6.3.1.1), and the PCI data structure that it
// points to (6.3.1.2). The structure begins with the letters PCIR.
constexpr uint16_t kRomSignature = 0xaa55;
constexpr size_t kRomDataPointer = 0x18;
constexpr uint32_t kPcirSignature = 0x52494350;
constexpr size_t kPcirVendor = 4;
constexpr size_t kPcirDevice = 6;

pci::Bar RomBar(uint64_t image_size) {
  return {.index = pci::BarIndex::Rom(),
          .type = pci::BarType::kMemory32,
          .size = std::max(kMinRomSize, std::bit_ceil(image_size))};
}

}  // namespace

absl::Status RomOptions::Check() const {
  if (source == Source::kBytes) return CheckRomImage(bytes);
  if (!bytes.empty()) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "rom: %u bytes are given, but the source is not kBytes", bytes.size()));
  }
  return absl::OkStatus();
}

absl::Status CheckRomImage(absl::Span<const uint8_t> image) {
  if (image.size() > kMaxRomSize) {
    return absl::InvalidArgumentError(
        absl::StrFormat("an expansion ROM has at most 16 MiB, and this one has "
                        "%u bytes",
                        image.size()));
  }
  if (image.size() < 2) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "an expansion ROM of %u bytes holds nothing", image.size()));
  }
  if (pci::LoadLittleEndian<uint16_t>(image, 0) != kRomSignature) {
    return absl::InvalidArgumentError(
        absl::StrFormat("an expansion ROM begins with 55 aa, and this one with "
                        "%02x %02x",
                        image[0], image[1]));
  }
  return absl::OkStatus();
}

std::string RomMismatch(absl::Span<const uint8_t> rom, uint16_t vendor,
                        uint16_t device) {
  if (rom.size() < kRomDataPointer + 2) return "it has no header";
  // Loads beyond the end give all ones.
  const size_t data = pci::LoadLittleEndian<uint16_t>(rom, kRomDataPointer);
  if (pci::LoadLittleEndian<uint32_t>(rom, data) != kPcirSignature) {
    return "it has no PCI data structure";
  }
  const auto its_vendor =
      pci::LoadLittleEndian<uint16_t>(rom, data + kPcirVendor);
  const auto its_device =
      pci::LoadLittleEndian<uint16_t>(rom, data + kPcirDevice);
  if (its_vendor == vendor && its_device == device) return "";
  return absl::StrFormat("it is for %04x:%04x, and the guest sees %04x:%04x",
                         its_vendor, its_device, vendor, device);
}

// Immutable but for its counter, so the accesses need no lock.
class ExpansionRom::Trap final : public bus::BusDevice {
 public:
  Trap(std::string name, std::vector<uint8_t> image)
      : name_(std::move(name)), image_(std::move(image)) {}

  std::string_view name() const override { return name_; }

  absl::Status Read(uint64_t offset, absl::Span<uint8_t> data) override {
    ++reads_;
    for (uint8_t& byte : data) {
      byte = offset < image_.size() ? image_[offset] : 0xff;
      ++offset;
    }
    return absl::OkStatus();
  }

  // A ROM ignores writes, and its driver may make them while it looks for a
  // chip that can be programmed.
  absl::Status Write(uint64_t, absl::Span<const uint8_t>) override {
    return absl::OkStatus();
  }

  absl::Span<const uint8_t> image() const { return image_; }
  uint64_t reads() const { return reads_; }

 private:
  const std::string name_;
  const std::vector<uint8_t> image_;
  std::atomic<uint64_t> reads_ = 0;
};

ExpansionRom::ExpansionRom(std::string name, std::vector<uint8_t> image,
                           bus::AddressSpace* mmio,
                           kernel::FailureLog* failures)
    : bar_(RomBar(image.size())),
      trap_(std::make_shared<Trap>(std::move(name), std::move(image))),
      mmio_(mmio),
      failures_(failures) {}

ExpansionRom::~ExpansionRom() { Retract(std::nullopt); }

absl::Span<const uint8_t> ExpansionRom::image() const { return trap_->image(); }

void ExpansionRom::Retract(std::optional<uint64_t> desired) {
  problem_.clear();
  if (!address_.has_value() || address_ == desired) return;
  mmio_->Remove(range_);
  address_.reset();
}

void ExpansionRom::Place(std::optional<uint64_t> desired) {
  if (!desired.has_value() || address_ == desired) return;
  if (absl::Status status = pci::ValidateBarAddress(bar_, *desired);
      !status.ok()) {
    // Not logged, because this is normal before placement and during sizing.
    problem_ = std::string(status.message());
    return;
  }
  const absl::StatusOr<bus::RangeHandle> range =
      mmio_->Add(*desired, bar_.size, trap_, bus::AddressSpace::kBarPriority);
  if (!range.ok()) {
    problem_ = std::string(range.status().message());
    failures_->Add("the expansion ROM does not answer", range.status());
    return;
  }
  range_ = *range;
  address_ = desired;
}

void ExpansionRom::Describe(RomReport& report) const {
  report.image_size = trap_->image().size();
  report.placed = address_.has_value();
  report.problem = problem_;
  report.reads = trap_->reads();
}

}  // namespace passthru::vfio_pci
