// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/guest/drivers/guest_edu.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/testing/guest/linux/linux_pci_core.h"
#include "passthru/testing/guest/linux/pci_alloc_irq_vectors.h"

namespace passthru::guest {
namespace {

// From QEMU's docs/specs/edu. The driver does not share these constants with
// the model, because it is the other side of the contract.
constexpr uint64_t kIdentification = 0x00;
constexpr uint64_t kLiveness = 0x04;
constexpr uint64_t kFactorial = 0x08;
constexpr uint64_t kStatus = 0x20;
constexpr uint64_t kInterruptStatus = 0x24;
constexpr uint64_t kInterruptAcknowledge = 0x64;
constexpr uint64_t kDmaSource = 0x80;
constexpr uint64_t kDmaDestination = 0x88;
constexpr uint64_t kDmaCount = 0x90;
constexpr uint64_t kDmaCommand = 0x98;

constexpr uint32_t kSignature = 0xed;
constexpr uint32_t kStatusInterrupt = 0x80;
constexpr uint32_t kFactorialDone = 0x001;
constexpr uint32_t kDmaDone = 0x100;
constexpr uint64_t kDmaStartToDevice = 0x5;    // Run, interrupt.
constexpr uint64_t kDmaStartFromDevice = 0x7;  // Run, to memory, interrupt.

constexpr uint64_t kBuffer = 0x40000;
constexpr uint64_t kBufferSize = 4096;
constexpr uint64_t kDmaLimit = uint64_t{1} << 28;

}  // namespace

absl::StatusOr<std::unique_ptr<GuestEdu>> GuestEdu::Start(
    GuestMachine* machine, LinuxPciDevice* device) {
  const GuestBar* bar = device->FindBar(0);
  if (bar == nullptr || bar->is_io()) {
    return absl::NotFoundError(
        absl::StrCat("guest edu: ", device->name(), " has no memory BAR 0"));
  }
  auto driver = absl::WrapUnique(new GuestEdu(machine, device));
  if (absl::Status s = driver->Enable(); !s.ok()) {
    driver->Release();
    return s;
  }
  return driver;
}

uint32_t GuestEdu::Read(uint64_t offset) {
  return static_cast<uint32_t>(
      machine_->cpu().Load(device_->FindBar(0)->address + offset, 4));
}

void GuestEdu::Write(uint64_t offset, uint32_t value) {
  machine_->cpu().Store(device_->FindBar(0)->address + offset, 4, value);
}

void GuestEdu::Write64(uint64_t offset, uint64_t value) {
  machine_->cpu().Store(device_->FindBar(0)->address + offset, 8, value);
}

absl::Status GuestEdu::Enable() {
  PASSTHRU_RETURN_IF_ERROR(PciEnableDevice(*device_));
  PciSetMaster(*device_);
  for (uint64_t* page : {&source_, &destination_}) {
    PASSTHRU_ASSIGN_OR_RETURN(const uint64_t address,
                              machine_->ram().AllocatePages(1));
    *page = address;
    if (*page + kBufferSize > kDmaLimit) {
      return absl::OutOfRangeError(absl::StrFormat(
          "guest edu: DMA memory at %#x is above the device's 28 bits", *page));
    }
  }
  report_.identification = Read(kIdentification);
  if ((report_.identification & 0xff) != kSignature) {
    return absl::NotFoundError(
        absl::StrFormat("guest edu: %s identifies itself as %#x",
                        device_->name(), report_.identification));
  }
  constexpr uint32_t kProbe = 0x5aa51234;
  Write(kLiveness, kProbe);
  report_.alive = Read(kLiveness) == ~kProbe;
  if (!report_.alive) {
    return absl::UnavailableError(
        absl::StrCat("guest edu: ", device_->name(), " is not alive"));
  }
  PASSTHRU_ASSIGN_OR_RETURN(
      vectors_, PciAllocIrqVectors(machine_->irq_context(), *device_, 1, 1));
  return vectors_->Request(0, "edu", [this] { HandleInterrupt(); });
}

void GuestEdu::HandleInterrupt() {
  ++report_.interrupts;
  const uint32_t causes = Read(kInterruptStatus);
  Write(kInterruptAcknowledge, causes);
  causes_ |= causes;
}

absl::Status GuestEdu::WaitForCause(uint32_t bits, const char* what) {
  absl::Status status = machine_->interrupts().WaitUntil(
      what, [this, bits] { return (causes_ & bits) == bits; });
  causes_ &= ~bits;
  return status;
}

absl::StatusOr<uint32_t> GuestEdu::Factorial(uint32_t n) {
  if (vectors_ == nullptr) {
    return absl::FailedPreconditionError("guest edu: shut down");
  }
  Write(kStatus, kStatusInterrupt);
  Write(kFactorial, n);
  PASSTHRU_RETURN_IF_ERROR(WaitForCause(kFactorialDone, "edu's factorial"));
  report_.factorial_of = n;
  report_.factorial = Read(kFactorial);
  return report_.factorial;
}

absl::Status GuestEdu::Transfer(uint64_t source, uint64_t destination,
                                uint64_t size, uint64_t command) {
  Write64(kDmaSource, source);
  Write64(kDmaDestination, destination);
  Write64(kDmaCount, size);
  Write64(kDmaCommand, command);
  return WaitForCause(kDmaDone, "edu's DMA");
}

absl::Status GuestEdu::CopyAndVerify(uint64_t size, uint8_t seed) {
  if (vectors_ == nullptr) {
    return absl::FailedPreconditionError("guest edu: shut down");
  }
  if (size == 0 || size > kBufferSize) {
    return absl::OutOfRangeError(
        absl::StrCat("guest edu: ", size, " bytes to copy"));
  }
  std::vector<uint8_t> pattern(size);
  for (size_t i = 0; i < size; ++i) {
    pattern[i] = static_cast<uint8_t>(i * 31 + i / 256 + seed);
  }
  machine_->ram().Write(source_, pattern);
  machine_->ram().Write(destination_, std::vector<uint8_t>(size, 0xa5));
  PASSTHRU_RETURN_IF_ERROR(Transfer(source_, kBuffer, size, kDmaStartToDevice));
  PASSTHRU_RETURN_IF_ERROR(
      Transfer(kBuffer, destination_, size, kDmaStartFromDevice));
  report_.bytes_copied += size;
  const std::vector<uint8_t> copy = machine_->ram().Read(destination_, size);
  const auto [wrong, expected] = std::ranges::mismatch(copy, pattern);
  if (wrong != copy.end()) {
    return absl::DataLossError(
        absl::StrFormat("guest edu: %s: byte %d of %d came back wrong",
                        device_->name(), wrong - copy.begin(), size));
  }
  report_.bytes_verified += size;
  return absl::OkStatus();
}

absl::Status GuestEdu::Shutdown() {
  if (vectors_ == nullptr) return absl::OkStatus();
  Write(kStatus, 0);
  Release();
  return absl::OkStatus();
}

void GuestEdu::Release() {
  if (vectors_ != nullptr) vectors_->Free();
  vectors_ = nullptr;
  PciDisableDevice(*device_);
}

}  // namespace passthru::guest
