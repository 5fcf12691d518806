// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/linux_vm/linux_vm.h"

#include <linux/kvm.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/log/log.h"
#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "passthru/allocator/gsi.h"
#include "passthru/devices/bus/address_space.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/file_descriptor.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/devices/kvm/cpu_topology.h"
#include "passthru/devices/kvm/cpuid.h"
#include "passthru/vmm/acpi/tables.h"
#include "passthru/vmm/guest_layout.h"
#include "passthru/vmm/platform/power.h"

namespace passthru::vmm {
namespace {

// Where the extended BIOS data area of a PC begins. Linux expects no RAM from
// there to 1 MiB.
constexpr uint64_t kLowRamEnd = 0x9fc00;
constexpr uint64_t kOneMiB = 0x100000;

// KVM's vCPU IDs are 8-bit APIC IDs here, of which the last is a broadcast.
constexpr unsigned kMaxVcpus = 255;

// Bus 0, to which each root port adds one.
constexpr unsigned kBusCount = 1;

// Model-specific registers (Intel SDM vol. 4).
constexpr uint32_t kMiscEnable = 0x1a0;
constexpr uint64_t kFastStrings = 1;
constexpr uint32_t kMtrrDefaultType = 0x2ff;
// MTRRs are enabled, and the default is write-back. With devices that do DMA
// past the caches, KVM takes guest memory for uncached otherwise.
constexpr uint64_t kMtrrWriteBack = 1 << 11 | 6;

// Returns a file of `size` bytes that exists only in memory.
absl::StatusOr<kernel::FileDescriptor> CreateMemoryFile(
    kernel::Syscalls* syscalls, uint64_t size) {
  const int fd = memfd_create("guest memory", MFD_CLOEXEC);
  if (fd < 0) return kernel::ErrnoError(errno, "memfd_create(guest memory)");
  kernel::FileDescriptor file(syscalls, fd);
  if (ftruncate(fd, static_cast<off_t>(size)) != 0) {
    return kernel::ErrnoError(
        errno, absl::StrCat("ftruncate(guest memory, ", size, ")"));
  }
  return file;
}

std::vector<E820Range> MemoryMap(uint64_t low_size, uint64_t high_size) {
  using Type = E820Range::Type;
  std::vector<E820Range> map = {
      {.first = 0, .size = kLowRamEnd, .type = Type::kRam},
      {.first = kLowRamEnd,
       .size = kOneMiB - kLowRamEnd,
       .type = Type::kReserved},
      {.first = kOneMiB, .size = low_size - kOneMiB, .type = Type::kRam},
      {.first = kEcamBase, .size = kEcamSize, .type = Type::kReserved},
      {.first = kIdentityMapAddress,
       .size = kTssAddress + 3 * 4096 - kIdentityMapAddress,
       .type = Type::kReserved},
  };
  if (high_size != 0) {
    map.push_back(
        {.first = kHighRamBase, .size = high_size, .type = Type::kRam});
  }
  return map;
}

}  // namespace

std::string_view Name(VmEnd end) {
  switch (end) {
    case VmEnd::kPowerOff:
      return "the guest turned the power off";
    case VmEnd::kReset:
      return "the guest reset the machine";
    case VmEnd::kTripleFault:
      return "a vCPU shut down (triple fault)";
    case VmEnd::kRequested:
      return "the VM was asked to end";
  }
  return "unknown";
}

absl::StatusOr<std::unique_ptr<LinuxVm>> LinuxVm::Create(
    const Options& options) {
  if (options.vcpu_count == 0 || options.vcpu_count > kMaxVcpus) {
    return absl::InvalidArgumentError(
        absl::StrCat("a VM with ", options.vcpu_count,
                     " vCPUs: it must have from 1 to ", kMaxVcpus));
  }
  if (std::min(options.memory_size, options.low_memory_end) <= kOneMiB) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the guest has ", std::min(options.memory_size, options.low_memory_end),
        " bytes of memory below 4 GiB: it must have more than 1 MiB"));
  }
  auto vm = absl::WrapUnique(new LinuxVm(options));
  PASSTHRU_RETURN_IF_ERROR(vm->CreateMachine(options));
  PASSTHRU_RETURN_IF_ERROR(vm->AddPlatformDevices(options));
  PASSTHRU_RETURN_IF_ERROR(vm->LoadGuest(options));
  vm->CreateRunners();
  return vm;
}

LinuxVm::~LinuxVm() {
  StopVcpus();
  if (devices_ != nullptr) {
    if (absl::Status status = DetachAll(); !status.ok()) {
      LOG(ERROR) << "giving devices back: " << status;
    }
  }
  devices_.reset();
  if (serial_interrupt_.has_value()) {
    machine_->vm()
        .DeassignIrqfd(serial_interrupt_->fd(), allocator::Gsi(kSerialGsi))
        .IgnoreError();  // KVM forgets it with the VM.
  }
}

absl::Status LinuxVm::CreateMachine(const Options& options) {
  PASSTHRU_ASSIGN_OR_RETURN(const kernel::FileDescriptor memory,
                            CreateMemoryFile(syscalls_, options.memory_size));
  PASSTHRU_ASSIGN_OR_RETURN(
      machine_, Machine::Create({.syscalls = syscalls_,
                                 .ram_size = options.memory_size,
                                 .low_ram_end = options.low_memory_end,
                                 .ram_fd = memory.get(),
                                 .vcpu_count = options.vcpu_count,
                                 .on_reset_control = [this](uint8_t value) {
                                   if ((value & kResetCpus) != 0) {
                                     End(VmEnd::kReset);
                                   }
                                 }}));
  DeviceManagerOptions manager;
  manager.intx = true;
  manager.peer_to_peer = options.peer_to_peer;
  manager.root_ports = options.root_ports;
  manager.on_unplug_request = [this](pci::Bdf guest) {
    OnUnplugRequest(guest);
  };
  manager.on_unplug_permitted = [this](pci::Bdf guest) {
    OnUnplugPermitted(guest);
  };
  manager.on_error = [this](pci::Bdf guest) {
    End(absl::DataLossError(
        absl::StrCat("the device that the guest has at ", guest,
                     " reported an uncorrectable error, so the VM ended")));
  };
  PASSTHRU_ASSIGN_OR_RETURN(
      devices_, DeviceManager::Create(machine_.get(), std::move(manager)));
  return absl::OkStatus();
}

absl::Status LinuxVm::AddPlatformDevices(const Options& options) {
  PASSTHRU_ASSIGN_OR_RETURN(auto interrupt, kernel::EventFd::Create(syscalls_));
  serial_interrupt_ = std::move(interrupt);
  PASSTHRU_RETURN_IF_ERROR(machine_->vm().AssignIrqfd(
      serial_interrupt_->fd(), allocator::Gsi(kSerialGsi)));
  serial_ = std::make_shared<SerialPort>(SerialPort::Options{
      .output = options.console, .interrupt = [this] {
        if (absl::Status status = serial_interrupt_->Signal(); !status.ok()) {
          LOG(ERROR) << "the serial port cannot interrupt: " << status;
        }
      }});
  bus::Bus& ports = machine_->pio();
  constexpr int kPriority = bus::AddressSpace::kPlatformPriority;
  PASSTHRU_RETURN_IF_ERROR(
      ports.Add(kSerialPort, kSerialPortSize, serial_, kPriority).status());
  PASSTHRU_RETURN_IF_ERROR(ports
                               .Add(kPm1EventPort,
                                    kPm1EventSize + kPm1ControlSize,
                                    std::make_shared<PowerRegisters>(
                                        [this] { End(VmEnd::kPowerOff); }),
                                    kPriority)
                               .status());
  return ports
      .Add(kKeyboardControllerPort, 1,
           std::make_shared<KeyboardController>([this] { End(VmEnd::kReset); }),
           kPriority)
      .status();
}

absl::Status LinuxVm::LoadGuest(const Options& options) {
  const absl::Span<uint8_t> ram = machine_->ram();
  const std::vector<uint8_t> tables = acpi::BuildTables(
      kAcpiBase, {.vcpu_count = options.vcpu_count,
                  .bus_count = kBusCount +
                               static_cast<unsigned>(options.root_ports.size()),
                  .memory64_base = kHighRamBase + machine_->high_ram_size(),
                  .memory64_end = uint64_t{1} << std::min(
                                      machine_->physical_address_bits(), 63u)});
  if (tables.size() > kAcpiSize) {
    return absl::InternalError(
        absl::StrCat("ACPI tables of ", tables.size(), " bytes"));
  }
  std::copy(tables.begin(), tables.end(), ram.begin() + kAcpiBase);
  PASSTHRU_ASSIGN_OR_RETURN(
      const LinuxEntry entry,
      LoadLinux(ram,
                {.kernel = options.kernel,
                 .initrd = options.initrd,
                 .command_line = options.command_line,
                 .memory_map = MemoryMap(ram.size(), machine_->high_ram_size()),
                 .acpi_rsdp = kAcpiBase}));
  return SetUpVcpus(entry);
}

absl::Status LinuxVm::SetUpVcpus(const LinuxEntry& entry) {
  PASSTHRU_ASSIGN_OR_RETURN(
      const int deadline_timer,
      machine_->vm().CheckExtension(KVM_CAP_TSC_DEADLINE_TIMER));
  for (unsigned id = 0; id < machine_->vcpu_count(); ++id) {
    kvm::KvmVcpu& vcpu = machine_->vcpu(id);
    const auto entries =
        kvm::CpuidOf({.apic_id = id,
                      .vcpu_count = machine_->vcpu_count(),
                      .tsc_deadline_timer = deadline_timer != 0},
                     machine_->cpuid());
    PASSTHRU_RETURN_IF_ERROR(kvm::SetCpuid(syscalls_, vcpu, entries));
    const kvm_msr_entry msrs[] = {
        {.index = kMiscEnable, .data = kFastStrings},
        {.index = kMtrrDefaultType, .data = kMtrrWriteBack}};
    PASSTHRU_RETURN_IF_ERROR(vcpu.SetMsrs(msrs));
  }
  // The others wait for the first one's INIT and SIPI, in the kernel.
  kvm::KvmVcpu& first = machine_->vcpu(0);
  PASSTHRU_ASSIGN_OR_RETURN(kvm_sregs sregs, first.GetSregs());
  kvm_regs regs = {};
  SetEntryRegisters(entry, regs, sregs);
  PASSTHRU_RETURN_IF_ERROR(first.SetSregs(sregs));
  return first.SetRegs(regs);
}

absl::StatusOr<VmEnd> LinuxVm::Run() {
  absl::Status started = StartVcpus();
  if (!started.ok()) End(std::move(started));
  absl::StatusOr<VmEnd> end = VmEnd::kRequested;
  for (;;) {
    std::vector<pci::Bdf> due;
    if (auto ended = AwaitDue(due); ended.has_value()) {
      end = *std::move(ended);
      break;
    }
    TellRequests();
    for (const pci::Bdf guest : due) Depart(guest);
  }
  {
    absl::MutexLock lock(&mutex_);
    over_ = true;
  }
  StopVcpus();
  if (on_stopped_ != nullptr) on_stopped_();
  absl::Status detached = DetachAll();
  if (end.ok() && !detached.ok()) return detached;
  return end;
}

void LinuxVm::RequestReset() { End(VmEnd::kReset); }

void LinuxVm::RequestEnd() {
  end_requested_ = true;
  End(VmEnd::kRequested);
}

void LinuxVm::End(absl::StatusOr<VmEnd> end) {
  absl::MutexLock lock(&mutex_);
  if (!end_.has_value()) end_ = std::move(end);
}

void LinuxVm::CreateRunners() {
  for (unsigned id = 0; id < machine_->vcpu_count(); ++id) {
    auto vcpu = std::make_unique<Vcpu>();
    vcpu->vm = this;
    vcpu->runner = std::make_unique<VcpuRunner>(VcpuRunner::Options{
        .vcpu = &machine_->vcpu(id),
        .mmio = &machine_->mmio(),
        .pio = &machine_->pio(),
        .on_memory_fault = [this] { devices_->OnMemoryFault(); },
        .on_handled = on_handled_});
    vcpus_.push_back(std::move(vcpu));
  }
}

absl::Status LinuxVm::StartVcpus() {
  for (const std::unique_ptr<Vcpu>& vcpu : vcpus_) {
    const auto started = syscalls_->StartThread(
        [](void* argument) -> void* {
          auto* const self = static_cast<Vcpu*>(argument);
          self->vm->RunVcpu(*self);
          return nullptr;
        },
        vcpu.get());
    if (!started.ok()) {
      return kernel::ErrnoError(started.error, "starting a thread for a vCPU");
    }
    vcpu->thread = started.value;
  }
  return absl::OkStatus();
}

void LinuxVm::RunVcpu(Vcpu& vcpu) {
  absl::Status status = vcpu.runner->Run();
  if (!status.ok()) {
    End(std::move(status));
  } else {
    // Without effect if the run has ended, and this vCPU was stopped.
    End(VmEnd::kTripleFault);
  }
}

void LinuxVm::StopVcpus() {
  for (const std::unique_ptr<Vcpu>& vcpu : vcpus_) vcpu->runner->Stop();
  for (const std::unique_ptr<Vcpu>& vcpu : vcpus_) {
    if (vcpu->thread.has_value()) pthread_join(*vcpu->thread, nullptr);
    vcpu->thread.reset();
  }
}

ExitCounts LinuxVm::exits() const {
  ExitCounts sum;
  for (const std::unique_ptr<Vcpu>& vcpu : vcpus_) {
    const ExitCounts counts = vcpu->runner->counts();
    sum.io_reads += counts.io_reads;
    sum.io_writes += counts.io_writes;
    sum.mmio_reads += counts.mmio_reads;
    sum.mmio_writes += counts.mmio_writes;
    sum.interrupted += counts.interrupted;
    sum.faults += counts.faults;
  }
  return sum;
}

}  // namespace passthru::vmm
