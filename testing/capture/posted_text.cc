// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/capture/posted_text.h"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace passthru::capture {
namespace {

// A line of an encoded mail has at most 76 characters. Shorter lines than this
// may be other text that happens to look alike.
constexpr size_t kLongLine = 60;

// Returns UTF-16 with a byte order mark as ASCII, with '?' for every other
// character.
std::optional<std::string> FromUtf16(std::string_view text) {
  const bool little = absl::StartsWith(text, "\xff\xfe");
  if (!little && !absl::StartsWith(text, "\xfe\xff")) return std::nullopt;
  std::string plain;
  for (size_t i = 2; i + 1 < text.size(); i += 2) {
    const char low = text[little ? i : i + 1];
    const char high = text[little ? i + 1 : i];
    plain += high == 0 && absl::ascii_isascii(static_cast<unsigned char>(low))
                 ? low
                 : '?';
  }
  return plain;
}

std::string WithUnixLineEnds(std::string_view text) {
  return absl::StrReplaceAll(text, {{"\r\n", "\n"}, {"\r", "\n"}});
}

bool DeclaresEncoding(std::string_view text, std::string_view encoding) {
  for (const std::string_view line : absl::StrSplit(text, '\n')) {
    std::string_view rest = absl::StripAsciiWhitespace(line);
    if (absl::StartsWithIgnoreCase(rest, "Content-Transfer-Encoding:") &&
        absl::EndsWithIgnoreCase(rest, encoding)) {
      return true;
    }
  }
  return false;
}

// Returns whether the text is quoted-printable. There, every '=' of the
// original is "=3D", which lspci does not print, and a long line is broken by a
// '=' at its end.
bool IsQuotedPrintable(std::string_view text) {
  if (absl::StrContains(text, "=3D") ||
      DeclaresEncoding(text, "quoted-printable")) {
    return true;
  }
  for (const std::string_view line : absl::StrSplit(text, '\n')) {
    if (line.size() >= kLongLine && line.size() <= 76 && line.back() == '=') {
      return true;
    }
  }
  return false;
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  // A decoder should be generous (RFC 2045, 6.7).
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

std::string FromQuotedPrintable(std::string_view text) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '=') {
      plain += text[i];
      continue;
    }
    // White space that a transport added may follow the '=' of a broken line.
    const size_t next = text.find_first_not_of(" \t", i + 1);
    if (next == std::string_view::npos || text[next] == '\n') {
      i = std::min(next, text.size() - 1);
      continue;
    }
    const int high = i + 2 < text.size() ? HexDigit(text[i + 1]) : -1;
    const int low = i + 2 < text.size() ? HexDigit(text[i + 2]) : -1;
    if (high < 0 || low < 0) {
      plain += '=';
      continue;
    }
    plain += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return plain;
}

bool IsBase64Line(std::string_view line) {
  return !line.empty() && std::all_of(line.begin(), line.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '+' ||
           c == '/' || c == '=';
  });
}

// Decodes every block of lines of base64, and leaves the other lines. A block
// has at least one long line, and only its last is short. Returns std::nullopt
// if there is none.
std::optional<std::string> FromBase64(std::string_view text, bool declared) {
  std::string plain;
  bool found = false;
  std::string block;
  bool has_long_line = false;
  const auto end_block = [&] {
    std::string decoded;
    if ((has_long_line || declared) && block.size() >= 4 &&
        absl::Base64Unescape(block, &decoded)) {
      plain += WithUnixLineEnds(decoded);
      found = true;
    } else {
      plain += block;
    }
    if (!block.empty()) plain += '\n';
    block.clear();
    has_long_line = false;
  };
  for (const std::string_view raw : absl::StrSplit(text, '\n')) {
    const std::string_view line = absl::StripAsciiWhitespace(raw);
    if (!IsBase64Line(line)) {
      end_block();
      plain.append(raw);
      plain += '\n';
      continue;
    }
    has_long_line |= line.size() >= kLongLine;
    block.append(line);
    if (line.size() < kLongLine || line.back() == '=') end_block();
  }
  end_block();
  if (!found) return std::nullopt;
  return plain;
}

}  // namespace

std::string PlainText(std::string_view text) {
  std::string plain =
      WithUnixLineEnds(FromUtf16(text).value_or(std::string(text)));
  if (IsQuotedPrintable(plain)) {
    plain = WithUnixLineEnds(FromQuotedPrintable(plain));
  } else {
    const bool declared = DeclaresEncoding(plain, "base64");
    if (auto decoded = FromBase64(plain, declared)) plain = *std::move(decoded);
  }
  if (absl::StrContains(plain, "&gt;") || absl::StrContains(plain, "&lt;") ||
      absl::StrContains(plain, "&quot;") || absl::StrContains(plain, "&amp;") ||
      absl::StrContains(plain, "&nbsp;")) {
    plain = absl::StrReplaceAll(plain, {{"&gt;", ">"},
                                        {"&lt;", "<"},
                                        {"&quot;", "\""},
                                        {"&nbsp;", " "},
                                        {"&amp;", "&"}});
  }
  // The byte order mark and the no-break space of UTF-8.
  return absl::StrReplaceAll(plain, {{"\xef\xbb\xbf", ""}, {"\xc2\xa0", " "}});
}

}  // namespace passthru::capture
