// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/contract/answers.h"

#include <algorithm>
#include <cstddef>
#include <fstream>
#include <iterator>
#include <set>
#include <span>
#include <tuple>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "passthru/devices/kernel/status_macros.h"

namespace passthru::contract {
namespace {

constexpr fake::KernelVersion kBase = fake::KernelVersion::k6_12;

// A question that some kernel answers differently from the simulated one, with
// the kernel function that is the reason. The simulation is the better the
// shorter this list is.
struct KnownDifference {
  std::string_view subject;
  std::string_view question;
  std::string_view because;
};
constexpr std::span<const KnownDifference> kKnownDifferences = {};

struct Minimum {
  std::string_view section;
  size_t questions;
};
constexpr Minimum kMinimums[] = {
    // KVM.
    {"system", 38},
    {"slots", 30},
    {"irqfd", 44},
    {"resample", 35},
    {"routing", 26},
    {"signal", 15},
    {"KVM-VFIO device", 15},
    {"ioeventfd", 26},
    {"split irqchip", 8},
    {"pins", 20},
    {"deliveries", 58},
    // VFIO.
    {"container", 51},
    {"group", 117},
    {"viability", 24},
    {"iommu", 195},
    {"device", 171},
    {"irqs", 520},
    {"SET_IRQS matrix", 1350},
    {"access", 137},
    {"configuration", 264},
    {"reset", 18},
    {"hot reset", 27},
    {"power", 51},
    {"states", 503},
    {"VFIO_DEVICE_IOEVENTFD", 134},
    {"interrupts", 24},
    {"dma", 20},
    {"in KVM", 47},
    {"close", 9},
};

std::string Path(std::string_view folder, std::string_view subject,
                 fake::KernelVersion version) {
  return version == kBase
             ? absl::StrCat(folder, "/", subject, ".txt")
             : absl::StrCat(folder, "/", subject, "-", Name(version), ".txt");
}

absl::StatusOr<std::vector<Observation>> Read(const std::string& path) {
  std::ifstream in(path);
  if (!in.is_open()) {
    return absl::NotFoundError(absl::StrCat("no answers ", path));
  }
  return ParseAnswers(std::string(std::istreambuf_iterator<char>(in), {}),
                      path);
}

bool SameQuestion(const Observation& a, const Observation& b) {
  return std::tie(a.section, a.question) == std::tie(b.section, b.question);
}

}  // namespace

absl::StatusOr<std::vector<Observation>> ParseAnswers(std::string_view text,
                                                      std::string_view name) {
  std::vector<Observation> observations;
  absl::ConsumeSuffix(&text, "\n");
  for (const std::string_view line : absl::StrSplit(text, '\n')) {
    if (absl::StartsWith(line, "#")) continue;
    auto observation = Observation::Parse(line);
    if (!observation.has_value()) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, ": not an observation: ", line));
    }
    observations.push_back(*std::move(observation));
  }
  return observations;
}

absl::StatusOr<std::vector<Observation>> LoadAnswers(
    std::string_view folder, std::string_view subject,
    fake::KernelVersion version) {
  auto answers = Read(Path(folder, subject, kBase));
  if (!answers.ok() || version == kBase) return answers;
  const std::string path = Path(folder, subject, version);
  PASSTHRU_ASSIGN_OR_RETURN(const auto differences, Read(path));
  for (const Observation& other : differences) {
    const auto found = std::find_if(answers->begin(), answers->end(),
                                    [&other](const Observation& candidate) {
                                      return SameQuestion(candidate, other);
                                    });
    if (found == answers->end()) {
      return absl::InvalidArgumentError(absl::StrCat(
          path, ": ", Name(kBase), " was not asked: ", other.ToString()));
    }
    found->answer = other.answer;
  }
  return answers;
}

absl::Status SaveAnswers(std::string_view folder, std::string_view subject,
                         fake::KernelVersion version,
                         const std::vector<Observation>& observed) {
  std::vector<Observation> base;
  if (version != kBase) {
    PASSTHRU_ASSIGN_OR_RETURN(base, Read(Path(folder, subject, kBase)));
  }
  const std::string path = Path(folder, subject, version);
  std::ofstream out(path);
  out << "# SPDX-License-Identifier: Apache-2.0\n";
  for (size_t i = 0; i < observed.size(); ++i) {
    if (i < base.size() && observed[i] == base[i]) continue;
    out << observed[i].ToString() << "\n";
  }
  out.close();
  return out.good() ? absl::OkStatus()
                    : absl::InternalError(absl::StrCat("cannot write ", path));
}

void Agreement::Compare(std::string_view subject,
                        const std::vector<Observation>& observed,
                        const std::vector<Observation>& expected) {
  if (observed.size() != expected.size()) {
    differences_.push_back(absl::StrFormat("%s: %d answers, %d expected",
                                           subject, observed.size(),
                                           expected.size()));
  }
  for (size_t i = 0; i < std::min(observed.size(), expected.size()); ++i) {
    if (!SameQuestion(observed[i], expected[i])) {
      differences_.push_back(
          absl::StrFormat("%s: asked \"%s\", expected \"%s\"", subject,
                          observed[i].ToString(), expected[i].ToString()));
      return;
    }
    Count& count = sections_[absl::StrCat(subject, ", ", observed[i].section)];
    ++count.all;
    if (observed[i].answer == expected[i].answer) {
      ++count.agree;
    } else {
      Differ(subject, observed[i], expected[i].answer);
    }
  }
}

void Agreement::Differ(std::string_view subject, const Observation& observed,
                       std::string_view expected) {
  std::string line = absl::StrCat(subject, ", ", observed.ToString(),
                                  "\n      expected ", expected);
  for (const KnownDifference& known : kKnownDifferences) {
    if (known.subject == subject && known.question == observed.question) {
      listed_.push_back(absl::StrCat(line, "\n      ", known.because));
      return;
    }
  }
  differences_.push_back(std::move(line));
}

std::string Agreement::Report() const {
  std::string report;
  Count all;
  for (const auto& [name, count] : sections_) {
    absl::StrAppendFormat(&report, "  %-32s %5d of %5d\n", name, count.agree,
                          count.all);
    all.agree += count.agree;
    all.all += count.all;
  }
  absl::StrAppendFormat(&report, "  %-32s %5d of %5d agree, %d listed\n", "all",
                        all.agree, all.all, listed_.size());
  for (const std::string& line : listed_) {
    absl::StrAppend(&report, "  listed: ", line, "\n");
  }
  for (const std::string& line : differences_) {
    absl::StrAppend(&report, "  DIFFERS: ", line, "\n");
  }
  return report;
}

std::vector<std::string> ThinSections(
    const std::vector<Observation>& observations) {
  std::map<std::string, size_t> counts;
  for (const Observation& one : observations) ++counts[one.section];
  std::vector<std::string> thin;
  for (const Minimum& minimum : kMinimums) {
    const size_t count = counts[std::string(minimum.section)];
    if (count < minimum.questions) {
      thin.push_back(absl::StrFormat("%s: %d questions, not %d",
                                     minimum.section, count,
                                     minimum.questions));
    }
    counts.erase(std::string(minimum.section));
  }
  for (const auto& [section, count] : counts) {
    thin.push_back(
        absl::StrFormat("%s: %d questions, no minimum", section, count));
  }
  return thin;
}

}  // namespace passthru::contract
