// SPDX-License-Identifier: Apache-2.0

// Makes random changes, with listeners that fail at random and with several
// threads. What the listeners hold must always agree with the map.

#include <cstdint>
#include <iterator>
#include <map>
#include <memory>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "gtest/gtest.h"
#include "passthru/devices/kernel/page_size.h"
#include "passthru/devices/memory/guest_address.h"
#include "passthru/devices/memory/guest_memory.h"
#include "passthru/devices/memory/guest_memory_map.h"
#include "passthru/devices/memory/memory_area.h"
#include "passthru/devices/memory/memory_listener.h"
#include "passthru/devices/memory/test_areas.h"

namespace passthru::memory {
namespace {

MemoryArea RamPages(uint64_t first_page, uint64_t pages) {
  return memory::Ram(absl::StrCat("ram ", first_page), first_page, pages);
}

// A stand-in for a kernel table, which knows nothing of the map. It refuses
// overlaps and the removal of areas that it does not hold, and otherwise fails
// one time in `one_in` (never if that is 0).
class TableListener final : public MemoryListener {
 public:
  explicit TableListener(unsigned seed) : random_(seed) {}

  absl::Status OnAdd(const MemoryArea& area) override {
    if (Fails()) return absl::ResourceExhaustedError("no more");
    const uint64_t first = area.guest.value();
    const auto next = held.lower_bound(first);
    const bool overlaps =
        (next != held.end() && next->first - first < area.size) ||
        (next != held.begin() &&
         first - std::prev(next)->first < std::prev(next)->second);
    EXPECT_FALSE(overlaps) << absl::StrCat(area);
    held[first] = area.size;
    return absl::OkStatus();
  }

  absl::Status OnRemove(const MemoryArea& area) override {
    const auto found = held.find(area.guest.value());
    EXPECT_TRUE(found != held.end()) << absl::StrCat(area);
    if (found == held.end()) return absl::NotFoundError("not held");
    EXPECT_EQ(found->second, area.size);
    if (remove_may_fail && Fails()) return absl::UnavailableError("not now");
    held.erase(found);
    return absl::OkStatus();
  }

  std::map<uint64_t, uint64_t> held;
  unsigned one_in = 0;
  bool remove_may_fail = false;

 private:
  bool Fails() { return one_in != 0 && random_() % one_in == 0; }

  std::mt19937 random_;
};

std::map<uint64_t, uint64_t> Held(const GuestMemoryMap& map) {
  std::map<uint64_t, uint64_t> held;
  for (const MemoryArea& area : map.Areas())
    held[area.guest.value()] = area.size;
  return held;
}

TEST(GuestMemoryMapPropertyTest, ListenersHoldWhatTheMapSays) {
  GuestMemoryMap map;
  std::vector<std::unique_ptr<TableListener>> listeners;
  for (unsigned i = 0; i < 3; ++i) {
    listeners.push_back(std::make_unique<TableListener>(i));
    listeners.back()->one_in = 8;
    ASSERT_TRUE(map.AddListener(listeners.back().get()).ok());
  }
  std::vector<AreaId> live;
  std::mt19937 random(99);
  for (int step = 0; step < 5000; ++step) {
    if (random() % 3 != 0) {
      const absl::StatusOr<AreaId> id =
          map.Add(RamPages(random() % 100, 1 + random() % 8));
      if (id.ok()) live.push_back(*id);
    } else if (!live.empty()) {
      std::swap(live[random() % live.size()], live.back());
      ASSERT_TRUE(map.Remove(live.back()).ok());
      live.pop_back();
    }
    const std::map<uint64_t, uint64_t> held = Held(map);
    ASSERT_EQ(held.size(), live.size());
    for (const auto& listener : listeners) ASSERT_EQ(listener->held, held);
  }
}

TEST(GuestMemoryMapPropertyTest, RemovalsThatFailNeverLoseTrack) {
  GuestMemoryMap map;
  std::vector<std::unique_ptr<TableListener>> listeners;
  for (unsigned i = 0; i < 3; ++i) {
    listeners.push_back(std::make_unique<TableListener>(i));
    listeners.back()->one_in = 4;
    listeners.back()->remove_may_fail = true;
    ASSERT_TRUE(map.AddListener(listeners.back().get()).ok());
  }
  // Areas are added only while nothing fails. If undoing an addition failed, a
  // listener would hold an area that the test has no id to remove.
  const auto failing = [&listeners](bool fail) {
    for (const auto& listener : listeners) listener->one_in = fail ? 3 : 0;
  };
  std::vector<AreaId> live;
  std::mt19937 random(5);
  for (int step = 0; step < 3000; ++step) {
    if (random() % 2 == 0) {
      failing(false);
      const absl::StatusOr<AreaId> id =
          map.Add(RamPages(random() % 60, 1 + random() % 4));
      if (id.ok()) live.push_back(*id);
    } else if (!live.empty()) {
      failing(true);
      std::swap(live[random() % live.size()], live.back());
      if (map.Remove(live.back()).ok()) live.pop_back();
    }
    // Every listener holds what the map shows.
    for (const auto& listener : listeners) {
      for (const auto& [address, size] : Held(map))
        ASSERT_EQ(listener->held[address], size);
    }
  }
  failing(false);
  for (const AreaId id : live) EXPECT_TRUE(map.Remove(id).ok());
  for (const auto& listener : listeners) EXPECT_TRUE(listener->held.empty());
}

TEST(GuestMemoryMapConcurrencyTest, ChangesOfSeveralThreadsDoNotMix) {
  constexpr int kThreads = 4;
  GuestMemoryMap map;
  TableListener listener(1);
  ASSERT_TRUE(map.AddListener(&listener).ok());
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&map, t] {
      const uint64_t page = 16 * static_cast<uint64_t>(t);
      for (int i = 0; i < 200; ++i) {
        const absl::StatusOr<AreaId> id = map.Add(RamPages(page, 4));
        ASSERT_TRUE(id.ok());
        ASSERT_TRUE(map.Translate(GuestAddress((page + 3) * kPage), 8).ok());
        ASSERT_TRUE(map.Remove(*id).ok());
        ASSERT_FALSE(map.Translate(GuestAddress(page * kPage), 8).ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(listener.held.empty());
  EXPECT_TRUE(map.Areas().empty());
}

// Takes as long to add an area as the test wants, as a listener that pins
// memory for DMA does.
class SlowListener final : public MemoryListener {
 public:
  absl::Status OnAdd(const MemoryArea&) override {
    entered.Notify();
    let_go.WaitForNotification();
    return absl::OkStatus();
  }
  absl::Status OnRemove(const MemoryArea&) override { return absl::OkStatus(); }

  absl::Notification entered;
  absl::Notification let_go;
};

TEST(GuestMemoryMapConcurrencyTest, ASlowListenerHoldsUpNoLookup) {
  GuestMemoryMap map;
  ASSERT_TRUE(map.Add(RamPages(1, 1)).ok());
  SlowListener slow;
  std::thread adder([&] { EXPECT_TRUE(map.AddListener(&slow).ok()); });
  slow.entered.WaitForNotification();
  EXPECT_TRUE(map.Translate(GuestAddress(kPage), 8).ok());
  EXPECT_EQ(map.Areas().size(), 1u);
  slow.let_go.Notify();
  adder.join();
}

}  // namespace
}  // namespace passthru::memory
