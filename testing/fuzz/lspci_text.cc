// SPDX-License-Identifier: Apache-2.0
//
// Fuzzes the parser of lspci's output with any input. It must refuse the text,
// or return a fixture that can be written to a file and read back as the same
// device.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/log/check.h"
#include "google/protobuf/util/message_differencer.h"
#include "passthru/testing/capture/fixture_text.h"
#include "passthru/testing/capture/lspci_fixture.h"
#include "passthru/testing/fixture/fixture.h"
#include "passthru/testing/fuzz/fuzz_target.h"

namespace passthru::fuzz {
namespace {

void Run(std::string_view text) {
  const auto capture = capture::FixtureFromLspci(text, {});
  if (!capture.ok()) {
    CHECK_NE(capture.status().message(), "");
    return;
  }
  const std::string written =
      capture::FixtureText(capture->device, capture->notes);
  const auto read = fixture::ParseFixture(written, "fuzz.textproto");
  CHECK_OK(read) << written;
  std::string difference;
  google::protobuf::util::MessageDifferencer differencer;
  differencer.ReportDifferencesToString(&difference);
  CHECK(differencer.Compare(capture->device, *read)) << difference << written;
}

}  // namespace
}  // namespace passthru::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  passthru::fuzz::Run({reinterpret_cast<const char*>(data), size});
  return 0;
}
