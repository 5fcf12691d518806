// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/acpi/aml.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/log/check.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_replace.h"

namespace passthru::vmm::acpi {
namespace {

// ACPI 6.5, table 20.3.
enum Op : uint8_t {
  kZeroOp = 0x00,
  kOneOp = 0x01,
  kNameOp = 0x08,
  kBytePrefix = 0x0a,
  kWordPrefix = 0x0b,
  kDWordPrefix = 0x0c,
  kQWordPrefix = 0x0e,
  kScopeOp = 0x10,
  kBufferOp = 0x11,
  kPackageOp = 0x12,
  kMethodOp = 0x14,
  kExtOpPrefix = 0x5b,
  kLocal0Op = 0x60,
  kArg0Op = 0x68,
  kStoreOp = 0x70,
  kAndOp = 0x7b,
  kOrOp = 0x7d,
  kExtDeviceOp = 0x82,  // after kExtOpPrefix
  kCreateDWordFieldOp = 0x8a,
  kLNotOp = 0x92,
  kLEqualOp = 0x93,
  kIfOp = 0xa0,
  kElseOp = 0xa1,
  kReturnOp = 0xa4,
};

constexpr uint8_t kSerializedMethod = 1 << 3;

void Append(Aml& to, const Aml& bytes) {
  to.insert(to.end(), bytes.begin(), bytes.end());
}

Aml LittleEndian(uint64_t value, unsigned bytes) {
  Aml result;
  for (unsigned i = 0; i < bytes; ++i) {
    result.push_back(static_cast<uint8_t>(value >> (8 * i)));
  }
  return result;
}

// Returns `op`, a PkgLength (20.2.4) and the body. The length counts its own
// bytes, of which the first says how many follow.
Aml WithLength(const Aml& op, const Aml& body) {
  Aml result = op;
  const size_t size = body.size();
  if (size + 1 < (size_t{1} << 6)) {
    result.push_back(static_cast<uint8_t>(size + 1));
  } else {
    unsigned more = 1;
    while (size + 1 + more >= (size_t{1} << (4 + 8 * more))) ++more;
    CHECK_LE(more, 3u);
    const size_t length = size + 1 + more;
    result.push_back(static_cast<uint8_t>(more << 6 | (length & 0xf)));
    Append(result, LittleEndian(length >> 4, more));
  }
  Append(result, body);
  return result;
}

uint8_t HexValue(char digit) {
  CHECK(absl::ascii_isxdigit(static_cast<unsigned char>(digit)));
  return static_cast<uint8_t>(
      digit <= '9'
          ? digit - '0'
          : absl::ascii_toupper(static_cast<unsigned char>(digit)) - 'A' + 10);
}

Aml Unary(Op op, const Aml& a) { return Terms({{op}, a}); }
Aml Binary(Op op, const Aml& a, const Aml& b) { return Terms({{op}, a, b}); }

}  // namespace

Aml Terms(const std::vector<Aml>& terms) {
  Aml result;
  for (const Aml& term : terms) Append(result, term);
  return result;
}

Aml Integer(uint64_t value) {
  if (value == 0) return {kZeroOp};
  if (value == 1) return {kOneOp};
  if (value <= 0xff) return Terms({{kBytePrefix}, LittleEndian(value, 1)});
  if (value <= 0xffff) return Terms({{kWordPrefix}, LittleEndian(value, 2)});
  if (value <= 0xffffffff) {
    return Terms({{kDWordPrefix}, LittleEndian(value, 4)});
  }
  return Terms({{kQWordPrefix}, LittleEndian(value, 8)});
}

Aml EisaId(std::string_view id) {
  // Three letters of 5 bits, and four hexadecimal digits (19.6.36). The bytes
  // are in the order of the characters.
  CHECK_EQ(id.size(), 7u);
  const auto letter = [&id](int i) { return (id[i] - 'A' + 1) & 0x1f; };
  return {kDWordPrefix, static_cast<uint8_t>(letter(0) << 2 | letter(1) >> 3),
          static_cast<uint8_t>(letter(1) << 5 | letter(2)),
          static_cast<uint8_t>(HexValue(id[3]) << 4 | HexValue(id[4])),
          static_cast<uint8_t>(HexValue(id[5]) << 4 | HexValue(id[6]))};
}

Aml Buffer(absl::Span<const uint8_t> bytes) {
  return WithLength({kBufferOp}, Terms({Integer(bytes.size()),
                                        {bytes.begin(), bytes.end()}}));
}

Aml ToUuid(std::string_view uuid) {
  const std::string digits = absl::StrReplaceAll(uuid, {{"-", ""}});
  CHECK_EQ(digits.size(), 32u);
  // The first three fields are little-endian (19.6.142).
  constexpr size_t kOrder[] = {3, 2, 1,  0,  5,  4,  7,  6,
                               8, 9, 10, 11, 12, 13, 14, 15};
  Aml result;
  for (const size_t i : kOrder) {
    result.push_back(static_cast<uint8_t>(HexValue(digits[2 * i]) << 4 |
                                          HexValue(digits[2 * i + 1])));
  }
  return Buffer(result);
}

Aml Package(const std::vector<Aml>& elements) {
  CHECK_LE(elements.size(), 255u);
  return WithLength(
      {kPackageOp},
      Terms({{static_cast<uint8_t>(elements.size())}, Terms(elements)}));
}

Aml Reference(std::string_view name) {
  CHECK_EQ(name.size(), name[0] == '\\' ? 5u : 4u);
  return {name.begin(), name.end()};
}

Aml Name(std::string_view name, const Aml& value) {
  return Terms({{kNameOp}, Reference(name), value});
}

Aml Scope(std::string_view name, const std::vector<Aml>& body) {
  return WithLength({kScopeOp}, Terms({Reference(name), Terms(body)}));
}

Aml Device(std::string_view name, const std::vector<Aml>& body) {
  return WithLength({kExtOpPrefix, kExtDeviceOp},
                    Terms({Reference(name), Terms(body)}));
}

Aml Method(std::string_view name, unsigned arguments,
           const std::vector<Aml>& body) {
  const auto flags = static_cast<uint8_t>(arguments | kSerializedMethod);
  return WithLength({kMethodOp},
                    Terms({Reference(name), {flags}, Terms(body)}));
}

Aml CreateDWordField(const Aml& buffer, uint64_t offset,
                     std::string_view name) {
  return Terms(
      {{kCreateDWordFieldOp}, buffer, Integer(offset), Reference(name)});
}

Aml If(const Aml& predicate, const std::vector<Aml>& body) {
  return WithLength({kIfOp}, Terms({predicate, Terms(body)}));
}

Aml Else(const std::vector<Aml>& body) {
  return WithLength({kElseOp}, Terms(body));
}

Aml Return(const Aml& value) { return Unary(kReturnOp, value); }

Aml Store(const Aml& value, const Aml& target) {
  return Binary(kStoreOp, value, target);
}

Aml And(const Aml& a, const Aml& b, const Aml& target) {
  return Terms({Binary(kAndOp, a, b), target});
}

Aml Or(const Aml& a, const Aml& b, const Aml& target) {
  return Terms({Binary(kOrOp, a, b), target});
}

Aml LEqual(const Aml& a, const Aml& b) { return Binary(kLEqualOp, a, b); }

Aml LNotEqual(const Aml& a, const Aml& b) {
  return Unary(kLNotOp, LEqual(a, b));
}

Aml Arg(unsigned index) {
  CHECK_LE(index, 6u);
  return {static_cast<uint8_t>(kArg0Op + index)};
}

Aml Local(unsigned index) {
  CHECK_LE(index, 7u);
  return {static_cast<uint8_t>(kLocal0Op + index)};
}

}  // namespace passthru::vmm::acpi
