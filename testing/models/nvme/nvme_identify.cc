// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/models/nvme/nvme_identify.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "passthru/pci/little_endian.h"
#include "passthru/testing/models/nvme/nvme_spec.h"

namespace passthru::models::nvme {
namespace {

template <typename T>
void Store(IdentifyPage& page, size_t offset, T value) {
  pci::StoreLittleEndian<T>(absl::MakeSpan(page), offset, value);
}

// Stores an ASCII field, left-justified and padded with spaces (1.5).
void StoreText(IdentifyPage& page, size_t offset, size_t size,
               absl::string_view text) {
  const absl::Span<uint8_t> field = absl::MakeSpan(page).subspan(offset, size);
  std::fill(field.begin(), field.end(), uint8_t{' '});
  text = text.substr(0, size);
  std::copy(text.begin(), text.end(), field.begin());
}

}  // namespace

// The Identify Controller data structure (figure 247).
IdentifyPage IdentifyController(const Identity& identity) {
  IdentifyPage page{};
  Store<uint16_t>(page, 0, 0x1b36);  // VID, as the configuration space has it.
  Store<uint16_t>(page, 2, 0x1af4);  // SSVID.
  StoreText(page, 4, 20, identity.serial_number);
  StoreText(page, 24, 40, identity.model_number);
  StoreText(page, 64, 8, identity.firmware_revision);
  page[72] = 6;                       // RAB, as in QEMU.
  Store<uint16_t>(page, 73, 0x5400);  // IEEE OUI 52:54:00, least
  page[75] = 0x52;                    // significant byte first.
  page[77] = identity.max_transfer_shift;
  Store<uint32_t>(page, 80, 0x00010400);  // VER.
  page[111] = 1;                          // CNTRLTYPE, an I/O controller.
  page[258] = identity.abort_limit;
  page[259] = identity.async_event_limit;
  page[260] = 0x03;  // FRMW, one slot, read-only.
  // LPA: the health log of a namespace, the log of commands and their effects,
  // and parts of logs.
  page[261] = 0x07;
  Store<uint16_t>(page, 266, 343);  // WCTEMP, kelvin.
  Store<uint16_t>(page, 268, 373);  // CCTEMP.
  page[512] = Command::kSizeShift << 4 | Command::kSizeShift;
  page[513] = Completion::kSizeShift << 4 | Completion::kSizeShift;
  Store<uint32_t>(page, 516, 1);  // NN.
  // ONCS: Dataset Management and Write Zeroes.
  Store<uint16_t>(page, 520, 0x000c);
  page[525] = 0x01;  // VWC present, so that flushes are sent.
  const std::string nqn = "nqn.2019-08.org.qemu:" + identity.serial_number;
  // SUBNQN is UTF-8, null-terminated, with at most 223 bytes.
  std::copy_n(nqn.begin(), std::min<size_t>(nqn.size(), 223),
              page.begin() + 768);
  Store<uint16_t>(page, 2048, 2500);  // PSD0 maximum power, centiwatts.
  return page;
}

// The Identify Namespace data structure (figure 245).
IdentifyPage IdentifyNamespace(const Identity& identity) {
  IdentifyPage page{};
  Store<uint64_t>(page, 0, identity.namespace_blocks);   // NSZE.
  Store<uint64_t>(page, 8, identity.namespace_blocks);   // NCAP.
  Store<uint64_t>(page, 16, identity.namespace_blocks);  // NUSE.
  // DLFEAT: deallocated blocks read as zero, and Write Zeroes may deallocate.
  page[33] = 0x09;
  page[130] = 9;  // LBAF0, 2^9 bytes per block, no metadata.
  return page;
}

IdentifyPage IdentifyActiveNamespaces(uint32_t after) {
  IdentifyPage page{};
  if (after < 1) Store<uint32_t>(page, 0, 1);
  return page;
}

// Returns Namespace Identification Descriptors (figure 246) with an EUI-64 and
// the I/O command set, without which Linux refuses the namespace of a
// controller with CAP.CSS bit 6 (TP 4056).
IdentifyPage IdentifyNamespaceDescriptors() {
  IdentifyPage page{};
  page[0] = 1;  // NIDT, EUI-64.
  page[1] = 8;  // NIDL.
  const std::array<uint8_t, 8> eui64 = {0x52, 0x54, 0x00, 0xff,
                                        0xfe, 0x00, 0x00, 0x01};
  std::copy(eui64.begin(), eui64.end(), page.begin() + 4);
  page[12] = 4;  // NIDT, Command Set Identifier.
  page[13] = 1;  // NIDL.
  page[16] = 0;  // The NVM command set.
  return page;
}

IdentifyPage IdentifyCommandSets() {
  IdentifyPage page{};
  Store<uint64_t>(page, 0, 1);
  return page;
}

}  // namespace passthru::models::nvme
