// SPDX-License-Identifier: Apache-2.0
#include "testing/kvm_contract.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "devices/kernel/flex_array.h"
#include "devices/kernel/syscalls.h"

namespace passthru::fake {
namespace {

constexpr uint64_t kPage = 4096;

using Routes = std::vector<kvm_irq_routing_entry>;

kvm_irq_routing_entry Msi(uint32_t gsi, uint32_t address_hi = 0,
                          uint32_t flags = 0) {
  kvm_irq_routing_entry entry{};
  entry.gsi = gsi;
  entry.type = KVM_IRQ_ROUTING_MSI;
  entry.flags = flags;
  entry.u.msi.address_lo = 0xfee00000;
  entry.u.msi.address_hi = address_hi;
  entry.u.msi.data = 0x4021;
  return entry;
}

kvm_irq_routing_entry Pin(uint32_t gsi, uint32_t irqchip, uint32_t pin,
                          uint32_t flags = 0) {
  kvm_irq_routing_entry entry{};
  entry.gsi = gsi;
  entry.type = KVM_IRQ_ROUTING_IRQCHIP;
  entry.flags = flags;
  entry.u.irqchip.irqchip = irqchip;
  entry.u.irqchip.pin = pin;
  return entry;
}

kvm_irq_routing_entry OfType(uint32_t type) {
  kvm_irq_routing_entry entry{};
  entry.gsi = 5;
  entry.type = type;
  return entry;
}

// Asks, and writes down.
class Observer {
 public:
  explicit Observer(kernel::Syscalls* syscalls) : syscalls_(syscalls) {}
  Observer(const Observer&) = delete;
  Observer& operator=(const Observer&) = delete;

  ~Observer() {
    for (const int fd : fds_) syscalls_->Close(fd);
    if (area_ != nullptr) syscalls_->Munmap(area_, kAreaSize);
  }

  std::vector<KvmObservation> Run() {
    area_ = syscalls_
                ->Mmap(nullptr, kAreaSize, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
                .value;
    const auto opened = syscalls_->Open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (!opened.ok()) return {};
    kvm_ = Keep(opened.value);
    System();
    Slots();
    Irqfds();
    Routing();
    Signalling();
    Devices();
    Ioeventfds();
    Split();
    return std::move(observations_);
  }

 private:
  static constexpr size_t kAreaSize = 64 * kPage;
  static constexpr int kBadFd = 999;

  enum class Shown { kValue, kFd };

  void Section(std::string name) { section_ = std::move(name); }

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
    observations_.push_back({section_, std::move(question), std::move(answer)});
  }

  kernel::SyscallResult<int> Integer(int fd, unsigned long request,
                                     uintptr_t value) {
    return syscalls_->IoctlInt(fd, request, value);
  }

  // A new descriptor, noted, or -1.
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

  void System();
  void Slots();
  void Irqfds();
  void Routing();
  void Signalling();
  void Devices();
  void Ioeventfds();
  void Split();

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
  std::string section_;
  std::vector<KvmObservation> observations_;
  std::vector<int> fds_;
  void* area_ = nullptr;
  int kvm_ = -1;
  int vm_ = -1;
  int other_vm_ = -1;
  int shared_ = -1;  // The eventfd that two VMs bind.
};

void Observer::System() {
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
                               KVM_CAP_GUEST_MEMFD}) {
    Note(
        absl::StrCat("CHECK_EXTENSION ", capability),
        Integer(kvm_, KVM_CHECK_EXTENSION, static_cast<uintptr_t>(capability)));
  }
  Create("CREATE_VM type 0xff", kvm_, KVM_CREATE_VM, 0xff);
  vm_ = Create("CREATE_VM 0", kvm_, KVM_CREATE_VM, 0);
}

void Observer::Slots() {
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
  Slot("hva unmapped", 3, 0, 0x300000, kPage, 0x7000000);
  Slot("hva kernel", 4, 0, 0x400000, kPage, 0xffff800000000000);
  Slot("same hva twice", 5, 0, 0x500000, kPage, host + 0x10000);
  Slot("hva overlap", 6, 0, 0x600000, 2 * kPage, host + 0xf000);
  Note("bad pointer", syscalls_->Ioctl(vm_, KVM_SET_USER_MEMORY_REGION,
                                       reinterpret_cast<void*>(kPage)));
}

void Observer::Irqfds() {
  Section("irq");
  const int event = NewEventfd();
  const int second = NewEventfd();
  const int resample = NewEventfd();
  const int null = Keep(syscalls_->Open("/dev/null", O_RDWR | O_CLOEXEC).value);

  Irqfd("IRQFD before irqchip", event, 5);
  Route("SET_GSI_ROUTING nr=0 before irqchip", vm_, {});
  Message("SIGNAL_MSI before irqchip", 0xfee00000);
  kvm_irq_level line{};
  line.irq = 5;
  line.level = 1;
  Note("IRQ_LINE before irqchip", syscalls_->Ioctl(vm_, KVM_IRQ_LINE, &line));
  kvm_pit_config pit{};
  // In a VM of its own: some kernels accept it.
  Note("CREATE_PIT2 before irqchip",
       syscalls_->Ioctl(NewVm(), KVM_CREATE_PIT2, &pit));
  Note("CREATE_IRQCHIP", Integer(vm_, KVM_CREATE_IRQCHIP, 0));
  Note("CREATE_IRQCHIP again", Integer(vm_, KVM_CREATE_IRQCHIP, 0));
  Note("CREATE_PIT2", syscalls_->Ioctl(vm_, KVM_CREATE_PIT2, &pit));
  Note("CREATE_PIT2 again", syscalls_->Ioctl(vm_, KVM_CREATE_PIT2, &pit));
  Message("SIGNAL_MSI without a vCPU", 0xfee00000);
  Capability("ENABLE_CAP SPLIT_IRQCHIP after full", vm_, KVM_CAP_SPLIT_IRQCHIP,
             24);
  Create("CREATE_VCPU 0", vm_, KVM_CREATE_VCPU, 0);
  Create("CREATE_VCPU 0 again", vm_, KVM_CREATE_VCPU, 0);
  Create("CREATE_VCPU 65536", vm_, KVM_CREATE_VCPU, 65536);
  const int late = NewVm();
  Keep(Integer(late, KVM_CREATE_VCPU, 0).value);
  Note("CREATE_IRQCHIP after vcpu", Integer(late, KVM_CREATE_IRQCHIP, 0));

  Irqfd("IRQFD bad fd", kBadFd, 5);
  Irqfd("IRQFD /dev/null", null, 5);
  Irqfd("IRQFD flags 0x4", event, 5, 4);
  Irqfd("IRQFD gsi5", event, 5);
  Irqfd("IRQFD same fd same gsi", event, 5);
  Irqfd("IRQFD same fd other gsi", event, 6);
  Irqfd("IRQFD gsi 4095 unrouted", second, 4095);
  Irqfd("IRQFD deassign 4095", second, 4095, KVM_IRQFD_FLAG_DEASSIGN);
  Irqfd("IRQFD gsi 100000", second, 100000);
  Irqfd("IRQFD deassign 100000", second, 100000, KVM_IRQFD_FLAG_DEASSIGN);
  Irqfd("IRQFD gsi 0xffffffff", second, 0xffffffff);
  Irqfd("IRQFD deassign 0xffffffff", second, 0xffffffff,
        KVM_IRQFD_FLAG_DEASSIGN);
  Irqfd("IRQFD deassign wrong gsi", event, 6, KVM_IRQFD_FLAG_DEASSIGN);
  Irqfd("IRQFD deassign never assigned fd", second, 5, KVM_IRQFD_FLAG_DEASSIGN);
  Irqfd("IRQFD deassign bad fd", kBadFd, 5, KVM_IRQFD_FLAG_DEASSIGN);
  Irqfd("IRQFD deassign", event, 5, KVM_IRQFD_FLAG_DEASSIGN);
  Irqfd("IRQFD deassign again", event, 5, KVM_IRQFD_FLAG_DEASSIGN);
  Irqfd("IRQFD deassign with RESAMPLE flag", event, 5,
        KVM_IRQFD_FLAG_DEASSIGN | KVM_IRQFD_FLAG_RESAMPLE);
  Irqfd("IRQFD resample bad resamplefd", event, 5, KVM_IRQFD_FLAG_RESAMPLE,
        kBadFd);
  Irqfd("IRQFD resample /dev/null", event, 5, KVM_IRQFD_FLAG_RESAMPLE, null);
  Irqfd("IRQFD resample", event, 5, KVM_IRQFD_FLAG_RESAMPLE, resample);
  Irqfd("IRQFD resample second irqfd same gsi", second, 5,
        KVM_IRQFD_FLAG_RESAMPLE, resample);
  Irqfd("IRQFD deassign first", event, 5, KVM_IRQFD_FLAG_DEASSIGN);
  Irqfd("IRQFD deassign second", second, 5, KVM_IRQFD_FLAG_DEASSIGN);
  Irqfd("IRQFD resample gsi 30", event, 30, KVM_IRQFD_FLAG_RESAMPLE, resample);
  Irqfd("IRQFD deassign 30", event, 30, KVM_IRQFD_FLAG_DEASSIGN);
  Note("IRQFD bad pointer",
       syscalls_->Ioctl(vm_, KVM_IRQFD, reinterpret_cast<void*>(kPage)));

  shared_ = NewEventfd();
  other_vm_ = NewVm();
  Integer(other_vm_, KVM_CREATE_IRQCHIP, 0);
  Irqfd("IRQFD vm: e gsi5", shared_, 5);
  Note("IRQFD same eventfd in another VM", SetIrqfd(other_vm_, shared_, 5));
  Irqfd("IRQFD deassign vm", shared_, 5, KVM_IRQFD_FLAG_DEASSIGN);
}

void Observer::Routing() {
  Section("routing");
  Route("nr=0", vm_, {});
  Route("flags=1", vm_, {}, 1);
  Route("nr=4097", vm_, Routes(4097, Msi(24)));
  Route("1 MSI", vm_, {Msi(24)});
  Route("MSI gsi=4095", vm_, {Msi(4095)});
  Route("MSI gsi=4096", vm_, {Msi(4096)});
  Route("MSI flags VALID_DEVID", vm_, {Msi(24, 0, KVM_MSI_VALID_DEVID)});
  Route("MSI flags=2", vm_, {Msi(24, 0, 2)});
  Route("type=9", vm_, {OfType(9)});
  Route("type=0", vm_, {OfType(0)});
  Route("2 MSI same gsi", vm_, {Msi(24), Msi(24)});
  Route("IOAPIC+PIC same gsi", vm_,
        {Pin(5, KVM_IRQCHIP_IOAPIC, 5), Pin(5, KVM_IRQCHIP_PIC_MASTER, 5)});
  Route("IOAPIC twice same gsi", vm_,
        {Pin(5, KVM_IRQCHIP_IOAPIC, 5), Pin(5, KVM_IRQCHIP_IOAPIC, 6)});
  Route("same IOAPIC pin, two gsi", vm_,
        {Pin(5, KVM_IRQCHIP_IOAPIC, 5), Pin(6, KVM_IRQCHIP_IOAPIC, 5)});
  Route("IRQCHIP+MSI same gsi", vm_, {Pin(5, KVM_IRQCHIP_IOAPIC, 5), Msi(5)});
  Route("IOAPIC pin 24", vm_, {Pin(5, KVM_IRQCHIP_IOAPIC, 24)});
  Route("PIC master pin 8", vm_, {Pin(5, KVM_IRQCHIP_PIC_MASTER, 8)});
  Route("PIC slave pin 0", vm_, {Pin(5, KVM_IRQCHIP_PIC_SLAVE, 0)});
  Route("irqchip 3", vm_, {Pin(5, 3, 0)});
  Route("IRQCHIP flags=1", vm_, {Pin(5, KVM_IRQCHIP_IOAPIC, 5, 1)});
  Route("MSI address_hi=0xff without x2apic api", vm_, {Msi(24, 0xff)});
  Capability("ENABLE_CAP X2APIC_API 3", vm_, KVM_CAP_X2APIC_API, 3);
  Route("MSI address_hi=0xff with x2apic api", vm_, {Msi(24, 0xff)});
  Route("MSI address_hi=0x100 with x2apic api", vm_, {Msi(24, 0x100)});
  Route("1 MSI again", vm_, {Msi(24)});
  Note("bad pointer", syscalls_->Ioctl(vm_, KVM_SET_GSI_ROUTING,
                                       reinterpret_cast<void*>(kPage)));
}

void Observer::Signalling() {
  Section("signal");
  Message("SIGNAL_MSI lapic not ready", 0xfee00000);
  Message("SIGNAL_MSI flags=DEVID", 0xfee00000, KVM_MSI_VALID_DEVID);
  Message("SIGNAL_MSI flags=2", 0xfee00000, 2);
  Message("SIGNAL_MSI dest no such apic", 0xfee05000);
  Message("SIGNAL_MSI addr 0", 0);
  Message("SIGNAL_MSI hi=0xff x2apic", uint64_t{0xff} << 32 | 0xfee00000);
  kvm_irq_level line{};
  line.irq = 5;
  line.level = 1;
  Note("IRQ_LINE 5 without a route",
       syscalls_->Ioctl(vm_, KVM_IRQ_LINE, &line));
  const auto status = syscalls_->Ioctl(vm_, KVM_IRQ_LINE_STATUS, &line);
  Note("IRQ_LINE_STATUS", status);
  observations_.push_back(
      {section_, "status", absl::StrCat(static_cast<int32_t>(line.status))});
  Irqfd("IRQFD e gsi24", shared_, 24);
  WriteEventfd("write eventfd", shared_);
  ReadEventfd("read eventfd after irqfd consumption", shared_);
  Irqfd("IRQFD deassign", shared_, 24, KVM_IRQFD_FLAG_DEASSIGN);
  WriteEventfd("write eventfd unassigned", shared_);
  // Where the other VM got it too, it goes on draining it.
  ReadEventfd("read eventfd", shared_);
}

void Observer::Devices() {
  Section("devices");
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

void Observer::Ioeventfds() {
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
  Note("vm unknown ioctl", Integer(vm_, _IO(KVMIO, 0x7f), 0));
}

void Observer::Split() {
  Section("split");
  const int vm = NewVm();
  const int event = NewEventfd();
  Capability("SPLIT_IRQCHIP 24 pins", vm, KVM_CAP_SPLIT_IRQCHIP, 24);
  Capability("again", vm, KVM_CAP_SPLIT_IRQCHIP, 24);
  Route("SET_GSI_ROUTING IRQCHIP", vm, {Pin(5, KVM_IRQCHIP_IOAPIC, 5)});
  Route("SET_GSI_ROUTING MSI gsi5", vm, {Msi(5)});
  Note("IRQFD resample gsi 5",
       SetIrqfd(vm, event, 5, KVM_IRQFD_FLAG_RESAMPLE, event));
  Note("IRQFD plain gsi 5", SetIrqfd(vm, event, 5));
  Note("IRQFD deassign", SetIrqfd(vm, event, 5, KVM_IRQFD_FLAG_DEASSIGN));

  // kvm->mm: another process has no business here.
  const pid_t child = ::fork();
  if (child == 0) ::_exit(Integer(vm, KVM_CHECK_EXTENSION, 0).error);
  int status = 0;
  ::waitpid(child, &status, 0);
  Note("VM ioctl from another process", {.error = WEXITSTATUS(status)});
}

}  // namespace

std::string KvmObservation::ToString() const {
  return absl::StrCat(section, ": ", question, " -> ", answer);
}

std::vector<KvmObservation> ObserveKvm(kernel::Syscalls* syscalls) {
  return Observer(syscalls).Run();
}

}  // namespace passthru::fake
