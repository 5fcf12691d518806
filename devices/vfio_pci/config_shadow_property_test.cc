// SPDX-License-Identifier: Apache-2.0
//
// Properties of ConfigShadow over images and accesses from a fixed seed, such
// as a hostile device or guest may produce.

#include <algorithm>
#include <cstdint>
#include <random>
#include <set>
#include <vector>

#include "absl/log/check.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "gtest/gtest.h"
#include "passthru/devices/vfio_pci/config_shadow.h"
#include "passthru/pci/capabilities.h"

namespace passthru::vfio_pci {
namespace {

using Random = std::minstd_rand;

std::vector<uint8_t> RandomBytes(Random& random, size_t size) {
  std::vector<uint8_t> bytes(size);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
  return bytes;
}

// Returns the shadow of a random device with a list of plausible capabilities.
ConfigShadow RandomShadow(Random& random) {
  std::vector<uint8_t> image =
      RandomBytes(random, random() % 2 == 0 ? 256 : 4096);
  image[0x0e] = static_cast<uint8_t>(image[0x0e] & 0x80);
  image[0x06] |= 0x10;
  for (size_t at = 0x34, links = random() % 12; links > 0; --links) {
    const uint8_t next = static_cast<uint8_t>(0x40 + random() % 0xc0) & 0xfc;
    image[at] = next;
    image[next] = static_cast<uint8_t>(random() % 0x18);
    at = next + 1u;
  }
  ConfigShadow::Options options = {
      .on_root_bus = random() % 2 == 0,
      .bars = {{.index = pci::BarIndex(0),
                .type = pci::BarType::kMemory64,
                .size = uint64_t{0x1000} << random() % 30},
               {.index = pci::BarIndex(2),
                .type = pci::BarType::kIo,
                .size = uint64_t{4} << random() % 6}},
      .intx = random() % 2 == 0,
      .msi_vectors = static_cast<uint16_t>(random() % 33),
      .msix_vectors = static_cast<uint16_t>(random() % 2049)};
  absl::StatusOr<ConfigShadow> shadow =
      ConfigShadow::Create(image, std::move(options));
  CHECK_OK(shadow);
  return *std::move(shadow);
}

TEST(ConfigShadowPropertyTest, TheGuestsListsAreWellFormed) {
  Random random(1);
  for (int i = 0; i < 250; ++i) {
    const ConfigShadow shadow = RandomShadow(random);
    const pci::CapabilityList list = pci::WalkCapabilities(shadow.bytes());
    ASSERT_EQ(list.malformed, "") << i;
    std::set<uint16_t> shown;
    for (const CapabilityView& view : shadow.capabilities()) {
      if (!view.extended && view.treatment != CapabilityTreatment::kHide) {
        shown.insert(view.offset);
      }
    }
    ASSERT_EQ(list.entries.size(), shown.size()) << i;
    for (const pci::Capability& entry : list.entries) {
      ASSERT_TRUE(shown.contains(entry.offset)) << i;
    }
    ASSERT_EQ(pci::WalkExtendedCapabilities(shadow.bytes()).malformed, "") << i;
  }
}

TEST(ConfigShadowPropertyTest, AnySplitOfAWriteEqualsTheWhole) {
  Random random(2);
  for (int i = 0; i < 250; ++i) {
    ConfigShadow whole = RandomShadow(random);
    ConfigShadow split = whole;
    for (int j = 0; j < 20; ++j) {
      const auto offset = static_cast<uint32_t>(random() % whole.size());
      const std::vector<uint8_t> bytes = RandomBytes(random, 1 + random() % 4);
      whole.Write(offset, bytes);
      size_t at = 0;
      while (at < bytes.size()) {
        const size_t size =
            std::min<size_t>(1 + random() % 3, bytes.size() - at);
        split.Write(static_cast<uint32_t>(offset + at),
                    absl::MakeConstSpan(bytes).subspan(at, size));
        at += size;
      }
    }
    ASSERT_TRUE(std::equal(whole.bytes().begin(), whole.bytes().end(),
                           split.bytes().begin()))
        << i;
  }
}

TEST(ConfigShadowPropertyTest, AnySplitOfAReadEqualsTheWhole) {
  Random random(3);
  for (int i = 0; i < 250; ++i) {
    const ConfigShadow shadow = RandomShadow(random);
    std::vector<uint8_t> whole = RandomBytes(random, shadow.size());
    std::vector<uint8_t> split = whole;
    shadow.Merge(0, absl::MakeSpan(whole));
    for (size_t at = 0; at < split.size(); ++at) {
      shadow.Merge(static_cast<uint32_t>(at),
                   absl::MakeSpan(split).subspan(at, 1));
    }
    ASSERT_EQ(whole, split) << i;
  }
}

// A byte depends on the device exactly if it needs the device, and the device
// receives writes of exactly these bytes.
TEST(ConfigShadowPropertyTest, DevicePartsAreConsistent) {
  Random random(4);
  for (int i = 0; i < 250; ++i) {
    const ConfigShadow shadow = RandomShadow(random);
    for (uint32_t offset = 0; offset < shadow.size(); ++offset) {
      std::vector<uint8_t> zeros = {0x00};
      std::vector<uint8_t> ones = {0xff};
      shadow.Merge(offset, absl::MakeSpan(zeros));
      shadow.Merge(offset, absl::MakeSpan(ones));
      const bool needed = shadow.NeedsDevice(offset, 1);
      ASSERT_EQ(zeros != ones, needed) << i << " " << offset;
      ASSERT_EQ(shadow.DeviceRuns(offset, 1).size(), needed ? 1u : 0u);
    }
  }
}

// Guest writes never change the capability lists or the sizes of BARs.
TEST(ConfigShadowPropertyTest, WritesChangeOnlyWhatIsWritable) {
  Random random(5);
  for (int i = 0; i < 100; ++i) {
    ConfigShadow shadow = RandomShadow(random);
    const auto before = pci::WalkCapabilities(shadow.bytes()).entries;
    for (int j = 0; j < 200; ++j) {
      shadow.Write(static_cast<uint32_t>(random() % 4200),
                   RandomBytes(random, 1 + random() % 8));
    }
    ASSERT_EQ(pci::WalkCapabilities(shadow.bytes()).entries, before) << i;
    for (const pci::Bar& bar : shadow.Bars()) {
      ASSERT_EQ(bar.address % bar.size, 0u) << i;
    }
  }
}

}  // namespace
}  // namespace passthru::vfio_pci
