// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/models/nvme/nvme_admin.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <utility>

#include "absl/types/span.h"
#include "passthru/pci/little_endian.h"
#include "passthru/testing/models/nvme/nvme_command_outcome.h"
#include "passthru/testing/models/nvme/nvme_identify.h"
#include "passthru/testing/models/nvme/nvme_prp.h"
#include "passthru/testing/models/nvme/nvme_queue.h"
#include "passthru/testing/models/nvme/nvme_spec.h"

namespace passthru::models::nvme {
namespace {

constexpr uint8_t kNvmCommandSet = 0x00;

// Features without an effect in this model, with their values after reset. Get
// Features returns what Set Features wrote (5.21.1).
const std::map<uint8_t, uint32_t>& FeatureDefaults() {
  static const auto* const defaults = new std::map<uint8_t, uint32_t>{
      {0x01, 0x00000007},                  // Arbitration.
      {0x02, 0x00000000},                  // Power Management.
      {0x04, 343},                         // Temperature Threshold, kelvin.
      {0x05, 0x00000000},                  // Error Recovery.
      {kFeatureVolatileWriteCache, 0x01},  // Enabled.
      {0x08, 0x00000000},                  // Interrupt Coalescing.
      {0x0a, 0x00000000},                  // Write Atomicity Normal.
      {0x0b, 0x00000000},                  // Asynchronous Event Configuration.
  };
  return *defaults;
}

// Fills the log of supported commands and their effects (5.14.1.5), which has
// four bytes for each admin opcode and then for each I/O opcode.
void FillCommandEffects(absl::Span<uint8_t> page) {
  constexpr uint8_t kSupported = 1u << 0;
  constexpr uint8_t kChangesBlocks = 1u << 1;
  constexpr size_t kIoCommands = 1024;
  for (const AdminOpcode opcode :
       {AdminOpcode::kDeleteIoSubmissionQueue,
        AdminOpcode::kCreateIoSubmissionQueue, AdminOpcode::kGetLogPage,
        AdminOpcode::kDeleteIoCompletionQueue,
        AdminOpcode::kCreateIoCompletionQueue, AdminOpcode::kIdentify,
        AdminOpcode::kAbort, AdminOpcode::kSetFeatures,
        AdminOpcode::kGetFeatures, AdminOpcode::kAsyncEventRequest}) {
    page[4 * static_cast<size_t>(opcode)] = kSupported;
  }
  for (const IoOpcode opcode : {IoOpcode::kFlush, IoOpcode::kRead}) {
    page[kIoCommands + 4 * static_cast<size_t>(opcode)] = kSupported;
  }
  for (const IoOpcode opcode : {IoOpcode::kWrite, IoOpcode::kWriteZeroes,
                                IoOpcode::kDatasetManagement}) {
    page[kIoCommands + 4 * static_cast<size_t>(opcode)] =
        kSupported | kChangesBlocks;
  }
}

}  // namespace

AdminCommands::AdminCommands(Identity identity, uint16_t max_io_queues,
                             QueueTable* queues)
    : identity_(std::move(identity)),
      max_io_queues_(max_io_queues),
      queues_(queues),
      features_(FeatureDefaults()) {}

void AdminCommands::Reset() {
  features_ = FeatureDefaults();
  uncoalesced_.clear();
  event_requests_ = 0;
}

Outcome AdminCommands::Execute(const CommandContext& context,
                               const Command& command) {
  if (command.flags() != 0) return {kInvalidField.Dnr()};
  switch (static_cast<AdminOpcode>(command.opcode())) {
    case AdminOpcode::kDeleteIoSubmissionQueue:
      return {queues_->DeleteSubmissionQueue(command)};
    case AdminOpcode::kCreateIoSubmissionQueue:
      return {queues_->CreateSubmissionQueue(command, context.page_size)};
    case AdminOpcode::kGetLogPage:
      return GetLogPage(context, command);
    case AdminOpcode::kDeleteIoCompletionQueue:
      return {queues_->DeleteCompletionQueue(command)};
    case AdminOpcode::kCreateIoCompletionQueue:
      return {queues_->CreateCompletionQueue(command, context.page_size,
                                             context.message_signalled)};
    case AdminOpcode::kIdentify:
      return Identify(context, command);
    case AdminOpcode::kAbort:
      return Abort(command);
    case AdminOpcode::kSetFeatures:
      return SetFeatures(command);
    case AdminOpcode::kGetFeatures:
      return GetFeatures(command);
    case AdminOpcode::kAsyncEventRequest:
      return AsyncEventRequest();
  }
  return {kInvalidOpcode.Dnr()};
}

Outcome AdminCommands::Identify(const CommandContext& context,
                                const Command& command) {
  const uint8_t cns = command.dword(10) & 0xff;
  const uint8_t command_set = command.dword(11) >> 24;
  const uint32_t nsid = command.namespace_id();
  const bool by_command_set = cns == kCnsCommandSetNamespace ||
                              cns == kCnsCommandSetController ||
                              cns == kCnsCommandSetActiveNamespaces;
  if (by_command_set && command_set != kNvmCommandSet) {
    return {kInvalidField.Dnr()};
  }
  IdentifyPage page{};
  switch (cns) {
    case kCnsNamespace:
      if (nsid != 1) return {kInvalidNamespace.Dnr()};
      page = IdentifyNamespace(identity_);
      break;
    case kCnsController:
      page = IdentifyController(identity_);
      break;
    case kCnsActiveNamespaces:
    case kCnsCommandSetActiveNamespaces:
      // FFFFFFFEh and FFFFFFFFh are invalid here (5.15.2.3).
      if (nsid >= kBroadcastNamespace - 1) return {kInvalidNamespace.Dnr()};
      page = IdentifyActiveNamespaces(nsid);
      break;
    case kCnsNamespaceDescriptors:
      if (nsid != 1) return {kInvalidNamespace.Dnr()};
      page = IdentifyNamespaceDescriptors();
      break;
    case kCnsCommandSetNamespace:
      if (nsid != 1) return {kInvalidNamespace.Dnr()};
      break;  // All zero, without protection information or storage tag.
    case kCnsCommandSetController:
      break;  // All zero, without limits on commands that this model lacks.
    case kCnsCommandSets:
      page = IdentifyCommandSets();
      break;
    default:
      return {kInvalidField.Dnr()};
  }
  return {WriteToHost(context.host, command, context.page_size, page)};
}

// Executes Get Log Page (5.14). The controller logs no errors and nothing is
// worn, so the pages are mostly zero. The guest may request gigabytes, but gets
// a page.
Outcome AdminCommands::GetLogPage(const CommandContext& context,
                                  const Command& command) {
  std::array<uint8_t, 4096> page{};
  uint64_t size = 0;
  switch (command.dword(10) & 0xff) {
    case kLogError:
      size = 64;
      break;
    case kLogSmart:
      // Of the controller, or of the namespace.
      if (command.namespace_id() > 1 &&
          command.namespace_id() != kBroadcastNamespace) {
        return {kInvalidNamespace.Dnr()};
      }
      size = 512;
      pci::StoreLittleEndian<uint16_t>(absl::MakeSpan(page), 1,
                                       323);  // Kelvin.
      page[3] = 100;                          // Available spare, percent.
      break;
    case kLogFirmwareSlot:
      size = 512;
      page[0] = 1;  // The active slot.
      std::copy_n(identity_.firmware_revision.begin(),
                  std::min<size_t>(identity_.firmware_revision.size(), 8),
                  page.begin() + 8);
      break;
    case kLogCommandEffects:
      size = 4096;
      FillCommandEffects(absl::MakeSpan(page));
      break;
    default:
      return {kInvalidLogPage.Dnr()};
  }
  const uint64_t dwords =
      (uint64_t{command.dword(11) & 0xffff} << 16 | command.dword(10) >> 16) +
      1;
  const uint64_t offset = command.qword(12);
  if (offset % 4 != 0 || offset >= size) return {kInvalidField.Dnr()};
  const uint64_t length = std::min(dwords * 4, size - offset);
  return {WriteToHost(context.host, command, context.page_size,
                      absl::MakeConstSpan(page).subspan(offset, length))};
}

Outcome AdminCommands::SetFeatures(const Command& command) {
  const uint8_t feature = command.dword(10) & 0xff;
  const bool save = (command.dword(10) >> 31) != 0;
  if (save) return {kFeatureNotSaveable.Dnr()};
  if (feature == kFeatureNumberOfQueues) {
    return SetNumberOfQueues(command.dword(11));
  }
  if (feature == kFeatureInterruptVector) {
    return InterruptVector(command.dword(11), command.dword(11));
  }
  const auto it = features_.find(feature);
  if (it == features_.end()) return {kInvalidField.Dnr()};
  it->second = command.dword(11);
  return {kSuccess};
}

// Sets the number of queues (5.21.1.7). Both numbers are zero-based, and so is
// the answer, which is as many as there can be, whatever the guest requested.
Outcome AdminCommands::SetNumberOfQueues(uint32_t requested) {
  if ((requested & 0xffff) == 0xffff || (requested >> 16) == 0xffff) {
    return {kInvalidField.Dnr()};
  }
  if (queues_->has_io_queues()) return {kCommandSequenceError.Dnr()};
  return {kSuccess,
          uint32_t{max_io_queues_ - 1u} << 16 | (max_io_queues_ - 1u)};
}

// Carries out both directions of Interrupt Vector Configuration (5.21.1.9). The
// result has the vector and whether coalescing is off for it, which has no
// effect here.
Outcome AdminCommands::InterruptVector(uint32_t selected,
                                       std::optional<uint32_t> written) {
  constexpr uint32_t kCoalescingDisable = 1u << 16;
  const uint16_t vector = selected & 0xffff;
  if (vector >= queues_->vectors()) return {kInvalidField.Dnr()};
  if (written.has_value()) {
    uncoalesced_.erase(vector);
    if ((*written & kCoalescingDisable) != 0) uncoalesced_.insert(vector);
    return {kSuccess};
  }
  return {kSuccess,
          vector | (uncoalesced_.contains(vector) ? kCoalescingDisable : 0u)};
}

Outcome AdminCommands::GetFeatures(const Command& command) {
  const uint8_t feature = command.dword(10) & 0xff;
  const uint8_t select = (command.dword(10) >> 8) & 0x7;
  constexpr uint8_t kCurrent = 0;
  constexpr uint8_t kCapabilities = 3;
  constexpr uint32_t kChangeable = 1u << 2;
  if (select > kCapabilities) return {kInvalidField.Dnr()};
  if (feature == kFeatureNumberOfQueues) {
    if (select == kCapabilities) return {kSuccess, kChangeable};
    const uint32_t last = max_io_queues_ - 1u;
    return {kSuccess, last << 16 | last};
  }
  if (feature == kFeatureInterruptVector) {
    if (select == kCapabilities) return {kSuccess, kChangeable};
    if (select == kCurrent) return InterruptVector(command.dword(11), {});
    return {kSuccess, command.dword(11) & 0xffff};
  }
  const auto current = features_.find(feature);
  if (current == features_.end()) return {kInvalidField.Dnr()};
  if (select == kCapabilities) return {kSuccess, kChangeable};
  if (select == kCurrent) return {kSuccess, current->second};
  // No value can be saved, so the saved value is the default.
  return {kSuccess, FeatureDefaults().at(feature)};
}

// Executes Abort (5.1). Commands complete in the step that fetches them, so
// there is never one left to abort. Bit 0 of the result says that none was
// aborted.
Outcome AdminCommands::Abort(const Command& command) {
  const uint16_t queue = command.dword(10) & 0xffff;
  if (queues_->FindSubmission(queue) == nullptr) return {kInvalidField.Dnr()};
  return {kSuccess, 1};
}

Outcome AdminCommands::AsyncEventRequest() {
  if (event_requests_ > identity_.async_event_limit) {
    return {kAsyncEventLimitExceeded.Dnr()};
  }
  ++event_requests_;
  return {.status = kSuccess, .result = 0, .parked = true};
}

}  // namespace passthru::models::nvme
