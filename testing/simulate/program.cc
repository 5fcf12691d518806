// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/simulate/program.h"

#include <elf.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace passthru::simulate {
namespace {

constexpr int kMostInterpreters = 4;

// Returns the first bytes of a file.
std::string Head(const std::string& path, size_t size) {
  std::string head(size, '\0');
  std::ifstream file(path, std::ios::binary);
  file.read(head.data(), static_cast<std::streamsize>(size));
  head.resize(static_cast<size_t>(file.gcount()));
  return head;
}

bool HasInterpreter(const std::string& elf) {
  Elf64_Ehdr header;
  if (elf.size() < sizeof(header)) return false;
  std::memcpy(&header, elf.data(), sizeof(header));
  if (header.e_phentsize != sizeof(Elf64_Phdr)) return false;
  for (size_t i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr segment;
    const size_t at = header.e_phoff + i * sizeof(segment);
    if (at + sizeof(segment) > elf.size()) return false;
    std::memcpy(&segment, elf.data() + at, sizeof(segment));
    if (segment.p_type == PT_INTERP) return true;
  }
  return false;
}

}  // namespace

absl::StatusOr<std::string> FindProgram(const std::string& name) {
  std::vector<std::string> candidates = {name};
  if (!absl::StrContains(name, '/')) {
    candidates.clear();
    const char* const path = std::getenv("PATH");
    for (const auto& folder :
         absl::StrSplit(path == nullptr ? "/usr/bin:/bin" : path, ':')) {
      candidates.push_back(absl::StrCat(folder, "/", name));
    }
  }
  for (const std::string& candidate : candidates) {
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return absl::NotFoundError(
      absl::StrCat("There is no program ", name, " that can be executed."));
}

absl::Status CheckIsDynamic(const std::string& path) {
  constexpr size_t kHeadBytes = 4096;
  std::string at = path;
  for (int i = 0; i < kMostInterpreters; ++i) {
    const std::string head = Head(at, kHeadBytes);
    if (absl::StartsWith(head, ELFMAG)) {
      if (head.size() > EI_CLASS && head[EI_CLASS] != ELFCLASS64) {
        return absl::FailedPreconditionError(absl::StrCat(
            at, " is a 32-bit program. The simulation is for 64-bit ones."));
      }
      // The dynamic linker has no interpreter, and loads what it is told to.
      if (HasInterpreter(head) || absl::StrContains(at, "/ld-linux")) {
        return absl::OkStatus();
      }
      return absl::FailedPreconditionError(
          absl::StrCat(at,
                       " is linked statically, so the simulated kernel "
                       "cannot reach it. Link it dynamically."));
    }
    if (!absl::StartsWith(head, "#!")) return absl::OkStatus();
    const std::string line = head.substr(2, head.find('\n') - 2);
    const std::vector<std::string> words =
        absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
    if (words.empty()) return absl::OkStatus();
    at = words[0];
  }
  return absl::OkStatus();
}

}  // namespace passthru::simulate
