// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/kvm/cpu_topology.h"

#include <linux/kvm.h>

#include <cstdint>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace passthru::kvm {
namespace {

constexpr uint32_t kGenu = 0x756e6547;
constexpr uint32_t kAuth = 0x68747541;

kvm_cpuid_entry2 Leaf(uint32_t function, uint32_t eax = 0, uint32_t ebx = 0,
                      uint32_t ecx = 0, uint32_t edx = 0) {
  kvm_cpuid_entry2 entry = {};
  entry.function = function;
  entry.eax = eax;
  entry.ebx = ebx;
  entry.ecx = ecx;
  entry.edx = edx;
  return entry;
}

// Returns the entry of a leaf, or one of zeros.
kvm_cpuid_entry2 Find(const std::vector<kvm_cpuid_entry2>& entries,
                      uint32_t function, uint32_t index = 0) {
  for (const kvm_cpuid_entry2& entry : entries) {
    if (entry.function == function && entry.index == index) return entry;
  }
  return {};
}

TEST(CpuTopologyTest, LeafOneHasTheNumbersOfTheVcpu) {
  const std::vector<kvm_cpuid_entry2> host = {
      Leaf(0, 0xd, kGenu), Leaf(1, 0x1234, 0x07100877, 0, 0)};
  const auto third =
      Find(CpuidOf({.apic_id = 2, .vcpu_count = 3, .tsc_deadline_timer = true},
                   host),
           1);
  EXPECT_EQ(third.eax, 0x1234u);
  EXPECT_EQ(third.ebx, 0x02040877u) << "3 vCPUs have room for 4 IDs";
  EXPECT_EQ(third.ecx, 1u << 31 | 1u << 24);
  EXPECT_EQ(third.edx, 1u << 28);
  const auto only = Find(CpuidOf({}, host), 1);
  EXPECT_EQ(only.ebx, 0x00010877u);
  EXPECT_EQ(only.ecx, 1u << 31);
  EXPECT_EQ(only.edx, 0u);
}

TEST(CpuTopologyTest, TopologyLeavesOfTheHostAreReplaced) {
  const std::vector<kvm_cpuid_entry2> host = {
      Leaf(0, 0x1f, kGenu), Leaf(0xb, 7, 7, 7, 7), Leaf(0x1f, 7, 7, 7, 7),
      Leaf(0x80000026, 7, 7, 7, 7)};
  const auto entries = CpuidOf({.apic_id = 3, .vcpu_count = 4}, host);
  EXPECT_EQ(entries.size(), 4u);
  const auto threads = Find(entries, 0xb, 0);
  EXPECT_EQ(threads.eax, 0u);
  EXPECT_EQ(threads.ebx, 1u);
  EXPECT_EQ(threads.ecx, 0x100u);
  EXPECT_EQ(threads.edx, 3u);
  const auto cores = Find(entries, 0xb, 1);
  EXPECT_EQ(cores.eax, 2u);
  EXPECT_EQ(cores.ebx, 4u);
  EXPECT_EQ(cores.ecx, 0x201u);
  EXPECT_EQ(Find(entries, 0xb, 2).ecx, 2u);
}

TEST(CpuTopologyTest, AnOldCpuHasNoTopologyLeaf) {
  const std::vector<kvm_cpuid_entry2> host = {Leaf(0, 0xa, kGenu)};
  EXPECT_EQ(CpuidOf({.vcpu_count = 2}, host).size(), 1u);
}

TEST(CpuTopologyTest, OnlyTheLastLevelOfCachesIsShared) {
  // The types are data and unified, the levels 1 and 3, for 64 cores of the
  // host.
  const std::vector<kvm_cpuid_entry2> host = {
      Leaf(0, 4, kGenu), Leaf(4, 0xfc004121), Leaf(4, 0xfc1fc163)};
  const auto entries = CpuidOf({.vcpu_count = 4}, host);
  EXPECT_EQ(entries[1].eax, 0x0c000121u);
  EXPECT_EQ(entries[2].eax, 0x0c00c163u);
}

TEST(CpuTopologyTest, AmdCountsCoresInLeavesOfItsOwn) {
  const std::vector<kvm_cpuid_entry2> host = {
      Leaf(0, 0xd, kAuth), Leaf(0x80000001, 0, 0, 0x22),
      Leaf(0x80000008, 0x3028, 0, 0x703f), Leaf(0x8000001d, 0x1c163),
      Leaf(0x8000001e, 9, 0x109, 0x301)};
  const auto entries = CpuidOf({.apic_id = 1, .vcpu_count = 2}, host);
  EXPECT_EQ(Find(entries, 0x80000001).ecx, 0x22u);
  EXPECT_EQ(Find(entries, 0x80000008).ecx, 0x1001u);
  EXPECT_EQ(Find(entries, 0x80000008).eax, 0x3028u);
  EXPECT_EQ(Find(entries, 0x8000001d).eax, 0x4163u);
  EXPECT_EQ(Find(entries, 0x8000001e).eax, 1u);
  EXPECT_EQ(Find(entries, 0x8000001e).ebx, 1u);
  EXPECT_EQ(Find(entries, 0x8000001e).ecx, 0u);
  EXPECT_EQ(Find(CpuidOf({}, host), 0x80000001).ecx, 0x20u);
}

TEST(CpuTopologyTest, IntelHasNoCountsInAmdsLeaves) {
  const std::vector<kvm_cpuid_entry2> host = {Leaf(0, 0xd, kGenu),
                                              Leaf(0x80000001, 0, 0, 0x21),
                                              Leaf(0x80000008, 0x302e)};
  const auto entries = CpuidOf({.apic_id = 1, .vcpu_count = 2}, host);
  EXPECT_EQ(Find(entries, 0x80000001).ecx, 0x21u);
  EXPECT_EQ(Find(entries, 0x80000008).ecx, 0u);
}

}  // namespace
}  // namespace passthru::kvm
