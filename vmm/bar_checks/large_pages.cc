// SPDX-License-Identifier: Apache-2.0
#include <linux/kvm.h>
#include <sys/resource.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/file_descriptor.h"
#include "passthru/devices/kernel/page_size.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/memory/memory_area.h"
#include "passthru/testing/guest/guest_cpu.h"
#include "passthru/vmm/bar_checks/bar_checks.h"
#include "passthru/vmm/bar_checks/bench.h"

namespace passthru::vmm {
namespace {

constexpr uint64_t kTwoMiB = uint64_t{2} << 20;

// Returns how many minor faults this thread takes to read a byte of each page.
uint64_t FaultsOfReading(const volatile uint8_t* memory, uint64_t size) {
  rusage before = {};
  rusage after = {};
  getrusage(RUSAGE_THREAD, &before);
  for (uint64_t at = 0; at < size; at += kernel::PageSize()) {
    [[maybe_unused]] const uint8_t byte = memory[at];
  }
  getrusage(RUSAGE_THREAD, &after);
  return static_cast<uint64_t>(after.ru_minflt - before.ru_minflt);
}

// Where this process has the BAR that the guest finds at `address`.
absl::StatusOr<const volatile uint8_t*> MappedBar(Machine& machine,
                                                  uint64_t address,
                                                  uint64_t size) {
  for (const memory::MemoryArea& area : machine.memory().Areas()) {
    if (area.guest.value() == address && area.size == size) {
      return static_cast<const volatile uint8_t*>(area.host);
    }
  }
  return absl::NotFoundError(
      absl::StrCat("the BAR at ", absl::Hex(address), " is not mapped whole"));
}

// The statistics of a VM (Documentation/virt/kvm/api.rst,
// KVM_GET_STATS_FD), which count the pages that KVM has mapped.
class KvmStatistics {
 public:
  explicit KvmStatistics(kernel::Syscalls* syscalls) : syscalls_(syscalls) {}

  absl::Status Open(int vm_fd) {
    const auto fd = syscalls_->Ioctl(vm_fd, KVM_GET_STATS_FD, nullptr);
    if (!fd.ok()) return kernel::ErrnoError(fd.error, "KVM_GET_STATS_FD");
    fd_ = kernel::FileDescriptor(syscalls_, fd.value);
    return ReadAt(&header_, sizeof(header_), 0);
  }

  // Returns the value of a counter.
  absl::StatusOr<uint64_t> Get(const std::string& name) const {
    std::vector<char> bytes(sizeof(kvm_stats_desc) + header_.name_size);
    for (uint32_t i = 0; i < header_.num_desc; ++i) {
      PASSTHRU_RETURN_IF_ERROR(ReadAt(bytes.data(), bytes.size(),
                                      header_.desc_offset + i * bytes.size()));
      kvm_stats_desc description = {};
      std::memcpy(&description, bytes.data(), sizeof(description));
      const char* const own = bytes.data() + sizeof(description);
      if (std::string(own, strnlen(own, header_.name_size)) != name) continue;
      uint64_t value = 0;
      PASSTHRU_RETURN_IF_ERROR(ReadAt(
          &value, sizeof(value), header_.data_offset + description.offset));
      return value;
    }
    return absl::NotFoundError(absl::StrCat("KVM has no counter ", name));
  }

 private:
  absl::Status ReadAt(void* data, size_t size, uint64_t offset) const {
    const auto got = syscalls_->Pread(fd_.get(), data, size, offset);
    if (got.ok() && got.value == size) return absl::OkStatus();
    return kernel::ErrnoError(got.error, "reading KVM's statistics");
  }

  kernel::Syscalls* const syscalls_;
  kernel::FileDescriptor fd_;
  kvm_stats_header header_ = {};
};

}  // namespace

absl::StatusOr<BarPages> CountBarPages(const BarChecksHost& host,
                                       pci::Bdf device, uint8_t bar) {
  PASSTHRU_ASSIGN_OR_RETURN(const auto bench,
                            BarChecksBench::Create(host, false));
  PASSTHRU_ASSIGN_OR_RETURN(const auto attached, bench->Attach(device));
  PASSTHRU_ASSIGN_OR_RETURN(const auto report, FindBar(*attached, bar));
  const uint64_t address = report.bar.address;
  BarPages pages = {.size = report.bar.size};
  PASSTHRU_ASSIGN_OR_RETURN(const volatile uint8_t* const mapped,
                            MappedBar(bench->machine(), address, pages.size));
  // The code's own pages are there when it counts.
  FaultsOfReading(reinterpret_cast<const uint8_t*>(&pages), 1);
  pages.faults = FaultsOfReading(mapped, pages.size);

  KvmStatistics statistics(host.syscalls);
  PASSTHRU_RETURN_IF_ERROR(statistics.Open(bench->machine().vm().fd()));
  const auto touch = [&](guest::GuestCpu& cpu) -> absl::Status {
    // The pages of the program itself are there when it counts.
    cpu.Load(address, 4);
    PASSTHRU_ASSIGN_OR_RETURN(const uint64_t small, statistics.Get("pages_4k"));
    PASSTHRU_ASSIGN_OR_RETURN(const uint64_t large, statistics.Get("pages_2m"));
    for (uint64_t at = kTwoMiB; at < pages.size; at += kTwoMiB) {
      cpu.Load(address + at, 4);
    }
    PASSTHRU_ASSIGN_OR_RETURN(pages.kvm_4_kib, statistics.Get("pages_4k"));
    PASSTHRU_ASSIGN_OR_RETURN(pages.kvm_2_mib, statistics.Get("pages_2m"));
    pages.kvm_4_kib -= small;
    pages.kvm_2_mib -= large;
    return absl::OkStatus();
  };
  PASSTHRU_RETURN_IF_ERROR(bench->Run(touch));
  return pages;
}

}  // namespace passthru::vmm
