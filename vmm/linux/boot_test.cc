// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/linux/boot.h"

#include <asm/bootparam.h>
#include <linux/kvm.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/vmm/linux/bzimage.h"

namespace passthru::vmm {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::Each;
using ::testing::HasSubstr;

constexpr size_t kSetupSize = 512 * 3;
constexpr size_t kKernelSize = 0x5000;
constexpr uint64_t kPreferred = uint64_t{2} << 20;
constexpr uint32_t kInitSize = 0x20000;

// A kernel without code, whose header is that of a bzImage.
class LinuxBootTest : public ::testing::Test {
 protected:
  LinuxBootTest() : file_(kSetupSize + kKernelSize), ram_(8 << 20, 0xee) {
    setup_header header = {};
    header.setup_sects = 2;
    header.boot_flag = 0xaa55;
    header.header = 0x53726448;
    header.version = 0x20f;
    header.syssize = kKernelSize / 16;
    header.loadflags = LOADED_HIGH;
    header.xloadflags = XLF_KERNEL_64;
    header.kernel_alignment = 0x200000;
    header.pref_address = kPreferred;
    header.init_size = kInitSize;
    header.initrd_addr_max = 0x7fffffff;
    header.cmdline_size = 255;
    std::memcpy(file_.data() + 0x1f1, &header, sizeof(header));
    file_[0x201] = sizeof(header) - (0x202 - 0x1f1);
    for (size_t i = kSetupSize; i < file_.size(); ++i) {
      file_[i] = static_cast<uint8_t>(i * 7);
    }
  }

  // Changes the header in the file.
  template <typename Change>
  void ChangeHeader(Change change) {
    setup_header header;
    std::memcpy(&header, file_.data() + 0x1f1, sizeof(header));
    change(header);
    std::memcpy(file_.data() + 0x1f1, &header, sizeof(header));
  }

  absl::StatusOr<LinuxEntry> Load(LinuxBoot boot = {}) {
    boot.kernel = file_;
    return LoadLinux(absl::MakeSpan(ram_), boot);
  }
  void ExpectRefused(const std::string& why, LinuxBoot boot = {}) {
    EXPECT_THAT(Load(std::move(boot)),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(why)));
  }
  boot_params Params() const {
    boot_params params;
    std::memcpy(&params, ram_.data() + 0x7000, sizeof(params));
    return params;
  }
  uint64_t Word(uint64_t address) const {
    uint64_t value;
    std::memcpy(&value, ram_.data() + address, sizeof(value));
    return value;
  }

  std::vector<uint8_t> file_;
  std::vector<uint8_t> ram_;
};

TEST_F(LinuxBootTest, KernelAndParametersAreWhereTheProtocolWantsThem) {
  const auto entry = Load({.command_line = "console=ttyS0",
                           .memory_map = {{.first = 0, .size = 0x9fc00},
                                          {.first = 0xb0000000,
                                           .size = 0x10000000,
                                           .type = E820Range::Type::kReserved}},
                           .acpi_rsdp = 0xe0000});
  ASSERT_THAT(entry, IsOk());
  EXPECT_EQ(entry->kernel, kPreferred + 0x200);
  EXPECT_EQ(0, std::memcmp(ram_.data() + kPreferred, file_.data() + kSetupSize,
                           kKernelSize));
  const boot_params params = Params();
  EXPECT_EQ(params.hdr.type_of_loader, 0xff);
  EXPECT_EQ(uint64_t{params.acpi_rsdp_addr}, 0xe0000u);
  EXPECT_EQ(uint32_t{params.hdr.ramdisk_size}, 0u);
  ASSERT_EQ(params.e820_entries, 2);
  EXPECT_EQ(uint64_t{params.e820_table[1].addr}, 0xb0000000u);
  EXPECT_EQ(uint32_t{params.e820_table[1].type}, 2u);
  EXPECT_STREQ(
      reinterpret_cast<const char*>(ram_.data() + params.hdr.cmd_line_ptr),
      "console=ttyS0");
  // The place for the ACPI tables is left alone.
  EXPECT_THAT(
      std::vector<uint8_t>(ram_.begin() + 0xe0000, ram_.begin() + 0x100000),
      Each(0xee));
}

TEST_F(LinuxBootTest, TheFirst4GiBAreMappedOneToOne) {
  const auto entry = Load();
  ASSERT_THAT(entry, IsOk());
  for (const uint64_t address :
       {uint64_t{0}, kPreferred, uint64_t{0xfee00000}, uint64_t{0xffffffff}}) {
    const uint64_t mask = 0xffffffffff000;
    const uint64_t level3 = Word(entry->page_tables + 8 * (address >> 39));
    EXPECT_EQ(level3 & 3, 3u);
    const uint64_t level2 = Word((level3 & mask) + 8 * (address >> 30 & 0x1ff));
    EXPECT_EQ(level2 & 3, 3u);
    const uint64_t level1 = Word((level2 & mask) + 8 * (address >> 21 & 0x1ff));
    EXPECT_EQ(level1, (address & ~uint64_t{0x1fffff}) | 0x83);
  }
}

TEST_F(LinuxBootTest, RegistersAreThoseOfTheProtocol) {
  const auto entry = Load();
  ASSERT_THAT(entry, IsOk());
  kvm_regs regs = {};
  kvm_sregs sregs = {};
  SetEntryRegisters(*entry, regs, sregs);
  EXPECT_EQ(regs.rsi, entry->boot_params);
  EXPECT_EQ(regs.rip, entry->kernel);
  EXPECT_EQ(regs.rflags & 0x200, 0u) << "interrupts are off";
  EXPECT_EQ(sregs.cs.selector, 0x10);
  EXPECT_EQ(sregs.cs.l, 1);
  EXPECT_EQ(sregs.cs.db, 0);
  EXPECT_EQ(sregs.ds.selector, 0x18);
  EXPECT_EQ(sregs.cr3, entry->page_tables);
  // The segments' cached values are those of the GDT.
  const uint64_t code = Word(entry->gdt + 0x10);
  EXPECT_EQ(code >> 53 & 1, sregs.cs.l);
  EXPECT_EQ(code >> 40 & 0xf, sregs.cs.type);
}

TEST_F(LinuxBootTest, TheInitrdIsAsHighAsTheKernelAllows) {
  const std::vector<uint8_t> initrd(0x1234, 0x5a);
  ASSERT_THAT(Load({.initrd = initrd}), IsOk());
  EXPECT_EQ(uint32_t{Params().hdr.ramdisk_image}, (8u << 20) - 0x2000);
  EXPECT_EQ(uint32_t{Params().hdr.ramdisk_size}, 0x1234u);
  EXPECT_EQ(ram_[(8 << 20) - 0x2000 + 0x1233], 0x5a);

  ChangeHeader([](setup_header& header) { header.initrd_addr_max = 0x3fffff; });
  ASSERT_THAT(Load({.initrd = initrd}), IsOk());
  EXPECT_EQ(uint32_t{Params().hdr.ramdisk_image}, 0x3fe000u);
}

TEST_F(LinuxBootTest, AnInitrdThatDoesNotFitIsRefused) {
  const std::vector<uint8_t> exact((8 << 20) - kPreferred - kInitSize);
  EXPECT_THAT(Load({.initrd = exact}), IsOk());
  const std::vector<uint8_t> larger(exact.size() + 1);
  ExpectRefused("more memory below 4 GiB", {.initrd = larger});
  const std::vector<uint8_t> huge(9 << 20);
  ExpectRefused("initrd of 9437184 bytes", {.initrd = huge});
}

TEST_F(LinuxBootTest, ACommandLineThatIsTooLongIsRefused) {
  EXPECT_THAT(Load({.command_line = std::string(255, 'a')}), IsOk());
  ExpectRefused("256 characters, and this kernel takes at most 255",
                {.command_line = std::string(256, 'a')});
  ExpectRefused("the code 0", {.command_line = std::string("a\0b", 3)});
  // A kernel that takes more than there is room for.
  ChangeHeader([](setup_header& header) { header.cmdline_size = 0xffffffff; });
  ExpectRefused("takes at most 520191",
                {.command_line = std::string(520192, 'a')});
}

TEST_F(LinuxBootTest, AKernelThatNeedsMoreMemoryIsRefused) {
  ChangeHeader([](setup_header& header) { header.init_size = 0x600000; });
  EXPECT_THAT(Load(), IsOk());
  ChangeHeader([](setup_header& header) { header.init_size = 0x600001; });
  ExpectRefused("needs 6291457 bytes of memory at 0x200000");
  ChangeHeader([](setup_header& header) {
    header.pref_address = uint64_t{1} << 40;
    header.init_size = kInitSize;
  });
  ExpectRefused("at 0x10000000000");
  ChangeHeader([](setup_header& header) { header.pref_address = 0; });
  ExpectRefused("at 0x0");
}

TEST_F(LinuxBootTest, TooManyRangesAreRefused) {
  ExpectRefused("129 ranges", {.memory_map = std::vector<E820Range>(129)});
}

TEST_F(LinuxBootTest, OtherFilesAreRefused) {
  const auto refused = [](const std::string& bytes, const std::string& why) {
    const std::vector<uint8_t> file(bytes.begin(), bytes.end());
    EXPECT_THAT(ParseBzImage(file),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr(why), HasSubstr("/boot/vmlinuz"))));
  };
  refused("", "only 0 bytes");
  refused(
      "\x7f"
      "ELF and more",
      "ELF file");
  refused(std::string(10000, 'x'), "no boot header");
}

TEST_F(LinuxBootTest, DamagedHeadersAreRefused) {
  const std::vector<uint8_t> good = file_;
  const auto refused = [&](auto change, const std::string& why) {
    file_ = good;
    ChangeHeader(change);
    ExpectRefused(why);
  };
  refused([](setup_header& header) { header.boot_flag = 0; }, "no boot header");
  refused([](setup_header& header) { header.header = 0; }, "no boot header");
  refused([](setup_header& header) { header.version = 0x20b; },
          "version 2.11, and 2.12 is needed");
  refused([](setup_header& header) { header.loadflags = 0; }, "old zImage");
  refused([](setup_header& header) { header.xloadflags = 0; },
          "a 32-bit kernel");
  refused([](setup_header& header) { header.kernel_alignment = 0; },
          "is damaged");
  refused([](setup_header& header) { header.kernel_alignment = 0x300000; },
          "is damaged");
  refused([](setup_header& header) { header.pref_address = 0x201000; },
          "is damaged");
  refused([](setup_header& header) { header.syssize = 0; }, "truncated");
  refused([](setup_header& header) { header.syssize = 0xffffffff; },
          "truncated");
  refused([](setup_header& header) { header.setup_sects = 255; }, "truncated");
  refused([](setup_header& header) { header.init_size = kKernelSize - 1; },
          "the kernel itself has 20480");
}

TEST_F(LinuxBootTest, EveryTruncatedFileIsRefused) {
  const std::vector<uint8_t> good = file_;
  for (size_t size = 0; size < good.size(); size += 97) {
    file_.assign(good.begin(), good.begin() + static_cast<ptrdiff_t>(size));
    EXPECT_THAT(Load(), StatusIs(absl::StatusCode::kInvalidArgument)) << size;
  }
  file_.assign(good.begin(), good.end() - 1);
  ExpectRefused("it has 22015 of 22016 bytes");
  // A signature may follow.
  file_ = good;
  file_.resize(good.size() + 100);
  EXPECT_THAT(Load(), IsOk());
}

TEST_F(LinuxBootTest, FieldsBeyondAnOldHeaderAreNotTaken) {
  // The header ends before init_size, which is then 0.
  file_[0x201] = offsetof(setup_header, init_size) - (0x202 - 0x1f1);
  ExpectRefused("asks for 0 bytes of memory");
}

}  // namespace
}  // namespace passthru::vmm
