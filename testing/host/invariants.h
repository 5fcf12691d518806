// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_HOST_INVARIANTS_H_
#define PASSTHRU_TESTING_HOST_INVARIANTS_H_

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/synchronization/mutex.h"
#include "passthru/testing/host/fake_kernel.h"
#include "passthru/testing/kernel/kernel_observer.h"
#include "passthru/testing/kernel/mapping_table.h"
#include "passthru/testing/kvm/fake_kvm.h"
#include "passthru/testing/kvm/fake_kvm_slots.h"
#include "passthru/testing/vfio/fake_vfio.h"

namespace passthru::fake {

// What must hold of a VMM's use of the kernel at every moment, also where Linux
// says nothing: it lets a guest have the MSI-X table, drops the interrupts of
// an irqfd without a route, and keeps a slot over memory that is gone until the
// guest touches it. Checked after every call and every step of a device:
//
//  - no memory slot holds a page of an MSI-X table or of its pending bits;
//  - a slot over a BAR leads to a device that answers: memory decode on, D0;
//  - an irqfd's GSI has a route, to a message or to a pin of an irqchip;
//  - DMA reaches the guest's memory and nothing else, at the guest's addresses
//    (asked where there is a VM with memory);
//  - no memory is unmapped that is in a slot or pinned for DMA.
//
// What the kernel refused to give up, a slot that could not be deleted or DMA
// that could not be unmapped, is the kernel's fault and excused for as long as
// it stays.
//
// A violation names what, where, and the call after which it was first seen; it
// is logged at once and kept for Take().
//
// Thread-safe: methods take the fake kernel's mutex.
class Invariants final : public KernelObserver {
 public:
  // Both must outlive the calls made to it.
  Invariants(FakeKernel* kernel, const FakeVfio* vfio)
      : kernel_(kernel), mutex_(&kernel->core().mutex), vfio_(vfio) {}
  Invariants(const Invariants&) = delete;
  Invariants& operator=(const Invariants&) = delete;

  // For moments at which nothing is under way: every container with an IOMMU
  // maps all of the guest's RAM, and beside it at most BARs. For kernels with
  // one VM.
  void CheckAtRest();
  // For the end: nothing is held in the kernel any more.
  void CheckNothingLeft();

  // The violations so far, which are forgotten.
  std::vector<std::string> Take();

  // KernelObserver.
  void OnCall(const journal::Call& call, int64_t result, int error) override;
  void OnHardwareStep() override;

 private:
  // Says when: "after munmap(addr=0x7f.., length=0x1000) = 0".
  using When = absl::FunctionRef<std::string()>;

  void Check(When when) ABSL_EXCLUSIVE_LOCKS_REQUIRED(*mutex_);
  // Each adds what is not as it should be to `found_`.
  void CheckSlots(const FakeKvm::VmTables& vm)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(*mutex_);
  void CheckRoutes(const FakeKvm::VmTables& vm)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(*mutex_);
  void CheckDma() ABSL_EXCLUSIVE_LOCKS_REQUIRED(*mutex_);

  void CheckUnmapped(uint64_t address, uint64_t length, When when)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(*mutex_);
  void NoteRefusal(const journal::Call& call, int error)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(*mutex_);
  // All slots, by guest address.
  std::vector<FakeKvmSlot> Slots() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(*mutex_);
  // The mappings of this process that a slot shows, cut to its size.
  std::vector<Mapping> MappedAt(const FakeKvmSlot& slot) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(*mutex_);
  void Report(std::string violation) ABSL_EXCLUSIVE_LOCKS_REQUIRED(*mutex_);

  FakeKernel* const kernel_;
  absl::Mutex* const mutex_;
  const FakeVfio* const vfio_;

  std::vector<std::string> violations_ ABSL_GUARDED_BY(*mutex_);
  // States that are not as they should be, at the last check and at the one
  // under way: a violation is the beginning of one.
  std::set<std::string> known_ ABSL_GUARDED_BY(*mutex_);
  std::set<std::string> found_ ABSL_GUARDED_BY(*mutex_);
  // What the kernel refused to give up: numbers of slots, IOVAs of mappings.
  std::set<uint64_t> stuck_slots_ ABSL_GUARDED_BY(*mutex_);
  std::set<uint64_t> stuck_iovas_ ABSL_GUARDED_BY(*mutex_);
};

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_HOST_INVARIANTS_H_
