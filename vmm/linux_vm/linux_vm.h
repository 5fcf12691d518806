// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_LINUX_VM_LINUX_VM_H_
#define PASSTHRU_VMM_LINUX_VM_LINUX_VM_H_

#include <pthread.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "passthru/devices/kernel/event_fd.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/kvm/vcpu_exit.h"
#include "passthru/pci/bdf.h"
#include "passthru/vmm/device_manager.h"
#include "passthru/vmm/linux/boot.h"
#include "passthru/vmm/machine.h"
#include "passthru/vmm/platform/serial_port.h"
#include "passthru/vmm/root_ports.h"
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

// How a device left a guest that was asked for it.
enum class UnplugEnd : uint8_t {
  kLetGo,    // the guest let go of it first
  kTaken,    // the guest did not answer in time and lost it by surprise
  kVmEnded,  // the VM ended before
};

// A VM that boots an unmodified Linux kernel and passes devices through to it.
// It is a Machine with the kernel in its RAM, ACPI tables, a serial console and
// a way to turn the power off, with a DeviceManager.
//
// The owner attaches devices (devices()), and then calls Run() once. Any thread
// may use the other methods meanwhile.
//
// The host may want a device back (VFIO's request interrupt). Behind a root
// port that is an unplug. On bus 0, where there is no hot plug, the guest loses
// the device without notice. A warning in the log says so, once for a request.
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
    // The root ports behind which devices may be plugged while the guest runs.
    std::vector<RootPortOptions> root_ports;
    // How long the guest may take to let go of a device that the host wants.
    absl::Duration unplug_time = kUnplugTime;
  };
  // Linux waits for five seconds, and its driver then ends what is under way.
  static constexpr absl::Duration kUnplugTime = absl::Seconds(60);

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

  // Makes Run() return soon, as if the guest had reset itself, or because the
  // owner wants it.
  void RequestReset();
  void RequestEnd();
  // Returns whether RequestEnd() was called, whatever else ended the VM first.
  bool end_requested() const { return end_requested_; }

  // Plugs a device while the guest runs, behind the first empty root port
  // unless `options` name one, and returns where firmware would have it.
  absl::StatusOr<pci::Bdf> Plug(DeviceManager::AttachOptions options);
  // Asks the guest for the device at `guest`, which is behind a root port,
  // waits until it is gone and returns how that went. After `time` the guest
  // loses it by surprise. Asking once more can shorten the time, and 0 takes
  // the device at once.
  absl::StatusOr<UnplugEnd> Unplug(pci::Bdf guest, absl::Duration time);

  // Returns why vCPUs left guest mode so far, summed over them.
  ExitCounts exits() const;

  // Returns the host addresses of the devices that were there when Run() ended
  // and for which nothing had asked the guest. A machine that is reset has
  // these again.
  std::vector<std::string> kept() const;

 private:
  struct Vcpu {
    LinuxVm* vm = nullptr;
    std::unique_ptr<VcpuRunner> runner;
    std::optional<pthread_t> thread;
  };
  // A device that is about to leave. Guarded by mutex_.
  struct Departure {
    absl::Time deadline = absl::InfiniteFuture();
    bool let_go = false;          // by the guest
    bool wanted_by_host = false;  // who repeats the request
    bool told = false;            // the user, of the host's request
    std::optional<UnplugEnd> end;
    absl::Status detached;  // once there is an end
  };

  explicit LinuxVm(const Options& options)
      : syscalls_(options.syscalls),
        on_handled_(options.on_handled),
        on_stopped_(options.on_stopped),
        before_detach_(options.before_detach),
        unplug_time_(options.unplug_time) {}

  absl::Status CreateMachine(const Options& options);
  absl::Status AddPlatformDevices(const Options& options);
  absl::Status LoadGuest(const Options& options);
  absl::Status SetUpVcpus(const LinuxEntry& entry);
  void CreateRunners();
  absl::Status StartVcpus();
  void StopVcpus();
  void RunVcpu(Vcpu& vcpu);
  // Gives back the device at `guest`, and with it those of the same card.
  absl::Status Detach(pci::Bdf guest);
  absl::Status DetachAll() ABSL_LOCKS_EXCLUDED(plug_mutex_);

  // Called by the manager's callbacks.
  void OnUnplugRequest(pci::Bdf guest);
  void OnUnplugPermitted(pci::Bdf guest);
  // Returns the name by which a device leaves, which is that of the first
  // function of its card if it is behind a port.
  pci::Bdf CardOf(pci::Bdf guest) const;
  Departure& Leaving(pci::Bdf card) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Waits until the run has ended, which it returns, or a device is due.
  std::optional<absl::StatusOr<VmEnd>> AwaitDue(std::vector<pci::Bdf>& due);
  // Tells the user, once each, which devices the host wants.
  void TellRequests() ABSL_LOCKS_EXCLUDED(mutex_);
  // Takes a device away that is due.
  void Depart(pci::Bdf card) ABSL_LOCKS_EXCLUDED(plug_mutex_, mutex_);
  // Returns the host's address of the device at `guest`.
  std::string HostNameOf(pci::Bdf guest) const;
  // Returns whether the guest has let go, and not taken it back meanwhile.
  bool HasLetGo(pci::Bdf card);
  // Returns whether the guest was asked for the device, or will lose it.
  bool IsWanted(pci::Bdf guest) ABSL_LOCKS_EXCLUDED(mutex_);

  // End the run, unless it has ended already.
  void End(absl::StatusOr<VmEnd> end);
  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return end_.has_value() || leaving_changed_;
  }

  kernel::Syscalls* const syscalls_;
  const std::function<void(const kvm::VcpuExit&)> on_handled_;
  const std::function<void()> on_stopped_;
  const std::function<void(pci::Bdf guest)> before_detach_;
  const absl::Duration unplug_time_;
  // Destroyed in reverse order, so that the machine outlives everything.
  std::unique_ptr<Machine> machine_;
  std::unique_ptr<DeviceManager> devices_;
  std::optional<kernel::EventFd> serial_interrupt_;
  std::shared_ptr<SerialPort> serial_;
  std::vector<std::unique_ptr<Vcpu>> vcpus_;

  // Serializes what plugs and unplugs, so that a departure is always of the
  // device that is there.
  absl::Mutex plug_mutex_;
  mutable absl::Mutex mutex_ ABSL_ACQUIRED_AFTER(plug_mutex_);
  std::optional<absl::StatusOr<VmEnd>> end_ ABSL_GUARDED_BY(mutex_);
  // Whether Run() has seen that end, after which no device departs any more.
  bool over_ ABSL_GUARDED_BY(mutex_) = false;
  // By CardOf(). A thread that waits for the end shares it.
  std::map<pci::Bdf, std::shared_ptr<Departure>> leaving_
      ABSL_GUARDED_BY(mutex_);
  std::atomic<bool> end_requested_ = false;
  bool leaving_changed_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::string> kept_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_LINUX_VM_LINUX_VM_H_
