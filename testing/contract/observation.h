// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_CONTRACT_OBSERVATION_H_
#define PASSTHRU_TESTING_CONTRACT_OBSERVATION_H_

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace passthru::contract {

// One question to a kernel and its answer: "0", "EINVAL", "fd", "0 flags=0x3".
// Within a section every question is another.
struct Observation {
  std::string section;
  std::string question;
  std::string answer;

  // "irqfd: IRQFD bad fd -> EBADF": also a line of a transcript.
  std::string ToString() const;
  // Nothing for a line that ToString() does not write.
  static std::optional<Observation> Parse(std::string_view line);

  friend bool operator==(const Observation&, const Observation&) = default;
};

// Observations as they are made. Thread-compatible.
class ObservationList {
 public:
  void Begin(std::string_view section) { section_ = section; }
  // A question that the section has had is numbered: "disable (2)".
  void Add(std::string question, std::string answer);
  // Adds to the last answer what came with it.
  void Detail(std::string_view text);

  std::vector<Observation> Take() { return std::move(observations_); }

 private:
  std::string section_;
  std::map<std::pair<std::string, std::string>, int> asked_;
  std::vector<Observation> observations_;
};

}  // namespace passthru::contract

#endif  // PASSTHRU_TESTING_CONTRACT_OBSERVATION_H_
