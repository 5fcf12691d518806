// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_MODELS_NVME_NVME_MODEL_TEST_BASE_H_
#define PASSTHRU_TESTING_MODELS_NVME_NVME_MODEL_TEST_BASE_H_

#include <cstdint>
#include <map>
#include <memory>

#include "gtest/gtest.h"
#include "passthru/pci/bar_index.h"
#include "passthru/testing/models/flat_memory.h"
#include "passthru/testing/models/nvme/nvme_model.h"
#include "passthru/testing/models/nvme/nvme_spec.h"

namespace passthru::models::nvme {

// A test base class with an NvmeModel over flat memory and a minimal driver,
// which knows where its rings of 16 entries are. Tests write registers as
// numbers, so that they do not check the model's constants against themselves.
class NvmeModelTestBase : public ::testing::Test {
 public:
  static constexpr pci::BarIndex kBar0{0};
  static constexpr uint64_t kMemory = 0x100000;
  static constexpr uint64_t kAdminSq = 0x100000;
  static constexpr uint64_t kAdminCq = 0x101000;
  static constexpr uint64_t kIoQueues = 0x102000;
  static constexpr uint64_t kData = 0x140000;
  static constexpr uint64_t kNowhere = 0x40000000;
  static constexpr uint16_t kEntries = 16;
  // IOCQES 4, IOSQES 6, EN.
  static constexpr uint32_t kEnable = 0x00460001;

 protected:
  NvmeModelTestBase();

  uint64_t Read(uint64_t offset, unsigned width = 4) {
    return nvme_->ReadBar(kBar0, offset, width);
  }
  void Write(uint64_t offset, uint64_t value, unsigned width = 4) {
    nvme_->WriteBar(kBar0, offset, width, value);
  }

  void ProgramAdminQueues();
  // Programs the admin queues and waits for CSTS.RDY.
  void Enable();
  // Creates completion queue and submission queue `id`.
  void CreateIoQueues(uint16_t id, uint16_t vector, bool interrupts = true);

  // Put the command into the ring and ring the doorbell.
  void SubmitAdmin(const Command& command) { Submit(0, command); }
  void SubmitIo(uint16_t id, const Command& command) { Submit(id, command); }
  // Submit, step until idle, and consume the one completion.
  Completion RunAdmin(const Command& command) { return Run(0, command); }
  Completion RunIo(uint16_t id, const Command& command) {
    return Run(id, command);
  }

  FlatMemory host_;
  std::unique_ptr<NvmeModel> nvme_;

 private:
  struct Ring {
    uint16_t submission_tail = 0;
    uint16_t completion_head = 0;
    bool phase = true;
  };

  void Submit(uint16_t id, const Command& command);
  Completion Run(uint16_t id, const Command& command);

  std::map<uint16_t, Ring> rings_;
};

}  // namespace passthru::models::nvme

#endif  // PASSTHRU_TESTING_MODELS_NVME_NVME_MODEL_TEST_BASE_H_
