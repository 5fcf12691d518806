// SPDX-License-Identifier: Apache-2.0
#ifndef VMM_H_
#define VMM_H_

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "absl/log/log_sink.h"
#include "address_map.h"
#include "loop.h"
#include "passthru/passthru.h"
#include "routes.h"
#include "slots.h"

namespace example {

using namespace passthru;  // NOLINT: an example is easier to read so.

// A VMM with its own VM, epoll loop, memory slots, routing table, address map
// and log, to which passthru adds devices. The VM has one vCPU, RAM, a clock at
// a port, and an interrupt of its own. Kernel calls go through
// kernel::Syscalls, so that vmm_test.cc runs the VMM on a simulated kernel.
class Vmm final : public absl::LogSink {
 public:
  static constexpr uint64_t kRamSize = 16 << 20;
  static constexpr allocator::Gsi kOwnGsi{24}, kFirstDeviceGsi{32};
  static constexpr uint32_t kOwnVector = 0x29;

  Vmm(kernel::Syscalls* kernel, bool split_irqchip);
  ~Vmm() override;
  absl::StatusOr<std::shared_ptr<vfio_pci::VfioPciDevice>> Attach(
      pci::Bdf host, pci::Bdf guest);
  absl::Status Run();  // until the guest shuts down
  absl::Status RaiseOwnInterrupt() { return own_interrupt_.Signal(); }
  void Send(const absl::LogEntry& entry) override {
    log.emplace_back(entry.text_message());
  }

  std::vector<std::string> log;
  std::atomic<int> own_events = 0;  // which the epoll loop has seen

 private:
  kernel::MappedRegion ram_;
  std::unique_ptr<kvm::KvmVm> vm_;
  std::unique_ptr<kvm::KvmVcpu> vcpu_;
  std::unique_ptr<Slots> slots_;
  Routes routes_;
  AddressMap mmio_, pio_;
  kernel::EventFd own_interrupt_, own_event_;
  Loop loop_;

  // What passthru needs beside these.
  std::unique_ptr<kernel::EpollEventLoop> device_loop_;
  std::unique_ptr<interrupts::GsiRouter> router_;
  std::shared_ptr<pci_host::PciSegment> pci_;
  memory::LayoutMutex layout_;
  std::unique_ptr<passthrough::GroupDmaSpace> dma_;
  std::unique_ptr<passthrough::DeviceSet> devices_;
  uint64_t next_bar_ = 0xc0000000;
};

}  // namespace example

#endif  // VMM_H_
