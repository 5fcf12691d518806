// SPDX-License-Identifier: Apache-2.0
// The MSI and MSI-X part of VfioIrqs: enabling, vectors, signals.
#include <linux/pci_regs.h>
#include <linux/vfio.h>

#include <bit>
#include <cerrno>
#include <utility>

#include "passthru/testing/vfio/ioctl_answer.h"
#include "passthru/testing/vfio/vfio_irqs.h"

namespace passthru::fake {
namespace {

using kernel::SyscallResult;

}  // namespace

// Answers like vfio_pci_set_msi_trigger().
SyscallResult<int> VfioIrqs::SetMessages(const Request& request,
                                         absl::Span<const uint8_t> data) {
  const Type type =
      request.index == VFIO_PCI_MSIX_IRQ_INDEX ? Type::kMsix : Type::kMsi;
  const bool none = (request.flags & VFIO_IRQ_SET_DATA_NONE) != 0;
  if (type_ == type && request.count == 0 && none) {
    DisableMessages();
    return {0, 0};
  }
  if (type_ != type && type_ != Type::kNone) return FromErrno(EINVAL);

  if ((request.flags & VFIO_IRQ_SET_DATA_EVENTFD) != 0) {
    if (type_ == type) {
      const int error = SetBlock(request.start, request.count, data);
      return error == 0 ? SyscallResult<int>{0, 0} : FromErrno(error);
    }
    const uint32_t vectors = request.start + request.count;
    // pci_alloc_irq_vectors() answers ERANGE for at least 1 and at most 0
    // vectors, and both kinds want D0. __pci_enable_msix_range() checks the
    // number first, and __pci_enable_msi_range() last.
    const bool in_d0 = options_.hardware->power_state() == 0;
    if (type == Type::kMsi && !in_d0) return FromErrno(EINVAL);
    if (vectors == 0) return FromErrno(ERANGE);
    if (!in_d0) return FromErrno(EINVAL);
    // msix_map_region() finds no BAR to map.
    if (type == Type::kMsix && !options_.hardware->msix_table_has_bar()) {
      return FromErrno(ENOMEM);
    }
    if (const int available = EnableMessages(vectors, type); available != 0) {
      return {available, 0};
    }
    const int error = SetBlock(request.start, request.count, data);
    if (error == 0) return {0, 0};
    DisableMessages();
    return FromErrno(error);
  }

  if (type_ != type) return FromErrno(EINVAL);
  if (options_.rules.irq_block_checked_first &&
      request.start + request.count > vectors_allocated_) {
    return FromErrno(EINVAL);
  }
  for (uint32_t i = 0; i < request.count; ++i) {
    const auto found = triggers_.find(request.start + i);
    if (found == triggers_.end()) continue;
    if (none || data[i] != 0) Signal(found->second);
  }
  return {0, 0};
}

int VfioIrqs::EnableMessages(uint32_t vectors, Type type) {
  const uint32_t available =
      type == Type::kMsix ? msix_vectors_available_ : msi_vectors_available_;
  if (available < vectors) return static_cast<int>(available);
  type_ = type;
  vectors_allocated_ = vectors;
  if (type == Type::kMsi) {
    msi_queue_max_ = static_cast<unsigned>(std::bit_width(vectors * 2 - 1) - 1);
    // msi_capability_init() masks all vectors, and request_irq() unmasks each.
    for (uint32_t vector = 0; vector < vectors; ++vector) {
      options_.hardware->SetMsiMasked(static_cast<uint16_t>(vector), true);
    }
    WriteMsiEnable(true, vectors);
  } else {
    // msix_capability_init() masks all vectors, too.
    for (uint16_t vector = 0; vector < options_.hardware->msix_vectors();
         ++vector) {
      SetMsixMasked(vector, true);
    }
    WriteMsixEnable(true);
  }
  return 0;
}

// The mask bits are in a BAR, which a function decodes only in D0. The kernel
// enables memory decode meanwhile (vfio_pci_memory_lock_and_enable()).
bool VfioIrqs::SetMsixMasked(uint16_t vector, bool masked) {
  return options_.hardware->power_state() == 0 &&
         options_.hardware->SetMsixMasked(vector, masked);
}

void VfioIrqs::DisableMessages() {
  for (const auto& [vector, trigger] : triggers_) {
    if (type_ == Type::kMsix) {
      SetMsixMasked(static_cast<uint16_t>(vector), true);
    }
  }
  triggers_.clear();
  if (type_ == Type::kMsi) {
    WriteMsiEnable(false, vectors_allocated_);
    // pci_msi_shutdown() leaves the vectors unmasked.
    for (uint32_t vector = 0; vector < vectors_allocated_; ++vector) {
      options_.hardware->SetMsiMasked(static_cast<uint16_t>(vector), false);
    }
  }
  if (type_ == Type::kMsix) WriteMsixEnable(false);
  vectors_allocated_ = 0;
  vectors_added_.clear();
  type_ = Type::kNone;
}

// As in vfio_msi_set_block(), a failure takes the eventfds from the vectors
// before it, including those that they had earlier.
int VfioIrqs::SetBlock(uint32_t start, uint32_t count,
                       absl::Span<const uint8_t> data) {
  if (options_.rules.irq_block_checked_first &&
      (start >= vectors_allocated_ || start + count > vectors_allocated_)) {
    return EINVAL;
  }
  for (uint32_t i = 0; i < count; ++i) {
    const int error = SetVector(start + i, ReadFd(data, i));
    if (error == 0) continue;
    for (uint32_t undo = 0; undo <= i; ++undo) SetVector(start + undo, -1);
    return error;
  }
  return 0;
}

int VfioIrqs::SetVector(uint32_t vector, int fd) {
  const bool msix = type_ == Type::kMsix;
  if (triggers_.erase(vector) != 0) {
    if (msix) {
      SetMsixMasked(static_cast<uint16_t>(vector), true);
    } else {
      options_.hardware->SetMsiMasked(static_cast<uint16_t>(vector), true);
    }
  }
  if (fd < 0) return 0;
  if (vector >= vectors_allocated_ && !vectors_added_.contains(vector)) {
    if (!msix || !options_.dynamic_msix) return EINVAL;
    if (vectors_allocated_ + vectors_added_.size() >= msix_vectors_available_) {
      return ENOSPC;
    }
    vectors_added_.insert(vector);
  }
  auto eventfd = options_.eventfds->Lookup(fd);
  if (!eventfd.ok()) return eventfd.error;
  triggers_[vector] = std::move(eventfd.value);
  // request_irq() unmasks the vector, which sends a pending message.
  if (!msix) {
    options_.hardware->SetMsiMasked(static_cast<uint16_t>(vector), false);
  } else if (SetMsixMasked(static_cast<uint16_t>(vector), false)) {
    OnMsix(static_cast<uint16_t>(vector));
  }
  return 0;
}

// Writes the control word like the kernel, first Multiple Message Enable and
// then the enable bit. COMMAND keeps its value. pci_intx_for_msi() changes it,
// but vfio_pci_memory_unlock_and_restore() writes the old value back.
void VfioIrqs::WriteMsiEnable(bool enable, uint32_t vectors) {
  const uint16_t at = static_cast<uint16_t>(
      *options_.hardware->capabilities().msi + PCI_MSI_FLAGS);
  uint32_t flags = options_.hardware->ReadConfig(at, 2);
  flags &= ~uint32_t{PCI_MSI_FLAGS_ENABLE | PCI_MSI_FLAGS_QSIZE};
  if (enable) {
    flags |= PCI_MSI_FLAGS_ENABLE |
             static_cast<uint32_t>(std::bit_width(vectors - 1)) << 4;
  }
  options_.hardware->WriteConfig(at, 2, flags);
}

void VfioIrqs::WriteMsixEnable(bool enable) {
  const uint16_t at = static_cast<uint16_t>(
      *options_.hardware->capabilities().msix + PCI_MSIX_FLAGS);
  uint32_t flags = options_.hardware->ReadConfig(at, 2);
  flags &= ~uint32_t{PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL};
  if (enable) flags |= PCI_MSIX_FLAGS_ENABLE;
  options_.hardware->WriteConfig(at, 2, flags);
}

void VfioIrqs::OnMsi(uint16_t vector) {
  if (options_.hardware->msi_enabled() &&
      options_.hardware->msi_masked(vector)) {
    options_.hardware->SetMsiPending(vector);
    return;
  }
  // A message is a memory write, which needs bus mastering.
  const auto found = triggers_.find(vector);
  if (type_ != Type::kMsi || !options_.hardware->msi_enabled() ||
      !options_.hardware->bus_master() || found == triggers_.end()) {
    ++dropped_;
    return;
  }
  Deliver(found->second, "MSI", vector);
}

void VfioIrqs::OnMsix(uint16_t vector) {
  HardwareFunction& hardware = *options_.hardware;
  if (vector >= hardware.msix_vectors()) {
    ++dropped_;
    return;
  }
  // A masked vector stays pending whatever else is off. Unmasking sends it.
  if (!hardware.msix_enabled() || hardware.msix_masked(vector)) {
    hardware.SetMsixPending(vector, true);
    return;
  }
  const auto found = triggers_.find(vector);
  if (!hardware.bus_master() || found == triggers_.end()) {
    ++dropped_;
    return;
  }
  Deliver(found->second, "MSI-X", vector);
}

}  // namespace passthru::fake
