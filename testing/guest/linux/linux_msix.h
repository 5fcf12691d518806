// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_GUEST_LINUX_LINUX_MSIX_H_
#define PASSTHRU_TESTING_GUEST_LINUX_LINUX_MSIX_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "passthru/testing/guest/linux/linux_irq_vectors.h"
#include "passthru/testing/guest/linux/linux_pci_device.h"
#include "passthru/testing/guest/linux/msi_allocator.h"

namespace passthru::guest {

// pci_msix_vec_count(): 0 without the capability.
uint16_t MsixVectorCount(const LinuxPciDevice& device);

// MSI-X as drivers/pci/msi/msi.c drives it on x86, store for store:
//   Enable()   msix_capability_init(): Message Control read, written with
//              Enable and Function Mask, read; per vector its control read, a
//              placeholder message written and read back; INTx off; every entry
//              of the table masked; Function Mask cleared
//   Request()  the message rewritten while masked, then unmasked
//   Free()     each vector masked, Enable cleared, INTx on
class LinuxMsix final : public LinuxIrqVectors {
 public:
  static absl::StatusOr<std::unique_ptr<LinuxMsix>> Enable(
      const IrqContext& context, LinuxPciDevice& device, uint16_t vectors);
  ~LinuxMsix() override;

  std::string_view kind() const override { return "MSI-X"; }
  uint16_t count() const override {
    return static_cast<uint16_t>(vectors_.size());
  }
  absl::Status Request(uint16_t vector, std::string_view name,
                       std::function<void()> handler) override;
  void Release(uint16_t vector) override;
  void Mask(uint16_t vector) override;
  void Unmask(uint16_t vector) override;
  void Free() override;
  GuestMessage message(uint16_t vector) const override;

  // pci_msix_clear_and_set_ctrl(): the function mask, by a write of the
  // control word.
  void SetFunctionMask(bool masked);
  // The vector's bit of the pending bit array.
  bool Pending(uint16_t vector) const;
  uint16_t table_size() const { return table_size_; }

 private:
  struct Vector {
    GuestMessage message;
    // The vector control word as last written: Linux does not read it again.
    uint32_t control = 0;
    bool requested = false;
  };

  LinuxMsix(const IrqContext& context, LinuxPciDevice& device,
            uint16_t vectors);

  absl::Status MapTable();
  void Initialize();
  void SetControl(uint16_t clear, uint16_t set);
  void WriteMessage(uint16_t vector, const GuestMessage& message);
  void WriteVectorControl(uint16_t vector, uint32_t control);
  uint64_t Entry(uint16_t vector) const;

  const IrqContext context_;
  LinuxPciDevice& device_;
  const uint16_t capability_;
  uint16_t table_size_ = 0;
  int table_bar_ = 0;
  uint32_t table_offset_ = 0;
  int pba_bar_ = 0;
  uint32_t pba_offset_ = 0;
  std::vector<Vector> vectors_;
};

}  // namespace passthru::guest

#endif  // PASSTHRU_TESTING_GUEST_LINUX_LINUX_MSIX_H_
