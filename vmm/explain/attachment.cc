// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/explain/attachment.h"

#include <linux/vfio.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "passthru/allocator/gsi.h"
#include "passthru/devices/kernel/read_file.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/passthrough/group_dma_space.h"
#include "passthru/devices/vfio/vfio_device.h"
#include "passthru/devices/vfio/vfio_paths.h"
#include "passthru/devices/vfio_pci/vfio_pci_device.h"
#include "passthru/pci/little_endian.h"
#include "passthru/pci/registers.h"
#include "passthru/vmm/guest_layout.h"
#include "passthru/vmm/machine.h"

namespace passthru::explain {
namespace {

// No guest runs, so there is no need for more.
constexpr uint64_t kRamSize = uint64_t{2} << 20;

// Reads the hardware's registers, without VFIO in between.
std::vector<uint8_t> ReadHardware(kernel::Syscalls* syscalls,
                                  const std::string& folder) {
  const absl::StatusOr<std::string> config = kernel::ReadFile(
      syscalls, folder + "/config", pci::kExtendedConfigSpaceSize);
  // The report says how much could be read.
  if (!config.ok()) return {};
  return {config->begin(), config->end()};
}

absl::StatusOr<Attachment> LookAt(vmm::Machine& machine,
                                  passthrough::GroupDmaSpace& dma,
                                  pci::Bdf address, const Choices& choices) {
  const std::string folder =
      absl::StrCat(vfio::VfioPaths().sysfs_pci, "/", address.ToString());
  Attachment seen;
  seen.views.hardware = ReadHardware(machine.syscalls(), folder);
  seen.views.is_virtual_function =
      machine.syscalls()->Readlink((folder + "/physfn").c_str()).ok();
  PASSTHRU_ASSIGN_OR_RETURN(auto opened, dma.Open(address));
  for (uint32_t i = 0; i < seen.regions.size(); ++i) {
    seen.regions[i] = opened->region(i);
  }
  for (uint32_t i = 0; i < seen.irqs.size(); ++i) {
    seen.irqs[i] = opened->irq(i);
  }
  seen.views.vfio.resize(opened->config_size() >= pci::kExtendedConfigSpaceSize
                             ? pci::kExtendedConfigSpaceSize
                             : pci::kConfigSpaceSize);
  PASSTHRU_RETURN_IF_ERROR(opened->ReadRegion(VFIO_PCI_CONFIG_REGION_INDEX, 0,
                                              absl::MakeSpan(seen.views.vfio)));

  vfio_pci::VfioPciDevice::Options options;
  options.vm = {.syscalls = machine.syscalls(),
                .mmio = &machine.mmio(),
                .pio = &machine.pio(),
                .memory = &machine.memory(),
                .router = &machine.router(),
                .controller = &machine.vm(),
                .loop = &machine.loop(),
                .layout_lock = &machine.layout_lock(),
                .physical_address_bits = machine.physical_address_bits()};
  options.device = std::move(opened);
  options.on_root_bus = choices.on_root_bus;
  options.max_vectors = choices.max_vectors;
  options.policy = choices.policy;
  options.rom = choices.rom;
  if (choices.intx) options.intx_gsi = allocator::Gsi(vmm::IntxGsi(1));
  PASSTHRU_ASSIGN_OR_RETURN(
      const auto device, vfio_pci::VfioPciDevice::Create(std::move(options)));
  seen.bars.assign(device->bars().begin(), device->bars().end());
  seen.views.guest.resize(seen.views.vfio.size());
  for (size_t offset = 0; offset < seen.views.guest.size(); offset += 4) {
    pci::StoreLittleEndian(
        absl::MakeSpan(seen.views.guest), offset,
        device->ConfigRead(static_cast<uint16_t>(offset), 4));
  }
  seen.report = device->Describe();
  PASSTHRU_RETURN_IF_ERROR(device->Detach());
  return seen;
}

}  // namespace

absl::StatusOr<Attachment> Attach(kernel::Syscalls* syscalls, pci::Bdf device,
                                  const Choices& choices) {
  PASSTHRU_ASSIGN_OR_RETURN(
      const auto machine,
      vmm::Machine::Create({.syscalls = syscalls, .ram_size = kRamSize}));
  passthrough::GroupDmaSpace dma({.syscalls = syscalls,
                                  .memory = &machine->memory(),
                                  .vm = &machine->vm()});
  absl::StatusOr<Attachment> seen = LookAt(*machine, dma, device, choices);
  // Nothing is to be released if the device could not be opened.
  const absl::Status released = dma.Release(device);
  if (seen.ok() && !released.ok()) return released;
  return seen;
}

}  // namespace passthru::explain
