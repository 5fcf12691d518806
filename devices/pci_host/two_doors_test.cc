// SPDX-License-Identifier: Apache-2.0

// Tests properties of both ways into configuration space at once, with the
// ports and ECAM on buses as in a machine.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status_matchers.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "gtest/gtest.h"
#include "passthru/devices/bus/bus.h"
#include "passthru/devices/pci_host/host_bridge.h"
#include "passthru/devices/pci_host/pci_config_io.h"
#include "passthru/devices/pci_host/pci_config_mmio.h"
#include "passthru/devices/pci_host/pci_function.h"
#include "passthru/devices/pci_host/pci_segment.h"
#include "passthru/pci/bdf.h"
#include "passthru/pci/config_space.h"

namespace passthru::pci_host {
namespace {

using ::absl_testing::IsOk;

constexpr uint64_t kEcam = 0xe0000000;
constexpr size_t kStandardSize = 256;

// A function with random contents and write masks. Thread-safe.
class RandomFunction final : public PciFunction {
 public:
  explicit RandomFunction(uint64_t seed) : config_(4096) {
    std::mt19937_64 random(seed);
    std::vector<uint8_t> bytes(4096);
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
    config_.SetBytes(0, bytes);
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
    config_.SetMaskBytes(0, bytes);
  }

  uint32_t ConfigRead(uint16_t offset, unsigned width) override {
    absl::MutexLock lock(&mutex_);
    return config_.Read(offset, width);
  }
  void ConfigWrite(uint16_t offset, absl::Span<const uint8_t> bytes) override {
    absl::MutexLock lock(&mutex_);
    config_.Write(offset, bytes);
  }

 private:
  absl::Mutex mutex_;
  pci::ConfigSpace config_ ABSL_GUARDED_BY(mutex_);
};

class TwoDoorsTest : public testing::Test {
 protected:
  TwoDoorsTest() {
    const auto segment = std::make_shared<PciSegment>();
    uint64_t seed = 1;
    EXPECT_THAT(segment->Add(pci::Bdf(), std::make_shared<HostBridge>()),
                IsOk());
    for (const pci::Bdf bdf : places_) {
      EXPECT_THAT(segment->Add(bdf, std::make_shared<RandomFunction>(seed++)),
                  IsOk());
    }
    EXPECT_THAT(ports_.Add(PciConfigIo::kPort, PciConfigIo::kPortCount,
                           std::make_shared<PciConfigIo>(segment), 0),
                IsOk());
    const auto ecam = std::make_shared<PciConfigMmio>(segment, 256);
    EXPECT_THAT(memory_.Add(kEcam, ecam->size(), ecam, 0), IsOk());
  }

  // Reads the first 256 bytes, one byte at a time.
  std::vector<uint8_t> ThroughPorts(pci::Bdf bdf) {
    std::vector<uint8_t> bytes(kStandardSize);
    for (size_t i = 0; i < kStandardSize; ++i) {
      const uint32_t select =
          0x80000000 | uint32_t{bdf.routing_id()} << 8 | (i & 0xfc);
      uint8_t data[4];
      for (int b = 0; b < 4; ++b)
        data[b] = static_cast<uint8_t>(select >> (8 * b));
      ports_.Write(0xcf8, data);
      ports_.Read(0xcfc + i % 4, absl::MakeSpan(bytes).subspan(i, 1));
    }
    return bytes;
  }

  // Reads the same bytes, eight at a time.
  std::vector<uint8_t> ThroughEcam(pci::Bdf bdf) {
    std::vector<uint8_t> bytes(kStandardSize);
    for (size_t i = 0; i < kStandardSize; i += 8) {
      memory_.Read(kEcam + uint64_t{bdf.routing_id()} * 4096 + i,
                   absl::MakeSpan(bytes).subspan(i, 8));
    }
    return bytes;
  }

  void ExpectAgreement() {
    for (const pci::Bdf bdf : places_)
      ASSERT_EQ(ThroughPorts(bdf), ThroughEcam(bdf)) << bdf.ToString();
    ASSERT_EQ(ThroughPorts(pci::Bdf()), ThroughEcam(pci::Bdf()));
  }

  const std::vector<pci::Bdf> places_ = {
      pci::Bdf(0, 0, 1, 0), pci::Bdf(0, 0, 2, 0), pci::Bdf(0, 0, 2, 5),
      pci::Bdf(0, 7, 31, 7), pci::Bdf(0, 255, 31, 7)};
  bus::Bus ports_{"pio"};
  bus::Bus memory_{"mmio"};
};

// Makes one random access of 1 to 9 bytes, at or around the ports.
void RandomPortAccess(bus::Bus& ports, std::mt19937_64& random) {
  std::vector<uint8_t> data(1 + random() % 9);
  for (uint8_t& byte : data) byte = static_cast<uint8_t>(random());
  const uint64_t port = 0xcf0 + random() % 24;
  // Selects a function that is there, in half of the cases.
  if (random() % 2 == 0) {
    static constexpr uint8_t kSelect[][2] = {{0x08, 0}, {0x10, 0},    {0x15, 0},
                                             {0xff, 7}, {0xff, 0xff}, {0, 0}};
    const auto& select = kSelect[random() % 6];
    const uint8_t address[4] = {static_cast<uint8_t>(random()), select[0],
                                select[1], 0x80};
    ports.Write(0xcf8, address);
  }
  if (random() % 2 == 0)
    ports.Read(port, absl::MakeSpan(data));
  else
    ports.Write(port, data);
}

void RandomEcamAccess(bus::Bus& memory, std::mt19937_64& random) {
  std::vector<uint8_t> data(1 + random() % 16);
  for (uint8_t& byte : data) byte = static_cast<uint8_t>(random());
  static constexpr uint64_t kBases[] = {0,       0x8000,   0x10000,
                                        0x15000, 0x7ff000, 0xffff000};
  // Reaches a function's neighbours and both ends of ECAM.
  const uint64_t address =
      kEcam + kBases[random() % 6] + random() % 4120 - random() % 16;
  if (random() % 2 == 0)
    memory.Read(address, absl::MakeSpan(data));
  else
    memory.Write(address, data);
}

TEST_F(TwoDoorsTest, AgreeFromTheBeginning) { ExpectAgreement(); }

TEST_F(TwoDoorsTest, AgreeAfterAnyAccess) {
  std::mt19937_64 random(0xcf8);
  for (int round = 0; round < 60; ++round) {
    for (int i = 0; i < 50; ++i) {
      RandomPortAccess(ports_, random);
      RandomEcamAccess(memory_, random);
    }
    ExpectAgreement();
  }
  EXPECT_EQ(ports_.stats().failures, 0u);
  EXPECT_EQ(memory_.stats().failures, 0u);
}

TEST_F(TwoDoorsTest, AgreeAfterVcpusHaveUsedBothAtOnce) {
  std::vector<std::thread> vcpus;
  vcpus.reserve(4);
  for (uint64_t seed = 0; seed < 4; ++seed) {
    vcpus.emplace_back([this, seed] {
      std::mt19937_64 random(seed);
      for (int i = 0; i < 1000; ++i) {
        RandomPortAccess(ports_, random);
        RandomEcamAccess(memory_, random);
      }
    });
  }
  for (std::thread& vcpu : vcpus) vcpu.join();
  ExpectAgreement();
}

}  // namespace
}  // namespace passthru::pci_host
