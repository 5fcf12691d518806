// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/guest/agent_image.h"

#include <cstring>

#include "absl/strings/str_cat.h"
#include "passthru/vmm/guest/agent_layout.h"

// agent.S defines these symbols.
extern "C" {
extern const uint8_t passthru_guest_agent_begin[];
extern const uint8_t passthru_guest_agent_vectors[];
extern const uint8_t passthru_guest_agent_end[];
}

namespace passthru::vmm {
namespace {

constexpr uint64_t kPage = 0x1000;
constexpr uint64_t kGiB = uint64_t{1} << 30;
constexpr uint64_t kTwoMiB = uint64_t{2} << 20;
constexpr int kVectors = 256;
constexpr uint64_t kVectorStubSize = 16;

// Bits of page table entries: present and writable, and page size (Intel SDM
// vol. 3, table 4-15 and following).
constexpr uint64_t kPresentWritable = 0x3;
constexpr uint64_t kLargePage = 0x80;

// The flat segments (SDM 3.4.5 and 5.2.1). The index of a segment in the GDT is
// its selector divided by 8.
constexpr uint16_t kCodeSelector = 0x08;
constexpr uint16_t kDataSelector = 0x10;
constexpr uint64_t kGdt[] = {0, 0x00af9b000000ffff, 0x00cf93000000ffff};

// Page tables that identity-map memory. They take one page after the other from
// kAgentPageTables on.
class PageTables {
 public:
  explicit PageTables(absl::Span<uint8_t> ram)
      : ram_(ram), root_(AllocateTable()) {}

  // Maps `size` bytes at `address`, which are both multiples of 1 GiB. Tables
  // that do not fit are not written, and used() then exceeds kAgentReserved.
  void MapIdentity(uint64_t address, uint64_t size) {
    for (uint64_t at = address; at < address + size; at += kGiB) {
      const uint64_t directories = Child(root_, (at >> 39) & 0x1ff);
      const uint64_t directory = Child(directories, (at >> 30) & 0x1ff);
      for (uint64_t i = 0; i < 512; ++i) {
        Put(directory, i, (at + i * kTwoMiB) | kLargePage | kPresentWritable);
      }
    }
  }

  // Returns the end of the guest RAM that the tables need. They fit if it is at
  // most kAgentReserved.
  uint64_t used() const { return next_; }

 private:
  uint64_t AllocateTable() {
    const uint64_t table = next_;
    next_ += kPage;
    if (next_ <= kAgentReserved) std::memset(&ram_[table], 0, kPage);
    return table;
  }

  uint64_t Child(uint64_t table, uint64_t index) {
    if (table + kPage > kAgentReserved) return table;
    uint64_t entry = 0;
    std::memcpy(&entry, &ram_[table + index * 8], sizeof(entry));
    if (entry == 0) {
      entry = AllocateTable() | kPresentWritable;
      Put(table, index, entry);
    }
    return entry & ~(kPage - 1);
  }

  void Put(uint64_t table, uint64_t index, uint64_t entry) {
    if (table + kPage > kAgentReserved) return;
    std::memcpy(&ram_[table + index * 8], &entry, sizeof(entry));
  }

  absl::Span<uint8_t> ram_;
  uint64_t next_ = kAgentPageTables;
  uint64_t root_;
};

// Writes a 64-bit interrupt gate with DPL 0 (SDM 6.14.1).
void WriteGate(absl::Span<uint8_t> ram, int vector, uint64_t handler) {
  const uint64_t low = (handler & 0xffff) |
                       static_cast<uint64_t>(kCodeSelector) << 16 |
                       uint64_t{0x8e00} << 32 | (handler >> 16 & 0xffff) << 48;
  const uint64_t high = handler >> 32;
  uint8_t* gate = &ram[kAgentIdt + static_cast<uint64_t>(vector) * 16];
  std::memcpy(gate, &low, sizeof(low));
  std::memcpy(gate + 8, &high, sizeof(high));
}

kvm_segment FlatSegment(uint16_t selector, bool code) {
  kvm_segment segment = {};
  segment.limit = 0xffffffff;
  segment.selector = selector;
  // Accessed, and execute/read or read/write.
  segment.type = code ? 0xb : 0x3;
  segment.present = 1;
  segment.s = 1;
  segment.l = code ? 1 : 0;
  segment.db = code ? 0 : 1;
  segment.g = 1;
  return segment;
}

}  // namespace

absl::Status WriteAgentImage(absl::Span<uint8_t> ram, AgentHighWindow window) {
  const auto code_size = static_cast<uint64_t>(passthru_guest_agent_end -
                                               passthru_guest_agent_begin);
  static_assert(kAgentIdt + kVectors * 16 <= kAgentCode);
  if (ram.size() < kAgentReserved) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the guest agent needs ", kAgentReserved,
        " bytes of RAM at address 0, and the VM has ", ram.size()));
  }
  if (window.base % kGiB != 0 || window.size % kGiB != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("the guest agent maps whole GiB, not ",
                     absl::Hex(window.base), "+", absl::Hex(window.size)));
  }
  // The code must leave a page for the stack, which grows down from its top.
  if (kAgentCode + code_size > kAgentStackTop - kPage) {
    return absl::InternalError(
        absl::StrCat("the guest agent's code has ", code_size, " bytes"));
  }
  std::memset(ram.data() + kAgentMailbox, 0, sizeof(AgentMailbox));
  std::memcpy(ram.data() + kAgentGdt, kGdt, sizeof(kGdt));
  std::memcpy(ram.data() + kAgentCode, passthru_guest_agent_begin, code_size);
  const auto stubs = static_cast<uint64_t>(passthru_guest_agent_vectors -
                                           passthru_guest_agent_begin);
  for (int vector = 0; vector < kVectors; ++vector) {
    WriteGate(
        ram, vector,
        kAgentCode + stubs + static_cast<uint64_t>(vector) * kVectorStubSize);
  }
  PageTables tables(ram);
  tables.MapIdentity(0, 4 * kGiB);
  tables.MapIdentity(window.base, window.size);
  if (tables.used() > kAgentReserved) {
    return absl::InvalidArgumentError(
        absl::StrCat("the page tables for a window of ", window.size / kGiB,
                     " GiB do not fit below ", absl::Hex(kAgentReserved)));
  }
  return absl::OkStatus();
}

void SetAgentRegisters(kvm_regs& regs, kvm_sregs& sregs) {
  regs = {};
  regs.rip = kAgentCode;
  regs.rsp = kAgentStackTop;
  regs.rflags = 0x2;  // Bit 1 is always set, and IF is off.

  sregs.cs = FlatSegment(kCodeSelector, /*code=*/true);
  sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss =
      FlatSegment(kDataSelector, /*code=*/false);
  sregs.gdt.base = kAgentGdt;
  sregs.gdt.limit = sizeof(kGdt) - 1;
  sregs.idt.base = kAgentIdt;
  sregs.idt.limit = kVectors * 16 - 1;
  sregs.cr3 = kAgentPageTables;
  // PAE in CR4, PE, ET, NE, WP and PG in CR0, and LME and LMA in EFER (SDM 2.5
  // and 4.1.1).
  sregs.cr4 = 0x20;
  sregs.cr0 = 0x80010031;
  sregs.efer = 0x500;
}

}  // namespace passthru::vmm
