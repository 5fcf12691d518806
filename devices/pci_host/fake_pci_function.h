// SPDX-License-Identifier: Apache-2.0

#ifndef PASSTHRU_DEVICES_PCI_HOST_FAKE_PCI_FUNCTION_H_
#define PASSTHRU_DEVICES_PCI_HOST_FAKE_PCI_FUNCTION_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/types/span.h"
#include "gtest/gtest.h"
#include "passthru/devices/pci_host/pci_function.h"

namespace passthru::pci_host {

// A PCI function with 4096 bytes of configuration space, all of which are
// writable. It fails the test if an access breaks what PciFunction promises.
// Thread-compatible.
class FakePciFunction final : public PciFunction {
 public:
  uint32_t ConfigRead(uint16_t offset, unsigned width) override {
    log.push_back(absl::StrFormat("read 0x%x %u", offset, width));
    Check(offset, width);
    if (during_call) during_call();
    // The caller must ignore the bytes above `width`.
    uint32_t value = 0xa5a5a5a5;
    for (unsigned i = 0; i < width; ++i) {
      value &= ~(uint32_t{0xff} << (8 * i));
      value |= uint32_t{bytes[offset + i]} << (8 * i);
    }
    return value;
  }

  void ConfigWrite(uint16_t offset, absl::Span<const uint8_t> data) override {
    log.push_back(absl::StrFormat("write 0x%x %u", offset, data.size()));
    Check(offset, data.size());
    if (during_call) during_call();
    for (size_t i = 0; i < data.size(); ++i) bytes[offset + i] = data[i];
  }

  std::array<uint8_t, 4096> bytes = {};
  std::vector<std::string> log;
  std::function<void()> during_call;

 private:
  static void Check(uint16_t offset, size_t width) {
    EXPECT_TRUE(width == 1 || width == 2 || width == 4) << width;
    EXPECT_EQ(offset % width, 0u) << offset << " " << width;
    EXPECT_LE(offset + width, 4096u);
  }
};

}  // namespace passthru::pci_host

#endif  // PASSTHRU_DEVICES_PCI_HOST_FAKE_PCI_FUNCTION_H_
