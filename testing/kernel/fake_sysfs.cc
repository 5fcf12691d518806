// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/kernel/fake_sysfs.h"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/types/span.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/testing/journal/user_memory.h"
#include "passthru/testing/kernel/fake_file.h"

namespace passthru::fake {
namespace {

using kernel::SyscallResult;

// Linux calls it MAXSYMLINKS.
constexpr int kMaxLinks = 40;

// The most that one write hands to an attribute (PAGE_SIZE).
constexpr size_t kAttributeBytes = 4096;

// An open text attribute or directory.
class TextFile final : public PositionedFile {
 public:
  TextFile(std::string path, std::string contents)
      : path_(std::move(path)), contents_(std::move(contents)) {}

  std::string Describe() const override { return path_; }

  std::optional<uint64_t> size() const override { return contents_.size(); }

  SyscallResult<size_t> Pread(void* buffer, size_t count,
                              uint64_t offset) override {
    if (offset >= contents_.size()) return {.value = 0};
    const size_t length = std::min<size_t>(count, contents_.size() - offset);
    if (!journal::CopyToUser(buffer, contents_.data() + offset, length)) {
      return {.error = EFAULT};
    }
    return {.value = length};
  }

  // The attributes are never open for writing.
  SyscallResult<size_t> Pwrite(const void*, size_t, uint64_t) override {
    return {.error = EBADF};
  }

 private:
  const std::string path_;
  const std::string contents_;
};

// An open attribute that is made on each read (struct device_attribute).
class AttributeFile final : public PositionedFile {
 public:
  AttributeFile(std::string path, SysfsAttribute attribute, bool writes)
      : path_(std::move(path)),
        attribute_(std::move(attribute)),
        writes_(writes) {}

  std::string Describe() const override { return path_; }

  // The inode does not know the size of the text (sysfs_add_file_mode_ns()).
  std::optional<uint64_t> size() const override { return kAttributeBytes; }

  bool takes_plain_writes() const override { return writes_; }

  // Like kernfs_seq_show(), asks for the text when a read begins at its start.
  SyscallResult<size_t> Pread(void* buffer, size_t count,
                              uint64_t offset) override {
    if (attribute_.show == nullptr) return {.error = EBADF};
    if (offset == 0) text_ = attribute_.show();
    if (offset >= text_.size()) return {.value = 0};
    const size_t length = std::min<size_t>(count, text_.size() - offset);
    if (!journal::CopyToUser(buffer, text_.data() + offset, length)) {
      return {.error = EFAULT};
    }
    return {.value = length};
  }

  // Like kernfs_fop_write_iter(), hands over each write by itself, wherever the
  // file's position is.
  SyscallResult<size_t> Pwrite(const void* buffer, size_t count,
                               uint64_t) override {
    if (!writes_) return {.error = EBADF};
    std::string text(std::min(count, kAttributeBytes), '\0');
    if (!journal::CopyFromUser(text.data(), buffer, text.size())) {
      return {.error = EFAULT};
    }
    if (const int error = attribute_.store(text); error != 0) {
      return {.error = error};
    }
    return {.value = text.size()};
  }

 private:
  const std::string path_;
  const SysfsAttribute attribute_;
  const bool writes_;
  std::string text_;
};

// An open binary attribute, which answers like sysfs_kf_bin_read() and
// sysfs_kf_bin_write().
class BinaryFile final : public PositionedFile {
 public:
  BinaryFile(std::string path, std::shared_ptr<BinaryAttribute> attribute)
      : path_(std::move(path)), attribute_(std::move(attribute)) {}

  std::string Describe() const override { return path_; }

  std::optional<uint64_t> size() const override { return attribute_->size(); }

  SyscallResult<size_t> Pread(void* buffer, size_t count,
                              uint64_t offset) override {
    const uint64_t size = attribute_->size();
    // Most accesses are to a register, and need no memory of the heap.
    absl::InlinedVector<uint8_t, 64> data(
        std::min<uint64_t>(count, size - std::min(size, offset)));
    attribute_->Read(offset, absl::MakeSpan(data));
    if (!journal::CopyToUser(buffer, data.data(), data.size()))
      return {.error = EFAULT};
    return {.value = data.size()};
  }

  SyscallResult<size_t> Pwrite(const void* buffer, size_t count,
                               uint64_t offset) override {
    const uint64_t size = attribute_->size();
    if (offset >= size) return {.error = EFBIG};
    absl::InlinedVector<uint8_t, 64> data(
        std::min<uint64_t>(count, size - offset));
    if (!journal::CopyFromUser(data.data(), buffer, data.size())) {
      return {.error = EFAULT};
    }
    attribute_->Write(offset, data);
    return {.value = data.size()};
  }

 private:
  const std::string path_;
  const std::shared_ptr<BinaryAttribute> attribute_;
};

std::deque<std::string> Components(std::string_view path) {
  return absl::StrSplit(path, '/', absl::SkipEmpty());
}

// Returns the text by which a driver's module is found (pci_uevent()).
std::string ModuleAlias(const SysfsPciDevice& device) {
  return absl::StrFormat(
      "pci:v%08Xd%08Xsv%08Xsd%08Xbc%02Xsc%02Xi%02X", device.vendor,
      device.device, device.subsystem_vendor, device.subsystem_device,
      device.class_code >> 16 & 0xff, device.class_code >> 8 & 0xff,
      device.class_code & 0xff);
}

// Parses what kstrtobool() takes, by its first letters.
bool ParseBool(std::string_view text, bool* value) {
  if (text.empty()) return false;
  if (absl::StrContains("yYtT1", text[0])) {
    *value = true;
    return true;
  }
  *value = false;
  if (absl::StrContains("nNfF0", text[0])) return true;
  if (text.size() < 2 || (text[0] != 'o' && text[0] != 'O')) return false;
  *value = text[1] == 'n' || text[1] == 'N';
  return *value || text[1] == 'f' || text[1] == 'F';
}

// An attribute that keeps a bool. One that takes numbers takes any
// (kstrtoul()), and another one takes words (kstrtobool()).
SysfsAttribute KeptBool(bool value, bool takes_numbers) {
  const auto kept = std::make_shared<bool>(value);
  return {.show = [kept] { return std::string(*kept ? "1\n" : "0\n"); },
          .store =
              [kept, takes_numbers](std::string_view text) {
                bool written = false;
                if (uint64_t number = 0; takes_numbers) {
                  if (!absl::SimpleAtoi(text, &number)) return EINVAL;
                  written = number != 0;
                } else if (!ParseBool(text, &written)) {
                  return EINVAL;
                }
                *kept = written;
                return 0;
              }};
}

// An attribute that keeps the node of a machine that has one (numa_node_show(),
// numa_node_store()).
SysfsAttribute KeptNode() {
  const auto node = std::make_shared<int>(-1);
  return {.show = [node] { return absl::StrCat(*node, "\n"); },
          .store =
              [node](std::string_view text) {
                int written = 0;
                if (!absl::SimpleAtoi(text, &written) || written < -1 ||
                    written > 0) {
                  return EINVAL;
                }
                *node = written;
                return 0;
              }};
}

std::string UeventOf(const SysfsPciDevice& device) {
  return absl::StrCat(
      device.driver.empty() ? "" : absl::StrCat("DRIVER=", device.driver, "\n"),
      absl::StrFormat("PCI_CLASS=%04X\nPCI_ID=%04X:%04X\n"
                      "PCI_SUBSYS_ID=%04X:%04X\nPCI_SLOT_NAME=%s\n",
                      device.class_code, device.vendor, device.device,
                      device.subsystem_vendor, device.subsystem_device,
                      device.bdf),
      "MODALIAS=", ModuleAlias(device), "\n");
}

}  // namespace

std::string FakeSysfs::DevicePath(std::string_view bdf) {
  // Here "0000:01:00.0" is directly below a root bus "pci0000:01", because
  // FakeSysfs shows no bridges.
  return absl::StrCat("/sys/devices/pci", bdf.substr(0, bdf.rfind(':')), "/",
                      bdf);
}

struct FakeSysfs::Node {
  using Type = FakeSysfs::Type;
  Type type = Type::kDirectory;
  std::string path;  // Absolute and without links.
  Node* parent = nullptr;
  std::map<std::string, std::unique_ptr<Node>, std::less<>> children;
  std::string text;  // The target, if it is a link.
  SysfsAttribute made;
  std::shared_ptr<BinaryAttribute> attribute;
  Opener opener;
  int open_error = 0;
};

FakeSysfs::FakeSysfs() : root_(std::make_unique<Node>()) {
  root_->path = "";
  root_->parent = root_.get();
  AddDirectory("/sys/bus/pci/devices");
  AddDirectory("/sys/bus/pci/drivers/vfio-pci");
  AddDirectory("/sys/kernel/iommu_groups");
  AddDirectory("/dev");
}

FakeSysfs::~FakeSysfs() = default;

bool FakeSysfs::Owns(std::string_view path) {
  // These are beginnings of names, as in "pci0000:00" and "vfio_pci".
  for (const std::string_view begin :
       {"/sys/devices/pci", "/sys/module/vfio"}) {
    if (absl::StartsWith(path, begin)) return true;
  }
  static constexpr std::array<std::string_view, 6> kPrefixes = {
      "/dev/vfio",           "/dev/kvm",
      "/dev/iommu",          "/sys/bus/pci",
      "/sys/class/vfio-dev", "/sys/kernel/iommu_groups"};
  return std::any_of(
      kPrefixes.begin(), kPrefixes.end(), [path](std::string_view prefix) {
        if (!absl::StartsWith(path, prefix)) return false;
        return path.size() == prefix.size() || path[prefix.size()] == '/';
      });
}

void FakeSysfs::Adopt(std::string_view path) { adopted_.emplace_back(path); }

bool FakeSysfs::Has(std::string_view path) const {
  return Owns(path) ||
         std::any_of(adopted_.begin(), adopted_.end(),
                     [path](std::string_view adopted) {
                       return path == adopted ||
                              absl::StartsWith(path,
                                               absl::StrCat(adopted, "/"));
                     });
}

FakeSysfs::Node* FakeSysfs::MakeNode(std::string_view path) {
  ++changes_;
  Node* node = root_.get();
  for (const std::string_view name :
       absl::StrSplit(path, '/', absl::SkipEmpty())) {
    auto found = node->children.find(name);
    if (found == node->children.end()) {
      auto child = std::make_unique<Node>();
      child->path = absl::StrCat(node->path, "/", name);
      child->parent = node;
      found = node->children.emplace(name, std::move(child)).first;
    }
    node = found->second.get();
  }
  return node;
}

void FakeSysfs::AddDirectory(std::string_view path) {
  MakeNode(path)->type = Node::Type::kDirectory;
}

void FakeSysfs::AddFile(std::string_view path, std::string contents) {
  Node* const node = MakeNode(path);
  node->type = Node::Type::kText;
  node->text = std::move(contents);
}

void FakeSysfs::AddBinaryFile(std::string_view path,
                              std::shared_ptr<BinaryAttribute> attribute) {
  Node* const node = MakeNode(path);
  node->type = Node::Type::kBinary;
  node->attribute = std::move(attribute);
}

void FakeSysfs::AddAttribute(std::string_view path, SysfsAttribute attribute) {
  Node* const node = MakeNode(path);
  node->type = Node::Type::kAttribute;
  node->made = std::move(attribute);
}

void FakeSysfs::AddLink(std::string_view path, std::string target) {
  Node* const node = MakeNode(path);
  node->type = Node::Type::kLink;
  node->text = std::move(target);
}

void FakeSysfs::AddCharacterDevice(std::string_view path, Opener opener) {
  Node* const node = MakeNode(path);
  node->type = Node::Type::kCharacterDevice;
  node->opener = std::move(opener);
}

void FakeSysfs::Remove(std::string_view path) {
  const SyscallResult<Node*> found = Resolve(path, /*follow_last=*/false);
  if (!found.ok() || found.value == root_.get()) return;
  ++changes_;
  Node* const parent = found.value->parent;
  parent->children.erase(
      found.value->path.substr(found.value->path.rfind('/') + 1));
}

void FakeSysfs::SetOpenError(std::string_view path, int error) {
  const SyscallResult<Node*> found = Resolve(path, /*follow_last=*/true);
  if (found.ok()) found.value->open_error = error;
}

// Follows links on the way, at most kMaxLinks of them, like path_lookupat().
SyscallResult<FakeSysfs::Node*> FakeSysfs::Resolve(std::string_view path,
                                                   bool follow_last) const {
  std::deque<std::string> rest = Components(path);
  if (path.empty()) return {.error = ENOENT};
  Node* node = root_.get();
  int links = 0;
  while (!rest.empty()) {
    const std::string name = rest.front();
    rest.pop_front();
    if (node->type != Node::Type::kDirectory) return {.error = ENOTDIR};
    if (name == ".") continue;
    if (name == "..") {
      node = node->parent;
      continue;
    }
    const auto child = node->children.find(name);
    if (child == node->children.end()) return {.error = ENOENT};
    Node* const next = child->second.get();
    if (next->type == Node::Type::kLink && (!rest.empty() || follow_last)) {
      if (++links > kMaxLinks) return {.error = ELOOP};
      if (absl::StartsWith(next->text, "/")) node = root_.get();
      const std::deque<std::string> target = Components(next->text);
      rest.insert(rest.begin(), target.begin(), target.end());
      continue;
    }
    node = next;
  }
  return {.value = node};
}

SyscallResult<std::shared_ptr<FakeFile>> FakeSysfs::Open(std::string_view path,
                                                         int flags) {
  const SyscallResult<Node*> found = Resolve(path, (flags & O_NOFOLLOW) == 0);
  if (!found.ok()) return {.error = found.error};
  Node* const node = found.value;
  if ((flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL)) {
    return {.error = EEXIST};
  }
  if (node->type == Node::Type::kLink) return {.error = ELOOP};
  if ((flags & O_DIRECTORY) != 0 && node->type != Node::Type::kDirectory) {
    return {.error = ENOTDIR};
  }
  if (node->open_error != 0) return {.error = node->open_error};
  const bool writes = (flags & O_ACCMODE) != O_RDONLY;
  switch (node->type) {
    case Node::Type::kDirectory:
      if (writes) return {.error = EISDIR};
      return {.value = std::make_shared<TextFile>(node->path, "")};
    case Node::Type::kText:
      if (writes) return {.error = EACCES};
      return {.value = std::make_shared<TextFile>(node->path, node->text)};
    case Node::Type::kAttribute: {
      const bool reads = (flags & O_ACCMODE) != O_WRONLY;
      // Even root may not (KERNFS_ROOT_EXTRA_OPEN_PERM_CHECK).
      if ((writes && node->made.store == nullptr) ||
          (reads && node->made.show == nullptr)) {
        return {.error = EACCES};
      }
      return {.value = std::make_shared<AttributeFile>(node->path, node->made,
                                                       writes)};
    }
    case Node::Type::kBinary:
      return {.value =
                  std::make_shared<BinaryFile>(node->path, node->attribute)};
    case Node::Type::kCharacterDevice:
      return node->opener(flags);
    case Node::Type::kLink:
      break;
  }
  return {.error = ELOOP};
}

SyscallResult<std::string> FakeSysfs::Readlink(std::string_view path) const {
  const SyscallResult<Node*> found = Resolve(path, /*follow_last=*/false);
  if (!found.ok()) return {.error = found.error};
  if (found.value->type != Node::Type::kLink) return {.error = EINVAL};
  return {.value = found.value->text};
}

SyscallResult<std::vector<std::string>> FakeSysfs::ReadDirectory(
    std::string_view path) const {
  const SyscallResult<Node*> found = Resolve(path, /*follow_last=*/true);
  if (!found.ok()) return {.error = found.error};
  if (found.value->type != Node::Type::kDirectory) return {.error = ENOTDIR};
  std::vector<std::string> names;
  for (const auto& [name, child] : found.value->children) {
    names.push_back(name);
  }
  return {.value = std::move(names)};
}

std::vector<FakeSysfs::Entry> FakeSysfs::All() const {
  std::vector<Entry> all;
  std::vector<const Node*> left = {root_.get()};
  while (!left.empty()) {
    const Node* const node = left.back();
    left.pop_back();
    for (const auto& [name, child] : node->children) {
      all.push_back(
          {.path = child->path,
           .type = child->type,
           .text = child->text,
           .size = child->attribute == nullptr ? 0 : child->attribute->size(),
           .readable =
               child->type != Type::kAttribute || child->made.show != nullptr,
           .writable = child->type == Type::kAttribute &&
                       child->made.store != nullptr});
      left.push_back(child.get());
    }
  }
  return all;
}

void FakeSysfs::AddPciDevice(const SysfsPciDevice& device) {
  RemovePciDevice(device.bdf);
  const std::string base = DevicePath(device.bdf);
  AddDirectory(base);
  const auto hex = [&](std::string_view name, uint32_t value, int digits) {
    AddFile(absl::StrCat(base, "/", name),
            absl::StrFormat("0x%0*x\n", digits, value));
  };
  hex("vendor", device.vendor, 4);
  hex("device", device.device, 4);
  hex("subsystem_vendor", device.subsystem_vendor, 4);
  hex("subsystem_device", device.subsystem_device, 4);
  hex("class", device.class_code, 6);
  hex("revision", device.revision, 2);
  const auto text = [&](std::string_view name, std::string contents) {
    AddFile(absl::StrCat(base, "/", name), std::move(contents));
  };
  text("irq", absl::StrCat(device.irq, "\n"));
  text("modalias", absl::StrCat(ModuleAlias(device), "\n"));
  const auto attribute = [&](std::string_view name, SysfsAttribute made) {
    AddAttribute(absl::StrCat(base, "/", name), std::move(made));
  };
  attribute("numa_node", KeptNode());
  attribute("broken_parity_status", KeptBool(false, /*takes_numbers=*/true));
  attribute("msi_bus", KeptBool(true, /*takes_numbers=*/true));
  // pci_pm_init() allows it.
  attribute("d3cold_allowed",
            KeptBool(device.has_power_management, /*takes_numbers=*/true));
  text("local_cpulist", "0\n");
  text("local_cpus", "1\n");
  text("dma_mask_bits", "32\n");
  text("consistent_dma_mask_bits", "32\n");
  text("ari_enabled", device.has_ari ? "1\n" : "0\n");
  for (const auto& [name, value] :
       {std::pair("current_link_speed", &device.link_speed),
        std::pair("current_link_width", &device.link_width),
        std::pair("max_link_speed", &device.max_link_speed),
        std::pair("max_link_width", &device.max_link_width)}) {
    if (!value->empty()) text(name, absl::StrCat(*value, "\n"));
  }
  AddAttribute(absl::StrCat(base, "/uevent"),
               {.show =
                    [this, bdf = device.bdf] {
                      const auto found = pci_devices_.find(bdf);
                      return found == pci_devices_.end()
                                 ? std::string()
                                 : UeventOf(found->second);
                    },
                .store = [](std::string_view) { return 0; }});
  if (device.sriov.has_value()) {
    const auto number = [&](std::string_view name, uint32_t value) {
      text(name, absl::StrCat(value, "\n"));
    };
    number("sriov_totalvfs", device.sriov->total_vfs);
    number("sriov_offset", device.sriov->offset);
    number("sriov_stride", device.sriov->stride);
    attribute("sriov_drivers_autoprobe",
              KeptBool(true, /*takes_numbers=*/false));
    number("sriov_vf_total_msix", 0);
    text("sriov_vf_device", absl::StrFormat("%x\n", device.sriov->vf_device));
  }
  AddFile(absl::StrCat(base, "/resource"), device.resource);
  if (!device.reset_method.empty()) {
    AddFile(absl::StrCat(base, "/reset_method"), device.reset_method);
  }
  if (device.config != nullptr) {
    AddBinaryFile(absl::StrCat(base, "/config"), device.config);
  }
  // This class does not know the physical function.
  if (device.is_virtual_function) AddLink(absl::StrCat(base, "/physfn"), "..");
  AddLink(absl::StrCat(base, "/subsystem"), "../../../bus/pci");
  AddLink(absl::StrCat("/sys/bus/pci/devices/", device.bdf),
          absl::StrCat("../../..", base.substr(std::strlen("/sys"))));
  if (device.iommu_group.has_value()) {
    const std::string group =
        absl::StrCat("/kernel/iommu_groups/", *device.iommu_group);
    AddLink(absl::StrCat(base, "/iommu_group"),
            absl::StrCat("../../..", group));
    AddFile(absl::StrCat("/sys", group, "/type"), "DMA-FQ\n");
    AddFile(absl::StrCat("/sys", group, "/reserved_regions"),
            "0x00000000fee00000 0x00000000feefffff msi\n");
    AddLink(absl::StrCat("/sys", group, "/devices/", device.bdf),
            absl::StrCat("../../../..", base.substr(std::strlen("/sys"))));
  }
  pci_devices_[device.bdf] = device;
  SetDriver(device.bdf, device.driver);
}

void FakeSysfs::SetDriver(std::string_view bdf, const std::string& driver) {
  const auto device = pci_devices_.find(bdf);
  if (device == pci_devices_.end()) return;
  const std::string link = absl::StrCat(DevicePath(bdf), "/driver");
  Remove(link);
  const std::string old = std::exchange(device->second.driver, driver);
  if (!old.empty()) {
    Remove(absl::StrCat("/sys/bus/pci/drivers/", old, "/", bdf));
  }
  if (driver.empty()) return;
  AddLink(link, absl::StrCat("../../../bus/pci/drivers/", driver));
  AddLink(
      absl::StrCat("/sys/bus/pci/drivers/", driver, "/", bdf),
      absl::StrCat("../../../..", DevicePath(bdf).substr(std::strlen("/sys"))));
}

std::string FakeSysfs::DriverOf(std::string_view bdf) const {
  const auto device = pci_devices_.find(bdf);
  return device == pci_devices_.end() ? "" : device->second.driver;
}

void FakeSysfs::RemovePciDevice(std::string_view bdf) {
  const auto device = pci_devices_.find(bdf);
  if (device == pci_devices_.end()) return;
  SetDriver(bdf, "");
  if (device->second.iommu_group.has_value()) {
    const std::string group =
        absl::StrCat("/sys/kernel/iommu_groups/", *device->second.iommu_group);
    Remove(absl::StrCat(group, "/devices/", bdf));
    const auto left = ReadDirectory(absl::StrCat(group, "/devices"));
    if (left.ok() && left.value.empty()) Remove(group);
  }
  Remove(absl::StrCat("/sys/bus/pci/devices/", bdf));
  Remove(DevicePath(bdf));
  pci_devices_.erase(device);
}

}  // namespace passthru::fake
