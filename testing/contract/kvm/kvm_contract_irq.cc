// SPDX-License-Identifier: Apache-2.0
//
// The questions about interrupts, which are irqfds, routes and messages.
#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "passthru/testing/contract/kvm/kvm_questions.h"

namespace passthru::contract {
namespace {

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

}  // namespace

void KvmQuestions::Irqfds() {
  Section("irqfd");
  const int event = NewEventfd();
  const int second = NewEventfd();
  const int null = Keep(syscalls_->Open("/dev/null", O_RDWR | O_CLOEXEC).value);

  Irqfd("IRQFD before irqchip", event, 5);
  Route("SET_GSI_ROUTING nr=0 before irqchip", vm_, {});
  Message("SIGNAL_MSI before irqchip", 0xfee00000);
  kvm_irq_level line{};
  line.irq = 5;
  line.level = 1;
  Note("IRQ_LINE before irqchip", syscalls_->Ioctl(vm_, KVM_IRQ_LINE, &line));
  kvm_pit_config pit{};
  // This asks another VM, because some kernels accept it.
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
  // The irqfd takes the count on a signal, not when it is assigned.
  WriteEventfd("write eventfd before the irqfd", second);
  Irqfd("IRQFD with a pending count", second, 30);
  ReadEventfd("read eventfd with a pending count", second);
  WriteEventfd("write eventfd with the irqfd", second);
  ReadEventfd("read eventfd with the irqfd", second);
  Irqfd("IRQFD deassign with a pending count", second, 30,
        KVM_IRQFD_FLAG_DEASSIGN);
  ReadEventfd("read eventfd after the irqfd", second);
  Note("IRQFD bad pointer",
       syscalls_->Ioctl(vm_, KVM_IRQFD, reinterpret_cast<void*>(kPage)));

  shared_ = NewEventfd();
  other_vm_ = NewVm();
  Integer(other_vm_, KVM_CREATE_IRQCHIP, 0);
  Irqfd("IRQFD vm: e gsi5", shared_, 5);
  Note("IRQFD same eventfd in another VM", SetIrqfd(other_vm_, shared_, 5));
  Irqfd("IRQFD deassign vm", shared_, 5, KVM_IRQFD_FLAG_DEASSIGN);
}

void KvmQuestions::Resample() {
  Section("resample");
  constexpr uint32_t kResample = KVM_IRQFD_FLAG_RESAMPLE;
  constexpr uint32_t kOff = KVM_IRQFD_FLAG_DEASSIGN;
  const int event = NewEventfd();
  const int second = NewEventfd();
  const int resample = NewEventfd();
  const int null = Keep(syscalls_->Open("/dev/null", O_RDWR | O_CLOEXEC).value);
  Note("IRQFD resample before irqchip",
       SetIrqfd(NewVm(), event, 5, kResample, resample));
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
  Irqfd("IRQFD resample resamplefd -1", event, 5, kResample, -1);
  Irqfd("IRQFD resample bad fd", kBadFd, 5, kResample, resample);
  Irqfd("IRQFD resample and unknown flag", event, 5, kResample | 4, resample);
  Irqfd("IRQFD deassign never assigned", event, 5, kOff | kResample, resample);

  Irqfd("IRQFD resample once more", event, 5, kResample, resample);
  Irqfd("IRQFD same fd again", event, 5, kResample, resample);
  Irqfd("IRQFD same fd, plain", event, 5);
  Irqfd("IRQFD second, plain, same gsi", second, 5);
  WriteEventfd("write eventfd", event);
  ReadEventfd("read eventfd after irqfd consumption", event);
  WriteEventfd("write eventfd while the line is up", event);
  ReadEventfd("read eventfd while the line is up", event);
  ReadEventfd("read resamplefd without EOI", resample);
  Irqfd("IRQFD deassign wrong gsi", event, 6, kOff | kResample);
  WriteEventfd("write eventfd after that", event);
  ReadEventfd("read eventfd after that", event);
  Irqfd("IRQFD deassign with the flag", event, 5, kOff | kResample, resample);
  WriteEventfd("write eventfd unassigned", event);
  Irqfd("IRQFD deassign plain", second, 5, kOff);
  Irqfd("IRQFD resample with a pending count", event, 5, kResample, resample);
  ReadEventfd("read eventfd with a pending count", event);
  Irqfd("IRQFD deassign without the flag", event, 5, kOff);
  Irqfd("IRQFD resamplefd is the eventfd", event, 7, kResample, event);
  Irqfd("IRQFD deassign that", event, 7, kOff);
  Irqfd("IRQFD resample of an MSI route", event, 24, kResample, resample);
  Irqfd("IRQFD deassign of an MSI route", event, 24, kOff);
}

void KvmQuestions::Routing() {
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

void KvmQuestions::Signalling() {
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
  notes_.Add("status", absl::StrCat(static_cast<int32_t>(line.status)));
  Irqfd("IRQFD e gsi24", shared_, 24);
  WriteEventfd("write eventfd", shared_);
  ReadEventfd("read eventfd after irqfd consumption", shared_);
  Irqfd("IRQFD deassign", shared_, 24, KVM_IRQFD_FLAG_DEASSIGN);
  WriteEventfd("write eventfd unassigned", shared_);
  // If the other VM bound the eventfd too, its irqfd continues to drain it.
  ReadEventfd("read eventfd", shared_);
}

void KvmQuestions::Split() {
  Section("split irqchip");
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

  // KVM refuses ioctls of a process whose mm is not kvm->mm.
  const pid_t child = ::fork();
  if (child == 0) ::_exit(Integer(vm, KVM_CHECK_EXTENSION, 0).error);
  int status = 0;
  ::waitpid(child, &status, 0);
  Note("VM ioctl from another process", {.error = WEXITSTATUS(status)});
}

// The pins after a reset, of which each answers what it had pending. A GSI
// below 16 has one of the IOAPIC and one of the PICs.
void KvmQuestions::Pins() {
  Section("pins");
  const int vm = NewVm();
  const auto drive = [this, vm](uint32_t gsi, uint32_t level) {
    kvm_irq_level line{};
    line.irq = gsi;
    line.level = level;
    std::string question =
        absl::StrCat("IRQ_LINE_STATUS ", gsi, " level ", level);
    const auto result = syscalls_->Ioctl(vm, KVM_IRQ_LINE_STATUS, &line);
    Note(std::move(question), result);
    if (!result.ok()) return;
    notes_.Detail(absl::StrCat("status=", static_cast<int32_t>(line.status)));
  };
  drive(5, 1);
  Note("CREATE_IRQCHIP", Integer(vm, KVM_CREATE_IRQCHIP, 0));
  for (const uint32_t level : {0, 1, 1, 0, 1, 2, 0, 0}) drive(5, level);
  // A pin of the second PIC interrupts the first one by its pin 2.
  drive(2, 1);
  drive(2, 0);
  drive(9, 1);
  drive(2, 1);
  drive(9, 1);
  for (const uint32_t level : {1, 1, 0, 1}) drive(20, level);
  drive(24, 1);
}

// Messages of all kinds to vCPUs whose local APIC no software has enabled.
void KvmQuestions::Deliveries() {
  Section("deliveries");
  const int vm = NewVm();
  Integer(vm, KVM_CREATE_IRQCHIP, 0);
  const auto send = [this, vm](std::string question, uint64_t address,
                               uint32_t data) {
    kvm_msi message{};
    message.address_lo = static_cast<uint32_t>(address);
    message.address_hi = static_cast<uint32_t>(address >> 32);
    message.data = data;
    Note(std::move(question), syscalls_->Ioctl(vm, KVM_SIGNAL_MSI, &message));
  };
  constexpr uint64_t kFirst = 0xfee00000;
  constexpr uint64_t kAll = 0xfeeff000;
  constexpr uint64_t kHint = 8;
  constexpr uint64_t kLogical = 4;
  constexpr uint32_t kNmi = 0x400;
  const auto bad_pointer = [this, vm](std::string question) {
    Note(std::move(question), syscalls_->Ioctl(vm, KVM_SET_IDENTITY_MAP_ADDR,
                                               reinterpret_cast<void*>(kPage)));
  };
  send("NMI without a vCPU", kFirst, kNmi);
  bad_pointer("SET_IDENTITY_MAP_ADDR bad pointer");
  Create("CREATE_VCPU 0", vm, KVM_CREATE_VCPU, 0);
  bad_pointer("SET_IDENTITY_MAP_ADDR bad pointer after a vCPU");
  // The map of local APICs is made before the newest vCPU is in it.
  send("NMI to the newest vCPU", kFirst, kNmi);
  send("NMI to all", kAll, kNmi);
  Create("CREATE_VCPU 1", vm, KVM_CREATE_VCPU, 1);
  send("NMI to 1, the newest", 0xfee01000, kNmi);
  Create("CREATE_VCPU 1 again", vm, KVM_CREATE_VCPU, 1);
  send("NMI to 1, no longer the newest", 0xfee01000, kNmi);
  send("NMI to 5, which there is not", 0xfee05000, kNmi);
  for (uint32_t mode = 0; mode < 8; ++mode) {
    // Not SMI, because a kernel may have no SMM.
    if (mode == 2) continue;
    const uint32_t data = mode << 8 | 0x41;
    send(absl::StrCat("mode ", mode, " to 0"), kFirst, data);
    send(absl::StrCat("mode ", mode, " to all"), kAll, data);
    send(absl::StrCat("mode ", mode, " to all, with hint"), kAll | kHint, data);
    send(absl::StrCat("mode ", mode, " to logical 1"), 0xfee01000 | kLogical,
         data);
    send(absl::StrCat("mode ", mode, " to logical all"), kAll | kLogical, data);
    send(absl::StrCat("mode ", mode, " to logical all, with hint"),
         kAll | kLogical | kHint, data);
  }
  Capability("ENABLE_CAP X2APIC_API 3", vm, KVM_CAP_X2APIC_API, 3);
  constexpr uint64_t kHigh = uint64_t{0xffffff00} << 32;
  send("NMI to 0xff with x2apic api", kAll, kNmi);
  send("NMI to 0xffffffff with x2apic api", kHigh | kAll, kNmi);
  send("NMI to 0xffffff00 with x2apic api", kHigh | kFirst, kNmi);

  const int late = NewVm();
  Keep(Integer(late, KVM_CREATE_VCPU, 0).value);
  Capability("ENABLE_CAP SPLIT_IRQCHIP after a vCPU", late,
             KVM_CAP_SPLIT_IRQCHIP, 24);
}

}  // namespace passthru::contract
