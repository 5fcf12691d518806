// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/contract/vfio/vfio_contract.h"

#include <fcntl.h>
#include <linux/vfio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "passthru/testing/contract/vfio/vfio_questions.h"

namespace passthru::contract {
namespace {

using kernel::SyscallResult;

constexpr uint32_t kLastExtension = 12;

std::string ErrorName(int error) {
  const char* name = strerrorname_np(error);
  return name != nullptr ? name : absl::StrCat("errno ", error);
}

}  // namespace

std::vector<Observation> ObserveVfio(kernel::Syscalls* syscalls,
                                     const std::string& bdf, uint32_t group) {
  VfioQuestions observer(syscalls, bdf, group);
  observer.AskContainer();
  observer.AskGroup();
  observer.AskIommu();
  observer.AskDevice();
  observer.AskIrqs();
  observer.AskIrqMatrix();
  observer.AskAccess();
  observer.AskConfigMasks();
  observer.AskReset();
  observer.AskPower();
  observer.AskStates();
  observer.AskIoEventFds();
  observer.AskKvm();
  observer.AskInterrupts();
  observer.AskDma();
  observer.AskClose();
  return observer.Take();
}

VfioQuestions::VfioQuestions(kernel::Syscalls* syscalls, std::string bdf,
                             uint32_t group)
    : kernel_(*syscalls),
      bdf_(std::move(bdf)),
      group_path_(absl::StrCat("/dev/vfio/", group)) {
  null_ = kernel_.Open("/dev/null", O_RDWR | O_CLOEXEC).value;
}

VfioQuestions::~VfioQuestions() {
  for (const auto& [address, length] : memory_) kernel_.Munmap(address, length);
  for (const int fd : eventfds_) kernel_.Close(fd);
  for (const int fd : {second_device_, device_, group_, container_, null_}) {
    if (fd >= 0) kernel_.Close(fd);
  }
}

SyscallResult<int> VfioQuestions::Ask(std::string question, int fd,
                                      unsigned long request, void* arg) {
  const SyscallResult<int> result = kernel_.Ioctl(fd, request, arg);
  Write(std::move(question),
        result.ok() ? absl::StrCat(result.value) : ErrorName(result.error));
  return result;
}

int VfioQuestions::AskForFd(std::string question, SyscallResult<int> result) {
  Write(std::move(question), result.ok() ? "fd" : ErrorName(result.error));
  return result.ok() ? result.value : -1;
}

void VfioQuestions::AskExtensions(std::string_view when) {
  for (uint32_t extension = 0; extension <= kLastExtension; ++extension) {
    Ask(absl::StrCat("CHECK_EXTENSION ", extension, " (", when, ")"),
        container_, VFIO_CHECK_EXTENSION,
        reinterpret_cast<void*>(uintptr_t{extension}));
  }
}

void VfioQuestions::AskContainer() {
  Begin("container");
  container_ = kernel_.Open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC).value;
  Ask("GET_API_VERSION", container_, VFIO_GET_API_VERSION, nullptr);
  AskExtensions("no group");
  Ask("SET_IOMMU(3) no group", container_, VFIO_SET_IOMMU,
      reinterpret_cast<void*>(uintptr_t{VFIO_TYPE1v2_IOMMU}));
  vfio_iommu_type1_info info = {};
  info.argsz = sizeof(info);
  Ask("IOMMU_GET_INFO no iommu", container_, VFIO_IOMMU_GET_INFO, &info);
  Ask("unknown ioctl no iommu", container_, kUnknownIoctl, nullptr);
}

void VfioQuestions::AskGroup() {
  Begin("group");
  const auto open = [this] {
    return kernel_.Open(group_path_.c_str(), O_RDWR | O_CLOEXEC);
  };
  const auto set_container = [this](std::string question, int fd) {
    Ask(std::move(question), group_, VFIO_GROUP_SET_CONTAINER, &fd);
  };
  const auto set_iommu = [this](std::string question, uint32_t type) {
    Ask(std::move(question), container_, VFIO_SET_IOMMU,
        reinterpret_cast<void*>(uintptr_t{type}));
  };
  const auto get_device = [this](const std::string& name) {
    return kernel_.Ioctl(group_, VFIO_GROUP_GET_DEVICE_FD,
                         const_cast<char*>(name.c_str()));
  };
  const auto get_status = [this] {
    vfio_group_status status = {};
    status.argsz = sizeof(status);
    Ask("GET_STATUS", group_, VFIO_GROUP_GET_STATUS, &status);
    Detail(absl::StrFormat("flags=%#x", status.flags));
  };

  group_ = AskForFd("open group", open());
  AskForFd("open group twice", open());
  vfio_group_status small = {};
  small.argsz = 4;
  Ask("GET_STATUS argsz=4", group_, VFIO_GROUP_GET_STATUS, &small);
  get_status();
  AskForFd("GET_DEVICE_FD no container", get_device(bdf_));
  Ask("UNSET_CONTAINER no container", group_, VFIO_GROUP_UNSET_CONTAINER,
      nullptr);
  set_container("SET_CONTAINER bad fd", kBadFd);
  set_container("SET_CONTAINER /dev/null", null_);
  set_container("SET_CONTAINER", container_);
  set_container("SET_CONTAINER again", container_);
  get_status();
  AskForFd("GET_DEVICE_FD before SET_IOMMU", get_device(bdf_));
  set_iommu("SET_IOMMU(99)", 99);
  Ask("MAP_DMA before SET_IOMMU (NULL)", container_, VFIO_IOMMU_MAP_DMA,
      nullptr);
  set_iommu("SET_IOMMU(3)", VFIO_TYPE1v2_IOMMU);
  set_iommu("SET_IOMMU(3) again", VFIO_TYPE1v2_IOMMU);
  AskExtensions("iommu set");
  Ask("unknown ioctl iommu set", container_, kUnknownIoctl, nullptr);
  Ask("group unknown ioctl", group_, kUnknownIoctl, nullptr);
  AskForFd("GET_DEVICE_FD 0000:ff:1f.7", get_device("0000:ff:1f.7"));
  AskForFd("GET_DEVICE_FD ''", get_device(""));
  AskForFd("GET_DEVICE_FD 'BDF junk=1'", get_device(bdf_ + " junk=1"));
  AskForFd("GET_DEVICE_FD 'BDF vf_token=..' (no SR-IOV)",
           get_device(bdf_ + " vf_token=00112233-4455-6677-8899-aabbccddeeff"));
  const int spaced =
      AskForFd("GET_DEVICE_FD 'BDF ' trailing space", get_device(bdf_ + " "));
  if (spaced >= 0) kernel_.Close(spaced);
  device_ = AskForFd("GET_DEVICE_FD", get_device(bdf_));
  second_device_ = AskForFd("GET_DEVICE_FD second", get_device(bdf_));
  Ask("UNSET_CONTAINER device open", group_, VFIO_GROUP_UNSET_CONTAINER,
      nullptr);
}

void VfioQuestions::AskClose() {
  Begin("close");
  kernel_.Close(std::exchange(group_, -1));
  kernel_.Close(std::exchange(container_, -1));
  vfio_device_info info = {};
  info.argsz = sizeof(info);
  Ask("GET_INFO after group/container close", device_, VFIO_DEVICE_GET_INFO,
      &info);
  const auto open = [this] {
    return kernel_.Open(group_path_.c_str(), O_RDWR | O_CLOEXEC);
  };
  AskForFd("reopen group while device open", open());
  kernel_.Close(std::exchange(device_, -1));
  kernel_.Close(std::exchange(second_device_, -1));
  group_ = AskForFd("reopen group after device close", open());
}

}  // namespace passthru::contract
