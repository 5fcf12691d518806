// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/capture/capture.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "google/protobuf/util/message_differencer.h"
#include "gtest/gtest.h"
#include "passthru/devices/kernel/forwarding_syscalls.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/capture/byte_rows.h"
#include "passthru/testing/capture/fixture_text.h"
#include "passthru/testing/capture/write_masks.h"
#include "passthru/testing/fixture/device.pb.h"
#include "passthru/testing/fixture/fixture.h"
#include "passthru/testing/fixture/fixture_bytes.h"
#include "passthru/testing/host/fake_kernel.h"
#include "passthru/testing/host/simulated_host.h"
#include "passthru/testing/journal/call.h"
#include "passthru/testing/journal/journal.h"
#include "passthru/testing/kernel/kernel_version.h"
#include "passthru/testing/kernel/kernel_version_test_name.h"
#include "passthru/testing/kernel/leak_check.h"
#include "passthru/testing/models/device_platform.h"
#include "passthru/testing/rig/page_sample.h"
#include "passthru/testing/vfio/fake_vfio.h"

namespace passthru::capture {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::_;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr std::string_view kFolder = "testing/fixtures/";

std::vector<std::string> FixtureNames() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(kFolder)) {
    if (entry.path().extension() == ".textproto") {
      names.push_back(entry.path().stem().string());
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

fixture::PciDevice Load(const std::string& name) {
  auto device = fixture::LoadFixture(absl::StrCat(kFolder, name, ".textproto"));
  EXPECT_THAT(device, IsOk());
  return device.value_or(fixture::PciDevice());
}

// A host with one device, and a way to capture it.
class CapturedHost {
 public:
  explicit CapturedHost(
      const fixture::PciDevice& device,
      fake::KernelVersion version = fake::KernelVersion::k6_12)
      : host_(fake::SimulatedHost::Options{.kernel = {.version = version}}),
        bdf_(*pci::Bdf::Parse(device.bdf())) {
    EXPECT_THAT(host_.vfio().AddDevice(device), IsOk());
  }
  ~CapturedHost() {
    const fake::LeakReport leaks = host_.kernel().CheckLeaks();
    EXPECT_TRUE(leaks.empty()) << leaks;
  }

  absl::StatusOr<Capture> Take(const CaptureOptions& options = {}) {
    return CaptureDevice(&host_.kernel(), bdf_, options);
  }
  std::vector<uint8_t> PhysicalConfig() {
    std::vector<uint8_t> bytes;
    EXPECT_THAT(
        host_.vfio().WithHardware(bdf_,
                                  [&](models::DevicePlatform& hardware) {
                                    for (uint16_t i = 0; i < 256; ++i) {
                                      bytes.push_back(static_cast<uint8_t>(
                                          hardware.ReadConfig(i, 1)));
                                    }
                                  }),
        IsOk());
    return bytes;
  }

  fake::SimulatedHost& host() { return host_; }
  fake::FakeKernel& kernel() { return host_.kernel(); }
  const pci::Bdf& bdf() const { return bdf_; }

 private:
  fake::SimulatedHost host_;
  const pci::Bdf bdf_;
};

// Returns options for those parts of the fixture that sysfs and VFIO do not
// show by themselves.
CaptureOptions OptionsFor(const fixture::PciDevice& device) {
  CaptureOptions options;
  options.name = device.name();
  options.model = device.model();
  options.write_masks = MaskMeasurement::kAll;
  options.try_hot_reset = true;
  options.include_identity = device.redactions().empty();
  for (const fixture::Region& region : device.regions()) {
    for (const fixture::ByteRow& row : region.contents()) {
      options.contents.push_back({.bar = region.index(),
                                  .offset = row.offset(),
                                  .length = (row.bytes().size() + 1) / 3});
    }
  }
  return options;
}

// Keeps only the bits of the masks that both of them know.
void KeepCommonMasks(fixture::PciDevice& one, fixture::PciDevice& other) {
  fixture::ConfigImage first = fixture::ExpandConfig(one);
  fixture::ConfigImage second = fixture::ExpandConfig(other);
  for (size_t i = 0; i < first.unknown.size(); ++i) {
    const auto unknown =
        static_cast<uint8_t>(first.unknown[i] | second.unknown[i]);
    for (fixture::ConfigImage* image : {&first, &second}) {
      image->unknown[i] = unknown;
      image->writable[i] = static_cast<uint8_t>(image->writable[i] & ~unknown);
    }
  }
  *one.mutable_write_masks() = ToWriteMasks(first);
  *other.mutable_write_masks() = ToWriteMasks(second);
}

std::string Difference(fixture::PciDevice expected, fixture::PciDevice found) {
  // Fixtures written by hand know other bits.
  if (expected.provenance().tool().empty()) KeepCommonMasks(expected, found);
  expected.clear_provenance();
  found.clear_provenance();
  std::string difference;
  google::protobuf::util::MessageDifferencer differencer;
  differencer.ReportDifferencesToString(&difference);
  differencer.Compare(expected, found);
  return difference;
}

class RoundTripTest : public ::testing::TestWithParam<std::string> {};

TEST_P(RoundTripTest, CaptureOfTheFakeIsTheFixture) {
  const fixture::PciDevice device = Load(GetParam());
  CapturedHost host(device);
  const auto capture = host.Take(OptionsFor(device));
  ASSERT_THAT(capture, IsOk());
  EXPECT_EQ(Difference(device, capture->device), "");
}

TEST_P(RoundTripTest, TextIsReadBackAsTheSame) {
  const fixture::PciDevice device = Load(GetParam());
  const auto read =
      fixture::ParseFixture(FixtureText(device, {"A note."}), "text");
  ASSERT_THAT(read, IsOk());
  EXPECT_EQ(read->SerializeAsString(), device.SerializeAsString());
}

INSTANTIATE_TEST_SUITE_P(Fixtures, RoundTripTest,
                         ::testing::ValuesIn(FixtureNames()),
                         [](const auto& suite) { return suite.param; });

class KernelVersionTest : public ::testing::TestWithParam<fake::KernelVersion> {
};

// The captures differ only in a kernel's flag of MSI-X.
TEST_P(KernelVersionTest, CaptureIsTheSame) {
  fixture::PciDevice device = Load("nvme");
  CapturedHost host(device, GetParam());
  auto capture = host.Take(OptionsFor(device));
  ASSERT_THAT(capture, IsOk());
  for (fixture::PciDevice* each : {&device, &capture->device}) {
    each->mutable_irqs(2)->clear_flags();
  }
  EXPECT_EQ(Difference(device, capture->device), "");
}

INSTANTIATE_TEST_SUITE_P(All, KernelVersionTest,
                         ::testing::ValuesIn(fake::kAllKernelVersions),
                         fake::KernelTestName);

// README.md shows what a capture of edu prints.
TEST(CaptureTest, IsWhatTheReadmeShows) {
  CapturedHost host(Load("edu"));
  auto capture = host.Take({.name = "edu"});
  ASSERT_THAT(capture, IsOk());
  // It has the machine's own, of which the simulated kernel has no name.
  capture->device.mutable_provenance()->set_kernel("6.12.117");
  EXPECT_TRUE(fake::PageShows("testing/capture/README.md",
                              FixtureText(capture->device, capture->notes)));
}

TEST(CaptureTest, LeavesTheDeviceAsItWas) {
  const fixture::PciDevice device = Load("e1000e");
  CapturedHost host(device);
  const std::vector<uint8_t> before = host.PhysicalConfig();
  ASSERT_THAT(host.Take(OptionsFor(device)), IsOk());
  EXPECT_EQ(host.PhysicalConfig(), before);
}

TEST(CaptureTest, WithoutMeasurementNothingIsWrittenToTheHardware) {
  const fixture::PciDevice device = Load("e1000e");
  CapturedHost host(device);
  const auto capture = host.Take();
  ASSERT_THAT(capture, IsOk());
  for (const journal::JournalEntry& call :
       host.kernel().journal().EntriesNamed({"pwrite", "write"})) {
    EXPECT_FALSE(absl::StrContains(call.ToString(), "/sys/")) << call;
  }
  // The bits that the specification fixes are known, and no others.
  const fixture::ConfigImage image = fixture::ExpandConfig(capture->device);
  EXPECT_EQ(image.unknown[0x00], 0x00);
  EXPECT_EQ(image.unknown[0x04], 0xff);
  EXPECT_EQ(image.unknown[0xc8], 0x00);
  EXPECT_THAT(image.writable, Not(Contains(Not(0))));
}

TEST(CaptureTest, DefinedRegistersOnlyLeavesUndefinedOnesUnknown) {
  const fixture::PciDevice device = Load("e1000e");
  CapturedHost host(device);
  const auto capture = host.Take({.write_masks = MaskMeasurement::kDefined});
  ASSERT_THAT(capture, IsOk());
  const fixture::ConfigImage image = fixture::ExpandConfig(capture->device);
  EXPECT_EQ(image.writable[0x04], 0x07);
  EXPECT_EQ(image.unknown[0x04], 0x00);
  EXPECT_EQ(image.unknown[0x40], 0xff);
}

TEST(CaptureTest, ChosenContentsAreReadWithoutTheMsixTable) {
  fixture::PciDevice device = Load("nvme");
  CapturedHost host(device);
  const auto capture =
      host.Take({.contents = {{.bar = 0, .offset = 4, .length = 8},
                              {.bar = 0, .offset = 0x1ff0, .length = 0x20}}});
  ASSERT_THAT(capture, IsOk());
  const fixture::Region& region = capture->device.regions(0);
  ASSERT_EQ(region.contents_size(), 1);
  EXPECT_EQ(region.contents(0).offset(), 0u);
  EXPECT_TRUE(absl::StartsWith(region.contents(0).bytes(), "00 00 00 00 20"));
}

TEST(CaptureTest, RangesOfContents) {
  const auto range = ParseContentsRange("2:0x100+64");
  ASSERT_THAT(range, IsOk());
  EXPECT_EQ(range->bar, 2u);
  EXPECT_EQ(range->offset, 0x100u);
  EXPECT_EQ(range->length, 64u);
  for (const char* wrong : {"", "0", "0:1", "6:0+4", "0:0+0", "0:0+65537",
                            "0:x+4", "-1:0+4", "0:0+4+4"}) {
    EXPECT_THAT(ParseContentsRange(wrong),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr(absl::StrCat("\"", wrong, "\""))));
  }
}

TEST(CaptureTest, ContentsOutsideTheBarAreRefused) {
  CapturedHost host(Load("edu"));
  EXPECT_THAT(
      host.Take({.contents = {{.bar = 0, .offset = 0xfffff, .length = 2}}}),
      StatusIs(absl::StatusCode::kInvalidArgument,
               HasSubstr("BAR 0 of 0000:00:02.0 has 0x100000 bytes")));
}

TEST(CaptureTest, ContentsOfANetworkControllerNeedIdentity) {
  CapturedHost host(Load("rtl8139"));
  const ContentsRange range = {.bar = 1, .offset = 0, .length = 6};
  EXPECT_THAT(host.Take({.contents = {range}}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("network controller"),
                             HasSubstr("--include_identity"))));
  EXPECT_THAT(host.Take({.contents = {range}, .include_identity = true}),
              IsOk());
}

TEST(CaptureRedactionTest, SerialNumberIsZeroAndNamed) {
  const fixture::PciDevice device = Load("e1000e");
  CapturedHost host(device);
  const auto redacted = host.Take();
  ASSERT_THAT(redacted, IsOk());
  const std::vector<uint8_t> config =
      fixture::ExpandConfig(redacted->device).bytes;
  EXPECT_EQ(fixture::ReadLe32(config, 0x144), 0u);
  EXPECT_EQ(fixture::ReadLe32(config, 0x148), 0u);
  ASSERT_EQ(redacted->device.redactions_size(), 1);
  EXPECT_EQ(redacted->device.redactions(0).offset(), 0x144u);
  EXPECT_EQ(redacted->device.redactions(0).length(), 8u);
}

TEST(CaptureRedactionTest, FieldsOfProductDataThatIdentify) {
  fixture::PciDevice device = Load("ivshmem");
  // The only capability is VPD, with "PN" and "SN" in the read-only fields.
  device.mutable_config(0)->set_bytes(
      "f4 1a 10 11 03 01 10 00 01 00 00 05 00 00 00 00");
  fixture::ByteRow* const pointer = device.add_config();
  pointer->set_offset(0x34);
  pointer->set_bytes("40");
  fixture::ByteRow* const capability = device.add_config();
  capability->set_offset(0x40);
  capability->set_bytes("03 00");
  device.add_vpd()->set_bytes(
      "82 02 00 41 42 90 0a 00 50 4e 02 31 32 53 4e 02");
  fixture::ByteRow* const rest = device.add_vpd();
  rest->set_offset(16);
  rest->set_bytes("39 39 78");
  ASSERT_THAT(fixture::Validate(device, "device"), IsOk());
  CapturedHost host(device);
  const auto kept = host.Take({.include_identity = true});
  ASSERT_THAT(kept, IsOk());
  EXPECT_EQ(fixture::ExpandRows(kept->device.vpd(), 32),
            fixture::ExpandRows(device.vpd(), 32));
  const auto redacted = host.Take();
  ASSERT_THAT(redacted, IsOk());
  const std::vector<uint8_t> vpd =
      fixture::ExpandRows(redacted->device.vpd(), 32);
  EXPECT_EQ(vpd[11], 0x31);  // The part number.
  EXPECT_EQ(vpd[16], 0x00);
  EXPECT_EQ(vpd[17], 0x00);
  EXPECT_EQ(vpd[18], 0x78);
  ASSERT_EQ(redacted->device.redactions_size(), 1);
  EXPECT_EQ(redacted->device.redactions(0).space(), fixture::Redaction::VPD);
}

TEST(CaptureRedactionTest, ExpansionRomKeepsItsSignature) {
  fixture::PciDevice device = Load("e1000_82544gc");
  device.mutable_expansion_rom()->set_bar_size(0x10000);
  fixture::ByteRow* const image = device.mutable_expansion_rom()->add_image();
  image->set_bytes("55 aa 01 02");
  fixture::Region* const region = device.add_regions();
  region->set_index(6);
  region->set_size(0x10000);
  region->set_flags(1);
  ASSERT_THAT(fixture::Validate(device, "device"), IsOk());
  CapturedHost host(device);
  const auto redacted = host.Take();
  ASSERT_THAT(redacted, IsOk());
  EXPECT_EQ(redacted->device.expansion_rom().image(0).bytes(), "55 aa");
  EXPECT_THAT(fixture::Validate(redacted->device, "redacted"), IsOk());
  const auto kept = host.Take({.include_identity = true});
  ASSERT_THAT(kept, IsOk());
  EXPECT_EQ(kept->device.expansion_rom().image(0).bytes(), "55 aa 01 02");
}

// A kernel whose sysfs shows only the header of `config`, as for a user without
// CAP_SYS_ADMIN.
class OrdinaryUser final : public kernel::ForwardingSyscalls {
 public:
  using ForwardingSyscalls::ForwardingSyscalls;

  kernel::SyscallResult<int> Open(const char* path, int flags) override {
    const auto opened = ForwardingSyscalls::Open(path, flags);
    if (absl::EndsWith(path, "/config")) config_ = opened.value;
    return opened;
  }
  kernel::SyscallResult<int> Close(int fd) override {
    if (fd == config_) config_ = -1;
    return ForwardingSyscalls::Close(fd);
  }
  kernel::SyscallResult<size_t> Read(int fd, void* buffer,
                                     size_t count) override {
    if (fd != config_) return ForwardingSyscalls::Read(fd, buffer, count);
    const size_t left = 64 - read_;
    const auto done =
        ForwardingSyscalls::Read(fd, buffer, std::min(count, left));
    read_ += done.value;
    return done;
  }

 private:
  int config_ = -1;
  size_t read_ = 0;
};

TEST(CaptureTest, WithoutRootTheRestIsWhatVfioShows) {
  const fixture::PciDevice device = Load("nvme");
  CapturedHost host(device);
  OrdinaryUser user(&host.kernel());
  const auto capture = CaptureDevice(&user, host.bdf(), {});
  ASSERT_THAT(capture, IsOk());
  EXPECT_EQ(capture->device.config_space_size(), 4096u);
  EXPECT_THAT(fixture::Validate(capture->device, "capture"), IsOk());
  EXPECT_EQ(fixture::ExpandConfig(capture->device).bytes[0x40], 0x11);
  EXPECT_THAT(capture->notes, Contains(HasSubstr("Capture as root")));
}

TEST(CaptureErrorTest, NoSuchDevice) {
  CapturedHost host(Load("edu"));
  EXPECT_THAT(CaptureDevice(&host.kernel(), pci::Bdf(0, 9, 0, 0), {}),
              StatusIs(_, HasSubstr("there is no PCI device 0000:09:00.0")));
}

TEST(CaptureErrorTest, BoundToAHostDriver) {
  CapturedHost host(Load("edu"));
  ASSERT_THAT(host.host().vfio().SetDriver(host.bdf(), "edu"), IsOk());
  EXPECT_THAT(host.Take(),
              StatusIs(_, AllOf(HasSubstr("bound to the driver edu"),
                                HasSubstr("driver_override"))));
}

TEST(CaptureErrorTest, GroupThatIsNotViable) {
  fixture::PciDevice device = Load("edu");
  fixture::Sibling* const sibling =
      device.mutable_iommu_group()->add_siblings();
  sibling->set_bdf("0000:00:02.1");
  sibling->set_driver("snd_hda_intel");
  CapturedHost host(device);
  EXPECT_THAT(host.Take(),
              StatusIs(_, HasSubstr("0000:00:02.1 is bound to snd_hda_intel")));
}

TEST(CaptureErrorTest, NoPermissionForTheGroup) {
  CapturedHost host(Load("edu"));
  host.kernel().faults().FailWhen(
      [](const journal::Call& call) {
        return call.name == "open" && call.subject == "/dev/vfio/3";
      },
      EACCES);
  const auto capture = host.Take();
  EXPECT_THAT(capture, StatusIs(absl::StatusCode::kPermissionDenied,
                                HasSubstr("/dev/vfio/3")));
}

TEST(CaptureErrorTest, MeasuringWithoutRoot) {
  CapturedHost host(Load("edu"));
  host.kernel().faults().FailWhen(
      [](const journal::Call& call) {
        const journal::CallField* const flags = call.Find("flags");
        return call.name == "open" && absl::EndsWith(call.subject, "/config") &&
               flags != nullptr && (flags->number & O_RDWR) != 0;
      },
      EACCES);
  EXPECT_THAT(
      host.Take({.write_masks = MaskMeasurement::kDefined}),
      StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("needs root")));
}

}  // namespace
}  // namespace passthru::capture
