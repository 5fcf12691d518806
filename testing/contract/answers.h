// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_CONTRACT_ANSWERS_H_
#define PASSTHRU_TESTING_CONTRACT_ANSWERS_H_

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "passthru/testing/contract/observation.h"
#include "passthru/testing/kernel/kernel_version.h"

namespace passthru::contract {

// The answers of real kernels, in testing/contract/answers. SUBJECT.txt has
// all answers of Linux 6.12 in the order of the questions. SUBJECT-VERSION.txt
// has only the answers that differ in another version. The subjects are "kvm",
// the devices "e1000e", "nvme" and "edu", and "group", which is a group in
// which the host uses one of the devices. guest.txt is the list of
// guest/guest_contract.h.
inline constexpr std::string_view kAnswersFolder = "testing/contract/answers";
inline constexpr std::string_view kSubjects[] = {"kvm", "e1000e", "nvme", "edu",
                                                 "group"};

absl::StatusOr<std::vector<Observation>> LoadAnswers(
    std::string_view folder, std::string_view subject,
    fake::KernelVersion version);

// Returns the answers in a text that has the format of these files. `name` is
// the text's name in errors.
absl::StatusOr<std::vector<Observation>> ParseAnswers(std::string_view text,
                                                      std::string_view name);

// Replaces the stored answers by `observed`. 6.12 must be saved first, because
// the files of the other versions hold only what differs from it.
absl::Status SaveAnswers(std::string_view folder, std::string_view subject,
                         fake::KernelVersion version,
                         const std::vector<Observation>& observed);

// Counts by section how many answers of a kernel, real or simulated, agree with
// the expected ones, and collects the differences.
//
// Thread-compatible.
class Agreement {
 public:
  // Compares answers. A question that is on one side only, or elsewhere in the
  // order, is a difference.
  void Compare(std::string_view subject,
               const std::vector<Observation>& observed,
               const std::vector<Observation>& expected);

  // Returns the differences that the list of known differences does not
  // explain.
  const std::vector<std::string>& differences() const { return differences_; }

  // Returns the counts by section, then the known differences with their
  // reasons, then the others.
  std::string Report() const;

 private:
  struct Count {
    size_t agree = 0;
    size_t all = 0;
  };

  void Differ(std::string_view subject, const Observation& observed,
              std::string_view expected);

  std::map<std::string, Count> sections_;
  std::vector<std::string> listed_;
  std::vector<std::string> differences_;
};

// Returns the sections that have fewer questions, over all subjects, than their
// minimum, and sections without a minimum. Questions may be added, but none may
// get lost.
std::vector<std::string> ThinSections(
    const std::vector<Observation>& observations);

}  // namespace passthru::contract

#endif  // PASSTHRU_TESTING_CONTRACT_ANSWERS_H_
