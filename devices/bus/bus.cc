// SPDX-License-Identifier: Apache-2.0

#include "passthru/devices/bus/bus.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/log/log.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "passthru/devices/bus/address_space.h"
#include "passthru/devices/bus/bus_device.h"
#include "passthru/devices/bus/call_gate.h"
#include "passthru/devices/bus/flat_view.h"

namespace passthru::bus {
namespace {

// A guest can cause these messages as often as it likes.
constexpr double kSecondsBetweenMessages = 5;

bool Overlap(const FlatView::Range& a, const FlatView::Range& b) {
  return a.first <= b.last && b.first <= a.last;
}

void Increment(std::atomic<uint64_t>& counter) {
  counter.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace

// One range of the bus. It lives until it is removed and the last call has left
// it.
struct Bus::Range {
  Range(RangeHandle range_handle, FlatView::Range range_span,
        std::shared_ptr<BusDevice> range_device)
      : handle(range_handle),
        span(range_span),
        device(std::move(range_device)) {}

  const RangeHandle handle;
  const FlatView::Range span;
  // Who has the pages [held.first, held.last], or null. Guarded by the bus's
  // mutex.
  PageHolder* holder = nullptr;
  FlatView::Range held;
  const std::shared_ptr<BusDevice> device;
  CallGate gate;
};

// A part of an access that one range answers, or none. `call` keeps the range
// alive.
struct Bus::Piece {
  const Range* range = nullptr;
  size_t length = 0;
  CallGate::Call call;
};

// The ranges and the flat view of them. Its range indexes are positions in
// `ranges`.
struct Bus::View {
  std::vector<std::shared_ptr<Range>> ranges;
  FlatView flat;
};

Bus::Bus(std::string name)
    : name_(std::move(name)), view_(std::make_unique<const View>()) {}

Bus::~Bus() = default;

absl::StatusOr<RangeHandle> Bus::Add(uint64_t base, uint64_t size,
                                     std::shared_ptr<BusDevice> device,
                                     int priority) {
  if (device == nullptr) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s: no device for range [0x%x, +0x%x)", name_, base, size));
  }
  if (size == 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s: range of %s at 0x%x has size 0", name_, device->name(), base));
  }
  if (size - 1 > kLastAddress - base) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s: range [0x%x, +0x%x) of %s ends beyond 2^64", name_,
                        base, size, device->name()));
  }
  const FlatView::Range span = {
      .first = base, .last = base + (size - 1), .priority = priority};
  for (;;) {
    PageHolder* holder = nullptr;
    RangeHandle own;
    {
      absl::MutexLock lock(&mutex_);
      Range* const held = FindHeld(span);
      if (held == nullptr) {
        const RangeHandle handle(next_id_++);
        ranges_.push_back(
            std::make_shared<Range>(handle, span, std::move(device)));
        RebuildView();
        return handle;
      }
      holder = std::exchange(held->holder, nullptr);
      own = held->handle;
    }
    holder->LeavePages(own);
  }
}

Bus::Range* Bus::FindHeld(const FlatView::Range& span) {
  for (const std::shared_ptr<Range>& range : ranges_) {
    if (range->holder != nullptr && Overlap(range->held, span)) {
      return range.get();
    }
  }
  return nullptr;
}

bool Bus::HoldPages(RangeHandle own, uint64_t base, uint64_t size,
                    PageHolder* holder) {
  if (size == 0 || size - 1 > kLastAddress - base) return false;
  const FlatView::Range pages = {.first = base, .last = base + (size - 1)};
  absl::MutexLock lock(&mutex_);
  Range* found = nullptr;
  for (const std::shared_ptr<Range>& range : ranges_) {
    if (range->handle == own) {
      found = range.get();
    } else if (Overlap(range->span, pages) ||
               (range->holder != nullptr && Overlap(range->held, pages))) {
      return false;
    }
  }
  if (found == nullptr || found->span.first < pages.first ||
      found->span.last > pages.last) {
    return false;
  }
  found->holder = holder;
  found->held = pages;
  return true;
}

void Bus::Remove(RangeHandle handle) {
  std::shared_ptr<Range> removed;
  {
    absl::MutexLock lock(&mutex_);
    // ranges_ is sorted by handle.
    const auto found = std::lower_bound(
        ranges_.begin(), ranges_.end(), handle,
        [](const auto& range, RangeHandle h) { return range->handle < h; });
    if (found == ranges_.end() || (*found)->handle != handle) return;
    removed = std::move(*found);
    ranges_.erase(found);
    RebuildView();
  }
  // If the range has the last reference to the device, the calling thread
  // destroys it now, or when it leaves the call of the device that it is in.
  CallGate& gate = removed->gate;
  gate.DropAfterCalls(std::move(removed));
}

void Bus::RebuildView() {
  std::vector<FlatView::Range> spans;
  spans.reserve(ranges_.size());
  for (const std::shared_ptr<Range>& range : ranges_)
    spans.push_back(range->span);
  view_.Replace(std::make_unique<const View>(
      View{.ranges = ranges_, .flat = FlatView::Build(spans)}));
}

void Bus::Enter(uint64_t address, size_t length, Piece& piece) {
  piece.length = length;
  view_.Read([address, length, &piece](const View& view) {
    const FlatView::Segment* segment = view.flat.Find(address);
    if (segment == nullptr) return;
    if (segment->first > address) {
      piece.length = static_cast<size_t>(
          std::min<uint64_t>(length, segment->first - address));
      return;
    }
    // Compares last addresses, because a segment's size may be 2^64.
    if (segment->last - address < length - 1)
      piece.length = static_cast<size_t>(segment->last - address + 1);
    Range& range = *view.ranges[segment->range];
    // A range that is removed now waits for this call, because the view that
    // leads to it stays until the gate was entered.
    piece.call.Enter(range.gate);
    piece.range = &range;
  });
}

template <typename Visitor>
void Bus::ForEachPiece(uint64_t address, size_t length, Visitor visit) {
  size_t done = 0;
  while (done < length) {
    const uint64_t at = address + done;
    if (at < address) {
      visit(nullptr, at, done, length - done);
      return;
    }
    Piece piece;
    Enter(at, length - done, piece);
    visit(piece.range, at, done, piece.length);
    done += piece.length;
  }
}

void Bus::Read(uint64_t address, absl::Span<uint8_t> data) {
  Increment(reads_);
  ForEachPiece(
      address, data.size(),
      [&](const Range* range, uint64_t at, size_t done, size_t length) {
        const absl::Span<uint8_t> part = data.subspan(done, length);
        if (range == nullptr) {
          Missed("read", at, length);
        } else {
          const absl::Status status =
              range->device->Read(at - range->span.first, part);
          if (status.ok()) return;
          Failed("read", *range, at, length, status);
        }
        std::fill(part.begin(), part.end(), 0xff);
      });
}

void Bus::Write(uint64_t address, absl::Span<const uint8_t> data) {
  Increment(writes_);
  ForEachPiece(
      address, data.size(),
      [&](const Range* range, uint64_t at, size_t done, size_t length) {
        if (range == nullptr) {
          Missed("write", at, length);
          return;
        }
        const absl::Status status = range->device->Write(
            at - range->span.first, data.subspan(done, length));
        if (!status.ok()) Failed("write", *range, at, length, status);
      });
}

void Bus::Missed(std::string_view access, uint64_t address, size_t length) {
  Increment(misses_);
  LOG_EVERY_N_SEC(INFO, kSecondsBetweenMessages)
      << absl::StreamFormat("%s: %s of %u bytes at 0x%x: nothing there", name_,
                            access, length, address);
}

void Bus::Failed(std::string_view access, const Range& range, uint64_t address,
                 size_t length, const absl::Status& status) {
  Increment(failures_);
  LOG_EVERY_N_SEC(WARNING, kSecondsBetweenMessages)
      << absl::StreamFormat("%s: %s of %u bytes at 0x%x (%s +0x%x): %s", name_,
                            access, length, address, range.device->name(),
                            address - range.span.first, status.ToString());
}

BusStats Bus::stats() const {
  return {.reads = reads_.load(std::memory_order_relaxed),
          .writes = writes_.load(std::memory_order_relaxed),
          .misses = misses_.load(std::memory_order_relaxed),
          .failures = failures_.load(std::memory_order_relaxed)};
}

}  // namespace passthru::bus
