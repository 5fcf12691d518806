// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/acpi/tables.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/types/span.h"
#include "passthru/pci/little_endian.h"
#include "passthru/vmm/acpi/dsdt.h"
#include "passthru/vmm/guest_layout.h"

namespace passthru::vmm::acpi {
namespace {

using Bytes = std::vector<uint8_t>;

// The fields of a table's header (ACPI 6.5, 5.2.6).
constexpr size_t kHeaderSize = 36;
constexpr size_t kLengthOffset = 4;
constexpr size_t kChecksumOffset = 9;
constexpr std::string_view kOemId = "PASSTH";
constexpr std::string_view kOemTableId = "PASSTHRU";
constexpr std::string_view kCreatorId = "PTHR";

void PutText(Bytes& table, size_t offset, std::string_view text) {
  std::copy(text.begin(), text.end(),
            table.begin() + static_cast<ptrdiff_t>(offset));
}

template <typename T>
void SetField(Bytes& table, size_t offset, T value) {
  pci::StoreLittleEndian<T>(absl::MakeSpan(table), offset, value);
}

template <typename T>
void AppendField(Bytes& table, T value) {
  table.resize(table.size() + sizeof(T));
  SetField<T>(table, table.size() - sizeof(T), value);
}

// Makes the sum of `bytes` 0.
void SetChecksum(absl::Span<uint8_t> bytes, size_t offset) {
  bytes[offset] = 0;
  uint8_t sum = 0;
  for (const uint8_t byte : bytes) sum = static_cast<uint8_t>(sum + byte);
  bytes[offset] = static_cast<uint8_t>(-sum);
}

Bytes NewTable(std::string_view signature, uint8_t revision) {
  Bytes table(kHeaderSize);
  PutText(table, 0, signature);
  table[8] = revision;
  PutText(table, 10, kOemId);
  PutText(table, 16, kOemTableId);
  SetField<uint32_t>(table, 24, 1);  // the OEM's revision
  PutText(table, 28, kCreatorId);
  SetField<uint32_t>(table, 32, 1);  // the creator's revision
  return table;
}

void Finish(Bytes& table) {
  SetField<uint32_t>(table, kLengthOffset, static_cast<uint32_t>(table.size()));
  SetChecksum(absl::MakeSpan(table), kChecksumOffset);
}

// Writes a generic address structure (5.2.3.2) for ports.
void PutPortAddress(Bytes& table, size_t offset, unsigned bits, uint64_t port) {
  constexpr uint8_t kSystemIo = 1;
  table[offset] = kSystemIo;
  table[offset + 1] = static_cast<uint8_t>(bits);
  SetField<uint64_t>(table, offset + 4, port);
}

// Returns the FADT (5.2.9). What is 0 is absent. There is no SMI command port,
// so the machine is always in ACPI mode.
Bytes Fadt(uint64_t facs, uint64_t dsdt) {
  constexpr size_t kSize = 276;
  // Flags: WBINVD works, C1 works, no power or sleep button, no wake-up by RTC
  // outside of its own event, and the reset register is there.
  constexpr uint32_t kFlags =
      1 << 0 | 1 << 2 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 10;
  // IA-PC boot flags: legacy devices, no 8042, no VGA, and no CMOS clock.
  constexpr uint16_t kBootFlags = 1 << 0 | 1 << 2 | 1 << 5;
  // C2 and C3 are not supported.
  constexpr uint16_t kNoC2 = 101;
  constexpr uint16_t kNoC3 = 1001;

  Bytes table = NewTable("FACP", 6);
  table.resize(kSize);
  SetField<uint32_t>(table, 36, static_cast<uint32_t>(facs));
  SetField<uint32_t>(table, 40, static_cast<uint32_t>(dsdt));
  SetField<uint16_t>(table, 46, kSciGsi);
  SetField<uint32_t>(table, 56, kPm1EventPort);
  SetField<uint32_t>(table, 64, kPm1ControlPort);
  table[88] = kPm1EventSize;
  table[89] = kPm1ControlSize;
  SetField<uint16_t>(table, 96, kNoC2);
  SetField<uint16_t>(table, 98, kNoC3);
  SetField<uint16_t>(table, 109, kBootFlags);
  SetField<uint32_t>(table, 112, kFlags);
  PutPortAddress(table, 116, 8, kResetPort);
  table[128] = kResetValue;
  table[131] = 5;  // the minor version
  SetField<uint64_t>(table, 140, dsdt);
  PutPortAddress(table, 148, 8 * kPm1EventSize, kPm1EventPort);
  PutPortAddress(table, 172, 8 * kPm1ControlSize, kPm1ControlPort);
  Finish(table);
  return table;
}

// Returns the FACS (5.2.10), which has no checksum.
Bytes Facs() {
  Bytes table(64);
  PutText(table, 0, "FACS");
  SetField<uint32_t>(table, kLengthOffset, static_cast<uint32_t>(table.size()));
  table[32] = 2;  // the version
  return table;
}

// Returns the MADT (5.2.12). The legacy interrupts are the GSIs of the same
// number, as KVM routes them by default, so only the SCI's trigger differs.
Bytes Madt(unsigned vcpu_count) {
  constexpr uint32_t kHasLegacyPics = 1;
  constexpr uint32_t kEnabled = 1;
  constexpr uint16_t kLevelActiveHigh = 0xd;
  constexpr uint8_t kAllProcessors = 0xff;

  Bytes table = NewTable("APIC", 5);
  AppendField<uint32_t>(table, kLocalApicBase);
  AppendField<uint32_t>(table, kHasLegacyPics);
  for (unsigned id = 0; id < vcpu_count; ++id) {
    AppendField<uint8_t>(table, 0);  // local APIC
    AppendField<uint8_t>(table, 8);
    AppendField<uint8_t>(table, static_cast<uint8_t>(id));  // of the processor
    AppendField<uint8_t>(table, static_cast<uint8_t>(id));  // of its APIC
    AppendField<uint32_t>(table, kEnabled);
  }
  AppendField<uint8_t>(table, 1);  // IOAPIC
  AppendField<uint8_t>(table, 12);
  AppendField<uint8_t>(table, 0);  // its ID
  AppendField<uint8_t>(table, 0);
  AppendField<uint32_t>(table, kIoapicBase);
  AppendField<uint32_t>(table, 0);  // its first GSI

  AppendField<uint8_t>(table, 2);  // interrupt source override
  AppendField<uint8_t>(table, 10);
  AppendField<uint8_t>(table, 0);  // ISA
  AppendField<uint8_t>(table, kSciGsi);
  AppendField<uint32_t>(table, kSciGsi);
  AppendField<uint16_t>(table, kLevelActiveHigh);

  AppendField<uint8_t>(table, 4);  // local APIC NMI
  AppendField<uint8_t>(table, 6);
  AppendField<uint8_t>(table, kAllProcessors);
  AppendField<uint16_t>(table, 0);
  AppendField<uint8_t>(table, 1);  // LINT1
  Finish(table);
  return table;
}

// Returns the MCFG (PCI Firmware 3.3, 4.1.2).
Bytes Mcfg(unsigned bus_count) {
  Bytes table = NewTable("MCFG", 1);
  AppendField<uint64_t>(table, 0);
  AppendField<uint64_t>(table, kEcamBase);
  AppendField<uint16_t>(table, 0);  // the segment group
  AppendField<uint8_t>(table, 0);   // the first bus
  AppendField<uint8_t>(table, static_cast<uint8_t>(bus_count - 1));
  AppendField<uint32_t>(table, 0);
  Finish(table);
  return table;
}

Bytes Dsdt(const TableOptions& options) {
  Bytes table = NewTable("DSDT", 2);
  const Aml definition = MachineDefinition(options);
  table.insert(table.end(), definition.begin(), definition.end());
  Finish(table);
  return table;
}

Bytes Xsdt(const std::vector<uint64_t>& tables) {
  Bytes table = NewTable("XSDT", 1);
  for (const uint64_t address : tables) AppendField<uint64_t>(table, address);
  Finish(table);
  return table;
}

// Returns the RSDP (5.2.5.3), whose first 20 bytes have a sum of their own.
Bytes Rsdp(uint64_t xsdt) {
  Bytes table(36);
  PutText(table, 0, "RSD PTR ");
  PutText(table, 9, kOemId);
  table[15] = 2;  // the revision
  SetField<uint32_t>(table, 20, static_cast<uint32_t>(table.size()));
  SetField<uint64_t>(table, 24, xsdt);
  SetChecksum(absl::MakeSpan(table).first(20), 8);
  SetChecksum(absl::MakeSpan(table), 32);
  return table;
}

// Tables at ascending addresses.
class Layout {
 public:
  explicit Layout(uint64_t base) : base_(base) {}

  // Adds a table and returns its address. The FACS needs this alignment
  // (5.2.10).
  uint64_t Add(const Bytes& table) {
    bytes_.resize((bytes_.size() + kAlignment - 1) / kAlignment * kAlignment);
    const uint64_t address = base_ + bytes_.size();
    bytes_.insert(bytes_.end(), table.begin(), table.end());
    return address;
  }
  void ReplaceFirst(const Bytes& table) {
    std::copy(table.begin(), table.end(), bytes_.begin());
  }
  const Bytes& bytes() const { return bytes_; }

 private:
  static constexpr size_t kAlignment = 64;

  const uint64_t base_;
  Bytes bytes_;
};

}  // namespace

std::vector<uint8_t> BuildTables(uint64_t base, const TableOptions& options) {
  Layout layout(base);
  // The RSDP keeps its place until the address of the XSDT is known.
  layout.Add(Rsdp(0));
  const uint64_t facs = layout.Add(Facs());
  const uint64_t dsdt = layout.Add(Dsdt(options));
  const uint64_t fadt = layout.Add(Fadt(facs, dsdt));
  const uint64_t madt = layout.Add(Madt(options.vcpu_count));
  const uint64_t mcfg = layout.Add(Mcfg(options.bus_count));
  layout.ReplaceFirst(Rsdp(layout.Add(Xsdt({fadt, madt, mcfg}))));
  return layout.bytes();
}

}  // namespace passthru::vmm::acpi
