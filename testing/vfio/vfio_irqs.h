// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_VFIO_VFIO_IRQS_H_
#define PASSTHRU_TESTING_VFIO_VFIO_IRQS_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "absl/types/span.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/testing/kernel/eventfd_table.h"
#include "passthru/testing/vfio/hardware_function.h"
#include "passthru/testing/vfio/vfio_rules.h"

namespace passthru::fake {

// The interrupt state of one open device, with the answers of
// drivers/vfio/pci/vfio_pci_intrs.c. It knows which mechanism is on, which
// eventfd each vector has, and whether INTx is masked. It programs the
// function's MSI and MSI-X registers as the kernel's PCI core does. The
// function's signals then reach the eventfds in the signaller's context.
//
// Guarded by the fake kernel's mutex (Thread-compatible).
class VfioIrqs {
 public:
  // Is told of an interrupt of the function just before it reaches its eventfd:
  // "INTx", "MSI" or "MSI-X", and the vector.
  using Listener = std::function<void(std::string_view kind, uint32_t vector)>;

  struct Options {
    HardwareFunction* hardware = nullptr;
    EventfdTable* eventfds = nullptr;
    VfioRules rules;
    // Whether the function shows an interrupt pin.
    bool has_intx = false;
    // Whether the host has an interrupt line for it. If not, enabling INTx
    // answers ENODEV.
    bool has_host_irq = true;
    bool is_pcie = false;
    // Whether the user may add MSI-X vectors while MSI-X is on, which takes
    // rules.dynamic_msix and interrupt remapping.
    bool dynamic_msix = false;
    // See SetVectorsAvailable().
    uint32_t msi_vectors_available = 32;
    uint32_t msix_vectors_available = 2048;
    Listener on_interrupt;  // may be null
  };

  explicit VfioIrqs(Options options);
  ~VfioIrqs();
  VfioIrqs(const VfioIrqs&) = delete;
  VfioIrqs& operator=(const VfioIrqs&) = delete;

  // Carries out VFIO_DEVICE_GET_IRQ_INFO. EINVAL for an unknown index, and for
  // ERR on a function without PCI Express.
  struct Info {
    uint32_t flags = 0;
    uint32_t count = 0;
  };
  kernel::SyscallResult<Info> GetInfo(uint32_t index) const;

  // The header of a VFIO_DEVICE_SET_IRQS. The `data` of Set() is the part that
  // follows it in the caller's struct.
  struct Request {
    uint32_t flags = 0;
    uint32_t index = 0;
    uint32_t start = 0;
    uint32_t count = 0;
  };
  // Returns how many bytes of data the request has, or EINVAL.
  kernel::SyscallResult<size_t> DataSize(const Request& request,
                                         uint32_t argsz) const;
  kernel::SyscallResult<int> Set(const Request& request,
                                 absl::Span<const uint8_t> data);

  // Called when the function signals, as in DevicePlatform.
  void OnMsi(uint16_t vector);
  void OnMsix(uint16_t vector);
  void OnIntx(bool asserted);

  // Sets how many vectors the host can spare from now on. If the user wants
  // more when he enables MSI or MSI-X, SET_IRQS returns this number and enables
  // nothing. A vector that he adds to MSI-X later is refused with ENOSPC.
  void SetVectorsAvailable(uint32_t msi, uint32_t msix) {
    msi_vectors_available_ = msi;
    msix_vectors_available_ = msix;
  }

  // Sets COMMAND.InterruptDisable as the user sees it.
  void SetVirtualIntxDisable(bool disabled);
  bool msi_is_on() const { return type_ == Type::kMsi; }
  // Returns whether a message vector has an eventfd.
  bool is_armed(uint32_t vector) const { return triggers_.contains(vector); }
  // Returns log2 of the number of vectors with which MSI was last enabled.
  unsigned msi_queue_max() const { return msi_queue_max_; }

  // Programs the function again after a reset cleared its registers, like
  // pci_restore_msi_state().
  void RestoreAfterReset();

  // Turns everything off, for the last close of the device.
  void DisableAll();

  // Signal the ERR and REQ eventfds if they are set.
  void SignalError();
  void SignalRequest();

  // For the invariants of tests.
  enum class Type { kNone, kIntx, kMsi, kMsix };
  struct Snapshot {
    Type type = Type::kNone;
    bool intx_masked = false;
    bool has_unmask_eventfd = false;
    // The eventfd of each vector that has one. INTx is vector 0.
    std::map<uint32_t, std::string> triggers;
    size_t allocated = 0;    // Host vectors of MSI or MSI-X.
    uint64_t delivered = 0;  // Interrupts that reached an eventfd.
    uint64_t dropped = 0;    // Raised, but not deliverable.
  };
  Snapshot GetSnapshot() const;

 private:
  // Waits for the eventfd (struct virqfd) with which user space, or KVM at the
  // guest's end of interrupt, unmasks the line.
  class UnmaskWaiter final : public EventfdWaiter {
   public:
    explicit UnmaskWaiter(VfioIrqs* irqs) : irqs_(irqs) {}
    void OnSignal() override { irqs_->UnmaskIntxAndSignal(); }
    void OnHangup() override { irqs_->unmask_eventfd_.reset(); }

   private:
    VfioIrqs* const irqs_;
  };
  using Trigger = std::shared_ptr<FakeEventfd>;

  // Returns element `index` of an array of descriptors.
  static int ReadFd(absl::Span<const uint8_t> data, size_t index) {
    int32_t fd = -1;
    std::memcpy(&fd, data.data() + index * sizeof(fd), sizeof(fd));
    return fd;
  }

  uint32_t CountOf(uint32_t index) const;
  kernel::SyscallResult<int> SetIntx(const Request& request,
                                     absl::Span<const uint8_t> data);
  kernel::SyscallResult<int> TriggerIntx(const Request& request,
                                         absl::Span<const uint8_t> data);
  kernel::SyscallResult<int> UnmaskIntx(const Request& request,
                                        absl::Span<const uint8_t> data);
  kernel::SyscallResult<int> SetMessages(const Request& request,
                                         absl::Span<const uint8_t> data);
  kernel::SyscallResult<int> SetSingle(Trigger& trigger, const Request& request,
                                       absl::Span<const uint8_t> data);

  // Returns 0, or the number of vectors available if that is too small.
  int EnableMessages(uint32_t vectors, Type type);
  void DisableMessages();
  int SetBlock(uint32_t start, uint32_t count, absl::Span<const uint8_t> data);
  int SetVector(uint32_t vector, int fd);
  void WriteMsiEnable(bool enable, uint32_t vectors);
  void WriteMsixEnable(bool enable);
  // Returns whether unmasking releases a pending message, which the caller
  // sends.
  bool SetMsixMasked(uint16_t vector, bool masked);

  void MaskIntx();
  void UnmaskIntxAndSignal();
  // Returns true if the line is still asserted. It then stays masked, and the
  // caller must signal it again.
  bool TryUnmaskIntx();
  void SignalIntx();
  // Takes the pending interrupt of an unmasked line.
  void HandleIntx();
  void DisableIntx();
  void DropUnmaskEventfd();
  void WriteIntxDisable(bool disable);
  void Signal(const Trigger& trigger);
  // Signals for an interrupt of the function.
  void Deliver(const Trigger& trigger, std::string_view kind, uint32_t vector);

  const Options options_;
  Type type_ = Type::kNone;
  // INTx.
  bool virtual_intx_disable_ = false;
  bool intx_masked_ = false;
  Trigger intx_trigger_;
  Trigger unmask_eventfd_;
  std::unique_ptr<UnmaskWaiter> unmask_waiter_;
  // MSI and MSI-X.
  uint32_t msi_vectors_available_;
  uint32_t msix_vectors_available_;
  uint32_t vectors_allocated_ = 0;  // Contiguous from 0, at enable.
  // The vectors beyond these that were allocated one by one. They stay so until
  // MSI-X is disabled (vfio_msi_alloc_irq()).
  std::set<uint32_t> vectors_added_;
  std::map<uint32_t, Trigger> triggers_;
  unsigned msi_queue_max_ = 0;
  // ERR and REQ.
  Trigger error_trigger_;
  Trigger request_trigger_;
  uint64_t delivered_ = 0;
  uint64_t dropped_ = 0;
};

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_VFIO_VFIO_IRQS_H_
