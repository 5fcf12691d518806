// SPDX-License-Identifier: Apache-2.0
//
// The questions about events that really happen, which are interrupts and DMA
// of edu (QEMU's docs/specs/edu), and a device's eventfd in KVM.
#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "passthru/testing/contract/vfio/vfio_contract.h"
#include "passthru/testing/contract/vfio/vfio_questions.h"

namespace passthru::contract {
namespace {

constexpr uint32_t kEdu = 0x11e81234;  // As in configuration space.
constexpr uint64_t kStatus = 0x24;
constexpr uint64_t kRaise = 0x60;
constexpr uint64_t kAcknowledge = 0x64;
constexpr uint64_t kDmaSource = 0x80;
constexpr uint64_t kDmaDestination = 0x88;
constexpr uint64_t kDmaCount = 0x90;
constexpr uint64_t kDmaCommand = 0x98;
constexpr uint32_t kDmaRun = 1;
constexpr uint32_t kDmaToMemory = 2;
constexpr uint64_t kDeviceBuffer = 0x40000;

constexpr uint32_t kBytes = 256;

// How long hardware may take, and how long the questions wait for an event that
// must not come. A question to the device comes in between, so that the event
// would have come by then.
constexpr int kSoonMs = 5000;
constexpr int kMomentMs = 50;

}  // namespace

uint32_t VfioQuestions::Bar0(uint64_t offset) {
  uint32_t value = 0;
  kernel_.Pread(device_, &value, sizeof(value), regions_[0].offset + offset);
  return value;
}

void VfioQuestions::SetBar0(uint64_t offset, uint32_t value) {
  kernel_.Pwrite(device_, &value, sizeof(value), regions_[0].offset + offset);
}

bool VfioQuestions::Signalled(int fd) {
  pollfd waited = {.fd = fd, .events = POLLIN, .revents = 0};
  kernel_.Poll(&waited, 1, kMomentMs);
  return Count(fd) != 0;
}

// Raises edu's interrupt, and notes whether the eventfd and the device show it.
void VfioQuestions::AskRaise(std::string question) {
  SetBar0(kRaise, 1);
  const uint32_t status = Bar0(kStatus);
  Write(std::move(question),
        absl::StrFormat("%s status=%#x",
                        Signalled(eventfds_[0]) ? "signalled" : "nothing",
                        status));
}

void VfioQuestions::AskInterrupts() {
  Begin("interrupts");
  if (ConfigValue(PCI_VENDOR_ID, 4) != kEdu) return;
  const int event = eventfds_[0];
  constexpr uint32_t kOn = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
  const auto acknowledge = [this] { SetBar0(kAcknowledge, ~uint32_t{0}); };
  const auto ask_later = [&](std::string question) {
    Write(std::move(question), Signalled(event) ? "signalled" : "nothing");
  };
  const auto set = [this](uint32_t index, uint32_t flags) {
    vfio_irq_set request = {.argsz = sizeof(vfio_irq_set),
                            .flags = flags,
                            .index = index,
                            .start = 0,
                            .count = 1};
    kernel_.Ioctl(device_, VFIO_DEVICE_SET_IRQS, &request);
  };
  DisableIrqs();
  SetConfigValue(PCI_COMMAND, 2, kOn);
  acknowledge();
  Count(event);
  AskRaise("raised while all is off");
  acknowledge();

  EnableIrq(kMsi, event);
  AskRaise("MSI");
  acknowledge();
  AskRaise("MSI again");
  AskRaise("MSI not acknowledged");
  acknowledge();
  SetConfigValue(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
  AskRaise("MSI without bus master");
  SetConfigValue(PCI_COMMAND, 2, kOn);
  ask_later("bus master again");
  acknowledge();
  AskRaise("MSI with bus master again");
  acknowledge();
  EnableIrq(kMsi, -1);
  AskRaise("MSI without eventfd");
  acknowledge();
  EnableIrq(kMsi, event);
  AskRaise("MSI with eventfd again");
  acknowledge();
  DisableIrqs();
  ask_later("MSI off");

  EnableIrq(kIntx, event);
  AskRaise("INTx");
  ask_later("INTx is masked by itself");
  Write("DisINTx in the guest's command",
        absl::StrFormat("%#x", ConfigValue(PCI_COMMAND, 2)));
  set(kIntx, kNone | kUnmask);
  ask_later("unmasked while asserted");
  acknowledge();
  set(kIntx, kNone | kUnmask);
  ask_later("unmasked after the acknowledgement");
  set(kIntx, kNone | kMask);
  AskRaise("INTx masked");
  set(kIntx, kNone | kUnmask);
  ask_later("unmasked with the line up");
  acknowledge();
  set(kIntx, kNone | kUnmask);
  SetConfigValue(PCI_COMMAND, 2, kOn | PCI_COMMAND_INTX_DISABLE);
  AskRaise("INTx disabled by the guest");
  SetConfigValue(PCI_COMMAND, 2, kOn);
  ask_later("enabled by the guest with the line up");
  acknowledge();
  set(kIntx, kNone | kUnmask);

  // The resample eventfd stands for the guest's EOI, by which an irqfd unmasks.
  SetIrqs("resample eventfd", kIntx,
          VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_UNMASK, 0, 1,
          Fds({eventfds_[1]}));
  AskRaise("INTx with a resample eventfd");
  const uint64_t one = 1;
  kernel_.Write(eventfds_[1], &one, sizeof(one));
  ask_later("resampled while asserted");
  acknowledge();
  kernel_.Write(eventfds_[1], &one, sizeof(one));
  ask_later("resampled after the acknowledgement");
  AskRaise("INTx after resampling");
  acknowledge();
  DisableIrqs();
  SetConfigValue(PCI_COMMAND, 2, kOn);
}

// Copies between the device's buffer and memory, and waits for the end.
void VfioQuestions::EduDma(uint64_t from, uint64_t to, uint32_t command) {
  const auto set = [this](uint64_t offset, uint64_t value) {
    kernel_.Pwrite(device_, &value, sizeof(value), regions_[0].offset + offset);
  };
  set(kDmaSource, from);
  set(kDmaDestination, to);
  set(kDmaCount, kBytes);
  set(kDmaCommand, command | kDmaRun);
  for (int waited = 0; waited < kSoonMs && (Bar0(kDmaCommand) & kDmaRun) != 0;
       ++waited) {
    kernel_.Poll(nullptr, 0, 1);
  }
}

// Sends a page's pattern from IOVA `out` to the device, and back to `in`.
void VfioQuestions::AskDmaRoundTrip(std::string question, uint64_t out,
                                    uint64_t in) {
  // The seed changes each time, so that data of an earlier trip that stayed in
  // the device does not look like success.
  const uint8_t seed = ++dma_seed_;
  uint8_t* const source = dma_memory_;
  uint8_t* const target = dma_memory_ + kPage;
  std::memset(source, seed, kPage);
  std::memset(target, 0, kPage);
  EduDma(out, kDeviceBuffer, 0);
  EduDma(kDeviceBuffer, in, kDmaToMemory);
  const auto same = std::count(target, target + kPage, seed);
  const auto zero = std::count(target, target + kPage, 0);
  Write(std::move(question),
        absl::StrFormat("%d bytes came, %d are untouched", same, zero));
}

void VfioQuestions::AskDma() {
  Begin("dma");
  if (ConfigValue(PCI_VENDOR_ID, 4) != kEdu) return;
  constexpr uint32_t kOn = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
  constexpr uint64_t kOut = 0x100000;
  constexpr uint64_t kIn = 0x200000;
  const uint64_t memory = NewPages(2, PROT_READ | PROT_WRITE);
  dma_memory_ = reinterpret_cast<uint8_t*>(static_cast<uintptr_t>(memory));
  SetConfigValue(PCI_COMMAND, 2, kOn);
  AskDmaRoundTrip("nothing is mapped", kOut, kIn);
  AskMap("out", kReadWrite, memory, kOut, kPage);
  AskDmaRoundTrip("only the source is mapped", kOut, kIn);
  AskMap("in", kReadWrite, memory + kPage, kIn, kPage);
  AskDmaRoundTrip("both are mapped", kOut, kIn);
  AskDmaRoundTrip("the target is mapped elsewhere", kOut, kIn + 4 * kPage);
  AskDmaRoundTrip("both are mapped, again", kOut, kIn);
  SetConfigValue(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
  AskDmaRoundTrip("without bus master", kOut, kIn);
  SetConfigValue(PCI_COMMAND, 2, kOn);
  AskDmaRoundTrip("with bus master again", kOut, kIn);
  AskUnmap("in", 0, kIn, kPage);
  AskDmaRoundTrip("the target is unmapped", kOut, kIn);
  AskMap("in, READ only", VFIO_DMA_MAP_FLAG_READ, memory + kPage, kIn, kPage);
  AskDmaRoundTrip("the target may only be read", kOut, kIn);
  AskUnmap("in, READ only", 0, kIn, kPage);
  AskMap("in, WRITE only", VFIO_DMA_MAP_FLAG_WRITE, memory + kPage, kIn, kPage);
  AskDmaRoundTrip("the target may only be written", kOut, kIn);
  AskMap("out twice", kReadWrite, memory, kOut + 8 * kPage, kPage);
  AskDmaRoundTrip("the source's second address", kOut + 8 * kPage, kIn);
  AskUnmap("all", VFIO_DMA_UNMAP_FLAG_ALL, 0, 0);
  AskDmaRoundTrip("all are unmapped", kOut, kIn);
}

// Tells KVM of the group, and makes a device's eventfd an irqfd.
void VfioQuestions::AskKvm() {
  Begin("in KVM");
  const auto kvm = kernel_.Open("/dev/kvm", O_RDWR | O_CLOEXEC);
  if (!kvm.ok()) return;
  const int vm = kernel_.IoctlInt(kvm.value, KVM_CREATE_VM, 0).value;
  kernel_.IoctlInt(vm, KVM_CREATE_IRQCHIP, 0);
  kvm_create_device created = {.type = KVM_DEV_TYPE_VFIO, .fd = 0, .flags = 0};
  Ask("CREATE_DEVICE VFIO", vm, KVM_CREATE_DEVICE, &created);
  const int vfio = static_cast<int>(created.fd);
  const auto attribute = [&](std::string question, uint64_t number,
                             int32_t fd) {
    kvm_device_attr attr = {.flags = 0,
                            .group = KVM_DEV_VFIO_FILE,
                            .attr = number,
                            .addr = reinterpret_cast<uintptr_t>(&fd)};
    Ask(std::move(question), vfio, KVM_SET_DEVICE_ATTR, &attr);
  };
  attribute("FILE_ADD group", KVM_DEV_VFIO_FILE_ADD, group_);
  attribute("FILE_ADD group again", KVM_DEV_VFIO_FILE_ADD, group_);
  attribute("FILE_ADD container", KVM_DEV_VFIO_FILE_ADD, container_);
  attribute("FILE_ADD device", KVM_DEV_VFIO_FILE_ADD, device_);
  attribute("FILE_DEL device", KVM_DEV_VFIO_FILE_DEL, device_);
  attribute("FILE_DEL container", KVM_DEV_VFIO_FILE_DEL, container_);
  attribute("FILE_DEL group", KVM_DEV_VFIO_FILE_DEL, group_);
  attribute("FILE_DEL group again", KVM_DEV_VFIO_FILE_DEL, group_);
  attribute("FILE_ADD group a second time", KVM_DEV_VFIO_FILE_ADD, group_);

  uint32_t index = VFIO_PCI_MSIX_IRQ_INDEX;
  while (index > kIntx && irq_counts_[index] == 0) --index;
  const int event = eventfds_[0];
  const auto trigger = [&](std::string question) {
    SetIrqs(std::move(question), index, kNone | VFIO_IRQ_SET_ACTION_TRIGGER, 0,
            1, {});
    Detail(absl::StrCat("count=", Count(event)));
  };
  const auto irqfd = [&](std::string question, uint32_t flags) {
    kvm_irqfd request = {.fd = static_cast<uint32_t>(event),
                         .gsi = 24,
                         .flags = flags,
                         .resamplefd = 0};
    Ask(std::move(question), vm, KVM_IRQFD, &request);
  };
  DisableIrqs();
  Count(event);
  EnableIrq(index, event);
  trigger("interrupt without an irqfd");
  irqfd("IRQFD", 0);
  trigger("interrupt with an irqfd");
  irqfd("IRQFD deassign", KVM_IRQFD_FLAG_DEASSIGN);
  trigger("interrupt after the irqfd");
  DisableIrqs();
  irqfd("IRQFD of an eventfd that no device has", 0);
  irqfd("IRQFD of that, off", KVM_IRQFD_FLAG_DEASSIGN);
  for (const int fd : {vfio, vm, kvm.value}) kernel_.Close(fd);
}

std::vector<Observation> ObserveGroup(kernel::Syscalls* syscalls,
                                      const std::string& bdf,
                                      const std::string& other, uint32_t group,
                                      const std::function<void()>& release) {
  ObservationList notes;
  notes.Begin("viability");
  const std::string path = absl::StrCat("/dev/vfio/", group);
  const auto answer = [&](std::string question,
                          const kernel::SyscallResult<int>& result) {
    notes.Add(std::move(question), result.ok() ? absl::StrCat(result.value)
                                               : strerrorname_np(result.error));
  };
  const auto open = [&](std::string question) {
    const auto opened = syscalls->Open(path.c_str(), O_RDWR | O_CLOEXEC);
    notes.Add(std::move(question),
              opened.ok() ? "fd" : strerrorname_np(opened.error));
    return opened.ok() ? opened.value : -1;
  };
  const int container =
      syscalls->Open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC).value;
  int group_fd = open("open");
  const auto status = [&](std::string question) {
    vfio_group_status result = {};
    result.argsz = sizeof(result);
    answer(std::move(question),
           syscalls->Ioctl(group_fd, VFIO_GROUP_GET_STATUS, &result));
    notes.Detail(absl::StrFormat("flags=%#x", result.flags));
  };
  const auto set_container = [&](std::string question) {
    int fd = container;
    answer(std::move(question),
           syscalls->Ioctl(group_fd, VFIO_GROUP_SET_CONTAINER, &fd));
  };
  const auto device = [&](std::string question, const std::string& name) {
    const auto result = syscalls->Ioctl(group_fd, VFIO_GROUP_GET_DEVICE_FD,
                                        const_cast<char*>(name.c_str()));
    notes.Add(std::move(question),
              result.ok() ? "fd" : strerrorname_np(result.error));
    return result.ok() ? result.value : -1;
  };
  status("GET_STATUS");
  set_container("SET_CONTAINER");
  device("GET_DEVICE_FD ours", bdf);
  device("GET_DEVICE_FD the host's", other);
  answer("UNSET_CONTAINER",
         syscalls->Ioctl(group_fd, VFIO_GROUP_UNSET_CONTAINER, nullptr));
  answer("SET_IOMMU",
         syscalls->IoctlInt(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU));
  open("open again");
  syscalls->Close(group_fd);
  group_fd = open("open after close");

  release();
  status("GET_STATUS after the release");
  set_container("SET_CONTAINER after the release");
  status("GET_STATUS in the container");
  device("GET_DEVICE_FD before SET_IOMMU", bdf);
  answer("SET_IOMMU after the release",
         syscalls->IoctlInt(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU));
  const int ours = device("GET_DEVICE_FD ours after the release", bdf);
  const int second = device("GET_DEVICE_FD ours a second time", bdf);
  device("GET_DEVICE_FD of a device without a driver", other);
  answer("UNSET_CONTAINER with a device open",
         syscalls->Ioctl(group_fd, VFIO_GROUP_UNSET_CONTAINER, nullptr));
  if (second >= 0) syscalls->Close(second);
  if (ours >= 0) syscalls->Close(ours);
  answer("UNSET_CONTAINER after the device",
         syscalls->Ioctl(group_fd, VFIO_GROUP_UNSET_CONTAINER, nullptr));
  status("GET_STATUS out of the container");
  answer("SET_IOMMU without a group",
         syscalls->IoctlInt(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU));
  set_container("SET_CONTAINER again");
  syscalls->Close(group_fd);
  group_fd = open("open after all");
  status("GET_STATUS after all");
  if (group_fd >= 0) syscalls->Close(group_fd);
  syscalls->Close(container);
  return notes.Take();
}

}  // namespace passthru::contract
