// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_REGRESSION_TRANSCRIPT_H_
#define PASSTHRU_VMM_REGRESSION_TRANSCRIPT_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "passthru/testing/host/fake_kernel.h"
#include "passthru/testing/kvm/fake_vcpu.h"

namespace passthru::vmm {

// The text that a run is compared by: sections with a title, what was seen in
// each, and the guest's exits and the kernel calls that it cost. And what was
// wrong in any case, whatever a golden file says.
//
// Thread-compatible. `kernel` must outlive it.
class Transcript {
 public:
  explicit Transcript(fake::FakeKernel* kernel) : kernel_(kernel) {}
  Transcript(const Transcript&) = delete;
  Transcript& operator=(const Transcript&) = delete;

  // Before the first section.
  void Headline(std::string_view text);

  // Ends the section before, if any, and measures from here on.
  void Begin(std::string_view title);
  void Line(std::string_view line);
  // Ends the measurement, with what the section cost. More lines may follow.
  void EndMeasurement();
  // The same, but what it cost does not matter: the run itself looks around.
  void DropMeasurement() { measuring_ = false; }

  // Something that no device and no kernel excuses.
  void Problem(std::string_view what);

  // The text, to the final newline.
  std::string Finish();
  const std::vector<std::string>& problems() const { return problems_; }

  // The sums of what the sections cost that were measured to their end.
  uint64_t exits() const { return exits_; }
  uint64_t kernel_calls() const { return kernel_calls_; }

 private:
  fake::FakeKernel* const kernel_;
  std::string text_;
  bool measuring_ = false;
  fake::FakeExitCounts exits_before_;
  uint64_t exits_ = 0;
  uint64_t kernel_calls_ = 0;
  std::vector<std::string> problems_;
};

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_REGRESSION_TRANSCRIPT_H_
