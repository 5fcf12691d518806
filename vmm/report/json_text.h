// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_REPORT_JSON_TEXT_H_
#define PASSTHRU_VMM_REPORT_JSON_TEXT_H_

#include <string>
#include <string_view>

namespace passthru::vmm {

// Returns a JSON string with its quotes (RFC 8259). Bytes that are no UTF-8
// become U+FFFD. The characters with a meaning in HTML are escaped as well, so
// that the text of a device can neither end the script in which it is nor begin
// one.
std::string JsonString(std::string_view text);

// Escapes in a whole JSON text what HTML would take for markup. Such characters
// occur only in its strings.
std::string JsonInHtml(std::string_view json);

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_REPORT_JSON_TEXT_H_
