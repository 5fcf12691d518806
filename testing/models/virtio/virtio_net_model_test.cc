// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/models/virtio/virtio_net_model.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/pci/bar_index.h"
#include "passthru/testing/models/device_platform.h"
#include "passthru/testing/models/flat_memory.h"
#include "passthru/testing/models/virtio/virtio_queue.h"

namespace passthru::models::virtio {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr pci::BarIndex kBar{4};
constexpr uint64_t kMemory = 0x100000;
constexpr uint64_t kNowhere = 0x40000000;
constexpr uint16_t kSize = 8;
constexpr uint8_t kAcknowledged = 1 | 2;

VirtioNetModel::Options Layout() {
  return {.common = {.bar = 4, .offset = 0, .length = 0x1000},
          .notify = {.bar = 4, .offset = 0x3000, .length = 0x1000},
          .isr = {.bar = 4, .offset = 0x1000, .length = 0x1000},
          .device = {.bar = 4, .offset = 0x2000, .length = 0x1000}};
}

// A device with its own memory, and a driver that knows the registers as
// numbers.
class Machine {
 public:
  Machine() : memory(kMemory, 0x20000), model(Layout()) {
    model.set_host(&memory);
    memory.SetInterruptMode(InterruptMode::kMsix);
  }

  uint64_t Read(uint64_t offset, unsigned width) {
    return model.ReadBar(kBar, offset, width);
  }
  void Write(uint64_t offset, unsigned width, uint64_t value) {
    model.WriteBar(kBar, offset, width, value);
  }
  static uint64_t Ring(uint16_t queue) { return kMemory + 0x1000 * queue; }
  static uint64_t Data(uint16_t index) {
    return kMemory + 0x8000 + 0x800 * index;
  }

  // Negotiates VERSION_1. Returns the status that the device then shows.
  uint64_t Negotiate(uint32_t low = 0, uint32_t high = 1) {
    Write(0x14, 1, 0);
    Write(0x14, 1, kAcknowledged);
    Write(0x08, 4, 0);
    Write(0x0c, 4, low);
    Write(0x08, 4, 1);
    Write(0x0c, 4, high);
    Write(0x14, 1, kAcknowledged | 8);
    return Read(0x14, 1);
  }
  void SetUpQueue(uint16_t queue) {
    Write(0x16, 2, queue);
    Write(0x18, 2, kSize);
    Write(0x1a, 2, queue + 1);
    Write(0x20, 8, Ring(queue));
    Write(0x28, 4, Ring(queue) + 0x100);
    Write(0x2c, 4, 0);
    Write(0x30, 8, Ring(queue) + 0x200);
    Write(0x1c, 2, 1);
  }
  void Start() {
    Negotiate();
    SetUpQueue(0);
    SetUpQueue(1);
    Write(0x14, 1, kAcknowledged | 8 | 4);
  }
  // Makes one buffer available and notifies.
  void Add(uint16_t queue, uint16_t index, uint64_t address, uint32_t length) {
    const uint64_t descriptor = Ring(queue) + 16 * index;
    memory.Store<uint64_t>(descriptor, address);
    memory.Store<uint32_t>(descriptor + 8, length);
    memory.Store<uint16_t>(descriptor + 12, queue == 0 ? 2 : 0);
    uint16_t& next = next_[queue];
    memory.Store<uint16_t>(Ring(queue) + 0x104 + 2 * (next % kSize), index);
    memory.Store<uint16_t>(Ring(queue) + 0x102, ++next);
    Write(0x3000 + 4 * queue, 2, queue);
  }
  uint16_t Used(uint16_t queue) {
    return memory.Load<uint16_t>(Ring(queue) + 0x202);
  }
  uint32_t UsedLength(uint16_t queue, uint16_t element) {
    return memory.Load<uint32_t>(Ring(queue) + 0x208 + 8 * element);
  }
  void Run() {
    while (model.Step()) {
    }
  }

  FlatMemory memory;
  VirtioNetModel model;

 private:
  std::array<uint16_t, 2> next_{};
};

TEST(VirtioNetModelTest, RegistersTellOfAModernDevice) {
  Machine machine;
  EXPECT_EQ(machine.Read(0x12, 2), 2u);  // Queues.
  machine.Write(0x00, 4, 0);
  EXPECT_EQ(machine.Read(0x04, 4), 0x00010020u);
  machine.Write(0x00, 4, 1);
  EXPECT_EQ(machine.Read(0x04, 4), 3u);
  machine.Write(0x00, 4, 2);
  EXPECT_EQ(machine.Read(0x04, 4), 0u);
  EXPECT_EQ(machine.Read(0x2000, 4), 0x12005452u);  // The MAC address.
  EXPECT_EQ(machine.Read(0x2006, 2), 1u);           // The link is up.
  machine.Write(0x16, 2, 1);
  EXPECT_EQ(machine.Read(0x18, 2), 256u);
  EXPECT_EQ(machine.Read(0x1e, 2), 1u);
  machine.Write(0x16, 2, 2);
  EXPECT_EQ(machine.Read(0x18, 2), 0u);
}

TEST(VirtioNetModelTest, FeaturesAreTheOfferedOnesWithVersion1) {
  Machine machine;
  EXPECT_EQ(machine.Negotiate(), kAcknowledged | 8u);
  EXPECT_EQ(machine.Negotiate(0x20, 3), kAcknowledged | 8u);
  EXPECT_EQ(machine.Negotiate(0x20, 2), kAcknowledged);
  EXPECT_EQ(machine.Negotiate(0x40, 1), kAcknowledged);
}

TEST(VirtioNetModelTest, VectorBeyondTheTableReadsBackAsNone) {
  Machine machine;
  machine.Write(0x10, 2, 2);
  EXPECT_EQ(machine.Read(0x10, 2), 2u);
  machine.Write(0x10, 2, 3);
  EXPECT_EQ(machine.Read(0x10, 2), 0xffffu);
}

TEST(VirtioNetModelTest, FrameArrivesAtThePeer) {
  Machine a;
  Machine b;
  VirtioNetModel::Connect(a.model, b.model);
  a.Start();
  b.Start();
  b.Add(0, 0, Machine::Data(0), 2000);
  std::ranges::fill(a.memory.Bytes(Machine::Data(0), 112), uint8_t{0x5a});
  a.Add(1, 0, Machine::Data(0), 112);
  a.Run();
  EXPECT_EQ(a.Used(1), 1u);
  EXPECT_THAT(a.memory.msix(), ElementsAre(2));
  b.Run();
  EXPECT_EQ(b.Used(0), 1u);
  EXPECT_EQ(b.UsedLength(0, 0), 112u);
  EXPECT_THAT(b.memory.msix(), ElementsAre(1));
  // The header is the device's own.
  EXPECT_EQ(b.memory.Load<uint64_t>(Machine::Data(0)), 0u);
  EXPECT_EQ(b.memory.Load<uint16_t>(Machine::Data(0) + 10), 1u);
  EXPECT_THAT(b.memory.Bytes(Machine::Data(0) + 12, 100), Each(0x5a));
  EXPECT_EQ(b.memory.Bytes(Machine::Data(0) + 112, 1)[0], 0);
}

TEST(VirtioNetModelTest, FrameWaitsForABuffer) {
  Machine a;
  Machine b;
  VirtioNetModel::Connect(a.model, b.model);
  a.Start();
  b.Start();
  b.Run();  // The link is up.
  a.Add(1, 0, Machine::Data(0), 100);
  a.Run();
  EXPECT_FALSE(b.model.Step());
  b.Add(0, 3, Machine::Data(0), 50);  // Too small for it.
  b.Run();
  EXPECT_EQ(b.Used(0), 0u);
  EXPECT_EQ(b.model.counters().lost, 1u);
  a.Add(1, 0, Machine::Data(0), 50);
  a.Run();
  b.Run();
  EXPECT_EQ(b.Used(0), 1u);
  EXPECT_EQ(b.UsedLength(0, 0), 50u);
}

TEST(VirtioNetModelTest, FrameWithoutAPeerIsLost) {
  Machine machine;
  machine.Start();
  machine.Add(1, 0, Machine::Data(0), 100);
  machine.Run();
  EXPECT_EQ(machine.Used(1), 1u);
  EXPECT_EQ(machine.model.counters().lost, 1u);
}

TEST(VirtioNetModelTest, LinkIsUpWhileTheDriverOfThePeerRuns) {
  Machine a;
  Machine b;
  VirtioNetModel::Connect(a.model, b.model);
  a.Start();
  a.Write(0x10, 2, 0);
  a.Run();
  EXPECT_EQ(a.Read(0x2006, 2), 0u);
  EXPECT_THAT(a.memory.msix(), IsEmpty());
  const uint64_t generation = a.Read(0x15, 1);
  b.Start();
  a.Run();
  EXPECT_EQ(a.Read(0x2006, 2), 1u);
  EXPECT_EQ(a.Read(0x15, 1), generation + 1);
  EXPECT_THAT(a.memory.msix(), ElementsAre(0));
  EXPECT_EQ(a.Read(0x1000, 1), 2u);
  b.Write(0x14, 1, 0);
  a.Run();
  EXPECT_EQ(a.Read(0x2006, 2), 0u);
  EXPECT_THAT(a.memory.msix(), ElementsAre(0, 0));
}

// The driver has read the link before it says that it is ready.
TEST(VirtioNetModelTest, ChangeOfTheLinkIsSignalledAfterDriverOk) {
  Machine a;
  Machine b;
  VirtioNetModel::Connect(a.model, b.model);
  a.memory.SetInterruptMode(InterruptMode::kIntx);
  a.Negotiate();
  EXPECT_EQ(a.Read(0x2006, 2), 0u);
  b.Start();
  a.Run();
  EXPECT_FALSE(a.memory.intx());
  a.Write(0x14, 1, kAcknowledged | 8 | 4);
  a.Run();
  EXPECT_TRUE(a.memory.intx());
  EXPECT_EQ(a.Read(0x1000, 1), 2u);
  EXPECT_FALSE(a.memory.intx());
}

TEST(VirtioNetModelTest, NoInterruptIfTheDriverWantsNone) {
  Machine machine;
  machine.Start();
  machine.memory.Store<uint16_t>(Machine::Ring(1) + 0x100, 1);
  machine.Add(1, 0, Machine::Data(0), 100);
  machine.Run();
  EXPECT_EQ(machine.Used(1), 1u);
  EXPECT_THAT(machine.memory.msix(), IsEmpty());
}

TEST(VirtioNetModelTest, PinIsLoweredByReadingTheStatus) {
  Machine machine;
  machine.memory.SetInterruptMode(InterruptMode::kIntx);
  machine.Start();
  machine.Add(1, 0, Machine::Data(0), 100);
  machine.Run();
  EXPECT_TRUE(machine.memory.intx());
  EXPECT_EQ(machine.Read(0x1000, 1), 1u);
  EXPECT_FALSE(machine.memory.intx());
  EXPECT_EQ(machine.Read(0x1000, 1), 0u);
}

TEST(VirtioNetModelTest, BrokenRingsNeedAReset) {
  for (const int broken : {0, 1, 2, 3}) {
    Machine machine;
    machine.Start();
    machine.Add(1, 0, broken == 0 ? kNowhere : Machine::Data(0), 100);
    const uint64_t ring = Machine::Ring(1);
    if (broken == 1) {
      // A chain that leads back to itself.
      machine.memory.Store<uint16_t>(ring + 12, 1);
      machine.memory.Store<uint16_t>(ring + 14, 0);
    }
    if (broken == 2) machine.memory.Store<uint16_t>(ring + 0x104, kSize);
    if (broken == 3) machine.memory.Store<uint16_t>(ring + 0x102, kSize + 1);
    machine.Run();
    EXPECT_EQ(machine.Read(0x14, 1) & 64, 64u) << broken;
    EXPECT_EQ(machine.Used(1), 0u) << broken;
    machine.Start();
    EXPECT_EQ(machine.Read(0x14, 1) & 64, 0u) << broken;
  }
}

TEST(VirtioNetModelTest, ResetForgetsEverything) {
  Machine machine;
  machine.Start();
  machine.Add(1, 0, Machine::Data(0), 100);
  machine.model.Reset(ResetKind::kFunctionLevel);
  EXPECT_FALSE(machine.model.Step());
  EXPECT_EQ(machine.Read(0x14, 1), 0u);
  machine.Write(0x16, 2, 1);
  EXPECT_EQ(machine.Read(0x18, 2), 256u);
  EXPECT_EQ(machine.Read(0x1c, 2), 0u);
  EXPECT_EQ(machine.Read(0x20, 8), 0u);
}

TEST(VirtioNetModelTest, PeerThatGoesAwayIsForgotten) {
  Machine machine;
  {
    Machine peer;
    VirtioNetModel::Connect(machine.model, peer.model);
  }
  machine.Start();
  machine.Add(1, 0, Machine::Data(0), 100);
  machine.Run();
  EXPECT_EQ(machine.model.counters().lost, 1u);
}

}  // namespace
}  // namespace passthru::models::virtio
