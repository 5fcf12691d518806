// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_CAPTURE_POSTED_TEXT_H_
#define PASSTHRU_TESTING_CAPTURE_POSTED_TEXT_H_

#include <string>
#include <string_view>

namespace passthru::capture {

// Undoes what mailers, archives, browsers and shells do to the output of a
// program, and returns lines that end with "\n". It knows
//
// - the encodings of mail (RFC 2045, 6.7 and 6.8), quoted-printable and base64,
//   with or without the header lines that name them
// - UTF-16 and the byte order mark of UTF-8, as Windows' shells write them
// - no-break spaces, and the entities of HTML
// - the line ends of Windows and of old Macs
//
// Returns other text as it is. For any input, it returns some text.
std::string PlainText(std::string_view text);

}  // namespace passthru::capture

#endif  // PASSTHRU_TESTING_CAPTURE_POSTED_TEXT_H_
