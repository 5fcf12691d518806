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

// "BAR:OFFSET+LENGTH", numbers as in C: "0:0x100+64".
absl::StatusOr<ContentsRange> ParseContentsRange(std::string_view text);

struct CaptureOptions {
  // PciDevice.name and .model. The name is by default vendor and device id.
  std::string name;
  std::string model;
  // The fields that only the caller knows; the kernel's release is filled in.
  fixture::Provenance provenance;

  MaskMeasurement write_masks = MaskMeasurement::kNone;
  // Reads of registers may have effects that only the device's driver knows.
  std::vector<ContentsRange> contents;
  // Tries a reset of the slot or bus, if it reaches no other function, to learn
  // how this host's kernel answers.
  bool try_hot_reset = false;
  // Keeps serial numbers and the expansion ROM's image. Needed for contents of
  // a network controller, where a MAC address is.
  bool include_identity = false;

  vfio::VfioPaths paths;
};

struct Capture {
  fixture::PciDevice device;
  // What a reader of the fixture should know besides; sentences.
  std::vector<std::string> notes;
};

// Makes a fixture of a device that is bound to vfio-pci. Works on the
// simulated kernel as on a real one, since all it sees is `syscalls`.
//
// The device is opened and closed, for which the kernel resets it, if it can;
// its registers are read, and written only as `options` ask for it. When this
// returns, they are as before. Nobody else may use the device meanwhile.
//
// A mistake of the user's is one sentence that says what to do.
absl::StatusOr<Capture> CaptureDevice(kernel::Syscalls* syscalls,
                                      const pci::Bdf& bdf,
                                      const CaptureOptions& options);

}  // namespace passthru::capture

#endif  // PASSTHRU_TESTING_CAPTURE_CAPTURE_H_
