// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_CAPTURE_LSPCI_FIXTURE_BUILDER_H_
#define PASSTHRU_TESTING_CAPTURE_LSPCI_FIXTURE_BUILDER_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "passthru/pci/bar_index.h"
#include "passthru/testing/capture/capture.h"
#include "passthru/testing/capture/lspci_fixture.h"
#include "passthru/testing/capture/lspci_text.h"
#include "passthru/testing/fixture/fixture_bytes.h"

namespace passthru::capture {

// Builds a fixture from a parsed text. FixtureFromLspci() uses it.
// Thread-compatible.
class LspciFixtureBuilder {
 public:
  LspciFixtureBuilder(const LspciDevice& source, const LspciOptions& options)
      : source_(source),
        options_(options),
        config_(source.config),
        bars_(source.bars) {}

  absl::StatusOr<Capture> Build();

 private:
  absl::Status CheckIdentity();
  void UndoDriver();
  void AddBars();
  // Return how many registers the BAR takes.
  unsigned AddBar(unsigned bar);
  unsigned AddBarWithoutRegister(unsigned bar);
  // Writes the register of a BAR, which holds nothing, as the text says.
  void BelieveText(unsigned bar);
  bool IsWide(unsigned bar) const;
  std::optional<LspciDevice::Bar> EnhancedAllocation(unsigned bar) const;
  // `address` is 0 if the BAR has none.
  uint64_t SizeOfBar(unsigned bar, bool io, uint64_t address);
  std::optional<uint64_t> ResizableBarSize(unsigned bar) const;
  // Returns the address that the text gives, or makes one up.
  uint64_t AddressOfBar(unsigned bar, uint64_t size, bool io, bool wide);
  void AddRegion(unsigned bar, uint64_t size, bool io);
  void AddRom();
  void AddIrqs();
  void AddResets();
  void AddIdentity();
  void NoteMsixLocation(std::string_view what, uint32_t location,
                        uint64_t size);
  void NoteMsix();

  // Returns how many bytes of the BAR the MSI-X table and pending bits need.
  uint64_t MsixEnd(unsigned bar) const;
  bool HasMsixTable(unsigned bar) const;

  uint16_t Get16(size_t offset) const {
    return fixture::ReadLe16(config_, offset);
  }
  uint32_t Get32(size_t offset) const {
    return fixture::ReadLe32(config_, offset);
  }
  void Set(size_t offset, uint32_t value, unsigned width) {
    for (unsigned i = 0; i < width && offset + i < config_.size(); ++i) {
      config_[offset + i] = static_cast<uint8_t>(value >> (8 * i));
    }
  }
  void Note(std::string note) { capture_.notes.push_back(std::move(note)); }

  const LspciDevice& source_;
  const LspciOptions& options_;
  std::vector<uint8_t> config_;
  Capture capture_;
  fixture::PciDevice& device_ = capture_.device;
  // The lines of the text, with the BARs of Enhanced Allocation.
  std::array<std::optional<LspciDevice::Bar>, pci::BarIndex::kCount> bars_;
  std::vector<unsigned> assumed_sizes_;
};

}  // namespace passthru::capture

#endif  // PASSTHRU_TESTING_CAPTURE_LSPCI_FIXTURE_BUILDER_H_
