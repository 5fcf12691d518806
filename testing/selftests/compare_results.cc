// SPDX-License-Identifier: Apache-2.0
//
// The program "compare_results EXCEPTIONS LINUX SIMULATION" compares the
// results that two runs of run_selftests printed. Exits with 1 if they differ.

#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include "passthru/testing/selftests/results.h"

namespace {

std::string Read(const char* path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace

int main(int argc, char** argv) {
  namespace selftests = passthru::selftests;
  if (argc != 4) {
    std::cerr << "usage: compare_results EXCEPTIONS LINUX SIMULATION\n";
    return 2;
  }
  std::string error;
  const auto exceptions = selftests::ReadExceptions(Read(argv[1]), &error);
  if (!error.empty()) {
    std::cerr << argv[1] << ": " << error << "\n";
    return 2;
  }
  const auto real = selftests::ReadResults(Read(argv[2]));
  const auto simulated = selftests::ReadResults(Read(argv[3]));
  if (real.empty() || simulated.empty()) {
    std::cerr << "There are no results of "
              << (real.empty() ? "Linux" : "the simulation") << ".\n";
    return 1;
  }
  const auto comparison = selftests::Compare(real, simulated, exceptions);
  std::cout << "  " << real.size()
            << " results, the same on both: " << comparison.passed
            << " cases passed, " << comparison.skipped << " skipped, "
            << comparison.failed << " failed as listed, " << comparison.answers
            << " answers of sysfs; " << comparison.apart << " not compared; "
            << comparison.differences.size() << " differ\n";
  for (const std::string& difference : comparison.differences) {
    std::cout << "  " << difference << "\n";
  }
  return comparison.differences.empty() ? 0 : 1;
}
