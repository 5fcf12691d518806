// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/kvm/cpu_topology.h"

#include <linux/kvm.h>

#include <bit>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace passthru::kvm {
namespace {

// Bits of leaf 1, and of AMD's leaf 0x80000001.
constexpr uint32_t kTscDeadlineTimer = 1u << 24;  // ECX
constexpr uint32_t kHypervisor = 1u << 31;        // ECX
constexpr uint32_t kSeveralThreads = 1u << 28;    // EDX, HTT
constexpr uint32_t kSeveralCores = 1u << 1;       // ECX, CmpLegacy

// The types of level of the extended topology leaf.
constexpr uint32_t kThreadLevel = 1;
constexpr uint32_t kCoreLevel = 2;
constexpr uint32_t kLastLevelCache = 3;

constexpr uint32_t kBasicTopologyLeaf = 0xb;
constexpr uint32_t kIntelTopologyLeaf = 0x1f;
constexpr uint32_t kAmdTopologyLeaf = 0x80000026;

// Replaces bits [high:low] of a register.
void SetBits(uint32_t& reg, unsigned high, unsigned low, uint32_t value) {
  const uint32_t mask = (high - low == 31 ? ~0u : (1u << (high - low + 1)) - 1)
                        << low;
  reg = (reg & ~mask) | (value << low & mask);
}

void SetBit(uint32_t& reg, uint32_t bit, bool value) {
  reg = value ? reg | bit : reg & ~bit;
}

// Returns whether the leaf describes the host's topology with as many levels as
// the host has. CpuidOf() writes the first one anew and drops the others, which
// a CPU need not have.
bool IsTopologyLeaf(uint32_t leaf) {
  return leaf == kBasicTopologyLeaf || leaf == kIntelTopologyLeaf ||
         leaf == kAmdTopologyLeaf;
}

kvm_cpuid_entry2 TopologyLevel(uint32_t index, uint32_t shift, uint32_t threads,
                               uint32_t type, uint32_t apic_id) {
  kvm_cpuid_entry2 entry = {};
  entry.function = kBasicTopologyLeaf;
  entry.index = index;
  entry.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
  entry.eax = shift;
  entry.ebx = threads;
  entry.ecx = type << 8 | index;
  entry.edx = apic_id;
  return entry;
}

void SetNumbers(kvm_cpuid_entry2& entry, const CpuNumbers& numbers,
                uint32_t id_bits) {
  const uint32_t count = numbers.vcpu_count;
  const uint32_t ids = 1u << id_bits;
  switch (entry.function) {
    case 1:
      SetBits(entry.ebx, 31, 24, numbers.apic_id);
      SetBits(entry.ebx, 23, 16, ids);
      SetBit(entry.ecx, kHypervisor, true);
      SetBit(entry.ecx, kTscDeadlineTimer, numbers.tsc_deadline_timer);
      SetBit(entry.edx, kSeveralThreads, count > 1);
      return;
    case 4:                                 // Intel's caches
    case 0x8000001d:                        // AMD's caches
      if ((entry.eax & 0x1f) == 0) return;  // no more caches
      SetBits(entry.eax, 25, 14,
              (entry.eax >> 5 & 7) >= kLastLevelCache ? ids - 1 : 0);
      if (entry.function == 4) SetBits(entry.eax, 31, 26, ids - 1);
      return;
    case 0x80000001:
      SetBit(entry.ecx, kSeveralCores, count > 1);
      return;
    case 0x80000008:
      SetBits(entry.ecx, 7, 0, count - 1);
      SetBits(entry.ecx, 15, 12, id_bits);
      return;
    case 0x8000001e:
      entry.eax = numbers.apic_id;
      entry.ebx = numbers.apic_id & 0xff;  // the core, with one thread
      entry.ecx = 0;                       // the only node
      return;
    default:
      return;
  }
}

}  // namespace

std::vector<kvm_cpuid_entry2> CpuidOf(
    const CpuNumbers& numbers, absl::Span<const kvm_cpuid_entry2> supported) {
  const auto id_bits =
      static_cast<uint32_t>(std::bit_width(numbers.vcpu_count - 1));
  // An Intel CPU has no CmpLegacy and no core count in leaf 0x80000008.
  constexpr uint32_t kEbxOfIntel = 0x756e6547;  // "Genu"
  bool intel = false;
  uint32_t last_basic_leaf = 0;
  std::vector<kvm_cpuid_entry2> entries;
  for (const kvm_cpuid_entry2& host : supported) {
    if (IsTopologyLeaf(host.function)) continue;
    kvm_cpuid_entry2 entry = host;
    if (entry.function == 0) {
      last_basic_leaf = entry.eax;
      intel = entry.ebx == kEbxOfIntel;
    }
    const bool of_amd =
        entry.function == 0x80000001 || entry.function == 0x80000008;
    if (!intel || !of_amd) SetNumbers(entry, numbers, id_bits);
    entries.push_back(entry);
  }
  if (last_basic_leaf < kBasicTopologyLeaf) return entries;
  entries.push_back(TopologyLevel(0, 0, 1, kThreadLevel, numbers.apic_id));
  entries.push_back(TopologyLevel(1, id_bits, numbers.vcpu_count, kCoreLevel,
                                  numbers.apic_id));
  entries.push_back(TopologyLevel(2, 0, 0, 0, numbers.apic_id));
  return entries;
}

}  // namespace passthru::kvm
