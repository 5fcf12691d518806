// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/contract/kvm/kvm_contract.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/mman.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "passthru/testing/contract/kvm/kvm_questions.h"

namespace passthru::contract {

bool KvmQuestions::Open() {
  area_ = syscalls_
              ->Mmap(nullptr, kAreaSize, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
              .value;
  const auto opened = syscalls_->Open("/dev/kvm", O_RDWR | O_CLOEXEC);
  if (!opened.ok()) return false;
  kvm_ = Keep(opened.value);
  return true;
}

void KvmQuestions::System() {
  Section("system");
  Note("GET_API_VERSION", Integer(kvm_, KVM_GET_API_VERSION, 0));
  Note("GET_API_VERSION arg=1", Integer(kvm_, KVM_GET_API_VERSION, 1));
  Note("GET_VCPU_MMAP_SIZE", Integer(kvm_, KVM_GET_VCPU_MMAP_SIZE, 0));
  Note("unknown ioctl", Integer(kvm_, _IO(KVMIO, 0x7f), 0));
  for (const int capability : {KVM_CAP_IRQCHIP,
                               KVM_CAP_USER_MEMORY,
                               KVM_CAP_NR_MEMSLOTS,
                               KVM_CAP_SYNC_MMU,
                               KVM_CAP_IRQ_ROUTING,
                               27,
                               KVM_CAP_IRQFD,
                               KVM_CAP_PIT2,
                               KVM_CAP_IOEVENTFD,
                               62,
                               67,
                               KVM_CAP_SIGNAL_MSI,
                               KVM_CAP_READONLY_MEM,
                               KVM_CAP_IRQFD_RESAMPLE,
                               KVM_CAP_DEVICE_CTRL,
                               KVM_CAP_CHECK_EXTENSION_VM,
                               KVM_CAP_MULTI_ADDRESS_SPACE,
                               KVM_CAP_SPLIT_IRQCHIP,
                               KVM_CAP_IOEVENTFD_ANY_LENGTH,
                               KVM_CAP_USER_MEMORY2,
                               KVM_CAP_MEMORY_FAULT_INFO,
                               KVM_CAP_GUEST_MEMFD,
                               KVM_CAP_MP_STATE,
                               KVM_CAP_DESTROY_MEMORY_REGION_WORKS,
                               KVM_CAP_JOIN_MEMORY_REGIONS_WORKS,
                               KVM_CAP_MCE,
                               KVM_CAP_PIT_STATE2,
                               KVM_CAP_INTERNAL_ERROR_DATA,
                               KVM_CAP_VCPU_EVENTS,
                               KVM_CAP_DEBUGREGS,
                               KVM_CAP_X86_ROBUST_SINGLESTEP,
                               KVM_CAP_XSAVE}) {
    Note(
        absl::StrCat("CHECK_EXTENSION ", capability),
        Integer(kvm_, KVM_CHECK_EXTENSION, static_cast<uintptr_t>(capability)));
  }
  Create("CREATE_VM type 0xff", kvm_, KVM_CREATE_VM, 0xff);
  vm_ = Create("CREATE_VM 0", kvm_, KVM_CREATE_VM, 0);
}

void KvmQuestions::Slots() {
  Section("slots");
  const uint64_t host = area();
  Slot("size unaligned", 0, 0, 0, 100, host);
  Slot("gpa unaligned", 0, 0, 100, kPage, host);
  Slot("hva unaligned", 0, 0, 0, kPage, host + 100);
  Slot("flags 0x8", 0, 8, 0, kPage, host);
  Slot("flags GUEST_MEMFD in v1", 0, KVM_MEM_GUEST_MEMFD, 0, kPage, host);
  Slot("slot 32764", 32764, 0, 0, kPage, host);
  Slot("slot 32763", 32763, 0, 0x10000000, kPage, host);
  Slot("slot as_id=1", 1 << 16, 0, 0, kPage, host);
  Slot("slot as_id=2", 2 << 16, 0, 0, kPage, host);
  Slot("delete nonexistent", 7, 0, 0, 0, host);
  Slot("gpa wrap", 0, 0, ~(kPage - 1), 2 * kPage, host);
  Slot("create slot0 64K@0", 0, 0, 0, 0x10000, host);
  Slot("same again", 0, 0, 0, 0x10000, host);
  Slot("slot1 overlap", 1, 0, 0xf000, 0x2000, host + 0x10000);
  Slot("slot1 adjacent", 1, 0, 0x10000, 0x10000, host + 0x10000);
  Slot("slot0 resize bigger", 0, 0, 0, 0x11000, host);
  Slot("slot0 change hva", 0, 0, 0, 0x10000, host + 0x20000);
  Slot("slot0 flags LOG_DIRTY", 0, KVM_MEM_LOG_DIRTY_PAGES, 0, 0x10000, host);
  Slot("slot0 flags READONLY toggle", 0, KVM_MEM_READONLY, 0, 0x10000, host);
  Slot("slot0 move to free gpa", 0, 0, 0x100000, 0x10000, host);
  Slot("slot0 move onto slot1", 0, 0, 0x10000, 0x10000, host);
  Slot("slot0 move half-overlapping itself", 0, 0, 0x108000, 0x10000, host);
  Slot("delete slot0, other fields junk", 0, 0, 0x777000, 0, host + kPage);
  Slot("delete slot0 again", 0, 0, 0, 0, 0);
  Slot("hva NULL", 2, 0, 0x200000, kPage, 0);
  // Below vm.mmap_min_addr, where no thread gets memory meanwhile.
  Slot("hva unmapped", 3, 0, 0x300000, kPage, kPage);
  Slot("hva kernel", 4, 0, 0x400000, kPage, 0xffff800000000000);
  Slot("same hva twice", 5, 0, 0x500000, kPage, host + 0x10000);
  Slot("hva overlap", 6, 0, 0x600000, 2 * kPage, host + 0xf000);
  Note("bad pointer", syscalls_->Ioctl(vm_, KVM_SET_USER_MEMORY_REGION,
                                       reinterpret_cast<void*>(kPage)));
}

void KvmQuestions::Devices() {
  Section("KVM-VFIO device");
  const auto create = [this](std::string question, uint32_t type,
                             uint32_t flags = 0) {
    kvm_create_device request{.type = type, .fd = 0, .flags = flags};
    const auto result = syscalls_->Ioctl(vm_, KVM_CREATE_DEVICE, &request);
    Note(std::move(question), result);
    if (!result.ok() || (flags & KVM_CREATE_DEVICE_TEST) != 0) return -1;
    return Keep(static_cast<int>(request.fd));
  };
  create("CREATE_DEVICE VFIO TEST", KVM_DEV_TYPE_VFIO, KVM_CREATE_DEVICE_TEST);
  const int device = create("CREATE_DEVICE VFIO", KVM_DEV_TYPE_VFIO);
  create("CREATE_DEVICE VFIO again", KVM_DEV_TYPE_VFIO);
  create("CREATE_DEVICE type 99", 99);

  const auto attribute = [this, device](std::string question,
                                        unsigned long request, uint32_t group,
                                        uint64_t number, const int32_t* fd) {
    kvm_device_attr attr{.flags = 0,
                         .group = group,
                         .attr = number,
                         .addr = reinterpret_cast<uintptr_t>(fd)};
    Note(std::move(question), syscalls_->Ioctl(device, request, &attr));
  };
  const int null = Keep(syscalls_->Open("/dev/null", O_RDWR | O_CLOEXEC).value);
  const int32_t bad = kBadFd;
  attribute("HAS_ATTR GROUP_ADD", KVM_HAS_DEVICE_ATTR, KVM_DEV_VFIO_FILE,
            KVM_DEV_VFIO_FILE_ADD, nullptr);
  attribute("SET_ATTR FILE_ADD /dev/null", KVM_SET_DEVICE_ATTR,
            KVM_DEV_VFIO_FILE, KVM_DEV_VFIO_FILE_ADD, &null);
  attribute("SET_ATTR FILE_ADD bad fd", KVM_SET_DEVICE_ATTR, KVM_DEV_VFIO_FILE,
            KVM_DEV_VFIO_FILE_ADD, &bad);
  attribute("SET_ATTR FILE_ADD NULL addr", KVM_SET_DEVICE_ATTR,
            KVM_DEV_VFIO_FILE, KVM_DEV_VFIO_FILE_ADD, nullptr);
  attribute("SET_ATTR FILE_DEL not added", KVM_SET_DEVICE_ATTR,
            KVM_DEV_VFIO_FILE, KVM_DEV_VFIO_FILE_DEL, &null);
  attribute("SET_ATTR attr 99", KVM_SET_DEVICE_ATTR, KVM_DEV_VFIO_FILE, 99,
            &null);
  attribute("HAS_ATTR attr 99", KVM_HAS_DEVICE_ATTR, KVM_DEV_VFIO_FILE, 99,
            nullptr);
  attribute("SET_ATTR group 99", KVM_SET_DEVICE_ATTR, 99, 1, &null);
  attribute("GET_ATTR", KVM_GET_DEVICE_ATTR, KVM_DEV_VFIO_FILE,
            KVM_DEV_VFIO_FILE_ADD, &null);
  Note("device unknown ioctl", Integer(device, _IO(KVMIO, 0x7f), 0));
  if (device >= 0) CloseFd(device);
  create("CREATE_DEVICE VFIO after close", KVM_DEV_TYPE_VFIO);
}

void KvmQuestions::Ioeventfds() {
  Section("ioeventfd");
  const int event = NewEventfd();
  const int other = NewEventfd();
  const int null = Keep(syscalls_->Open("/dev/null", O_RDWR | O_CLOEXEC).value);
  constexpr uint64_t kAt = 0xe0000000;
  Io("len 3", event, kAt, 3);
  Io("len 4", event, kAt, 4);
  Io("len 4 dup other fd", other, kAt, 4);
  Io("len 2 same addr", event, kAt, 2);
  Io("len 4 datamatch same addr", other, kAt, 4, KVM_IOEVENTFD_FLAG_DATAMATCH,
     1);
  Io("len 0 same addr", other, kAt, 0);
  Io("len 0 other", event, kAt + 0x100, 0);
  Io("len 0 datamatch", event, kAt + 0x200, 0, KVM_IOEVENTFD_FLAG_DATAMATCH, 1);
  Io("datamatch 1", event, kAt + 0x300, 4, KVM_IOEVENTFD_FLAG_DATAMATCH, 1);
  Io("datamatch 2", event, kAt + 0x300, 4, KVM_IOEVENTFD_FLAG_DATAMATCH, 2);
  Io("addr wrap", event, ~uint64_t{0} - 1, 4);
  Io("flags 0x100", event, kAt + 0x400, 4, 0x100);
  Io("bad fd", kBadFd, kAt + 0x400, 4);
  Io("/dev/null", null, kAt + 0x400, 4);
  Io("over RAM slot", event, 0x10000, 4);
  Io("PIO", event, 0x510, 2, KVM_IOEVENTFD_FLAG_PIO);
  Io("PIO addr 0x20000", event, 0x20000, 2, KVM_IOEVENTFD_FLAG_PIO);
  Io("deassign wrong len", event, kAt, 8, KVM_IOEVENTFD_FLAG_DEASSIGN);
  Io("deassign wrong fd", other, kAt, 4, KVM_IOEVENTFD_FLAG_DEASSIGN);
  Io("deassign", event, kAt, 4, KVM_IOEVENTFD_FLAG_DEASSIGN);
  Io("deassign again", event, kAt, 4, KVM_IOEVENTFD_FLAG_DEASSIGN);
  // x86 has no such bus, but knows the flag.
  constexpr uint32_t kCcw = KVM_IOEVENTFD_FLAG_VIRTIO_CCW_NOTIFY;
  Io("VIRTIO_CCW_NOTIFY", event, kAt + 0x300, 4, kCcw);
  Io("VIRTIO_CCW_NOTIFY again", other, kAt + 0x300, 4, kCcw);
  Io("VIRTIO_CCW_NOTIFY of PIO", other, kAt + 0x300, 4,
     kCcw | KVM_IOEVENTFD_FLAG_PIO);
  Io("VIRTIO_CCW_NOTIFY deassign", event, kAt + 0x300, 4,
     kCcw | KVM_IOEVENTFD_FLAG_DEASSIGN);
  Note("vm unknown ioctl", Integer(vm_, _IO(KVMIO, 0x7f), 0));
}

std::vector<Observation> ObserveKvm(kernel::Syscalls* syscalls) {
  KvmQuestions observer(syscalls);
  if (!observer.Open()) return {};
  observer.System();
  observer.Slots();
  observer.Irqfds();
  observer.Resample();
  observer.Routing();
  observer.Signalling();
  observer.Devices();
  observer.Ioeventfds();
  observer.Split();
  observer.Pins();
  observer.Deliveries();
  return observer.Take();
}

}  // namespace passthru::contract
