// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_VFIO_PCI_EXPANSION_ROM_H_
#define PASSTHRU_DEVICES_VFIO_PCI_EXPANSION_ROM_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "passthru/devices/bus/address_space.h"
#include "passthru/devices/bus/bus_device.h"
#include "passthru/devices/kernel/failure_log.h"
#include "passthru/pci/bar.h"

namespace passthru::vfio_pci {

// No function asks for more address space for its ROM (PCI 3.0 6.2.5.2).
inline constexpr uint64_t kMaxRomSize = uint64_t{16} << 20;

// Why the guest sees no ROM by default.
inline constexpr std::string_view kRomNotWanted =
    "the VMM does not ask for it (Options::rom), and it is code for the "
    "firmware of the host's platform";

// Which expansion ROM the guest sees, if any. A plain value.
struct RomOptions {
  enum class Source : uint8_t {
    kNone,    // the guest sees none
    kDevice,  // the device's own, read once at attach
    kBytes,   // the bytes below
  };
  Source source = Source::kNone;
  std::vector<uint8_t> bytes;  // of a ROM file, for kBytes

  // Returns kInvalidArgument if there are bytes that nothing uses, or if those
  // for kBytes are no ROM (CheckRomImage()).
  absl::Status Check() const;
};

// The expansion ROM in the device's report. A plain value.
struct RomReport {
  // Whether VFIO lets the device's own ROM be read.
  bool readable = false;
  std::string hidden_reason;    // why the guest sees none, if it sees none
  std::string source;           // whose the bytes are, if the guest sees one
  std::optional<pci::Bar> bar;  // as its register holds it now
  uint64_t image_size = 0;
  bool placed = false;  // whether it is decoded and answers at bar->address
  std::string problem;  // why it is not placed although decode is on
  std::string note;     // why the guest's firmware may not run it
  uint64_t reads = 0;   // by the guest
};

// Returns OK if `image` is an expansion ROM that a function can have. It begins
// with 55 AA (PCI 3.0 6.3.1.1) and has at most 16 MiB (PCI 3.0 6.2.5.2).
absl::Status CheckRomImage(absl::Span<const uint8_t> image);

// Returns why a guest's firmware may not run the first image in `rom`. It then
// names a vendor or device other than those given (PCI 3.0 6.3.1.2), or nothing
// that can be read. Returns an empty string otherwise.
std::string RomMismatch(absl::Span<const uint8_t> rom, uint16_t vendor,
                        uint16_t device);

// An expansion ROM in the guest's memory. Each read traps and is answered from
// a copy. Writes are dropped. Bytes of the ROM's BAR behind the image read all
// ones.
//
// Thread-compatible. Like BarMapper's, its methods are called under the VM's
// layout lock and no lock of the device.
class ExpansionRom {
 public:
  // `image` must have passed CheckRomImage(). `mmio` and `failures` must
  // outlive the ROM.
  ExpansionRom(std::string name, std::vector<uint8_t> image,
               bus::AddressSpace* mmio, kernel::FailureLog* failures);
  ExpansionRom(const ExpansionRom&) = delete;
  ExpansionRom& operator=(const ExpansionRom&) = delete;
  ~ExpansionRom();

  // Returns the BAR that the image needs, at address 0 and disabled. A ROM
  // takes at least 2 KiB, because its register has no lower address bits.
  const pci::Bar& bar() const { return bar_; }
  absl::Span<const uint8_t> image() const;

  // As in BarMapper, Retract() removes the ROM unless it is at its desired
  // address, and Place() puts it there. Without an address it does not decode.
  void Retract(std::optional<uint64_t> desired);
  void Place(std::optional<uint64_t> desired);

  // Fills in what the guest sees of this ROM now.
  void Describe(RomReport& report) const;

 private:
  class Trap;

  const pci::Bar bar_;
  const std::shared_ptr<Trap> trap_;
  bus::AddressSpace* const mmio_;
  kernel::FailureLog* const failures_;
  std::optional<uint64_t> address_;  // where the ROM answers
  bus::RangeHandle range_;
  std::string problem_;
};

}  // namespace passthru::vfio_pci

#endif  // PASSTHRU_DEVICES_VFIO_PCI_EXPANSION_ROM_H_
