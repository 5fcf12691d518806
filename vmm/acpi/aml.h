// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_ACPI_AML_H_
#define PASSTHRU_VMM_ACPI_AML_H_

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/types/span.h"

namespace passthru::vmm::acpi {

// An encoder for the part of AML that the machine's DSDT needs (ACPI 6.5,
// chapter 20). Each function returns one term as bytes, and is named as in ASL.
// A name has four characters, and may have a backslash before them.
using Aml = std::vector<uint8_t>;

// Returns the terms one after the other.
Aml Terms(const std::vector<Aml>& terms);

// Data objects (20.2.3). Integer() takes the shortest form.
Aml Integer(uint64_t value);
Aml EisaId(std::string_view id);  // as in "PNP0A08"
Aml Buffer(absl::Span<const uint8_t> bytes);
Aml ToUuid(std::string_view uuid);              // with lower-case digits
Aml Package(const std::vector<Aml>& elements);  // at most 255 elements

// Objects in the namespace (20.2.5). The methods are serialized, because they
// create names.
Aml Name(std::string_view name, const Aml& value);
Aml Scope(std::string_view name, const std::vector<Aml>& body);
Aml Device(std::string_view name, const std::vector<Aml>& body);
Aml Method(std::string_view name, unsigned arguments,
           const std::vector<Aml>& body);
Aml CreateDWordField(const Aml& buffer, uint64_t offset, std::string_view name);

// Statements and expressions (20.2.5.3 and 20.2.5.4). Those with a `target`
// store their result there.
Aml If(const Aml& predicate, const std::vector<Aml>& body);
Aml Else(const std::vector<Aml>& body);
Aml Return(const Aml& value);
Aml Store(const Aml& value, const Aml& target);
Aml And(const Aml& a, const Aml& b, const Aml& target);
Aml Or(const Aml& a, const Aml& b, const Aml& target);
Aml LEqual(const Aml& a, const Aml& b);
Aml LNotEqual(const Aml& a, const Aml& b);
Aml Reference(std::string_view name);
Aml Arg(unsigned index);    // 0 to 6
Aml Local(unsigned index);  // 0 to 7

}  // namespace passthru::vmm::acpi

#endif  // PASSTHRU_VMM_ACPI_AML_H_
