// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_RIG_PAGE_SAMPLE_H_
#define PASSTHRU_TESTING_RIG_PAGE_SAMPLE_H_

#include <string>
#include <string_view>

#include "gtest/gtest.h"

namespace passthru::fake {

// Returns whether a page of this repository, such as docs/boot-linux.md, shows
// `text` as a code block. If it does not, the message has the block that it
// must have. The test needs the page in its `data`, and the page must name the
// test beside the block (tools/samples).
::testing::AssertionResult PageShows(const std::string& page,
                                     std::string_view text);

// The same for a text with numbers that differ from run to run. Numbers of
// twelve hexadecimal digits, as addresses of a process have, count as equal.
::testing::AssertionResult PageShowsButForAddresses(const std::string& page,
                                                    std::string_view text);

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_RIG_PAGE_SAMPLE_H_
