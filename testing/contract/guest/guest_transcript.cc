// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "passthru/testing/contract/guest/guest_contract.h"
#include "passthru/testing/contract/observation.h"

namespace passthru::contract {
namespace {

struct Line {
  std::string_view section;
  std::string_view question;
  std::string_view answer;
};

constexpr Line kTranscript[] = {
    {"config", "nvme 00 by port", "0x101b36"},
    {"config", "nvme 04 by port", "0x100000"},
    {"config", "nvme 08 by port", "0x1080202"},
    {"config", "nvme 0c by port", "0"},
    {"config", "nvme 10 by port", "0x4"},
    {"config", "nvme 14 by port", "0x40"},
    {"config", "nvme 18 by port", "0"},
    {"config", "nvme 1c by port", "0"},
    {"config", "nvme 20 by port", "0"},
    {"config", "nvme 24 by port", "0"},
    {"config", "nvme 28 by port", "0"},
    {"config", "nvme 2c by port", "0x11001af4"},
    {"config", "nvme 30 by port", "0"},
    {"config", "nvme 34 by port", "0x40"},
    {"config", "nvme 38 by port", "0"},
    {"config", "nvme 3c by port", "0"},
    {"config", "nvme reads of every width that differ", "0 of 896"},
    {"config", "memory 00 by port", "0x11101af4"},
    {"config", "memory 04 by port", "0"},
    {"config", "memory 08 by port", "0x5000001"},
    {"config", "memory 0c by port", "0"},
    {"config", "memory 10 by port", "0xc0000000"},
    {"config", "memory 14 by port", "0"},
    {"config", "memory 18 by port", "0x40000c"},
    {"config", "memory 1c by port", "0x40"},
    {"config", "memory 20 by port", "0"},
    {"config", "memory 24 by port", "0"},
    {"config", "memory 28 by port", "0"},
    {"config", "memory 2c by port", "0x11001af4"},
    {"config", "memory 30 by port", "0"},
    {"config", "memory 34 by port", "0"},
    {"config", "memory 38 by port", "0"},
    {"config", "memory 3c by port", "0"},
    {"config", "memory reads of every width that differ", "0 of 896"},
    {"config", "write 1 by port, read by ECAM", "0x5a"},
    {"config", "write 2 by ECAM, read by port", "0xa5"},
    {"config", "write 4 by port, read by ECAM", "0x3c"},
    {"config", "first extended capability", "0"},
    {"config", "host bridge by port", "0x29c08086"},
    {"config", "absent function by port", "0xffffffff"},
    {"config", "absent function by ECAM", "0xffffffff"},
    {"config", "exits of a read by port", "1 port read, 1 port write"},
    {"config", "exits of a read by ECAM", "1 MMIO read"},
    {"sizing", "nvme BAR0 low", "0xffffc004"},
    {"sizing", "nvme BAR0 high", "0xffffffff"},
    {"sizing", "nvme BAR0 restored", "0x4000000000"},
    {"sizing", "memory BAR2 low", "0xffc0000c"},
    {"sizing", "memory BAR2 high", "0xffffffff"},
    {"sizing", "memory BAR2 restored", "0x4000400000"},
    {"mapped", "store 8 to memory", "no exit"},
    {"mapped", "load 1 of memory", "0x11, no exit"},
    {"mapped", "load 2 of memory", "0x2211, no exit"},
    {"mapped", "load 4 of memory", "0x44332211, no exit"},
    {"mapped", "load 8 of memory", "0x8877665544332211, no exit"},
    {"mapped", "store 1 to memory+1", "no exit"},
    {"mapped", "store 2 to memory+2", "no exit"},
    {"mapped", "store 4 to memory+4", "no exit"},
    {"mapped", "load 8 of memory", "0xc4c5c6c7b2b3a111, no exit"},
    {"mapped", "load 1 of memory+1", "0xa1, no exit"},
    {"mapped", "load 2 of memory+3, unaligned", "0xc7b2, no exit"},
    {"mapped", "load 4 of memory+1, unaligned", "0xc7b2b3a1, no exit"},
    {"mapped", "store 8 to memory across pages", "no exit"},
    {"mapped", "load 8 of memory across pages", "0x123456789abcdef, no exit"},
    {"mapped", "load 4 of memory before the page's end", "0x89abcdef, no exit"},
    {"mapped", "load 4 of memory behind the page's end", "0x1234567, no exit"},
    {"mapped", "store 8 to the last bytes", "no exit"},
    {"mapped", "load 4 of the last bytes", "0x11223344, no exit"},
    {"mapped", "load 4 of what is behind the BAR", "0xffffffff, 1 MMIO read"},
    {"registers", "MSI-X Message Control", "0x40"},
    {"registers", "MSI-X table", "0x2000"},
    {"registers", "MSI-X pending bits", "0x3000"},
    {"registers", "load 1 of the capabilities", "0xff, no exit"},
    {"registers", "load 2 of the capabilities", "0x7ff, no exit"},
    {"registers", "load 4 of the capabilities", "0xf0107ff, no exit"},
    {"registers", "load 1 of the version", "0, no exit"},
    {"registers", "load 2 of the version", "0x400, no exit"},
    {"registers", "load 4 of the version", "0x10400, no exit"},
    {"registers", "load 8 of the version", "0x10400, no exit"},
    {"trapped", "load 4 of a vector's control, after reset",
     "0x1, 1 MMIO read"},
    {"trapped", "store 8 to a vector's address", "1 MMIO write"},
    {"trapped", "store 4 to a vector's data", "1 MMIO write"},
    {"trapped", "load 1 of a vector's address", "0, 1 MMIO read"},
    {"trapped", "load 1 of a vector's data", "0x34, 1 MMIO read"},
    {"trapped", "load 2 of a vector's address", "0, 1 MMIO read"},
    {"trapped", "load 2 of a vector's data", "0x1234, 1 MMIO read"},
    {"trapped", "load 4 of a vector's address", "0xfee00000, 1 MMIO read"},
    {"trapped", "load 4 of a vector's data", "0x1234, 1 MMIO read"},
    {"trapped", "load 8 of a vector's address", "0xfee00000, 1 MMIO read"},
    {"trapped", "load 8 of a vector's data", "0x100001234, 1 MMIO read"},
    {"trapped", "store 1 to a vector's data", "1 MMIO write"},
    {"trapped", "store 2 to a vector's data+2", "1 MMIO write"},
    {"trapped", "load 4 of a vector's data", "0x9abc1278, 1 MMIO read"},
    {"trapped", "load 8 of the pending bits", "0, 1 MMIO read"},
    {"trapped", "store 8 to the pending bits", "1 MMIO write"},
    {"trapped", "load 8 of the pending bits", "0, 1 MMIO read"},
    {"trapped", "load 4 of behind the table", "0, 1 MMIO read"},
    {"trapped", "store 8 to the admin submission queue's register", "no exit"},
    {"trapped", "load 8 of the admin submission queue's register",
     "0x200000, no exit"},
    {"msix", "exits of unmasking a vector", "1 MMIO write"},
    {"msix", "a command completes", "vector 0x51"},
    {"msix", "a command completes, the command", "1 of 1 good"},
    {"msix", "Create I/O Completion Queue", "vector 0x51"},
    {"msix", "Create I/O Completion Queue, the command", "1 of 1 good"},
    {"msix", "Create I/O Submission Queue", "vector 0x51"},
    {"msix", "Create I/O Submission Queue, the command", "1 of 1 good"},
    {"msix", "the other queue's command completes", "vector 0x41"},
    {"msix", "pending bits of a masked vector", "0x1"},
    {"msix", "its command", "1 of 1 good"},
    {"msix", "next after it", "vector 0x41"},
    {"msix", "a second command", "1 of 1 good"},
    {"msix", "next after it", "vector 0x41"},
    {"msix", "pending bits still", "0x1"},
    {"msix", "unmasked", "vector 0x51"},
    {"msix", "pending bits then", "0"},
    {"msix", "next after one for both", "vector 0x41"},
    {"msix", "with another message", "vector 0x52"},
    {"msix", "with another message, the command", "1 of 1 good"},
    {"msix", "pending bits of a masked function", "0x1"},
    {"msix", "function unmasked", "vector 0x52"},
    {"msix", "its command", "1 of 1 good"},
    {"msix", "next after it", "vector 0x41"},
    {"move", "moved, not decoding", "0x4004000000"},
    {"move", "load 4 of the version", "0x10400, no exit"},
    {"move", "load 4 of the version, where it was", "0xffffffff, 1 MMIO read"},
    {"move", "load 4 of a vector's data", "0x52, 1 MMIO read"},
    {"move", "load 4 of a vector's data, where it was",
     "0xffffffff, 1 MMIO read"},
    {"move", "a command completes", "vector 0x52"},
    {"move", "a command completes, the command", "1 of 1 good"},
    {"move", "moved, decoding", "0x4008000000"},
    {"move", "load 4 of the version", "0x10400, no exit"},
    {"move", "load 4 of the version, where it was", "0xffffffff, 1 MMIO read"},
    {"move", "load 4 of a vector's data", "0x52, 1 MMIO read"},
    {"move", "load 4 of a vector's data, where it was",
     "0xffffffff, 1 MMIO read"},
    {"move", "a command completes", "vector 0x52"},
    {"move", "a command completes, the command", "1 of 1 good"},
    {"move", "the other queue's command completes", "vector 0x41"},
    {"decode", "load 4 of the version, off", "0xffffffff, 1 MMIO read"},
    {"decode", "load 8 of the capabilities, off",
     "0xffffffffffffffff, 1 MMIO read"},
    {"decode", "load 4 of a vector's data, off", "0xffffffff, 1 MMIO read"},
    {"decode", "store 4 to the controller's configuration, off",
     "1 MMIO write"},
    {"decode", "store 4 to a vector's data, off", "1 MMIO write"},
    {"decode", "load 4 of the version, on", "0x10400, no exit"},
    {"decode", "load 4 of the status, on", "0x1, no exit"},
    {"decode", "load 4 of a vector's data, on", "0x52, 1 MMIO read"},
    {"end", "a command completes", "vector 0x52"},
    {"end", "a command completes, the command", "1 of 1 good"},
    {"end", "next after it", "vector 0x41"},
};

}  // namespace

std::vector<Observation> GuestAnswers() {
  std::vector<Observation> transcript;
  for (const Line& line : kTranscript) {
    transcript.push_back({std::string(line.section), std::string(line.question),
                          std::string(line.answer)});
  }
  return transcript;
}

std::vector<std::string> DifferencesFromGuestAnswers(
    const std::vector<Observation>& observations) {
  const std::vector<Observation> expected = GuestAnswers();
  const auto line = [](const std::vector<Observation>& all, size_t i) {
    return i < all.size() ? all[i].ToString() : "nothing more";
  };
  std::vector<std::string> differences;
  for (size_t i = 0; i < std::max(observations.size(), expected.size()); ++i) {
    const std::string observed = line(observations, i);
    const std::string wanted = line(expected, i);
    if (observed == wanted) continue;
    differences.push_back(absl::StrCat(observed, "\n    expected: ", wanted));
  }
  return differences;
}

}  // namespace passthru::contract
