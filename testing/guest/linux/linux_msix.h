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

// Returns the table's size, like pci_msix_vec_count(), or 0 without the
// capability.
uint16_t MsixVectorCount(const LinuxPciDevice& device);

// The MSI-X vectors of a function, driven store for store like
// drivers/pci/msi/msi.c does on x86.
// - Enable() mirrors msix_capability_init(). It reads Message Control, writes
//   it with Enable and Function Mask, and reads it. For each vector it reads
//   the vector control, writes a placeholder message and reads the data back.
//   It then turns INTx off, masks every entry of the table and clears Function
//   Mask.
// - Request() rewrites the message while the vector is masked, then unmasks it.
// - Free() masks each vector, clears Enable and turns INTx on.
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

  // Sets or clears the function mask by a write of the control word, like
  // pci_msix_clear_and_set_ctrl().
  void SetFunctionMask(bool masked);
  // Returns the vector's bit of the pending bit array.
  bool Pending(uint16_t vector) const;
  uint16_t table_size() const { return table_size_; }

 private:
  struct Vector {
    GuestMessage message;
    // The vector control word as last written. Linux does not read it again.
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
