// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_HOST_INVARIANTS_H_
#define PASSTHRU_TESTING_HOST_INVARIANTS_H_

#include <sys/types.h>

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/synchronization/mutex.h"
#include "passthru/testing/host/fake_kernel.h"
#include "passthru/testing/journal/call.h"
#include "passthru/testing/kernel/fake_file.h"
#include "passthru/testing/kernel/kernel_core.h"
#include "passthru/testing/kvm/fake_kvm.h"
#include "passthru/testing/kvm/fake_kvm_slots.h"
#include "passthru/testing/vfio/fake_vfio.h"

namespace passthru::fake {

// A checker of the rules that a VMM's use of the kernel must follow at every
// moment. Linux itself does not enforce them. It lets a guest have the MSI-X
// table, drops the interrupts of an irqfd without a route, and keeps a slot
// over unmapped memory until the guest touches it. These are checked after
// every call and every step of a device:
//
//  - No memory slot holds a page of an MSI-X table or of its pending bits.
//  - A slot over a BAR leads to a device that answers (memory decode on, D0).
//  - The guest's address, the host's address and the offset in a BAR are equal
//    modulo 2 MiB in a slot that is so large, and modulo 1 GiB in one of that
//    size, or neither kernel nor IOMMU can map it with such pages.
//  - An irqfd's GSI has a route to a message or to a pin of an irqchip.
//  - DMA reaches only the guest's memory, at the guest's addresses (checked
//    only if there is a VM with memory; see DmaRule).
//  - No memory is unmapped while it is in a slot or pinned for DMA.
//
// A slot that the kernel refused to delete is excused from the second rule for
// as long as it stays, and a DMA mapping that the kernel refused to unmap from
// the fourth.
//
// A violation names what is wrong, where, and the call after which it first
// appeared. It is logged at once and kept for Take().
//
// Thread-safe. The methods take the fake kernel's mutex.
class Invariants final : public KernelObserver {
 public:
  // When DMA must reach only the guest's memory. Some VMMs, QEMU among them,
  // take slots away for a moment while no vCPU runs, and leave DMA as it is.
  enum class DmaRule { kAlways, kWhenAVcpuRuns };

  // Both must outlive this object.
  Invariants(FakeKernel* kernel, const FakeVfio* vfio, DmaRule dma_rule)
      : kernel_(kernel),
        mutex_(&kernel->core().mutex),
        vfio_(vfio),
        dma_rule_(dma_rule) {}
  Invariants(const Invariants&) = delete;
  Invariants& operator=(const Invariants&) = delete;

  // Checks that every container with an IOMMU maps all of the guest's RAM. Call
  // it when no change is under way, on a kernel with one VM.
  void CheckAtRest();
  // Checks what DMA reaches when a vCPU runs that this kernel does not execute.
  void CheckDmaOfRun();
  // Checks, at the end, that the kernel holds no resources.
  void CheckNothingLeft();

  // Returns the violations so far and forgets them.
  std::vector<std::string> Take();

  // KernelObserver.
  void OnCall(std::string_view name,
              absl::FunctionRef<journal::Call()> describe, int64_t result,
              int error) override;
  void OnHardwareStep() override;

 private:
  // A slot and the process of its VM.
  struct SlotOf {
    pid_t process = 0;
    FakeKvmSlot slot;
  };

  // Returns a string like "after munmap(addr=0x7f.., length=0x1000) = 0".
  using When = absl::FunctionRef<std::string()>;

  void Check(When when) ABSL_EXCLUSIVE_LOCKS_REQUIRED(*mutex_);
  // Add the violations to `found_`.
  void CheckSlots(const FakeKvm::VmTables& vm)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(*mutex_);
  void CheckRoutes(const FakeKvm::VmTables& vm)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(*mutex_);
  void CheckDma() ABSL_EXCLUSIVE_LOCKS_REQUIRED(*mutex_);

  void CheckUnmapped(uint64_t address, uint64_t length, When when)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(*mutex_);
  void NoteRefusal(std::string_view name,
                   absl::FunctionRef<journal::Call()> describe, int error)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(*mutex_);
  // Returns all slots by guest address. They are valid until the next call.
  const std::vector<SlotOf>& Slots() ABSL_EXCLUSIVE_LOCKS_REQUIRED(*mutex_);
  // The part of a mapping of the VM's process that a slot shows.
  struct Piece {
    uint64_t address = 0;
    uint64_t length = 0;
    uint64_t offset = 0;             // in the file
    const FakeFile* file = nullptr;  // null if it is not one of the fake's
  };
  void ForEachPiece(pid_t process, const FakeKvmSlot& slot,
                    absl::FunctionRef<void(const Piece&)> visit) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(*mutex_);
  void CheckPiece(const FakeKvm::VmTables& vm, const FakeKvmSlot& slot,
                  const Piece& piece) ABSL_EXCLUSIVE_LOCKS_REQUIRED(*mutex_);
  void Report(std::string violation) ABSL_EXCLUSIVE_LOCKS_REQUIRED(*mutex_);

  FakeKernel* const kernel_;
  absl::Mutex* const mutex_;
  const FakeVfio* const vfio_;
  const DmaRule dma_rule_;

  std::vector<std::string> violations_ ABSL_GUARDED_BY(*mutex_);
  // The violations at the last check and at the current one. Check() reports
  // those that are only in the current one.
  std::set<std::string> known_ ABSL_GUARDED_BY(*mutex_);
  std::set<std::string> found_ ABSL_GUARDED_BY(*mutex_);
  // What CheckDmaOfRun() has reported.
  std::set<std::string> known_dma_ ABSL_GUARDED_BY(*mutex_);
  // What Slots() returns. It is kept, because the check after every call must
  // not allocate memory.
  std::vector<SlotOf> slots_ ABSL_GUARDED_BY(*mutex_);
  // The slot numbers and IOVAs that the kernel refused to remove.
  std::set<uint64_t> stuck_slots_ ABSL_GUARDED_BY(*mutex_);
  std::set<uint64_t> stuck_iovas_ ABSL_GUARDED_BY(*mutex_);
};

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_HOST_INVARIANTS_H_
