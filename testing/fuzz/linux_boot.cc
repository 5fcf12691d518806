// SPDX-License-Identifier: Apache-2.0
//
// Fuzzes the loader of Linux kernels. An input has the lengths of initrd and
// command line, and then the kernel's file, whose bytes are also those of the
// other two. The loader must refuse it with a sentence, or put everything into
// the guest's RAM where the guest finds it.

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/log/check.h"
#include "absl/types/span.h"
#include "passthru/testing/fuzz/fuzz_input.h"
#include "passthru/testing/fuzz/fuzz_target.h"
#include "passthru/vmm/linux/boot.h"

namespace passthru::fuzz {
namespace {

constexpr size_t kRamSize = 4 << 20;
constexpr uint8_t kUntouched = 0xee;
// The VMM has its own tables between these.
constexpr size_t kReservedBegin = 0xa0000;
constexpr size_t kReservedEnd = 0x100000;

void Run(const uint8_t* data, size_t size) {
  FuzzInput input(data, size);
  const auto initrd_size = input.Take<uint16_t>();
  const auto line_size = input.Take<uint16_t>();
  const absl::Span<const uint8_t> kernel = input.TakeRest();
  vmm::LinuxBoot boot;
  boot.kernel = kernel;
  boot.initrd = kernel.subspan(0, initrd_size);
  const absl::Span<const uint8_t> line = kernel.subspan(0, line_size);
  boot.command_line.assign(line.begin(), line.end());

  static auto& ram = *new std::vector<uint8_t>(kRamSize);
  ram.assign(kRamSize, kUntouched);
  const auto entry = vmm::LoadLinux(absl::MakeSpan(ram), boot);
  if (!entry.ok()) {
    CHECK_NE(entry.status().message(), "");
    return;
  }
  CHECK_GE(entry->kernel, kReservedEnd);
  CHECK_LT(entry->kernel, kRamSize);
  for (size_t i = kReservedBegin; i < kReservedEnd; ++i) {
    CHECK_EQ(ram[i], kUntouched) << i;
  }
}

}  // namespace
}  // namespace passthru::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  passthru::fuzz::Run(data, size);
  return 0;
}
