// SPDX-License-Identifier: Apache-2.0
//
// Runs a fuzz target over files, and over mutations of them. It replaces the
// fuzzer in tests. With the path of one input that crashed, it reproduces the
// crash.

#include <cstddef>
#include <cstdint>
#include <fstream>
#include <iostream>
#include <iterator>
#include <random>
#include <vector>

#include "passthru/testing/fuzz/fuzz_target.h"

namespace {

constexpr int kMutationsPerInput = 4;

using Bytes = std::vector<uint8_t>;

void Run(const Bytes& input) {
  LLVMFuzzerTestOneInput(input.data(), input.size());
}

// Truncates the input and changes a few bytes. The caller seeds the generator
// with the input's place in the list, so that every run does the same.
Bytes Mutate(Bytes input, std::minstd_rand& random) {
  input.resize(input.size() - random() % (input.size() / 2 + 1));
  for (int i = 0; i < 3 && !input.empty(); ++i) {
    input[random() % input.size()] = static_cast<uint8_t>(random());
  }
  return input;
}

}  // namespace

int main(int argc, char** argv) {
  int executed = 1;
  Run({});
  for (int i = 1; i < argc; ++i) {
    std::ifstream file(argv[i], std::ios::binary);
    const Bytes input((std::istreambuf_iterator<char>(file)),
                      std::istreambuf_iterator<char>());
    if (!file.is_open()) {
      std::cerr << argv[i] << ": cannot be read\n";
      return 1;
    }
    // A crash ends the process, and this line then identifies the input.
    std::cerr << argv[i] << ", " << input.size() << " bytes" << std::endl;
    Run(input);
    ++executed;
    std::minstd_rand random(static_cast<unsigned>(i));
    for (int mutation = 1; mutation <= kMutationsPerInput; ++mutation) {
      std::cerr << "  mutation " << mutation << std::endl;
      Run(Mutate(input, random));
      ++executed;
    }
  }
  if (argc < 2) {
    std::cerr << "no inputs: give the files of a corpus\n";
    return 1;
  }
  std::cout << "COUNT: " << executed << " fuzz inputs replayed" << std::endl;
  return 0;
}
