// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/random_calls/call_runner.h"

#include <fcntl.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "passthru/testing/random_calls/answer_text.h"
#include "passthru/testing/random_calls/kvm_calls.h"

namespace passthru::random_calls {
namespace {

using kernel::SyscallResult;

constexpr unsigned kRegionShift = 40;
// No capability chain of a region or container is longer.
constexpr size_t kInfoBytes = 4096;

}  // namespace

absl::Status CallRunner::Open() {
  const auto check = [this](std::string_view what, int error) {
    if (error == 0) return absl::OkStatus();
    return absl::FailedPreconditionError(
        absl::StrCat(bdf_, ": ", what, ": ", ErrorName(error),
                     "; bind it to vfio-pci and end the programs that use it"));
  };
  const auto open = [this](const std::string& path) {
    return kernel_.Open(path.c_str(), O_RDWR | O_CLOEXEC);
  };
  objects_.null = open("/dev/null").value;
  const auto container = open("/dev/vfio/vfio");
  if (!container.ok()) return check("/dev/vfio/vfio", container.error);
  objects_.container = container.value;
  const auto group = open(absl::StrCat("/dev/vfio/", group_number_));
  if (!group.ok()) return check("open its group", group.error);
  objects_.group = group.value;
  int error =
      kernel_
          .Ioctl(objects_.group, VFIO_GROUP_SET_CONTAINER, &objects_.container)
          .error;
  if (error == 0) {
    error = kernel_
                .Ioctl(objects_.container, VFIO_SET_IOMMU,
                       reinterpret_cast<void*>(uintptr_t{VFIO_TYPE1v2_IOMMU}))
                .error;
  }
  if (error != 0) return check("use its IOMMU", error);
  const auto device = kernel_.Ioctl(objects_.group, VFIO_GROUP_GET_DEVICE_FD,
                                    const_cast<char*>(bdf_.c_str()));
  if (!device.ok()) return check("open it", device.error);
  objects_.device = device.value;
  for (int& fd : objects_.eventfds) {
    fd = kernel_.Eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC).value;
  }
  // The shape says whether it is there.
  const auto kvm = open("/dev/kvm");
  if (kvm.ok()) objects_.kvm = kvm.value;
  const auto memory =
      kernel_.Mmap(nullptr, kMemoryPages * kPage, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (!memory.ok()) return check("get memory", memory.error);
  objects_.memory = static_cast<uint8_t*>(memory.value);
  return absl::OkStatus();
}

void CallRunner::Close() {
  for (size_t slot = 0; slot < kMappings; ++slot) Munmap(slot);
  const auto close = [this](int& fd) {
    if (fd >= 0) kernel_.Close(fd);
    fd = -1;
  };
  for (int& fd : objects_.kvm_devices) close(fd);
  for (int& fd : objects_.vcpus) close(fd);
  for (int& fd : objects_.vms) close(fd);
  for (int* fd : {&objects_.kvm, &objects_.device, &objects_.group,
                  &objects_.container, &objects_.null}) {
    close(*fd);
  }
  for (int& fd : objects_.eventfds) close(fd);
  if (objects_.memory != nullptr) {
    kernel_.Munmap(objects_.memory, kMemoryPages * kPage);
  }
  objects_.memory = nullptr;
}

absl::StatusOr<Shape> CallRunner::AskShape() {
  if (const absl::Status status = Open(); !status.ok()) {
    Close();
    return status;
  }
  Shape shape;
  shape.has_kvm = objects_.kvm >= 0;
  for (uint32_t index = 0; index < shape.regions.size(); ++index) {
    vfio_region_info info = {};
    info.argsz = sizeof(info);
    info.index = index;
    if (!kernel_.Ioctl(objects_.device, VFIO_DEVICE_GET_REGION_INFO, &info)
             .ok()) {
      continue;
    }
    shape.regions[index] = {.size = info.size, .flags = info.flags};
  }
  for (uint32_t index = 0; index < shape.irq_counts.size(); ++index) {
    vfio_irq_info info = {};
    info.argsz = sizeof(info);
    info.index = index;
    if (!kernel_.Ioctl(objects_.device, VFIO_DEVICE_GET_IRQ_INFO, &info).ok())
      continue;
    shape.irq_counts[index] = info.count;
  }
  std::vector<uint8_t> config(shape.regions[VFIO_PCI_CONFIG_REGION_INDEX].size);
  const auto read =
      kernel_.Pread(objects_.device, config.data(), config.size(),
                    RegionOffset(VFIO_PCI_CONFIG_REGION_INDEX, 0));
  Close();
  if (!read.ok() || read.value < PCI_STD_HEADER_SIZEOF) {
    return absl::InternalError(
        absl::StrCat(bdf_, ": cannot read its configuration space"));
  }
  AddCapabilities(config, shape);
  return shape;
}

absl::StatusOr<std::vector<std::string>> CallRunner::Run(
    const Shape& shape, const Sequence& calls) {
  std::vector<std::string> answers;
  absl::Status status = Open();
  if (status.ok()) {
    for (const RandomCall& call : calls) {
      answers.push_back(Answer(shape, call));
    }
  }
  Close();
  if (!status.ok()) return status;
  return answers;
}

std::string CallRunner::Ioctl(int fd, unsigned long request, void* argument) {
  return Text(kernel_.Ioctl(fd, request, argument));
}

uint64_t CallRunner::RegionOffset(uint64_t region, uint64_t offset) {
  return (region << kRegionShift) + offset;
}

std::string CallRunner::Answer(const Shape& shape, const RandomCall& call) {
  const auto argument = [&call](size_t i) { return call.arguments[i]; };
  switch (call.kind) {
    case CallKind::kReadConfig:
      return ReadConfig(shape, argument(0), argument(1));
    case CallKind::kWriteConfig:
      if (Resets(shape, call)) LeaveD3(shape);
      return WriteConfig(argument(0), argument(1), argument(2));
    case CallKind::kSetPower:
      return shape.power_management == 0
                 ? "none"
                 : WriteConfig(shape.power_management + PCI_PM_CTRL, 2,
                               argument(0));
    case CallKind::kSetCommand:
      return WriteConfig(PCI_COMMAND, 2, argument(0));
    case CallKind::kFunctionReset:
      return FunctionReset(shape);
    case CallKind::kReset:
      return Ioctl(objects_.device, VFIO_DEVICE_RESET, nullptr);
    case CallKind::kHotReset:
      return HotReset(argument(0), argument(1));
    case CallKind::kSetIrqs:
      return SetIrqs(call);
    case CallKind::kReadEventfd: {
      uint64_t count = 0;
      const auto read =
          kernel_.Read(objects_.eventfds[argument(0)], &count, sizeof(count));
      return absl::StrCat(Text(read), " ", count);
    }
    case CallKind::kWriteEventfd: {
      const uint64_t one = 1;
      return Text(
          kernel_.Write(objects_.eventfds[argument(0)], &one, sizeof(one)));
    }
    case CallKind::kMap:
      return Map(call);
    case CallKind::kUnmap:
      return Unmap(call);
    case CallKind::kReadRegion: {
      std::vector<uint8_t> data(argument(2) + 1);
      return Text(kernel_.Pread(objects_.device, data.data(), argument(2),
                                RegionOffset(argument(0), argument(1))));
    }
    case CallKind::kWriteRegion: {
      const std::vector<uint8_t> data(argument(2) + 1);
      return Text(kernel_.Pwrite(objects_.device, data.data(), argument(2),
                                 RegionOffset(argument(0), argument(1))));
    }
    case CallKind::kMmap:
      return Mmap(call);
    case CallKind::kMunmap:
      return Munmap(argument(0));
    case CallKind::kTouch:
      return Touch(argument(0), argument(1));
    case CallKind::kInfo:
      return Info(argument(0), argument(1), argument(2));
    case CallKind::kFeature:
      return Feature(argument(0));
    case CallKind::kLowPower:
      return LowPower(shape);
    case CallKind::kIoEventFd:
      return IoEventFd(call);
    case CallKind::kContainer:
      return Container(argument(0));
    case CallKind::kLifetime:
      return Lifetime(argument(0));
    case CallKind::kNewEventfd:
      return NewEventfd(argument(0));
    default:
      return AnswerKvm(kernel_, objects_, call);
  }
}

std::string CallRunner::SetIrqs(const RandomCall& call) {
  const uint64_t flags = call.arguments[1];
  const uint64_t count = call.arguments[3];
  std::vector<uint8_t> request(sizeof(vfio_irq_set));
  vfio_irq_set header = {};
  header.argsz = static_cast<uint32_t>(call.arguments[4]);
  header.flags = static_cast<uint32_t>(flags);
  header.index = static_cast<uint32_t>(call.arguments[0]);
  header.start = static_cast<uint32_t>(call.arguments[2]);
  header.count = static_cast<uint32_t>(count);
  std::memcpy(request.data(), &header, sizeof(header));
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t value = call.arguments[5 + i];
    if ((flags & VFIO_IRQ_SET_DATA_EVENTFD) != 0) {
      const int32_t fd = objects_.FdOf(value);
      const auto* const bytes = reinterpret_cast<const uint8_t*>(&fd);
      request.insert(request.end(), bytes, bytes + sizeof(fd));
    } else {
      request.push_back(static_cast<uint8_t>(value));
    }
  }
  // So that the kernel reads zeroes beyond the data, whatever argsz says.
  request.resize(std::max<size_t>(request.size(), kInfoBytes));
  return Ioctl(objects_.device, VFIO_DEVICE_SET_IRQS, request.data());
}

// Answers with all that the kernel wrote.
std::string CallRunner::Info(uint64_t which, uint64_t index, uint64_t argsz) {
  std::vector<uint8_t> bytes(kInfoBytes, 0);
  const uint32_t size = static_cast<uint32_t>(argsz);
  const uint32_t number = static_cast<uint32_t>(index);
  std::memcpy(bytes.data(), &size, sizeof(size));
  unsigned long request = VFIO_DEVICE_GET_INFO;
  switch (which) {
    case 0:
      break;
    case 1:
      request = VFIO_DEVICE_GET_REGION_INFO;
      std::memcpy(bytes.data() + offsetof(vfio_region_info, index), &number,
                  sizeof(number));
      break;
    case 2:
      request = VFIO_DEVICE_GET_IRQ_INFO;
      std::memcpy(bytes.data() + offsetof(vfio_irq_info, index), &number,
                  sizeof(number));
      break;
    default:
      request = VFIO_DEVICE_GET_PCI_HOT_RESET_INFO;
      break;
  }
  std::string text = Ioctl(objects_.device, request, bytes.data());
  const auto end = std::find_if(bytes.rbegin(), bytes.rend(), [](uint8_t byte) {
                     return byte != 0;
                   }).base();
  for (auto byte = bytes.begin(); byte != end; ++byte) {
    absl::StrAppendFormat(&text, " %02x", *byte);
  }
  return text;
}

std::string CallRunner::Feature(uint64_t flags) {
  vfio_device_feature feature = {};
  feature.argsz = sizeof(feature);
  feature.flags = static_cast<uint32_t>(flags);
  return Ioctl(objects_.device, VFIO_DEVICE_FEATURE, &feature);
}

std::string CallRunner::IoEventFd(const RandomCall& call) {
  vfio_device_ioeventfd request = {};
  request.argsz = sizeof(request);
  request.offset = RegionOffset(call.arguments[0], call.arguments[1]);
  request.flags = static_cast<uint32_t>(call.arguments[2]);
  request.fd = objects_.FdOf(call.arguments[3]);
  return Ioctl(objects_.device, VFIO_DEVICE_IOEVENTFD, &request);
}

std::string CallRunner::Container(uint64_t which) {
  switch (which) {
    case 0:
      return Ioctl(objects_.group, VFIO_GROUP_UNSET_CONTAINER, nullptr);
    case 1:
      return Ioctl(objects_.group, VFIO_GROUP_SET_CONTAINER,
                   &objects_.container);
    case 2: {
      vfio_group_status status = {};
      status.argsz = sizeof(status);
      const std::string text =
          Ioctl(objects_.group, VFIO_GROUP_GET_STATUS, &status);
      return absl::StrFormat("%s flags=%#x", text, status.flags);
    }
    case 3: {
      const auto second =
          kernel_.Ioctl(objects_.group, VFIO_GROUP_GET_DEVICE_FD,
                        const_cast<char*>(bdf_.c_str()));
      if (!second.ok()) return ErrorName(second.error);
      kernel_.Close(second.value);
      return "opened";
    }
    case 4:
      return Ioctl(objects_.container, VFIO_SET_IOMMU,
                   reinterpret_cast<void*>(uintptr_t{VFIO_TYPE1v2_IOMMU}));
    case 5:
      return Ioctl(objects_.container, VFIO_GET_API_VERSION, nullptr);
    case 6:
      return Ioctl(objects_.device, VFIO_GROUP_GET_STATUS, nullptr);
    case 7:
      return Ioctl(objects_.device, VFIO_DEVICE_GET_INFO, nullptr);
    default:
      return Ioctl(objects_.container, VFIO_IOMMU_MAP_DMA, nullptr);
  }
}

// Closes what the device hangs on, and tries to open it again.
std::string CallRunner::Lifetime(uint64_t which) {
  const bool all = which == 3;
  std::string text;
  const auto renew = [&](int& fd, auto open) {
    if (fd >= 0) kernel_.Close(fd);
    const SyscallResult<int> opened = open();
    fd = opened.ok() ? opened.value : -1;
    absl::StrAppend(&text, opened.ok() ? "opened" : ErrorName(opened.error),
                    " ");
  };
  const auto open = [this](std::string_view name) {
    return kernel_.Open(absl::StrCat("/dev/vfio/", name).c_str(),
                        O_RDWR | O_CLOEXEC);
  };
  if (all) {
    for (int* fd : {&objects_.device, &objects_.group}) {
      if (*fd >= 0) kernel_.Close(*fd);
      *fd = -1;
    }
  }
  if (all || which == 2) {
    renew(objects_.container, [&] { return open("vfio"); });
  }
  if (all || which == 1) {
    renew(objects_.group, [&] { return open(absl::StrCat(group_number_)); });
  }
  if (all) absl::StrAppend(&text, Container(1), " ", Container(4), " ");
  if (all || which == 0) {
    renew(objects_.device, [&] {
      return kernel_.Ioctl(objects_.group, VFIO_GROUP_GET_DEVICE_FD,
                           const_cast<char*>(bdf_.c_str()));
    });
  }
  return text;
}

// Closes an eventfd, which the kernel may hold, and makes another one.
std::string CallRunner::NewEventfd(size_t place) {
  kernel_.Close(objects_.eventfds[place]);
  const auto made = kernel_.Eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  objects_.eventfds[place] = made.ok() ? made.value : -1;
  return made.ok() ? "made" : ErrorName(made.error);
}

}  // namespace passthru::random_calls
