// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_GUEST_LINUX_GUEST_RAM_H_
#define PASSTHRU_TESTING_GUEST_LINUX_GUEST_RAM_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "passthru/testing/guest/guest_cpu.h"
#include "passthru/testing/guest/guest_layout.h"

namespace passthru::guest {

// The guest's memory for DMA. It allocates pages, and moves bytes by loads and
// stores of the CPU. It never frees pages, because a guest program is short.
//
// Only the guest's thread may use it. Owns nothing. `cpu` must outlive it.
class GuestRam {
 public:
  static constexpr uint64_t kPageSize = 4096;

  GuestRam(GuestCpu* cpu, GuestRange range);

  // Returns the guest-physical address of `count` contiguous pages, zeroed.
  absl::StatusOr<uint64_t> AllocatePages(uint64_t count);

  void Zero(uint64_t address, uint64_t size);
  void Write(uint64_t address, absl::Span<const uint8_t> bytes);
  std::vector<uint8_t> Read(uint64_t address, uint64_t size);

 private:
  GuestCpu* const cpu_;
  const GuestRange range_;
  uint64_t used_ = 0;
};

}  // namespace passthru::guest

#endif  // PASSTHRU_TESTING_GUEST_LINUX_GUEST_RAM_H_
