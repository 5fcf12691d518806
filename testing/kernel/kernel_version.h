// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_KERNEL_KERNEL_VERSION_H_
#define PASSTHRU_TESTING_KERNEL_KERNEL_VERSION_H_

#include <optional>
#include <ostream>
#include <string_view>

namespace passthru::fake {

// The kernels that a FakeKernel can stand for. Their answers were measured. The
// values are ordered, so that code can test for a rule that changed in a
// version with `version >= KernelVersion::k6_12`. 6.18 was measured only for
// KVM. Its VFIO answers as that of 6.12.
enum class KernelVersion { k6_1, k6_12, k6_18, k7_2 };

inline constexpr KernelVersion kAllKernelVersions[] = {
    KernelVersion::k6_1, KernelVersion::k6_12, KernelVersion::k6_18,
    KernelVersion::k7_2};

constexpr std::string_view Name(KernelVersion version) {
  switch (version) {
    case KernelVersion::k6_1:
      return "6.1";
    case KernelVersion::k6_12:
      return "6.12";
    case KernelVersion::k6_18:
      return "6.18";
    case KernelVersion::k7_2:
      return "7.2";
  }
  return "unknown";
}

// Returns the version of a name such as "6.12", or none for another name.
constexpr std::optional<KernelVersion> KernelVersionNamed(
    std::string_view name) {
  for (const KernelVersion version : kAllKernelVersions) {
    if (name == Name(version)) return version;
  }
  return std::nullopt;
}

inline std::ostream& operator<<(std::ostream& out, KernelVersion version) {
  return out << Name(version);
}

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_KERNEL_KERNEL_VERSION_H_
