// SPDX-License-Identifier: Apache-2.0
//
// FakeKernel without its system calls, which are in fake_kernel_syscalls.cc.
#include "passthru/testing/host/fake_kernel.h"

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>

#include "absl/log/check.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "passthru/testing/kernel/file_table.h"
#include "passthru/testing/kernel/kernel_core.h"
#include "passthru/testing/kernel/leak_check.h"
#include "passthru/testing/kernel/mapping_table.h"
#include "passthru/testing/kvm/fake_kvm.h"

namespace passthru::fake {
namespace {

// With a real KVM, how long the device thread waits between looks at mapped
// registers for guest stores.
constexpr absl::Duration kLookForStores = absl::Microseconds(100);

}  // namespace

FakeKernel::FakeKernel() : FakeKernel(Options()) {}

FakeKernel::FakeKernel(Options options)
    : options_(options),
      core_(options_.version),
      kvm_(std::make_unique<FakeKvm>(&core_, options_.kvm)) {
  if (options_.guest_steps_devices) {
    kvm_->set_step_hardware([this] {
      core_.mutex.AssertHeld();
      return StepLocked();
    });
  }
  core_.journal.set_keep_entries(options_.journal);
  AddSubsystem(kvm_.get());
  const absl::MutexLock lock(&core_.mutex);
  if (options_.has_kvm && !options_.passthrough_kvm) kvm_->Register();
}

FakeKernel::~FakeKernel() { Shutdown(); }

void FakeKernel::Shutdown() {
  StopDeviceThread();
  kvm_->StopGuests();
  const absl::MutexLock lock(&core_.mutex);
  observer_ = nullptr;
  core_.mappings.Clear();
  core_.files.Clear();
  subsystems_.clear();
}

void FakeKernel::AddSubsystem(Subsystem* subsystem) {
  const absl::MutexLock lock(&core_.mutex);
  subsystems_.push_back(subsystem);
}

void FakeKernel::SetObserver(KernelObserver* observer) {
  const absl::MutexLock lock(&core_.mutex);
  observer_ = observer;
}

void FakeKernel::SetOpenError(std::string_view path, int error) {
  const absl::MutexLock lock(&core_.mutex);
  core_.paths.SetOpenError(path, error);
}

void FakeKernel::EditPaths(const std::function<void(FakeSysfs&)>& edit) {
  const absl::MutexLock lock(&core_.mutex);
  edit(core_.paths);
}

ResourceSnapshot FakeKernel::Resources() {
  const absl::MutexLock lock(&core_.mutex);
  ResourceSnapshot resources;
  for (const FileTable::OpenFile& file : core_.files.OpenFiles()) {
    resources.push_back(absl::StrCat("fd ", file.fd, ": ", file.description));
  }
  for (const auto& [fd, description] : real_files_) {
    // The code under test closed it past the seam, which is no leak.
    if (!FileTable::IsOpen(fd)) continue;
    resources.push_back(absl::StrCat("fd ", fd, ": ", description));
  }
  for (const Mapping& mapping : core_.mappings.All()) {
    resources.push_back(absl::StrFormat(
        "mapping [0x%x, +0x%x) of %s", mapping.address, mapping.length,
        mapping.file == nullptr ? "memory" : mapping.file->Describe()));
  }
  for (const Subsystem* const subsystem : subsystems_) {
    subsystem->AppendResources(resources);
  }
  return resources;
}

LeakReport FakeKernel::CheckLeaks(const ResourceSnapshot& before) {
  return FindLeaks(before, Resources());
}

bool FakeKernel::StepLocked() {
  for (Subsystem* const subsystem : subsystems_) {
    if (!subsystem->Step()) continue;
    if (observer_ != nullptr) observer_->OnHardwareStep();
    return true;
  }
  return false;
}

bool FakeKernel::StepDevices() {
  const absl::MutexLock lock(&core_.mutex);
  return StepLocked();
}

size_t FakeKernel::RunDevicesUntilIdle() {
  size_t steps = 0;
  while (StepDevices()) ++steps;
  return steps;
}

void FakeKernel::StartDeviceThread() {
  CHECK(!device_thread_.joinable());
  {
    const absl::MutexLock lock(&core_.mutex);
    device_thread_stops_ = false;
  }
  device_thread_ = std::thread([this] { RunDeviceThread(); });
}

void FakeKernel::StopDeviceThread() {
  if (!device_thread_.joinable()) return;
  {
    const absl::MutexLock lock(&core_.mutex);
    device_thread_stops_ = true;
    core_.device_work.SignalAll();
  }
  device_thread_.join();
}

void FakeKernel::RunDeviceThread() {
  for (;;) {
    const absl::MutexLock lock(&core_.mutex);
    while (!device_thread_stops_ && !StepLocked()) {
      if (options_.passthrough_kvm) {
        core_.device_work.WaitWithTimeout(&core_.mutex, kLookForStores);
      } else {
        core_.device_work.Wait(&core_.mutex);
      }
    }
    if (device_thread_stops_) return;
  }
}

}  // namespace passthru::fake
