// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_PCI_CLASS_CODE_H_
#define PASSTHRU_PCI_CLASS_CODE_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace passthru::pci {

// The class of a function (PCI 3.0 6.2.1 and appendix D). A plain value.
struct ClassCode {
  uint8_t base = 0;
  uint8_t sub = 0;
  uint8_t interface = 0;

  // Reads the class from an image of the configuration space.
  static ClassCode Read(absl::Span<const uint8_t> config);

  friend constexpr bool operator==(ClassCode, ClassCode) = default;

  // Returns six hexadecimal digits, for example "010802".
  std::string ToString() const;
  template <typename Sink>
  friend void AbslStringify(Sink& sink, ClassCode code) {
    sink.Append(code.ToString());
  }
};

// Returns the most precise name that is known for the code. This is the name of
// the programming interface ("NVMe controller"), else of the sub-class, else of
// the base class ("Mass storage controller"), else "Unknown class".
absl::string_view Name(ClassCode code);

}  // namespace passthru::pci

#endif  // PASSTHRU_PCI_CLASS_CODE_H_
