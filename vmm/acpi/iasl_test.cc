// SPDX-License-Identifier: Apache-2.0
//
// Gives the tables to ACPICA's compiler, iasl, which disassembles them, and
// compiles the DSDT's text again. A machine may lack iasl, so Bazel does not
// cache the result.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/pci/little_endian.h"
#include "passthru/vmm/acpi/tables.h"
#include "passthru/vmm/guest_layout.h"

namespace passthru::vmm::acpi {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

class IaslTest : public ::testing::Test {
 protected:
  // Returns what the command prints.
  static std::string Run(const std::string& command) {
    std::string output;
    FILE* const pipe = popen((command + " 2>&1").c_str(), "r");
    if (pipe == nullptr) return "popen failed";
    for (int c; (c = std::fgetc(pipe)) != EOF;) {
      output.push_back(static_cast<char>(c));
    }
    const int status = pclose(pipe);
    if (status != 0) output += "\nexit status " + std::to_string(status);
    return output;
  }

  static std::string FileText(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  // Writes the table at `address` to a file, disassembles it, and returns the
  // text.
  std::string Disassemble(const std::string& name, uint64_t address) {
    const size_t offset = address - kAcpiBase;
    const auto size = pci::LoadLittleEndian<uint32_t>(bytes_, offset + 4);
    const std::string stem = ::testing::TempDir() + "/" + name;
    std::ofstream(stem + ".aml", std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes_.data()) + offset, size);
    const std::string said = Run("iasl -d " + stem + ".aml");
    EXPECT_THAT(said, ContainsRegex("Disassembly completed|Formatted output"))
        << said;
    EXPECT_THAT(said, Not(HasSubstr("rror"))) << said;
    EXPECT_THAT(said, Not(HasSubstr("arning"))) << said;
    return FileText(stem + ".dsl");
  }

  const std::vector<uint8_t> bytes_ =
      BuildTables(kAcpiBase, {.vcpu_count = 4,
                              .memory64_base = 0x120000000,
                              .memory64_end = uint64_t{1} << 46});
};

TEST_F(IaslTest, TheTablesAreWellFormed) {
  if (std::system("command -v iasl > /dev/null") != 0) {
    GTEST_SKIP() << "SKIPPED: this machine has no iasl (package acpica-tools)";
  }
  const auto xsdt = pci::LoadLittleEndian<uint64_t>(bytes_, 24);
  const auto entry = [&](int i) {
    return pci::LoadLittleEndian<uint64_t>(
        bytes_, xsdt - kAcpiBase + 36 + static_cast<size_t>(8 * i));
  };
  Disassemble("facp", entry(0));
  EXPECT_THAT(Disassemble("apic", entry(1)), HasSubstr("I/O APIC"));
  Disassemble("mcfg", entry(2));
  const auto dsdt =
      pci::LoadLittleEndian<uint64_t>(bytes_, entry(0) - kAcpiBase + 140);
  const std::string text = Disassemble("dsdt", dsdt);
  for (const std::string_view part :
       {"PNP0A08", "_OSC, 4, Serialized",
        "33db4d5b-1ff7-401c-9657-7441c03dd766", "0x00003FFFFFFFFFFF", "_PRT",
        "PNP0501", "PNP0C02"}) {
    EXPECT_THAT(text, HasSubstr(std::string(part)));
  }
  const std::string said = Run("iasl -p " + ::testing::TempDir() + "/again " +
                               ::testing::TempDir() + "/dsdt.dsl");
  EXPECT_THAT(said, HasSubstr("0 Errors, 0 Warnings")) << said;
}

}  // namespace
}  // namespace passthru::vmm::acpi
