// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/models/nvme/nvme_model.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/testing/models/device_platform.h"
#include "passthru/testing/models/nvme/nvme_identify.h"

namespace passthru::models::nvme {
namespace {

constexpr uint64_t kMinimumPageSize = 4096;
constexpr pci::BarIndex kRegisterBar(0);

// CAP.MPSMAX of kCapabilities.
constexpr uint32_t kMaxPageSizeShift = 16;

// Returns whether CC.CSS may select this with kCapabilities (3.1.5). The
// choices are NVM, all supported I/O command sets, and admin only.
constexpr bool CommandSetAllowed(uint32_t selection) {
  return selection == 0 || selection == 6 || selection == 7;
}

// Returns one 32-bit half of a 64-bit register.
uint32_t Half(uint64_t value, bool high) {
  return static_cast<uint32_t>(high ? value >> 32 : value);
}
void SetHalf(uint64_t& value, bool high, uint32_t half) {
  const uint64_t kept =
      high ? value & 0xffffffff : value & ~uint64_t{0xffffffff};
  value = kept | (high ? uint64_t{half} << 32 : uint64_t{half});
}

Identity MakeIdentity(const NvmeModel::Options& options, uint64_t blocks) {
  Identity identity;
  identity.serial_number = options.serial_number;
  identity.namespace_blocks = blocks;
  identity.max_transfer_shift = options.max_transfer_shift;
  identity.abort_limit = 3;
  identity.async_event_limit = 3;
  return identity;
}

absl::Status CheckRange(const char* name, uint64_t value, uint64_t min,
                        uint64_t max) {
  if (value >= min && value <= max) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "nvme model: ", name, " is ", value, ", not ", min, " to ", max));
}

}  // namespace

absl::StatusOr<std::unique_ptr<NvmeModel>> NvmeModel::Create(Options options) {
  // CMBSZ.SZ has 20 bits.
  constexpr uint64_t kMaxBuffer = ControllerMemory::kUnit * 0xfffff;
  // There are two doorbells of four bytes for each queue pair and the admin
  // queue.
  constexpr uint64_t kMaxQueues = (kRegisterBytes - kRegDoorbells) / 8 - 1;
  for (const absl::Status& status :
       {CheckRange("cmb_bytes", options.cmb_bytes, 0, kMaxBuffer),
        CheckRange("cmb_bytes modulo 1 MiB",
                   options.cmb_bytes % ControllerMemory::kUnit, 0, 0),
        CheckRange("max_io_queues", options.max_io_queues, 1, kMaxQueues),
        CheckRange("vectors", options.vectors, 1, 2048),
        CheckRange("max_transfer_shift", options.max_transfer_shift, 1, 10),
        CheckRange("length of serial_number", options.serial_number.size(), 0,
                   20)}) {
    if (!status.ok()) return status;
  }
  PASSTHRU_ASSIGN_OR_RETURN(auto store,
                            options.disk_file.empty()
                                ? BlockStore::InMemory(options.blocks)
                                : BlockStore::InFile(options.disk_file));
  return absl::WrapUnique(new NvmeModel(std::move(options), std::move(store)));
}

NvmeModel::NvmeModel(Options options, std::unique_ptr<BlockStore> store)
    : options_(std::move(options)),
      store_(std::move(store)),
      memory_buffer_(options_.cmb_bytes),
      queues_({.io_queues = options_.max_io_queues,
               .max_entries = kMaxQueueEntries,
               .vectors = options_.vectors}),
      admin_(MakeIdentity(options_, store_->blocks()), options_.max_io_queues,
             &queues_),
      io_(store_.get(), kMinimumPageSize << options_.max_transfer_shift) {}

bool NvmeModel::HandlesBar(pci::BarIndex bar, uint64_t offset) const {
  return bar == kRegisterBar && offset < kRegisterBytes;
}

bool NvmeModel::IsDoorbell(pci::BarIndex, uint64_t offset) const {
  return offset >= kRegDoorbells;
}

uint64_t NvmeModel::PageSize() const {
  return uint64_t{1} << CcPageSizeShift(configuration_);
}

// Both methods access registers as naturally aligned dwords. 3.1 allows no
// other access but that of a 64-bit register as a whole. A narrower read still
// returns its bytes, and a narrower or unaligned write is dropped.
uint64_t NvmeModel::ReadBar(pci::BarIndex bar, uint64_t offset,
                            unsigned width) {
  uint64_t value = 0;
  for (unsigned done = 0; done < width;) {
    const uint64_t at = offset + done;
    const unsigned shift = static_cast<unsigned>(at % 4);
    const unsigned part = std::min(4 - shift, width - done);
    const uint64_t dword =
        HandlesBar(bar, at) ? ReadDword(at - shift) : 0xffffffff;
    const uint64_t mask = (uint64_t{1} << (8 * part)) - 1;
    value |= ((dword >> (8 * shift)) & mask) << (8 * done);
    done += part;
  }
  return value;
}

void NvmeModel::WriteBar(pci::BarIndex bar, uint64_t offset, unsigned width,
                         uint64_t value) {
  if (offset % 4 != 0 || width < 4) return;
  for (unsigned done = 0; done < width; done += 4) {
    if (!HandlesBar(bar, offset + done)) return;
    WriteDword(offset + done, Half(value, done != 0));
  }
}

uint32_t NvmeModel::ReadDword(uint64_t offset) {
  switch (offset) {
    case kRegCap:
    case kRegCap + 4:
      return Half(kCapabilities | (memory_buffer_.exists() ? kCapCmbs : 0),
                  offset != kRegCap);
    case kRegVs:
      return kVersion;
    case kRegIntms:
    case kRegIntmc:
      return interrupt_mask_;
    case kRegCc:
      return configuration_;
    case kRegCsts: {
      const uint32_t seen = status_;
      SettleState();
      return seen;
    }
    case kRegAqa:
      return admin_queue_attributes_;
    case kRegAsq:
    case kRegAsq + 4:
      return Half(admin_submission_base_, offset != kRegAsq);
    case kRegAcq:
    case kRegAcq + 4:
      return Half(admin_completion_base_, offset != kRegAcq);
    case kRegCmbloc:
    case kRegCmbsz:
    case kRegCmbmsc:
    case kRegCmbmsc + 4:
    case kRegCmbsts:
      return memory_buffer_.Read(offset);
    default:
      return 0;  // Reserved, absent or a doorbell.
  }
}

void NvmeModel::WriteDword(uint64_t offset, uint32_t value) {
  if (offset >= kRegDoorbells) {
    WriteDoorbell(offset, value);
    return;
  }
  switch (offset) {
    case kRegIntms:
      interrupt_mask_ |= value;
      UpdatePin();
      break;
    case kRegIntmc:
      interrupt_mask_ &= ~value;
      UpdatePin();
      break;
    case kRegCc:
      WriteConfiguration(value);
      break;
    case kRegAqa:
      admin_queue_attributes_ = value & 0x0fff0fff;
      break;
    case kRegAsq:
    case kRegAsq + 4:
      // Bits 11:0 are reserved.
      SetHalf(admin_submission_base_, offset != kRegAsq,
              offset == kRegAsq ? value & 0xfffff000 : value);
      break;
    case kRegAcq:
    case kRegAcq + 4:
      SetHalf(admin_completion_base_, offset != kRegAcq,
              offset == kRegAcq ? value & 0xfffff000 : value);
      break;
    case kRegCmbmsc:
    case kRegCmbmsc + 4:
      memory_buffer_.Write(offset, value);
      break;
    default:
      break;  // Read-only, reserved, or NSSR, as CAP.NSSRS is 0.
  }
}

void NvmeModel::WriteConfiguration(uint32_t value) {
  // A change under way has ended by the time that software writes again.
  SettleState();
  const uint32_t before = configuration_;
  configuration_ = value & 0x00fffff1;
  const bool was_enabled = (before & kCcEnable) != 0;
  const bool enabled = (configuration_ & kCcEnable) != 0;
  if (!was_enabled && enabled) Enable();
  if (was_enabled && !enabled) Disable();

  const bool was_shutting_down = (before & kCcShutdownMask) != 0;
  const bool shutting_down = (configuration_ & kCcShutdownMask) != 0;
  if (!was_shutting_down && shutting_down) {
    // Ready stays as it is (3.1.6). The controller keeps its queues but no
    // longer serves them.
    const uint32_t target = next_status_.value_or(status_) & ~kCstsShutdownMask;
    status_ = (status_ & ~kCstsShutdownMask) | kCstsShutdownOccurring;
    next_status_ = target | kCstsShutdownComplete;
  } else if (was_shutting_down && !shutting_down) {
    status_ &= ~kCstsShutdownMask;
    if (next_status_.has_value()) *next_status_ &= ~kCstsShutdownMask;
  }
}

bool NvmeModel::ConfigurationIsValid() const {
  const uint32_t submission_entries = (admin_queue_attributes_ & 0xfff) + 1;
  const uint32_t completion_entries = (admin_queue_attributes_ >> 16) + 1;
  return CommandSetAllowed(CcCommandSet(configuration_)) &&
         CcPageSizeShift(configuration_) <= kMaxPageSizeShift &&
         CcSubmissionEntryShift(configuration_) == Command::kSizeShift &&
         CcCompletionEntryShift(configuration_) == Completion::kSizeShift &&
         submission_entries >= 2 && completion_entries >= 2 &&
         admin_submission_base_ != 0 && admin_completion_base_ != 0 &&
         admin_submission_base_ % PageSize() == 0 &&
         admin_completion_base_ % PageSize() == 0;
}

void NvmeModel::Enable() {
  if (!ConfigurationIsValid()) {
    Fail();
    return;
  }
  queues_.CreateAdminQueues(
      admin_submission_base_, (admin_queue_attributes_ & 0xfff) + 1,
      admin_completion_base_, (admin_queue_attributes_ >> 16) + 1);
  next_status_ = kCstsReady;
}

// Executes a Controller Reset (7.3.2), which keeps AQA, ASQ and ACQ.
void NvmeModel::Disable() {
  queues_.Clear();
  admin_.Reset();
  interrupt_mask_ = 0;
  last_served_ = 0xffff;
  UpdatePin();
  status_ &= kCstsReady;
  next_status_ = 0;
}

void NvmeModel::Reset(ResetKind) {
  Disable();
  configuration_ = 0;
  status_ = 0;
  next_status_.reset();
  admin_queue_attributes_ = 0;
  admin_submission_base_ = 0;
  admin_completion_base_ = 0;
  memory_buffer_.Reset();
  pin_ = false;
  host().SetIntx(false);
}

void NvmeModel::SettleState() {
  if (!next_status_.has_value()) return;
  status_ = *next_status_;
  next_status_.reset();
}

void NvmeModel::Fail() {
  status_ |= kCstsFatal;
  next_status_.reset();
}

bool NvmeModel::Running() const {
  return (status_ & kCstsReady) != 0 &&
         (status_ & (kCstsFatal | kCstsShutdownMask)) == 0;
}

// Handles the doorbells of 3.1.25 and 3.1.26 with CAP.DSTRD = 0, where
// submission tails and completion heads alternate.
void NvmeModel::WriteDoorbell(uint64_t offset, uint32_t value) {
  const uint16_t index = static_cast<uint16_t>((offset - kRegDoorbells) / 4);
  const uint16_t id = index / 2;
  // The upper half is reserved.
  value &= 0xffff;
  bool valid = false;
  if (index % 2 == 0) {
    SubmissionQueue* queue = queues_.FindSubmission(id);
    valid = queue != nullptr && queue->SetTail(value);
  } else {
    CompletionQueue* queue = queues_.FindCompletion(id);
    valid = queue != nullptr && queue->SetHead(value);
    UpdatePin();
  }
  if (!valid) ++counters_.invalid_doorbells;
}

bool NvmeModel::Step() {
  if (next_status_.has_value()) {
    SettleState();
    return true;
  }
  if (!Running()) return false;
  SubmissionQueue* queue = queues_.NextWithWork(last_served_);
  if (queue == nullptr) return false;
  last_served_ = queue->id();
  ExecuteNext(*queue);
  return true;
}

void NvmeModel::ExecuteNext(SubmissionQueue& queue) {
  CmbPlatform platform(host(), memory_buffer_);
  Command command;
  if (!platform.DmaRead(queue.HeadAddress(), command.mutable_bytes()).ok()) {
    Fail();
    return;
  }
  queue.Pop();
  Completion completion;
  completion.submission_head = queue.head();
  completion.submission_queue = queue.id();
  completion.command_id = command.command_id();

  const CommandContext context = {
      platform, PageSize(), host().ReadInterruptMode() != InterruptMode::kIntx};
  Outcome outcome;
  if (queue.id() == 0) {
    ++counters_.admin_commands;
    outcome = admin_.Execute(context, command);
  } else {
    ++counters_.io_commands;
    outcome = io_.Execute(context, command);
  }
  if (outcome.parked) return;
  if (!outcome.status.ok()) ++counters_.failed_commands;
  completion.status = outcome.status;
  completion.result = outcome.result;
  // Both queues still exist, because no command deletes the admin queue or a
  // completion queue in use.
  Complete(*queues_.FindCompletion(queue.completion_queue()), completion);
}

void NvmeModel::Complete(CompletionQueue& queue, const Completion& completion) {
  Completion posted = completion;
  posted.phase = queue.phase();
  CmbPlatform platform(host(), memory_buffer_);
  if (!platform.DmaWrite(queue.TailAddress(), posted.Encode()).ok()) {
    Fail();
    return;
  }
  queue.Push();
  ++counters_.completions;
  if (!queue.interrupts_enabled()) return;
  switch (host().ReadInterruptMode()) {
    case InterruptMode::kMsix:
      ++counters_.interrupts;
      host().RaiseMsix(queue.vector());
      break;
    case InterruptMode::kMsi:
      ++counters_.interrupts;
      host().RaiseMsi(queue.vector());
      break;
    case InterruptMode::kIntx:
      UpdatePin();
      break;
  }
}

// Asserts the pin while a completion queue of an unmasked vector has entries
// that software has not consumed (7.5.1). Leaves it deasserted with MSI or
// MSI-X.
void NvmeModel::UpdatePin() {
  bool asserted = false;
  for (const auto& [id, queue] : queues_.completion_queues()) {
    const bool masked = ((interrupt_mask_ >> (queue.vector() % 32)) & 1) != 0;
    asserted |= queue.interrupts_enabled() && !queue.empty() && !masked;
  }
  if (asserted && host().ReadInterruptMode() != InterruptMode::kIntx) {
    asserted = false;
  }
  if (asserted == pin_) return;
  pin_ = asserted;
  if (asserted) ++counters_.interrupts;
  host().SetIntx(asserted);
}

}  // namespace passthru::models::nvme
