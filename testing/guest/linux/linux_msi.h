// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_GUEST_LINUX_LINUX_MSI_H_
#define PASSTHRU_TESTING_GUEST_LINUX_LINUX_MSI_H_

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

// Returns how many messages the function can use, like pci_msi_vec_count(), or
// 0 without the capability.
uint16_t MsiVectorCount(const LinuxPciDevice& device);

// The MSI vectors of a function, driven like drivers/pci/msi/msi.c does on x86.
// - Enable() mirrors msi_capability_init(). It clears Enable, masks all vectors
//   if the function can mask them, writes a placeholder message with the number
//   of vectors, turns INTx off and sets Enable.
// - The first Request() rewrites the message while MSI is enabled, because on
//   x86 the CPU's vector is known only then. Each Request() unmasks its vector.
// - Free() clears Enable, turns INTx on and unmasks all vectors.
//
// The messages of the further vectors differ in the low bits of the data.
class LinuxMsi final : public LinuxIrqVectors {
 public:
  // Enables MSI with the largest power of two not above `vectors`.
  static absl::StatusOr<std::unique_ptr<LinuxMsi>> Enable(
      const IrqContext& context, LinuxPciDevice& device, uint16_t vectors);
  ~LinuxMsi() override;

  std::string_view kind() const override { return "MSI"; }
  uint16_t count() const override {
    return static_cast<uint16_t>(requested_.size());
  }
  absl::Status Request(uint16_t vector, std::string_view name,
                       std::function<void()> handler) override;
  void Release(uint16_t vector) override;
  void Mask(uint16_t vector) override;
  void Unmask(uint16_t vector) override;
  void Free() override;
  GuestMessage message(uint16_t vector) const override;

 private:
  LinuxMsi(const IrqContext& context, LinuxPciDevice& device, uint16_t control,
           uint16_t vectors);

  void SetEnable(bool enable);
  void WriteMessage(const GuestMessage& message);
  void SetMaskBits(uint32_t bits);

  const IrqContext context_;
  LinuxPciDevice& device_;
  const uint16_t capability_;
  const bool is_64bit_;
  const bool maskable_;
  // Whether base_ holds the vectors' messages, which the first Request()
  // writes.
  bool has_messages_ = false;
  GuestMessage base_;
  uint32_t mask_bits_ = 0;
  std::vector<bool> requested_;
};

}  // namespace passthru::guest

#endif  // PASSTHRU_TESTING_GUEST_LINUX_LINUX_MSI_H_
