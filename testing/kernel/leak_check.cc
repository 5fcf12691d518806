// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/kernel/leak_check.h"

#include <algorithm>
#include <iterator>
#include <ostream>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace passthru::fake {

std::string LeakReport::ToString() const {
  if (empty()) return "nothing leaked";
  return absl::StrCat(leaks.size(), " leaked:\n  ",
                      absl::StrJoin(leaks, "\n  "));
}

std::ostream& operator<<(std::ostream& out, const LeakReport& report) {
  return out << report.ToString();
}

LeakReport FindLeaks(ResourceSnapshot before, ResourceSnapshot now) {
  std::sort(before.begin(), before.end());
  std::sort(now.begin(), now.end());
  LeakReport report;
  std::set_difference(now.begin(), now.end(), before.begin(), before.end(),
                      std::back_inserter(report.leaks));
  return report;
}

}  // namespace passthru::fake
