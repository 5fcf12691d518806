// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_DEVICES_KERNEL_FLEX_ARRAY_H_
#define PASSTHRU_DEVICES_KERNEL_FLEX_ARRAY_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <type_traits>

#include "absl/log/check.h"
#include "absl/types/span.h"

namespace passthru::kernel {

// A kernel structure with a flexible tail: a Header followed by Elements whose
// number is known only at run time. It is one allocation, aligned for both
// types. It is zeroed, so that no reserved byte reaches the kernel with a
// random value. `kTailOffset` is the offset of the UAPI structure's tail. It
// differs from sizeof(Header) only if the tail begins in the header's padding.
//
//   FlexArray<kvm_irq_routing, kvm_irq_routing_entry> table(entries.size());
//   table.header().nr = ...;
//
// Move-only. A moved-from object may only be destroyed or assigned to.
// Thread-compatible.
template <typename Header, typename Element,
          size_t kTailOffset = sizeof(Header)>
class FlexArray {
  static_assert(std::is_trivially_copyable_v<Header>);
  static_assert(std::is_trivially_copyable_v<Element>);
  static_assert(kTailOffset <= sizeof(Header));
  static_assert(kTailOffset % alignof(Element) == 0,
                "the tail would be misaligned");
  // operator new[] guarantees no more alignment than this for bytes.
  static_assert(alignof(Header) <= __STDCPP_DEFAULT_NEW_ALIGNMENT__);
  static_assert(alignof(Element) <= __STDCPP_DEFAULT_NEW_ALIGNMENT__);

 public:
  // The largest number of elements. It exceeds every limit of the kernel, and
  // the structure's size still fits the u32 in which UAPI structures state it.
  static constexpr size_t kMaxCount =
      (std::numeric_limits<uint32_t>::max() - sizeof(Header)) / sizeof(Element);

  // Makes an array of `count` elements, at most kMaxCount. Callers must check a
  // count that comes from elsewhere.
  explicit FlexArray(size_t count) : count_(Checked(count)) {
    storage_ = std::make_unique<std::byte[]>(size_bytes());
  }

  Header& header() { return *reinterpret_cast<Header*>(storage_.get()); }
  const Header& header() const {
    return *reinterpret_cast<const Header*>(storage_.get());
  }

  absl::Span<Element> elements() {
    return {reinterpret_cast<Element*>(storage_.get() + kTailOffset), count_};
  }
  absl::Span<const Element> elements() const {
    return {reinterpret_cast<const Element*>(storage_.get() + kTailOffset),
            count_};
  }

  // The whole structure, as the kernel takes it.
  void* data() { return storage_.get(); }
  absl::Span<std::byte> bytes() { return {storage_.get(), size_bytes()}; }
  absl::Span<const std::byte> bytes() const {
    return {storage_.get(), size_bytes()};
  }
  size_t size_bytes() const {
    return std::max(sizeof(Header), kTailOffset + count_ * sizeof(Element));
  }

 private:
  static size_t Checked(size_t count) {
    CHECK_LE(count, kMaxCount);
    return count;
  }

  size_t count_;
  std::unique_ptr<std::byte[]> storage_;
};

}  // namespace passthru::kernel

#endif  // PASSTHRU_DEVICES_KERNEL_FLEX_ARRAY_H_
