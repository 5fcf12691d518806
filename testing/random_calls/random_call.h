// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_RANDOM_CALLS_RANDOM_CALL_H_
#define PASSTHRU_TESTING_RANDOM_CALLS_RANDOM_CALL_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace passthru::random_calls {

// What the draw needs to know of a device, so that many of its calls make
// sense. Two kernels with the same device have the same.
struct Shape {
  struct Region {
    uint64_t size = 0;
    uint32_t flags = 0;
    friend bool operator==(const Region&, const Region&) = default;
  };
  std::array<Region, 9> regions = {};
  std::array<uint32_t, 5> irq_counts = {};
  // Offsets in configuration space, or 0 for what the device lacks.
  uint32_t power_management = 0;
  uint32_t express = 0;
  uint32_t advanced_features = 0;
  // Whether the device says that it loses its state from D3hot to D0.
  bool soft_resets = false;
  // Where the MSI-X table is. The BAR is 6 without one.
  uint32_t msix_bar = 6;
  uint64_t msix_offset = 0;
  // Whether there is a /dev/kvm.
  bool has_kvm = false;
  // The bytes of configuration space that no call writes, and that are not
  // compared, because they reach behaviour that only the device knows.
  std::vector<bool> excluded;

  friend bool operator==(const Shape&, const Shape&) = default;
};

// Finds capabilities in a configuration space as VFIO shows it, and excludes
// the window by which virtio shows its BARs there (virtio 1.2, 4.1.4.9).
void AddCapabilities(const std::vector<uint8_t>& config, Shape& shape);

enum class CallKind {
  kReadConfig,     // offset, length
  kWriteConfig,    // offset, length, value
  kSetPower,       // state
  kSetCommand,     // value
  kFunctionReset,  // by PCI Express or Advanced Features
  kReset,
  kHotReset,      // count, descriptor
  kSetIrqs,       // index, flags, start, count, argsz, data[count]
  kReadEventfd,   // eventfd
  kWriteEventfd,  // eventfd
  kMap,           // iova, size, offset in memory, flags
  kUnmap,         // iova, size, flags
  kReadRegion,    // region, offset, length
  kWriteRegion,   // region, offset, length
  kMmap,          // slot, region, offset, length, private
  kMunmap,        // slot
  kTouch,         // slot, page
  kInfo,          // which, index, argsz
  kFeature,       // flags
  kLowPower,
  kIoEventFd,   // region, offset, width, eventfd
  kContainer,   // which
  kLifetime,    // which
  kNewEventfd,  // eventfd, in whose place it comes

  // Of KVM. The first argument is the descriptor on which the call is made.
  kCreateVm,       // KVM, VM, type
  kCloseKvm,       // descriptor
  kExtension,      // descriptor, capability
  kCreateIrqchip,  // VM
  kCreatePit,      // VM
  kEnableCap,      // VM, capability, flags, argument
  kCreateDevice,   // VM, device, type, flags
  kDeviceAttr,     // device, which, group, attribute, descriptor
  kSlot,           // VM, slot, flags, guest address, size, offset in memory
  kBarSlot,        // VM, slot, flags, guest address, pages, mapping
  kIrqfd,          // VM, eventfd, GSI, flags, resample eventfd
  kRoutes,         // VM, count, flags, then kRouteWords for each route
  kSignalMsi,      // VM, address, data, flags
  kIrqLine,        // VM, GSI, level, whether it asks for the status
  kCreateVcpu,     // VM, vCPU, id
  kKvmIoEventFd,   // VM, address, length, eventfd, flags, data
  kAddress,        // VM, which, address
  kNoArgument,     // descriptor, which
};
inline constexpr size_t kCallKinds = 42;
// From this one on the kinds need KVM.
inline constexpr CallKind kFirstKvmKind = CallKind::kCreateVm;

inline constexpr uint64_t kPage = 4096;
// The places of a sequence's own objects.
inline constexpr size_t kEventfds = 6;
inline constexpr size_t kMappings = 3;
inline constexpr size_t kMemoryPages = 8;
inline constexpr size_t kVms = 2;
inline constexpr size_t kVcpus = 3;
inline constexpr size_t kKvmDevices = 2;
// Stand for descriptors. Numbers from 0 on are eventfds.
inline constexpr uint64_t kNoFd = ~uint64_t{0};  // -1.
inline constexpr uint64_t kClosedFd = ~uint64_t{0} - 1;
inline constexpr uint64_t kNullDevice = ~uint64_t{0} - 2;
inline constexpr uint64_t kGroup = ~uint64_t{0} - 3;
inline constexpr uint64_t kDevice = ~uint64_t{0} - 4;
inline constexpr uint64_t kContainer = ~uint64_t{0} - 5;
inline constexpr uint64_t kKvm = ~uint64_t{0} - 6;
inline constexpr uint64_t kFirstVm = ~uint64_t{0} - 8;  // The next is below.
inline constexpr uint64_t kFirstVcpu = kFirstVm - kVms;
inline constexpr uint64_t kFirstKvmDevice = kFirstVcpu - kVcpus;
// Stands for an address that no process can have, in kMap, kSlot and
// kDeviceAttr.
inline constexpr uint64_t kNoMemory = ~uint64_t{0};
// A route in kRoutes has GSI, type, flags, and two words of its type.
inline constexpr size_t kRouteWords = 5;

// One call to a kernel. All that it needs is in it, so that a sequence means
// the same on every kernel and after calls were taken out.
struct RandomCall {
  CallKind kind = CallKind::kReset;
  std::vector<uint64_t> arguments;

  std::string ToString() const;
  friend bool operator==(const RandomCall&, const RandomCall&) = default;
};

using Sequence = std::vector<RandomCall>;

// Draws calls for a device from a seed. The same seed, shape and length give
// the same calls.
Sequence Draw(const Shape& shape, uint64_t seed, size_t length);

}  // namespace passthru::random_calls

#endif  // PASSTHRU_TESTING_RANDOM_CALLS_RANDOM_CALL_H_
