// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/explain/explain_text.h"

#include <fstream>
#include <iterator>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "passthru/testing/kernel/kernel_version.h"
#include "passthru/testing/rig/page_sample.h"
#include "passthru/vmm/explain/explain.h"
#include "passthru/vmm/explain/explain_report.pb.h"

namespace passthru::explain {
namespace {

std::string ReadText(const std::string& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

std::string TextOf(const std::string& path, const Wishes& wishes = {}) {
  const auto report = ExplainFixture(path, fake::KernelVersion::k6_12, wishes);
  EXPECT_TRUE(report.ok()) << report.status();
  return report.ok() ? RenderText(*report, /*all_registers=*/false) : "";
}

// Compares what `explain ARGUMENTS` prints with goldens/NAME.txt.
void ExpectGolden(const std::string& name, const std::string& arguments,
                  const std::string& text) {
  EXPECT_EQ(ReadText(absl::StrCat("vmm/explain/goldens/", name, ".txt")), text)
      << "If this is right: bazel run //vmm:explain -- $PWD/" << arguments
      << " > vmm/explain/goldens/" << name << ".txt";
}

void ExpectGoldenOf(const std::string& name, const std::string& fixture) {
  ExpectGolden(name, fixture, TextOf(fixture));
}

TEST(ExplainTextTest, Nvme) {
  ExpectGoldenOf("nvme", "testing/fixtures/nvme.textproto");
}

TEST(ExplainTextTest, E1000e) {
  ExpectGoldenOf("e1000e", "testing/fixtures/e1000e.textproto");
}

TEST(ExplainTextTest, VirtualFunction) {
  ExpectGoldenOf("igb_vf", "testing/fixtures/igb_vf.textproto");
}

TEST(ExplainTextTest, GpuWithRom) {
  ExpectGoldenOf("gpu_legacy_endpoint",
                 "testing/fixtures/modelled/gpu_legacy_endpoint.textproto");
}

TEST(ExplainTextTest, WhatOptionsChange) {
  constexpr char kFixture[] = "testing/fixtures/nvme.textproto";
  ExpectGolden("nvme_max_vectors", absl::StrCat(kFixture, " --max_vectors=8"),
               TextOf(kFixture, {.max_vectors = 8}));
}

// The README shows what comes before the BARs. The golden text has the rest.
TEST(ExplainTextTest, TheReadmeShowsWhatItPrints) {
  const std::string text = TextOf("testing/fixtures/igb_vf.textproto");
  EXPECT_TRUE(
      fake::PageShows("README.md", text.substr(0, text.find("\nBARs\n"))));
}

}  // namespace
}  // namespace passthru::explain
