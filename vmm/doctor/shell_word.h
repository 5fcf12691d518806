// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_DOCTOR_SHELL_WORD_H_
#define PASSTHRU_VMM_DOCTOR_SHELL_WORD_H_

#include <string>
#include <string_view>

namespace passthru::doctor {

// Quotes a word for bash, if it needs that. What is not UTF-8 or cannot be
// printed becomes an escape sequence, as in $'caf\351'.
std::string ShellWord(std::string_view word);

// Returns a text of the host as one that can be printed and be a string of a
// report. What is not UTF-8 or cannot be printed becomes "\351", and of a very
// long text only the beginning is left.
std::string Printable(std::string_view text);

}  // namespace passthru::doctor

#endif  // PASSTHRU_VMM_DOCTOR_SHELL_WORD_H_
