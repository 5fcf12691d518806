// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/vfio/vfio_irqs.h"

#include <linux/vfio.h>

#include <bit>
#include <cerrno>
#include <limits>
#include <utility>

#include "passthru/testing/vfio/ioctl_answer.h"

namespace passthru::fake {
namespace {

using kernel::SyscallResult;

constexpr uint32_t kDataMask = VFIO_IRQ_SET_DATA_TYPE_MASK;
constexpr uint32_t kActionMask = VFIO_IRQ_SET_ACTION_TYPE_MASK;

}  // namespace

VfioIrqs::VfioIrqs(Options options)
    : options_(std::move(options)),
      msi_vectors_available_(options_.msi_vectors_available),
      msix_vectors_available_(options_.msix_vectors_available) {}

VfioIrqs::~VfioIrqs() { DisableAll(); }

uint32_t VfioIrqs::CountOf(uint32_t index) const {
  switch (index) {
    case VFIO_PCI_INTX_IRQ_INDEX:
      return options_.has_intx ? 1 : 0;
    case VFIO_PCI_MSI_IRQ_INDEX: {
      const auto at = options_.hardware->capabilities().msi;
      if (!at.has_value()) return 0;
      const uint32_t flags =
          options_.hardware->ReadConfig(static_cast<uint16_t>(*at + 2), 2);
      return 1u << (flags >> 1 & 7);
    }
    case VFIO_PCI_MSIX_IRQ_INDEX:
      return options_.hardware->msix_vectors();
    case VFIO_PCI_ERR_IRQ_INDEX:
      return options_.is_pcie ? 1 : 0;
    case VFIO_PCI_REQ_IRQ_INDEX:
      return 1;
    default:
      return 0;
  }
}

SyscallResult<VfioIrqs::Info> VfioIrqs::GetInfo(uint32_t index) const {
  if (index >= VFIO_PCI_NUM_IRQS) return {{}, EINVAL};
  if (index == VFIO_PCI_ERR_IRQ_INDEX && !options_.is_pcie) {
    return {{}, EINVAL};
  }
  uint32_t flags = VFIO_IRQ_INFO_EVENTFD;
  if (index == VFIO_PCI_INTX_IRQ_INDEX) {
    flags |= VFIO_IRQ_INFO_MASKABLE | VFIO_IRQ_INFO_AUTOMASKED;
  } else if (index != VFIO_PCI_MSIX_IRQ_INDEX || !options_.dynamic_msix) {
    flags |= VFIO_IRQ_INFO_NORESIZE;
  }
  return {{.flags = flags, .count = CountOf(index)}, 0};
}

// As in vfio_set_irqs_validate_and_prepare(), every request for an absent index
// fails here, even one that disables it.
SyscallResult<size_t> VfioIrqs::DataSize(const Request& request,
                                         uint32_t argsz) const {
  const uint32_t limit = CountOf(request.index);
  if (request.index >= VFIO_PCI_NUM_IRQS ||
      request.count >= std::numeric_limits<uint32_t>::max() - request.start ||
      (request.flags & ~(kDataMask | kActionMask)) != 0 ||
      request.start >= limit || request.start + request.count > limit) {
    return {0, EINVAL};
  }
  size_t element = 0;
  switch (request.flags & kDataMask) {
    case VFIO_IRQ_SET_DATA_NONE:
      return {0, 0};
    case VFIO_IRQ_SET_DATA_BOOL:
      element = sizeof(uint8_t);
      break;
    case VFIO_IRQ_SET_DATA_EVENTFD:
      element = sizeof(int32_t);
      break;
    default:
      return {0, EINVAL};
  }
  const size_t size = element * request.count;
  if (argsz - sizeof(vfio_irq_set) < size) return {0, EINVAL};
  return {size, 0};
}

SyscallResult<int> VfioIrqs::Set(const Request& request,
                                 absl::Span<const uint8_t> data) {
  const uint32_t action = request.flags & kActionMask;
  switch (request.index) {
    case VFIO_PCI_INTX_IRQ_INDEX:
      return SetIntx(request, data);
    case VFIO_PCI_MSI_IRQ_INDEX:
    case VFIO_PCI_MSIX_IRQ_INDEX:
      if (action != VFIO_IRQ_SET_ACTION_TRIGGER) return FromErrno(ENOTTY);
      return SetMessages(request, data);
    case VFIO_PCI_ERR_IRQ_INDEX:
      if (action != VFIO_IRQ_SET_ACTION_TRIGGER) return FromErrno(ENOTTY);
      return SetSingle(error_trigger_, request, data);
    case VFIO_PCI_REQ_IRQ_INDEX:
      if (action != VFIO_IRQ_SET_ACTION_TRIGGER) return FromErrno(ENOTTY);
      return SetSingle(request_trigger_, request, data);
    default:
      return FromErrno(ENOTTY);
  }
}

// Answers like vfio_pci_set_ctx_trigger_single().
SyscallResult<int> VfioIrqs::SetSingle(Trigger& trigger, const Request& request,
                                       absl::Span<const uint8_t> data) {
  if (request.start != 0 || request.count > 1) return FromErrno(EINVAL);
  switch (request.flags & kDataMask) {
    case VFIO_IRQ_SET_DATA_NONE:
      if (trigger == nullptr) return FromErrno(EINVAL);
      if (request.count == 0) {
        trigger.reset();
      } else {
        Signal(trigger);
      }
      return {0, 0};
    case VFIO_IRQ_SET_DATA_BOOL:
      if (request.count == 0) return FromErrno(EINVAL);
      if (data[0] != 0 && trigger != nullptr) Signal(trigger);
      return {0, 0};
    default: {
      if (request.count == 0) return FromErrno(EINVAL);
      const int fd = ReadFd(data, 0);
      if (fd == -1) {
        trigger.reset();
      } else if (fd >= 0) {
        auto eventfd = options_.eventfds->Lookup(fd);
        if (!eventfd.ok()) return FromErrno(eventfd.error);
        trigger = std::move(eventfd.value);
      }
      return {0, 0};
    }
  }
}

void VfioIrqs::RestoreAfterReset() {
  if (type_ == Type::kMsi) {
    for (uint32_t vector = 0; vector < vectors_allocated_; ++vector) {
      options_.hardware->SetMsiMasked(static_cast<uint16_t>(vector),
                                      !triggers_.contains(vector));
    }
    WriteMsiEnable(true, vectors_allocated_);
  }
  if (type_ != Type::kMsix) return;
  WriteMsixEnable(true);
  for (const auto& [vector, trigger] : triggers_) {
    options_.hardware->SetMsixMasked(static_cast<uint16_t>(vector), false);
  }
}

void VfioIrqs::DisableAll() {
  if (type_ == Type::kIntx) DisableIntx();
  if (type_ == Type::kMsi || type_ == Type::kMsix) DisableMessages();
  error_trigger_.reset();
  request_trigger_.reset();
}

void VfioIrqs::SignalError() {
  if (error_trigger_ != nullptr) Signal(error_trigger_);
}

void VfioIrqs::SignalRequest() {
  if (request_trigger_ != nullptr) Signal(request_trigger_);
}

void VfioIrqs::Signal(const Trigger& trigger) {
  ++delivered_;
  // A waiter may change this state, so this reference keeps the eventfd.
  // NOLINTNEXTLINE(performance-unnecessary-copy-initialization)
  const Trigger held = trigger;
  options_.eventfds->Signal(*held);
}

void VfioIrqs::Deliver(const Trigger& trigger, std::string_view kind,
                       uint32_t vector) {
  if (options_.on_interrupt != nullptr) options_.on_interrupt(kind, vector);
  Signal(trigger);
}

VfioIrqs::Snapshot VfioIrqs::GetSnapshot() const {
  Snapshot snapshot{
      .type = type_,
      .intx_masked = intx_masked_,
      .has_unmask_eventfd = unmask_eventfd_ != nullptr,
      .allocated = vectors_allocated_ + vectors_added_.size(),
      .delivered = delivered_,
      .dropped = dropped_,
  };
  if (intx_trigger_ != nullptr) {
    snapshot.triggers[0] = intx_trigger_->identity();
  }
  for (const auto& [vector, trigger] : triggers_) {
    snapshot.triggers[vector] = trigger->identity();
  }
  return snapshot;
}

}  // namespace passthru::fake
