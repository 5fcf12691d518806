// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/rig/page_sample.h"

#include <fstream>
#include <iterator>
#include <regex>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace passthru::fake {
namespace {

std::string WithoutAddresses(const std::string& text) {
  static const std::regex* const kAddress =
      new std::regex("0x[0-9a-f]{12}(?![0-9a-f])");
  return std::regex_replace(text, *kAddress, "0x?");
}

::testing::AssertionResult Shows(const std::string& page, std::string_view text,
                                 std::string (*compared)(const std::string&)) {
  std::ifstream in(page);
  if (!in.is_open()) {
    return ::testing::AssertionFailure()
           << page << " cannot be read. Is it in the test's data?";
  }
  const std::string shown{std::istreambuf_iterator<char>(in),
                          std::istreambuf_iterator<char>()};
  const std::string block = absl::StrCat("```\n", text, "```\n");
  const std::string wanted = compared(block);
  // What lies between two fences is a block, and then a text, by turns.
  const std::vector<std::string> parts =
      absl::StrSplit(absl::StrCat("\n", compared(shown)), "\n```");
  for (size_t i = 1; i < parts.size(); i += 2) {
    if (absl::StrCat("```", parts[i], "\n```\n") == wanted) {
      return ::testing::AssertionSuccess();
    }
  }
  return ::testing::AssertionFailure() << page << " must have this block:\n"
                                       << block;
}

}  // namespace

::testing::AssertionResult PageShows(const std::string& page,
                                     std::string_view text) {
  return Shows(page, text, [](const std::string& same) { return same; });
}

::testing::AssertionResult PageShowsButForAddresses(const std::string& page,
                                                    std::string_view text) {
  return Shows(page, text, WithoutAddresses);
}

}  // namespace passthru::fake
