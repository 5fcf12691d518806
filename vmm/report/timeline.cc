// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/report/timeline.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/types/span.h"

namespace passthru::vmm {
namespace {

using Time = Timeline::Time;

Time Now() { return std::chrono::steady_clock::now(); }

uint64_t ValueOf(absl::Span<const uint8_t> data) {
  uint64_t value = 0;
  for (size_t i = 0; i < std::min<size_t>(data.size(), 8); ++i) {
    value |= uint64_t{data[i]} << (8 * i);
  }
  return value;
}

std::string DescribeAccess(std::string_view what, uint64_t address,
                           size_t width, uint64_t value) {
  return absl::StrFormat("%s of %d %s at 0x%x, 0x%x", what, width,
                         width == 1 ? "byte" : "bytes", address, value);
}

}  // namespace

std::string_view Name(TimelineKind kind) {
  switch (kind) {
    case TimelineKind::kAccess:
      return "access";
    case TimelineKind::kExit:
      return "exit";
    case TimelineKind::kCall:
      return "call";
    case TimelineKind::kWait:
      return "wait";
    case TimelineKind::kInterrupt:
      return "interrupt";
  }
  return "?";
}

Timeline::Timeline() : start_(Now()), run_returned_(start_) {
  const absl::MutexLock lock(&mutex_);
  data_.lanes = {"guest", "exits", "VMM"};
  thread_lanes_[std::this_thread::get_id()] = kVmmLane;
}

int64_t Timeline::Since(Time time) const {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(time - start_)
      .count();
}

void Timeline::EndPhaseAt(Time now) {
  if (in_phase_) data_.phases.back().end = Since(now);
  in_phase_ = false;
}

void Timeline::BeginPhase(std::string_view name) {
  const Time now = Now();
  const absl::MutexLock lock(&mutex_);
  EndPhaseAt(now);
  data_.phases.push_back({.name = std::string(name), .begin = Since(now)});
  in_phase_ = true;
}

void Timeline::EndPhase() {
  const Time now = Now();
  const absl::MutexLock lock(&mutex_);
  EndPhaseAt(now);
}

void Timeline::OnExit(const kvm::VcpuExit& exit) {
  const Time now = Now();
  TimelineEvent event{.kind = TimelineKind::kExit, .lane = kVcpuLane};
  if (const auto* const io = std::get_if<kvm::IoExit>(&exit)) {
    event.name = io->is_write ? "port write" : "port read";
    event.detail =
        DescribeAccess(event.name, io->port, io->width, ValueOf(io->data));
  } else if (const auto* const mmio = std::get_if<kvm::MmioExit>(&exit)) {
    event.name = mmio->is_write ? "MMIO write" : "MMIO read";
    event.detail = DescribeAccess(event.name, mmio->address.value(),
                                  mmio->data.size(), ValueOf(mmio->data));
  } else {
    event.name = std::holds_alternative<kvm::ShutdownExit>(exit)
                     ? "shutdown"
                     : "interrupted";
  }
  const absl::MutexLock lock(&mutex_);
  event.begin = Since(run_returned_);
  event.duration = Since(now) - event.begin;
  data_.events.push_back(std::move(event));
}

void Timeline::OnGuest(TimelineKind kind, Time began, std::string_view name,
                       std::string detail) {
  const Time now = Now();
  const absl::MutexLock lock(&mutex_);
  data_.events.push_back({.kind = kind,
                          .lane = kGuestLane,
                          .begin = Since(began),
                          .duration = Since(now) - Since(began),
                          .name = std::string(name),
                          .detail = std::move(detail)});
}

size_t Timeline::LaneOfThread(const journal::Call& call) {
  const auto [found, added] =
      thread_lanes_.try_emplace(std::this_thread::get_id(), 0);
  if (added) {
    found->second = data_.lanes.size();
    data_.lanes.push_back(call.name == "epoll_wait"
                              ? std::string("event loop")
                              : absl::StrCat("thread ", thread_lanes_.size()));
  }
  return found->second;
}

void Timeline::OnCall(const journal::Call& call, std::string_view line,
                      int error, Time began, Time ended) {
  const absl::MutexLock lock(&mutex_);
  if (call.name == "KVM_RUN") run_returned_ = ended;
  data_.events.push_back(
      {.kind = call.Waits() ? TimelineKind::kWait : TimelineKind::kCall,
       .lane = LaneOfThread(call),
       .begin = Since(began),
       .duration = Since(ended) - Since(began),
       .name = call.name,
       .detail = std::string(line),
       .failed = error != 0});
}

TimelineData Timeline::Data() const {
  const absl::MutexLock lock(&mutex_);
  return data_;
}

uint64_t RecordingCpu::Load(uint64_t address, unsigned width) {
  if (address < ram_size_) return cpu_.Load(address, width);
  const Time began = Now();
  const uint64_t value = cpu_.Load(address, width);
  timeline_.OnGuest(TimelineKind::kAccess, began, "load",
                    DescribeAccess("load", address, width, value));
  return value;
}

void RecordingCpu::Store(uint64_t address, unsigned width, uint64_t value) {
  if (address < ram_size_) return cpu_.Store(address, width, value);
  const Time began = Now();
  cpu_.Store(address, width, value);
  timeline_.OnGuest(TimelineKind::kAccess, began, "store",
                    DescribeAccess("store", address, width, value));
}

uint32_t RecordingCpu::In(uint16_t port, unsigned width) {
  const Time began = Now();
  const uint32_t value = cpu_.In(port, width);
  timeline_.OnGuest(TimelineKind::kAccess, began, "in",
                    DescribeAccess("in", port, width, value));
  return value;
}

void RecordingCpu::Out(uint16_t port, unsigned width, uint32_t value) {
  const Time began = Now();
  cpu_.Out(port, width, value);
  timeline_.OnGuest(TimelineKind::kAccess, began, "out",
                    DescribeAccess("out", port, width, value));
}

std::optional<guest::GuestInterrupt> RecordingCpu::WaitForInterrupt() {
  const Time began = Now();
  auto interrupt = cpu_.WaitForInterrupt();
  timeline_.OnGuest(TimelineKind::kWait, began, "HLT",
                    "waits for an interrupt");
  if (interrupt.has_value()) {
    timeline_.OnGuest(TimelineKind::kInterrupt, Now(), "interrupt",
                      absl::StrFormat("took 0x%x data 0x%x", interrupt->address,
                                      interrupt->data));
  }
  return interrupt;
}

}  // namespace passthru::vmm
