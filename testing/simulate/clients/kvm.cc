// SPDX-License-Identifier: Apache-2.0
//
// Uses KVM beside the NVMe controller of the fixture. `kvm CASE`
// ends with 0 if all is as on Linux, or if it has broken the rule of its name.
#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "testing/simulate/clients/client.h"

namespace client {
namespace {

constexpr char kAddress[] = "0000:02:00.0";
constexpr int kGroup = 7;
constexpr uint64_t kMsixTable = 0x2000;  // In BAR 0.
constexpr size_t kPageBytes = 4096;

struct Machine {
  int kvm = -1;
  int vm = -1;
};

Machine MakeMachine() {
  Machine machine;
  machine.kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
  EXPECT(machine.kvm >= 0);
  EXPECT(ioctl(machine.kvm, KVM_GET_API_VERSION, 0) == KVM_API_VERSION);
  machine.vm = ioctl(machine.kvm, KVM_CREATE_VM, 0);
  EXPECT(machine.vm >= 0);
  EXPECT(ioctl(machine.vm, KVM_CREATE_IRQCHIP, 0) == 0);
  return machine;
}

// Every call is answered, but no guest is executed.
void Calls() {
  const Machine machine = MakeMachine();
  const Device device = Open(kAddress, kGroup);
  kvm_create_device create = {};
  create.type = KVM_DEV_TYPE_VFIO;
  EXPECT(ioctl(machine.vm, KVM_CREATE_DEVICE, &create) == 0);
  kvm_device_attr attribute = {};
  attribute.group = KVM_DEV_VFIO_GROUP;
  attribute.attr = KVM_DEV_VFIO_GROUP_ADD;
  attribute.addr = reinterpret_cast<uint64_t>(&device.group);
  EXPECT(ioctl(static_cast<int>(create.fd), KVM_SET_DEVICE_ATTR, &attribute) ==
         0);
  const int vcpu = ioctl(machine.vm, KVM_CREATE_VCPU, 0);
  EXPECT(vcpu >= 0);
  const int size = ioctl(machine.kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
  EXPECT(size > 0);
  auto* const run =
      static_cast<kvm_run*>(mmap(nullptr, static_cast<size_t>(size),
                                 PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0));
  EXPECT(run != MAP_FAILED);
  run->immediate_exit = 1;
  EXPECT(ioctl(vcpu, KVM_RUN, 0) == -1 && errno == ENOSYS);
  munmap(run, static_cast<size_t>(size));
  close(vcpu);
  close(static_cast<int>(create.fd));
  Close(device);
  close(machine.vm);
  close(machine.kvm);
}

void SetSlot(const Machine& machine, uint64_t guest_address,
             const void* memory) {
  kvm_userspace_memory_region slot = {};
  slot.guest_phys_addr = guest_address;
  slot.memory_size = kPageBytes;
  slot.userspace_addr = reinterpret_cast<uint64_t>(memory);
  EXPECT(ioctl(machine.vm, KVM_SET_USER_MEMORY_REGION, &slot) == 0);
}

void* NewPage() {
  void* const page = mmap(nullptr, kPageBytes, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  EXPECT(page != MAP_FAILED);
  return page;
}

// The machine's own KVM with the launcher's device: its KVM-VFIO device answers
// for the launcher's files as Linux does, a mapped BAR is memory for a slot,
// and an interrupt of the device reaches the irqfd. Run it with polled BARs.
void Real() {
  const Machine machine = MakeMachine();
  const Device device = Open(kAddress, kGroup);
  kvm_create_device create = {};
  create.type = KVM_DEV_TYPE_VFIO;
  EXPECT(ioctl(machine.vm, KVM_CREATE_DEVICE, &create) == 0);
  const auto kvm_vfio = static_cast<int>(create.fd);
  const auto set = [kvm_vfio](uint64_t what, int fd) {
    kvm_device_attr attribute = {};
    attribute.group = KVM_DEV_VFIO_FILE;
    attribute.attr = what;
    attribute.addr = reinterpret_cast<uint64_t>(&fd);
    return ioctl(kvm_vfio, KVM_SET_DEVICE_ATTR, &attribute) == 0 ? 0 : errno;
  };
  const int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  EXPECT(set(KVM_DEV_VFIO_FILE_DEL, device.group) == ENOENT);
  EXPECT(set(KVM_DEV_VFIO_FILE_ADD, device.group) == 0);
  EXPECT(set(KVM_DEV_VFIO_FILE_ADD, dup(device.group)) == EEXIST);
  EXPECT(set(KVM_DEV_VFIO_FILE_ADD, device.fd) == 0);
  EXPECT(set(KVM_DEV_VFIO_FILE_ADD, device.container) == EINVAL);
  EXPECT(set(KVM_DEV_VFIO_FILE_ADD, event) == EINVAL);
  EXPECT(set(KVM_DEV_VFIO_FILE_ADD, 999) == EBADF);
  EXPECT(set(99, device.group) == ENXIO);
  EXPECT(set(KVM_DEV_VFIO_FILE_DEL, device.group) == 0);
  EXPECT(set(KVM_DEV_VFIO_FILE_DEL, device.group) == ENOENT);
  EXPECT(ioctl(kvm_vfio, KVM_SET_DEVICE_ATTR, 8) == -1 && errno == EFAULT);
  close(kvm_vfio);
  EXPECT(ioctl(machine.vm, KVM_CREATE_DEVICE, &create) == 0);
  EXPECT(set(KVM_DEV_VFIO_FILE_ADD, device.group) == 0);

  SetCommand(device, 2);
  kvm_userspace_memory_region slot = {};
  slot.guest_phys_addr = 0xc0000000;
  slot.memory_size = kPageBytes;
  slot.userspace_addr = reinterpret_cast<uint64_t>(MapBar(device, 0));
  EXPECT(ioctl(machine.vm, KVM_SET_USER_MEMORY_REGION, &slot) == 0);

  EXPECT(SetTriggers(device, VFIO_PCI_MSIX_IRQ_INDEX, 0, &event, 1) == 0);
  vfio_irq_set trigger = {};
  trigger.argsz = sizeof(trigger);
  trigger.flags = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER;
  trigger.index = VFIO_PCI_MSIX_IRQ_INDEX;
  trigger.count = 1;
  uint64_t count = 0;
  EXPECT(ioctl(device.fd, VFIO_DEVICE_SET_IRQS, &trigger) == 0);
  EXPECT(read(event, &count, sizeof(count)) == 8 && count == 1);
  kvm_irqfd irqfd = {};
  irqfd.fd = static_cast<uint32_t>(event);
  irqfd.gsi = 17;
  EXPECT(ioctl(machine.vm, KVM_IRQFD, &irqfd) == 0);
  EXPECT(ioctl(device.fd, VFIO_DEVICE_SET_IRQS, &trigger) == 0);
  EXPECT(read(event, &count, sizeof(count)) == -1 && errno == EAGAIN);
}

void SlotOverMsixTable() {
  const Machine machine = MakeMachine();
  const Device device = Open(kAddress, kGroup);
  SetCommand(device, 2);
  SetSlot(machine, 0xc0002000, MapBar(device, 0) + kMsixTable);
}

void SlotOverBarWithoutDecode() {
  const Machine machine = MakeMachine();
  const Device device = Open(kAddress, kGroup);
  SetCommand(device, 0);
  SetSlot(machine, 0xc0000000, MapBar(device, 0));
}

void SlotLosesItsMemory() {
  const Machine machine = MakeMachine();
  void* const page = NewPage();
  SetSlot(machine, 0, page);
  EXPECT(munmap(page, kPageBytes) == 0);
}

// The device reaches memory that the guest does not have.
void DmaPastTheGuest() {
  const Machine machine = MakeMachine();
  const Device device = Open(kAddress, kGroup);
  SetSlot(machine, 0, NewPage());
  EXPECT(MapDma(device, NewPage(), 0x100000, kPageBytes) == 0);
  const int vcpu = ioctl(machine.vm, KVM_CREATE_VCPU, 0);
  EXPECT(ioctl(vcpu, KVM_RUN, 0) == -1 && errno == ENOSYS);
}

// A VMM takes the guest's memory away for a moment, while no vCPU runs.
void MovesASlot() {
  const Machine machine = MakeMachine();
  const Device device = Open(kAddress, kGroup);
  void* const page = NewPage();
  void* const other = NewPage();
  const int vcpu = ioctl(machine.vm, KVM_CREATE_VCPU, 0);
  kvm_userspace_memory_region slot = {};
  slot.slot = 1;
  slot.guest_phys_addr = kPageBytes;
  slot.memory_size = kPageBytes;
  slot.userspace_addr = reinterpret_cast<uint64_t>(other);
  EXPECT(ioctl(machine.vm, KVM_SET_USER_MEMORY_REGION, &slot) == 0);
  SetSlot(machine, 0, page);
  EXPECT(MapDma(device, page, 0, kPageBytes) == 0);
  EXPECT(ioctl(vcpu, KVM_RUN, 0) == -1 && errno == ENOSYS);
  slot = {};
  EXPECT(ioctl(machine.vm, KVM_SET_USER_MEMORY_REGION, &slot) == 0);
  SetSlot(machine, 0, page);
  EXPECT(ioctl(vcpu, KVM_RUN, 0) == -1 && errno == ENOSYS);
}

void IrqfdWithoutRoute() {
  const Machine machine = MakeMachine();
  kvm_irqfd irqfd = {};
  irqfd.fd = static_cast<uint32_t>(eventfd(0, EFD_CLOEXEC));
  irqfd.gsi = 200;
  EXPECT(ioctl(machine.vm, KVM_IRQFD, &irqfd) == 0);
}

// Leaves everything open at its end.
void LeavesOpen() {
  const Machine machine = MakeMachine();
  SetSlot(machine, 0x3000, NewPage());
  kvm_irqfd irqfd = {};
  irqfd.fd = static_cast<uint32_t>(eventfd(0, EFD_CLOEXEC));
  irqfd.gsi = 5;  // A pin of the irqchip.
  EXPECT(ioctl(machine.vm, KVM_IRQFD, &irqfd) == 0);
}

}  // namespace
}  // namespace client

int main(int argc, char** argv) {
  using Case = void (*)();
  static const struct {
    const char* name;
    Case run;
  } kCases[] = {
      {"calls", client::Calls},
      {"real", client::Real},
      {"slot_over_msix_table", client::SlotOverMsixTable},
      {"slot_over_bar_without_decode", client::SlotOverBarWithoutDecode},
      {"slot_loses_its_memory", client::SlotLosesItsMemory},
      {"dma_past_the_guest", client::DmaPastTheGuest},
      {"moves_a_slot", client::MovesASlot},
      {"irqfd_without_route", client::IrqfdWithoutRoute},
      {"leaves_open", client::LeavesOpen},
  };
  for (const auto& entry : kCases) {
    if (argc == 2 && strcmp(argv[1], entry.name) == 0) {
      entry.run();
      return 0;
    }
  }
  fprintf(stderr, "There is no such case.\n");
  return 2;
}
