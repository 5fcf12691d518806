// SPDX-License-Identifier: Apache-2.0
//
// Fuzzes the capture tool with a device and a kernel that answer anything. The
// tool must return an error with a message, or a fixture that reads back.
//
// The input has a byte for the kernel, one for the device and one for the
// choice of what to capture, and then the kernel's lies (see LyingKernel).

#include "passthru/testing/capture/capture.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/log/check.h"
#include "google/protobuf/util/message_differencer.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/capture/fixture_text.h"
#include "passthru/testing/fixture/fixture.h"
#include "passthru/testing/fuzz/fuzz_input.h"
#include "passthru/testing/fuzz/fuzz_target.h"
#include "passthru/testing/fuzz/fuzz_vm.h"
#include "passthru/testing/fuzz/lying_kernel.h"
#include "passthru/testing/kernel/kernel_version.h"

namespace passthru::fuzz {
namespace {

constexpr std::array kDevices = {"nvme", "edu", "e1000e", "virtio_net"};
constexpr std::array kMasks = {capture::MaskMeasurement::kNone,
                               capture::MaskMeasurement::kDefined,
                               capture::MaskMeasurement::kAll};
constexpr pci::Bdf kHostBdf(0, 1, 0, 0);

void Run(FuzzInput input) {
  FuzzVm vm(input.Pick(fake::kAllKernelVersions));
  CHECK_OK(vm.AddDevice(Fixture(input.Pick(kDevices)), kHostBdf));
  const auto how = input.Take<uint8_t>();
  capture::CaptureOptions options;
  options.write_masks = kMasks[how % kMasks.size()];
  options.include_identity = (how & 4) != 0;
  options.try_hot_reset = (how & 8) != 0;
  if ((how & 16) != 0) {
    options.contents.push_back({.bar = 0, .offset = 0, .length = 64});
  }
  LyingKernel kernel(&vm.host().kernel(), input);
  const auto capture = capture::CaptureDevice(&kernel, kHostBdf, options);
  if (!capture.ok()) {
    CHECK_NE(capture.status().message(), "");
    return;
  }
  const std::string text =
      capture::FixtureText(capture->device, capture->notes);
  // For a device that makes no sense the tool returns an error and writes no
  // file.
  if (!fixture::Validate(capture->device, "the fixture").ok()) return;
  const auto read = fixture::ParseFixture(text, "fuzz.textproto");
  CHECK_OK(read) << text;
  CHECK(google::protobuf::util::MessageDifferencer::Equals(*read,
                                                           capture->device))
      << text;
}

}  // namespace
}  // namespace passthru::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  passthru::fuzz::Run(passthru::fuzz::FuzzInput(data, size));
  return 0;
}
