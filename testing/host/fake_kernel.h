// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_HOST_FAKE_KERNEL_H_
#define PASSTHRU_TESTING_HOST_FAKE_KERNEL_H_

#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/resource.h>

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

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "passthru/devices/kernel/linux_syscalls.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/testing/journal/call.h"
#include "passthru/testing/journal/fault_injector.h"
#include "passthru/testing/journal/journal.h"
#include "passthru/testing/kernel/fake_file.h"
#include "passthru/testing/kernel/kernel_core.h"
#include "passthru/testing/kernel/kernel_version.h"
#include "passthru/testing/kernel/leak_check.h"
#include "passthru/testing/kvm/fake_kvm.h"

namespace passthru::fake {

// A Linux kernel with VFIO and KVM, inside the process, behind the same seam as
// the real one. Code under test gets it as its Syscalls and cannot tell the
// difference.
//
// The fake owns /dev/vfio, /dev/kvm, the PCI and IOMMU parts of /sys, and every
// descriptor that came from them. It answers errno by errno as the kernel of
// its version does. A call that it does not implement fails as one that Linux
// does not know. All else (eventfds, epoll, anonymous memory, other files) goes
// to the real kernel, and the fake tracks it. Descriptors and mappings are
// real.
//
// A test finds every call in journal(), can make calls fail with faults(), and
// finds leaked resources with CheckLeaks(). Devices work only when stepped by
// the test, by a guest that loads or waits, or by a device thread.
//
// Thread-safe. One mutex serializes all calls except those that wait (KVM_RUN,
// poll, epoll_wait, reads of the real kernel's files). Must outlive everything
// that uses it.
class FakeKernel final : public kernel::Syscalls {
 public:
  struct Options {
    KernelVersion version = KernelVersion::k6_12;
    // Whether /dev/kvm exists.
    bool has_kvm = true;
    // Whether /dev/kvm and its descriptors are the real kernel's, for real
    // vCPUs with fake devices. The real KVM-VFIO device does not learn of the
    // fake's groups. The fake does not see what these guests do to a mapped
    // BAR, so a device thread must run that looks for it (StartDeviceThread()).
    bool passthrough_kvm = false;
    // Whether journal() keeps an entry for each call. If false, it only counts
    // them, so that millions of calls take no memory.
    bool journal = true;
    // Whether a guest's loads and waits step the devices.
    bool guest_steps_devices = true;
    // RLIMIT_NOFILE, by default that of a shell. It is what getrlimit(2)
    // answers. Descriptors themselves are the real kernel's, and so is their
    // limit.
    rlimit descriptors = {.rlim_cur = 1024, .rlim_max = 524288};
    FakeKvm::Options kvm;
  };
  FakeKernel();
  explicit FakeKernel(Options options);
  ~FakeKernel() override;

  journal::Journal& journal() { return core_.journal; }
  journal::FaultInjector& faults() { return core_.faults; }
  FakeKvm& kvm() { return *kvm_; }
  KernelCore& core() { return core_; }

  // Makes every later open(2) of `path` fail with this errno, such as EACCES. 0
  // ends that.
  void SetOpenError(std::string_view path, int error);
  // Changes the fake's part of the file system.
  void EditPaths(const std::function<void(FakeSysfs&)>& edit);

  // Return the resources that user space holds now, and those that it holds
  // beyond `before`.
  ResourceSnapshot Resources();
  LeakReport CheckLeaks(const ResourceSnapshot& before = {});

  // Does one bounded piece of device work. Returns false if all devices are
  // idle.
  bool StepDevices();
  // Steps the devices until all are idle. Returns how many steps that took.
  size_t RunDevicesUntilIdle();
  // Start and stop a thread that steps the devices whenever there may be work.
  void StartDeviceThread();
  void StopDeviceThread();

  // Adds a part of the kernel (such as FakeVfio), whose hardware is then
  // stepped and whose resources are counted. It must live until Shutdown().
  void AddSubsystem(Subsystem* subsystem);

  // Sets the observer that is told of every later call and step, or null for
  // none. It must live until Shutdown().
  void SetObserver(KernelObserver* observer);

  // Stops device threads and guests, and releases every file that is still
  // open, while the subsystems exist. The destructor does this first.
  void Shutdown();

  // Serve programs in other processes (testing/journal/task.h). These carry out
  // what the current task does without a call of kernel::Syscalls.
  //
  // Load() and Store() are accesses of its processor to a mapping that traps.
  // kFault if there is no such mapping, or if the device does not answer.
  MappedAccess Load(uint64_t address, absl::Span<uint8_t> data);
  MappedAccess Store(uint64_t address, absl::Span<const uint8_t> data);
  kernel::SyscallResult<uint64_t> Seek(int fd, int64_t offset, int whence);
  // Returns what Describe() and size() say of the open file, or nothing if the
  // descriptor is not the fake's.
  struct FileInfo {
    std::string description;
    uint64_t size = 0;
  };
  std::optional<FileInfo> LookAt(int fd);
  // Returns whether a KVM-VFIO device takes the file.
  bool IsVfioFile(int fd);
  // A task forked, or lost its memory and perhaps its descriptors by execve(2)
  // or its end.
  void OnFork(pid_t parent, pid_t child);
  void OnGone(pid_t process);
  // Makes the epoll(7) instance ready when Service() has something to do:
  // tasks closed files or signalled eventfds past the seam.
  void WatchWith(int epoll_fd);
  void Service();

  // kernel::Syscalls.
  kernel::SyscallResult<int> Open(const char* path, int flags) override;
  kernel::SyscallResult<int> Close(int fd) override;
  kernel::SyscallResult<int> Ioctl(int fd, unsigned long request,
                                   void* arg) override;
  kernel::SyscallResult<size_t> Read(int fd, void* buffer,
                                     size_t count) override;
  kernel::SyscallResult<size_t> Write(int fd, const void* buffer,
                                      size_t count) override;
  kernel::SyscallResult<size_t> Pread(int fd, void* buffer, size_t count,
                                      uint64_t offset) override;
  kernel::SyscallResult<size_t> Pwrite(int fd, const void* buffer, size_t count,
                                       uint64_t offset) override;
  kernel::SyscallResult<void*> Mmap(void* address, size_t length,
                                    int protection, int flags, int fd,
                                    uint64_t offset) override;
  kernel::SyscallResult<int> Munmap(void* address, size_t length) override;
  kernel::SyscallResult<int> Eventfd(unsigned initial, int flags) override;
  kernel::SyscallResult<int> EpollCreate(int flags) override;
  kernel::SyscallResult<int> EpollCtl(int epoll_fd, int operation, int fd,
                                      epoll_event* event) override;
  kernel::SyscallResult<int> EpollWait(int epoll_fd, epoll_event* events,
                                       int max_events, int timeout_ms) override;
  kernel::SyscallResult<int> Poll(pollfd* fds, nfds_t count,
                                  int timeout_ms) override;
  kernel::SyscallResult<int> Getrlimit(int resource, rlimit* limit) override;
  kernel::SyscallResult<pthread_t> StartThread(void* (*body)(void*),
                                               void* argument) override;
  kernel::SyscallResult<std::string> Readlink(const char* path) override;
  kernel::SyscallResult<std::vector<std::string>> ReadDirectory(
      const char* path) override;

 private:
  // Returns the errno to answer instead of carrying out the call, or 0. May
  // reduce `count`.
  int Fault(const journal::Call& call, size_t* count = nullptr);
  // Returns whether the journal or a rule of faults() uses more of a call than
  // its name.
  bool UsesCalls() const {
    return core_.journal.uses_entries() || core_.faults.has_rules();
  }
  // Does what Fault() and Finish() do for a call that takes no failure, because
  // only its name is used. `describe` returns the call.
  template <typename T>
  kernel::SyscallResult<T> FinishUnused(
      std::string_view name, absl::FunctionRef<journal::Call()> describe,
      const kernel::SyscallResult<T>& result)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(core_.mutex);
  // Adds the data of a write, unless only its name will be used.
  void AddWrittenData(journal::Call& call, const void* buffer, size_t count);
  // Enters the call in the journal, tells the observer, and wakes the device
  // thread.
  template <typename T>
  kernel::SyscallResult<T> Finish(journal::Call&& call,
                                  const kernel::SyscallResult<T>& result)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(core_.mutex);
  // Does the same, without the observer, for a call that the real kernel took
  // without the mutex.
  template <typename T>
  kernel::SyscallResult<T> FinishReal(journal::Call&& call,
                                      const kernel::SyscallResult<T>& result);

  // Returns the journal's subject for a descriptor, of which `file` is the file
  // if it is one of the fake's.
  std::string Subject(const FakeFile* file, int fd)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(core_.mutex);
  void Track(int fd, std::string description)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(core_.mutex);
  kernel::SyscallResult<int> CloseReal(int fd)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(core_.mutex);
  kernel::SyscallResult<int> IoctlOnReal(journal::Call call, int fd,
                                         unsigned long request, void* arg)
      ABSL_LOCKS_EXCLUDED(core_.mutex);
  // Returns whether this is a KVM_SET_DEVICE_ATTR of a real KVM-VFIO device for
  // a group of the fake.
  bool NamesFakeGroup(unsigned long request, const void* arg)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(core_.mutex);
  // Calls `access` for the part of each page of the current task's mapping.
  // Records what it did as an event.
  template <typename Byte>
  MappedAccess Access(uint64_t address, absl::Span<Byte> data,
                      MappedAccess (FakeFile::*access)(uint64_t,
                                                       absl::Span<Byte>));
  bool StepLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(core_.mutex);
  void RunDeviceThread();

  const Options options_;
  kernel::LinuxSyscalls real_;
  KernelCore core_;
  std::unique_ptr<FakeKvm> kvm_;

  std::vector<Subsystem*> subsystems_ ABSL_GUARDED_BY(core_.mutex);
  KernelObserver* observer_ ABSL_GUARDED_BY(core_.mutex) = nullptr;
  // The descriptors of the real kernel that were opened through this class.
  std::map<int, std::string> real_files_ ABSL_GUARDED_BY(core_.mutex);
  bool device_thread_stops_ ABSL_GUARDED_BY(core_.mutex) = false;
  std::thread device_thread_;
};

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_HOST_FAKE_KERNEL_H_
