// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_SIMULATE_REPORT_H_
#define PASSTHRU_TESTING_SIMULATE_REPORT_H_

#include <ostream>
#include <string>
#include <vector>

#include "passthru/testing/host/simulated_host.h"

namespace passthru::simulate {

// What the checker of programs found until now. Thread-compatible.
class Report {
 public:
  // `host` must outlive the object.
  explicit Report(fake::SimulatedHost* host) : host_(host) {}

  // Writes the rules that were broken, and what `left_open` names.
  void Write(std::ostream& out, const std::vector<std::string>& left_open);

  // Returns whether a rule was broken, as of the last Write().
  bool found_any() const { return !broken_.empty(); }

 private:
  fake::SimulatedHost* const host_;
  std::vector<std::string> broken_;
  size_t dma_faults_seen_ = 0;
};

}  // namespace passthru::simulate

#endif  // PASSTHRU_TESTING_SIMULATE_REPORT_H_
