// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_CONTRACT_KVM_KVM_QUESTIONS_H_
#define PASSTHRU_TESTING_CONTRACT_KVM_KVM_QUESTIONS_H_

#include <linux/kvm.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "passthru/devices/kernel/flex_array.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/testing/contract/observation.h"

namespace passthru::contract {

// Asks the questions of ObserveKvm(), one section per method, and writes the
// answers down. Thread-compatible.
class KvmQuestions {
 public:
  explicit KvmQuestions(kernel::Syscalls* syscalls) : syscalls_(syscalls) {}
  KvmQuestions(const KvmQuestions&) = delete;
  KvmQuestions& operator=(const KvmQuestions&) = delete;

  ~KvmQuestions() {
    for (const int fd : fds_) syscalls_->Close(fd);
    if (area_ != nullptr) syscalls_->Munmap(area_, kAreaSize);
  }

  // The caller calls these in this order, if Open() finds /dev/kvm.
  bool Open();
  void System();
  void Slots();
  void Irqfds();
  void Resample();
  void Routing();
  void Signalling();
  void Devices();
  void Ioeventfds();
  void Split();
  void Pins();
  void Deliveries();

  std::vector<Observation> Take() { return notes_.Take(); }

 private:
  static constexpr uint64_t kPage = 4096;
  using Routes = std::vector<kvm_irq_routing_entry>;

  static constexpr size_t kAreaSize = 64 * kPage;
  static constexpr int kBadFd = 999;

  enum class Shown { kValue, kFd };

  void Section(std::string_view name) { notes_.Begin(name); }

  int Keep(int fd) {
    fds_.push_back(fd);
    return fd;
  }

  void CloseFd(int fd) {
    syscalls_->Close(fd);
    fds_.erase(std::find(fds_.begin(), fds_.end(), fd));
  }

  void Note(std::string question, const kernel::SyscallResult<int>& result,
            Shown shown = Shown::kValue) {
    std::string answer;
    if (!result.ok()) {
      answer = ::strerrorname_np(result.error);
    } else if (shown == Shown::kFd) {
      answer = "fd";
    } else {
      answer = absl::StrCat(result.value);
    }
    notes_.Add(std::move(question), std::move(answer));
  }

  kernel::SyscallResult<int> Integer(int fd, unsigned long request,
                                     uintptr_t value) {
    return syscalls_->IoctlInt(fd, request, value);
  }

  // Returns a new descriptor, or -1, and notes the answer.
  int Create(std::string question, int fd, unsigned long request,
             uintptr_t value) {
    const auto result = Integer(fd, request, value);
    Note(std::move(question), result, Shown::kFd);
    return result.ok() ? Keep(result.value) : -1;
  }

  int NewVm() { return Keep(Integer(kvm_, KVM_CREATE_VM, 0).value); }

  int NewEventfd() {
    return Keep(syscalls_->Eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC).value);
  }

  void Slot(std::string question, uint32_t slot, uint32_t flags, uint64_t guest,
            uint64_t size, uint64_t host) {
    kvm_userspace_memory_region region{.slot = slot,
                                       .flags = flags,
                                       .guest_phys_addr = guest,
                                       .memory_size = size,
                                       .userspace_addr = host};
    Note(std::move(question),
         syscalls_->Ioctl(vm_, KVM_SET_USER_MEMORY_REGION, &region));
  }

  kernel::SyscallResult<int> SetIrqfd(int vm, int fd, uint32_t gsi,
                                      uint32_t flags = 0, int resample = 0) {
    kvm_irqfd request{.fd = static_cast<uint32_t>(fd),
                      .gsi = gsi,
                      .flags = flags,
                      .resamplefd = static_cast<uint32_t>(resample)};
    return syscalls_->Ioctl(vm, KVM_IRQFD, &request);
  }
  void Irqfd(std::string question, int fd, uint32_t gsi, uint32_t flags = 0,
             int resample = 0) {
    Note(std::move(question), SetIrqfd(vm_, fd, gsi, flags, resample));
  }

  void Route(std::string question, int vm, const Routes& routes,
             uint32_t flags = 0) {
    kernel::FlexArray<kvm_irq_routing, kvm_irq_routing_entry> table(
        routes.size());
    table.header().nr = static_cast<uint32_t>(routes.size());
    table.header().flags = flags;
    std::copy(routes.begin(), routes.end(), table.elements().begin());
    Note(std::move(question),
         syscalls_->Ioctl(vm, KVM_SET_GSI_ROUTING, table.bytes().data()));
  }

  void Message(std::string question, uint64_t address, uint32_t flags = 0) {
    kvm_msi message{};
    message.address_lo = static_cast<uint32_t>(address);
    message.address_hi = static_cast<uint32_t>(address >> 32);
    message.data = 0x4021;
    message.flags = flags;
    Note(std::move(question), syscalls_->Ioctl(vm_, KVM_SIGNAL_MSI, &message));
  }

  void Capability(std::string question, int vm, uint32_t capability,
                  uint64_t argument) {
    kvm_enable_cap request{};
    request.cap = capability;
    request.args[0] = argument;
    Note(std::move(question), syscalls_->Ioctl(vm, KVM_ENABLE_CAP, &request));
  }

  void WriteEventfd(std::string question, int fd) {
    const uint64_t one = 1;
    const auto result = syscalls_->Write(fd, &one, sizeof(one));
    Note(std::move(question),
         {.value = static_cast<int>(result.value), .error = result.error});
  }

  void ReadEventfd(std::string question, int fd) {
    uint64_t count;
    const auto result = syscalls_->Read(fd, &count, sizeof(count));
    Note(std::move(question),
         {.value = static_cast<int>(result.value), .error = result.error});
  }

  void Io(std::string question, int fd, uint64_t address, uint32_t length,
          uint32_t flags = 0, uint64_t data = 0) {
    kvm_ioeventfd request{};
    request.datamatch = data;
    request.addr = address;
    request.len = length;
    request.fd = fd;
    request.flags = flags;
    Note(std::move(question), syscalls_->Ioctl(vm_, KVM_IOEVENTFD, &request));
  }

  uint64_t area() const { return reinterpret_cast<uintptr_t>(area_); }

  kernel::Syscalls* const syscalls_;
  ObservationList notes_;
  std::vector<int> fds_;
  void* area_ = nullptr;
  int kvm_ = -1;
  int vm_ = -1;
  int other_vm_ = -1;
  int shared_ = -1;  // The eventfd that two VMs bind.
};

}  // namespace passthru::contract

#endif  // PASSTHRU_TESTING_CONTRACT_KVM_KVM_QUESTIONS_H_
