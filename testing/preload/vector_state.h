// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_PRELOAD_VECTOR_STATE_H_
#define PASSTHRU_TESTING_PRELOAD_VECTOR_STATE_H_

#include <stddef.h>
#include <stdint.h>
#include <ucontext.h>

namespace passthru::preload {

inline constexpr size_t kVectorBytes = 64;

// The vector registers in a signal's frame, which the kernel saved with XSAVE
// in its standard format (Intel SDM vol. 1, 13.4) and restores from there.
class VectorState {
 public:
  explicit VectorState(mcontext_t& context);

  // Reads the register, all kVectorBytes of it. What the machine or the frame
  // lacks is zero. Returns false if there is no such register.
  bool Get(unsigned number, uint8_t* data) const;
  // Reads an opmask register of AVX-512.
  bool GetMask(unsigned number, uint64_t* mask) const;
  // Writes the first `bytes` of the register, 16 or all.
  bool Set(unsigned number, const uint8_t* data, size_t bytes);

 private:
  // Returns the place of a component's part, or null if the frame has no such
  // component.
  uint8_t* Component(unsigned component, size_t offset) const;
  bool IsInUse(unsigned component) const;
  void Clear(unsigned component);

  uint8_t* const area_;
  uint64_t components_ = 0;  // Those that the frame has room for.
};

}  // namespace passthru::preload

#endif  // PASSTHRU_TESTING_PRELOAD_VECTOR_STATE_H_
