// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/guest/drivers/guest_nvme.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/pci/little_endian.h"
#include "passthru/testing/guest/linux/linux_pci_core.h"
#include "passthru/testing/guest/linux/pci_alloc_irq_vectors.h"
#include "passthru/testing/models/nvme/nvme_spec.h"

// Bring-up and shutdown. The code that moves blocks is in guest_nvme_io.cc.

namespace passthru::guest {
namespace {

// CAP.CSS bit 6 says that there are I/O command sets, and CC.CSS must then be
// 6.
constexpr uint64_t kCapCommandSets = uint64_t{1} << 43;

std::string TextField(const std::vector<uint8_t>& page, size_t at,
                      size_t size) {
  const std::string text(page.begin() + at, page.begin() + at + size);
  return std::string(absl::StripAsciiWhitespace(text));
}

}  // namespace

GuestNvme::GuestNvme(GuestMachine* machine, LinuxPciDevice* device,
                     Options options)
    : machine_(machine), device_(device), options_(options) {}

absl::StatusOr<std::unique_ptr<GuestNvme>> GuestNvme::Start(
    GuestMachine* machine, LinuxPciDevice* device, Options options) {
  if (options.io_queues == 0 || options.blocks_per_command == 0) {
    return absl::InvalidArgumentError(
        "guest nvme: no I/O queues or no blocks in a command");
  }
  const GuestBar* bar = device->FindBar(0);
  if (bar == nullptr || bar->is_io()) {
    return absl::NotFoundError(
        absl::StrCat("guest nvme: ", device->name(), " has no memory BAR 0"));
  }
  auto driver = absl::WrapUnique(new GuestNvme(machine, device, options));
  // Mirrors nvme_reset_work().
  for (absl::Status (GuestNvme::*step)() :
       {&GuestNvme::Enable, &GuestNvme::ConfigureAdminQueue,
        &GuestNvme::Identify, &GuestNvme::SetUpIoQueues,
        &GuestNvme::AllocateBuffers}) {
    if (absl::Status s = (*driver.*step)(); !s.ok()) {
      driver->Release();
      return s;
    }
  }
  return driver;
}

uint64_t GuestNvme::RegisterBase() const {
  return device_->FindBar(0)->address;
}

uint32_t GuestNvme::ReadRegister(uint64_t offset) {
  return static_cast<uint32_t>(
      machine_->cpu().Load(RegisterBase() + offset, 4));
}

void GuestNvme::WriteRegister(uint64_t offset, uint32_t value) {
  machine_->cpu().Store(RegisterBase() + offset, 4, value);
}

// Mirrors lo_hi_writeq().
void GuestNvme::WriteRegister64(uint64_t offset, uint64_t value) {
  WriteRegister(offset, static_cast<uint32_t>(value));
  WriteRegister(offset + 4, static_cast<uint32_t>(value >> 32));
}

// Mirrors nvme_pci_enable().
absl::Status GuestNvme::Enable() {
  PASSTHRU_RETURN_IF_ERROR(PciEnableDevice(*device_));
  PciSetMaster(*device_);
  if (ReadRegister(models::nvme::kRegCsts) == 0xffffffff) {
    return absl::UnavailableError(
        absl::StrCat("guest nvme: ", device_->name(), " does not answer"));
  }
  // Setup uses one message vector, as in nvme_pci_enable(), because INTx does
  // not work on every device.
  PASSTHRU_ASSIGN_OR_RETURN(
      vectors_, PciAllocIrqVectors(machine_->irq_context(), *device_, 1, 1));
  report_.interrupt_kind = std::string(vectors_->kind());
  report_.interrupts.assign(1, 0);
  capabilities_ = ReadRegister(models::nvme::kRegCap) |
                  uint64_t{ReadRegister(models::nvme::kRegCap + 4)} << 32;
  report_.version = ReadRegister(models::nvme::kRegVs);
  return absl::OkStatus();
}

absl::Status GuestNvme::WaitForStatus(uint32_t mask, uint32_t value,
                                      const char* what) {
  uint32_t status = 0;
  for (int i = 0; i < options_.status_looks; ++i) {
    status = ReadRegister(models::nvme::kRegCsts);
    if (status == 0xffffffff || machine_->cpu().Stopping()) break;
    if ((status & mask) == value) return absl::OkStatus();
    if ((status & models::nvme::kCstsFatal) != 0 && value != 0) break;
  }
  return absl::UnavailableError(absl::StrFormat(
      "guest nvme: %s: not %s, CSTS=%#x", device_->name(), what, status));
}

// Mirrors nvme_disable_ctrl().
absl::Status GuestNvme::DisableController() {
  const uint32_t cc = ReadRegister(models::nvme::kRegCc);
  WriteRegister(models::nvme::kRegCc, cc & ~(models::nvme::kCcShutdownMask |
                                             models::nvme::kCcEnable));
  return WaitForStatus(models::nvme::kCstsReady, 0, "disabled");
}

absl::Status GuestNvme::RequestVector(uint16_t vector, const char* name) {
  return vectors_->Request(vector, absl::StrCat(name, vector),
                           [this, vector] { HandleInterrupt(vector); });
}

uint16_t GuestNvme::VectorOf(uint16_t queue) const {
  return std::min<uint16_t>(queue,
                            static_cast<uint16_t>(vectors_->count() - 1));
}

// Mirrors nvme_irq() for each queue of the vector.
void GuestNvme::HandleInterrupt(uint16_t vector) {
  ++report_.interrupts[vector];
  for (NvmeQueuePair& queue : queues_) {
    if (VectorOf(queue.id()) != vector) continue;
    for (const models::nvme::Completion& completion : queue.Process()) {
      completions_[queue.id()].push_back(completion);
    }
  }
}

// Mirrors nvme_pci_configure_admin_queue() and nvme_enable_ctrl().
absl::Status GuestNvme::ConfigureAdminQueue() {
  PASSTHRU_RETURN_IF_ERROR(DisableController());
  PASSTHRU_ASSIGN_OR_RETURN(uint64_t buffer, machine_->ram().AllocatePages(1));
  admin_buffer_ = buffer;
  const auto doorbells = [this] {
    return RegisterBase() + models::nvme::kRegDoorbells;
  };
  PASSTHRU_ASSIGN_OR_RETURN(
      NvmeQueuePair admin,
      NvmeQueuePair::Create(&machine_->cpu(), &machine_->ram(), 0,
                            options_.queue_entries, doorbells));
  queues_.push_back(std::move(admin));
  completions_.emplace_back();

  const uint32_t last = options_.queue_entries - 1u;
  WriteRegister(models::nvme::kRegAqa, last << 16 | last);
  WriteRegister64(models::nvme::kRegAsq, queues_[0].submission_base());
  WriteRegister64(models::nvme::kRegAcq, queues_[0].completion_base());

  const uint32_t command_set = (capabilities_ & kCapCommandSets) != 0 ? 6 : 0;
  const uint32_t cc = uint32_t{models::nvme::Completion::kSizeShift} << 20 |
                      uint32_t{models::nvme::Command::kSizeShift} << 16 |
                      command_set << 4;
  WriteRegister(models::nvme::kRegCc, cc);
  WriteRegister(models::nvme::kRegCc, cc | models::nvme::kCcEnable);
  PASSTHRU_RETURN_IF_ERROR(WaitForStatus(models::nvme::kCstsReady,
                                         models::nvme::kCstsReady, "ready"));
  return RequestVector(0, "nvme0q");
}

absl::StatusOr<models::nvme::Completion> GuestNvme::RunAdmin(
    const models::nvme::Command& command, const char* what) {
  PASSTHRU_RETURN_IF_ERROR(queues_[0].Submit(command).status());
  ++report_.commands;
  PASSTHRU_RETURN_IF_ERROR(machine_->interrupts().WaitUntil(
      what, [this] { return !completions_[0].empty(); }));
  const models::nvme::Completion completion = completions_[0].front();
  completions_[0].clear();
  if (!completion.status.ok()) {
    return absl::InternalError(
        absl::StrFormat("guest nvme: %s: %s failed with status %#x",
                        device_->name(), what, completion.status.code()));
  }
  return completion;
}

absl::Status GuestNvme::Identify() {
  models::nvme::Command command;
  command.set_opcode(models::nvme::AdminOpcode::kIdentify);
  command.set_prp1(admin_buffer_);
  command.set_dword(10, models::nvme::kCnsController);
  absl::StatusOr<models::nvme::Completion> done =
      RunAdmin(command, "Identify controller");
  if (!done.ok()) return done.status();
  std::vector<uint8_t> page = machine_->ram().Read(admin_buffer_, kPage);
  report_.serial = TextField(page, 4, 20);
  report_.model = TextField(page, 24, 40);
  report_.firmware = TextField(page, 64, 8);
  const unsigned mdts = page[77];
  // A value that is 0 or absurd means no limit. One list page is this driver's
  // limit.
  report_.max_transfer_bytes =
      mdts == 0 || mdts > 9 ? 512 * kPage : kPage << mdts;

  command.set_dword(10, models::nvme::kCnsActiveNamespaces);
  done = RunAdmin(command, "Identify active namespaces");
  if (!done.ok()) return done.status();
  page = machine_->ram().Read(admin_buffer_, 4);
  if (pci::LoadLittleEndian<uint32_t>(page, 0) != kNamespace) {
    return absl::NotFoundError("guest nvme: there is no namespace 1");
  }

  command.set_dword(10, models::nvme::kCnsNamespace);
  command.set_namespace_id(kNamespace);
  done = RunAdmin(command, "Identify namespace");
  if (!done.ok()) return done.status();
  page = machine_->ram().Read(admin_buffer_, kPage);
  report_.blocks = pci::LoadLittleEndian<uint64_t>(page, 0);
  const size_t format = 128 + 4 * (page[26] & 0xf);
  const unsigned block_shift = page[format + 2];
  if (block_shift < 9 || block_shift > 12) {
    return absl::UnimplementedError(absl::StrCat(
        "guest nvme: blocks of 2^", block_shift, " bytes are not supported"));
  }
  report_.block_size = uint64_t{1} << block_shift;
  return absl::OkStatus();
}

// Mirrors nvme_setup_io_queues().
absl::Status GuestNvme::SetUpIoQueues() {
  const uint32_t wanted = options_.io_queues;
  models::nvme::Command command;
  command.set_opcode(models::nvme::AdminOpcode::kSetFeatures);
  command.set_dword(10, models::nvme::kFeatureNumberOfQueues);
  command.set_dword(11, (wanted - 1) << 16 | (wanted - 1));
  PASSTHRU_ASSIGN_OR_RETURN(const models::nvme::Completion done,
                            RunAdmin(command, "Set Features Number of Queues"));
  const uint32_t granted =
      std::min(done.result & 0xffff, done.result >> 16) + 1;
  const uint16_t queues =
      static_cast<uint16_t>(std::min({wanted, granted, 2047u}));

  // Frees the admin queue's vector and allocates all vectors anew.
  vectors_->Free();
  PASSTHRU_ASSIGN_OR_RETURN(
      vectors_, PciAllocIrqVectors(machine_->irq_context(), *device_, 1,
                                   static_cast<uint16_t>(queues + 1)));
  report_.interrupt_vectors = vectors_->count();
  report_.interrupts.resize(vectors_->count(), 0);
  PASSTHRU_RETURN_IF_ERROR(RequestVector(0, "nvme0q"));

  report_.io_queues = std::min<uint16_t>(
      queues,
      std::max<uint16_t>(1, static_cast<uint16_t>(vectors_->count() - 1)));
  for (uint16_t id = 1; id <= report_.io_queues; ++id) {
    const uint16_t vector = VectorOf(id);
    PASSTHRU_RETURN_IF_ERROR(CreateIoQueue(id, vector));
    // The queue has a vector that it must request, or it shares the one that
    // the admin queue has requested already.
    if (vector != id) continue;
    PASSTHRU_RETURN_IF_ERROR(RequestVector(vector, "nvme0q"));
  }
  return absl::OkStatus();
}

// Mirrors nvme_create_queue().
absl::Status GuestNvme::CreateIoQueue(uint16_t id, uint16_t vector) {
  absl::StatusOr<NvmeQueuePair> queue = NvmeQueuePair::Create(
      &machine_->cpu(), &machine_->ram(), id, options_.queue_entries,
      [this] { return RegisterBase() + models::nvme::kRegDoorbells; });
  if (!queue.ok()) return queue.status();
  const uint32_t size_and_id = uint32_t{options_.queue_entries - 1u} << 16 | id;
  constexpr uint32_t kContiguous = 1;
  constexpr uint32_t kInterruptsEnabled = 2;

  models::nvme::Command command;
  command.set_opcode(models::nvme::AdminOpcode::kCreateIoCompletionQueue);
  command.set_prp1(queue->completion_base());
  command.set_dword(10, size_and_id);
  command.set_dword(11,
                    uint32_t{vector} << 16 | kInterruptsEnabled | kContiguous);
  absl::StatusOr<models::nvme::Completion> done =
      RunAdmin(command, "Create I/O Completion Queue");
  if (!done.ok()) return done.status();

  command.set_opcode(models::nvme::AdminOpcode::kCreateIoSubmissionQueue);
  command.set_prp1(queue->submission_base());
  command.set_dword(11, uint32_t{id} << 16 | kContiguous);
  done = RunAdmin(command, "Create I/O Submission Queue");
  if (!done.ok()) return done.status();
  queues_.push_back(*std::move(queue));
  completions_.emplace_back();
  return absl::OkStatus();
}

absl::Status GuestNvme::DeleteIoQueues() {
  for (uint16_t id = static_cast<uint16_t>(queues_.size() - 1); id > 0; --id) {
    for (models::nvme::AdminOpcode opcode :
         {models::nvme::AdminOpcode::kDeleteIoSubmissionQueue,
          models::nvme::AdminOpcode::kDeleteIoCompletionQueue}) {
      models::nvme::Command command;
      command.set_opcode(opcode);
      command.set_dword(10, id);
      PASSTHRU_RETURN_IF_ERROR(RunAdmin(command, "Delete I/O Queue").status());
    }
  }
  return absl::OkStatus();
}

// Mirrors nvme_dev_disable() with shutdown.
absl::Status GuestNvme::Shutdown() {
  if (vectors_ == nullptr) return absl::OkStatus();
  absl::Status status = DeleteIoQueues();
  // Whatever failed, this stops the controller and frees its interrupts.
  const uint32_t cc = ReadRegister(models::nvme::kRegCc);
  WriteRegister(models::nvme::kRegCc, (cc & ~models::nvme::kCcShutdownMask) |
                                          models::nvme::kCcShutdownNormal);
  status.Update(WaitForStatus(models::nvme::kCstsShutdownMask,
                              models::nvme::kCstsShutdownComplete,
                              "shut down"));
  status.Update(DisableController());
  Release();
  return status;
}

void GuestNvme::Release() {
  if (vectors_ != nullptr) vectors_->Free();
  vectors_ = nullptr;
  PciDisableDevice(*device_);
}

GuestNvmeReport GuestNvme::report() const { return report_; }

}  // namespace passthru::guest
