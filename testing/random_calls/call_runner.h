// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_RANDOM_CALLS_CALL_RUNNER_H_
#define PASSTHRU_TESTING_RANDOM_CALLS_CALL_RUNNER_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/testing/random_calls/objects.h"
#include "passthru/testing/random_calls/random_call.h"

namespace passthru::random_calls {

// Carries out calls on one device of any kernel, real or simulated, and says
// what each answered. Each sequence gets a device that was just opened.
//
// An answer has the result or errno, the bytes of configuration space, what an
// eventfd held, and whether a mapping could be touched. Contents of BARs are
// not in it, because only the device knows them.
//
// Thread-compatible. While it touches a mapping it owns SIGBUS.
class CallRunner {
 public:
  CallRunner(kernel::Syscalls* syscalls, std::string bdf, uint32_t group)
      : kernel_(*syscalls), bdf_(std::move(bdf)), group_number_(group) {}
  ~CallRunner() { Close(); }
  CallRunner(const CallRunner&) = delete;
  CallRunner& operator=(const CallRunner&) = delete;

  // Asks for the shape of the device.
  absl::StatusOr<Shape> AskShape();

  // Opens the device, makes the calls and closes it. Returns the answers.
  absl::StatusOr<std::vector<std::string>> Run(const Shape& shape,
                                               const Sequence& calls);

 private:
  absl::Status Open();
  void Close();

  std::string Answer(const Shape& shape, const RandomCall& call);
  std::string ReadConfig(const Shape& shape, uint64_t offset, size_t length);
  std::string WriteConfig(uint64_t offset, size_t length, uint64_t value);
  std::string FunctionReset(const Shape& shape);
  // Goes to D0 if the function loses its state on the way, as it says.
  void LeaveD3(const Shape& shape);
  // Returns whether a write of configuration space resets the function.
  static bool Resets(const Shape& shape, const RandomCall& write);
  std::string HotReset(uint64_t count, uint64_t fd);
  std::string SetIrqs(const RandomCall& call);
  std::string Map(const RandomCall& call);
  std::string Unmap(const RandomCall& call);
  std::string Mmap(const RandomCall& call);
  std::string Munmap(size_t slot);
  std::string Touch(size_t slot, uint64_t page);
  std::string Info(uint64_t which, uint64_t index, uint64_t argsz);
  std::string Feature(uint64_t flags);
  std::string LowPower(const Shape& shape);
  std::string IoEventFd(const RandomCall& call);
  std::string Container(uint64_t which);
  std::string Lifetime(uint64_t which);
  std::string NewEventfd(size_t place);

  std::string Ioctl(int fd, unsigned long request, void* argument);
  static uint64_t RegionOffset(uint64_t region, uint64_t offset);

  kernel::Syscalls& kernel_;
  const std::string bdf_;
  const uint32_t group_number_;

  Objects objects_;
};

}  // namespace passthru::random_calls

#endif  // PASSTHRU_TESTING_RANDOM_CALLS_CALL_RUNNER_H_
