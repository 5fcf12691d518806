// SPDX-License-Identifier: Apache-2.0
//
// Fuzzes //pci with a configuration space of any contents, and ConfigShadow's
// view of it while the guest writes.
//
// The input has a byte each for the device's properties (size, vectors, BARs),
// the number of the guest's writes, an offset, width and value for each write,
// and then the configuration space, whose rest is zero.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/log/check.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "passthru/devices/vfio_pci/config_shadow.h"
#include "passthru/pci/bar.h"
#include "passthru/pci/bar_index.h"
#include "passthru/pci/capabilities.h"
#include "passthru/pci/describe.h"
#include "passthru/pci/registers.h"
#include "passthru/testing/fuzz/fuzz_input.h"
#include "passthru/testing/fuzz/fuzz_target.h"

namespace passthru::fuzz {
namespace {

struct GuestWrite {
  uint16_t offset = 0;
  unsigned width = 1;
  uint32_t value = 0;
};

struct Input {
  vfio_pci::ConfigShadow::Options options;
  std::vector<GuestWrite> writes;
  std::vector<uint8_t> image;
};

Input Decode(FuzzInput input) {
  Input result;
  const auto flags = input.Take<uint8_t>();
  result.image.resize((flags & 1) != 0 ? pci::kExtendedConfigSpaceSize
                                       : pci::kConfigSpaceSize);
  result.options.on_root_bus = (flags & 2) != 0;
  result.options.intx = (flags & 4) != 0;
  result.options.msi_vectors = input.Take<uint8_t>() % 33;
  result.options.msix_vectors = input.Take<uint16_t>() % 2049;
  for (uint8_t i = 0; i < pci::kType0BarCount; ++i) {
    const auto shape = input.Take<uint8_t>();
    const uint64_t size = uint64_t{1} << (shape >> 2);
    const auto type = static_cast<uint32_t>(shape & 3);
    // The flags of a BAR register, for I/O and 64-bit.
    absl::StatusOr<pci::Bar> bar = pci::MakeBar(
        pci::BarIndex(i), {.low = type == 3 ? 4u : type & 1}, size);
    if (type == 2 || !bar.ok()) continue;
    result.options.bars.push_back(*bar);
    if (bar->is_64bit()) ++i;
  }
  for (unsigned left = input.Take<uint8_t>() % 32; left > 0; --left) {
    const auto offset = static_cast<uint16_t>(input.Take<uint16_t>() & 0x0fff);
    const unsigned width = 1u << input.Take<uint8_t>() % 3;
    result.writes.push_back(
        {.offset = offset, .width = width, .value = input.Take<uint32_t>()});
  }
  const absl::Span<const uint8_t> bytes = input.TakeBytes(result.image.size());
  std::copy(bytes.begin(), bytes.end(), result.image.begin());
  return result;
}

// The guest's view is well formed whatever the device's own lists are, and has
// no bit of them twice.
void CheckGuestsView(const vfio_pci::ConfigShadow& shadow) {
  CHECK_EQ(pci::WalkCapabilities(shadow.bytes()).malformed, "");
  CHECK_EQ(pci::WalkExtendedCapabilities(shadow.bytes()).malformed, "");
  for (const pci::Bar& bar : shadow.Bars()) {
    CHECK_EQ(bar.address % bar.size, 0u) << pci::ToString(bar);
  }
  shadow.MsiState();
  shadow.MsixControl();
}

void CheckWrite(vfio_pci::ConfigShadow& shadow, const GuestWrite& write) {
  std::vector<uint8_t> bytes;
  for (unsigned i = 0; i < write.width; ++i) {
    bytes.push_back(static_cast<uint8_t>(write.value >> 8 * i));
  }
  shadow.TouchesTopology(write.offset, write.width);
  shadow.StartsReset(write.offset, bytes);
  shadow.CoversPowerState(write.offset, write.width);
  shadow.Write(write.offset, bytes);
  // The device gets only bytes that the guest wrote.
  uint32_t end = 0;
  for (const auto& run : shadow.DeviceRuns(write.offset, write.width)) {
    CHECK_GE(run.begin, end);
    CHECK_GT(run.size, 0u);
    end = run.begin + run.size;
  }
  CHECK_LE(end, write.width);
  // Registers that need no device read the same whatever the device answers.
  std::vector<uint8_t> zeros(write.width, 0x00);
  std::vector<uint8_t> ones(write.width, 0xff);
  shadow.Merge(write.offset, absl::MakeSpan(zeros));
  shadow.Merge(write.offset, absl::MakeSpan(ones));
  CHECK_EQ(zeros != ones, shadow.NeedsDevice(write.offset, write.width));
}

void Run(Input input) {
  pci::DescribeDevice(input.image);
  absl::StatusOr<vfio_pci::ConfigShadow> shadow =
      vfio_pci::ConfigShadow::Create(input.image, std::move(input.options));
  if (!shadow.ok()) return;
  CheckGuestsView(*shadow);
  const auto shown = pci::WalkCapabilities(shadow->bytes()).entries;
  for (const GuestWrite& write : input.writes) CheckWrite(*shadow, write);
  CheckGuestsView(*shadow);
  CHECK(pci::WalkCapabilities(shadow->bytes()).entries == shown);
  shadow->Reset();
  CheckGuestsView(*shadow);
  for (const pci::Bar& bar : shadow->Bars()) CHECK_EQ(bar.address, 0u);
  pci::DescribeDevice(shadow->bytes());
}

}  // namespace
}  // namespace passthru::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  passthru::fuzz::Run(
      passthru::fuzz::Decode(passthru::fuzz::FuzzInput(data, size)));
  return 0;
}
