// SPDX-License-Identifier: Apache-2.0

#include "passthru/devices/bus/published.h"

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "gtest/gtest.h"

namespace passthru::bus {
namespace {

// Counts the values that exist.
class CountedValue {
 public:
  CountedValue(int number, std::atomic<int>* alive)
      : number_(number), alive_(alive) {
    ++*alive_;
  }
  ~CountedValue() {
    number_ = -1;
    --*alive_;
  }
  CountedValue(const CountedValue&) = delete;
  CountedValue& operator=(const CountedValue&) = delete;

  int number() const { return number_; }

 private:
  int number_;
  std::atomic<int>* const alive_;
};

class PublishedTest : public testing::Test {
 protected:
  std::unique_ptr<const CountedValue> Make(int number) {
    return std::make_unique<const CountedValue>(number, &alive_);
  }
  int Number() {
    return value_.Read(
        [](const CountedValue& value) { return value.number(); });
  }

  std::atomic<int> alive_ = 0;
  Published<CountedValue> value_{Make(0)};
};

TEST_F(PublishedTest, ReadersSeeTheNewestValueAndOldOnesGo) {
  EXPECT_EQ(Number(), 0);
  for (int i = 1; i < 5; ++i) {
    value_.Replace(Make(i));
    EXPECT_EQ(Number(), i);
    EXPECT_EQ(alive_, 1);
  }
}

// A writer waits for the reader that has the old value. Other readers do not
// wait for the writer, and see the new value.
TEST_F(PublishedTest, AReaderDoesNotWaitForAWriter) {
  absl::Notification reads;
  absl::Notification let_go;
  int seen = -1;
  std::thread reader([&] {
    value_.Read([&](const CountedValue& value) {
      reads.Notify();
      let_go.WaitForNotification();
      seen = value.number();
    });
  });
  reads.WaitForNotification();
  std::atomic<bool> replaced = false;
  std::thread writer([&] {
    value_.Replace(Make(1));
    replaced = true;
  });
  while (Number() == 0) std::this_thread::yield();
  for (int i = 0; i < 100; ++i) EXPECT_EQ(Number(), 1);
  EXPECT_FALSE(replaced);
  EXPECT_EQ(alive_, 2);
  let_go.Notify();
  writer.join();
  reader.join();
  EXPECT_EQ(seen, 0) << "the old value lives as long as it is read";
  EXPECT_EQ(alive_, 1);
}

// A reader that comes between two replacements, in either phase.
TEST_F(PublishedTest, EachReplacementWaitsForItsReaders) {
  for (int round = 0; round < 4; ++round) {
    absl::Notification reads;
    absl::Notification let_go;
    std::thread reader([&] {
      value_.Read([&](const CountedValue& value) {
        reads.Notify();
        let_go.WaitForNotification();
        EXPECT_EQ(value.number(), round);
      });
    });
    reads.WaitForNotification();
    std::thread writer([&] { value_.Replace(Make(round + 1)); });
    while (Number() == round) std::this_thread::yield();
    EXPECT_EQ(alive_, 2);
    let_go.Notify();
    reader.join();
    writer.join();
    EXPECT_EQ(alive_, 1);
  }
}

TEST_F(PublishedTest, NoReaderSeesAValueThatIsGone) {
  constexpr int kReaders = 3;
  constexpr int kRounds = 2000;
  std::atomic<bool> stop = false;
  std::vector<std::thread> readers;
  readers.reserve(kReaders);
  for (int i = 0; i < kReaders; ++i) {
    readers.emplace_back([&] {
      int last = 0;
      while (!stop) {
        const int now = Number();
        EXPECT_GE(now, last) << "values do not come back";
        last = now;
      }
    });
  }
  for (int i = 1; i <= kRounds; ++i) value_.Replace(Make(i));
  stop = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(alive_, 1);
}

}  // namespace
}  // namespace passthru::bus
