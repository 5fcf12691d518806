// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_CAPTURE_CAPTURE_H_
#define PASSTHRU_TESTING_CAPTURE_CAPTURE_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/vfio/vfio_paths.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/capture/write_masks.h"
#include "passthru/testing/fixture/device.pb.h"

namespace passthru::capture {

// Part of a BAR whose contents go into the fixture.
struct ContentsRange {
  uint32_t bar = 0;
  uint64_t offset = 0;
  uint64_t length = 0;
};

// Parses "BAR:OFFSET+LENGTH" with numbers as in C, for example "0:0x100+64".
absl::StatusOr<ContentsRange> ParseContentsRange(std::string_view text);

struct CaptureOptions {
  // PciDevice.name and .model. The default name is vendor and device id.
  std::string name;
  std::string model;
  // The fields that only the caller knows. The kernel's release is filled in.
  fixture::Provenance provenance;

  MaskMeasurement write_masks = MaskMeasurement::kNone;
  // Contents to capture. Reads of registers may have effects that only the
  // device's driver knows.
  std::vector<ContentsRange> contents;
  // Whether to try a reset of the slot or bus to learn this kernel's answer.
  // Only done if the reset reaches no other function.
  bool try_hot_reset = false;
  // Whether to keep serial numbers and the expansion ROM's image. Needed for
  // the contents of a network controller, which include its MAC address.
  bool include_identity = false;

  vfio::VfioPaths paths;
};

struct Capture {
  fixture::PciDevice device;
  // Sentences that a reader of the fixture should know too.
  std::vector<std::string> notes;
};

// Makes a fixture of a device that is bound to vfio-pci. Works on the simulated
// kernel and on a real one, because it uses only `syscalls`.
//
// Opens and closes the device, and the kernel then resets it if it can. Reads
// registers, and writes them only as `options` demand. Restores every register
// that it writes. No other program may use the device meanwhile.
//
// If the user made a mistake, the error is one sentence that says what to do.
absl::StatusOr<Capture> CaptureDevice(kernel::Syscalls* syscalls,
                                      const pci::Bdf& bdf,
                                      const CaptureOptions& options);

}  // namespace passthru::capture

#endif  // PASSTHRU_TESTING_CAPTURE_CAPTURE_H_
