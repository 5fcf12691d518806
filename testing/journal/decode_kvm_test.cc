// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/journal/decode_kvm.h"

#include <linux/kvm.h>

#include <cstdint>
#include <string>
#include <utility>

#include "gtest/gtest.h"
#include "passthru/devices/kernel/flex_array.h"
#include "passthru/testing/journal/call.h"
#include "passthru/testing/journal/journal.h"

namespace passthru::journal {
namespace {

std::string Text(Call call) {
  return JournalEntry{.call = std::move(call)}.ToString();
}

std::string Describe(unsigned long request, const void* arg) {
  return Text(DescribeKvmIoctl(request, arg));
}

TEST(DescribeKvmIoctlTest, IntegersAreShown) {
  const int one = 1;
  EXPECT_EQ(Text(DescribeKvmIoctl(KVM_CREATE_VCPU, nullptr)),
            "KVM_CREATE_VCPU(arg=0) = 0");
  EXPECT_EQ(Describe(KVM_RUN, &one), "KVM_RUN() = 0");
}

TEST(DescribeKvmIoctlTest, StructsAreDecoded) {
  const kvm_userspace_memory_region region{.slot = 3,
                                           .flags = KVM_MEM_READONLY,
                                           .guest_phys_addr = 0xe0000000,
                                           .memory_size = 0x1000,
                                           .userspace_addr = 0x7f0000000000};
  EXPECT_EQ(Describe(KVM_SET_USER_MEMORY_REGION, &region),
            "KVM_SET_USER_MEMORY_REGION(slot=3, flags=0x2, "
            "guest_phys_addr=0xe0000000, memory_size=0x1000, "
            "userspace_addr=0x7f0000000000) = 0");
  const kvm_irqfd irqfd{
      .fd = 7, .gsi = 17, .flags = KVM_IRQFD_FLAG_RESAMPLE, .resamplefd = 8};
  EXPECT_EQ(Describe(KVM_IRQFD, &irqfd),
            "KVM_IRQFD(fd=7, gsi=17, flags=0x2, resamplefd=8) = 0");
}

TEST(DescribeKvmIoctlTest, RoutingShowsTheFirstMessages) {
  kernel::FlexArray<kvm_irq_routing, kvm_irq_routing_entry> table(10);
  table.header().nr = 10;
  for (uint32_t i = 0; i < 10; ++i) {
    table.elements()[i].gsi = 24 + i;
    table.elements()[i].type = KVM_IRQ_ROUTING_MSI;
    table.elements()[i].u.msi.address_lo = 0xfee00000;
    table.elements()[i].u.msi.data = 0x40 + i;
  }
  const std::string text = Describe(KVM_SET_GSI_ROUTING, table.data());
  EXPECT_EQ(text.find("KVM_SET_GSI_ROUTING(nr=10, flags=0x0, "
                      "msi={24:0xfee00000/0x40 25:0xfee00000/0x41 "),
            0u)
      << text;
  EXPECT_NE(text.find(" +2}"), std::string::npos) << text;
}

TEST(DescribeKvmIoctlTest, DeviceAttributeShowsTheDescriptorItPointsTo) {
  const int32_t fd = 9;
  const kvm_device_attr attribute{.group = KVM_DEV_VFIO_FILE,
                                  .attr = KVM_DEV_VFIO_FILE_ADD,
                                  .addr = reinterpret_cast<uintptr_t>(&fd)};
  EXPECT_EQ(Describe(KVM_SET_DEVICE_ATTR, &attribute),
            "KVM_SET_DEVICE_ATTR(group=1, attr=1, fd=9) = 0");
}

TEST(DescribeKvmIoctlTest, UnreadableStructIsShownByItsAddress) {
  EXPECT_EQ(Describe(KVM_IRQFD, nullptr), "KVM_IRQFD(arg=0x0) = 0");
}

TEST(DescribeKvmIoctlTest, UnknownRequestIsShownByItsNumber) {
  EXPECT_EQ(Describe(0xae7f, nullptr), "ioctl 0xae7f(arg=0x0) = 0");
}

}  // namespace
}  // namespace passthru::journal
