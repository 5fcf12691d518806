// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_LINUX_VM_LINUX_VM_H_
#define PASSTHRU_VMM_LINUX_VM_LINUX_VM_H_

#include <pthread.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "passthru/devices/kernel/event_fd.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/kvm/vcpu_exit.h"
#include "passthru/pci/bdf.h"
#include "passthru/vmm/device_manager.h"
#include "passthru/vmm/linux/boot.h"
#include "passthru/vmm/machine.h"
#include "passthru/vmm/platform/serial_port.h"
#include "passthru/vmm/vcpu_runner.h"

namespace passthru::vmm {

// How a run of the VM ended.
enum class VmEnd : uint8_t {
  kPowerOff,     // the guest turned the power off
  kReset,        // the guest reset the machine
  kTripleFault,  // a vCPU shut down
  kRequested,    // RequestEnd()
};
std::string_view Name(VmEnd end);

// A VM that boots an unmodified Linux kernel and passes devices through to it.
// It is a Machine with the kernel in its RAM, ACPI tables, a serial console and
// a way to turn the power off, with a DeviceManager.
//
// The owner attaches devices (devices()), and then calls Run() once. Any thread
// may call RequestEnd() and use serial() meanwhile.
class LinuxVm {
 public:
  struct Options {
    kernel::Syscalls* syscalls = nullptr;  // Outlives the VM.
    uint64_t memory_size = uint64_t{1} << 30;
    // Where memory below 4 GiB ends at most.
    uint64_t low_memory_end = kMaxLowRamSize;
    unsigned vcpu_count = 1;
    // What is booted. The spans need to live only during Create().
    absl::Span<const uint8_t> kernel;
    absl::Span<const uint8_t> initrd;
    std::string command_line;
    // Takes each byte that the guest sends to its serial port.
    std::function<void(uint8_t)> console;
    bool peer_to_peer = false;
    // See VcpuRunner::Options. Called by the threads of the vCPUs.
    std::function<void(const kvm::VcpuExit&)> on_handled;
    // Called by Run() when no vCPU runs any more.
    std::function<void()> on_stopped;
    // Called by Run() before it gives back the device that the guest has at
    // `guest`, in the state in which the guest used it last.
    std::function<void(pci::Bdf guest)> before_detach;
  };
  // Returns InvalidArgument, with a sentence for the user, for a mistake in the
  // options or in what is to be booted.
  static absl::StatusOr<std::unique_ptr<LinuxVm>> Create(
      const Options& options);
  // Gives all devices back.
  ~LinuxVm();

  LinuxVm(const LinuxVm&) = delete;
  LinuxVm& operator=(const LinuxVm&) = delete;

  Machine& machine() { return *machine_; }
  DeviceManager& devices() { return *devices_; }
  SerialPort& serial() { return *serial_; }

  // Runs the guest until the VM ends, and gives all devices back. Returns the
  // first failure of a vCPU, of a device that reports an uncorrectable error,
  // or of giving a device back.
  absl::StatusOr<VmEnd> Run();

  // Makes Run() return soon.
  void RequestEnd();

  // Returns why vCPUs left guest mode so far, summed over them.
  ExitCounts exits() const;

 private:
  struct Vcpu {
    LinuxVm* vm = nullptr;
    std::unique_ptr<VcpuRunner> runner;
    std::optional<pthread_t> thread;
  };

  explicit LinuxVm(const Options& options)
      : syscalls_(options.syscalls),
        on_handled_(options.on_handled),
        on_stopped_(options.on_stopped),
        before_detach_(options.before_detach) {}

  absl::Status CreateMachine(const Options& options);
  absl::Status AddPlatformDevices(const Options& options);
  absl::Status LoadGuest(const Options& options);
  absl::Status SetUpVcpus(const LinuxEntry& entry);
  absl::Status StartVcpus();
  void StopVcpus();
  void RunVcpu(Vcpu& vcpu);
  absl::Status Detach(pci::Bdf guest);
  absl::Status DetachAll();

  // End the run, unless it has ended already.
  void End(absl::StatusOr<VmEnd> end);
  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return end_.has_value() || !wanted_back_.empty();
  }

  kernel::Syscalls* const syscalls_;
  const std::function<void(const kvm::VcpuExit&)> on_handled_;
  const std::function<void()> on_stopped_;
  const std::function<void(pci::Bdf guest)> before_detach_;
  // Destroyed in reverse order, so that the machine outlives everything.
  std::unique_ptr<Machine> machine_;
  std::unique_ptr<DeviceManager> devices_;
  std::optional<kernel::EventFd> serial_interrupt_;
  std::shared_ptr<SerialPort> serial_;
  std::vector<std::unique_ptr<Vcpu>> vcpus_;

  absl::Mutex mutex_;
  std::optional<absl::StatusOr<VmEnd>> end_ ABSL_GUARDED_BY(mutex_);
  // Devices that the host asks for.
  std::deque<pci::Bdf> wanted_back_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_LINUX_VM_LINUX_VM_H_
