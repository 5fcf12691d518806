// SPDX-License-Identifier: Apache-2.0
#include "passthru/devices/vfio/explain.h"

#include <cerrno>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/devices/vfio/find_group.h"
#include "passthru/devices/vfio/locked_memory.h"

namespace passthru::vfio {

using kernel::ErrnoError;
using kernel::ExplainedErrnoError;

absl::Status ExplainContainerOpen(int error, std::string_view path) {
  switch (error) {
    case ENOENT:
    case ENODEV:
      return ExplainedErrnoError(
          error, absl::StrCat("there is no ", path,
                              ": VFIO is not loaded; run `modprobe vfio-pci` "
                              "(as root), or use a kernel that has it"));
    case EACCES:
    case EPERM:
      return ExplainedErrnoError(
          error, absl::StrCat("no permission to open ", path,
                              ": it is for everybody as Linux sets it up; "
                              "`chmod 0666 ",
                              path,
                              "` (as root), or allow it to this container or "
                              "service"));
    default:
      return ErrnoError(error, absl::StrCat("open of ", path));
  }
}

absl::Status ExplainNoType1v2(std::string_view path) {
  return absl::FailedPreconditionError(absl::StrCat(
      path,
      " has no type1v2 IOMMU driver, which DMA needs: run `modprobe "
      "vfio_iommu_type1` (as root)"));
}

absl::Status ExplainGroupOpen(int error, std::string_view path) {
  switch (error) {
    case ENOENT:
    case ENODEV:
      return ExplainedErrnoError(
          error, absl::StrCat("there is no ", path,
                              ": no device of this IOMMU group is bound to "
                              "vfio-pci (`ls -l "
                              "/sys/bus/pci/devices/*/driver` shows the "
                              "drivers)"));
    case EACCES:
      return ExplainedErrnoError(
          error,
          absl::StrCat("no permission to open ", path, ": `chown $USER ", path,
                       "` (as root), or a udev rule for the subsystem "
                       "vfio, gives it to this user"));
    case EBUSY:
      return ExplainedErrnoError(
          error, absl::StrCat(path,
                              " is in use by another process: a group can be "
                              "opened once; `fuser -v ",
                              path, "` (as root) names the process"));
    case EPERM:
      return ExplainedErrnoError(
          error, absl::StrCat("no permission to open ", path,
                              ": its devices have no IOMMU (noiommu mode), "
                              "which takes CAP_SYS_RAWIO and protects nobody"));
    default:
      return ErrnoError(error, absl::StrCat("open of ", path));
  }
}

absl::Status ExplainNotViable(uint32_t group,
                              const std::vector<BlockingDevice>& blocking) {
  const std::string problem =
      absl::StrCat("IOMMU group ", group, " is not viable: ");
  if (blocking.empty()) {
    return absl::FailedPreconditionError(absl::StrCat(
        problem,
        "a device in it is bound to a host driver; bind every device of the "
        "group to vfio-pci, or to none"));
  }
  const std::string devices = absl::StrJoin(
      blocking, ", ", [](std::string* out, const BlockingDevice& device) {
        absl::StrAppend(out, device.device, " is bound to ", device.driver);
      });
  return absl::FailedPreconditionError(absl::StrCat(
      problem, devices, ", and the hardware cannot keep ",
      blocking.size() == 1 ? "it" : "them",
      " apart from the other devices of the group; bind ",
      blocking.size() == 1 ? "it" : "them",
      " to vfio-pci too, or to nothing: `",
      absl::StrJoin(blocking, "; ",
                    [](std::string* out, const BlockingDevice& device) {
                      absl::StrAppend(out, "echo ", device.device,
                                      " > /sys/bus/pci/devices/", device.device,
                                      "/driver/unbind");
                    }),
      "` (as root)"));
}

absl::Status ExplainSetIommu(int error, uint32_t group) {
  switch (error) {
    case EPERM:
      return ExplainedErrnoError(
          error,
          absl::StrCat(
              "the kernel refuses devices of IOMMU group ", group,
              " because the host has no interrupt remapping, so a device could "
              "forge interrupts: enable it (firmware setup; no nointremap or "
              "intremap=off on the kernel's command line), or accept the risk "
              "with `echo 1 > /sys/module/vfio_iommu_type1/parameters/"
              "allow_unsafe_interrupts` (as root)"));
    case ENODEV:
      return ExplainedErrnoError(
          error, absl::StrCat("no IOMMU driver takes IOMMU group ", group,
                              ": run `modprobe vfio_iommu_type1` (as root)"));
    default:
      return ErrnoError(
          error,
          absl::StrCat("VFIO_SET_IOMMU(VFIO_TYPE1v2_IOMMU) for group ", group));
  }
}

absl::Status ExplainDeviceOpen(int error, std::string_view device,
                               uint32_t group, bool with_vf_token) {
  // vfio_pci_validate_vf_token() returns the two errnos about tokens.
  if (error == EINVAL && with_vf_token) {
    return ExplainedErrnoError(
        error, absl::StrCat(device,
                            " takes no vf_token: it is no virtual function, or "
                            "its physical function is not bound to vfio-pci"));
  }
  if (error == EACCES && with_vf_token) {
    return ExplainedErrnoError(
        error, absl::StrCat("the vf_token for ", device,
                            " is not the one that the user of its physical "
                            "function set (VFIO_DEVICE_FEATURE_PCI_VF_TOKEN)"));
  }
  switch (error) {
    case ENODEV:
      return ExplainedErrnoError(
          error, absl::StrCat(device, " is not a device of IOMMU group ", group,
                              " that vfio-pci has: it was unbound or removed "
                              "meanwhile"));
    case EACCES:
      return ExplainedErrnoError(
          error,
          absl::StrCat(device,
                       " is a virtual function whose physical function is "
                       "bound to vfio-pci: opening it takes the vf_token "
                       "that the user of the physical function set"));
    default:
      return ErrnoError(error, absl::StrCat("VFIO_GROUP_GET_DEVICE_FD of ",
                                            device, " in group ", group));
  }
}

absl::Status ExplainMapDma(int error, std::string_view what, uint64_t size,
                           kernel::Syscalls* syscalls) {
  switch (error) {
    case ENOMEM:
      return ExplainedErrnoError(
          error,
          absl::StrCat(what, ": ",
                       DescribeLockedMemory(ReadLockedMemory(syscalls), size)));
    case ENOSPC:
      return ExplainedErrnoError(
          error, absl::StrCat(what,
                              ": the container is out of DMA mappings (raise "
                              "vfio_iommu_type1.dma_entry_limit)"));
    case EEXIST:
      return ExplainedErrnoError(
          error, absl::StrCat(what, ": part of it is mapped already"));
    default:
      return ErrnoError(error, what);
  }
}

}  // namespace passthru::vfio
