// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_GUEST_AGENT_CPU_H_
#define PASSTHRU_VMM_GUEST_AGENT_CPU_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "passthru/devices/bus/bus_device.h"
#include "passthru/testing/guest/guest_cpu.h"
#include "passthru/vmm/guest/agent_layout.h"
#include "passthru/vmm/machine.h"

namespace passthru::vmm {

// A GuestCpu on real KVM: each load, store, port access and wait of a guest
// program is executed by vCPU 0 of a machine, in the guest, through the agent
// (agent.S). So the same program that runs behind the fake's KVM_RUN touches
// real mapped BARs and takes real interrupts. Only what is in RAM is read and
// written from here: it is the same memory, and a driver's buffers are large.
//
// The program runs on a thread of this object's; the agent asks for its next
// command with an OUT, which the vCPU's exit loop brings here. Those exits are
// its own: see agent_exits().
//
// Thread-safe where it matters: the program's thread, the vCPU's and the
// owner's.
class AgentCpu final : public guest::GuestCpu {
 public:
  // Longer than any device here takes; a wait that ends this way is a failure
  // of the program, not a matter of timing.
  static constexpr absl::Duration kWaitLimit = absl::Seconds(20);

  // Puts the agent into the machine's RAM, vCPU 0 at its first instruction, and
  // its ports on the machine's port bus. `machine` outlives it.
  static absl::StatusOr<std::unique_ptr<AgentCpu>> Create(Machine* machine);
  // Stops the program and waits for it. The vCPU must not be running.
  ~AgentCpu() override;

  // Runs `program` once, on a thread of its own; the vCPU must be run by the
  // caller. When the program has returned, or the agent died, `end_vcpu` is
  // called, from the vCPU's thread within an exit or from the program's:
  // VcpuRunner::Stop(). (No exit ends a guest on every host: some KVMs do not
  // take a triple fault.)
  void Start(guest::GuestProgram program, std::function<void()> end_vcpu);
  // Waits for the program and returns what it returned, or why the agent died.
  absl::Status Join();
  // From now on the program sees a platform that is gone, as GuestCpu says.
  void Stop();

  // How many exits were the agent's own: asking for a command, ending.
  uint64_t agent_exits() const;

  // fake::GuestCpu; for the program's thread.
  uint64_t Load(uint64_t address, unsigned width) override;
  void Store(uint64_t address, unsigned width, uint64_t value) override;
  uint32_t In(uint16_t port, unsigned width) override;
  void Out(uint16_t port, unsigned width, uint32_t value) override;
  std::optional<guest::GuestInterrupt> WaitForInterrupt() override;
  bool Stopping() const override;

 private:
  class Port;

  // An interrupt that only says "the wait is over": above every vector that a
  // device is given (fake::MsiAllocator).
  static constexpr uint8_t kTimeoutVector = 0xf0;

  struct Command {
    AgentOp op = AgentOp::kStop;
    uint32_t width = 0;
    uint64_t address = 0;
    uint64_t value = 0;
  };

  explicit AgentCpu(Machine* machine) : machine_(machine) {}

  AgentMailbox& mailbox() const;
  // Where `width` bytes of RAM are, or null if any of them is not RAM.
  uint8_t* Ram(uint64_t address, unsigned width) const;

  // The agent's value, or nullopt when the platform is gone or, after
  // kWaitLimit, the agent was made to give up.
  std::optional<uint64_t> Execute(const Command& command);
  // On the vCPU's thread, while the agent stands in its OUT.
  void OnCommandPort();
  void OnExceptionPort(uint8_t vector);
  void OnStopPort();
  bool AskingOrGone() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return asking_ || stopping_;
  }
  bool CommandOrGone() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return has_command_ || stopping_;
  }

  Machine* const machine_;
  bus::RangeHandle port_;

  mutable absl::Mutex mutex_;
  // The agent stands in its OUT: the mailbox is ours.
  bool asking_ ABSL_GUARDED_BY(mutex_) = false;
  bool has_command_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  Command command_ ABSL_GUARDED_BY(mutex_);
  uint64_t agent_exits_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status agent_status_ ABSL_GUARDED_BY(mutex_);
  absl::Status program_status_ ABSL_GUARDED_BY(mutex_);
  std::function<void()> end_vcpu_;  // Set before the vCPU runs.
  std::thread thread_;
};

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_GUEST_AGENT_CPU_H_
