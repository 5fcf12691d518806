// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_GUEST_DRIVERS_GUEST_NVME_H_
#define PASSTHRU_TESTING_GUEST_DRIVERS_GUEST_NVME_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "passthru/testing/guest/drivers/nvme_queue_pair.h"
#include "passthru/testing/guest/linux/guest_machine.h"
#include "passthru/testing/guest/linux/guest_ram.h"
#include "passthru/testing/guest/linux/linux_irq_vectors.h"
#include "passthru/testing/guest/linux/linux_pci_device.h"
#include "passthru/testing/models/nvme/nvme_spec.h"

namespace passthru::guest {

// What the driver found and did. Tests check it and the demo prints it.
struct GuestNvmeReport {
  std::string model;
  std::string serial;
  std::string firmware;
  uint32_t version = 0;
  uint64_t blocks = 0;
  uint64_t block_size = 0;
  uint64_t max_transfer_bytes = 0;
  std::string interrupt_kind;  // "MSI-X" or "MSI".
  uint16_t interrupt_vectors = 0;
  uint16_t io_queues = 0;
  uint64_t commands = 0;
  uint64_t blocks_written = 0;
  uint64_t blocks_read = 0;
  uint64_t blocks_verified = 0;
  uint64_t blocks_wrong = 0;
  // The number of interrupts taken by each vector of the function. The admin
  // queue has vector 0 and queue n has vector n, or the last vector if there
  // are fewer.
  std::vector<uint64_t> interrupts;
};

// A driver for NVM Express controllers, with the steps of Linux's
// drivers/nvme/host/pci.c. It brings the admin queue up with one vector,
// identifies the controller, agrees on the number of queues, allocates all
// vectors anew and creates one I/O queue pair for each. It waits for every
// command by interrupt and never polls the queue. It polls only CSTS, as the
// specification demands.
//
// Only the guest's thread may use it. `machine` and `device` must outlive it.
// The caller must call Shutdown() before destruction, like a driver's remove
// function.
class GuestNvme {
 public:
  struct Options {
    // Whether WriteAndVerify() refuses, so that the driver writes nothing to
    // the medium.
    bool read_only = false;
    uint16_t io_queues = 2;
    uint16_t queue_entries = 16;
    // Blocks per command. They span pages, so that the driver uses PRP lists.
    uint16_t blocks_per_command = 24;
    // How often the driver reads CSTS before it gives up on a change of state.
    // The specification counts seconds (CAP.TO), but a guest here has no clock.
    int status_looks = 1'000'000;
  };

  // Starts the driver. The device's BARs must have been placed. On failure,
  // interrupts and bus mastering are off again.
  static absl::StatusOr<std::unique_ptr<GuestNvme>> Start(
      GuestMachine* machine, LinuxPciDevice* device, Options options);

  // Writes `count` blocks of a pattern made of `seed` and the block number,
  // spread over all I/O queues with several commands in flight, flushes,
  // overwrites the buffers, reads the blocks back and compares. Returns a
  // DataLoss error that names the first block that differs.
  absl::Status WriteAndVerify(uint64_t first, uint64_t count, uint64_t seed);

  // Reads `count` blocks the same way, without checking their contents.
  absl::Status Read(uint64_t first, uint64_t count);

  // Deletes the I/O queues, shuts the controller down and disables it, frees
  // the interrupts and turns bus mastering off.
  absl::Status Shutdown();

  GuestNvmeReport report() const;

 private:
  static constexpr uint64_t kPage = GuestRam::kPageSize;
  static constexpr uint32_t kNamespace = 1;

  // Guest pages for one command's data, with a PRP list if it needs one.
  struct Buffer {
    std::vector<uint64_t> pages;
    uint64_t list = 0;
  };
  struct Transfer {
    uint64_t first;
    uint64_t count;
    size_t buffer;
  };

  GuestNvme(GuestMachine* machine, LinuxPciDevice* device, Options options);

  absl::Status Enable();
  absl::Status ConfigureAdminQueue();
  absl::Status Identify();
  absl::Status SetUpIoQueues();
  absl::Status CreateIoQueue(uint16_t id, uint16_t vector);
  absl::Status AllocateBuffers();
  absl::Status DeleteIoQueues();
  // Frees the interrupts and turns bus mastering off.
  void Release();

  absl::Status DisableController();
  absl::Status WaitForStatus(uint32_t mask, uint32_t value, const char* what);
  absl::Status RequestVector(uint16_t vector, const char* name);
  void HandleInterrupt(uint16_t vector);

  uint64_t RegisterBase() const;
  uint32_t ReadRegister(uint64_t offset);
  void WriteRegister(uint64_t offset, uint32_t value);
  void WriteRegister64(uint64_t offset, uint64_t value);

  absl::StatusOr<models::nvme::Completion> RunAdmin(
      const models::nvme::Command& command, const char* what);
  // Takes from the range as many commands as may be in flight at once, or
  // fewer.
  std::vector<Transfer> NextWave(uint64_t& first, uint64_t& count) const;
  absl::Status RunWave(models::nvme::IoOpcode opcode,
                       absl::Span<const Transfer> transfers);
  models::nvme::Command TransferCommand(models::nvme::IoOpcode opcode,
                                        const Transfer& transfer) const;
  absl::Status CheckRange(uint64_t first, uint64_t count) const;
  absl::Status Flush();
  void FillBuffer(const Transfer& transfer, uint64_t seed);
  void PoisonBuffer(const Transfer& transfer);
  absl::Status VerifyBuffer(const Transfer& transfer, uint64_t seed);
  uint16_t VectorOf(uint16_t queue) const;

  GuestMachine* const machine_;
  LinuxPciDevice* const device_;
  const Options options_;

  std::unique_ptr<LinuxIrqVectors> vectors_;
  // The admin queue comes first. A deque, because handlers refer to its
  // elements.
  std::deque<NvmeQueuePair> queues_;
  // Completions by queue. The interrupt handler adds them.
  std::deque<std::vector<models::nvme::Completion>> completions_;
  std::vector<Buffer> buffers_;
  uint64_t blocks_per_command_ = 0;
  uint64_t capabilities_ = 0;
  uint64_t admin_buffer_ = 0;
  GuestNvmeReport report_;
};

}  // namespace passthru::guest

#endif  // PASSTHRU_TESTING_GUEST_DRIVERS_GUEST_NVME_H_
