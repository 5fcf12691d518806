// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/selftests/results.h"

#include <fnmatch.h>
#include <sys/wait.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace passthru::selftests {
namespace {

constexpr std::string_view kPrefix = "SELFTEST ";
constexpr int kSkipStatus = 4;  // KSFT_SKIP of kselftest.h.

constexpr std::pair<std::string_view, Exception::Kind> kKinds[] = {
    {"kernel", Exception::Kind::kKernel},
    {"apart", Exception::Kind::kApart},
    {"absent", Exception::Kind::kAbsent}};

// Parses a line like "not ok 3 NAME" or "ok 2 NAME # SKIP why". Returns false
// for another one.
bool ParseCase(std::string_view line, Result& result) {
  const bool failed = absl::ConsumePrefix(&line, "not ");
  int number = 0;
  if (!absl::ConsumePrefix(&line, "ok ")) return false;
  const size_t space = line.find(' ');
  if (space == std::string_view::npos ||
      !absl::SimpleAtoi(line.substr(0, space), &number)) {
    return false;
  }
  line.remove_prefix(space + 1);
  const size_t directive = line.find(" # ");
  const bool skipped = directive != std::string_view::npos &&
                       absl::StartsWith(line.substr(directive), " # SKIP");
  result.name =
      std::string(absl::StripAsciiWhitespace(line.substr(0, directive)));
  result.result = failed ? "fail" : skipped ? "skip" : "pass";
  return true;
}

const Exception* Find(const std::vector<Exception>& exceptions,
                      const std::string& name) {
  const auto found = std::find_if(
      exceptions.begin(), exceptions.end(), [&name](const Exception& e) {
        return ::fnmatch(e.pattern.c_str(), name.c_str(), 0) == 0;
      });
  return found == exceptions.end() ? nullptr : &*found;
}

using ByName = std::map<std::string, std::string>;

// Reports names that occur twice, of which the second would hide the first.
ByName Index(const std::vector<Result>& results, std::string_view whose,
             std::vector<std::string>& differences) {
  ByName index;
  for (const Result& result : results) {
    if (!index.emplace(result.name, result.result).second) {
      differences.push_back(
          absl::StrCat(whose, " has ", result.name, " twice."));
    }
  }
  return index;
}

}  // namespace

std::vector<Result> ParseOutput(std::string_view output, int wait_status) {
  std::vector<Result> results;
  int planned = 0;
  for (std::string_view line : absl::StrSplit(output, '\n')) {
    line = absl::StripSuffix(line, "\r");
    Result result;
    if (ParseCase(line, result)) {
      results.push_back(result);
    } else if (absl::ConsumePrefix(&line, "1..") &&
               !absl::SimpleAtoi(line, &planned)) {
      planned = 0;
    }
  }
  const bool exited = WIFEXITED(wait_status);
  if (results.empty()) {
    const int status = exited ? WEXITSTATUS(wait_status) : -1;
    results.push_back({"program", status == 0             ? "pass"
                                  : status == kSkipStatus ? "skip"
                                                          : "fail"});
  } else if (!exited || static_cast<int>(results.size()) != planned) {
    results.push_back({"program", "fail"});
  }
  return results;
}

std::string ToLine(const std::string& where, const Result& result) {
  return absl::StrCat(kPrefix, where, "/", result.name, " ", result.result,
                      "\n");
}

std::vector<Result> ReadResults(std::string_view text) {
  std::vector<Result> results;
  for (std::string_view line : absl::StrSplit(text, '\n')) {
    line = absl::StripSuffix(line, "\r");
    if (!absl::ConsumePrefix(&line, kPrefix)) continue;
    const size_t space = line.rfind(' ');
    if (space == std::string_view::npos) continue;
    results.push_back({std::string(line.substr(0, space)),
                       std::string(line.substr(space + 1))});
  }
  return results;
}

std::vector<Exception> ReadExceptions(std::string_view text,
                                      std::string* error) {
  std::vector<Exception> exceptions;
  for (const std::string_view line : absl::StrSplit(text, '\n')) {
    if (line.empty() || line.front() == '#') continue;
    const std::vector<std::string> parts =
        absl::StrSplit(line, absl::MaxSplits(' ', 2));
    const auto kind =
        std::find_if(std::begin(kKinds), std::end(kKinds),
                     [&parts](const auto& k) { return k.first == parts[0]; });
    if (parts.size() != 3 || kind == std::end(kKinds)) {
      *error = absl::StrCat("\"", line, "\" is not \"kernel|apart|absent ",
                            "PATTERN REASON\".");
      return {};
    }
    exceptions.push_back(
        {.pattern = parts[1], .kind = kind->second, .reason = parts[2]});
  }
  return exceptions;
}

Comparison Compare(const std::vector<Result>& real,
                   const std::vector<Result>& simulated,
                   const std::vector<Exception>& exceptions) {
  Comparison comparison;
  const ByName reals = Index(real, "Linux", comparison.differences);
  ByName rest = Index(simulated, "The simulation", comparison.differences);
  for (const auto& [name, linux] : reals) {
    const auto found = rest.find(name);
    const std::string simulation = found == rest.end() ? "none" : found->second;
    if (found != rest.end()) rest.erase(found);
    const Exception* const exception = Find(exceptions, name);
    const bool absent = simulation == "none";
    if (exception != nullptr &&
        exception->kind ==
            (absent ? Exception::Kind::kAbsent : Exception::Kind::kApart)) {
      ++comparison.apart;
    } else if (linux != simulation) {
      comparison.differences.push_back(absl::StrCat(
          name, ": Linux ", linux, ", the simulation ", simulation, "."));
    } else if (linux == "pass") {
      ++comparison.passed;
    } else if (linux == "skip") {
      ++comparison.skipped;
    } else if (linux != "fail") {
      ++comparison.answers;
    } else if (exception != nullptr) {
      ++comparison.failed;
    } else {
      comparison.differences.push_back(
          absl::StrCat(name, ": fails on both for no reason that is listed."));
    }
  }
  for (const auto& [name, simulation] : rest) {
    comparison.differences.push_back(
        absl::StrCat(name, ": Linux none, the simulation ", simulation, "."));
  }
  return comparison;
}

}  // namespace passthru::selftests
