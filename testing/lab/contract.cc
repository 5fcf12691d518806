// SPDX-License-Identifier: Apache-2.0
//
// contract DEVICE=BDF... puts every question of the contract tests to the
// kernel it runs on, and holds the answers against the same transcript that the
// simulated kernel is held against (//testing:kvm_contract_test,
// //testing/vfio:vfio_contract_test). So where both agree with it, the
// simulation answers as this kernel does.
//
// DEVICE is e1000e, nvme or edu, as QEMU emulates them. Prints how many answers
// agree, by section, and every difference that is not listed below; fails if
// there is one.

#include <sys/utsname.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <iostream>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "devices/kernel/linux_syscalls.h"
#include "devices/vfio/find_group.h"
#include "pci/bdf.h"
#include "testing/kernel_version.h"
#include "testing/kvm_contract.h"
#include "testing/vfio/vfio_contract.h"

namespace passthru::fake {
namespace {

// A question that a lab kernel answers differently, and the kernel function
// that makes it so. The shorter this list, the more the simulation is worth.
struct KnownDifference {
  std::string_view question;
  std::string_view because;
};
constexpr std::array<KnownDifference, 0> kKnownDifferences = {};

// Agreement by section, and what disagrees.
class Comparison {
 public:
  template <typename Observation>
  void Add(std::string_view subject, const std::vector<Observation>& answers,
           const std::vector<Observation>& expected) {
    for (size_t i = 0; i < std::max(answers.size(), expected.size()); ++i) {
      if (i >= answers.size() || i >= expected.size()) {
        Differ(absl::StrCat(subject, ": ", answers.size(), " answers, ",
                            expected.size(), " expected"),
               "");
        return;
      }
      Section& section =
          SectionNamed(absl::StrCat(subject, " ", answers[i].section));
      ++section.total;
      if (answers[i].ToString() == expected[i].ToString()) {
        ++section.agree;
      } else {
        Differ(absl::StrCat(subject, " ", answers[i].ToString(),
                            "\n      expected ", expected[i].ToString()),
               answers[i].question);
      }
    }
  }

  // Prints; whether all is as expected or listed.
  bool Report() const {
    size_t agree = 0;
    size_t total = 0;
    for (const auto& [name, section] : sections_) {
      std::cout << absl::StrFormat("  %-44s %4d of %4d\n", name, section.agree,
                                   section.total);
      agree += section.agree;
      total += section.total;
    }
    std::cout << absl::StrFormat("  %-44s %4d of %4d agree\n", "all", agree,
                                 total);
    for (const std::string& line : listed_) {
      std::cout << "  listed: " << line << "\n";
    }
    for (const std::string& line : unlisted_) {
      std::cout << "  DIFFERS: " << line << "\n";
    }
    return unlisted_.empty();
  }

 private:
  struct Section {
    size_t agree = 0;
    size_t total = 0;
  };

  Section& SectionNamed(const std::string& name) {
    for (auto& [known, section] : sections_) {
      if (known == name) return section;
    }
    return sections_.emplace_back(name, Section()).second;
  }

  void Differ(std::string line, std::string_view question) {
    for (const KnownDifference& known : kKnownDifferences) {
      if (known.question == question) {
        listed_.push_back(absl::StrCat(line, "\n      ", known.because));
        return;
      }
    }
    unlisted_.push_back(std::move(line));
  }

  std::vector<std::pair<std::string, Section>> sections_;
  std::vector<std::string> listed_;
  std::vector<std::string> unlisted_;
};

// Which of the measured kernels a release ("6.12.95+deb12-cloud-amd64") is.
std::optional<KernelVersion> VersionOf(std::string_view release) {
  for (const KernelVersion version : kAllKernelVersions) {
    if (absl::StartsWith(release, absl::StrCat(Name(version), "."))) {
      return version;
    }
  }
  return std::nullopt;
}

absl::StatusOr<ObservedDevice> DeviceNamed(std::string_view name) {
  if (name == "e1000e") return ObservedDevice::kE1000e;
  if (name == "nvme") return ObservedDevice::kNvme;
  if (name == "edu") return ObservedDevice::kEdu;
  return absl::InvalidArgumentError(
      absl::StrCat("'", name, "' is not e1000e, nvme or edu"));
}

absl::Status Run(const std::vector<std::string>& arguments) {
  utsname system = {};
  uname(&system);
  const auto version = VersionOf(system.release);
  if (!version.has_value()) {
    return absl::FailedPreconditionError(
        absl::StrCat("kernel ", system.release, " was never asked"));
  }
  std::cout << "contract: Linux " << system.release << ", held against "
            << Name(*version) << "\n";
  kernel::LinuxSyscalls kernel;
  Comparison comparison;
  comparison.Add("kvm", ObserveKvm(&kernel), KvmTranscript(*version));
  for (const std::string& argument : arguments) {
    const std::pair<std::string, std::string> parts =
        absl::StrSplit(argument, absl::MaxSplits('=', 1));
    const auto device = DeviceNamed(parts.first);
    if (!device.ok()) return device.status();
    const auto bdf = pci::Bdf::Parse(parts.second);
    if (!bdf.ok()) return bdf.status();
    const auto group = vfio::FindGroup(&kernel, *bdf);
    if (!group.ok()) return group.status();
    comparison.Add(parts.first, ObserveVfio(&kernel, bdf->ToString(), *group),
                   VfioTranscript(*version, *device));
  }
  return comparison.Report()
             ? absl::OkStatus()
             : absl::InternalError("answers differ that are not listed");
}

}  // namespace
}  // namespace passthru::fake

int main(int argc, char** argv) {
  const absl::Status status =
      passthru::fake::Run(std::vector<std::string>(argv + 1, argv + argc));
  if (status.ok()) return 0;
  std::cerr << "contract: " << status.message() << "\n";
  return 1;
}
