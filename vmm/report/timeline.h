// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_REPORT_TIMELINE_H_
#define PASSTHRU_VMM_REPORT_TIMELINE_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "passthru/devices/kvm/vcpu_exit.h"
#include "passthru/testing/guest/guest_cpu.h"
#include "passthru/testing/journal/call.h"
#include "passthru/testing/journal/call_listener.h"

namespace passthru::vmm {

// What a moment of a run belongs to.
enum class TimelineKind : uint8_t {
  kAccess,     // a guest's access to a device, whether or not it exits
  kExit,       // the handling of an exit by the VMM
  kCall,       // a kernel call of the VMM
  kWait,       // a call that waits, KVM_RUN included, or the guest's HLT
  kInterrupt,  // the guest took an interrupt, or a device raised one
};
std::string_view Name(TimelineKind kind);

// Times are in nanoseconds since the timeline began.
struct TimelineEvent {
  TimelineKind kind = TimelineKind::kCall;
  size_t lane = 0;  // an index into TimelineData::lanes
  int64_t begin = 0;
  int64_t duration = 0;
  std::string name;    // as in "KVM_IRQFD", "MMIO write"
  std::string detail;  // a line, as in the journal
  bool failed = false;
};

struct TimelinePhase {
  std::string name;
  int64_t begin = 0;
  int64_t end = 0;
};

// The events that a timeline had no room for.
struct TimelineGap {
  uint64_t left_out = 0;
  int64_t begin = 0;
  int64_t end = 0;
};

// What a timeline recorded.
struct TimelineData {
  std::vector<std::string> lanes;
  std::vector<TimelinePhase> phases;
  std::vector<TimelineEvent> events;  // in the order in which they ended
  TimelineGap gap;
};

// Records what the guest, its vCPUs and the threads of the VMM do, and when.
//
// Thread-safe.
class Timeline final : public journal::CallListener {
 public:
  // Keeps the first and the last events of a run, each half of `most_events`.
  // The lane "VMM" is that of the caller's thread. The lane "exits" has the
  // exits that this thread handles. Another thread that runs a vCPU gets two
  // lanes of its own.
  explicit Timeline(size_t most_events = std::numeric_limits<size_t>::max());

  void BeginPhase(std::string_view name);
  void EndPhase();

  // Records an exit that was handled, on the thread that runs the vCPU. It
  // began when the thread's last KVM_RUN returned.
  void OnExit(const kvm::VcpuExit& exit);
  // Leaves such an exit out. Unless the VMM called the kernel for it, the
  // KVM_RUN before it and the one after it are one event, so that an exit of
  // which there are very many does not fill the timeline.
  void OmitExit();
  // Records an access of the guest or an interrupt that it took, which began at
  // `began` and ends now.
  void OnGuest(TimelineKind kind, Time began, std::string_view name,
               std::string detail);
  // Records that a device raised an interrupt.
  void OnDevice(std::string_view name, std::string detail);

  // journal::CallListener.
  void OnCall(const journal::Call& call, std::string_view line, int error,
              Time began, Time ended) override;

  TimelineData Data() const;

 private:
  static constexpr size_t kGuestLane = 0;
  static constexpr size_t kVcpuLane = 1;
  static constexpr size_t kVmmLane = 2;

  struct Thread {
    size_t lane = kVmmLane;
    size_t exit_lane = kVcpuLane;
    Time run_returned;
    // The last KVM_RUN, until it is known whether its exit is left out.
    std::optional<TimelineEvent> run;
    bool exit_omitted = false;
  };

  int64_t Since(Time time) const;
  size_t AddLane(std::string name) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Returns the caller's thread, of which `call` may be the first one.
  Thread& ThreadOf(const journal::Call& call)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnRun(Thread& thread, TimelineEvent run)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void FlushRun(Thread& thread) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Add(TimelineEvent event) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void EndPhaseAt(Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Time start_;
  const size_t most_events_;
  mutable absl::Mutex mutex_;
  // Its events are the first ones.
  TimelineData data_ ABSL_GUARDED_BY(mutex_);
  std::deque<TimelineEvent> last_events_ ABSL_GUARDED_BY(mutex_);
  std::map<std::thread::id, Thread> threads_ ABSL_GUARDED_BY(mutex_);
  std::optional<size_t> device_lane_ ABSL_GUARDED_BY(mutex_);
  bool in_phase_ ABSL_GUARDED_BY(mutex_) = false;
};

// A guest's CPU that tells a timeline of the guest's accesses to devices, and
// of its interrupts. It leaves accesses to RAM out.
//
// Only the guest's thread may use it.
class RecordingCpu final : public guest::GuestCpu {
 public:
  // RAM is from 0 to `ram_size`. `cpu` and `timeline` must outlive this object.
  RecordingCpu(guest::GuestCpu* cpu, uint64_t ram_size, Timeline* timeline)
      : cpu_(*cpu), ram_size_(ram_size), timeline_(*timeline) {}

  uint64_t Load(uint64_t address, unsigned width) override;
  void Store(uint64_t address, unsigned width, uint64_t value) override;
  uint32_t In(uint16_t port, unsigned width) override;
  void Out(uint16_t port, unsigned width, uint32_t value) override;
  std::optional<guest::GuestInterrupt> WaitForInterrupt() override;
  bool Stopping() const override { return cpu_.Stopping(); }

 private:
  guest::GuestCpu& cpu_;
  const uint64_t ram_size_;
  Timeline& timeline_;
};

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_REPORT_TIMELINE_H_
