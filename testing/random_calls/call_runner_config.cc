// SPDX-License-Identifier: Apache-2.0
//
// Accesses to configuration space, and resets.

#include <linux/pci_regs.h>
#include <linux/vfio.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "passthru/testing/random_calls/answer_text.h"
#include "passthru/testing/random_calls/call_runner.h"
#include "passthru/testing/random_calls/objects.h"
#include "passthru/testing/random_calls/random_call.h"

namespace passthru::random_calls {

std::string CallRunner::ReadConfig(const Shape& shape, uint64_t offset,
                                   size_t length) {
  std::vector<uint8_t> data(std::max<size_t>(length, 1));
  const auto read =
      kernel_.Pread(objects_.device, data.data(), length,
                    RegionOffset(VFIO_PCI_CONFIG_REGION_INDEX, offset));
  std::string text = Text(read);
  for (size_t i = 0; read.ok() && i < read.value; ++i) {
    const bool excluded =
        offset + i < shape.excluded.size() && shape.excluded[offset + i];
    absl::StrAppend(&text,
                    excluded ? " --" : absl::StrFormat(" %02x", data[i]));
  }
  return text;
}

std::string CallRunner::WriteConfig(uint64_t offset, size_t length,
                                    uint64_t value) {
  return Text(
      kernel_.Pwrite(objects_.device, &value, std::min(length, sizeof(value)),
                     RegionOffset(VFIO_PCI_CONFIG_REGION_INDEX, offset)));
}

// On the way to such a reset, the kernel itself goes to D0 and does not restore
// what is lost there. QEMU's devices say that they lose it, and do not.
void CallRunner::LeaveD3(const Shape& shape) {
  if (!shape.soft_resets) return;
  WriteConfig(shape.power_management + PCI_PM_CTRL, 2, 0);
}

bool CallRunner::Resets(const Shape& shape, const RandomCall& write) {
  const auto sets = [&write](uint64_t at, unsigned bit) {
    const uint64_t offset = write.arguments[0];
    return at >= offset && at < offset + write.arguments[1] &&
           (write.arguments[2] >> (8 * (at - offset) + bit) & 1) != 0;
  };
  return (shape.express != 0 && sets(shape.express + PCI_EXP_DEVCTL + 1, 7)) ||
         (shape.advanced_features != 0 &&
          sets(shape.advanced_features + PCI_AF_CTRL, 0));
}

std::string CallRunner::FunctionReset(const Shape& shape) {
  LeaveD3(shape);
  if (shape.express != 0) {
    uint16_t control = 0;
    const uint64_t at = shape.express + PCI_EXP_DEVCTL;
    kernel_.Pread(objects_.device, &control, sizeof(control),
                  RegionOffset(VFIO_PCI_CONFIG_REGION_INDEX, at));
    return WriteConfig(at, 2, control | PCI_EXP_DEVCTL_BCR_FLR);
  }
  if (shape.advanced_features != 0) {
    return WriteConfig(shape.advanced_features + PCI_AF_CTRL, 1,
                       PCI_AF_CTRL_FLR);
  }
  return "none";
}

std::string CallRunner::HotReset(uint64_t count, uint64_t fd) {
  const uint32_t given = static_cast<uint32_t>(count);
  std::vector<uint32_t> request = {
      static_cast<uint32_t>(sizeof(vfio_pci_hot_reset)) + 4 * given, 0, given};
  static_assert(sizeof(vfio_pci_hot_reset) == 12);
  request.resize(request.size() + given,
                 static_cast<uint32_t>(fd == kClosedFd ? Objects::kNoDescriptor
                                                       : objects_.group));
  return Ioctl(objects_.device, VFIO_DEVICE_PCI_HOT_RESET, request.data());
}

// Enters and leaves the state of runtime power management. In between the
// kernel may suspend the device at any time and resume it in D0, so the device
// is in D0 before, and nothing else happens there but a touch.
std::string CallRunner::LowPower(const Shape& shape) {
  if (shape.power_management != 0) {
    WriteConfig(shape.power_management + PCI_PM_CTRL, 2, 0);
  }
  const std::string entered =
      Feature(VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY);
  const std::string touched = Touch(0, 0);
  return absl::StrCat(
      entered, " ", touched, " ",
      Feature(VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_LOW_POWER_EXIT));
}

}  // namespace passthru::random_calls
