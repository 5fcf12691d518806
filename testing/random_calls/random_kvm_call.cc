// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/random_calls/random_kvm_call.h"

#include <linux/kvm.h>

#include <cstdint>

namespace passthru::random_calls {
namespace {

constexpr uint64_t kMessageWindow = 0xfee00000;
constexpr uint64_t kDoorbells = 0xe0000000;

// An irqfd injects when the kernel's worker gets to it. So that this changes no
// answer, only GSIs below have a status that is asked for, and only GSIs from
// here on have irqfds. Each half has its own pins.
constexpr uint64_t kIrqfdGsi = 16;

uint64_t DrawVm(Source& source) {
  if (source.Percent(4)) {
    return source.OneOf({kNoFd, kClosedFd, kNullDevice, kGroup, kDevice,
                         kContainer, kKvm, kFirstVcpu, kFirstKvmDevice, 0});
  }
  return kFirstVm - (source.Percent(20) ? 1 : 0);
}

uint64_t DrawEventfd(Source& source) {
  if (source.Percent(8)) {
    return source.OneOf(
        {kNoFd, kClosedFd, kNullDevice, kGroup, kDevice, kKvm, kFirstVm});
  }
  return source.Below(kEventfds);
}

uint64_t DrawStatusGsi(Source& source) {
  return source.OneOf({0, 1, 2, 4, 5, 7, 8, 9, 11, 15});
}

uint64_t DrawIrqfdGsi(Source& source) {
  if (source.Percent(5)) return source.OneOf({4096, 100000, 0xffffffff});
  return source.OneOf({16, 17, 20, 23, 24, 25, 40, 4095});
}

RandomCall DrawSlot(Source& source, bool bar) {
  const uint64_t vm = DrawVm(source);
  uint64_t slot = source.Below(5);
  uint64_t flags =
      source.OneOf({0, 0, 0, KVM_MEM_LOG_DIRTY_PAGES, KVM_MEM_READONLY,
                    KVM_MEM_LOG_DIRTY_PAGES | KVM_MEM_READONLY});
  uint64_t guest = kPage * source.Below(12);
  uint64_t pages = source.Percent(20) ? 0 : 1 + source.Below(4);
  if (source.Percent(3)) {
    slot = source.OneOf(
        {32763, 32764, 0xffff, 0x10000, 0x10001, 0x20000, 0xffffffff});
  }
  if (source.Percent(3)) flags = source.OneOf({4, 8, 0x10, 0x80000000});
  if (source.Percent(3)) {
    guest = source.OneOf({1, 2048, ~(kPage - 1), uint64_t{1} << 52,
                          (uint64_t{1} << 52) - kPage, uint64_t{1} << 40});
  }
  if (bar) {
    return {CallKind::kBarSlot,
            {vm, slot, flags, guest, pages, source.Below(kMappings)}};
  }
  uint64_t size = pages * kPage;
  uint64_t host = kPage * source.Below(kMemoryPages - 3);
  if (source.Percent(3)) size = source.OneOf({1, 100, 4097, ~uint64_t{0}});
  if (source.Percent(3)) host += source.OneOf({1, 8, 2048});
  if (source.Percent(3)) host = kNoMemory;
  return {CallKind::kSlot, {vm, slot, flags, guest, size, host}};
}

RandomCall DrawIrqfd(Source& source) {
  uint64_t flags =
      source.OneOf({0, 0, 0, KVM_IRQFD_FLAG_RESAMPLE, KVM_IRQFD_FLAG_DEASSIGN,
                    KVM_IRQFD_FLAG_DEASSIGN,
                    KVM_IRQFD_FLAG_DEASSIGN | KVM_IRQFD_FLAG_RESAMPLE});
  if (source.Percent(4)) flags = source.OneOf({4, 8, 5, 0x80000000});
  return {CallKind::kIrqfd,
          {DrawVm(source), DrawEventfd(source), DrawIrqfdGsi(source), flags,
           DrawEventfd(source)}};
}

uint64_t DrawMessageAddress(Source& source) {
  // Destinations of vCPUs, of none, and of all, physical and logical.
  const uint64_t destination = source.OneOf({0, 0, 1, 2, 5, 0xff});
  uint64_t address = kMessageWindow | destination << 12;
  if (source.Percent(20)) address |= source.OneOf({4, 8, 12});
  if (source.Percent(10)) {
    address |= source.OneOf({1, 0xff, 0x100, 0xffffff00}) << 32;
  }
  if (source.Percent(3)) address = source.OneOf({0, ~uint64_t{0}});
  return address;
}

uint64_t DrawMessageData(Source& source) {
  // Most are of fixed delivery.
  const uint64_t mode = source.Percent(80) ? 0 : source.Below(8);
  return source.Below(256) | mode << 8 | source.OneOf({0, 0, 0x4000, 0xc000});
}

void DrawRoute(Source& source, RandomCall& call) {
  const bool status = source.Percent(50);
  uint64_t gsi = status ? DrawStatusGsi(source) : DrawIrqfdGsi(source);
  // KVM_IRQ_ROUTING_HV_SINT and _XEN_EVTCHN have no simulation.
  uint64_t type = source.OneOf(
      {KVM_IRQ_ROUTING_MSI, KVM_IRQ_ROUTING_MSI, KVM_IRQ_ROUTING_IRQCHIP});
  uint64_t flags = 0;
  if (source.Percent(2)) type = source.OneOf({0, 3, 6, 99});
  if (source.Percent(4)) flags = source.OneOf({KVM_MSI_VALID_DEVID, 2});
  uint64_t first = DrawMessageAddress(source);
  uint64_t second = DrawMessageData(source);
  if (type == KVM_IRQ_ROUTING_IRQCHIP) {
    first = status ? source.Below(3) : uint64_t{KVM_IRQCHIP_IOAPIC};
    second = status ? source.Below(first == KVM_IRQCHIP_IOAPIC ? 16 : 8)
                    : kIrqfdGsi + source.Below(8);
    if (source.Percent(2)) second = source.OneOf({24, 255, 0xffffffff});
    if (source.Percent(2)) first = source.OneOf({3, 0xffffffff});
  }
  call.arguments.insert(call.arguments.end(),
                        {gsi, type, flags, first, second});
}

RandomCall DrawRoutes(Source& source) {
  const uint64_t routes = source.OneOf({0, 1, 1, 2, 3, 5});
  uint64_t count = routes;
  if (source.Percent(2)) count = source.OneOf({4097, 0xffffffff});
  RandomCall call{CallKind::kRoutes,
                  {DrawVm(source), count,
                   source.Percent(3) ? source.OneOf({1, 0x80000000}) : 0}};
  for (uint64_t i = 0; i < routes; ++i) DrawRoute(source, call);
  return call;
}

RandomCall DrawDeviceAttribute(Source& source) {
  uint64_t device = kFirstKvmDevice - (source.Percent(15) ? 1 : 0);
  if (source.Percent(4)) device = DrawVm(source);
  // KVM_SET_, KVM_GET_ and KVM_HAS_DEVICE_ATTR.
  const uint64_t which = source.OneOf({0, 0, 0, 0, 1, 2});
  uint64_t group = KVM_DEV_VFIO_FILE;
  uint64_t attribute =
      source.OneOf({KVM_DEV_VFIO_FILE_ADD, KVM_DEV_VFIO_FILE_DEL});
  if (source.Percent(4)) group = source.OneOf({0, 2, 0xffffffff});
  if (source.Percent(4)) attribute = source.OneOf({0, 3, 4, ~uint64_t{0}});
  uint64_t file = source.OneOf({kGroup, kGroup, kGroup, kDevice});
  if (source.Percent(15)) {
    file = source.OneOf({kContainer, kNullDevice, kClosedFd, kKvm, kFirstVm,
                         kFirstKvmDevice, 0, kNoMemory});
  }
  return {CallKind::kDeviceAttr, {device, which, group, attribute, file}};
}

RandomCall DrawKvmIoEventFd(Source& source) {
  uint64_t address = kDoorbells + 4 * source.Below(4);
  if (source.Percent(10)) address = source.OneOf({0x510, 0x20000, 0});
  if (source.Percent(3)) address = ~uint64_t{0} - source.Below(10);
  uint64_t flags =
      source.OneOf({0, 0, KVM_IOEVENTFD_FLAG_DATAMATCH, KVM_IOEVENTFD_FLAG_PIO,
                    KVM_IOEVENTFD_FLAG_DEASSIGN, KVM_IOEVENTFD_FLAG_DEASSIGN,
                    KVM_IOEVENTFD_FLAG_DEASSIGN | KVM_IOEVENTFD_FLAG_DATAMATCH,
                    KVM_IOEVENTFD_FLAG_DEASSIGN | KVM_IOEVENTFD_FLAG_PIO});
  if (source.Percent(8)) flags = source.Below(64);
  const uint64_t length = source.OneOf({0, 2, 4, 4, 8, 1, 3, 16});
  return {CallKind::kKvmIoEventFd,
          {DrawVm(source), address, length, DrawEventfd(source), flags,
           source.Below(2)}};
}

RandomCall DrawEnableCap(Source& source) {
  const uint64_t capability =
      source.OneOf({KVM_CAP_SPLIT_IRQCHIP, KVM_CAP_X2APIC_API, 0, 9999});
  return {CallKind::kEnableCap,
          {DrawVm(source), capability,
           source.Percent(5) ? source.OneOf({1, 0x80000000}) : 0,
           source.OneOf({0, 1, 2, 3, 24, 4096, 4097})}};
}

RandomCall DrawExtension(Source& source) {
  const uint64_t capability = source.OneOf({KVM_CAP_IRQCHIP,
                                            KVM_CAP_USER_MEMORY,
                                            KVM_CAP_SET_TSS_ADDR,
                                            KVM_CAP_EXT_CPUID,
                                            KVM_CAP_SYNC_MMU,
                                            KVM_CAP_IRQFD,
                                            KVM_CAP_PIT2,
                                            KVM_CAP_IOEVENTFD,
                                            KVM_CAP_SET_IDENTITY_MAP_ADDR,
                                            KVM_CAP_SIGNAL_MSI,
                                            KVM_CAP_READONLY_MEM,
                                            KVM_CAP_IRQFD_RESAMPLE,
                                            KVM_CAP_ENABLE_CAP_VM,
                                            KVM_CAP_CHECK_EXTENSION_VM,
                                            KVM_CAP_SPLIT_IRQCHIP,
                                            KVM_CAP_IOEVENTFD_ANY_LENGTH,
                                            KVM_CAP_IMMEDIATE_EXIT,
                                            KVM_CAP_NR_MEMSLOTS,
                                            KVM_CAP_IRQ_ROUTING,
                                            KVM_CAP_MAX_VCPUS,
                                            KVM_CAP_NR_VCPUS,
                                            KVM_CAP_MAX_VCPU_ID,
                                            KVM_CAP_X2APIC_API,
                                            KVM_CAP_DEVICE_CTRL,
                                            KVM_CAP_USER_MEMORY2,
                                            KVM_CAP_MEMORY_FAULT_INFO,
                                            KVM_CAP_GUEST_MEMFD,
                                            KVM_CAP_MULTI_ADDRESS_SPACE,
                                            9999,
                                            0xffffffff});
  return {CallKind::kExtension,
          {source.Percent(50) ? kKvm : DrawVm(source), capability}};
}

// The descriptors of KVM, of which one is closed.
uint64_t DrawClosed(Source& source) {
  return source.OneOf({kFirstVm, kFirstVm - 1, kFirstVcpu, kFirstVcpu - 1,
                       kFirstKvmDevice, kFirstKvmDevice, kFirstKvmDevice - 1});
}

RandomCall DrawCreateVm(Source& source) {
  return {CallKind::kCreateVm,
          {source.Percent(4) ? DrawVm(source) : kKvm,
           kFirstVm - (source.Percent(40) ? 1 : 0),
           source.Percent(10) ? source.OneOf({5, 0xff, 0x100}) : 0}};
}

RandomCall DrawCreateDevice(Source& source) {
  return {CallKind::kCreateDevice,
          {DrawVm(source), kFirstKvmDevice - (source.Percent(30) ? 1 : 0),
           source.Percent(10) ? source.OneOf({1, 2, 3, 5, 99, 0xffffffff})
                              : uint64_t{KVM_DEV_TYPE_VFIO},
           source.OneOf({0, 0, 0, KVM_CREATE_DEVICE_TEST, 2})}};
}

}  // namespace

void DrawMachine(Source& source, Sequence& calls) {
  calls.push_back({CallKind::kCreateVm, {kKvm, kFirstVm, 0}});
  if (source.Percent(70))
    calls.push_back({CallKind::kCreateIrqchip, {kFirstVm}});
  if (source.Percent(50)) {
    calls.push_back({CallKind::kCreateVcpu, {kFirstVm, kFirstVcpu, 0}});
  }
  if (source.Percent(50)) {
    calls.push_back({CallKind::kCreateDevice,
                     {kFirstVm, kFirstKvmDevice, KVM_DEV_TYPE_VFIO, 0}});
  }
}

RandomCall DrawKvmCall(Source& source) {
  const uint64_t choice = source.Below(100);
  if (choice < 1) return DrawCreateVm(source);
  if (choice < 2) return {CallKind::kCloseKvm, {DrawClosed(source)}};
  if (choice < 6) return DrawExtension(source);
  if (choice < 8) return {CallKind::kCreateIrqchip, {DrawVm(source)}};
  if (choice < 9) return {CallKind::kCreatePit, {DrawVm(source)}};
  if (choice < 12) return DrawEnableCap(source);
  if (choice < 15) return DrawCreateDevice(source);
  if (choice < 23) return DrawDeviceAttribute(source);
  if (choice < 35) return DrawSlot(source, /*bar=*/false);
  if (choice < 38) return DrawSlot(source, /*bar=*/true);
  if (choice < 53) return DrawIrqfd(source);
  if (choice < 63) return DrawRoutes(source);
  if (choice < 69) {
    return {
        CallKind::kSignalMsi,
        {DrawVm(source), DrawMessageAddress(source), DrawMessageData(source),
         source.Percent(5) ? source.OneOf({1, 2, 0x80000000}) : 0}};
  }
  if (choice < 75) {
    const bool status = source.Percent(70);
    const uint64_t gsi = status ? DrawStatusGsi(source) : DrawIrqfdGsi(source);
    return {CallKind::kIrqLine,
            {DrawVm(source), gsi, source.OneOf({0, 0, 1, 1, 1, 2}),
             status ? 1u : 0u}};
  }
  if (choice < 79) {
    return {CallKind::kCreateVcpu,
            {DrawVm(source), kFirstVcpu - source.Below(kVcpus),
             source.OneOf({0, 0, 1, 2, 3, 4095, 16384, 65536, 0xffffffff})}};
  }
  if (choice < 86) return DrawKvmIoEventFd(source);
  if (choice < 88) {
    return {CallKind::kAddress,
            {DrawVm(source), source.Below(2),
             source.OneOf({0, 0xfffbc000, 0xfffbd000, 0xffffd000, 0xffffe000,
                           0x100000000})}};
  }
  if (choice < 90) {
    return {CallKind::kNoArgument,
            {source.Percent(70) ? DrawVm(source) : DrawClosed(source),
             source.Below(20)}};
  }
  if (choice < 94) return {CallKind::kReadEventfd, {source.Below(kEventfds)}};
  if (choice < 98) return {CallKind::kWriteEventfd, {source.Below(kEventfds)}};
  return {CallKind::kNewEventfd, {source.Below(kEventfds)}};
}

}  // namespace passthru::random_calls
