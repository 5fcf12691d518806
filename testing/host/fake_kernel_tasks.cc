// SPDX-License-Identifier: Apache-2.0
//
// FakeKernel's service for programs in other processes.
#include <sys/types.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>
#include <type_traits>

#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/testing/host/fake_kernel.h"
#include "passthru/testing/journal/call.h"
#include "passthru/testing/journal/vfio_offset.h"
#include "passthru/testing/kernel/fake_file.h"
#include "passthru/testing/kernel/mapping_table.h"

namespace passthru::fake {
namespace {

constexpr uint64_t kTaskPage = 4096;

journal::Call DescribeAccess(std::string_view name, const Mapping& mapping,
                             uint64_t offset, absl::Span<const uint8_t> data) {
  journal::Call event{.name = std::string(name),
                      .subject = mapping.file->Describe()};
  event.Number("region", journal::RegionOf(offset))
      .Hex("offset", journal::OffsetOf(offset))
      .Number("width", static_cast<int64_t>(data.size()));
  uint64_t value = 0;
  if (data.size() <= sizeof(value)) {
    std::memcpy(&value, data.data(), data.size());
    event.Hex("value", value);
  }
  return event;
}

}  // namespace

template <typename Byte>
MappedAccess FakeKernel::Access(
    uint64_t address, absl::Span<Byte> data,
    MappedAccess (FakeFile::*access)(uint64_t, absl::Span<Byte>)) {
  constexpr std::string_view kName =
      std::is_const_v<Byte> ? "mapped-store" : "mapped-load";
  const absl::MutexLock lock(&core_.mutex);
  for (size_t done = 0; done < data.size();) {
    const uint64_t at = address + done;
    const size_t in_page = static_cast<size_t>(
        std::min<uint64_t>(data.size() - done, kTaskPage - at % kTaskPage));
    const Mapping* const mapping = core_.mappings.Find(at);
    if (mapping == nullptr || mapping->file == nullptr) {
      return MappedAccess::kFault;
    }
    const uint64_t offset = mapping->offset + (at - mapping->address);
    const absl::Span<Byte> part = data.subspan(done, in_page);
    const MappedAccess result = (mapping->file.get()->*access)(offset, part);
    if (result != MappedAccess::kHandled) return MappedAccess::kFault;
    core_.journal.RecordEvent(DescribeAccess(kName, *mapping, offset, part));
    done += in_page;
  }
  core_.device_work.Signal();
  return MappedAccess::kHandled;
}

MappedAccess FakeKernel::Load(uint64_t address, absl::Span<uint8_t> data) {
  return Access(address, data, &FakeFile::MappedLoad);
}

MappedAccess FakeKernel::Store(uint64_t address,
                               absl::Span<const uint8_t> data) {
  return Access(address, data, &FakeFile::MappedStore);
}

kernel::SyscallResult<uint64_t> FakeKernel::Seek(int fd, int64_t offset,
                                                 int whence) {
  const absl::MutexLock lock(&core_.mutex);
  const FileRef file = core_.files.Lookup(fd);
  if (file == nullptr) return {.error = EBADF};
  return file->Seek(offset, whence);
}

std::optional<FakeKernel::FileInfo> FakeKernel::LookAt(int fd) {
  const absl::MutexLock lock(&core_.mutex);
  const FileRef file = core_.files.Lookup(fd);
  if (file == nullptr) return std::nullopt;
  return FileInfo{.description = file->Describe(),
                  .size = file->size().value_or(0)};
}

bool FakeKernel::IsVfioFile(int fd) {
  const absl::MutexLock lock(&core_.mutex);
  const FileRef file = core_.files.Lookup(fd);
  return file != nullptr && file->IsVfioFile(core_.version);
}

void FakeKernel::OnFork(pid_t parent, pid_t child) {
  const absl::MutexLock lock(&core_.mutex);
  core_.mappings.CopyProcess(parent, child);
}

void FakeKernel::OnGone(pid_t process) {
  {
    const absl::MutexLock lock(&core_.mutex);
    core_.mappings.RemoveProcess(process);
    core_.files.Sweep();
    core_.eventfds.Sweep();
    core_.device_work.Signal();
  }
  kvm_->JoinStoppedGuests();
}

void FakeKernel::WatchWith(int epoll_fd) {
  const absl::MutexLock lock(&core_.mutex);
  core_.files.set_epoll(epoll_fd);
  core_.eventfds.set_epoll(epoll_fd);
}

void FakeKernel::Service() {
  {
    const absl::MutexLock lock(&core_.mutex);
    core_.files.Sweep();
    core_.eventfds.Service();
    core_.device_work.Signal();
  }
  kvm_->JoinStoppedGuests();
}

}  // namespace passthru::fake
