// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_RANDOM_CALLS_OBJECTS_H_
#define PASSTHRU_TESTING_RANDOM_CALLS_OBJECTS_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "passthru/testing/random_calls/random_call.h"

namespace passthru::random_calls {

// What a sequence has open on a kernel. A descriptor of what is not open is -1.
struct Objects {
  // A number that no sequence reaches.
  static constexpr int kNoDescriptor = 9999;
  struct Mapping {
    void* address = nullptr;
    size_t length = 0;
  };

  int null = -1;
  int container = -1;
  int group = -1;
  int device = -1;
  std::array<int, kEventfds> eventfds = {};
  uint8_t* memory = nullptr;  // kMemoryPages pages.
  std::array<Mapping, kMappings> mappings = {};
  int kvm = -1;
  std::array<int, kVms> vms = {};
  std::array<int, kVcpus> vcpus = {};
  std::array<int, kKvmDevices> kvm_devices = {};

  Objects() {
    eventfds.fill(-1);
    vms.fill(-1);
    vcpus.fill(-1);
    kvm_devices.fill(-1);
  }

  // Returns where the descriptor of this place is kept, or null for a place
  // that is none.
  int* PlaceOf(uint64_t place) {
    if (place < kEventfds) return &eventfds[place];
    if (place == kNullDevice) return &null;
    if (place == kGroup) return &group;
    if (place == kDevice) return &device;
    if (place == kContainer) return &container;
    if (place == kKvm) return &kvm;
    if (kFirstVm - place < kVms) return &vms[kFirstVm - place];
    if (kFirstVcpu - place < kVcpus) return &vcpus[kFirstVcpu - place];
    if (kFirstKvmDevice - place < kKvmDevices) {
      return &kvm_devices[kFirstKvmDevice - place];
    }
    return nullptr;
  }

  // Returns a descriptor for a call, which is not open if the place has none.
  int FdOf(uint64_t place) {
    if (place == kNoFd) return -1;
    const int* const fd = PlaceOf(place);
    return fd == nullptr || *fd < 0 ? kNoDescriptor : *fd;
  }
};

}  // namespace passthru::random_calls

#endif  // PASSTHRU_TESTING_RANDOM_CALLS_OBJECTS_H_
