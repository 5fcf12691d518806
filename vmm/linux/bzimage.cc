// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/linux/bzimage.h"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace passthru::vmm {
namespace {

// Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header".
constexpr size_t kHeaderOffset = 0x1f1;
constexpr size_t kJumpLengthOffset = 0x201;
constexpr size_t kAfterJump = 0x202;
constexpr size_t kSectorSize = 512;
constexpr size_t kDefaultSetupSectors = 4;
constexpr uint16_t kBootFlag = 0xaa55;
constexpr uint32_t kMagic = 0x53726448;    // "HdrS"
constexpr uint16_t kLeastVersion = 0x20c;  // has xloadflags
constexpr size_t kParagraph = 16;          // the unit of syssize

absl::Status NoBzImage(std::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat(
      "the kernel cannot be booted: ", why,
      "; give a Linux kernel for x86-64 in the form bzImage, as distributions "
      "have it in /boot/vmlinuz"));
}

}  // namespace

absl::StatusOr<BzImage> ParseBzImage(absl::Span<const uint8_t> file) {
  const std::string_view text(reinterpret_cast<const char*>(file.data()),
                              file.size());
  if (absl::StartsWith(text,
                       "\x7f"
                       "ELF")) {
    return NoBzImage("it is an ELF file (vmlinux)");
  }
  if (file.size() < kHeaderOffset + sizeof(setup_header)) {
    return NoBzImage(absl::StrCat("it has only ", file.size(), " bytes"));
  }
  BzImage image;
  std::memcpy(&image.header, file.data() + kHeaderOffset, sizeof(image.header));
  setup_header& header = image.header;
  if (header.boot_flag != kBootFlag || header.header != kMagic) {
    return NoBzImage("it has no boot header of Linux");
  }
  if (header.version < kLeastVersion) {
    return NoBzImage(absl::StrFormat(
        "its boot protocol has version %d.%02d, and 2.12 is needed (Linux 3.8)",
        header.version >> 8, header.version & 0xff));
  }
  // The jump at the header's start leads to its end. Older kernels have fewer
  // fields, and code in their place.
  const size_t end = kAfterJump + file[kJumpLengthOffset];
  const size_t used = std::min(end - kHeaderOffset, sizeof(header));
  std::memset(reinterpret_cast<uint8_t*>(&header) + used, 0,
              sizeof(header) - used);
  if ((header.loadflags & LOADED_HIGH) == 0) {
    return NoBzImage("it is an old zImage, which is loaded low");
  }
  if ((header.xloadflags & XLF_KERNEL_64) == 0) {
    return NoBzImage("it is a 32-bit kernel");
  }
  if (!std::has_single_bit(header.kernel_alignment) ||
      header.pref_address % header.kernel_alignment != 0) {
    return NoBzImage(absl::StrFormat(
        "its header is damaged: it asks for the address 0x%x with an alignment "
        "of 0x%x",
        uint64_t{header.pref_address}, uint32_t{header.kernel_alignment}));
  }
  const size_t sectors =
      header.setup_sects == 0 ? kDefaultSetupSectors : header.setup_sects;
  const size_t setup = (sectors + 1) * kSectorSize;
  const size_t size = size_t{header.syssize} * kParagraph;
  if (size == 0 || setup > file.size() || size > file.size() - setup) {
    return NoBzImage(absl::StrCat("it is truncated: it has ", file.size(),
                                  " of ", setup + size, " bytes"));
  }
  if (header.init_size < size) {
    return NoBzImage(absl::StrCat(
        "its header is damaged: it asks for ", uint32_t{header.init_size},
        " bytes of memory, and the kernel itself has ", size));
  }
  image.kernel = file.subspan(setup, size);
  return image;
}

}  // namespace passthru::vmm
