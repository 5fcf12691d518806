// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/random_calls/call_runner.h"

#include <fcntl.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <setjmp.h>
#include <signal.h>
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
constexpr uintptr_t kUnmappedAddress = 0x1000;
// No capability chain of a region or container is longer.
constexpr size_t kInfoBytes = 4096;

sigjmp_buf on_sigbus;

void HandleSigbus(int) { siglongjmp(on_sigbus, 1); }

// Loads from the address. Returns false if that raised SIGBUS. A function of
// its own, because the jump may lose values in the frame of sigsetjmp().
bool Load(const volatile uint8_t* address) {
  if (sigsetjmp(on_sigbus, 1) != 0) return false;
  static_cast<void>(*address);
  return true;
}

uint64_t RegionOffset(uint64_t region, uint64_t offset) {
  return (region << kRegionShift) + offset;
}

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

std::string CallRunner::Map(const RandomCall& call) {
  vfio_iommu_type1_dma_map map = {};
  map.argsz = sizeof(map);
  map.iova = call.arguments[0];
  map.size = call.arguments[1];
  map.vaddr =
      call.arguments[2] == kNoMemory
          ? kUnmappedAddress
          : reinterpret_cast<uintptr_t>(objects_.memory) + call.arguments[2];
  map.flags = static_cast<uint32_t>(call.arguments[3]);
  return Ioctl(objects_.container, VFIO_IOMMU_MAP_DMA, &map);
}

std::string CallRunner::Unmap(const RandomCall& call) {
  vfio_iommu_type1_dma_unmap unmap = {};
  unmap.argsz = sizeof(unmap);
  unmap.iova = call.arguments[0];
  unmap.size = call.arguments[1];
  unmap.flags = static_cast<uint32_t>(call.arguments[2]);
  std::string text = Ioctl(objects_.container, VFIO_IOMMU_UNMAP_DMA, &unmap);
  return text == "0" ? absl::StrFormat("0 size=%#x", unmap.size) : text;
}

std::string CallRunner::Mmap(const RandomCall& call) {
  const size_t slot = call.arguments[0];
  Munmap(slot);
  const auto mapped = kernel_.Mmap(
      nullptr, call.arguments[3], PROT_READ | PROT_WRITE,
      call.arguments[4] != 0 ? MAP_PRIVATE : MAP_SHARED, objects_.device,
      RegionOffset(call.arguments[1], call.arguments[2]));
  if (!mapped.ok()) return ErrorName(mapped.error);
  objects_.mappings[slot] = {.address = mapped.value,
                             .length = call.arguments[3]};
  return "mapped";
}

std::string CallRunner::Munmap(size_t slot) {
  Objects::Mapping& mapping = objects_.mappings[slot];
  if (mapping.address == nullptr) return "none";
  std::string text = Text(kernel_.Munmap(mapping.address, mapping.length));
  mapping = {};
  return text;
}

std::string CallRunner::Touch(size_t slot, uint64_t page) {
  const Objects::Mapping& mapping = objects_.mappings[slot];
  if (mapping.address == nullptr) return "none";
  const uint64_t pages = (mapping.length + kPage - 1) / kPage;
  struct sigaction action = {};
  struct sigaction old = {};
  action.sa_handler = HandleSigbus;
  sigaction(SIGBUS, &action, &old);
  const bool loaded = Load(static_cast<const uint8_t*>(mapping.address) +
                           kPage * (page % pages));
  sigaction(SIGBUS, &old, nullptr);
  return loaded ? "loaded" : "SIGBUS";
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
