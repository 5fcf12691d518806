// SPDX-License-Identifier: Apache-2.0
//
// The guest contract's part about interrupts. It does not depend on time. The
// guest sees that no interrupt came by the next one of the other vector, which
// cannot overtake an earlier one of the same device, because messages are
// writes and writes stay in order (PCIe 6.0, 2.4).
#include <linux/pci_regs.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/testing/contract/guest/guest_questions.h"
#include "passthru/testing/guest/drivers/nvme_queue_pair.h"
#include "passthru/testing/models/nvme/nvme_spec.h"

namespace passthru::contract {
namespace {

constexpr uint64_t kMessageAddress = 0xfee00000;
// The admin queue's vector has the higher priority (its class is vector / 16,
// Intel SDM vol. 3, 11.8.3). The CPU takes it first if both it and the I/O
// queue's vector are pending.
constexpr uint32_t kAdminVector = 0x51;
constexpr uint32_t kOtherAdminVector = 0x52;
constexpr uint32_t kIoVector = 0x41;

// How often the guest reads a register before it gives up. Each read is an exit
// or a read of the device, so that the device has time.
constexpr int kLooks = 1'000'000;
constexpr uint16_t kQueueEntries = 16;
constexpr uint64_t kMove = uint64_t{64} << 20;

// One run of the controller, from reset to shutdown.
class NvmeQuestions {
 public:
  explicit NvmeQuestions(GuestQuestions& observer)
      : observer_(observer),
        bdf_(observer.options().nvme),
        bar_(observer.BarAddress(bdf_, 0)) {}

  absl::Status Run();

 private:
  absl::Status FindTable();
  void ObserveTable();
  absl::Status StartController();
  absl::Status CreateIoQueue();
  absl::Status ObserveDelivery();
  absl::Status ObserveMasking();
  absl::Status ObserveMoves();
  void ObserveDecode();
  absl::Status StopController();

  uint32_t Register(uint64_t offset) {
    return static_cast<uint32_t>(observer_.cpu().Load(bar_ + offset, 4));
  }
  void SetRegister(uint64_t offset, uint32_t value) {
    observer_.cpu().Store(bar_ + offset, 4, value);
  }
  uint64_t Entry(unsigned vector) const {
    return bar_ + table_ + vector * uint64_t{PCI_MSIX_ENTRY_SIZE};
  }
  void SetMessage(unsigned vector, uint32_t data);
  void SetMasked(unsigned vector, bool masked) {
    observer_.cpu().Store(Entry(vector) + PCI_MSIX_ENTRY_VECTOR_CTRL, 4,
                          masked ? PCI_MSIX_ENTRY_CTRL_MASKBIT : 0);
  }
  void SetMessageControl(uint16_t flags) {
    observer_.ecam().Write(
        bdf_, static_cast<uint16_t>(capability_ + PCI_MSIX_FLAGS), 2, flags);
  }
  uint64_t PendingBits() { return observer_.cpu().Load(bar_ + pending_, 8); }

  absl::Status WaitForReady(bool ready);
  absl::Status WaitForPending();
  // Notes which vector comes next. Fails if none does.
  absl::Status NoteInterrupt(std::string_view question);
  // Notes that vector 0 has not interrupted, because the next interrupt is the
  // I/O queue's.
  absl::Status NoteQuiet(std::string_view question);

  models::nvme::Command Identify() const;
  // Takes the admin queue's completions, and notes them.
  absl::Status NoteCompletions(std::string_view question, size_t expected);
  // Runs a command of the admin queue, and takes and notes its interrupt.
  absl::Status Run(const models::nvme::Command& command, std::string_view what);

  GuestQuestions& observer_;
  const pci::Bdf bdf_;
  uint64_t bar_;
  uint16_t capability_ = 0;
  uint64_t table_ = 0;
  uint64_t pending_ = 0;
  std::optional<guest::NvmeQueuePair> admin_;
  std::optional<guest::NvmeQueuePair> io_;
  uint64_t buffer_ = 0;
};

absl::Status NvmeQuestions::FindTable() {
  guest::EcamConfigAccess& ecam = observer_.ecam();
  auto at = static_cast<uint16_t>(ecam.Read(bdf_, PCI_CAPABILITY_LIST, 1));
  for (int i = 0; i < 48 && at >= PCI_STD_HEADER_SIZEOF; ++i) {
    if (ecam.Read(bdf_, at, 1) == PCI_CAP_ID_MSIX) {
      capability_ = at;
      table_ = ecam.Read(bdf_, static_cast<uint16_t>(at + PCI_MSIX_TABLE), 4);
      pending_ = ecam.Read(bdf_, static_cast<uint16_t>(at + PCI_MSIX_PBA), 4);
      observer_.Note("MSI-X Message Control",
                     ecam.Read(bdf_, at + PCI_MSIX_FLAGS, 2));
      observer_.Note("MSI-X table", table_);
      observer_.Note("MSI-X pending bits", pending_);
      // Both are in BAR 0, as the addresses above show.
      return absl::OkStatus();
    }
    at = static_cast<uint16_t>(ecam.Read(bdf_, at + PCI_CAP_LIST_NEXT, 1));
  }
  return absl::NotFoundError("guest: the NVMe controller has no MSI-X");
}

// The VMM emulates the table, so every access exits and a read shows what the
// guest wrote.
void NvmeQuestions::ObserveTable() {
  const uint64_t entry = Entry(0);
  observer_.Load("a vector's control, after reset",
                 entry + PCI_MSIX_ENTRY_VECTOR_CTRL, 4);
  observer_.Store("a vector's address", entry, 8, kMessageAddress);
  observer_.Store("a vector's data", entry + PCI_MSIX_ENTRY_DATA, 4, 0x1234);
  for (const unsigned width : {1u, 2u, 4u, 8u}) {
    observer_.Load("a vector's address", entry, width);
    observer_.Load("a vector's data", entry + PCI_MSIX_ENTRY_DATA, width);
  }
  observer_.Store("a vector's data", entry + PCI_MSIX_ENTRY_DATA, 1, 0x78);
  observer_.Store("a vector's data+2", entry + PCI_MSIX_ENTRY_DATA + 2, 2,
                  0x9abc);
  observer_.Load("a vector's data", entry + PCI_MSIX_ENTRY_DATA, 4);
  observer_.Load("the pending bits", bar_ + pending_, 8);
  observer_.Store("the pending bits", bar_ + pending_, 8, ~uint64_t{0});
  observer_.Load("the pending bits", bar_ + pending_, 8);
  observer_.Load("behind the table", Entry(65), 4);
}

void NvmeQuestions::SetMessage(unsigned vector, uint32_t data) {
  const uint64_t entry = Entry(vector);
  observer_.cpu().Store(entry + PCI_MSIX_ENTRY_LOWER_ADDR, 8, kMessageAddress);
  observer_.cpu().Store(entry + PCI_MSIX_ENTRY_DATA, 4, data);
}

absl::Status NvmeQuestions::WaitForReady(bool ready) {
  for (int i = 0; i < kLooks && !observer_.cpu().Stopping(); ++i) {
    const uint32_t status = Register(models::nvme::kRegCsts);
    if (((status & models::nvme::kCstsReady) != 0) == ready)
      return absl::OkStatus();
    // The device makes progress during this exit.
    PendingBits();
  }
  return absl::DeadlineExceededError(
      absl::StrCat("guest: the NVMe controller does not become ",
                   ready ? "ready" : "disabled"));
}

absl::Status NvmeQuestions::WaitForPending() {
  for (int i = 0; i < kLooks && !observer_.cpu().Stopping(); ++i) {
    if (PendingBits() != 0) return absl::OkStatus();
  }
  return absl::DeadlineExceededError("guest: no MSI-X vector becomes pending");
}

absl::Status NvmeQuestions::NoteInterrupt(std::string_view question) {
  const std::optional<guest::GuestInterrupt> taken =
      observer_.cpu().WaitForInterrupt();
  if (!taken.has_value()) {
    return absl::DeadlineExceededError(
        absl::StrCat("guest: no interrupt: ", question));
  }
  // A CPU sees no more of a message than its vector.
  observer_.Note(question,
                 absl::StrFormat("vector %#x", taken->data & uint32_t{0xff}));
  return absl::OkStatus();
}

absl::Status NvmeQuestions::NoteQuiet(std::string_view question) {
  models::nvme::Command flush;
  flush.set_opcode(models::nvme::IoOpcode::kFlush);
  flush.set_namespace_id(1);
  if (auto id = io_->Submit(flush); !id.ok()) return id.status();
  absl::Status status = NoteInterrupt(question);
  io_->Process();
  return status;
}

models::nvme::Command NvmeQuestions::Identify() const {
  models::nvme::Command identify;
  identify.set_opcode(models::nvme::AdminOpcode::kIdentify);
  identify.set_prp1(buffer_);
  identify.set_dword(10, models::nvme::kCnsController);
  return identify;
}

absl::Status NvmeQuestions::NoteCompletions(std::string_view question,
                                            size_t expected) {
  std::vector<models::nvme::Completion> done = admin_->Process();
  for (int i = 0; i < kLooks && done.size() < expected; ++i) {
    if (observer_.cpu().Stopping()) break;
    PendingBits();  // The device makes progress here.
    for (const models::nvme::Completion& more : admin_->Process())
      done.push_back(more);
  }
  const auto good = std::ranges::count_if(
      done,
      [](const models::nvme::Completion& one) { return one.status.ok(); });
  observer_.Note(question, absl::StrCat(good, " of ", done.size(), " good"));
  return done.size() == expected
             ? absl::OkStatus()
             : absl::DeadlineExceededError(absl::StrCat(
                   "guest: ", done.size(), " completions: ", question));
}

absl::Status NvmeQuestions::Run(const models::nvme::Command& command,
                                std::string_view what) {
  if (auto id = admin_->Submit(command); !id.ok()) return id.status();
  PASSTHRU_RETURN_IF_ERROR(NoteInterrupt(what));
  return NoteCompletions(absl::StrCat(what, ", the command"), 1);
}

// Follows NVMe 1.4, 7.6.1.
absl::Status NvmeQuestions::StartController() {
  const auto doorbells = [this] { return bar_ + models::nvme::kRegDoorbells; };
  auto admin = guest::NvmeQueuePair::Create(&observer_.cpu(), &observer_.ram(),
                                            0, kQueueEntries, doorbells);
  if (!admin.ok()) return admin.status();
  admin_ = *std::move(admin);
  PASSTHRU_ASSIGN_OR_RETURN(
      io_, guest::NvmeQueuePair::Create(&observer_.cpu(), &observer_.ram(), 1,
                                        kQueueEntries, doorbells));
  PASSTHRU_ASSIGN_OR_RETURN(auto buffer, observer_.ram().AllocatePages(1));
  buffer_ = buffer;

  observer_.ecam().Write(bdf_, PCI_COMMAND, 2,
                         PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
  SetRegister(models::nvme::kRegCc, 0);
  PASSTHRU_RETURN_IF_ERROR(WaitForReady(false));
  const uint32_t last = kQueueEntries - 1;
  SetRegister(models::nvme::kRegAqa, last << 16 | last);
  observer_.Store("the admin submission queue's register",
                  bar_ + models::nvme::kRegAsq, 8, admin_->submission_base());
  observer_.Load("the admin submission queue's register",
                 bar_ + models::nvme::kRegAsq, 8);
  SetRegister(models::nvme::kRegAcq,
              static_cast<uint32_t>(admin_->completion_base()));
  SetRegister(models::nvme::kRegAcq + 4,
              static_cast<uint32_t>(admin_->completion_base() >> 32));
  // Selects the NVM command set, or all command sets if CAP.CSS bit 6 is set.
  const uint32_t command_set =
      (Register(models::nvme::kRegCap + 4) & uint32_t{1} << 11) != 0 ? 6 : 0;
  SetRegister(models::nvme::kRegCc,
              uint32_t{models::nvme::Completion::kSizeShift} << 20 |
                  uint32_t{models::nvme::Command::kSizeShift} << 16 |
                  command_set << 4 | models::nvme::kCcEnable);
  return WaitForReady(true);
}

absl::Status NvmeQuestions::CreateIoQueue() {
  const uint32_t size_and_id = uint32_t{kQueueEntries - 1} << 16 | 1;
  constexpr uint32_t kContiguous = 1;
  constexpr uint32_t kInterruptsEnabled = 2;
  models::nvme::Command create;
  create.set_opcode(models::nvme::AdminOpcode::kCreateIoCompletionQueue);
  create.set_prp1(io_->completion_base());
  create.set_dword(10, size_and_id);
  create.set_dword(11, 1 << 16 | kInterruptsEnabled | kContiguous);
  PASSTHRU_RETURN_IF_ERROR(Run(create, "Create I/O Completion Queue"));
  create.set_opcode(models::nvme::AdminOpcode::kCreateIoSubmissionQueue);
  create.set_prp1(io_->submission_base());
  create.set_dword(11, 1 << 16 | kContiguous);
  return Run(create, "Create I/O Submission Queue");
}

absl::Status NvmeQuestions::ObserveDelivery() {
  observer_.Section("msix");
  SetMessage(0, kAdminVector);
  SetMessage(1, kIoVector);
  observer_.Note("exits of unmasking a vector",
                 observer_.ExitsOf([&] { SetMasked(0, false); }));
  SetMasked(1, false);
  SetMessageControl(PCI_MSIX_FLAGS_ENABLE);
  PASSTHRU_RETURN_IF_ERROR(Run(Identify(), "a command completes"));
  PASSTHRU_RETURN_IF_ERROR(CreateIoQueue());
  return NoteQuiet("the other queue's command completes");
}

absl::Status NvmeQuestions::ObserveMasking() {
  SetMasked(0, true);
  if (auto id = admin_->Submit(Identify()); !id.ok()) return id.status();
  PASSTHRU_RETURN_IF_ERROR(WaitForPending());
  observer_.Note("pending bits of a masked vector", PendingBits());
  PASSTHRU_RETURN_IF_ERROR(NoteCompletions("its command", 1));
  PASSTHRU_RETURN_IF_ERROR(NoteQuiet("next after it"));
  if (auto id = admin_->Submit(Identify()); !id.ok()) return id.status();
  PASSTHRU_RETURN_IF_ERROR(NoteCompletions("a second command", 1));
  PASSTHRU_RETURN_IF_ERROR(NoteQuiet("next after it"));
  observer_.Note("pending bits still", PendingBits());
  SetMasked(0, false);
  PASSTHRU_RETURN_IF_ERROR(NoteInterrupt("unmasked"));
  observer_.Note("pending bits then", PendingBits());
  PASSTHRU_RETURN_IF_ERROR(NoteQuiet("next after one for both"));

  SetMasked(0, true);
  SetMessage(0, kOtherAdminVector);
  SetMasked(0, false);
  PASSTHRU_RETURN_IF_ERROR(Run(Identify(), "with another message"));

  SetMessageControl(PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
  if (auto id = admin_->Submit(Identify()); !id.ok()) return id.status();
  PASSTHRU_RETURN_IF_ERROR(WaitForPending());
  observer_.Note("pending bits of a masked function", PendingBits());
  SetMessageControl(PCI_MSIX_FLAGS_ENABLE);
  PASSTHRU_RETURN_IF_ERROR(NoteInterrupt("function unmasked"));
  PASSTHRU_RETURN_IF_ERROR(NoteCompletions("its command", 1));
  return NoteQuiet("next after it");
}

// Registers, table and doorbells answer at the new address and not at the old.
absl::Status NvmeQuestions::ObserveMoves() {
  observer_.Section("move");
  for (const bool decoding : {false, true}) {
    const std::string_view how = decoding ? "decoding" : "not decoding";
    const uint64_t old = bar_;
    bar_ += kMove;
    observer_.SetMemoryDecode(bdf_, decoding);
    observer_.SetBarAddress(bdf_, 0, bar_);
    observer_.SetMemoryDecode(bdf_, true);
    observer_.Note(absl::StrCat("moved, ", how), observer_.BarAddress(bdf_, 0));
    observer_.Load("the version", bar_ + models::nvme::kRegVs, 4);
    observer_.Load("the version, where it was", old + models::nvme::kRegVs, 4);
    observer_.Load("a vector's data", Entry(0) + PCI_MSIX_ENTRY_DATA, 4);
    observer_.Load("a vector's data, where it was",
                   old + table_ + PCI_MSIX_ENTRY_DATA, 4);
    PASSTHRU_RETURN_IF_ERROR(Run(Identify(), "a command completes"));
  }
  return NoteQuiet("the other queue's command completes");
}

void NvmeQuestions::ObserveDecode() {
  observer_.Section("decode");
  observer_.SetMemoryDecode(bdf_, false);
  observer_.Load("the version, off", bar_ + models::nvme::kRegVs, 4);
  observer_.Load("the capabilities, off", bar_ + models::nvme::kRegCap, 8);
  observer_.Load("a vector's data, off", Entry(0) + PCI_MSIX_ENTRY_DATA, 4);
  observer_.Store("the controller's configuration, off",
                  bar_ + models::nvme::kRegCc, 4, 0);
  observer_.Store("a vector's data, off", Entry(0) + PCI_MSIX_ENTRY_DATA, 4,
                  0xff);
  observer_.SetMemoryDecode(bdf_, true);
  observer_.Load("the version, on", bar_ + models::nvme::kRegVs, 4);
  observer_.Load("the status, on", bar_ + models::nvme::kRegCsts, 4);
  observer_.Load("a vector's data, on", Entry(0) + PCI_MSIX_ENTRY_DATA, 4);
}

absl::Status NvmeQuestions::StopController() {
  SetMasked(0, true);
  SetMasked(1, true);
  SetMessageControl(0);
  SetRegister(models::nvme::kRegCc, 0);
  absl::Status status = WaitForReady(false);
  observer_.ecam().Write(bdf_, PCI_COMMAND, 2, 0);
  return status;
}

absl::Status NvmeQuestions::Run() {
  observer_.Section("registers");
  PASSTHRU_RETURN_IF_ERROR(FindTable());
  // The upper half of CAP is not the same in all versions of QEMU.
  for (const unsigned width : {1u, 2u, 4u}) {
    observer_.Load("the capabilities", bar_ + models::nvme::kRegCap, width);
  }
  for (const unsigned width : {1u, 2u, 4u, 8u}) {
    observer_.Load("the version", bar_ + models::nvme::kRegVs, width);
  }
  observer_.Section("trapped");
  ObserveTable();
  PASSTHRU_RETURN_IF_ERROR(StartController());
  PASSTHRU_RETURN_IF_ERROR(ObserveDelivery());
  PASSTHRU_RETURN_IF_ERROR(ObserveMasking());
  PASSTHRU_RETURN_IF_ERROR(ObserveMoves());
  ObserveDecode();
  observer_.Section("end");
  PASSTHRU_RETURN_IF_ERROR(Run(Identify(), "a command completes"));
  PASSTHRU_RETURN_IF_ERROR(NoteQuiet("next after it"));
  return StopController();
}

}  // namespace

absl::Status ObserveNvme(GuestQuestions& observer) {
  return NvmeQuestions(observer).Run();
}

}  // namespace passthru::contract
