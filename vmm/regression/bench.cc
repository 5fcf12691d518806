// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/regression/bench.h"

#include <algorithm>
#include <cstddef>
#include <functional>
#include <vector>

#include "absl/log/check.h"

namespace passthru::vmm {

void RegressionBench::Act(
    const std::function<void(models::DevicePlatform&)>& action) const {
  CHECK_OK(host_->vfio().WithHardware(host_bdf_, action));
}

std::vector<guest::GuestInterrupt> RegressionBench::TakeMessages() {
  for (;;) {
    const auto callbacks = machine_->loop().RunOnce(/*timeout_ms=*/0);
    CHECK_OK(callbacks.status());
    if (*callbacks == 0) break;
  }
  const std::vector<guest::GuestInterrupt> all = kvm().Messages();
  const size_t taken = std::min(messages_taken_, all.size());
  messages_taken_ = all.size();
  return {all.begin() + static_cast<ptrdiff_t>(taken), all.end()};
}

}  // namespace passthru::vmm
