// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/linux/boot.h"

#include <asm/bootparam.h>
#include <linux/kvm.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/types/span.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/vmm/linux/bzimage.h"

namespace passthru::vmm {
namespace {

// What a boot loader puts below 640 KiB, at places of our choice.
constexpr uint64_t kGdtAddress = 0x500;
constexpr uint64_t kBootParamsAddress = 0x7000;
constexpr uint64_t kPageTablesAddress = 0x9000;
constexpr uint64_t kCommandLineAddress = 0x20000;
constexpr uint64_t kCommandLineEnd = 0x9f000;
constexpr uint64_t kLeastRam = 0x100000;

constexpr uint64_t kPage = 4096;
// The 64-bit entry point is at this offset of the loaded kernel.
constexpr uint64_t kEntryOffset = 0x200;
// The type of a boot loader without a number of its own.
constexpr uint8_t kUnknownLoader = 0xff;
// vid_mode for "normal".
constexpr uint16_t kNormalVideo = 0xffff;

// The segments that the protocol names (__BOOT_CS and __BOOT_DS), and a TSS,
// which a CPU in long mode has.
constexpr uint16_t kCodeSelector = 0x10;
constexpr uint16_t kDataSelector = 0x18;
constexpr uint16_t kTssSelector = 0x20;
constexpr std::array<uint64_t, 5> kGdt = {
    0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x008f8b000000ffff};

// Bits of page table entries (Intel SDM vol. 3, 4.5).
constexpr uint64_t kPresent = 1 << 0;
constexpr uint64_t kWritable = 1 << 1;
constexpr uint64_t kLargePage = 1 << 7;
constexpr uint64_t kEntriesOfATable = 512;
constexpr uint64_t kLargePageSize = uint64_t{2} << 20;
constexpr uint64_t kMappedGiB = 4;

constexpr uint64_t kCr0 = 1u << 31 | 1 << 18 | 1 << 16 | 1 << 5 | 1 << 4 |
                          1 << 1 | 1 << 0;  // PG, AM, WP, NE, ET, MP, PE
constexpr uint64_t kCr4Pae = 1 << 5;
constexpr uint64_t kEferLongMode = 1 << 10 | 1 << 8;  // LMA, LME

template <typename T>
void Store(absl::Span<uint8_t> ram, uint64_t address, const T& value) {
  std::memcpy(ram.data() + address, &value, sizeof(value));
}

void Copy(absl::Span<uint8_t> ram, uint64_t address,
          absl::Span<const uint8_t> bytes) {
  std::copy(bytes.begin(), bytes.end(),
            ram.begin() + static_cast<ptrdiff_t>(address));
}

// Writes tables of three levels, whose last one has pages of 2 MiB.
void WritePageTables(absl::Span<uint8_t> ram) {
  constexpr uint64_t kFlags = kPresent | kWritable;
  constexpr uint64_t kPointers = kPageTablesAddress + kPage;
  constexpr uint64_t kDirectories = kPointers + kPage;
  std::memset(ram.data() + kPageTablesAddress, 0, 2 * kPage);
  Store<uint64_t>(ram, kPageTablesAddress, kPointers | kFlags);
  for (uint64_t i = 0; i < kMappedGiB; ++i) {
    Store<uint64_t>(ram, kPointers + 8 * i,
                    (kDirectories + kPage * i) | kFlags);
  }
  for (uint64_t i = 0; i < kMappedGiB * kEntriesOfATable; ++i) {
    Store<uint64_t>(ram, kDirectories + 8 * i,
                    (kLargePageSize * i) | kFlags | kLargePage);
  }
}

// Returns where the initrd goes, which is as high as the kernel takes it.
absl::StatusOr<uint64_t> PlaceInitrd(uint64_t size, uint64_t ram_end,
                                     const setup_header& header,
                                     uint64_t kernel_end) {
  const uint64_t end = std::min(ram_end, uint64_t{header.initrd_addr_max} + 1);
  if (size > end || (end - size) / kPage * kPage < kernel_end) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "the initrd of %d bytes does not fit between the kernel, which ends at "
        "0x%x, and 0x%x: give the guest more memory below 4 GiB, or a smaller "
        "initrd",
        size, kernel_end, end));
  }
  return (end - size) / kPage * kPage;
}

absl::Status CheckCommandLine(const std::string& line,
                              const setup_header& header) {
  const uint64_t most = std::min<uint64_t>(
      header.cmdline_size, kCommandLineEnd - kCommandLineAddress - 1);
  if (line.size() > most) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "the command line has %d characters, and this kernel takes at most %d",
        line.size(), most));
  }
  if (line.find('\0') != std::string::npos) {
    return absl::InvalidArgumentError(
        "the command line has a character of the code 0, which ends it");
  }
  return absl::OkStatus();
}

kvm_segment Segment(uint16_t selector, uint8_t type, bool code, bool system) {
  kvm_segment segment = {};
  segment.limit = 0xffffffff;
  segment.selector = selector;
  segment.type = type;
  segment.present = 1;
  segment.db = !code && !system;
  segment.s = !system;
  segment.l = code;
  segment.g = 1;
  return segment;
}

}  // namespace

absl::StatusOr<LinuxEntry> LoadLinux(absl::Span<uint8_t> ram,
                                     const LinuxBoot& boot) {
  PASSTHRU_ASSIGN_OR_RETURN(const BzImage image, ParseBzImage(boot.kernel));
  const setup_header& header = image.header;
  PASSTHRU_RETURN_IF_ERROR(CheckCommandLine(boot.command_line, header));
  const uint64_t load = header.pref_address;
  if (load < kLeastRam || load > ram.size() ||
      header.init_size > ram.size() - load) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "the kernel needs %d bytes of memory at 0x%x, and the guest's memory "
        "below 4 GiB ends at 0x%x: give it more",
        uint32_t{header.init_size}, load, ram.size()));
  }
  boot_params params = {};
  params.hdr = header;
  params.hdr.type_of_loader = kUnknownLoader;
  params.hdr.vid_mode = kNormalVideo;
  params.hdr.cmd_line_ptr = kCommandLineAddress;
  params.acpi_rsdp_addr = boot.acpi_rsdp;
  if (boot.memory_map.size() > std::size(params.e820_table)) {
    return absl::InvalidArgumentError(
        absl::StrCat("the memory map has ", boot.memory_map.size(),
                     " ranges, and a kernel "
                     "takes at most ",
                     std::size(params.e820_table)));
  }
  for (const E820Range& range : boot.memory_map) {
    params.e820_table[params.e820_entries++] = {
        .addr = range.first,
        .size = range.size,
        .type = static_cast<uint32_t>(range.type)};
  }
  params.hdr.ramdisk_image = 0;
  params.hdr.ramdisk_size = 0;
  if (!boot.initrd.empty()) {
    PASSTHRU_ASSIGN_OR_RETURN(const uint64_t place,
                              PlaceInitrd(boot.initrd.size(), ram.size(),
                                          header, load + header.init_size));
    Copy(ram, place, boot.initrd);
    params.hdr.ramdisk_image = static_cast<uint32_t>(place);
    params.hdr.ramdisk_size = static_cast<uint32_t>(boot.initrd.size());
  }
  Copy(ram, load, image.kernel);
  Store(ram, kBootParamsAddress, params);
  std::memcpy(ram.data() + kCommandLineAddress, boot.command_line.c_str(),
              boot.command_line.size() + 1);
  Store(ram, kGdtAddress, kGdt);
  WritePageTables(ram);
  return LinuxEntry{.kernel = load + kEntryOffset,
                    .boot_params = kBootParamsAddress,
                    .page_tables = kPageTablesAddress,
                    .gdt = kGdtAddress};
}

void SetEntryRegisters(const LinuxEntry& entry, kvm_regs& regs,
                       kvm_sregs& sregs) {
  // Types of descriptors (Intel SDM vol. 3, 3.4.5.1 and 3.5).
  constexpr uint8_t kExecuteRead = 11;
  constexpr uint8_t kReadWrite = 3;
  constexpr uint8_t kBusyTss = 11;

  sregs.cs = Segment(kCodeSelector, kExecuteRead, true, false);
  sregs.ds = Segment(kDataSelector, kReadWrite, false, false);
  sregs.es = sregs.fs = sregs.gs = sregs.ss = sregs.ds;
  sregs.tr = Segment(kTssSelector, kBusyTss, false, true);
  sregs.gdt.base = entry.gdt;
  sregs.gdt.limit = sizeof(kGdt) - 1;
  sregs.idt.base = 0;
  sregs.idt.limit = 0;
  sregs.cr0 = kCr0;
  sregs.cr3 = entry.page_tables;
  sregs.cr4 = kCr4Pae;
  sregs.efer = kEferLongMode;
  regs = {};
  regs.rip = entry.kernel;
  regs.rsi = entry.boot_params;
  regs.rflags = 2;
}

}  // namespace passthru::vmm
