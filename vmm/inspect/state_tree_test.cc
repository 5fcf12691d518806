// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/inspect/state_tree.h"

#include <cstdint>
#include <string>

#include "gtest/gtest.h"

namespace passthru::vmm {
namespace {

StateTree Sample() {
  StateTree tree;
  tree.Value("name", "a \"b\"\n");
  StateTree& part = tree.Tree("part");
  part.Value("count", uint64_t{7});
  part.Value("on", true);
  part.Value("nothing", "");
  part.Value("absent", nullptr);
  part.Values("numbers", {uint64_t{12}, uint64_t{3}});
  part.Values("no_numbers", {});
  StateTree::Table& table = tree.AddTable("rows", {"x", "what"});
  table.rows.push_back({uint64_t{100}, "first"});
  table.rows.push_back({uint64_t{2}, false});
  tree.List("texts", {"one", "two"});
  tree.AddTable("no_rows", {"x"});
  tree.List("no_texts", {});
  tree.Value("last", "z");
  return tree;
}

TEST(StateTreeTest, Text) {
  EXPECT_EQ(Sample().ToText(),
            "name  a \"b\"\n\n"
            "part\n"
            "  count       7\n"
            "  on          yes\n"
            "  nothing     -\n"
            "  absent      -\n"
            "  numbers     12 3\n"
            "  no_numbers  -\n"
            "rows\n"
            "  x    what\n"
            "  100  first\n"
            "  2    no\n"
            "texts\n"
            "  one\n"
            "  two\n"
            "no_rows: none\n"
            "no_texts: none\n"
            "last  z\n");
}

TEST(StateTreeTest, Json) {
  EXPECT_EQ(Sample().ToJson(), R"({
  "name": "a \"b\"\u000a",
  "part": {
    "count": 7,
    "on": true,
    "nothing": "",
    "absent": null,
    "numbers": [12, 3],
    "no_numbers": []
  },
  "rows": [
    {"x": 100, "what": "first"},
    {"x": 2, "what": false}
  ],
  "texts": [
    "one",
    "two"
  ],
  "no_rows": [],
  "no_texts": [],
  "last": "z"
}
)");
  EXPECT_EQ(StateTree().ToJson(), "{}\n");
  EXPECT_EQ(StateTree().ToText(), "");
}

}  // namespace
}  // namespace passthru::vmm
