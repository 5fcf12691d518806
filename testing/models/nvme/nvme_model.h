// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_MODELS_NVME_NVME_MODEL_H_
#define PASSTHRU_TESTING_MODELS_NVME_NVME_MODEL_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "passthru/pci/bar_index.h"
#include "passthru/testing/models/device_model.h"
#include "passthru/testing/models/nvme/block_store.h"
#include "passthru/testing/models/nvme/nvme_admin.h"
#include "passthru/testing/models/nvme/nvme_command_outcome.h"
#include "passthru/testing/models/nvme/nvme_io.h"
#include "passthru/testing/models/nvme/nvme_queue.h"
#include "passthru/testing/models/nvme/nvme_spec.h"

namespace passthru::models::nvme {

// An NVM Express 1.4 controller with one namespace, as QEMU 7.2's looks from
// outside (capabilities, version, identification) and as the specification says
// it behaves. Registers are the first 8 KiB of BAR 0; what follows there is the
// MSI-X table and PBA, which are the platform's.
//
// Signals by the MSI-X vector of the completion queue, by the same MSI vector,
// or by its pin, whichever the configuration space selects.
//
// Controller state changes (ready, not ready, shut down) take a moment: they
// show after the next Step() or one look at CSTS later, so that software that
// does not wait for them fails.
//
// Where the platform refuses the DMA of a command's data, the command fails
// with Data Transfer Error; where it refuses a queue itself, the controller
// stops with CSTS.CFS set until it is reset (as QEMU's does). Doorbells of
// queues that do not exist, or with impossible values, are ignored and counted.
//
// Resets: disabling the controller (CC.EN) keeps AQA, ASQ and ACQ; every
// ResetKind clears all registers. The medium survives all of them.
//
// Thread-compatible, as DeviceModel says.
class NvmeModel final : public DeviceModel {
 public:
  // CAP and VS as captured: 2048 entries, contiguous queues, 7.5 s timeout,
  // the NVM command set and I/O command sets, pages of 4 to 64 KiB; 1.4.
  static constexpr uint64_t kCapabilities = 0x004018200f0107ff;
  static constexpr uint32_t kVersion = 0x00010400;
  static constexpr uint32_t kMaxQueueEntries = 0x800;
  static constexpr uint64_t kRegisterBytes = 0x2000;

  struct Options {
    uint64_t blocks = 2048;       // Of 512 bytes. At least 1.
    uint16_t max_io_queues = 64;  // Pairs: 1 to 511, what the doorbells hold.
    uint16_t vectors = 65;        // Size of the MSI-X table, 1 to 2048.
    uint8_t max_transfer_shift = 7;  // MDTS: 2^n pages of 4 KiB, 1 to 10.
    std::string serial_number = "PASSTHRU0001";
  };

  struct Counters {
    uint64_t admin_commands = 0;
    uint64_t io_commands = 0;
    uint64_t failed_commands = 0;  // Completed with an error status.
    uint64_t completions = 0;
    uint64_t interrupts = 0;
    uint64_t invalid_doorbells = 0;
  };

  static absl::StatusOr<std::unique_ptr<NvmeModel>> Create(Options options);

  std::string_view name() const override { return "nvme"; }
  bool HandlesBar(pci::BarIndex bar, uint64_t offset) const override;
  bool IsDoorbell(pci::BarIndex bar, uint64_t offset) const override;
  uint64_t ReadBar(pci::BarIndex bar, uint64_t offset, unsigned width) override;
  void WriteBar(pci::BarIndex bar, uint64_t offset, unsigned width,
                uint64_t value) override;
  // A pending change of state, or one command of one queue.
  bool Step() override;
  void Reset(ResetKind kind) override;

  BlockStore& store() { return store_; }
  const Counters& counters() const { return counters_; }
  const IoCommands::Counters& io_counters() const { return io_.counters(); }

 private:
  explicit NvmeModel(Options options);

  uint32_t ReadDword(uint64_t offset);
  void WriteDword(uint64_t offset, uint32_t value);
  void WriteConfiguration(uint32_t value);
  void WriteDoorbell(uint64_t offset, uint32_t value);

  void Enable();
  void Disable();
  // Whether CC, AQA, ASQ and ACQ describe something that can be started.
  bool ConfigurationIsValid() const;
  void SettleState();
  bool Running() const;
  void Fail();

  void ExecuteNext(SubmissionQueue& queue);
  void Complete(CompletionQueue& queue, const Completion& completion);
  void UpdatePin();
  uint64_t PageSize() const;

  const Options options_;
  BlockStore store_;
  QueueTable queues_;
  AdminCommands admin_;
  IoCommands io_;

  uint32_t interrupt_mask_ = 0;
  uint32_t configuration_ = 0;
  uint32_t status_ = 0;
  // What CSTS becomes once the change under way is done.
  std::optional<uint32_t> next_status_;
  uint32_t admin_queue_attributes_ = 0;
  uint64_t admin_submission_base_ = 0;
  uint64_t admin_completion_base_ = 0;
  // Round robin: the queue that was served last.
  uint16_t last_served_ = 0xffff;
  bool pin_ = false;
  Counters counters_;
};

}  // namespace passthru::models::nvme

#endif  // PASSTHRU_TESTING_MODELS_NVME_NVME_MODEL_H_
