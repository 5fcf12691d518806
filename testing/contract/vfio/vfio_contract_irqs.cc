// SPDX-License-Identifier: Apache-2.0
// The questions about SET_IRQS.
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "passthru/testing/contract/vfio/vfio_questions.h"

namespace passthru::contract {
namespace {

using kernel::SyscallResult;

constexpr uint32_t kBool = VFIO_IRQ_SET_DATA_BOOL;
constexpr size_t kShown = 4;

std::string Index(uint32_t index) {
  return absl::StrCat("SET_IRQS idx", index, " ");
}

}  // namespace

std::vector<uint8_t> VfioQuestions::Fds(const std::vector<int>& fds) {
  std::vector<uint8_t> bytes(fds.size() * sizeof(int32_t));
  std::memcpy(bytes.data(), fds.data(), bytes.size());
  return bytes;
}

std::vector<int> VfioQuestions::FirstEventfds(size_t count) const {
  return {eventfds_.begin(), eventfds_.begin() + static_cast<ptrdiff_t>(count)};
}

uint64_t VfioQuestions::Count(int fd) {
  uint64_t count = 0;
  return kernel_.Read(fd, &count, sizeof(count)).ok() ? count : 0;
}

SyscallResult<int> VfioQuestions::SetIrqs(std::string question, uint32_t index,
                                          uint32_t flags, uint32_t start,
                                          uint32_t count,
                                          const std::vector<uint8_t>& data,
                                          std::optional<uint32_t> argsz) {
  std::vector<uint8_t> request(sizeof(vfio_irq_set) + data.size());
  vfio_irq_set header = {};
  header.argsz = argsz.value_or(static_cast<uint32_t>(request.size()));
  header.flags = flags;
  header.index = index;
  header.start = start;
  header.count = count;
  std::memcpy(request.data(), &header, sizeof(header));
  if (!data.empty()) {
    std::memcpy(request.data() + sizeof(header), data.data(), data.size());
  }
  return Ask(std::move(question), device_, VFIO_DEVICE_SET_IRQS,
             request.data());
}

void VfioQuestions::AskIrqs() {
  Begin("irqs");
  const uint32_t most = std::max<uint32_t>(
      *std::max_element(irq_counts_.begin(), irq_counts_.end()), kShown);
  for (uint32_t i = 0; i <= most; ++i) {
    eventfds_.push_back(kernel_.Eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC).value);
  }
  SetIrqs("SET_IRQS argsz=16", kIntx, kNone | kTrigger, 0, 0, {}, 16);
  SetIrqs("SET_IRQS index=5", VFIO_PCI_NUM_IRQS, kNone | kTrigger, 0, 0, {});
  SetIrqs("SET_IRQS unknown flag 0x40", kIntx, kNone | kTrigger | 0x40, 0, 0,
          {});
  for (uint32_t index = 0; index < VFIO_PCI_NUM_IRQS; ++index) {
    AskIrqIndex(index);
  }
}

void VfioQuestions::AskIrqIndex(uint32_t index) {
  AskIrqValidation(index);
  AskIrqOff(index);
  AskIrqOn(index);
  if (index <= kMsix) AskOthersWhile(index);
  if ((index == kMsi || index == kMsix) && irq_counts_[index] > 0) {
    AskMessages(index);
  }
  SetIrqs(Index(index) + "NONE|TRIGGER cnt=0 (disable)", index,
          kNone | kTrigger, 0, 0, {});
}

void VfioQuestions::AskIrqValidation(uint32_t index) {
  const std::string idx = Index(index);
  const uint32_t count = irq_counts_[index];
  const std::vector<uint8_t> one = Fds(FirstEventfds(1));
  SetIrqs(idx + "NONE|TRIGGER cnt=0 (disable when off)", index,
          kNone | kTrigger, 0, 0, {});
  SetIrqs(idx + "NONE|TRIGGER cnt=1 (off)", index, kNone | kTrigger, 0, 1, {});
  SetIrqs(idx + "BOOL|TRIGGER cnt=1 (off)", index, kBool | kTrigger, 0, 1, {1});
  SetIrqs(idx + "EVENTFD|TRIGGER cnt=0", index, kEventfd | kTrigger, 0, 0, {});
  SetIrqs(idx + "EVENTFD|TRIGGER cnt>max", index, kEventfd | kTrigger, 0,
          count + 1, Fds(FirstEventfds(count + 1)));
  SetIrqs(idx + "EVENTFD|TRIGGER start=max", index, kEventfd | kTrigger, count,
          1, one);
  SetIrqs(idx + "EVENTFD|TRIGGER argsz short", index, kEventfd | kTrigger, 0, 1,
          one, sizeof(vfio_irq_set));
  SetIrqs(idx + "NONE|BOOL|TRIGGER", index, kNone | kBool | kTrigger, 0, 1,
          {1});
  SetIrqs(idx + "no DATA", index, kTrigger, 0, 1, {});
  SetIrqs(idx + "no ACTION (NONE)", index, kNone, 0, 1, {});
  SetIrqs(idx + "MASK|UNMASK", index, kNone | kMask | kUnmask, 0, 1, {});
}

void VfioQuestions::AskIrqOff(uint32_t index) {
  const std::string idx = Index(index);
  SetIrqs(idx + "MASK NONE (off)", index, kNone | kMask, 0, 1, {});
  SetIrqs(idx + "UNMASK NONE (off)", index, kNone | kUnmask, 0, 1, {});
  SetIrqs(idx + "EVENTFD|TRIGGER fd=9999", index, kEventfd | kTrigger, 0, 1,
          Fds({kBadFd}));
  SetIrqs(idx + "EVENTFD|TRIGGER fd=/dev/null", index, kEventfd | kTrigger, 0,
          1, Fds({null_}));
  SetIrqs(idx + "EVENTFD|TRIGGER fd=-1 (off)", index, kEventfd | kTrigger, 0, 1,
          Fds({-1}));
  if (index == kIntx) {
    SetIrqs(idx + "disable INTx", index, kNone | kTrigger, 0, 0, {});
  } else if (index <= kMsix && irq_counts_[index] > 0) {
    SetIrqs(Index(kIntx) + "EVENTFD|TRIGGER while this on?", kIntx,
            kEventfd | kTrigger, 0, 1, Fds(FirstEventfds(1)));
    SetIrqs(Index(kIntx) + "disable", kIntx, kNone | kTrigger, 0, 0, {});
    SetIrqs(idx + "disable", index, kNone | kTrigger, 0, 0, {});
  }
}

void VfioQuestions::AskIrqOn(uint32_t index) {
  const std::string idx = Index(index);
  const int second = eventfds_[1];
  const auto counted = [&] {
    Detail(absl::StrCat("eventfd1=", Count(second)));
  };
  SetIrqs(idx + "EVENTFD|TRIGGER cnt=1 enable", index, kEventfd | kTrigger, 0,
          1, Fds({eventfds_[0]}));
  SetIrqs(idx + "EVENTFD|TRIGGER again (replace)", index, kEventfd | kTrigger,
          0, 1, Fds({second}));
  SetIrqs(idx + "NONE|TRIGGER cnt=1 (loopback)", index, kNone | kTrigger, 0, 1,
          {});
  counted();
  SetIrqs(idx + "BOOL|TRIGGER 1", index, kBool | kTrigger, 0, 1, {1});
  counted();
  SetIrqs(idx + "BOOL|TRIGGER 0", index, kBool | kTrigger, 0, 1, {0});
  counted();
  const std::vector<uint8_t> fd = Fds({eventfds_[2]});
  SetIrqs(idx + "NONE|MASK", index, kNone | kMask, 0, 1, {});
  SetIrqs(idx + "BOOL|MASK", index, kBool | kMask, 0, 1, {1});
  SetIrqs(idx + "EVENTFD|MASK", index, kEventfd | kMask, 0, 1, fd);
  SetIrqs(idx + "NONE|UNMASK", index, kNone | kUnmask, 0, 1, {});
  SetIrqs(idx + "EVENTFD|UNMASK", index, kEventfd | kUnmask, 0, 1, fd);
  SetIrqs(idx + "EVENTFD|UNMASK again", index, kEventfd | kUnmask, 0, 1, fd);
  SetIrqs(idx + "EVENTFD|UNMASK -1", index, kEventfd | kUnmask, 0, 1,
          Fds({-1}));
  SetIrqs(idx + "NONE|MASK cnt=0", index, kNone | kMask, 0, 0, {});
}

void VfioQuestions::AskOthersWhile(uint32_t index) {
  for (uint32_t other = kIntx; other <= kMsix; ++other) {
    if (other == index || irq_counts_[other] == 0) continue;
    SetIrqs(absl::StrCat(Index(other), "EVENTFD|TRIGGER while idx", index,
                         " enabled"),
            other, kEventfd | kTrigger, 0, 1, Fds(FirstEventfds(1)));
  }
}

void VfioQuestions::AskMessages(uint32_t index) {
  const std::string idx = Index(index);
  const auto disable = [&] {
    SetIrqs(idx + "disable", index, kNone | kTrigger, 0, 0, {});
  };
  Detail(absl::StrFormat("MSI(X) ctrl via vfio=%#x cmd vfio=%#x",
                         MessageControl(index), ConfigValue(PCI_COMMAND, 2)));
  if (index == kMsix) AskMsixVectors();
  disable();
  SetIrqs(idx + "disable with BOOL cnt=0", index, kBool | kTrigger, 0, 0, {});
  if (index != kMsix) return;
  const uint32_t count = irq_counts_[index];
  SetIrqs(idx + "enable start=0 cnt=all", index, kEventfd | kTrigger, 0, count,
          Fds(FirstEventfds(count)));
  Detail(absl::StrFormat("ctrl=%#x", MessageControl(index)));
  disable();
  SetIrqs(idx + "enable [good,bad]", index, kEventfd | kTrigger, 0, 2,
          Fds({eventfds_[0], kBadFd}));
  SetIrqs(idx + "NONE|TRIGGER after failed enable", index, kNone | kTrigger, 0,
          1, {});
  SetIrqs(idx + "enable start=1 only", index, kEventfd | kTrigger, 1, 1,
          Fds({eventfds_[1]}));
  disable();
  SetIrqs(idx + "same eventfd for two vectors", index, kEventfd | kTrigger, 0,
          2, Fds({eventfds_[0], eventfds_[0]}));
  disable();
}

void VfioQuestions::AskMsixVectors() {
  const std::string idx = Index(kMsix);
  const uint32_t count = irq_counts_[kMsix];
  for (const int fd : eventfds_) Count(fd);
  SetIrqs(idx + "extend start=1 cnt=1 after enable(1)", kMsix,
          kEventfd | kTrigger, 1, 1, Fds({eventfds_[1]}));
  SetIrqs(idx + "extend to all", kMsix, kEventfd | kTrigger, 0, count,
          Fds(FirstEventfds(count)));
  SetIrqs(idx + "disable one (-1 @0)", kMsix, kEventfd | kTrigger, 0, 1,
          Fds({-1}));
  SetIrqs(idx + "NONE|TRIGGER all (vec0 disabled)", kMsix, kNone | kTrigger, 0,
          count, {});
  for (size_t i = 0; i < kShown; ++i) {
    Detail(absl::StrCat("efd", i, "=", Count(eventfds_[i])));
  }
}

}  // namespace passthru::contract
