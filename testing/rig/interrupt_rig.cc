// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/rig/interrupt_rig.h"

#include <linux/pci_regs.h>
#include <linux/vfio.h>

#include <bit>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/log/check.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "passthru/devices/vfio/find_group.h"
#include "passthru/devices/vfio/vfio_container.h"
#include "passthru/devices/vfio/vfio_group.h"
#include "passthru/testing/fixture/fixture.h"
#include "passthru/testing/guest/guest_cpu.h"
#include "passthru/testing/kernel/kernel_version.h"
#include "passthru/testing/models/device_platform.h"

namespace passthru::fake {
namespace {

// Returns e1000e, which has MSI and MSI-X, with another number of vectors and
// with room for the table of 2048.
fixture::PciDevice DeviceWithVectors(InterruptRig::Kind kind,
                                     uint16_t vectors) {
  fixture::PciDevice device =
      *fixture::LoadFixture("testing/fixtures/e1000e.textproto");
  const bool msi = kind == InterruptRig::Kind::kMsi;
  for (fixture::ByteRow& row : *device.mutable_config()) {
    if (msi && row.offset() == 0xd0) {
      // Multiple Message Capable is bits 3:1 of Message Control.
      row.set_bytes(
          absl::StrFormat("05 e0 %02x 00 00 00 00 00 00 00 00 00 00 00 00 00",
                          0x80 | std::countr_zero(vectors) << 1));
    } else if (!msi && row.offset() == 0xa0) {
      const int size = vectors - 1;
      row.set_bytes(
          absl::StrFormat("11 d0 %02x %02x 03 00 00 00 03 00 01 00 00 00 00 00",
                          size & 0xff, size >> 8));
    } else if (row.offset() == 0xa0) {
      row.set_bytes("11 d0 04 00 03 00 00 00 03 00 01 00 00 00 00 00");
    } else if (row.offset() == 0xc0) {
      // The next capability is MSI.
      continue;
    }
  }
  for (fixture::Region& region : *device.mutable_regions()) {
    if (region.index() == 3) region.set_size(0x20000);
  }
  for (fixture::Irq& irq : *device.mutable_irqs()) {
    if (irq.index() == (msi ? VFIO_PCI_MSI_IRQ_INDEX : VFIO_PCI_MSIX_IRQ_INDEX))
      irq.set_count(vectors);
  }
  return device;
}

}  // namespace

InterruptRig::InterruptRig(Options options)
    : options_(options),
      host_({.kernel = {.version = options.dynamic ? KernelVersion::k6_12
                                                   : KernelVersion::k6_1}}) {
  if (!options_.check_invariants) host_.kernel().SetObserver(nullptr);
  const fixture::PciDevice fixture =
      DeviceWithVectors(options_.kind, options_.vectors);
  bdf_ = *pci::Bdf::Parse(fixture.bdf());
  CHECK_OK(host_.vfio().AddDevice(fixture));
  vm_ = *kvm::KvmVm::Create(syscalls());
  CHECK_OK(vm_->CreateIrqchip());
  const absl::StatusOr<uint32_t> group = vfio::FindGroup(syscalls(), bdf_);
  CHECK_OK(group);
  device_ = *vfio::VfioDevice::Open(
      *vfio::VfioGroup::Open(*vfio::VfioContainer::Create(syscalls()), *group),
      bdf_);
  // A message is a write to memory, so the device must be a bus master.
  CHECK_OK(device_->WriteConfig<uint16_t>(
      PCI_COMMAND, PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY));
  vectors_ = std::make_unique<vfio::VfioIrqIndex>(
      device_.get(), options_.kind == Kind::kMsi ? VFIO_PCI_MSI_IRQ_INDEX
                                                 : VFIO_PCI_MSIX_IRQ_INDEX);
  CHECK_EQ(vectors_->count(), options_.vectors);
  host_.kernel().faults().FailAsChosen(
      [this](const journal::Call& call) { return Choose(call); });
}

InterruptRig::~InterruptRig() = default;

absl::Status InterruptRig::AssignIrqfd(int event_fd, allocator::Gsi gsi) {
  Log(absl::StrCat("irqfd on ", gsi.value()));
  return vm_->AssignIrqfd(event_fd, gsi);
}

absl::Status InterruptRig::AssignResampleIrqfd(int event_fd, int resample_fd,
                                               allocator::Gsi gsi) {
  Log(absl::StrCat("irqfd on ", gsi.value()));
  return vm_->AssignResampleIrqfd(event_fd, resample_fd, gsi);
}

absl::Status InterruptRig::DeassignIrqfd(int event_fd, allocator::Gsi gsi) {
  Log(absl::StrCat("irqfd off ", gsi.value()));
  return vm_->DeassignIrqfd(event_fd, gsi);
}

absl::Status InterruptRig::SetGsiRouting(
    absl::Span<const kvm_irq_routing_entry> entries) {
  Log(absl::StrCat("route ", entries.size()));
  return vm_->SetGsiRouting(entries);
}

absl::Status InterruptRig::SignalMsi(const pci::MsiMessage& message) {
  Log(absl::StrCat("signal ", message.data));
  return vm_->SignalMsi(message);
}

absl::StatusOr<uint32_t> InterruptRig::Set(uint32_t start,
                                           absl::Span<const int> event_fds) {
  Log(absl::StrCat("set ", start, "+", event_fds.size()));
  ++host_calls_;
  return vectors_->Set(start, event_fds);
}

absl::Status InterruptRig::Disable() {
  Log("set off");
  ++host_calls_;
  return vectors_->Disable();
}

bool InterruptRig::Fire(uint16_t vector) {
  if (!host_.vfio().IsArmed(bdf_, vector)) return false;
  CHECK_OK(host_.vfio().WithHardware(
      bdf_, [this, vector](models::DevicePlatform& hardware) {
        if (options_.kind == Kind::kMsi) {
          hardware.RaiseMsi(vector);
        } else {
          hardware.RaiseMsix(vector);
        }
      }));
  return true;
}

void InterruptRig::Fetch() const {
  for (const guest::GuestInterrupt& message :
       host_.kernel().kvm().Messages(delivered_)) {
    ++delivered_;
    ++by_data_[message.data];
    not_taken_.push_back({.address = message.address, .data = message.data});
  }
}

std::vector<pci::MsiMessage> InterruptRig::TakeDelivered() {
  absl::MutexLock lock(&messages_);
  Fetch();
  return std::exchange(not_taken_, {});
}

uint64_t InterruptRig::delivered() const {
  absl::MutexLock lock(&messages_);
  Fetch();
  return delivered_;
}

uint64_t InterruptRig::delivered_with(uint32_t data) const {
  absl::MutexLock lock(&messages_);
  Fetch();
  const auto it = by_data_.find(data);
  return it == by_data_.end() ? 0 : it->second;
}

void InterruptRig::LimitVectors(uint32_t available) {
  CHECK_OK(host_.vfio().SetVectorsAvailable(bdf_, available, available));
}

std::optional<journal::Fault> InterruptRig::Choose(const journal::Call& call) {
  absl::MutexLock lock(&failures_);
  const auto number = [&call](const char* field) {
    return call.Find(field)->number;
  };
  Failure* failure = nullptr;
  if (call.name == "KVM_IRQFD") {
    failure = number("flags") & KVM_IRQFD_FLAG_DEASSIGN ? &deassign_ : &assign_;
  } else if (call.name == "KVM_SET_GSI_ROUTING") {
    failure = &routing_;
  } else if (call.name == "KVM_SIGNAL_MSI") {
    failure = &signal_;
  } else if (call.name == "VFIO_DEVICE_SET_IRQS") {
    failure = number("count") == 0 ? &disable_ : &set_;
  }
  if (failure == nullptr || failure->times == 0) return std::nullopt;
  --failure->times;
  return journal::Fault{.error = failure->error};
}

void InterruptRig::Log(std::string what) {
  if (options_.log != nullptr) options_.log->push_back(std::move(what));
}

}  // namespace passthru::fake
