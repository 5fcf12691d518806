// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_KVM_FAKE_KVM_VM_H_
#define PASSTHRU_TESTING_KVM_FAKE_KVM_VM_H_

#include <linux/kvm.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/testing/guest/guest_cpu.h"
#include "passthru/testing/kernel/fake_file.h"
#include "passthru/testing/kernel/kernel_core.h"
#include "passthru/testing/kvm/fake_kvm_ioeventfd.h"
#include "passthru/testing/kvm/fake_kvm_irqfd.h"
#include "passthru/testing/kvm/fake_kvm_pins.h"
#include "passthru/testing/kvm/fake_kvm_routing.h"
#include "passthru/testing/kvm/fake_kvm_slots.h"
#include "passthru/testing/kvm/fake_kvm_stored_state.h"
#include "passthru/testing/kvm/fake_vcpu.h"

namespace passthru::fake {

// One virtual machine of the fake KVM (struct kvm), with its memory slots,
// interrupt controllers, routes, irqfds, ioeventfds and vCPUs. The open files
// of the VM, its vCPUs and its devices keep it alive.
//
// A message reaches the vCPUs that its address selects, as
// kvm_irq_delivery_to_apic() finds them, and the journal records it as an event
// "msi". The interrupt of an irqfd whose GSI has no route is an event
// "interrupt-lost". The pins of PIC and IOAPIC are as after a reset and reach
// no vCPU.
//
// Guarded by the fake kernel's mutex (Thread-compatible).
class FakeKvmVm final : public VcpuPlatform,
                        public IrqSink,
                        public std::enable_shared_from_this<FakeKvmVm> {
 public:
  struct Options {
    KernelCore* core = nullptr;
    size_t number = 1;  // Tells VMs apart in messages.
    unsigned physical_address_bits = 46;
    std::function<guest::GuestProgram(unsigned vcpu)> program;
    std::function<bool()> step_hardware;
    std::function<void(std::shared_ptr<FakeVcpu>)> on_vcpu_created;
    // Takes over the thread of a stopped guest, which must be joined.
    std::function<void(std::thread)> reap;
    std::function<absl::Duration()> guest_wait_limit;
  };
  explicit FakeKvmVm(Options options);
  ~FakeKvmVm() override;

  // Carries out an ioctl(2) of the VM's descriptor.
  kernel::SyscallResult<int> Ioctl(unsigned long request, void* arg);

  // Called after the last descriptor of the VM, of a vCPU or of the VFIO device
  // was released.
  void OnVmReleased();
  void OnVcpuReleased(unsigned id);
  void OnVfioDeviceReleased() { has_vfio_device_ = false; }

  // Returns whether the caller is in another process than the VM's owner. Linux
  // refuses VM ioctls there.
  bool IsForeignProcess() const;
  // Returns the owner as journal::CurrentProcess() does.
  pid_t task() const { return task_; }

  // Ends all guest programs.
  void StopGuests();

  // Handles the guest's acknowledgement (EOI) of a level interrupt.
  void Acknowledge(uint32_t gsi) { irqfds_.Acknowledge(gsi); }
  bool LineLevel(uint32_t pin) const { return pins_.IoapicLevel(pin); }

  std::string name() const { return absl::StrCat("vm ", options_.number); }
  const FakeKvmSlots& slots() const { return slots_; }
  const FakeKvmRouting& routing() const { return routing_; }
  const FakeKvmIrqfds& irqfds() const { return irqfds_; }
  IrqchipMode irqchip_mode() const { return mode_; }
  const std::vector<guest::GuestInterrupt>& messages() const {
    return messages_;
  }
  size_t lost_interrupts() const { return lost_interrupts_; }
  FakeVcpu* vcpu(unsigned id) const;
  void AppendResources(std::vector<std::string>& resources) const;

  // VcpuPlatform.
  std::optional<Backing> Translate(uint64_t guest_address) override;
  bool OnUnbackedWrite(bool pio, uint64_t address, unsigned width,
                       uint64_t value) override;
  bool InterruptsInKernel() const override {
    return mode_ != IrqchipMode::kNone;
  }
  absl::Duration WaitLimit() const override {
    return options_.guest_wait_limit();
  }
  bool StepHardware() override { return options_.step_hardware(); }

  // IrqSink.
  void SetIrq(IrqSource source, uint32_t gsi, bool level,
              std::string_view cause) override;

 private:
  kernel::SyscallResult<int> CheckExtension(unsigned long capability) const;
  kernel::SyscallResult<int> CreateVcpu(unsigned long id);
  kernel::SyscallResult<int> CreateDevice(void* arg);
  kernel::SyscallResult<int> SignalMsi(const void* arg);
  kernel::SyscallResult<int> IrqLine(void* arg, bool report_status);
  int SetMemoryRegion(const void* arg);
  int SetMemoryRegion2(const void* arg);
  int CreateIrqchip();
  int CreatePit(const void* arg);
  int EnableCapability(const void* arg);
  int EnableSplitIrqchip(const kvm_enable_cap& capability);
  int GetIrqchip(void* arg);
  int SetIrqchip(const void* arg);
  int SetGsiRouting(const void* arg);
  int SetIdentityMapAddress(const void* arg);

  // Returns -1 if `gsi` has no route, like kvm_set_irq().
  int SetRoutedIrq(IrqSource source, uint32_t gsi, bool level,
                   std::string_view cause);
  // Returns how often local APICs took the message, or -1 if KVM asked none,
  // like kvm_irq_delivery_to_apic().
  int DeliverMsi(const guest::GuestInterrupt& message, std::string_view cause,
                 int64_t gsi);
  bool IsLookedUp(uint32_t destination, bool logical, bool any_software) const;

  const Options options_;
  KernelCore* const core_;
  const pid_t process_;
  const pid_t task_;

  IrqchipMode mode_ = IrqchipMode::kNone;
  bool has_pit_ = false;
  bool x2apic_ids_ = false;  // KVM_X2APIC_API_USE_32BIT_IDS
  // Cleared by KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK.
  bool broadcast_quirk_ = true;
  bool has_vfio_device_ = false;
  bool vm_released_ = false;

  FakeKvmSlots slots_;
  FakeKvmRouting routing_;
  FakeKvmIrqfds irqfds_;
  FakeKvmIoeventfds ioeventfds_;
  std::map<unsigned, std::shared_ptr<FakeVcpu>> vcpus_;
  // Not in the map of local APICs.
  std::optional<unsigned> newest_vcpu_;
  FakeKvmPins pins_;
  // By chip, what was set last.
  std::map<uint32_t, kvm_irqchip> irqchips_;
  FakeKvmStoredState stored_state_{FakeKvmStoredState::Of::kVm};
  std::vector<guest::GuestInterrupt> messages_;
  size_t lost_interrupts_ = 0;
};

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_KVM_FAKE_KVM_VM_H_
