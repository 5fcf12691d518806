// SPDX-License-Identifier: Apache-2.0
#include "testing/vfio/fixture.h"

#include <functional>
#include <ostream>
#include <string>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace passthru::fake {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string Path(const std::string& name) {
  return "testing/fixtures/" + name + ".textproto";
}

PciDevice Load(const std::string& name) {
  auto device = LoadFixture(Path(name));
  EXPECT_THAT(device, IsOk());
  return device.value_or(PciDevice());
}

class EveryFixtureTest : public ::testing::TestWithParam<const char*> {};

TEST_P(EveryFixtureTest, IsValid) {
  EXPECT_THAT(LoadFixture(Path(GetParam())), IsOk());
}

INSTANTIATE_TEST_SUITE_P(All, EveryFixtureTest,
                         ::testing::Values("nvme", "edu", "e1000e", "rtl8139",
                                           "xhci", "virtio_net", "ich9_ahci",
                                           "e1000", "ivshmem"),
                         [](const auto& suite) {
                           return std::string(suite.param);
                         });

TEST(LoadFixtureTest, MissingFileSaysWhichAndWhatToDo) {
  EXPECT_THAT(LoadFixture("no/such.textproto"),
              StatusIs(absl::StatusCode::kNotFound,
                       AllOf(StartsWith("no/such.textproto: "),
                             HasSubstr("give the path"))));
}

TEST(ParseFixtureTest, SyntaxErrorHasLineAndColumn) {
  EXPECT_THAT(ParseFixture("schema_version: 1\nname: nvme\n", "a.textproto"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       StartsWith("a.textproto:2:7: ")));
}

TEST(ParseFixtureTest, UnknownFieldHasLineAndName) {
  EXPECT_THAT(ParseFixture("schema_version: 1\nnmae: \"x\"\n", "a.textproto"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(StartsWith("a.textproto:2:"), HasSubstr("nmae"))));
}

TEST(ValidateTest, NamesEveryProblem) {
  PciDevice device = Load("nvme");
  device.set_bdf("02:00");
  device.set_model("floppy");
  const std::string message(Validate(device, "x").message());
  EXPECT_THAT(message, HasSubstr("x: bdf: "));
  EXPECT_THAT(message, HasSubstr("x: model: "));
}

// What is broken in which fixture, which field is named, and what is said.
struct Broken {
  const char* name;
  const char* fixture;
  std::function<void(PciDevice&)> edit;
  const char* field;
  const char* reason;
};

void PrintTo(const Broken& broken, std::ostream* out) { *out << broken.name; }

class ValidateFieldTest : public ::testing::TestWithParam<Broken> {};

TEST_P(ValidateFieldTest, IsNamedWithTheReason) {
  PciDevice device = Load(GetParam().fixture);
  GetParam().edit(device);
  EXPECT_THAT(
      Validate(device, "file"),
      StatusIs(absl::StatusCode::kInvalidArgument,
               AllOf(HasSubstr(std::string("file: ") + GetParam().field + ": "),
                     HasSubstr(GetParam().reason))));
}

// A row of bytes over one that is there.
void SetBytes(PciDevice& device, uint32_t offset, const std::string& bytes) {
  for (ByteRow& row : *device.mutable_config()) {
    if (offset >= row.offset() && offset < row.offset() + 16) {
      row.mutable_bytes()->replace(3 * (offset - row.offset()), bytes.size(),
                                   bytes);
      return;
    }
  }
  FAIL() << "no row at " << offset;
}

const Broken kBroken[] = {
    {"SchemaVersion", "nvme", [](PciDevice& d) { d.set_schema_version(2); },
     "schema_version", "this program reads version 1"},
    {"Name", "nvme", [](PciDevice& d) { d.set_name("NVMe!"); }, "name",
     "not a name"},
    {"Bdf", "nvme", [](PciDevice& d) { d.set_bdf("0000:02:20.0"); }, "bdf",
     "not an address"},
    {"ConfigSpaceSize", "nvme",
     [](PciDevice& d) { d.set_config_space_size(512); }, "config_space_size",
     "256 or 4096"},
    {"NoConfig", "nvme", [](PciDevice& d) { d.clear_config(); }, "config",
     "has no row"},
    {"ConfigBytes", "nvme",
     [](PciDevice& d) { d.mutable_config(1)->set_bytes("04 0 60"); },
     "config[1].bytes", "\"0\" is not a byte"},
    {"ConfigRowEmpty", "nvme",
     [](PciDevice& d) { d.mutable_config(1)->clear_bytes(); },
     "config[1].bytes", "is empty"},
    {"ConfigRowOverlaps", "nvme",
     [](PciDevice& d) { d.mutable_config(1)->set_offset(0x0f); },
     "config[1].offset", "not above the row before"},
    {"ConfigRowOutside", "edu",
     [](PciDevice& d) { d.mutable_config(4)->set_offset(0xf8); },
     "config[4].offset", "beyond the 0x100 bytes"},
    {"WriteMaskBytes", "nvme",
     [](PciDevice& d) { d.mutable_write_masks(0)->set_writable("07 g5"); },
     "write_masks[0].writable", "\"g5\" is not a byte"},
    {"WriteMaskEmpty", "nvme",
     [](PciDevice& d) { d.mutable_write_masks(0)->clear_writable(); },
     "write_masks[0].writable", "is empty"},
    {"WriteMaskUnknownLength", "nvme",
     [](PciDevice& d) { d.mutable_write_masks(0)->set_unknown("00"); },
     "write_masks[0].unknown", "has 1 bytes, `writable` 2"},
    {"WriteMaskUnknownAndWritable", "nvme",
     [](PciDevice& d) { d.mutable_write_masks(0)->set_unknown("01 00"); },
     "write_masks[0].unknown", "`writable` says were measured"},
    {"WriteMaskClearLength", "nvme",
     [](PciDevice& d) {
       d.mutable_write_masks(0)->set_write_one_to_clear("00 00 00");
     },
     "write_masks[0].write_one_to_clear", "has 3 bytes"},
    {"WriteMaskClearAndWritable", "nvme",
     [](PciDevice& d) {
       d.mutable_write_masks(0)->set_write_one_to_clear("00 01");
     },
     "write_masks[0].write_one_to_clear", "bits that are writable"},
    {"WriteMaskLength", "nvme",
     [](PciDevice& d) { d.mutable_write_masks(0)->set_length(3); },
     "write_masks[0].length", "not a multiple of the 2 bytes"},
    {"WriteMaskOrder", "nvme",
     [](PciDevice& d) { d.mutable_write_masks(1)->set_offset(0x05); },
     "write_masks[1].offset", "not above the row before"},
    {"WriteMaskOutside", "edu",
     [](PciDevice& d) { d.mutable_write_masks(3)->set_length(0xb1); },
     "write_masks[3].offset", "beyond config_space_size"},
    {"HeaderType", "nvme", [](PciDevice& d) { SetBytes(d, 0x0e, "01"); },
     "config", "header type"},
    {"NoIdentity", "nvme", [](PciDevice& d) { d.clear_identity(); }, "identity",
     "is missing"},
    {"VendorId", "nvme",
     [](PciDevice& d) { d.mutable_identity()->set_vendor_id(0x8086); },
     "identity.vendor_id", "register 0x00 of `config` is 0x1b36"},
    {"DeviceId", "nvme",
     [](PciDevice& d) { d.mutable_identity()->set_device_id(1); },
     "identity.device_id", "is 0x0010"},
    {"RevisionId", "nvme",
     [](PciDevice& d) { d.mutable_identity()->set_revision_id(1); },
     "identity.revision_id", "is 0x02"},
    {"ClassCode", "nvme",
     [](PciDevice& d) { d.mutable_identity()->set_class_code(1); },
     "identity.class_code", "is 0x010802"},
    {"SubsystemVendorId", "nvme",
     [](PciDevice& d) { d.mutable_identity()->set_subsystem_vendor_id(1); },
     "identity.subsystem_vendor_id", "is 0x1af4"},
    {"SubsystemId", "nvme",
     [](PciDevice& d) { d.mutable_identity()->set_subsystem_id(1); },
     "identity.subsystem_id", "is 0x1100"},
    {"VirtualFunction", "nvme",
     [](PciDevice& d) { d.set_is_virtual_function(true); },
     "identity.vendor_id", "is not 0xffff"},
    {"VirtualFunctionBar", "igb_vf",
     [](PciDevice& d) { d.clear_host_resources(); }, "regions[0].index",
     "host_resources[0] (of a virtual function) holds no address"},
    {"VirtualFunctionBarAlignment", "igb_vf",
     [](PciDevice& d) { d.mutable_host_resources(0)->set_start(0xfea01000); },
     "regions[0].size", "0x4000 does not divide the address 0xfea01000"},
    {"Model", "nvme", [](PciDevice& d) { d.set_model("floppy"); }, "model",
     "not a device model"},
    {"Sibling", "nvme",
     [](PciDevice& d) {
       d.mutable_iommu_group()->add_siblings()->set_bdf("here");
     },
     "iommu_group.siblings[0].bdf", "not an address"},
    {"HostResource", "nvme",
     [](PciDevice& d) { d.mutable_host_resources(0)->set_end(1); },
     "host_resources[0].end", "is below start"},
    {"RegionOrder", "e1000e",
     [](PciDevice& d) { d.mutable_regions(1)->set_index(0); },
     "regions[1].index", "not above 0"},
    {"RegionFlags", "nvme",
     [](PciDevice& d) { d.mutable_regions(0)->set_flags(0x1f); },
     "regions[0].flags", "without a meaning"},
    {"BarSizeNotPowerOfTwo", "nvme",
     [](PciDevice& d) { d.mutable_regions(0)->set_size(0x3000); },
     "regions[0].size", "not a power of two"},
    {"BarSizeTooSmall", "edu",
     [](PciDevice& d) {
       d.mutable_regions(0)->set_size(8);
       d.mutable_regions(0)->clear_contents();
     },
     "regions[0].size", "less than a memory BAR"},
    {"IoBarSizeTooLarge", "e1000e",
     [](PciDevice& d) { d.mutable_regions(2)->set_size(1 << 17); },
     "regions[2].size", "more than an I/O BAR"},
    {"BarSizeAgainstAddress", "edu",
     [](PciDevice& d) { d.mutable_regions(0)->set_size(uint64_t{1} << 24); },
     "regions[0].size", "does not divide the address"},
    {"BarSizeAgainstWriteMask", "edu",
     [](PciDevice& d) {
       WriteMask row;
       row.set_offset(0x10);
       row.set_writable("00 00 f8 ff");
       WriteMask* added = d.add_write_masks();
       for (int i = d.write_masks_size() - 1; i > 2; --i) {
         d.mutable_write_masks()->SwapElements(i, i - 1);
       }
       added = d.mutable_write_masks(2);
       *added = row;
     },
     "regions[0].size", "write_masks say that bits 0x00080000"},
    {"BarWithoutAddress", "edu",
     [](PciDevice& d) { SetBytes(d, 0x10, "00 00 00 00"); }, "regions[0].index",
     "holds no address"},
    {"Bar5Wide", "ich9_ahci", [](PciDevice& d) { SetBytes(d, 0x24, "04"); },
     "regions[1].index", "there is no upper half"},
    {"IoBarMapped", "e1000e",
     [](PciDevice& d) { d.mutable_regions(2)->set_flags(7); },
     "regions[2].flags", "cannot be mmapped"},
    {"BarWithoutRegion", "e1000e",
     [](PciDevice& d) { d.mutable_regions()->DeleteSubrange(1, 1); }, "regions",
     "none for BAR 1"},
    {"UpperHalfHasRegion", "nvme",
     [](PciDevice& d) {
       Region* region = d.add_regions();
       region->set_index(1);
       region->set_size(0x1000);
     },
     "regions", "BAR 1 is the upper half"},
    {"CapabilityFlagMissing", "nvme",
     [](PciDevice& d) { d.mutable_regions(0)->set_flags(7); },
     "regions[0].flags", "lacks the capabilities flag"},
    {"CapabilityMissing", "edu",
     [](PciDevice& d) { d.mutable_regions(0)->set_flags(0xf); },
     "regions[0].flags", "but there are none"},
    {"CapabilityTwice", "nvme",
     [](PciDevice& d) {
       d.mutable_regions(0)->add_capabilities()->mutable_msix_mappable();
     },
     "regions[0].capabilities[1]", "second capability of the same kind"},
    {"CapabilityWithoutKind", "nvme",
     [](PciDevice& d) { d.mutable_regions(0)->add_capabilities(); },
     "regions[0].capabilities[1]", "says no kind"},
    {"MsixMappableElsewhere", "e1000e",
     [](PciDevice& d) {
       d.mutable_regions(0)->set_flags(0xf);
       d.mutable_regions(0)->add_capabilities()->mutable_msix_mappable();
     },
     "regions[0].capabilities[0].msix_mappable", "not in this region"},
    {"UnknownCapabilityId", "nvme",
     [](PciDevice& d) {
       d.mutable_regions(0)->add_capabilities()->mutable_unknown()->set_id(
           0x10000);
     },
     "regions[0].capabilities[1].unknown", "16 bits"},
    {"UnknownCapabilityBytes", "nvme",
     [](PciDevice& d) {
       d.mutable_regions(0)->add_capabilities()->mutable_unknown()->set_bytes(
           "zz");
     },
     "regions[0].capabilities[1].unknown.bytes", "not a byte"},
    {"SparseAreaUnaligned", "nvme",
     [](PciDevice& d) {
       auto* area = d.mutable_regions(0)
                        ->add_capabilities()
                        ->mutable_sparse_mmap()
                        ->add_areas();
       area->set_offset(0x800);
       area->set_size(0x1000);
     },
     "regions[0].capabilities[1].sparse_mmap.areas[0].offset",
     "not page aligned"},
    {"SparseAreaEmpty", "nvme",
     [](PciDevice& d) {
       d.mutable_regions(0)
           ->add_capabilities()
           ->mutable_sparse_mmap()
           ->add_areas();
     },
     "regions[0].capabilities[1].sparse_mmap.areas[0].size",
     "not a number of pages"},
    {"SparseAreaOutside", "nvme",
     [](PciDevice& d) {
       auto* area = d.mutable_regions(0)
                        ->add_capabilities()
                        ->mutable_sparse_mmap()
                        ->add_areas();
       area->set_offset(0x3000);
       area->set_size(0x2000);
     },
     "regions[0].capabilities[1].sparse_mmap.areas[0].size",
     "ends beyond the region"},
    {"SparseAreasOverlap", "nvme",
     [](PciDevice& d) {
       auto* sparse =
           d.mutable_regions(0)->add_capabilities()->mutable_sparse_mmap();
       sparse->add_areas()->set_size(0x2000);
       auto* area = sparse->add_areas();
       area->set_offset(0x1000);
       area->set_size(0x1000);
     },
     "regions[0].capabilities[1].sparse_mmap.areas[1].offset",
     "not above the area before"},
    {"ContentsOutside", "edu",
     [](PciDevice& d) {
       d.mutable_regions(0)->mutable_contents(0)->set_offset(0xfffff);
     },
     "regions[0].contents[0].offset", "beyond the 0x100000 bytes"},
    {"ConfigRegionSize", "edu",
     [](PciDevice& d) {
       Region* region = d.add_regions();
       region->set_index(7);
       region->set_size(4096);
     },
     "regions[1].size", "is not config_space_size"},
    {"DeviceRegionWithoutType", "edu",
     [](PciDevice& d) { d.add_regions()->set_index(9); },
     "regions[1].capabilities", "says its type"},
    {"RomMissing", "edu",
     [](PciDevice& d) { SetBytes(d, 0x30, "00 00 f0 fd"); }, "expansion_rom",
     "is missing, though register 0x30"},
    {"RomRegionWithoutRom", "edu",
     [](PciDevice& d) {
       Region* region = d.add_regions();
       region->set_index(6);
       region->set_size(0x1000);
     },
     "expansion_rom", "though region 6 has a size"},
    {"RomSize", "edu",
     [](PciDevice& d) { d.mutable_expansion_rom()->set_bar_size(1024); },
     "expansion_rom.bar_size", "not a power of two from 2 KiB"},
    {"RomSizeAgainstAddress", "edu",
     [](PciDevice& d) {
       SetBytes(d, 0x30, "00 10 f0 fd");
       d.mutable_expansion_rom()->set_bar_size(0x10000);
     },
     "expansion_rom.bar_size", "does not divide the address"},
    {"RomImageWithoutRegion", "edu",
     [](PciDevice& d) {
       d.mutable_expansion_rom()->set_bar_size(2048);
       d.mutable_expansion_rom()->add_image()->set_bytes("55 aa");
     },
     "expansion_rom.image", "shows a region 6 of 0x800 bytes"},
    {"RomImageOutside", "edu",
     [](PciDevice& d) {
       d.mutable_expansion_rom()->set_bar_size(2048);
       ByteRow* row = d.mutable_expansion_rom()->add_image();
       row->set_offset(2047);
       row->set_bytes("55 aa");
     },
     "expansion_rom.image[0].offset", "beyond the 0x800 bytes"},
    {"IrqIndex", "nvme", [](PciDevice& d) { d.mutable_irqs(4)->set_index(5); },
     "irqs[4].index", "not an interrupt index"},
    {"IrqOrder", "nvme", [](PciDevice& d) { d.mutable_irqs(1)->set_index(0); },
     "irqs[1].index", "not above 0"},
    {"IrqFlags", "nvme",
     [](PciDevice& d) { d.mutable_irqs(0)->set_flags(0x17); }, "irqs[0].flags",
     "without a meaning"},
    {"IntxCount", "nvme", [](PciDevice& d) { d.mutable_irqs(0)->set_count(0); },
     "irqs", "index 0 has count 0; `config` says 1"},
    {"MsiCount", "edu", [](PciDevice& d) { d.mutable_irqs(1)->set_count(2); },
     "irqs", "index 1 has count 2; `config` says 1"},
    {"MsixCount", "nvme",
     [](PciDevice& d) { d.mutable_irqs(2)->set_count(64); }, "irqs",
     "index 2 has count 64; `config` says 65"},
    {"ErrorIrqOfConventional", "edu",
     [](PciDevice& d) {
       d.mutable_irqs(3)->set_index(3);
       d.add_irqs()->set_index(4);
       d.mutable_irqs(4)->set_count(1);
     },
     "irqs", "index 3 has count 1; `config` says 0"},
    {"RequestIrqMissing", "edu",
     [](PciDevice& d) { d.mutable_irqs()->RemoveLast(); }, "irqs",
     "index 4 has count 0; `config` says 1"},
    {"MsixTableOutsideBar", "nvme",
     [](PciDevice& d) { SetBytes(d, 0x44, "00 3c 00 00"); }, "config",
     "the MSI-X table, 0x410 bytes at 0x3c00 of BAR 0, is not inside"},
    {"MsixTableInAbsentBar", "nvme",
     [](PciDevice& d) { SetBytes(d, 0x44, "02 20 00 00"); }, "config",
     "of BAR 2, is not inside"},
    {"MsixPbaOutsideBar", "nvme",
     [](PciDevice& d) { SetBytes(d, 0x48, "f8 3f 00 00"); }, "config",
     "the MSI-X pending bit array"},
    {"MsixEntryWithoutCapability", "edu",
     [](PciDevice& d) { d.add_msix_table(); }, "msix_table",
     "no MSI-X capability"},
    {"MsixEntryBeyondTable", "nvme",
     [](PciDevice& d) { d.add_msix_table()->set_vector(65); },
     "msix_table[0].vector", "beyond the 65 vectors"},
    {"MsixEntryTwice", "nvme",
     [](PciDevice& d) {
       d.add_msix_table();
       d.add_msix_table();
     },
     "msix_table[1].vector", "is there twice"},
    {"ResetMethodUnspecified", "nvme",
     [](PciDevice& d) {
       d.mutable_reset()->add_methods(Reset::METHOD_UNSPECIFIED);
     },
     "reset.methods[2]", "is not a method"},
    {"ResetMethodTwice", "nvme",
     [](PciDevice& d) { d.mutable_reset()->add_methods(Reset::BUS); },
     "reset.methods[2]", "BUS is there twice"},
    {"FlrWithoutCapability", "e1000e",
     [](PciDevice& d) { d.mutable_reset()->add_methods(Reset::FLR); },
     "reset.methods[2]", "Device Capabilities in `config` does not have it"},
    {"AfFlrWithoutCapability", "edu",
     [](PciDevice& d) { d.mutable_reset()->add_methods(Reset::AF_FLR); },
     "reset.methods[0]", "no Advanced Features capability"},
    {"PmResetWithoutCapability", "nvme",
     [](PciDevice& d) {
       d.mutable_reset()->add_methods(Reset::POWER_MANAGEMENT);
     },
     "reset.methods[2]", "No_Soft_Reset clear"},
    {"HotResetErrno", "edu",
     [](PciDevice& d) { d.mutable_reset()->set_hot_reset_errno(25); },
     "reset.hot_reset_errno", "hot_reset_listed is not"},
    {"HotResetAffects", "nvme",
     [](PciDevice& d) { d.mutable_reset()->add_hot_reset_also_affects("all"); },
     "reset.hot_reset_also_affects[0]", "not an address"},
    {"VpdWithoutCapability", "nvme",
     [](PciDevice& d) { d.add_vpd()->set_bytes("82"); }, "vpd",
     "no Vital Product Data capability"},
    {"RedactionSpace", "nvme", [](PciDevice& d) { d.add_redactions(); },
     "redactions[0].space", "says no space"},
    {"RedactionEmpty", "nvme",
     [](PciDevice& d) { d.add_redactions()->set_space(Redaction::CONFIG); },
     "redactions[0].length", "is 0"},
    {"RedactionOutside", "nvme",
     [](PciDevice& d) {
       Redaction* redaction = d.add_redactions();
       redaction->set_space(Redaction::REGION);
       redaction->set_offset(0x4000);
       redaction->set_length(1);
     },
     "redactions[0].offset", "not inside a space of 0x4000 bytes"},
    {"RedactionWithoutWhat", "nvme",
     [](PciDevice& d) {
       Redaction* redaction = d.add_redactions();
       redaction->set_space(Redaction::CONFIG);
       redaction->set_length(1);
     },
     "redactions[0].what", "say what stood there"},
};

INSTANTIATE_TEST_SUITE_P(All, ValidateFieldTest, ::testing::ValuesIn(kBroken),
                         [](const auto& suite) {
                           return std::string(suite.param.name);
                         });

}  // namespace
}  // namespace passthru::fake
