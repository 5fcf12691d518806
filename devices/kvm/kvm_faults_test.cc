// SPDX-License-Identifier: Apache-2.0
// Fails each system call of this package in turn.
#include <cerrno>
#include <cstddef>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/allocator/gsi.h"
#include "passthru/allocator/memory_slot.h"
#include "passthru/devices/kernel/event_fd.h"
#include "passthru/devices/kernel/mapped_region.h"
#include "passthru/devices/kernel/page_size.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/kvm/kvm_vcpu.h"
#include "passthru/devices/kvm/kvm_vfio_device.h"
#include "passthru/devices/kvm/kvm_vm.h"
#include "passthru/devices/memory/guest_address.h"
#include "passthru/testing/host/fake_kernel.h"

namespace passthru::kvm {
namespace {

using absl_testing::IsOk;

// Creates a VM and uses most of this package, until a call fails.
absl::Status UseKvm(fake::FakeKernel& kernel) {
  PASSTHRU_ASSIGN_OR_RETURN(const auto vm, KvmVm::Create(&kernel));
  PASSTHRU_RETURN_IF_ERROR(vm->CreateIrqchip());
  PASSTHRU_RETURN_IF_ERROR(vm->CreatePit());
  PASSTHRU_ASSIGN_OR_RETURN(const auto vcpu, KvmVcpu::Create(vm.get(), 0));
  PASSTHRU_ASSIGN_OR_RETURN(const auto device, KvmVfioDevice::Create(vm.get()));
  const auto memory = kernel::MappedRegion::Allocate(
      &kernel, kernel::PageSize(), "guest memory");
  if (!memory.ok()) return memory.status();
  PASSTHRU_RETURN_IF_ERROR(
      vm->SetMemorySlot(allocator::MemorySlot(0), memory::GuestAddress(0),
                        memory->size(), memory->data(), /*read_only=*/false));
  PASSTHRU_ASSIGN_OR_RETURN(const auto event, kernel::EventFd::Create(&kernel));
  PASSTHRU_RETURN_IF_ERROR(vm->SetGsiRouting({}));
  PASSTHRU_RETURN_IF_ERROR(vm->SetLine(allocator::Gsi(16), false));
  return vm->AssignIrqfd(event.fd(), allocator::Gsi(24));
}

TEST(KvmFaultsTest, FailureOfAnyCallIsReportedAndLeavesNothing) {
  fake::FakeKernel kernel;
  size_t n = 1;
  for (;; ++n) {
    kernel.faults().Clear();
    kernel.faults().FailNth(n, EIO);
    const absl::Status status = UseKvm(kernel);
    EXPECT_TRUE(kernel.CheckLeaks().empty())
        << "after call " << n << " failed: " << kernel.CheckLeaks();
    if (kernel.faults().injected() == 0) {
      EXPECT_THAT(status, IsOk());
      break;
    }
    EXPECT_FALSE(status.ok()) << "call " << n << " failed and nobody said so";
  }
  EXPECT_GE(n, 20u);
}

}  // namespace
}  // namespace passthru::kvm
