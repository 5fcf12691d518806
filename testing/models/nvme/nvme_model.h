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
#include "passthru/testing/models/nvme/nvme_cmb.h"
#include "passthru/testing/models/nvme/nvme_command_outcome.h"
#include "passthru/testing/models/nvme/nvme_io.h"
#include "passthru/testing/models/nvme/nvme_queue.h"
#include "passthru/testing/models/nvme/nvme_spec.h"

namespace passthru::models::nvme {

// An NVM Express 1.4 controller with one namespace. It looks like QEMU 7.2's
// from outside (capabilities, version, identification) and behaves as the
// specification says. Registers are the first 8 KiB of BAR 0. The platform
// handles the MSI-X table and PBA behind them.
//
// The controller signals by the MSI-X vector of the completion queue, by the
// same MSI vector, or by its pin, as the configuration space selects.
//
// Controller state changes (ready, not ready, shut down) take a moment. They
// show after the next Step() or one read of CSTS later, so that software which
// does not wait for them fails.
//
// If the platform refuses the DMA of a command's data, the command fails with
// Data Transfer Error. If the platform refuses the DMA of a queue, the
// controller stops with CSTS.CFS set until it is reset, as QEMU's does. The
// controller ignores and counts doorbells of queues that do not exist, and
// doorbells with impossible values.
//
// Disabling the controller (CC.EN) keeps AQA, ASQ and ACQ. Every ResetKind
// clears all registers. The medium survives all resets, and that of a disk
// image also the process.
//
// Thread-compatible, as DeviceModel says.
class NvmeModel final : public DeviceModel {
 public:
  // CAP and VS as captured. CAP tells of 2048 entries, contiguous queues, a 7.5
  // s timeout, the NVM command set, I/O command sets and pages of 4 to 64 KiB.
  // VS is 1.4.
  static constexpr uint64_t kCapabilities = 0x004018200f0107ff;
  static constexpr uint32_t kVersion = 0x00010400;
  static constexpr uint32_t kMaxQueueEntries = 0x800;
  static constexpr uint64_t kRegisterBytes = 0x2000;

  struct Options {
    uint64_t blocks = 2048;  // Of 512 bytes. At least 1.
    // A disk image, which takes the place of memory and decides the size. Empty
    // for none.
    std::string disk_file;
    // The size of a controller memory buffer in BAR 2, a multiple of 1 MiB, or
    // 0 for none.
    uint64_t cmb_bytes = 0;
    uint16_t max_io_queues = 64;     // Pairs, 1 to 511 (as many doorbells).
    uint16_t vectors = 65;           // Size of the MSI-X table, 1 to 2048.
    uint8_t max_transfer_shift = 7;  // MDTS, 2^n pages of 4 KiB, 1 to 10.
    std::string serial_number = "PASSTHRU0001";
  };

  struct Counters {
    uint64_t admin_commands = 0;
    uint64_t io_commands = 0;
    uint64_t failed_commands = 0;  // Those with an error status.
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
  // Completes a pending change of state, or executes one command of one queue.
  bool Step() override;
  void Reset(ResetKind kind) override;

  BlockStore& store() { return *store_; }
  const Counters& counters() const { return counters_; }
  const IoCommands::Counters& io_counters() const { return io_.counters(); }

 private:
  NvmeModel(Options options, std::unique_ptr<BlockStore> store);

  uint32_t ReadDword(uint64_t offset);
  void WriteDword(uint64_t offset, uint32_t value);
  void WriteConfiguration(uint32_t value);
  void WriteDoorbell(uint64_t offset, uint32_t value);

  void Enable();
  void Disable();
  // Returns whether the controller can start with CC, AQA, ASQ and ACQ.
  bool ConfigurationIsValid() const;
  void SettleState();
  bool Running() const;
  void Fail();

  void ExecuteNext(SubmissionQueue& queue);
  void Complete(CompletionQueue& queue, const Completion& completion);
  void UpdatePin();
  uint64_t PageSize() const;

  const Options options_;
  const std::unique_ptr<BlockStore> store_;
  ControllerMemory memory_buffer_;
  QueueTable queues_;
  AdminCommands admin_;
  IoCommands io_;

  uint32_t interrupt_mask_ = 0;
  uint32_t configuration_ = 0;
  uint32_t status_ = 0;
  // The value of CSTS after the change under way.
  std::optional<uint32_t> next_status_;
  uint32_t admin_queue_attributes_ = 0;
  uint64_t admin_submission_base_ = 0;
  uint64_t admin_completion_base_ = 0;
  // The queue that was served last, for round robin.
  uint16_t last_served_ = 0xffff;
  bool pin_ = false;
  Counters counters_;
};

}  // namespace passthru::models::nvme

#endif  // PASSTHRU_TESTING_MODELS_NVME_NVME_MODEL_H_
