// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_SIMULATE_GUEST_IO_MACHINE_H_
#define PASSTHRU_TESTING_SIMULATE_GUEST_IO_MACHINE_H_

#include <stdint.h>

#include <functional>
#include <string>

// What the guest's program knows of the machine that it runs on.
namespace guest_io {

// Says a line to the host, by the second serial line, where the kernel writes
// nothing.
void Say(const std::string& line);

// Waits until the host says a line there.
void AwaitHost();

// Says what failed, and the errno, and ends the program.
[[noreturn]] void Fail(const std::string& what);

// Waits until the condition holds. Fails if it does not for many minutes.
void AwaitThat(const std::string& what, const std::function<bool()>& condition);

// Writes a file of sysfs. Fails if the kernel does not take the text.
void WriteFile(const std::string& path, const std::string& text);

// Returns the first file that matches a pattern (glob(3)), or an empty string.
std::string OneFile(const std::string& pattern);

// Returns the folder of the device behind a root port, such as 00:04.0, or the
// pattern of one if there is none.
std::string DevicePath(const std::string& port);

// Returns the address of the device behind a root port, or an empty string.
std::string DeviceAddress(const std::string& port);

// Returns the interrupts of a driver, in which `part` occurs, as
// /proc/interrupts has them: their number and their controller.
std::string Interrupts(const std::string& part);

// Pseudo-random numbers (xorshift64).
class Random {
 public:
  explicit Random(uint64_t seed = 0) : state_(seed ^ 0x9e3779b97f4a7c15u) {
    if (state_ == 0) state_ = 1;
  }
  uint64_t Next() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return state_;
  }

 private:
  uint64_t state_;
};

}  // namespace guest_io

#endif  // PASSTHRU_TESTING_SIMULATE_GUEST_IO_MACHINE_H_
