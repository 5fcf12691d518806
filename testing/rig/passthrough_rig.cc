// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/rig/passthrough_rig.h"

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/log/check.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/types/span.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/vfio/find_group.h"
#include "passthru/devices/vfio/vfio_container.h"
#include "passthru/devices/vfio/vfio_device.h"
#include "passthru/devices/vfio/vfio_group.h"
#include "passthru/pci/little_endian.h"
#include "passthru/testing/fixture/fixture.h"
#include "passthru/testing/guest/guest_cpu.h"

namespace passthru::fake {

PassthroughRig::PassthroughRig(Options options)
    : options_(std::move(options)),
      host_(std::make_unique<SimulatedHost>(options_.host)) {
  absl::StatusOr<fixture::PciDevice> fixture = fixture::LoadFixture(
      absl::StrCat("testing/fixtures/", options_.fixture, ".textproto"));
  CHECK_OK(fixture);
  if (options_.edit_fixture != nullptr) options_.edit_fixture(*fixture);
  bdf_ = *pci::Bdf::Parse(fixture->bdf());
  auto model = MakeModel(*fixture);
  CHECK_OK(model);
  CHECK_OK(host_->vfio().AddDevice(
      *fixture, {.model = *std::move(model),
                 .msi_vectors_available = options_.msi_vectors_available,
                 .msix_vectors_available = options_.msix_vectors_available}));

  vm_ = *kvm::KvmVm::Create(&kernel());
  CHECK_OK(vm_->CreateIrqchip());
  vcpu_ = *kvm::KvmVcpu::Create(vm_.get(), 0);
  router_ = *interrupts::GsiRouter::Create(
      {.table = vm_.get(), .base_routes = vm_->BaseRoutes()});
  slots_ = *allocator::MemorySlotAllocator::Create(allocator::MemorySlot(0),
                                                   vm_->MaxSlots());
  slot_listener_ =
      std::make_unique<kvm::KvmSlotListener>(vm_.get(), slots_.get());
  CHECK_OK(memory_.AddListener(slot_listener_.get()));
  loop_ = *kernel::EpollEventLoop::Create(&kernel());
  before_ = kernel().Resources();
}

PassthroughRig::~PassthroughRig() {
  device_.reset();
  loop_.reset();
  CHECK_OK(memory_.RemoveListener(slot_listener_.get()));
}

absl::Status PassthroughRig::Attach() {
  kernel::Syscalls* calls = &kernel();
  if (options_.wrap_calls != nullptr) {
    device_.reset();
    wrapped_calls_ = options_.wrap_calls(calls);
    calls = wrapped_calls_.get();
  }
  PASSTHRU_ASSIGN_OR_RETURN(const uint32_t number,
                            vfio::FindGroup(calls, bdf_));
  PASSTHRU_ASSIGN_OR_RETURN(auto container, vfio::VfioContainer::Create(calls));
  PASSTHRU_ASSIGN_OR_RETURN(
      auto group, vfio::VfioGroup::Open(std::move(container), number));
  PASSTHRU_ASSIGN_OR_RETURN(auto device,
                            vfio::VfioDevice::Open(std::move(group), bdf_));
  vfio_pci::VfioPciDevice::Options options = {
      .vm = {.syscalls = calls,
             .mmio = &mmio_,
             .pio = &pio_,
             .memory = &memory_,
             .router = router_.get(),
             .controller = vm_.get(),
             .loop = loop_.get(),
             .layout_lock = &layout_lock_},
      .device = std::move(device)};
  if (options_.edit_options != nullptr) options_.edit_options(options);
  PASSTHRU_ASSIGN_OR_RETURN(
      device_, vfio_pci::VfioPciDevice::Create(std::move(options)));
  return absl::OkStatus();
}

void PassthroughRig::Write(uint16_t offset, unsigned width, uint32_t value) {
  std::array<uint8_t, 4> bytes;
  pci::StoreLittleEndian(absl::MakeSpan(bytes), 0, value);
  device_->ConfigWrite(offset, absl::MakeSpan(bytes).first(width));
}

uint16_t PassthroughRig::FindCapability(uint8_t id) {
  auto at = static_cast<uint16_t>(Read(0x34, 1));
  for (int i = 0; i < 48 && at != 0; ++i) {
    if (Read(at, 1) == id) return at;
    at = static_cast<uint16_t>(Read(static_cast<uint16_t>(at + 1), 1));
  }
  return 0;
}

uint16_t PassthroughRig::FindExtendedCapability(uint16_t id) {
  uint16_t at = 0x100;
  for (int i = 0; i < 960 && at >= 0x100; ++i) {
    const uint32_t header = Read(at, 4);
    if ((header & 0xffff) == id) return at;
    at = static_cast<uint16_t>(header >> 20);
  }
  return 0;
}

uint64_t PassthroughRig::Load(uint64_t address, unsigned width) {
  std::array<uint8_t, 8> bytes = {};
  mmio_.Read(address, absl::MakeSpan(bytes).first(width));
  return pci::LoadLittleEndian<uint64_t>(bytes, 0);
}

void PassthroughRig::Store(uint64_t address, unsigned width, uint64_t value) {
  std::array<uint8_t, 8> bytes;
  pci::StoreLittleEndian(absl::MakeSpan(bytes), 0, value);
  mmio_.Write(address, absl::MakeSpan(bytes).first(width));
}

void PassthroughRig::PlaceBar(uint8_t index, uint64_t address) {
  CHECK_OK(device_->SetBarAddress(pci::BarIndex(index), address));
  Write(0x04, 2, 0x6);
}

void PassthroughRig::WriteVector(uint16_t vector, uint32_t data, bool masked) {
  const uint32_t location =
      Read(static_cast<uint16_t>(FindCapability(0x11) + 4), 4);
  const uint64_t entry = kBarAddress + (location & ~uint32_t{7}) + 16u * vector;
  const pci::MsiMessage message = Message(data);
  Store(entry, 4, message.address);
  Store(entry + 4, 4, message.address >> 32);
  Store(entry + 8, 4, message.data);
  Store(entry + 12, 4, masked ? 1 : 0);
}

void PassthroughRig::SetMsixControl(bool enable, bool function_mask) {
  const auto control = static_cast<uint16_t>(FindCapability(0x11) + 2);
  Write(control, 2, (enable ? 0x8000u : 0u) | (function_mask ? 0x4000u : 0u));
}

void PassthroughRig::RaiseMsix(uint16_t vector) {
  CHECK_OK(host_->vfio().WithHardware(
      bdf_,
      [vector](models::DevicePlatform& host) { host.RaiseMsix(vector); }));
  RunLoop();
}

void PassthroughRig::RaiseMsi(uint16_t vector) {
  CHECK_OK(host_->vfio().WithHardware(
      bdf_, [vector](models::DevicePlatform& host) { host.RaiseMsi(vector); }));
  RunLoop();
}

void PassthroughRig::SetIntx(bool asserted) {
  CHECK_OK(host_->vfio().WithHardware(
      bdf_,
      [asserted](models::DevicePlatform& host) { host.SetIntx(asserted); }));
  RunLoop();
}

void PassthroughRig::RunLoop() {
  for (;;) {
    const absl::StatusOr<int> ran = loop_->RunOnce(/*timeout_ms=*/0);
    CHECK_OK(ran);
    if (*ran == 0) return;
  }
}

std::vector<uint32_t> PassthroughRig::TakeMessages() {
  std::vector<uint32_t> data;
  for (const guest::GuestInterrupt& message :
       kernel().kvm().Messages(messages_taken_)) {
    data.push_back(message.data);
  }
  messages_taken_ += data.size();
  return data;
}

std::vector<std::string> PassthroughRig::Slots() {
  std::vector<std::string> slots;
  for (const memory::MemoryArea& area : memory_.Areas()) {
    slots.push_back(absl::StrFormat("%#x+%#x", area.guest.value(), area.size));
  }
  return slots;
}

}  // namespace passthru::fake
