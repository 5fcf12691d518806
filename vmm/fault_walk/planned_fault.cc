// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/fault_walk/planned_fault.h"

#include <string.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>
#include <string_view>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace passthru::vmm {
namespace {

// Returns the name by which error messages refer to a call.
std::string_view NameInMessages(std::string_view call) {
  if (call == "pread") return "read of";
  if (call == "pwrite") return "write of";
  if (call == "readdir") return "opendir of";
  return call;
}

// Returns whether the user can repair the call's failure. The message then says
// what is wrong and what to do, and does not name the call
// (devices/vfio/explain.h).
bool IsUsersToRepair(const journal::Call& call) {
  constexpr std::array<std::string_view, 5> kCalls = {
      "open", "readdir", "readlink", "VFIO_SET_IOMMU",
      "VFIO_GROUP_GET_DEVICE_FD"};
  return std::find(kCalls.begin(), kCalls.end(), call.name) != kCalls.end();
}

}  // namespace

void PlannedFault::Arm(fake::FakeKernel& kernel) {
  kernel.faults().FailAsChosen(
      [this](const journal::Call& call) { return Choose(call); });
}

std::optional<journal::Fault> PlannedFault::Choose(const journal::Call& call) {
  if (call.Waits()) return std::nullopt;  // Other tests cover these.
  const journal::LinuxErrnos* const row = journal::FindLinuxErrnos(call);
  if (row == nullptr) {
    unknown_.push_back(call.name);
    return std::nullopt;
  }
  if (row->errnos.empty()) return std::nullopt;
  ++seen_;
  if (seen_ == options_.call) {
    call_ = call;
    row_ = row;
    // The order of the threads may differ from the last run, so this may be
    // another call with fewer errnos.
    error_ = row->errnos[options_.choice % row->errnos.size()];
    injected_ = true;
    return journal::Fault{.error = error_};
  }
  // EINTR does not repeat, because a signal interrupts a call only once.
  if (options_.for_good && row == row_ && error_ != EINTR) {
    return journal::Fault{.error = error_};
  }
  return std::nullopt;
}

bool PlannedFault::IsOptional() const {
  // Without these calls user space delivers the interrupts, or traps the
  // accesses to the BAR.
  constexpr std::array<std::string_view, 3> kCalls = {
      "KVM_IRQFD", "KVM_SET_GSI_ROUTING", "KVM_SET_USER_MEMORY_REGION"};
  return std::find(kCalls.begin(), kCalls.end(), call_.name) != kCalls.end() ||
         (call_.name == "mmap" &&
          absl::StartsWith(call_.subject, "vfio-device"));
}

bool PlannedFault::IsToldBy(std::string_view text,
                            std::string_view device) const {
  if (!device.empty() && !absl::StrContains(text, device)) return false;
  // For the VMM, an absent link means that no driver is bound, which is no
  // failure.
  if (call_.name == "readlink" && error_ == ENOENT) return true;
  return absl::StrContains(text, absl::StrCat("/ ", strerrorname_np(error_))) &&
         (IsUsersToRepair(call_) ||
          absl::StrContains(text, NameInMessages(call_.name)));
}

}  // namespace passthru::vmm
