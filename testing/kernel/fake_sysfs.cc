// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/kernel/fake_sysfs.h"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/testing/kernel/fake_file.h"
#include "passthru/testing/kernel/sysfs_file.h"

namespace passthru::fake {
namespace {

using kernel::SyscallResult;

// Linux calls it MAXSYMLINKS.
constexpr int kMaxLinks = 40;

std::deque<std::string> Components(std::string_view path) {
  return absl::StrSplit(path, '/', absl::SkipEmpty());
}

}  // namespace

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

}  // namespace passthru::fake
