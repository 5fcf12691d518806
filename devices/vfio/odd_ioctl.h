// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_VFIO_ODD_IOCTL_H_
#define PASSTHRU_DEVICES_VFIO_ODD_IOCTL_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
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

}  // namespace passthru::vfio

#endif  // PASSTHRU_DEVICES_VFIO_ODD_IOCTL_H_
