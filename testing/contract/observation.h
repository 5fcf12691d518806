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

// One question to a kernel with its answer, for example "0", "EINVAL", "fd" or
// "0 flags=0x3". No two questions of a section are the same.
struct Observation {
  std::string section;
  std::string question;
  std::string answer;

  // Returns a line of an answers file, "irqfd: IRQFD bad fd -> EBADF".
  std::string ToString() const;
  // Returns nullopt for a line that ToString() does not write.
  static std::optional<Observation> Parse(std::string_view line);

  friend bool operator==(const Observation&, const Observation&) = default;
};

// Collects observations as the questions make them. Thread-compatible.
class ObservationList {
 public:
  void Begin(std::string_view section) { section_ = section; }
  // Numbers a question that the section has had before, as in "disable (2)".
  void Add(std::string question, std::string answer);
  // Appends more detail to the last answer.
  void Detail(std::string_view text);

  std::vector<Observation> Take() { return std::move(observations_); }

 private:
  std::string section_;
  std::map<std::pair<std::string, std::string>, int> asked_;
  std::vector<Observation> observations_;
};

}  // namespace passthru::contract

#endif  // PASSTHRU_TESTING_CONTRACT_OBSERVATION_H_
