// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_CONTRACT_VFIO_VFIO_QUESTIONS_H_
#define PASSTHRU_TESTING_CONTRACT_VFIO_VFIO_QUESTIONS_H_

#include <linux/vfio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "passthru/devices/kernel/syscalls.h"
#include "passthru/testing/contract/observation.h"

namespace passthru::contract {

inline constexpr uint64_t kPage = 4096;
inline constexpr int kBadFd = 9999;
// An unused number among VFIO's ioctls.
inline constexpr unsigned long kUnknownIoctl = _IO(VFIO_TYPE, VFIO_BASE + 90);
inline constexpr uint32_t kReadWrite =
    VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE;
inline constexpr uint32_t kNone = VFIO_IRQ_SET_DATA_NONE;
inline constexpr uint32_t kEventfd = VFIO_IRQ_SET_DATA_EVENTFD;
inline constexpr uint32_t kTrigger = VFIO_IRQ_SET_ACTION_TRIGGER;
inline constexpr uint32_t kMask = VFIO_IRQ_SET_ACTION_MASK;
inline constexpr uint32_t kUnmask = VFIO_IRQ_SET_ACTION_UNMASK;
inline constexpr uint32_t kIntx = VFIO_PCI_INTX_IRQ_INDEX;
inline constexpr uint32_t kMsi = VFIO_PCI_MSI_IRQ_INDEX;
inline constexpr uint32_t kMsix = VFIO_PCI_MSIX_IRQ_INDEX;

// Asks the questions of ObserveVfio(), one section per method, and writes the
// answers down. Thread-compatible.
class VfioQuestions {
 public:
  VfioQuestions(kernel::Syscalls* syscalls, std::string bdf, uint32_t group);
  ~VfioQuestions();
  VfioQuestions(const VfioQuestions&) = delete;
  VfioQuestions& operator=(const VfioQuestions&) = delete;

  // The caller calls these in this order.
  void AskContainer();
  void AskGroup();
  void AskIommu();
  void AskDevice();
  void AskIrqs();
  void AskIrqMatrix();
  void AskConfigMasks();
  void AskAccess();
  void AskReset();
  void AskPower();
  void AskStates();
  void AskIoEventFds();
  void AskKvm();
  // These ask only edu, whose registers cause interrupts and DMA.
  void AskInterrupts();
  void AskDma();
  void AskClose();

  std::vector<Observation> Take() { return notes_.Take(); }

 private:
  struct RegionAnswer {
    uint64_t size = 0;
    uint64_t offset = 0;
    uint32_t flags = 0;
  };

  void Begin(std::string_view section) { notes_.Begin(section); }
  void Write(std::string question, std::string answer) {
    notes_.Add(std::move(question), std::move(answer));
  }
  void Detail(std::string_view text) { notes_.Detail(text); }
  // Makes the call, writes its answer down and returns its result.
  kernel::SyscallResult<int> Ask(std::string question, int fd,
                                 unsigned long request, void* arg);
  // Writes down an answer that is a descriptor, and returns it.
  int AskForFd(std::string question, kernel::SyscallResult<int> result);
  void AskExtensions(std::string_view when);

  // For the section "iommu".
  void AskIommuInfo();
  void AskMap(const std::string& question, uint32_t flags, uint64_t vaddr,
              uint64_t iova, uint64_t size, uint32_t argsz = 32);
  void AskUnmap(const std::string& question, uint32_t flags, uint64_t iova,
                uint64_t size, uint32_t argsz = 24);
  void AskMappings();
  void AskUnmappings();
  void AskVaddr();
  void AskDirty(const std::string& question, uint32_t flags);
  void AskEntryLimit();
  // Maps without writing the answer down.
  int Map(uint32_t flags, uint64_t vaddr, uint64_t iova, uint64_t size);
  void Unmap(uint64_t iova, uint64_t size);
  uint64_t NewPages(size_t pages, int protection);

  // For the section "device".
  void AskRegionInfo(uint32_t index);
  void AskFeatures();

  // For the section "irqs".
  kernel::SyscallResult<int> SetIrqs(std::string question, uint32_t index,
                                     uint32_t flags, uint32_t start,
                                     uint32_t count,
                                     const std::vector<uint8_t>& data,
                                     std::optional<uint32_t> argsz = {});
  void AskIrqIndex(uint32_t index);
  void AskIrqValidation(uint32_t index);
  void AskIrqOff(uint32_t index);
  void AskIrqOn(uint32_t index);
  void AskOthersWhile(uint32_t index);
  void AskMessages(uint32_t index);
  void AskMsixVectors();
  static std::vector<uint8_t> Fds(const std::vector<int>& fds);
  // Returns what the eventfd counted since the last read.
  uint64_t Count(int fd);
  std::vector<int> FirstEventfds(size_t count) const;

  // For the section "access".
  void AskConfigAccess();
  void AskBar(uint32_t bar);
  void AskBarMapping(uint32_t bar);
  void AskMsixTable();
  void AskRead(const std::string& question, uint64_t offset, size_t count);
  void AskWrite(const std::string& question, uint64_t offset,
                const std::vector<uint8_t>& data);
  void AskMmap(const std::string& question, uint64_t offset, size_t length,
               int flags);
  void AskTouch(const std::string& question, const void* address);
  uint32_t ConfigValue(uint64_t offset, unsigned width);
  void SetConfigValue(uint64_t offset, unsigned width, uint32_t value);
  // Returns the offset of a standard capability in the configuration region, or
  // 0.
  uint32_t FindCapabilityOffset(uint8_t id);
  // Returns the control word of MSI or MSI-X.
  uint32_t MessageControl(uint32_t irq_index);

  // For the section "reset".
  void AskHotReset();

  // For the section "states".
  enum class State { kOn, kDecodeOff, kD3 };
  enum class Way { kIoctl, kDeviceControl };  // To reset.
  void SetState(State state);
  void Reset(Way way);
  void DetailState();
  void AskCallsIn(State state, std::string_view name);
  void AskInterruptsIn(State state, std::string_view name);
  void AskResetsIn(State state, std::string_view name);

  // For the sections "in KVM", "interrupts" and "dma".
  kernel::SyscallResult<int> SetIrq(uint32_t index, uint32_t flags,
                                    const std::vector<int>& fds);
  bool EnableIrq(uint32_t index, int fd);
  void DisableIrqs();
  // Returns whether the eventfd counts something before long.
  bool Signalled(int fd);
  uint32_t Bar0(uint64_t offset);
  void SetBar0(uint64_t offset, uint32_t value);
  void AskRaise(std::string question);
  void EduDma(uint64_t from, uint64_t to, uint32_t command);
  void AskDmaRoundTrip(std::string question, uint64_t out, uint64_t in);

  kernel::Syscalls& kernel_;
  const std::string bdf_;
  const std::string group_path_;
  ObservationList notes_;

  int container_ = -1;
  int group_ = -1;
  int device_ = -1;
  int second_device_ = -1;
  int null_ = -1;  // /dev/null.
  std::array<RegionAnswer, 9> regions_ = {};
  std::array<uint32_t, 5> irq_counts_ = {};
  std::vector<int> eventfds_;
  uint8_t* dma_memory_ = nullptr;  // Two pages, source and target.
  uint8_t dma_seed_ = 0;
  std::vector<std::pair<void*, size_t>> memory_;
};

}  // namespace passthru::contract

#endif  // PASSTHRU_TESTING_CONTRACT_VFIO_VFIO_QUESTIONS_H_
