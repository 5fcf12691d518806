// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_CONTRACT_TRANSCRIPT_H_
#define PASSTHRU_TESTING_CONTRACT_TRANSCRIPT_H_

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "passthru/testing/contract/observation.h"
#include "passthru/testing/kernel/kernel_version.h"

namespace passthru::contract {

// What kernels were seen to answer: testing/contract/transcripts. SUBJECT.txt
// is a 6.12's answers, all of them, in the order of the questions;
// SUBJECT-VERSION.txt has those that another version gives otherwise. The
// subjects are "kvm", the devices that were asked ("e1000e", "nvme", "edu"),
// and "group", a group with a device that is the host's.
inline constexpr std::string_view kTranscriptFolder =
    "testing/contract/transcripts";
inline constexpr std::string_view kSubjects[] = {"kvm", "e1000e", "nvme", "edu",
                                                 "group"};

absl::StatusOr<std::vector<Observation>> LoadTranscript(
    std::string_view folder, std::string_view subject,
    fake::KernelVersion version);

// Makes it what was just observed. 6.12 first: the others are held against it.
absl::Status SaveTranscript(std::string_view folder, std::string_view subject,
                            fake::KernelVersion version,
                            const std::vector<Observation>& observed);

// How often a kernel, or the simulated one, answers as its transcript, by
// section, and where it does not.
//
// Thread-compatible.
class Agreement {
 public:
  // Questions and their order are the same on both sides, or that is a
  // difference.
  void Compare(std::string_view subject,
               const std::vector<Observation>& observed,
               const std::vector<Observation>& expected);

  // Not explained by the list of known differences.
  const std::vector<std::string>& differences() const { return differences_; }

  // The sections with their counts, then what differs, and why.
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

// Sections that have fewer questions, over all subjects, than were asked for
// when they were written: a question may be added, none may get lost.
std::vector<std::string> ThinSections(
    const std::vector<Observation>& observations);

}  // namespace passthru::contract

#endif  // PASSTHRU_TESTING_CONTRACT_TRANSCRIPT_H_
