// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/explain/explain.h"

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/testing/kernel/kernel_version.h"
#include "passthru/vmm/explain/explain_report.pb.h"
#include "passthru/vmm/explain/explain_text.h"
#include "passthru/vmm/explain/register_diff.h"
#include "passthru/vmm/explain/vfio_rules.h"

namespace passthru::explain {
namespace {

using ::absl_testing::StatusIs;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr char kNvme[] = "testing/fixtures/nvme.textproto";
constexpr char kRomNic[] = "testing/fixtures/e1000_rom.textproto";
constexpr char kGpu[] =
    "testing/fixtures/modelled/gpu_legacy_endpoint.textproto";

Report ExplainIt(const std::string& path, const Wishes& wishes = {}) {
  const auto report = ExplainFixture(path, fake::KernelVersion::k6_12, wishes);
  EXPECT_TRUE(report.ok()) << report.status();
  return report.ok() ? *report : Report();
}

std::vector<std::string> AllFixtures() {
  std::vector<std::string> paths;
  for (const char* folder : {"testing/fixtures", "testing/fixtures/modelled"}) {
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      if (entry.path().extension() == ".textproto") {
        paths.push_back(entry.path().string());
      }
    }
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

// Every difference of every captured device has a reason, and the text fits.
TEST(ExplainTest, EveryDifferenceHasAReason) {
  int devices = 0;
  int differences = 0;
  for (const std::string& path : AllFixtures()) {
    SCOPED_TRACE(path);
    const Report report = ExplainIt(path);
    for (const Register& reg : report.registers()) {
      const std::string name = absl::StrCat(reg.group(), " ", reg.name());
      if (VfioDiffers(reg)) {
        EXPECT_NE(reg.why_vfio(), kNoRule) << name << " " << reg.offset();
        EXPECT_NE(reg.why_vfio(), "") << name;
        ++differences;
      }
      if (GuestDiffers(reg)) {
        EXPECT_THAT(reg.why_guest(), Not(HasSubstr("changed"))) << name;
        EXPECT_NE(reg.why_guest(), "") << name;
        ++differences;
      }
    }
    for (const bool all : {false, true}) {
      for (const std::string_view line :
           absl::StrSplit(RenderText(report, all), '\n')) {
        EXPECT_LE(line.size(), 100u) << line;
        EXPECT_FALSE(absl::EndsWith(line, " ")) << line;
      }
    }
    ++devices;
  }
  EXPECT_GE(devices, 72);
  std::cout << "COUNT: " << devices << " devices explained, with "
            << differences << " differences\n";
}

const Capability* FindCapability(const Report& report, std::string_view name) {
  for (const Capability& capability : report.capabilities()) {
    if (capability.name() == name) return &capability;
  }
  return nullptr;
}

TEST(ExplainTest, CapabilityIsShownFromBothSides) {
  const Report report = ExplainIt(kNvme);
  const Capability* const pcie = FindCapability(report, "PCI Express");
  ASSERT_NE(pcie, nullptr);
  EXPECT_EQ(pcie->treatment(), Capability::VIRTUALIZED);
  EXPECT_THAT(pcie->hardware(), HasSubstr("v2 Endpoint"));
  EXPECT_THAT(pcie->guest(), HasSubstr("Root Complex Integrated Endpoint"));
}

TEST(ExplainTest, HiddenCapabilityReadsZero) {
  const Report report = ExplainIt(kNvme, {.hide = {0x80}});
  const Capability* const pcie = FindCapability(report, "PCI Express");
  ASSERT_NE(pcie, nullptr);
  EXPECT_EQ(pcie->treatment(), Capability::HIDDEN);
  EXPECT_TRUE(pcie->by_vmm());
  for (const Register& reg : report.registers()) {
    if (reg.group() != "PCI Express") continue;
    EXPECT_EQ(reg.guest(), 0u) << reg.name();
  }
  EXPECT_THAT(report.changes(), Not(IsEmpty()));
}

std::vector<std::string> ChangedThings(const Report& report) {
  std::vector<std::string> what;
  for (const Change& change : report.changes()) {
    what.push_back(absl::StrCat(change.what(), ": ", change.before(), " -> ",
                                change.after()));
  }
  return what;
}

TEST(ExplainTest, FewerVectorsAreAChange) {
  const Report report = ExplainIt(kNvme, {.max_vectors = 8});
  EXPECT_THAT(ChangedThings(report), Contains("MSI-X vectors: 65 -> 8"));
  EXPECT_THAT(ChangedThings(report),
              Contains("042 MSI-X Message Control: 0040 -> 0007"));
}

TEST(ExplainTest, RomIsAChange) {
  const Report report = ExplainIt(kRomNic, {.rom = true});
  EXPECT_THAT(ChangedThings(report),
              Contains(HasSubstr("-> sees the device's own")));
}

TEST(ExplainTest, PortGivesALegacyEndpointItsCapability) {
  EXPECT_EQ(FindCapability(ExplainIt(kGpu), "PCI Express")->treatment(),
            Capability::HIDDEN);
  EXPECT_EQ(FindCapability(ExplainIt(kGpu, {.below_port = true}), "PCI Express")
                ->treatment(),
            Capability::VIRTUALIZED);
}

TEST(ExplainTest, PinIsHiddenWithTheReason) {
  const Report report = ExplainIt(kGpu, {.no_intx = true});
  EXPECT_THAT(ChangedThings(report), Contains("INTx vectors: 1 -> 0"));
  EXPECT_EQ(report.interrupts(0).reason(), "the VMM wires no interrupt pin");
}

TEST(ExplainTest, OptionWithoutEffectChangesNothing) {
  const Report report = ExplainIt(kNvme, {.max_vectors = 2048});
  EXPECT_TRUE(report.with_options());
  EXPECT_THAT(report.changes(), IsEmpty());
  EXPECT_THAT(RenderText(report, false),
              HasSubstr("What the options change for the guest\n  nothing\n"));
}

TEST(ExplainTest, WrongWishesAreOneSentence) {
  EXPECT_THAT(
      ExplainFixture(kNvme, fake::KernelVersion::k6_12, {.hide = {0xcc}}),
      StatusIs(absl::StatusCode::kInvalidArgument,
               HasSubstr("no capability at 0xcc")));
  EXPECT_THAT(
      ExplainFixture(kNvme, fake::KernelVersion::k6_12, {.max_vectors = 5000}),
      StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(ExplainFixture(kNvme, fake::KernelVersion::k6_12, {.rom = true}),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST(ExplainTest, OffersAreForThisDevice) {
  const Report report = ExplainIt(kRomNic);
  std::vector<std::string> options;
  for (const Offer& offer : report.offers()) options.push_back(offer.option());
  EXPECT_THAT(options, Contains("--rom"));
  const Report without_rom = ExplainIt(kNvme);
  for (const Offer& offer : without_rom.offers()) {
    EXPECT_NE(offer.option(), "--rom");
  }
}

}  // namespace
}  // namespace passthru::explain
