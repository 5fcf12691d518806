// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/vfio_pci/interrupt_mode.h"

#include <cstdint>

#include "absl/status/status.h"

namespace passthru::vfio_pci {

void InterruptMode::Apply(const Desired& desired) {
  const InterruptKind kind = Choose(desired);
  const bool resized =
      kind == InterruptKind::kMsi && desired.msi_vectors != msi_vectors_;
  if (kind != kind_ || resized) {
    Leave();
    Enter(kind, desired);
  } else if (kind == InterruptKind::kIntx) {
    Retry();
  } else if (kind == InterruptKind::kMsix) {
    options_.msix->SetFunctionMask(desired.function_masked);
  }
}

void InterruptMode::Retry() {
  switch (kind_) {
    case InterruptKind::kNone:
      return;
    case InterruptKind::kIntx:
      CheckIntx(options_.intx->Enable(), "INTx is silent");
      return;
    case InterruptKind::kMsi:
      options_.msi->RetryUnarmed();
      return;
    case InterruptKind::kMsix:
      options_.msix->RetryUnarmed();
      return;
  }
}

InterruptKind InterruptMode::Choose(const Desired& desired) const {
  const bool msi = desired.msi && options_.msi != nullptr;
  const bool msix = desired.msix && options_.msix != nullptr;
  if (msi && (kind_ == InterruptKind::kMsi || !msix))
    return InterruptKind::kMsi;
  if (msix) return InterruptKind::kMsix;
  return desired.intx && options_.intx != nullptr ? InterruptKind::kIntx
                                                  : InterruptKind::kNone;
}

void InterruptMode::Leave() {
  const InterruptKind kind = kind_;
  kind_ = InterruptKind::kNone;
  switch (kind) {
    case InterruptKind::kNone:
      return;
    case InterruptKind::kIntx:
      CheckIntx(options_.intx->Disable(), "INTx may still be on");
      return;
    case InterruptKind::kMsi:
      options_.set_enable_bit(InterruptKind::kMsi, false);
      options_.msi->Disable().IgnoreError();  // In the failure log.
      msi_vectors_ = 0;
      return;
    case InterruptKind::kMsix:
      options_.set_enable_bit(InterruptKind::kMsix, false);
      options_.msix->Disable().IgnoreError();
      return;
  }
}

// The kernel allows one kind at a time, so this first retries to disable the
// other kinds, in case it failed before.
void InterruptMode::Enter(InterruptKind kind, const Desired& desired) {
  kind_ = kind;
  if (options_.intx != nullptr && kind != InterruptKind::kIntx) {
    CheckIntx(options_.intx->Disable(), "INTx is still on");
  }
  if (options_.msi != nullptr && kind != InterruptKind::kMsi) {
    options_.msi->Disable().IgnoreError();  // In the failure log.
  }
  if (options_.msix != nullptr && kind != InterruptKind::kMsix) {
    options_.msix->Disable().IgnoreError();
  }
  switch (kind) {
    case InterruptKind::kNone:
      return;
    case InterruptKind::kIntx:
      CheckIntx(options_.intx->Enable(), "INTx is silent");
      return;
    case InterruptKind::kMsi:
      msi_vectors_ = desired.msi_vectors;
      options_.msi->Enable(desired.msi_vectors, /*function_masked=*/false)
          .IgnoreError();  // In the failure log.
      options_.set_enable_bit(InterruptKind::kMsi, true);
      return;
    case InterruptKind::kMsix:
      options_.msix->Enable(options_.msix->size(), desired.function_masked)
          .IgnoreError();
      options_.set_enable_bit(InterruptKind::kMsix, true);
      return;
  }
}

void InterruptMode::CheckIntx(const absl::Status& status, const char* what) {
  if (!status.ok()) options_.failures->Add(what, status);
}

}  // namespace passthru::vfio_pci
