// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/guest/agent_cpu.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/log/log.h"
#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/kvm/cpuid.h"
#include "passthru/vmm/guest/agent_image.h"
#include "passthru/vmm/guest_layout.h"

namespace passthru::vmm {
namespace {

// The address of a message to the local APIC of vCPU 0, which is physical
// destination 0. With the bare vector as its data the message is edge-triggered
// and fixed (Intel SDM vol. 3, 11.11).
constexpr uint64_t kMsiAddress = 0xfee00000;

}  // namespace

// The bus device that the agent's port writes reach.
class AgentCpu::Port final : public bus::BusDevice {
 public:
  static constexpr uint64_t kSize = kAgentStopPort + 1 - kAgentCommandPort;

  explicit Port(AgentCpu* agent) : agent_(agent) {}

  std::string_view name() const override { return "guest agent"; }
  absl::Status Read(uint64_t, absl::Span<uint8_t>) override {
    return absl::UnimplementedError("the guest agent's ports are written");
  }
  absl::Status Write(uint64_t offset, absl::Span<const uint8_t> data) override {
    if (offset == 0) {
      agent_->OnCommandPort();
    } else if (offset == kAgentExceptionPort - kAgentCommandPort) {
      agent_->OnExceptionPort(data[0]);
    } else if (offset == kAgentStopPort - kAgentCommandPort) {
      agent_->OnStopPort();
    }
    return absl::OkStatus();
  }

 private:
  AgentCpu* const agent_;
};

absl::StatusOr<std::unique_ptr<AgentCpu>> AgentCpu::Create(Machine* machine) {
  auto agent = absl::WrapUnique(new AgentCpu(machine));
  PASSTHRU_RETURN_IF_ERROR(WriteAgentImage(
      machine->ram(), {.base = kMmio64Base, .size = kMmio64Size}));
  kvm::KvmVcpu& vcpu = machine->vcpu(0);
  PASSTHRU_RETURN_IF_ERROR(
      kvm::SetCpuid(machine->syscalls(), vcpu, machine->cpuid()));
  PASSTHRU_ASSIGN_OR_RETURN(auto sregs, vcpu.GetSregs());
  kvm_regs regs = {};
  SetAgentRegisters(regs, sregs);
  PASSTHRU_RETURN_IF_ERROR(vcpu.SetSregs(sregs));
  PASSTHRU_RETURN_IF_ERROR(vcpu.SetRegs(regs));
  PASSTHRU_ASSIGN_OR_RETURN(
      auto port, machine->pio().Add(kAgentCommandPort, Port::kSize,
                                    std::make_shared<Port>(agent.get()),
                                    bus::AddressSpace::kPlatformPriority));
  agent->port_ = port;
  return agent;
}

AgentCpu::~AgentCpu() {
  Stop();
  if (thread_.joinable()) thread_.join();
  machine_->pio().Remove(port_);
}

void AgentCpu::Start(guest::GuestProgram program,
                     std::function<void()> end_vcpu) {
  end_vcpu_ = std::move(end_vcpu);
  thread_ = std::thread([this, program = std::move(program)] {
    absl::Status status = program(*this);
    {
      absl::MutexLock lock(&mutex_);
      program_status_ = std::move(status);
    }
    Execute({.op = AgentOp::kStop});
  });
}

absl::Status AgentCpu::Join() {
  if (thread_.joinable()) thread_.join();
  absl::MutexLock lock(&mutex_);
  return agent_status_.ok() ? program_status_ : agent_status_;
}

void AgentCpu::Stop() {
  absl::MutexLock lock(&mutex_);
  stopping_ = true;
}

uint64_t AgentCpu::agent_exits() const {
  absl::MutexLock lock(&mutex_);
  return agent_exits_;
}

bool AgentCpu::Stopping() const {
  absl::MutexLock lock(&mutex_);
  return stopping_;
}

uint8_t* AgentCpu::Ram(uint64_t address, unsigned width) const {
  const absl::Span<uint8_t> ram = machine_->ram();
  if (address >= ram.size() || width > ram.size() - address) return nullptr;
  return ram.data() + address;
}

uint64_t AgentCpu::Load(uint64_t address, unsigned width) {
  if (const uint8_t* const ram = Ram(address, width); ram != nullptr) {
    uint64_t value = 0;
    std::memcpy(&value, ram, width);
    return value;
  }
  return Execute({.op = AgentOp::kLoad, .width = width, .address = address})
      .value_or(~uint64_t{0});
}

void AgentCpu::Store(uint64_t address, unsigned width, uint64_t value) {
  if (uint8_t* const ram = Ram(address, width); ram != nullptr) {
    std::memcpy(ram, &value, width);
    return;
  }
  Execute({.op = AgentOp::kStore,
           .width = width,
           .address = address,
           .value = value});
}

uint32_t AgentCpu::In(uint16_t port, unsigned width) {
  return static_cast<uint32_t>(
      Execute({.op = AgentOp::kIn, .width = width, .address = port})
          .value_or(~uint64_t{0}));
}

void AgentCpu::Out(uint16_t port, unsigned width, uint32_t value) {
  Execute(
      {.op = AgentOp::kOut, .width = width, .address = port, .value = value});
}

std::optional<guest::GuestInterrupt> AgentCpu::WaitForInterrupt() {
  const auto vector = Execute({.op = AgentOp::kWait});
  if (!vector.has_value() || *vector == kTimeoutVector) return std::nullopt;
  return guest::GuestInterrupt{.address = kMsiAddress,
                               .data = static_cast<uint32_t>(*vector)};
}

AgentMailbox& AgentCpu::mailbox() const {
  return *reinterpret_cast<AgentMailbox*>(machine_->ram().data() +
                                          kAgentMailbox);
}

std::optional<uint64_t> AgentCpu::Execute(const Command& command) {
  absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(this, &AgentCpu::AskingOrGone));
  if (stopping_) return std::nullopt;
  command_ = command;
  has_command_ = true;
  asking_ = false;
  if (command.op == AgentOp::kStop) return std::nullopt;
  // The agent has executed the command when it requests the next one.
  const absl::Condition done(this, &AgentCpu::AskingOrGone);
  if (!mutex_.AwaitWithTimeout(done, kWaitLimit)) {
    if (command.op == AgentOp::kWait) {
      if (absl::Status status = machine_->vm().SignalMsi(
              {.address = kMsiAddress, .data = kTimeoutVector});
          !status.ok()) {
        LOG(ERROR) << "cannot end the guest's wait: " << status;
      }
    }
    if (!mutex_.AwaitWithTimeout(done, kWaitLimit)) {
      stopping_ = true;
      agent_status_ = absl::DeadlineExceededError(
          absl::StrCat("the guest agent did not finish command ",
                       static_cast<uint32_t>(command.op), " at ",
                       absl::Hex(command.address)));
      end_vcpu_();
    }
  }
  if (stopping_) return std::nullopt;
  return mailbox().value;
}

void AgentCpu::OnCommandPort() {
  absl::MutexLock lock(&mutex_);
  ++agent_exits_;
  asking_ = true;
  mutex_.Await(absl::Condition(this, &AgentCpu::CommandOrGone));
  if (!has_command_) command_ = {.op = AgentOp::kStop};
  has_command_ = false;
  AgentMailbox& box = mailbox();
  box.op = static_cast<uint32_t>(command_.op);
  box.width = command_.width;
  box.address = command_.address;
  box.value = command_.value;
}

void AgentCpu::OnExceptionPort(uint8_t vector) {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
    agent_status_ = absl::InternalError(absl::StrCat(
        "the guest agent took exception ", static_cast<int>(vector),
        " in the command for 0x", absl::Hex(mailbox().address)));
  }
  OnStopPort();
}

void AgentCpu::OnStopPort() {
  {
    absl::MutexLock lock(&mutex_);
    ++agent_exits_;
  }
  end_vcpu_();
}

}  // namespace passthru::vmm
