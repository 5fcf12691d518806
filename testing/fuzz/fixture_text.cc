// SPDX-License-Identifier: Apache-2.0
//
// Fuzzes the parser of fixtures with any text. It must refuse the text, or the
// device must be one that can be written down again, plugged in, attached, read
// whole, detached and captured.

#include "passthru/testing/capture/fixture_text.h"

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "absl/log/check.h"
#include "google/protobuf/util/message_differencer.h"
#include "passthru/devices/vfio_pci/device_report.h"
#include "passthru/devices/vfio_pci/vfio_pci_device.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/capture/capture.h"
#include "passthru/testing/fixture/fixture.h"
#include "passthru/testing/fuzz/fuzz_target.h"
#include "passthru/testing/fuzz/fuzz_vm.h"
#include "passthru/testing/kernel/kernel_version.h"

namespace passthru::fuzz {
namespace {

constexpr pci::Bdf kHostBdf(0, 1, 0, 0);
// No BAR of a captured device is larger. A fixture may demand exabytes, which
// this machine may lack.
constexpr uint64_t kMaxBarSize = uint64_t{1} << 26;

bool IsSmall(const fixture::PciDevice& device) {
  for (const fixture::Region& region : device.regions()) {
    if (region.size() > kMaxBarSize) return false;
  }
  return device.expansion_rom().bar_size() <= kMaxBarSize;
}

void Run(std::string_view text) {
  const auto fixture = fixture::ParseFixture(text, "fuzz.textproto");
  if (!fixture.ok()) {
    CHECK_NE(fixture.status().message(), "");
    return;
  }
  const auto again =
      fixture::ParseFixture(capture::FixtureText(*fixture), "again.textproto");
  CHECK_OK(again);
  CHECK(google::protobuf::util::MessageDifferencer::Equals(*again, *fixture))
      << capture::FixtureText(*fixture);
  if (!IsSmall(*fixture)) return;
  FuzzVm vm(fake::KernelVersion::k6_12);
  // This fails for an unknown device model, for example.
  if (!vm.AddDevice(*fixture, kHostBdf).ok()) return;
  CHECK_OK(vm.Start());
  // This fails for a bridge, for example.
  const auto guest = vm.devices()->Attach(kHostBdf);
  if (!guest.ok()) return;
  const auto device = vm.devices()->Find(*guest);
  for (uint16_t offset = 0; offset < 4096; offset += 4) {
    device->ConfigRead(offset, 4);
  }
  device->Describe();
  CHECK_OK(vm.devices()->Detach(*guest));
  const auto capture =
      capture::CaptureDevice(&vm.host().kernel(), kHostBdf, /*options=*/{});
  CHECK_OK(capture);
  CHECK_OK(fixture::Validate(capture->device, "the capture"))
      << capture::FixtureText(capture->device);
}

}  // namespace
}  // namespace passthru::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  passthru::fuzz::Run({reinterpret_cast<const char*>(data), size});
  return 0;
}
