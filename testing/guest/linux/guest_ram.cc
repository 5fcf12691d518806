// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/guest/linux/guest_ram.h"

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "passthru/pci/little_endian.h"
#include "passthru/testing/guest/guest_layout.h"

namespace passthru::guest {
namespace {

// Returns the widest naturally aligned access of no more than `left` bytes.
unsigned AccessWidth(uint64_t address, uint64_t left) {
  for (unsigned width : {8u, 4u, 2u}) {
    if (address % width == 0 && left >= width) return width;
  }
  return 1;
}

}  // namespace

GuestRam::GuestRam(GuestCpu* cpu, GuestRange range)
    : cpu_(cpu), range_(range) {}

absl::StatusOr<uint64_t> GuestRam::AllocatePages(uint64_t count) {
  const uint64_t left = (range_.size - used_) / kPageSize;
  if (count == 0 || count > left) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "guest: ", count, " pages of DMA memory wanted, ", left, " left"));
  }
  const uint64_t address = range_.base + used_;
  used_ += count * kPageSize;
  Zero(address, count * kPageSize);
  return address;
}

void GuestRam::Zero(uint64_t address, uint64_t size) {
  const std::vector<uint8_t> zeros(size);
  Write(address, zeros);
}

void GuestRam::Write(uint64_t address, absl::Span<const uint8_t> bytes) {
  for (uint64_t done = 0; done < bytes.size();) {
    const unsigned width = AccessWidth(address + done, bytes.size() - done);
    uint64_t value = 0;
    for (unsigned i = 0; i < width; ++i) {
      value |= uint64_t{bytes[done + i]} << (8 * i);
    }
    cpu_->Store(address + done, width, value);
    done += width;
  }
}

std::vector<uint8_t> GuestRam::Read(uint64_t address, uint64_t size) {
  std::vector<uint8_t> bytes(size);
  for (uint64_t done = 0; done < size;) {
    const unsigned width = AccessWidth(address + done, size - done);
    // StoreLittleEndian() leaves bytes outside of the span alone.
    pci::StoreLittleEndian<uint64_t>(absl::MakeSpan(bytes).subspan(done, width),
                                     0, cpu_->Load(address + done, width));
    done += width;
  }
  return bytes;
}

}  // namespace passthru::guest
