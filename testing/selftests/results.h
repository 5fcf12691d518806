// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_SELFTESTS_RESULTS_H_
#define PASSTHRU_TESTING_SELFTESTS_RESULTS_H_

#include <string>
#include <string_view>
#include <vector>

namespace passthru::selftests {

// What one case of a test program gave: "pass", "skip" or "fail". Another word
// is the answer to a question.
struct Result {
  std::string name;
  std::string result;
  friend bool operator==(const Result&, const Result&) = default;
};

// Returns the results of a program of kselftest from its output
// (Documentation/dev-tools/ktap.rst) and its status, as waitpid() gives it. A
// program that ends before its cases has one with the name "program".
std::vector<Result> ParseOutput(std::string_view output, int wait_status);

// Prints a result as a line of which ReadResults() finds the prefix again
// between other output. `where` says what ran, such as the device.
std::string ToLine(const std::string& where, const Result& result);
std::vector<Result> ReadResults(std::string_view text);

// A case whose result has a reason that is not a defect of the simulation.
struct Exception {
  std::string pattern;  // Of names, as of fnmatch(3).
  enum class Kind {
    kKernel,  // The kernel fails it, and so must the simulation.
    kApart,   // The results may differ.
    kAbsent,  // The simulation has none.
  } kind = Kind::kKernel;
  std::string reason;
};

// Parses lines "kernel|apart|absent PATTERN REASON". Ignores empty lines and
// those that begin with '#', and reports others in `error`.
std::vector<Exception> ReadExceptions(std::string_view text,
                                      std::string* error);

struct Comparison {
  // One sentence for each case that differs, that only one of them has, or that
  // fails without a reason.
  std::vector<std::string> differences;
  int passed = 0;
  int skipped = 0;
  int failed = 0;  // On both, for a reason that is listed.
  int answers = 0;
  int apart = 0;  // Not compared.
};

// Compares what the real kernel gave with what the simulation did.
Comparison Compare(const std::vector<Result>& real,
                   const std::vector<Result>& simulated,
                   const std::vector<Exception>& exceptions);

}  // namespace passthru::selftests

#endif  // PASSTHRU_TESTING_SELFTESTS_RESULTS_H_
