// SPDX-License-Identifier: Apache-2.0

#include "passthru/devices/pci_host/pci_config_mmio.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/pci_host/fake_pci_function.h"
#include "passthru/devices/pci_host/pci_segment.h"
#include "passthru/pci/bdf.h"

namespace passthru::pci_host {
namespace {

using ::absl_testing::IsOk;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

class PciConfigMmioTest : public testing::Test {
 protected:
  PciConfigMmioTest() {
    EXPECT_THAT(segment_->Add(pci::Bdf(0, 1, 2, 3), function_), IsOk());
    EXPECT_THAT(segment_->Add(pci::Bdf(0, 1, 2, 4), next_), IsOk());
  }

  std::vector<uint8_t> Read(uint64_t offset, size_t size) {
    std::vector<uint8_t> data(size, 0xee);
    EXPECT_THAT(ecam_.Read(offset, absl::MakeSpan(data)), IsOk());
    return data;
  }

  void Write(uint64_t offset, const std::vector<uint8_t>& data) {
    EXPECT_THAT(ecam_.Write(offset, data), IsOk());
  }

  // Bus 1, device 2, function 3.
  static constexpr uint64_t kBase = 0x113000;

  const std::shared_ptr<PciSegment> segment_ = std::make_shared<PciSegment>();
  const std::shared_ptr<FakePciFunction> function_ =
      std::make_shared<FakePciFunction>();
  const std::shared_ptr<FakePciFunction> next_ =
      std::make_shared<FakePciFunction>();
  PciConfigMmio ecam_{segment_, 2};
};

TEST_F(PciConfigMmioTest, HasAMebibyteForEachBus) {
  EXPECT_EQ(ecam_.size(), 0x200000u);
  EXPECT_EQ(PciConfigMmio(segment_, 256).size(), 0x10000000u);
}

TEST_F(PciConfigMmioTest, ReachesAllOfTheExtendedSpace) {
  function_->bytes[0x100] = 0x0b;
  function_->bytes[0xfff] = 0x42;
  EXPECT_THAT(Read(kBase + 0x100, 2), ElementsAre(0x0b, 0));
  EXPECT_THAT(Read(kBase + 0xfff, 1), ElementsAre(0x42));
}

TEST_F(PciConfigMmioTest, EveryWidthAndAlignmentReadsTheSameBytes) {
  for (size_t i = 0; i < 32; ++i)
    function_->bytes[0x40 + i] = static_cast<uint8_t>(i);
  for (size_t start = 0; start < 8; ++start) {
    for (size_t width = 1; width <= 16; ++width) {
      const std::vector<uint8_t> data = Read(kBase + 0x40 + start, width);
      for (size_t i = 0; i < width; ++i) EXPECT_EQ(data[i], start + i);
    }
  }
}

TEST_F(PciConfigMmioTest, EveryWidthAndAlignmentWritesTheSameBytes) {
  for (size_t start = 0; start < 8; ++start) {
    for (size_t width = 1; width <= 16; ++width) {
      function_->bytes.fill(0);
      std::vector<uint8_t> data(width);
      for (size_t i = 0; i < width; ++i) data[i] = static_cast<uint8_t>(i + 1);
      Write(kBase + 0x40 + start, data);
      for (size_t i = 0; i < 32; ++i) {
        const bool inside = i >= start && i < start + width;
        EXPECT_EQ(function_->bytes[0x40 + i], inside ? i - start + 1 : 0);
      }
    }
  }
}

TEST_F(PciConfigMmioTest, EightBytesAreTwoDwordsTheLowerFirst) {
  Read(kBase + 0x10, 8);
  Write(kBase + 0x10, {1, 2, 3, 4, 5, 6, 7, 8});
  EXPECT_THAT(function_->log, ElementsAre("read 0x10 4", "read 0x14 4",
                                          "write 0x10 4", "write 0x14 4"));
}

TEST_F(PciConfigMmioTest, AnAccessAcrossFunctionsReachesBoth) {
  function_->bytes[0xfff] = 0x11;
  next_->bytes[0] = 0x22;
  EXPECT_THAT(Read(kBase + 0xfff, 2), ElementsAre(0x11, 0x22));
  Write(kBase + 0xffe, {1, 2, 3, 4});
  EXPECT_THAT(function_->log, ElementsAre("read 0xfff 1", "write 0xffe 2"));
  EXPECT_THAT(next_->log, ElementsAre("read 0x0 1", "write 0x0 2"));
}

TEST_F(PciConfigMmioTest, AnAbsentFunctionReadsAllOnes) {
  EXPECT_THAT(Read(0, 4), Each(0xff));
  EXPECT_THAT(Read(kBase - 2, 4), ElementsAre(0xff, 0xff, 0, 0));
  Write(0, {1});
}

TEST_F(PciConfigMmioTest, WhatIsBeyondTheLastBusReadsAllOnes) {
  const auto last = std::make_shared<FakePciFunction>();
  const auto beyond = std::make_shared<FakePciFunction>();
  ASSERT_THAT(segment_->Add(pci::Bdf(0, 1, 31, 7), last), IsOk());
  ASSERT_THAT(segment_->Add(pci::Bdf(0, 2, 0, 0), beyond), IsOk());
  EXPECT_THAT(Read(0x1ffffe, 4), ElementsAre(0, 0, 0xff, 0xff));
  EXPECT_THAT(Read(0x200000, 4), Each(0xff));
  EXPECT_THAT(Read(~uint64_t{0}, 4), Each(0xff));
  Write(0x1fffff, {1, 2});
  Write(0x200000, {1});
  EXPECT_EQ(last->bytes[0xfff], 1);
  EXPECT_THAT(beyond->log, IsEmpty());
}

}  // namespace
}  // namespace passthru::pci_host
