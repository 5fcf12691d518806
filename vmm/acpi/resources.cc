// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/acpi/resources.h"

#include <cstdint>
#include <vector>

namespace passthru::vmm::acpi {
namespace {

// Small descriptors have their length in the first byte (6.4.2).
constexpr uint8_t kIrqDescriptor = 0x22;
constexpr uint8_t kIoDescriptor = 0x47;
constexpr uint8_t kEndTag = 0x79;
constexpr uint8_t kDecodes16Bits = 1;

// Large descriptors have a length of two bytes (6.4.3).
constexpr uint8_t kMemory32FixedDescriptor = 0x86;
constexpr uint8_t kDWordSpaceDescriptor = 0x87;
constexpr uint8_t kWordSpaceDescriptor = 0x88;
constexpr uint8_t kQWordSpaceDescriptor = 0x8a;
constexpr uint8_t kReadWrite = 1;

// The types of an address space descriptor, and its general flags. The window
// has fixed ends, and is decoded positively.
enum class Space : uint8_t { kMemory = 0, kIo = 1, kBusNumber = 2 };
constexpr uint8_t kFixedWindow = 0x0c;
// An I/O window passes on all its ports (table 6.48).
constexpr uint8_t kEntireRange = 3;

void PutLittleEndian(Aml& to, uint64_t value, unsigned bytes) {
  for (unsigned i = 0; i < bytes; ++i) {
    to.push_back(static_cast<uint8_t>(value >> (8 * i)));
  }
}

// Returns an address space descriptor with fields of `width` bytes (6.4.3.5).
Aml AddressSpaceWindow(uint8_t descriptor, unsigned width, Space space,
                       uint8_t space_flags, uint64_t first, uint64_t last) {
  Aml result = {descriptor};
  PutLittleEndian(result, 3 + 5 * width, 2);
  result.push_back(static_cast<uint8_t>(space));
  result.push_back(kFixedWindow);
  result.push_back(space_flags);
  PutLittleEndian(result, 0, width);  // granularity
  PutLittleEndian(result, first, width);
  PutLittleEndian(result, last, width);
  PutLittleEndian(result, 0, width);  // translation
  PutLittleEndian(result, last - first + 1, width);
  return result;
}

}  // namespace

Aml ResourceTemplate(const std::vector<Aml>& descriptors) {
  // A checksum of 0 stands for a right one.
  return Buffer(Terms({Terms(descriptors), {kEndTag, 0}}));
}

Aml Io(uint16_t port, uint8_t size) {
  Aml result = {kIoDescriptor, kDecodes16Bits};
  PutLittleEndian(result, port, 2);
  PutLittleEndian(result, port, 2);
  result.push_back(1);  // alignment
  result.push_back(size);
  return result;
}

Aml Irq(unsigned number) {
  Aml result = {kIrqDescriptor};
  PutLittleEndian(result, uint64_t{1} << number, 2);
  return result;
}

Aml Memory32Fixed(uint32_t base, uint32_t size) {
  Aml result = {kMemory32FixedDescriptor};
  PutLittleEndian(result, 9, 2);
  result.push_back(kReadWrite);
  PutLittleEndian(result, base, 4);
  PutLittleEndian(result, size, 4);
  return result;
}

Aml WordBusNumber(uint16_t first, uint16_t last) {
  return AddressSpaceWindow(kWordSpaceDescriptor, 2, Space::kBusNumber, 0,
                            first, last);
}

Aml WordIo(uint16_t first, uint16_t last) {
  return AddressSpaceWindow(kWordSpaceDescriptor, 2, Space::kIo, kEntireRange,
                            first, last);
}

Aml DWordMemory(uint32_t first, uint32_t last) {
  return AddressSpaceWindow(kDWordSpaceDescriptor, 4, Space::kMemory,
                            kReadWrite, first, last);
}

Aml QWordMemory(uint64_t first, uint64_t last) {
  return AddressSpaceWindow(kQWordSpaceDescriptor, 8, Space::kMemory,
                            kReadWrite, first, last);
}

}  // namespace passthru::vmm::acpi
