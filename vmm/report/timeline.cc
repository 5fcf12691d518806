// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/report/timeline.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
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

Timeline::Timeline(size_t most_events)
    : start_(Now()), most_events_(most_events) {
  const absl::MutexLock lock(&mutex_);
  data_.lanes = {"guest", "exits", "VMM"};
  threads_[std::this_thread::get_id()].run_returned = start_;
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
  TimelineEvent event{.kind = TimelineKind::kExit};
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
  Thread& thread = threads_[std::this_thread::get_id()];
  FlushRun(thread);
  event.lane = thread.exit_lane;
  event.begin = Since(thread.run_returned);
  event.duration = Since(now) - event.begin;
  Add(std::move(event));
}

void Timeline::OmitExit() {
  const absl::MutexLock lock(&mutex_);
  Thread& thread = threads_[std::this_thread::get_id()];
  thread.exit_omitted = thread.run.has_value();
}

void Timeline::OnGuest(TimelineKind kind, Time began, std::string_view name,
                       std::string detail) {
  const Time now = Now();
  const absl::MutexLock lock(&mutex_);
  Add({.kind = kind,
       .lane = kGuestLane,
       .begin = Since(began),
       .duration = Since(now) - Since(began),
       .name = std::string(name),
       .detail = std::move(detail)});
}

void Timeline::OnDevice(std::string_view name, std::string detail) {
  const Time now = Now();
  const absl::MutexLock lock(&mutex_);
  if (!device_lane_.has_value()) device_lane_ = AddLane("devices");
  Add({.kind = TimelineKind::kInterrupt,
       .lane = *device_lane_,
       .begin = Since(now),
       .name = std::string(name),
       .detail = std::move(detail)});
}

size_t Timeline::AddLane(std::string name) {
  // A VMM may start threads for as long as it runs.
  constexpr size_t kMostLanes = 40;
  if (data_.lanes.size() >= kMostLanes) {
    data_.lanes.back() = "other threads";
    return data_.lanes.size() - 1;
  }
  data_.lanes.push_back(std::move(name));
  return data_.lanes.size() - 1;
}

Timeline::Thread& Timeline::ThreadOf(const journal::Call& call) {
  const auto [found, added] =
      threads_.try_emplace(std::this_thread::get_id(), Thread());
  Thread& thread = found->second;
  if (!added) return thread;
  if (call.name == "KVM_RUN") {
    // The subject is as in "vcpu 0".
    const std::string vcpu =
        absl::StrReplaceAll(call.subject, {{"vcpu", "vCPU"}});
    thread.exit_lane = AddLane(absl::StrCat(vcpu, " exits"));
    thread.lane = AddLane(vcpu);
  } else {
    thread.lane = AddLane(call.name == "epoll_wait"
                              ? std::string("event loop")
                              : absl::StrCat("thread ", threads_.size()));
  }
  return thread;
}

void Timeline::Add(TimelineEvent event) {
  if (data_.events.size() < most_events_ / 2) {
    data_.events.push_back(std::move(event));
    return;
  }
  last_events_.push_back(std::move(event));
  if (last_events_.size() <= most_events_ / 2) return;
  const TimelineEvent& dropped = last_events_.front();
  TimelineGap& gap = data_.gap;
  if (gap.left_out == 0) gap.begin = dropped.begin;
  gap.end = std::max(gap.end, dropped.begin + dropped.duration);
  ++gap.left_out;
  last_events_.pop_front();
}

void Timeline::OnRun(Thread& thread, TimelineEvent run) {
  if (thread.run.has_value() && thread.exit_omitted) {
    thread.run->duration = run.begin + run.duration - thread.run->begin;
  } else {
    FlushRun(thread);
    thread.run = std::move(run);
  }
  thread.exit_omitted = false;
}

void Timeline::FlushRun(Thread& thread) {
  if (thread.run.has_value()) Add(*std::exchange(thread.run, std::nullopt));
  thread.exit_omitted = false;
}

void Timeline::OnCall(const journal::Call& call, std::string_view line,
                      int error, Time began, Time ended) {
  const absl::MutexLock lock(&mutex_);
  Thread& thread = ThreadOf(call);
  TimelineEvent event = {
      .kind = call.Waits() ? TimelineKind::kWait : TimelineKind::kCall,
      .lane = thread.lane,
      .begin = Since(began),
      .duration = Since(ended) - Since(began),
      .name = call.name,
      .detail = std::string(line),
      .failed = error != 0};
  if (call.name == "KVM_RUN") {
    thread.run_returned = ended;
    OnRun(thread, std::move(event));
  } else {
    FlushRun(thread);
    Add(std::move(event));
  }
}

TimelineData Timeline::Data() const {
  const absl::MutexLock lock(&mutex_);
  TimelineData data = data_;
  data.events.insert(data.events.end(), last_events_.begin(),
                     last_events_.end());
  for (const auto& [id, thread] : threads_) {
    if (thread.run.has_value()) data.events.push_back(*thread.run);
  }
  return data;
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
