// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/journal/decode_kvm.h"

#include <linux/kvm.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "passthru/testing/journal/call.h"
#include "passthru/testing/journal/decode_syscall.h"
#include "passthru/testing/journal/user_memory.h"

namespace passthru::journal {
namespace {

enum class Argument { kNone, kInteger, kPointer };

struct KvmIoctl {
  unsigned long request;
  const char* name;
  Argument argument;
  CallField::Kind result = CallField::Kind::kNumber;
};

constexpr KvmIoctl kIoctls[] = {
    {KVM_GET_API_VERSION, "KVM_GET_API_VERSION", Argument::kInteger},
    {KVM_CREATE_VM, "KVM_CREATE_VM", Argument::kInteger, CallField::Kind::kFd},
    {KVM_CHECK_EXTENSION, "KVM_CHECK_EXTENSION", Argument::kInteger},
    {KVM_GET_VCPU_MMAP_SIZE, "KVM_GET_VCPU_MMAP_SIZE", Argument::kInteger},
    {KVM_GET_SUPPORTED_CPUID, "KVM_GET_SUPPORTED_CPUID", Argument::kPointer},
    {KVM_CREATE_VCPU, "KVM_CREATE_VCPU", Argument::kInteger,
     CallField::Kind::kFd},
    {KVM_SET_USER_MEMORY_REGION, "KVM_SET_USER_MEMORY_REGION",
     Argument::kPointer},
    {KVM_SET_USER_MEMORY_REGION2, "KVM_SET_USER_MEMORY_REGION2",
     Argument::kPointer},
    {KVM_SET_TSS_ADDR, "KVM_SET_TSS_ADDR", Argument::kInteger},
    {KVM_SET_IDENTITY_MAP_ADDR, "KVM_SET_IDENTITY_MAP_ADDR",
     Argument::kPointer},
    {KVM_CREATE_IRQCHIP, "KVM_CREATE_IRQCHIP", Argument::kNone},
    {KVM_CREATE_PIT2, "KVM_CREATE_PIT2", Argument::kPointer},
    {KVM_GET_IRQCHIP, "KVM_GET_IRQCHIP", Argument::kPointer},
    {KVM_IRQ_LINE, "KVM_IRQ_LINE", Argument::kPointer},
    {KVM_IRQ_LINE_STATUS, "KVM_IRQ_LINE_STATUS", Argument::kPointer},
    {KVM_SET_GSI_ROUTING, "KVM_SET_GSI_ROUTING", Argument::kPointer},
    {KVM_IRQFD, "KVM_IRQFD", Argument::kPointer},
    {KVM_SIGNAL_MSI, "KVM_SIGNAL_MSI", Argument::kPointer},
    {KVM_IOEVENTFD, "KVM_IOEVENTFD", Argument::kPointer},
    {KVM_ENABLE_CAP, "KVM_ENABLE_CAP", Argument::kPointer},
    {KVM_CREATE_DEVICE, "KVM_CREATE_DEVICE", Argument::kPointer},
    {KVM_SET_DEVICE_ATTR, "KVM_SET_DEVICE_ATTR", Argument::kPointer},
    {KVM_GET_DEVICE_ATTR, "KVM_GET_DEVICE_ATTR", Argument::kPointer},
    {KVM_HAS_DEVICE_ATTR, "KVM_HAS_DEVICE_ATTR", Argument::kPointer},
    {KVM_RUN, "KVM_RUN", Argument::kNone},
    {KVM_GET_REGS, "KVM_GET_REGS", Argument::kPointer},
    {KVM_SET_REGS, "KVM_SET_REGS", Argument::kPointer},
    {KVM_GET_SREGS, "KVM_GET_SREGS", Argument::kPointer},
    {KVM_SET_SREGS, "KVM_SET_SREGS", Argument::kPointer},
    {KVM_SET_CPUID2, "KVM_SET_CPUID2", Argument::kPointer},
    {KVM_SET_MSRS, "KVM_SET_MSRS", Argument::kPointer},
};

// Returns the MSI routes of a table, as many as fit on one readable line.
std::string DescribeRoutes(const kvm_irq_routing& header, const void* arg) {
  constexpr uint32_t kShown = 8;
  const auto* const entries =
      static_cast<const char*>(arg) + offsetof(kvm_irq_routing, entries);
  // One copy of all takes as long as one of each. It fails if any of them
  // cannot be read, and then those before it are still shown.
  std::vector<kvm_irq_routing_entry> table(std::min(header.nr, 4096u));
  const bool readable =
      CopyFromUser(table.data(), entries, table.size() * sizeof(table[0]));
  std::string text;
  uint32_t messages = 0;
  for (size_t i = 0; i < table.size(); ++i) {
    const kvm_irq_routing_entry& entry = table[i];
    if (!readable &&
        !CopyFromUser(&table[i], entries + i * sizeof(entry), sizeof(entry))) {
      break;
    }
    if (entry.type != KVM_IRQ_ROUTING_MSI || ++messages > kShown) continue;
    absl::StrAppendFormat(
        &text, "%s%u:0x%x/0x%x", text.empty() ? "" : " ", entry.gsi,
        uint64_t{entry.u.msi.address_hi} << 32 | entry.u.msi.address_lo,
        entry.u.msi.data);
  }
  if (messages > kShown) absl::StrAppend(&text, " +", messages - kShown);
  return absl::StrCat("{", text, "}");
}

template <typename Region>
void DescribeRegion(const Region& region, Call& call) {
  call.Number("slot", region.slot)
      .Hex("flags", region.flags)
      .Hex("guest_phys_addr", region.guest_phys_addr)
      .Hex("memory_size", region.memory_size)
      .HostAddress("userspace_addr", region.userspace_addr);
}

// Returns false if the struct cannot be read.
bool DescribeStruct(unsigned long request, const void* arg, Call& call) {
  const auto decode = [arg]<typename T>(const T&, auto describe) {
    const std::optional<T> value = CopyFromUser<T>(arg);
    if (value.has_value()) describe(*value);
    return value.has_value();
  };
  switch (request) {
    case KVM_SET_USER_MEMORY_REGION:
      return decode(kvm_userspace_memory_region{}, [&call](const auto& value) {
        DescribeRegion(value, call);
      });
    case KVM_SET_USER_MEMORY_REGION2:
      return decode(kvm_userspace_memory_region2{}, [&call](const auto& value) {
        DescribeRegion(value, call);
      });
    case KVM_SET_IDENTITY_MAP_ADDR:
      return decode(uint64_t{},
                    [&call](uint64_t value) { call.Hex("address", value); });
    case KVM_GET_IRQCHIP:
      return decode(kvm_irqchip{}, [&call](const kvm_irqchip& value) {
        call.Number("chip_id", value.chip_id);
      });
    case KVM_CREATE_PIT2:
      return decode(kvm_pit_config{}, [&call](const kvm_pit_config& value) {
        call.Hex("flags", value.flags);
      });
    case KVM_IRQ_LINE:
    case KVM_IRQ_LINE_STATUS:
      return decode(kvm_irq_level{}, [&call](const kvm_irq_level& value) {
        call.Number("irq", value.irq).Number("level", value.level);
      });
    case KVM_SET_GSI_ROUTING:
      // Decodes only the header, because sizeof(kvm_irq_routing) counts no
      // entries.
      return decode(kvm_irq_routing{}, [&](const kvm_irq_routing& value) {
        call.Number("nr", value.nr)
            .Hex("flags", value.flags)
            .Text("msi", DescribeRoutes(value, arg));
      });
    case KVM_IRQFD:
      return decode(kvm_irqfd{}, [&call](const kvm_irqfd& value) {
        call.Fd("fd", static_cast<int32_t>(value.fd))
            .Number("gsi", value.gsi)
            .Hex("flags", value.flags);
        if ((value.flags & KVM_IRQFD_FLAG_RESAMPLE) != 0) {
          call.Fd("resamplefd", static_cast<int32_t>(value.resamplefd));
        }
      });
    case KVM_SIGNAL_MSI:
      return decode(kvm_msi{}, [&call](const kvm_msi& value) {
        call.Hex("address", uint64_t{value.address_hi} << 32 | value.address_lo)
            .Hex("data", value.data)
            .Hex("flags", value.flags);
      });
    case KVM_IOEVENTFD:
      return decode(kvm_ioeventfd{}, [&call](const kvm_ioeventfd& value) {
        call.Fd("fd", value.fd)
            .Hex("addr", value.addr)
            .Number("len", value.len)
            .Hex("datamatch", value.datamatch)
            .Hex("flags", value.flags);
      });
    case KVM_ENABLE_CAP:
      return decode(kvm_enable_cap{}, [&call](const kvm_enable_cap& value) {
        call.Number("cap", value.cap).Hex("arg0", value.args[0]);
      });
    case KVM_CREATE_DEVICE:
      return decode(kvm_create_device{},
                    [&call](const kvm_create_device& value) {
                      call.Number("type", value.type).Hex("flags", value.flags);
                    });
    case KVM_SET_DEVICE_ATTR:
    case KVM_GET_DEVICE_ATTR:
    case KVM_HAS_DEVICE_ATTR:
      return decode(kvm_device_attr{}, [&call](const kvm_device_attr& value) {
        call.Number("group", value.group)
            .Number("attr", static_cast<int64_t>(value.attr));
        // For KVM_DEV_VFIO_FILE, shows the descriptor instead of its address.
        const auto fd = CopyFromUser<int32_t>(UserPointer(value.addr));
        if (value.group == KVM_DEV_VFIO_FILE && fd.has_value()) {
          call.Fd("fd", *fd);
        }
      });
    default:
      return true;
  }
}

// Returns null for a request that has no name.
const KvmIoctl* FindIoctl(unsigned long request) {
  const auto* const found = std::find_if(std::begin(kIoctls), std::end(kIoctls),
                                         [request](const KvmIoctl& candidate) {
                                           return candidate.request == request;
                                         });
  return found == std::end(kIoctls) ? nullptr : found;
}

}  // namespace

std::string_view NameOfKvmIoctl(unsigned long request) {
  const KvmIoctl* const known = FindIoctl(request);
  return known == nullptr ? std::string_view() : known->name;
}

Call DescribeKvmIoctl(unsigned long request, const void* arg) {
  const KvmIoctl* const known = FindIoctl(request);
  if (known == nullptr) return DescribeUnknownIoctl(request, arg);
  Call call{.name = known->name, .result_kind = known->result};
  if (known->argument == Argument::kInteger) {
    call.Number("arg", static_cast<int64_t>(reinterpret_cast<uintptr_t>(arg)));
  } else if (known->argument == Argument::kPointer &&
             !DescribeStruct(request, arg, call)) {
    call.HostAddress("arg", reinterpret_cast<uintptr_t>(arg));
  }
  return call;
}

}  // namespace passthru::journal
