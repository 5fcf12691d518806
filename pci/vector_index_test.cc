// SPDX-License-Identifier: Apache-2.0
#include "passthru/pci/vector_index.h"

#include <type_traits>

#include "absl/hash/hash_testing.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace passthru::pci {
namespace {

static_assert(!std::is_convertible_v<int, VectorIndex>);
static_assert(!std::is_convertible_v<VectorIndex, int>);

TEST(VectorIndexTest, ComparesByNumber) {
  EXPECT_EQ(VectorIndex(), VectorIndex(0));
  EXPECT_LT(VectorIndex(7), VectorIndex(2047));
}

TEST(VectorIndexTest, PrintsItsNumber) {
  EXPECT_EQ(absl::StrCat("vector ", VectorIndex(2047)), "vector 2047");
}

TEST(VectorIndexTest, Hashes) {
  EXPECT_TRUE(absl::VerifyTypeImplementsAbslHashCorrectly(
      {VectorIndex(0), VectorIndex(1), VectorIndex(2047)}));
}

}  // namespace
}  // namespace passthru::pci
