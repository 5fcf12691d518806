// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/guest/direct/captured_functions.h"

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "passthru/pci/little_endian.h"

namespace passthru::guest {
namespace {

using Dwords = std::initializer_list<std::pair<uint16_t, uint32_t>>;

std::vector<uint8_t> Config(size_t size, Dwords dwords) {
  std::vector<uint8_t> config(size);
  for (const auto& [offset, value] : dwords) {
    pci::StoreLittleEndian<uint32_t>(absl::MakeSpan(config), offset, value);
  }
  return config;
}

}  // namespace

DirectFunction::Options CapturedNvme() {
  return {.config = Config(4096, {{0x00, 0x00101b36},
                                  {0x04, 0x00100103},
                                  {0x08, 0x01080202},
                                  {0x10, 0xfe600004},
                                  {0x2c, 0x11001af4},
                                  {0x34, 0x00000040},
                                  {0x3c, 0x0000010b},
                                  {0x40, 0x00408011},
                                  {0x44, 0x00002000},
                                  {0x48, 0x00003000},
                                  {0x60, 0x00030001},
                                  {0x64, 0x00000008},
                                  {0x80, 0x00026010},
                                  {0x84, 0x10008000},
                                  {0x8c, 0x00000411},
                                  {0x90, 0x00110000},
                                  {0xa4, 0x00300000}}),
          .bars = {{.index = 0, .size = 0x4000, .is_64bit = true}}};
}

DirectFunction::Options CapturedEdu() {
  return {.config = Config(256, {{0x00, 0x11e81234},
                                 {0x04, 0x00100103},
                                 {0x08, 0x00ff0010},
                                 {0x10, 0xfe900000},
                                 {0x2c, 0x11001af4},
                                 {0x34, 0x00000040},
                                 {0x3c, 0x0000010b},
                                 {0x40, 0x00800005}}),
          .bars = {{.index = 0, .size = 0x100000}}};
}

DirectFunction::Options PlainHostBridge() {
  return {.config = Config(256, {{0x00, 0x29c08086}, {0x08, 0x06000000}}),
          .bars = {}};
}

DirectFunction::Options MixedFunction(bool multifunction) {
  return {.config = Config(256, {{0x00, 0x00010abc},
                                 {0x04, 0x00100000},
                                 {0x08, 0xff000001},
                                 {0x0c, multifunction ? 0x00800000u : 0u},
                                 {0x14, 0x00000001},
                                 {0x18, 0x0000000c},
                                 {0x34, 0x00000050},
                                 {0x50, 0x01840005}}),
          .bars = {{.index = 0, .size = 0x1000},
                   {.index = 1, .size = 32, .io = true},
                   {.index = 2, .size = uint64_t{8} << 30, .is_64bit = true}}};
}

}  // namespace passthru::guest
