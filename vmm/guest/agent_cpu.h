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

// A GuestCpu on real KVM. The guest program runs on a thread of this object,
// and vCPU 0 of a machine executes each of its loads, stores, port accesses and
// waits in the guest, through the agent (agent.S). So the program that also
// runs behind the simulated KVM_RUN accesses real mapped BARs and takes real
// interrupts. AgentCpu itself makes only the accesses to RAM, which is the same
// memory, because a driver's buffers are large.
//
// The agent requests each command with an OUT, which the vCPU's exit loop
// passes to this object. agent_exits() counts these exits.
//
// The program's thread, the vCPU's thread and the owner's thread may use this
// at the same time, each with the methods for it.
class AgentCpu final : public guest::GuestCpu {
 public:
  // The time limit of a command. It is longer than any device here takes, so a
  // wait that reaches it has failed.
  static constexpr absl::Duration kWaitLimit = absl::Seconds(20);

  // Writes the agent into the machine's RAM, sets vCPU 0 to the agent's first
  // instruction, and adds the agent's ports to the port bus. `machine` must
  // outlive the returned object.
  static absl::StatusOr<std::unique_ptr<AgentCpu>> Create(Machine* machine);
  // Stops the program and waits for its end. The vCPU must not be running.
  ~AgentCpu() override;

  // Runs `program` once, on a thread of its own, while the caller runs the
  // vCPU. When the program has returned or the agent has failed, this calls
  // `end_vcpu`, which should call VcpuRunner::Stop(). The call comes from the
  // vCPU's thread within an exit or from the program's thread. (The guest
  // cannot end the vCPU's run on every host, because some KVMs do not report a
  // triple fault.)
  void Start(guest::GuestProgram program, std::function<void()> end_vcpu);
  // Waits for the end of the program. Returns the program's status, or the
  // failure of the agent if there was one.
  absl::Status Join();
  // Makes the program see a stopped VM from now on (see GuestCpu).
  void Stop();

  // Returns how many exits the agent made to request a command or to end.
  uint64_t agent_exits() const;

  // The methods of guest::GuestCpu, for the program's thread.
  uint64_t Load(uint64_t address, unsigned width) override;
  void Store(uint64_t address, unsigned width, uint64_t value) override;
  uint32_t In(uint16_t port, unsigned width) override;
  void Out(uint16_t port, unsigned width, uint32_t value) override;
  std::optional<guest::GuestInterrupt> WaitForInterrupt() override;
  bool Stopping() const override;

 private:
  class Port;

  // The vector of an interrupt that only ends a wait. It is above every vector
  // that guest::MsiAllocator allocates.
  static constexpr uint8_t kTimeoutVector = 0xf0;

  struct Command {
    AgentOp op = AgentOp::kStop;
    uint32_t width = 0;
    uint64_t address = 0;
    uint64_t value = 0;
  };

  explicit AgentCpu(Machine* machine) : machine_(machine) {}

  AgentMailbox& mailbox() const;
  // Returns a pointer to `width` bytes of RAM, or null if one of them is not
  // RAM.
  uint8_t* Ram(uint64_t address, unsigned width) const;

  // Lets the agent execute `command` and returns the value that it answers.
  // Returns nullopt if the VM stops or the agent exceeds the time limit. A wait
  // that exceeds it returns kTimeoutVector.
  std::optional<uint64_t> Execute(const Command& command);
  // These run on the vCPU's thread, while the agent's OUT is in progress.
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
  // Whether the agent's OUT is in progress, which is when the host may access
  // the mailbox.
  bool asking_ ABSL_GUARDED_BY(mutex_) = false;
  bool has_command_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  Command command_ ABSL_GUARDED_BY(mutex_);
  uint64_t agent_exits_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status agent_status_ ABSL_GUARDED_BY(mutex_);
  absl::Status program_status_ ABSL_GUARDED_BY(mutex_);
  std::function<void()> end_vcpu_;  // Start() sets it before the vCPU runs.
  std::thread thread_;
};

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_GUEST_AGENT_CPU_H_
