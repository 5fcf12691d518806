// SPDX-License-Identifier: Apache-2.0
//
// Builds a ConfigShadow from the device's configuration space. This determines
// which bits are virtual, what they hold, and which of them the guest can
// write. config_shadow_lists.cc does it for the capabilities.

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/vfio_pci/config_shadow.h"

namespace passthru::vfio_pci {
namespace {

// Why the guest reads something else than the device answers.
constexpr std::string_view kConstant = "it never changes, so the VMM keeps it";
constexpr std::string_view kOwnIdentity =
    "the VMM gives the device this identity";
constexpr std::string_view kOwnFunctions =
    "the guest's bus decides whether there are more functions";
constexpr std::string_view kOwnLine =
    "the guest's firmware keeps its own number here";
constexpr std::string_view kOwnBars =
    "the guest places its BARs, and they are empty until then";
constexpr std::string_view kOwnDecode = "the guest turns its own BARs on";
constexpr std::string_view kOwnRom = "the guest places the ROM";

}  // namespace

absl::StatusOr<ConfigShadow> ConfigShadow::Create(
    absl::Span<const uint8_t> image, Options options) {
  PASSTHRU_ASSIGN_OR_RETURN(pci::ConfigSpace space,
                            pci::ConfigSpace::FromBytes(image));
  const uint32_t layout =
      pci::HeaderType::kLayout.Get(space.Get(pci::kHeaderType));
  if (layout != pci::HeaderType::kLayoutNormal) {
    return absl::UnimplementedError(absl::StrFormat(
        "header type %u: only devices (type 0) can be passed through, not "
        "bridges",
        layout));
  }
  ConfigShadow shadow(std::move(space), std::move(options));
  shadow.BuildHeader();
  shadow.BuildBars();
  shadow.BuildRom();
  shadow.BuildCapabilities();
  shadow.BuildExtendedCapabilities();
  return shadow;
}

ConfigShadow::ConfigShadow(pci::ConfigSpace space, Options options)
    : space_(std::move(space)),
      virtual_(space_.size()),
      no_write_(space_.size()),
      topology_(space_.size()),
      options_(std::move(options)) {}

void ConfigShadow::Explain(uint32_t offset, uint32_t size,
                           std::string_view reason, bool by_vmm) {
  registers_.push_back({.offset = static_cast<uint16_t>(offset),
                        .size = static_cast<uint16_t>(size),
                        .reason = std::string(reason),
                        .by_vmm = by_vmm});
}

void ConfigShadow::Virtualize(uint32_t offset, uint32_t size,
                              std::string_view reason, bool by_vmm) {
  Explain(offset, size, reason, by_vmm);
  for (uint32_t i = offset; i < offset + size && i < virtual_.size(); ++i) {
    virtual_[i] = 0xff;
  }
}

void ConfigShadow::BuildHeader() {
  // Registers that never change keep the values read at attach, unless the VMM
  // wants others.
  const std::vector<uint8_t> own(bytes().begin(), bytes().end());
  options_.identity.Apply(space_);
  const auto keep = [&](uint16_t offset, uint16_t size) {
    const bool by_vmm =
        !std::equal(own.begin() + offset, own.begin() + offset + size,
                    bytes().begin() + offset);
    Virtualize(offset, size, by_vmm ? kOwnIdentity : kConstant, by_vmm);
  };
  keep(pci::kVendorId.offset, 4);
  keep(pci::kRevisionId.offset, 4);  // and the class code
  keep(pci::kCardbusCisPointer.offset, 4);
  keep(pci::kSubsystemVendorId.offset, 4);
  keep(pci::kMinGrant.offset, 2);

  // The guest's bus decides whether there are more functions.
  pci::HeaderType header = space_.Get(pci::kHeaderType);
  pci::HeaderType::kMultiFunction.Set(header, false);
  Fix(pci::kHeaderType, header, kOwnFunctions);

  // The guest's firmware stores the line here for its operating system.
  Fix(pci::kInterruptLine, uint8_t{0}, kOwnLine);
  space_.SetMask(pci::kInterruptLine, 0xff);
  if (!options_.intx) {
    Fix(pci::kInterruptPin, uint8_t{0}, options_.intx_hidden_reason);
  } else {
    Virtualize(pci::kInterruptPin.offset, pci::kInterruptPin.size(), kConstant);
  }
}

void ConfigShadow::BuildBars() {
  Virtualize(pci::kBar0.offset, 4 * pci::kType0BarCount, kOwnBars);
  for (unsigned i = 0; i < pci::kType0BarCount; ++i) {
    space_.Set(pci::kBar0.At(static_cast<uint16_t>(4 * i)), uint32_t{0});
  }
  pci::Command decode;
  for (pci::Bar& bar : options_.bars) {
    bar.address = 0;
    const pci::BarRegister value = pci::EncodeBar(bar);
    const pci::BarRegister mask = pci::BarWriteMask(bar);
    const pci::ConfigReg<uint32_t> low = pci::RegisterOf(bar.index);
    space_.Set(low, value.low);
    space_.SetMask(low, mask.low);
    if (bar.is_64bit()) {
      space_.Set(low.At(4), value.high);
      space_.SetMask(low.At(4), mask.high);
    }
    if (bar.is_io()) {
      pci::Command::kIoSpace.Set(decode, true);
    } else {
      pci::Command::kMemorySpace.Set(decode, true);
    }
  }
  std::fill_n(topology_.begin() + pci::kBar0.offset, 4 * pci::kType0BarCount,
              uint8_t{1});

  // COMMAND's decode bits are virtual, because the BARs that they enable are.
  space_.Set(pci::kCommand, pci::Command{});
  space_.SetMask(pci::kCommand, decode.raw);
  virtual_[pci::kCommand.offset] = static_cast<uint8_t>(
      pci::Command::kIoSpace.Mask() | pci::Command::kMemorySpace.Mask());
  Explain(pci::kCommand.offset, 1, kOwnDecode);
  topology_[pci::kCommand.offset] = 1;
}

// The register is like that of a BAR, with a bit that enables the decoder (PCI
// 3.0 6.2.5.2). Without a ROM it reads 0.
void ConfigShadow::BuildRom() {
  Fix(pci::kExpansionRom, pci::ExpansionRom{},
      options_.rom.has_value() ? kOwnRom : options_.rom_hidden_reason);
  if (!options_.rom.has_value()) return;
  options_.rom->address = 0;
  options_.rom->rom_enabled = false;
  space_.SetMask(pci::kExpansionRom, pci::BarWriteMask(*options_.rom).low);
  std::fill_n(topology_.begin() + pci::kExpansionRom.offset,
              pci::kExpansionRom.size(), uint8_t{1});
  // A function whose only memory is its ROM implements the decode bit too.
  pci::Command decode = {.raw = space_.GetMask(pci::kCommand)};
  pci::Command::kMemorySpace.Set(decode, true);
  space_.SetMask(pci::kCommand, decode.raw);
}

}  // namespace passthru::vfio_pci
