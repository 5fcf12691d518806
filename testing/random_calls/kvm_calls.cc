// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/random_calls/kvm_calls.h"

#include <linux/kvm.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <vector>

#include "absl/strings/str_cat.h"
#include "passthru/testing/random_calls/answer_text.h"

namespace passthru::random_calls {
namespace {

using kernel::SyscallResult;

// The page at 0 and those around it are no memory of a process.
constexpr uint64_t kUnmapped = 0x1000;

// One KVM call with the objects that it concerns.
class KvmCall {
 public:
  KvmCall(kernel::Syscalls& kernel, Objects& objects, const RandomCall& call)
      : kernel_(kernel), objects_(objects), call_(call) {}

  std::string Answer();

 private:
  uint64_t Argument(size_t i) const { return call_.arguments[i]; }
  uint32_t Word(size_t i) const { return static_cast<uint32_t>(Argument(i)); }
  int Fd(size_t i) { return objects_.FdOf(Argument(i)); }
  SyscallResult<int> Ioctl(unsigned long request, void* argument) {
    return kernel_.Ioctl(Fd(0), request, argument);
  }
  SyscallResult<int> IoctlInt(unsigned long request, uint64_t argument) {
    return kernel_.IoctlInt(Fd(0), request, argument);
  }

  // Keeps a new descriptor in the place of an argument.
  std::string Keep(size_t place, const SyscallResult<int>& made);
  std::string CloseKvm();
  std::string EnableCap();
  std::string CreateDevice();
  std::string DeviceAttribute();
  std::string Slot(uint64_t size, uint64_t host);
  std::string BarSlot();
  std::string Irqfd();
  std::string Routes();
  std::string SignalMsi();
  std::string IrqLine();
  std::string IoEventFd();
  std::string Address();
  std::string NoArgument();

  kernel::Syscalls& kernel_;
  Objects& objects_;
  const RandomCall& call_;
};

std::string KvmCall::Answer() {
  switch (call_.kind) {
    case CallKind::kCreateVm:
      return Keep(1, IoctlInt(KVM_CREATE_VM, Argument(2)));
    case CallKind::kCloseKvm:
      return CloseKvm();
    case CallKind::kExtension:
      return Text(IoctlInt(KVM_CHECK_EXTENSION, Argument(1)));
    case CallKind::kCreateIrqchip:
      return Text(IoctlInt(KVM_CREATE_IRQCHIP, 0));
    case CallKind::kCreatePit: {
      kvm_pit_config config{};
      return Text(Ioctl(KVM_CREATE_PIT2, &config));
    }
    case CallKind::kEnableCap:
      return EnableCap();
    case CallKind::kCreateDevice:
      return CreateDevice();
    case CallKind::kDeviceAttr:
      return DeviceAttribute();
    case CallKind::kSlot:
      return Slot(
          Argument(4),
          Argument(5) == kNoMemory
              ? uint64_t{1} << 63
              : reinterpret_cast<uintptr_t>(objects_.memory) + Argument(5));
    case CallKind::kBarSlot:
      return BarSlot();
    case CallKind::kIrqfd:
      return Irqfd();
    case CallKind::kRoutes:
      return Routes();
    case CallKind::kSignalMsi:
      return SignalMsi();
    case CallKind::kIrqLine:
      return IrqLine();
    case CallKind::kCreateVcpu:
      return Keep(1, IoctlInt(KVM_CREATE_VCPU, Argument(2)));
    case CallKind::kKvmIoEventFd:
      return IoEventFd();
    case CallKind::kAddress:
      return Address();
    case CallKind::kNoArgument:
      return NoArgument();
    default:
      return "no such call";
  }
}

std::string KvmCall::Keep(size_t place, const SyscallResult<int>& made) {
  if (!made.ok()) return ErrorName(made.error);
  int& fd = *objects_.PlaceOf(Argument(place));
  if (fd >= 0) kernel_.Close(fd);
  fd = made.value;
  return "made";
}

std::string KvmCall::CloseKvm() {
  int& fd = *objects_.PlaceOf(Argument(0));
  if (fd < 0) return "none";
  std::string text = Text(kernel_.Close(fd));
  fd = -1;
  return text;
}

std::string KvmCall::EnableCap() {
  kvm_enable_cap request{};
  request.cap = Word(1);
  request.flags = Word(2);
  request.args[0] = Argument(3);
  return Text(Ioctl(KVM_ENABLE_CAP, &request));
}

std::string KvmCall::CreateDevice() {
  kvm_create_device request{.type = Word(2), .fd = 12345, .flags = Word(3)};
  const auto made = Ioctl(KVM_CREATE_DEVICE, &request);
  if (!made.ok()) return ErrorName(made.error);
  // A test makes none.
  if (request.fd == 12345) return "0";
  return Keep(1, {.value = static_cast<int>(request.fd)});
}

std::string KvmCall::DeviceAttribute() {
  static constexpr unsigned long kRequests[] = {
      KVM_SET_DEVICE_ATTR, KVM_GET_DEVICE_ATTR, KVM_HAS_DEVICE_ATTR};
  int32_t fd = Fd(4);
  kvm_device_attr attribute{};
  attribute.group = Word(2);
  attribute.attr = Argument(3);
  attribute.addr =
      Argument(4) == kNoMemory ? kUnmapped : reinterpret_cast<uintptr_t>(&fd);
  return Text(Ioctl(kRequests[Argument(1)], &attribute));
}

std::string KvmCall::Slot(uint64_t size, uint64_t host) {
  kvm_userspace_memory_region region{.slot = Word(1),
                                     .flags = Word(2),
                                     .guest_phys_addr = Argument(3),
                                     .memory_size = size,
                                     .userspace_addr = host};
  return Text(Ioctl(KVM_SET_USER_MEMORY_REGION, &region));
}

std::string KvmCall::BarSlot() {
  const Objects::Mapping& mapping = objects_.mappings[Argument(5)];
  if (mapping.address == nullptr) return "none";
  return Slot(Argument(4) * kPage,
              reinterpret_cast<uintptr_t>(mapping.address));
}

std::string KvmCall::Irqfd() {
  kvm_irqfd request{};
  request.fd = static_cast<uint32_t>(Fd(1));
  request.gsi = Word(2);
  request.flags = Word(3);
  request.resamplefd = static_cast<uint32_t>(Fd(4));
  return Text(Ioctl(KVM_IRQFD, &request));
}

std::string KvmCall::Routes() {
  const size_t routes = (call_.arguments.size() - 3) / kRouteWords;
  std::vector<uint64_t> words(
      (sizeof(kvm_irq_routing) + routes * sizeof(kvm_irq_routing_entry)) /
      sizeof(uint64_t));
  auto* const table = reinterpret_cast<kvm_irq_routing*>(words.data());
  table->nr = Word(1);
  table->flags = Word(2);
  auto* const entries =
      reinterpret_cast<kvm_irq_routing_entry*>(words.data() + 1);
  static_assert(sizeof(kvm_irq_routing) == sizeof(uint64_t));
  for (size_t i = 0; i < routes; ++i) {
    const size_t at = 3 + i * kRouteWords;
    entries[i].gsi = Word(at);
    entries[i].type = Word(at + 1);
    entries[i].flags = Word(at + 2);
    if (Argument(at + 1) == KVM_IRQ_ROUTING_IRQCHIP) {
      entries[i].u.irqchip.irqchip = Word(at + 3);
      entries[i].u.irqchip.pin = Word(at + 4);
    } else {
      entries[i].u.msi.address_lo = Word(at + 3);
      entries[i].u.msi.address_hi =
          static_cast<uint32_t>(Argument(at + 3) >> 32);
      entries[i].u.msi.data = Word(at + 4);
    }
  }
  return Text(Ioctl(KVM_SET_GSI_ROUTING, table));
}

std::string KvmCall::SignalMsi() {
  kvm_msi message{};
  message.address_lo = Word(1);
  message.address_hi = static_cast<uint32_t>(Argument(1) >> 32);
  message.data = Word(2);
  message.flags = Word(3);
  return Text(Ioctl(KVM_SIGNAL_MSI, &message));
}

std::string KvmCall::IrqLine() {
  kvm_irq_level line{};
  line.irq = Word(1);
  line.level = Word(2);
  if (Argument(3) == 0) return Text(Ioctl(KVM_IRQ_LINE, &line));
  std::string text = Text(Ioctl(KVM_IRQ_LINE_STATUS, &line));
  if (text == "0") {
    absl::StrAppend(&text, " status=", static_cast<int32_t>(line.status));
  }
  return text;
}

std::string KvmCall::IoEventFd() {
  kvm_ioeventfd request{};
  request.addr = Argument(1);
  request.len = Word(2);
  request.fd = Fd(3);
  request.flags = Word(4);
  request.datamatch = Argument(5);
  return Text(Ioctl(KVM_IOEVENTFD, &request));
}

std::string KvmCall::Address() {
  uint64_t address = Argument(2);
  return Text(Argument(1) == 0 ? IoctlInt(KVM_SET_TSS_ADDR, address)
                               : Ioctl(KVM_SET_IDENTITY_MAP_ADDR, &address));
}

// Makes a call with a pointer at which there is nothing, or one that no kernel
// knows.
std::string KvmCall::NoArgument() {
  static constexpr unsigned long kRequests[] = {
      KVM_SET_USER_MEMORY_REGION,
      KVM_SET_IDENTITY_MAP_ADDR,
      KVM_CREATE_PIT2,
      KVM_IRQ_LINE,
      KVM_IRQ_LINE_STATUS,
      KVM_SET_GSI_ROUTING,
      KVM_IRQFD,
      KVM_SIGNAL_MSI,
      KVM_IOEVENTFD,
      KVM_ENABLE_CAP,
      KVM_CREATE_DEVICE,
      KVM_SET_DEVICE_ATTR,
      KVM_HAS_DEVICE_ATTR,
      KVM_GET_IRQCHIP,
      KVM_GET_REGS,
      KVM_SET_SREGS,
      KVM_GET_API_VERSION,
      KVM_GET_VCPU_MMAP_SIZE,
      _IO(KVMIO, 0x7f),
      _IO('q', 1),
  };
  return Text(Ioctl(kRequests[Argument(1) % std::size(kRequests)],
                    reinterpret_cast<void*>(kUnmapped)));
}

}  // namespace

std::string AnswerKvm(kernel::Syscalls& kernel, Objects& objects,
                      const RandomCall& call) {
  return KvmCall(kernel, objects, call).Answer();
}

}  // namespace passthru::random_calls
