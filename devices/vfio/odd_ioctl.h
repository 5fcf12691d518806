// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_VFIO_ODD_IOCTL_H_
#define PASSTHRU_DEVICES_VFIO_ODD_IOCTL_H_

#include <linux/vfio.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "passthru/devices/kernel/forwarding_syscalls.h"
#include "passthru/devices/kernel/linux_syscalls.h"
#include "passthru/devices/kernel/syscalls.h"

namespace passthru::vfio {

// A Syscalls for tests of answers that no sane kernel gives. It passes every
// ioctl to a function of the test and counts the calls.
class OddIoctl : public kernel::ForwardingSyscalls {
 public:
  using Handler = std::function<kernel::SyscallResult<int>(
      unsigned long request, uint8_t* argument)>;

  explicit OddIoctl(Handler handler)
      : ForwardingSyscalls(&linux_), handler_(std::move(handler)) {}

  kernel::SyscallResult<int> Ioctl(int, unsigned long request,
                                   void* arg) override {
    ++calls_;
    return handler_(request, static_cast<uint8_t*>(arg));
  }

  int calls() const { return calls_; }

 private:
  kernel::LinuxSyscalls linux_;
  const Handler handler_;
  int calls_ = 0;
};

// Returns the `argsz` of a call's argument.
inline uint32_t Argsz(const uint8_t* argument) {
  uint32_t argsz = 0;
  std::memcpy(&argsz, argument, sizeof(argsz));
  return argsz;
}

// Answers an info ioctl as the kernel does. Writes `answer`, with its argsz set
// to its size, if there is room for it. Otherwise writes only its first
// `fixed_size` bytes, with 0 as the `cap_offset` at `cap_offset_at`.
inline kernel::SyscallResult<int> AnswerInfo(std::vector<uint8_t> answer,
                                             size_t fixed_size,
                                             size_t cap_offset_at,
                                             uint8_t* argument) {
  const uint32_t needed = static_cast<uint32_t>(answer.size());
  std::memcpy(answer.data(), &needed, sizeof(needed));
  if (Argsz(argument) < needed) {
    answer.resize(fixed_size);
    std::memset(answer.data() + cap_offset_at, 0, sizeof(uint32_t));
  }
  std::memcpy(argument, answer.data(), answer.size());
  return {};
}

// Appends the bytes of `value`.
template <typename T>
void Append(std::vector<uint8_t>& bytes, const T& value) {
  const auto* const data = reinterpret_cast<const uint8_t*>(&value);
  bytes.insert(bytes.end(), data, data + sizeof(value));
}

// The base of `Self`, which builds an answer of an info ioctl piece by piece.
// The answer is the structure `Info` and a chain of capabilities, whose
// presence the flag `kFlagCaps` tells.
template <typename Self, typename Info, uint32_t kFlagCaps>
class InfoAnswerBuilder {
 public:
  explicit InfoAnswerBuilder(const Info& info) : info_(info) {}

  Info& info() { return info_; }

  // Begins a capability. Append() adds to its payload.
  Self& Capability(uint16_t id) {
    const uint32_t offset = static_cast<uint32_t>(sizeof(Info) + tail_.size());
    if (!last_header_.has_value()) {
      info_.flags |= kFlagCaps;
      info_.cap_offset = offset;
    } else {
      reinterpret_cast<vfio_info_cap_header*>(tail_.data() + *last_header_)
          ->next = offset;
    }
    last_header_ = tail_.size();
    return Append(vfio_info_cap_header{.id = id, .version = 1});
  }
  template <typename T>
  Self& Append(T value) {
    vfio::Append(tail_, value);
    return static_cast<Self&>(*this);
  }

  // Answers an ioctl whose argument is at `argument`.
  kernel::SyscallResult<int> Write(uint8_t* argument) const {
    std::vector<uint8_t> bytes;
    vfio::Append(bytes, info_);
    bytes.insert(bytes.end(), tail_.begin(), tail_.end());
    return AnswerInfo(std::move(bytes), sizeof(Info),
                      offsetof(Info, cap_offset), argument);
  }

 private:
  Info info_;
  std::vector<uint8_t> tail_;
  std::optional<size_t> last_header_;
};

}  // namespace passthru::vfio

#endif  // PASSTHRU_DEVICES_VFIO_ODD_IOCTL_H_
