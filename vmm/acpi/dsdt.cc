// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/acpi/dsdt.h"

#include <cstdint>
#include <vector>

#include "passthru/vmm/acpi/aml.h"
#include "passthru/vmm/acpi/resources.h"
#include "passthru/vmm/guest_layout.h"

namespace passthru::vmm::acpi {
namespace {

// The UUID of a PCI host bridge's _OSC (PCI Firmware 3.3, 4.5.1).
constexpr char kPciHostBridgeUuid[] = "33db4d5b-1ff7-401c-9657-7441c03dd766";

// Bits of _OSC's first dword (ACPI 6.5, 6.2.11.1).
constexpr uint64_t kUnrecognizedUuid = 1 << 2;
constexpr uint64_t kUnrecognizedRevision = 1 << 3;
constexpr uint64_t kCapabilitiesMasked = 1 << 4;

// What the guest may control (PCI Firmware 3.3, table 4-5). Nothing in the
// firmware here would do it instead.
constexpr uint64_t kNativeHotPlug = 1 << 0;
constexpr uint64_t kPowerManagementEvents = 1 << 2;
constexpr uint64_t kAdvancedErrorReporting = 1 << 3;
constexpr uint64_t kPciExpressCapability = 1 << 4;
constexpr uint64_t kControls = kNativeHotPlug | kPowerManagementEvents |
                               kAdvancedErrorReporting | kPciExpressCapability;

constexpr uint8_t kSlotsOfABus = 32;
constexpr uint8_t kPinsOfASlot = 4;

// Returns the entries of _PRT (ACPI 6.5, 6.2.13), one for each pin of each slot
// but the host bridge's. A Source of 0 means that the last element is a GSI.
Aml RoutingTable() {
  std::vector<Aml> entries;
  for (uint64_t slot = 1; slot < kSlotsOfABus; ++slot) {
    for (uint64_t pin = 0; pin < kPinsOfASlot; ++pin) {
      entries.push_back(
          Package({Integer(slot << 16 | 0xffff), Integer(pin), Integer(0),
                   Integer(IntxGsi(static_cast<uint8_t>(slot)))}));
    }
  }
  return Package(entries);
}

// Returns _CRS of the host bridge. The ports of the configuration mechanism are
// the bridge's own.
Aml HostBridgeResources(const TableOptions& options) {
  constexpr uint16_t kAfterConfig = kPciConfigPort + kPciConfigPortSize;
  std::vector<Aml> resources = {
      WordBusNumber(0, static_cast<uint16_t>(options.bus_count - 1)),
      Io(kPciConfigPort, kPciConfigPortSize),
      WordIo(0, kPciConfigPort - 1),
      WordIo(kAfterConfig, 0xffff),
      DWordMemory(kMmio32Base, kMmio32Base + kMmio32Size - 1),
  };
  if (options.memory64_end > options.memory64_base) {
    resources.push_back(
        QWordMemory(options.memory64_base, options.memory64_end - 1));
  }
  return ResourceTemplate(resources);
}

// _OSC(UUID, revision, count, capabilities). It answers in the capabilities.
Aml OperatingSystemCapabilities() {
  const Aml status = Reference("CDW1");
  const Aml control = Reference("CDW3");
  return Method(
      "_OSC", 4,
      {CreateDWordField(Arg(3), 0, "CDW1"),
       If(LEqual(Arg(0), ToUuid(kPciHostBridgeUuid)),
          {CreateDWordField(Arg(3), 8, "CDW3"),
           And(control, Integer(kControls), Local(0)),
           If(LNotEqual(Arg(1), Integer(1)),
              {Or(status, Integer(kUnrecognizedRevision), status)}),
           If(LNotEqual(control, Local(0)),
              {Or(status, Integer(kCapabilitiesMasked), status)}),
           Store(Local(0), control)}),
       Else({Or(status, Integer(kUnrecognizedUuid), status)}), Return(Arg(3))});
}

}  // namespace

Aml MachineDefinition(const TableOptions& options) {
  const Aml host_bridge =
      Device("PCI0", {
                         Name("_HID", EisaId("PNP0A08")),
                         Name("_CID", EisaId("PNP0A03")),
                         Name("_UID", Integer(0)),
                         Name("_SEG", Integer(0)),
                         Name("_BBN", Integer(0)),
                         Name("_CRS", HostBridgeResources(options)),
                         Name("_PRT", RoutingTable()),
                         OperatingSystemCapabilities(),
                     });
  const Aml motherboard = Device(
      "MRES",
      {
          Name("_HID", EisaId("PNP0C02")),
          Name("_UID", Integer(0)),
          Name("_CRS", ResourceTemplate({Memory32Fixed(kEcamBase, kEcamSize)})),
      });
  const Aml serial = Device(
      "COM1",
      {
          Name("_HID", EisaId("PNP0501")),
          Name("_UID", Integer(1)),
          Name("_CRS", ResourceTemplate({Io(kSerialPort, kSerialPortSize),
                                         Irq(kSerialGsi)})),
      });
  return Terms({
      Scope("\\_SB_", {host_bridge, motherboard, serial}),
      Name("\\_S5_", Package({Integer(kSleepTypeS5), Integer(kSleepTypeS5),
                              Integer(0), Integer(0)})),
  });
}

}  // namespace passthru::vmm::acpi
