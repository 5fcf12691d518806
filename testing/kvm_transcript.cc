// SPDX-License-Identifier: Apache-2.0
#include <string>
#include <string_view>
#include <vector>

#include "testing/kernel_version.h"
#include "testing/kvm_contract.h"

namespace passthru::fake {
namespace {

struct Answers {
  std::string_view section;
  std::string_view question;
  std::string_view usual;  // 6.12's.
  // Where it differs.
  std::string_view v6_1 = {};
  std::string_view v6_18 = {};
  std::string_view v7_2 = {};
};

// Measured, but for the pointers that cannot be read, the vCPU ID beyond the
// limit, the second PIT and the device's unknown ioctl, which are from the
// kernel's sources.
constexpr Answers kTranscript[] = {
    {"system", "GET_API_VERSION", "12"},
    {"system", "GET_API_VERSION arg=1", "EINVAL"},
    {"system", "GET_VCPU_MMAP_SIZE", "12288"},
    {"system", "unknown ioctl", "EINVAL"},
    {"system", "CHECK_EXTENSION 0", "1"},
    {"system", "CHECK_EXTENSION 3", "1"},
    {"system", "CHECK_EXTENSION 10", "32764"},
    {"system", "CHECK_EXTENSION 16", "1"},
    {"system", "CHECK_EXTENSION 25", "4096"},
    {"system", "CHECK_EXTENSION 27", "0"},
    {"system", "CHECK_EXTENSION 32", "1"},
    {"system", "CHECK_EXTENSION 33", "1"},
    {"system", "CHECK_EXTENSION 36", "1"},
    {"system", "CHECK_EXTENSION 62", "0"},
    {"system", "CHECK_EXTENSION 67", "0"},
    {"system", "CHECK_EXTENSION 77", "1"},
    {"system", "CHECK_EXTENSION 81", "1"},
    {"system", "CHECK_EXTENSION 82", "1"},
    {"system", "CHECK_EXTENSION 89", "1", "0"},
    {"system", "CHECK_EXTENSION 105", "1"},
    {"system", "CHECK_EXTENSION 118", "2", "", "0"},
    {"system", "CHECK_EXTENSION 121", "1"},
    {"system", "CHECK_EXTENSION 122", "1"},
    {"system", "CHECK_EXTENSION 231", "1", "0"},
    {"system", "CHECK_EXTENSION 232", "1", "0"},
    {"system", "CHECK_EXTENSION 234", "0", "", "1", "1"},
    {"system", "CREATE_VM type 0xff", "EINVAL"},
    {"system", "CREATE_VM 0", "fd"},
    {"slots", "size unaligned", "EINVAL"},
    {"slots", "gpa unaligned", "EINVAL"},
    {"slots", "hva unaligned", "EINVAL"},
    {"slots", "flags 0x8", "EINVAL"},
    {"slots", "flags GUEST_MEMFD in v1", "EINVAL"},
    {"slots", "slot 32764", "EINVAL"},
    {"slots", "slot 32763", "0"},
    {"slots", "slot as_id=1", "0", "", "EINVAL"},
    {"slots", "slot as_id=2", "EINVAL"},
    {"slots", "delete nonexistent", "EINVAL"},
    {"slots", "gpa wrap", "EINVAL"},
    {"slots", "create slot0 64K@0", "0"},
    {"slots", "same again", "0"},
    {"slots", "slot1 overlap", "EEXIST"},
    {"slots", "slot1 adjacent", "0"},
    {"slots", "slot0 resize bigger", "EINVAL"},
    {"slots", "slot0 change hva", "EINVAL"},
    {"slots", "slot0 flags LOG_DIRTY", "0"},
    {"slots", "slot0 flags READONLY toggle", "EINVAL"},
    {"slots", "slot0 move to free gpa", "0"},
    {"slots", "slot0 move onto slot1", "EEXIST"},
    {"slots", "slot0 move half-overlapping itself", "0"},
    {"slots", "delete slot0, other fields junk", "0"},
    {"slots", "delete slot0 again", "EINVAL"},
    {"slots", "hva NULL", "0"},
    {"slots", "hva unmapped", "0"},
    {"slots", "hva kernel", "EINVAL"},
    {"slots", "same hva twice", "0"},
    {"slots", "hva overlap", "0"},
    {"slots", "bad pointer", "EFAULT"},
    {"irq", "IRQFD before irqchip", "EINVAL"},
    {"irq", "SET_GSI_ROUTING nr=0 before irqchip", "EINVAL"},
    {"irq", "SIGNAL_MSI before irqchip", "EINVAL"},
    {"irq", "IRQ_LINE before irqchip", "ENXIO"},
    {"irq", "CREATE_PIT2 before irqchip", "ENOENT", "0"},
    {"irq", "CREATE_IRQCHIP", "0"},
    {"irq", "CREATE_IRQCHIP again", "EEXIST"},
    {"irq", "CREATE_PIT2", "0"},
    {"irq", "CREATE_PIT2 again", "EEXIST"},
    {"irq", "SIGNAL_MSI without a vCPU", "EPERM"},
    {"irq", "ENABLE_CAP SPLIT_IRQCHIP after full", "EEXIST"},
    {"irq", "CREATE_VCPU 0", "fd"},
    {"irq", "CREATE_VCPU 0 again", "EEXIST"},
    {"irq", "CREATE_VCPU 65536", "EINVAL"},
    {"irq", "CREATE_IRQCHIP after vcpu", "EINVAL"},
    {"irq", "IRQFD bad fd", "EBADF"},
    {"irq", "IRQFD /dev/null", "EINVAL"},
    {"irq", "IRQFD flags 0x4", "EINVAL"},
    {"irq", "IRQFD gsi5", "0"},
    {"irq", "IRQFD same fd same gsi", "EBUSY"},
    {"irq", "IRQFD same fd other gsi", "EBUSY"},
    {"irq", "IRQFD gsi 4095 unrouted", "0"},
    {"irq", "IRQFD deassign 4095", "0"},
    {"irq", "IRQFD gsi 100000", "0"},
    {"irq", "IRQFD deassign 100000", "0"},
    {"irq", "IRQFD gsi 0xffffffff", "0"},
    {"irq", "IRQFD deassign 0xffffffff", "0"},
    {"irq", "IRQFD deassign wrong gsi", "0"},
    {"irq", "IRQFD deassign never assigned fd", "0"},
    {"irq", "IRQFD deassign bad fd", "EBADF"},
    {"irq", "IRQFD deassign", "0"},
    {"irq", "IRQFD deassign again", "0"},
    {"irq", "IRQFD deassign with RESAMPLE flag", "0"},
    {"irq", "IRQFD resample bad resamplefd", "EBADF"},
    {"irq", "IRQFD resample /dev/null", "EINVAL"},
    {"irq", "IRQFD resample", "0"},
    {"irq", "IRQFD resample second irqfd same gsi", "0"},
    {"irq", "IRQFD deassign first", "0"},
    {"irq", "IRQFD deassign second", "0"},
    {"irq", "IRQFD resample gsi 30", "0"},
    {"irq", "IRQFD deassign 30", "0"},
    {"irq", "IRQFD bad pointer", "EFAULT"},
    {"irq", "IRQFD vm: e gsi5", "0"},
    {"irq", "IRQFD same eventfd in another VM", "0", "", "EBUSY", "EBUSY"},
    {"irq", "IRQFD deassign vm", "0"},
    {"routing", "nr=0", "0"},
    {"routing", "flags=1", "EINVAL"},
    {"routing", "nr=4097", "EINVAL"},
    {"routing", "1 MSI", "0"},
    {"routing", "MSI gsi=4095", "0"},
    {"routing", "MSI gsi=4096", "EINVAL"},
    {"routing", "MSI flags VALID_DEVID", "0"},
    {"routing", "MSI flags=2", "EINVAL"},
    {"routing", "type=9", "EINVAL"},
    {"routing", "type=0", "EINVAL"},
    {"routing", "2 MSI same gsi", "EINVAL"},
    {"routing", "IOAPIC+PIC same gsi", "0"},
    {"routing", "IOAPIC twice same gsi", "EINVAL"},
    {"routing", "same IOAPIC pin, two gsi", "0"},
    {"routing", "IRQCHIP+MSI same gsi", "EINVAL"},
    {"routing", "IOAPIC pin 24", "EINVAL"},
    {"routing", "PIC master pin 8", "EINVAL"},
    {"routing", "PIC slave pin 0", "0"},
    {"routing", "irqchip 3", "EINVAL"},
    {"routing", "IRQCHIP flags=1", "EINVAL"},
    {"routing", "MSI address_hi=0xff without x2apic api", "0"},
    {"routing", "ENABLE_CAP X2APIC_API 3", "0"},
    {"routing", "MSI address_hi=0xff with x2apic api", "EINVAL"},
    {"routing", "MSI address_hi=0x100 with x2apic api", "0"},
    {"routing", "1 MSI again", "0"},
    {"routing", "bad pointer", "EFAULT"},
    {"signal", "SIGNAL_MSI lapic not ready", "0"},
    {"signal", "SIGNAL_MSI flags=DEVID", "0"},
    {"signal", "SIGNAL_MSI flags=2", "EINVAL"},
    {"signal", "SIGNAL_MSI dest no such apic", "0"},
    {"signal", "SIGNAL_MSI addr 0", "0"},
    {"signal", "SIGNAL_MSI hi=0xff x2apic", "EINVAL"},
    {"signal", "IRQ_LINE 5 without a route", "0"},
    {"signal", "IRQ_LINE_STATUS", "0"},
    {"signal", "status", "-1"},
    {"signal", "IRQFD e gsi24", "0"},
    {"signal", "write eventfd", "8"},
    {"signal", "read eventfd after irqfd consumption", "EAGAIN"},
    {"signal", "IRQFD deassign", "0"},
    {"signal", "write eventfd unassigned", "8"},
    {"signal", "read eventfd", "EAGAIN", "", "8", "8"},
    {"devices", "CREATE_DEVICE VFIO TEST", "0"},
    {"devices", "CREATE_DEVICE VFIO", "0"},
    {"devices", "CREATE_DEVICE VFIO again", "EBUSY"},
    {"devices", "CREATE_DEVICE type 99", "ENODEV"},
    {"devices", "HAS_ATTR GROUP_ADD", "0"},
    {"devices", "SET_ATTR FILE_ADD /dev/null", "EINVAL"},
    {"devices", "SET_ATTR FILE_ADD bad fd", "EBADF"},
    {"devices", "SET_ATTR FILE_ADD NULL addr", "EFAULT"},
    {"devices", "SET_ATTR FILE_DEL not added", "ENOENT"},
    {"devices", "SET_ATTR attr 99", "ENXIO"},
    {"devices", "HAS_ATTR attr 99", "ENXIO"},
    {"devices", "SET_ATTR group 99", "ENXIO"},
    {"devices", "GET_ATTR", "EPERM"},
    {"devices", "device unknown ioctl", "ENOTTY"},
    {"devices", "CREATE_DEVICE VFIO after close", "0"},
    {"ioeventfd", "len 3", "EINVAL"},
    {"ioeventfd", "len 4", "0"},
    {"ioeventfd", "len 4 dup other fd", "EEXIST"},
    {"ioeventfd", "len 2 same addr", "0"},
    {"ioeventfd", "len 4 datamatch same addr", "EEXIST"},
    {"ioeventfd", "len 0 same addr", "EEXIST"},
    {"ioeventfd", "len 0 other", "0"},
    {"ioeventfd", "len 0 datamatch", "EINVAL"},
    {"ioeventfd", "datamatch 1", "0"},
    {"ioeventfd", "datamatch 2", "0"},
    {"ioeventfd", "addr wrap", "EINVAL"},
    {"ioeventfd", "flags 0x100", "EINVAL"},
    {"ioeventfd", "bad fd", "EBADF"},
    {"ioeventfd", "/dev/null", "EINVAL"},
    {"ioeventfd", "over RAM slot", "0"},
    {"ioeventfd", "PIO", "0"},
    {"ioeventfd", "PIO addr 0x20000", "0"},
    {"ioeventfd", "deassign wrong len", "ENOENT"},
    {"ioeventfd", "deassign wrong fd", "ENOENT"},
    {"ioeventfd", "deassign", "0"},
    {"ioeventfd", "deassign again", "ENOENT"},
    {"ioeventfd", "vm unknown ioctl", "ENOTTY"},
    {"split", "SPLIT_IRQCHIP 24 pins", "0"},
    {"split", "again", "EEXIST"},
    {"split", "SET_GSI_ROUTING IRQCHIP", "EINVAL"},
    {"split", "SET_GSI_ROUTING MSI gsi5", "0"},
    {"split", "IRQFD resample gsi 5", "EINVAL"},
    {"split", "IRQFD plain gsi 5", "0"},
    {"split", "IRQFD deassign", "0"},
    {"split", "VM ioctl from another process", "EIO"},
};

std::string_view For(const Answers& answers, KernelVersion version) {
  std::string_view own;
  switch (version) {
    case KernelVersion::k6_1:
      own = answers.v6_1;
      break;
    case KernelVersion::k6_12:
      break;
    case KernelVersion::k6_18:
      own = answers.v6_18;
      break;
    case KernelVersion::k7_2:
      own = answers.v7_2;
      break;
  }
  return own.empty() ? answers.usual : own;
}

}  // namespace

std::vector<KvmObservation> KvmTranscript(KernelVersion version) {
  std::vector<KvmObservation> transcript;
  for (const Answers& answers : kTranscript) {
    transcript.push_back({std::string(answers.section),
                          std::string(answers.question),
                          std::string(For(answers, version))});
  }
  return transcript;
}

}  // namespace passthru::fake
