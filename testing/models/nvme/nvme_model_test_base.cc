// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/models/nvme/nvme_model_test_base.h"

#include <algorithm>
#include <cstdint>

#include "gtest/gtest.h"
#include "passthru/testing/models/nvme/nvme_model.h"
#include "passthru/testing/models/nvme/nvme_spec.h"

namespace passthru::models::nvme {
namespace {

uint64_t SubmissionRing(uint16_t id) {
  return id == 0 ? NvmeModelTestBase::kAdminSq
                 : NvmeModelTestBase::kIoQueues + (id - 1) * 0x2000;
}
uint64_t CompletionRing(uint16_t id) {
  return id == 0 ? NvmeModelTestBase::kAdminCq : SubmissionRing(id) + 0x1000;
}

}  // namespace

NvmeModelTestBase::NvmeModelTestBase()
    : host_(kMemory, 0x200000),
      nvme_(NvmeModel::Create({.blocks = 2048}).value()) {
  nvme_->set_host(&host_);
}

void NvmeModelTestBase::ProgramAdminQueues() {
  rings_.clear();
  std::ranges::fill(host_.Bytes(kAdminCq, 0x1000), uint8_t{0});
  Write(0x24, 0x000f000f);
  Write(0x28, kAdminSq, 8);
  Write(0x30, kAdminCq, 8);
}

void NvmeModelTestBase::Enable() {
  ProgramAdminQueues();
  Write(0x14, kEnable);
  nvme_->Step();
}

void NvmeModelTestBase::CreateIoQueues(uint16_t id, uint16_t vector,
                                       bool interrupts) {
  rings_.erase(id);
  std::ranges::fill(host_.Bytes(CompletionRing(id), 0x1000), uint8_t{0});
  Command create;
  create.set_opcode(AdminOpcode::kCreateIoCompletionQueue);
  create.set_prp1(CompletionRing(id));
  create.set_dword(10, uint32_t{kEntries - 1} << 16 | id);
  create.set_dword(11, uint32_t{vector} << 16 | (interrupts ? 3 : 1));
  ASSERT_TRUE(RunAdmin(create).status.ok());
  create.set_opcode(AdminOpcode::kCreateIoSubmissionQueue);
  create.set_prp1(SubmissionRing(id));
  create.set_dword(11, uint32_t{id} << 16 | 1);
  ASSERT_TRUE(RunAdmin(create).status.ok());
}

void NvmeModelTestBase::Submit(uint16_t id, const Command& command) {
  Ring& ring = rings_[id];
  std::ranges::copy(
      command.bytes(),
      host_.Bytes(SubmissionRing(id) + ring.submission_tail * 64, 64).begin());
  ring.submission_tail = (ring.submission_tail + 1) % kEntries;
  Write(0x1000 + 8 * id, ring.submission_tail);
}

Completion NvmeModelTestBase::Run(uint16_t id, const Command& command) {
  Submit(id, command);
  while (nvme_->Step()) {
  }
  Ring& ring = rings_[id];
  const Completion completion = Completion::Decode(
      host_.Bytes(CompletionRing(id) + ring.completion_head * 16, 16));
  EXPECT_EQ(completion.phase, ring.phase) << "no completion was posted";
  if (completion.phase != ring.phase) return completion;
  ring.completion_head = (ring.completion_head + 1) % kEntries;
  if (ring.completion_head == 0) ring.phase = !ring.phase;
  Write(0x1004 + 8 * id, ring.completion_head);
  return completion;
}

}  // namespace passthru::models::nvme
