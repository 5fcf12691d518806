// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_LINUX_BZIMAGE_H_
#define PASSTHRU_VMM_LINUX_BZIMAGE_H_

#include <asm/bootparam.h>

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace passthru::vmm {

// The parts of a bzImage that a boot loader needs
// (Documentation/arch/x86/boot.rst). The spans lie in the file.
struct BzImage {
  // As the file has it. Fields beyond the file's own header are 0.
  setup_header header = {};
  // The part that runs in protected and long mode.
  absl::Span<const uint8_t> kernel;
};

// Reads a bzImage, checks it, and returns its parts. Returns InvalidArgument,
// with a sentence for the user, if `file` is no bzImage that starts in 64-bit
// mode or if it is not whole.
absl::StatusOr<BzImage> ParseBzImage(absl::Span<const uint8_t> file);

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_LINUX_BZIMAGE_H_
