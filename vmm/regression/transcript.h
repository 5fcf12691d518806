// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_REGRESSION_TRANSCRIPT_H_
#define PASSTHRU_VMM_REGRESSION_TRANSCRIPT_H_

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "passthru/testing/host/fake_kernel.h"
#include "passthru/testing/kvm/fake_vcpu.h"

namespace passthru::vmm {

// The text by which two runs are compared. It has sections with a title, what
// was seen in each, and the guest's exits and the kernel calls that it cost. It
// also collects the problems, which fail a test whatever its golden transcript
// says.
//
// Thread-compatible. `kernel` must outlive it.
class Transcript {
 public:
  explicit Transcript(fake::FakeKernel* kernel) : kernel_(kernel) {}
  Transcript(const Transcript&) = delete;
  Transcript& operator=(const Transcript&) = delete;

  // Has `listener` told of each section that begins.
  void SetListener(std::function<void(std::string_view title)> listener) {
    listener_ = std::move(listener);
  }

  // Adds a line that stands before the first section.
  void Headline(std::string_view text);

  // Ends the section before, if any, and starts to measure.
  void Begin(std::string_view title);
  void Line(std::string_view line);
  // Ends the measurement and adds what the section cost. More lines may follow.
  void EndMeasurement();
  // Ends the measurement without adding it, because the accesses are not the
  // guest's but those of the test.
  void DropMeasurement() { measuring_ = false; }

  // Adds a defect that no device and no kernel excuses.
  void Problem(std::string_view what);

  // Returns the text, which ends with a newline.
  std::string Finish();
  const std::vector<std::string>& problems() const { return problems_; }

  // Return the totals of the sections whose measurement was added.
  uint64_t exits() const { return exits_; }
  uint64_t kernel_calls() const { return kernel_calls_; }

 private:
  fake::FakeKernel* const kernel_;
  std::function<void(std::string_view title)> listener_;
  std::string text_;
  bool measuring_ = false;
  fake::FakeExitCounts exits_before_;
  uint64_t exits_ = 0;
  uint64_t kernel_calls_ = 0;
  std::vector<std::string> problems_;
};

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_REGRESSION_TRANSCRIPT_H_
