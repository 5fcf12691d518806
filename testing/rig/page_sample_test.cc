// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/rig/page_sample.h"

#include <fstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace passthru::fake {
namespace {

using ::testing::HasSubstr;

class PageSampleTest : public ::testing::Test {
 protected:
  PageSampleTest() : page_(::testing::TempDir() + "/page.md") {
    std::ofstream(page_) << "A page.\n\n```\none at 0x7f0012345678\n  two\n"
                            "```\nbetween\n```sh\nmake\n```\n";
  }

  const std::string page_;
};

TEST_F(PageSampleTest, ABlockIsShownAsAWhole) {
  EXPECT_TRUE(PageShows(page_, "one at 0x7f0012345678\n  two\n"));
  EXPECT_FALSE(PageShows(page_, "one at 0x7f0012345678\n"));
  EXPECT_FALSE(PageShows(page_, "  two\n"));
  EXPECT_FALSE(PageShows(page_, "make\n")) << "a command is no sample";
  EXPECT_FALSE(PageShows(page_, "between\n")) << "this is in no block";
  EXPECT_FALSE(PageShows(page_, "one at 0x7f0012345679\n  two\n"));
}

TEST_F(PageSampleTest, AddressesMayDiffer) {
  EXPECT_TRUE(
      PageShowsButForAddresses(page_, "one at 0x7ffffffffff9\n  two\n"));
  EXPECT_FALSE(PageShowsButForAddresses(page_, "one at 0x1000\n  two\n"));
  EXPECT_FALSE(PageShowsButForAddresses(page_, "one at 0x7ffffffffff9\n"));
}

TEST_F(PageSampleTest, TheFailureHasTheBlock) {
  EXPECT_THAT(PageShows(page_, "three\n").message(),
              HasSubstr("must have this block:\n```\nthree\n```\n"));
  EXPECT_THAT(PageShows("absent.md", "three\n").message(),
              HasSubstr("absent.md cannot be read"));
}

}  // namespace
}  // namespace passthru::fake
