// SPDX-License-Identifier: Apache-2.0
#include "passthru/pci/config_image.h"

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/log/check.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"

namespace passthru::pci {

ConfigImage ConfigImage::FromDump(absl::string_view dump, size_t size) {
  ConfigImage image(size);
  for (const absl::string_view line :
       absl::StrSplit(dump, '\n', absl::SkipWhitespace())) {
    const std::pair<absl::string_view, absl::string_view> parts =
        absl::StrSplit(line, absl::MaxSplits(':', 1));
    uint32_t offset = 0;
    CHECK(absl::SimpleHexAtoi(parts.first, &offset)) << line;
    for (const absl::string_view text :
         absl::StrSplit(parts.second, ' ', absl::SkipWhitespace())) {
      uint32_t value = 0;
      CHECK(absl::SimpleHexAtoi(text, &value) && value <= 0xff) << line;
      image.Set8(offset++, static_cast<uint8_t>(value));
    }
  }
  return image;
}

ConfigImage& ConfigImage::Set8(size_t offset, uint8_t value) {
  CHECK_LT(offset, bytes_.size());
  bytes_[offset] = value;
  return *this;
}

ConfigImage& ConfigImage::Set16(size_t offset, uint16_t value) {
  Set8(offset, static_cast<uint8_t>(value));
  return Set8(offset + 1, static_cast<uint8_t>(value >> 8));
}

ConfigImage& ConfigImage::Set32(size_t offset, uint32_t value) {
  Set16(offset, static_cast<uint16_t>(value));
  return Set16(offset + 2, static_cast<uint16_t>(value >> 16));
}

ConfigImage& ConfigImage::AddCapability(uint8_t offset, uint8_t id,
                                        uint8_t previous) {
  Set8(offset, id);
  if (previous != 0) return Set8(previous + 1u, offset);
  Set8(0x06, bytes_[0x06] | 0x10);
  return Set8(0x34, offset);
}

ConfigImage CapturedNvme() {
  return ConfigImage::FromDump(R"(
00: 36 1b 10 00 03 01 10 00 02 02 08 01 00 00 00 00
10: 04 00 60 fe 00 00 00 00 00 00 00 00 00 00 00 00
20: 00 00 00 00 00 00 00 00 00 00 00 00 f4 1a 00 11
30: 00 00 00 00 40 00 00 00 00 00 00 00 0b 01 00 00
40: 11 80 40 00 00 20 00 00 00 30 00 00 00 00 00 00
60: 01 00 03 00 08 00 00 00 00 00 00 00 00 00 00 00
80: 10 60 02 00 00 80 00 10 00 00 00 00 11 04 00 00
90: 00 00 11 00 00 00 00 00 00 00 00 00 00 00 00 00
a0: 00 00 00 00 00 00 30 00 00 00 00 00 00 00 00 00
)",
                               4096);
}

ConfigImage CapturedE1000e() {
  return ConfigImage::FromDump(R"(
00: 86 80 d3 10 03 01 10 00 00 00 00 02 00 00 00 00
10: 00 00 80 fe 00 00 82 fe 01 d0 00 00 00 00 84 fe
20: 00 00 00 00 00 00 00 00 00 00 00 00 86 80 00 00
30: 00 00 00 00 c8 00 00 00 00 00 00 00 0b 01 00 00
a0: 11 00 04 00 03 00 00 00 03 20 00 00 00 00 00 00
c0: 00 00 00 00 00 00 00 00 01 d0 22 00 00 00 00 00
d0: 05 e0 80 00 00 00 00 00 00 00 00 00 00 00 00 00
e0: 10 a0 01 00 00 80 00 00 00 00 00 00 11 04 00 00
f0: 00 00 11 00 00 00 00 00 00 00 00 00 00 00 00 00
100: 01 00 02 14 00 00 00 00 00 00 00 00 30 20 46 00
110: 00 00 00 00 00 e0 00 00 a0 00 00 00 00 00 00 00
140: 03 00 01 00 56 34 12 ff ff 00 54 52 00 00 00 00
)",
                               4096);
}

ConfigImage CapturedVirtioNet() {
  return ConfigImage::FromDump(R"(
00: f4 1a 41 10 03 01 10 00 01 00 00 02 00 00 00 00
10: 00 00 00 00 00 00 20 fe 00 00 00 00 00 00 00 00
20: 0c 00 40 fc 00 00 00 00 00 00 00 00 f4 1a 00 11
30: 00 00 00 00 dc 00 00 00 00 00 00 00 0a 01 00 00
40: 10 00 02 00 00 80 00 10 00 00 00 00 11 04 00 00
50: 00 00 11 00 00 00 00 00 00 00 00 00 00 00 00 00
60: 00 00 00 00 00 00 30 00 00 00 00 00 00 00 00 00
70: 00 00 00 00 00 00 00 00 00 00 00 00 01 40 03 00
80: 00 00 00 00 09 7c 10 01 04 00 00 00 00 00 00 00
90: 00 10 00 00 09 84 10 03 04 00 00 00 00 10 00 00
a0: 00 10 00 00 09 94 10 04 04 00 00 00 00 20 00 00
b0: 00 10 00 00 09 a4 14 02 04 00 00 00 00 30 00 00
c0: 00 10 00 00 04 00 00 00 09 b4 14 05 00 00 00 00
d0: 00 00 00 00 00 00 00 00 00 00 00 00 11 c8 11 00
e0: 01 00 00 00 01 08 00 00 00 00 00 00 00 00 00 00
100: 0f 00 01 00 20 00 00 80 00 00 00 00 00 00 00 00
)",
                               4096);
}

ConfigImage CapturedAhci() {
  return ConfigImage::FromDump(R"(
00: 86 80 22 29 03 01 10 00 02 01 06 01 00 00 00 00
20: 61 c4 00 00 00 c0 a8 fe 00 00 00 00 f4 1a 00 11
30: 00 00 00 00 80 00 00 00 00 00 00 00 0b 01 00 00
80: 05 a8 80 00 00 00 00 00 00 00 00 00 00 00 00 00
90: 40 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
a0: 00 00 00 00 00 00 00 00 12 00 10 00 48 00 00 00
)",
                               256);
}

}  // namespace passthru::pci
