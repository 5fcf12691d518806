// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/acpi/tables.h"

#include <cstddef>
#include <cstdint>
#include <numeric>
#include <string>
#include <string_view>
#include <vector>

#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/pci/little_endian.h"
#include "passthru/vmm/guest_layout.h"

namespace passthru::vmm::acpi {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// Finds the tables as an operating system does, from the RSDP on.
class TablesTest : public ::testing::Test {
 protected:
  void Build(const TableOptions& options) {
    bytes_ = BuildTables(kAcpiBase, options);
  }

  template <typename T>
  T Load(uint64_t address) const {
    return pci::LoadLittleEndian<T>(bytes_, address - kAcpiBase);
  }
  absl::Span<const uint8_t> At(uint64_t address, size_t size) const {
    return absl::MakeConstSpan(bytes_).subspan(address - kAcpiBase, size);
  }
  std::string Text(uint64_t address, size_t size) const {
    const auto bytes = At(address, size);
    return {bytes.begin(), bytes.end()};
  }
  static uint8_t Sum(absl::Span<const uint8_t> bytes) {
    return std::accumulate(bytes.begin(), bytes.end(), uint8_t{0});
  }

  // Returns the address of the table, or 0 if it is not there or damaged.
  uint64_t Find(std::string_view signature) const {
    const uint64_t xsdt = Load<uint64_t>(kAcpiBase + 24);
    if (Text(xsdt, 4) != "XSDT") return 0;
    const uint32_t size = Load<uint32_t>(xsdt + 4);
    if (Sum(At(xsdt, size)) != 0) return 0;
    for (uint64_t entry = xsdt + 36; entry < xsdt + size; entry += 8) {
      const auto table = Load<uint64_t>(entry);
      if (Text(table, 4) != signature) continue;
      return Sum(At(table, Load<uint32_t>(table + 4))) == 0 ? table : 0;
    }
    return 0;
  }

  // Returns the entries of a type in the MADT.
  std::vector<std::vector<uint8_t>> MadtEntries(uint8_t type) const {
    const uint64_t madt = Find("APIC");
    const uint64_t end = madt + Load<uint32_t>(madt + 4);
    std::vector<std::vector<uint8_t>> entries;
    for (uint64_t at = madt + 44; at < end; at += Load<uint8_t>(at + 1)) {
      if (Load<uint8_t>(at) != type) continue;
      const auto bytes = At(at, Load<uint8_t>(at + 1));
      entries.emplace_back(bytes.begin(), bytes.end());
    }
    return entries;
  }

  std::vector<uint8_t> bytes_;
};

TEST_F(TablesTest, TheRootPointerHasBothSums) {
  Build({});
  EXPECT_EQ(Text(kAcpiBase, 8), "RSD PTR ");
  EXPECT_EQ(Sum(At(kAcpiBase, 20)), 0);
  EXPECT_EQ(Load<uint32_t>(kAcpiBase + 20), 36u);
  EXPECT_EQ(Sum(At(kAcpiBase, 36)), 0);
  EXPECT_EQ(Load<uint8_t>(kAcpiBase + 15), 2) << "the XSDT counts";
  EXPECT_LE(bytes_.size(), kAcpiSize);
}

TEST_F(TablesTest, FadtNamesPortsAndTables) {
  Build({});
  const uint64_t fadt = Find("FACP");
  ASSERT_NE(fadt, 0u);
  EXPECT_EQ(Load<uint32_t>(fadt + 4), 276u) << "as revision 6 has";
  EXPECT_EQ(Load<uint16_t>(fadt + 46), kSciGsi);
  EXPECT_EQ(Load<uint32_t>(fadt + 48), 0u) << "no SMI command";
  EXPECT_EQ(Load<uint32_t>(fadt + 56), kPm1EventPort);
  EXPECT_EQ(Load<uint32_t>(fadt + 64), kPm1ControlPort);
  EXPECT_EQ(Load<uint64_t>(fadt + 148 + 4), kPm1EventPort);
  EXPECT_EQ(Load<uint8_t>(fadt + 148 + 1), 32) << "bits";
  EXPECT_EQ(Load<uint64_t>(fadt + 172 + 4), kPm1ControlPort);
  EXPECT_EQ(Load<uint8_t>(fadt + 172 + 1), 16) << "bits";
  EXPECT_EQ(Load<uint64_t>(fadt + 116 + 4), kResetPort);
  EXPECT_EQ(Load<uint8_t>(fadt + 128), kResetValue);
  const auto flags = Load<uint32_t>(fadt + 112);
  EXPECT_EQ(flags & 1u << 20, 0u) << "hardware-reduced";
  EXPECT_NE(flags & 1u << 10, 0u) << "the reset register is there";

  const uint64_t facs = Load<uint32_t>(fadt + 36);
  EXPECT_EQ(Text(facs, 4), "FACS");
  EXPECT_EQ(facs % 64, 0u);
  const auto dsdt = Load<uint64_t>(fadt + 140);
  EXPECT_EQ(Load<uint32_t>(fadt + 40), dsdt);
  EXPECT_EQ(Text(dsdt, 4), "DSDT");
  EXPECT_EQ(Sum(At(dsdt, Load<uint32_t>(dsdt + 4))), 0);
  EXPECT_GE(Load<uint8_t>(dsdt + 8), 2) << "integers have 64 bits";
}

TEST_F(TablesTest, MadtHasEveryProcessor) {
  Build({.vcpu_count = 4});
  ASSERT_NE(Find("APIC"), 0u);
  const auto processors = MadtEntries(0);
  ASSERT_THAT(processors, SizeIs(4));
  EXPECT_THAT(processors[3], ElementsAre(0, 8, 3, 3, 1, 0, 0, 0));
  EXPECT_THAT(MadtEntries(1), ElementsAre(ElementsAre(1, 12, 0, 0, 0, 0, 0xc0,
                                                      0xfe, 0, 0, 0, 0)));
  EXPECT_THAT(MadtEntries(2),
              ElementsAre(ElementsAre(2, 10, 0, 9, 9, 0, 0, 0, 0xd, 0)));
  EXPECT_THAT(MadtEntries(4), ElementsAre(ElementsAre(4, 6, 0xff, 0, 0, 1)));
  Build({.vcpu_count = 1});
  EXPECT_THAT(MadtEntries(0), SizeIs(1));
}

TEST_F(TablesTest, McfgNamesEcam) {
  Build({});
  const uint64_t mcfg = Find("MCFG");
  ASSERT_NE(mcfg, 0u);
  EXPECT_EQ(Load<uint32_t>(mcfg + 4), 60u);
  EXPECT_EQ(Load<uint64_t>(mcfg + 44), kEcamBase);
  EXPECT_EQ(Load<uint8_t>(mcfg + 55), 255) << "the last bus";
  Build({.bus_count = 4});
  EXPECT_EQ(Load<uint8_t>(Find("MCFG") + 55), 3);
}

TEST_F(TablesTest, TheWindowOf64BitBarsFollowsTheOptions) {
  const auto windows = [this] {
    const uint64_t fadt = Find("FACP");
    const auto dsdt = Load<uint64_t>(fadt + 140);
    std::vector<std::string> found;
    const std::string text = Text(dsdt, Load<uint32_t>(dsdt + 4));
    const std::string start("\x8a\x2b\x00", 3);
    for (size_t at = text.find(start); at != std::string::npos;
         at = text.find(start, at + 1)) {
      found.push_back(text.substr(at + 14, 16));
    }
    return found;
  };
  Build({.memory64_base = 0x120000000, .memory64_end = 0x1000000000});
  EXPECT_THAT(windows(), ElementsAre(std::string("\x00\x00\x00\x20\x01\x00\x00"
                                                 "\x00\xff\xff\xff\xff\x0f\x00"
                                                 "\x00\x00",
                                                 16)));
  Build({});
  EXPECT_THAT(windows(), IsEmpty());
}

}  // namespace
}  // namespace passthru::vmm::acpi
