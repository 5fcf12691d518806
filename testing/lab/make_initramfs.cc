// SPDX-License-Identifier: Apache-2.0
//
// The program "make_initramfs OUTPUT NAME=FILE..." writes an initramfs that
// holds each FILE as /NAME, executable, with the folders above it and
// /dev/console.
//
// The format is cpio "newc", as in
// Documentation/driver-api/early-userspace/buffer-format.rst.

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <set>
#include <string>

namespace {

class Archive {
 public:
  explicit Archive(const std::string& path)
      : out_(path, std::ios::binary | std::ios::trunc) {}

  void Add(const std::string& name, uint32_t mode, const std::string& contents,
           dev_t device = 0) {
    char header[111];
    std::snprintf(header, sizeof(header),
                  "070701%08x%08x%08x%08x%08x%08x%08zx%08x%08x%08x%08x%08zx"
                  "%08x",
                  next_inode_++, mode, 0, 0, /*links=*/1, /*mtime=*/0,
                  contents.size(), 0, 0, major(device), minor(device),
                  name.size() + 1, /*checksum=*/0);
    Put(header);
    Put(name);
    out_.put('\0');
    ++written_;
    Align();
    Put(contents);
    Align();
  }

  // Adds the folders above `name` that are still missing.
  void AddFolders(const std::string& name) {
    for (size_t slash = name.find('/'); slash != std::string::npos;
         slash = name.find('/', slash + 1)) {
      const std::string folder = name.substr(0, slash);
      if (folders_.insert(folder).second) Add(folder, S_IFDIR | 0755, "");
    }
  }

  bool Finish() {
    Add("TRAILER!!!", 0, "");
    out_.flush();
    return out_.good();
  }

 private:
  void Put(const std::string& text) {
    out_ << text;
    written_ += text.size();
  }
  void Align() {
    for (; written_ % 4 != 0; ++written_) out_.put('\0');
  }

  std::ofstream out_;
  size_t written_ = 0;
  uint32_t next_inode_ = 1;
  std::set<std::string> folders_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::cerr << "usage: make_initramfs OUTPUT NAME=FILE...\n";
    return 2;
  }
  Archive archive(argv[1]);
  archive.AddFolders("dev/console");
  archive.Add("dev/console", S_IFCHR | 0600, "", makedev(5, 1));
  for (int i = 2; i < argc; ++i) {
    const std::string entry = argv[i];
    const size_t equals = entry.find('=');
    if (equals == std::string::npos) {
      std::cerr << "make_initramfs: '" << entry << "' is not NAME=FILE\n";
      return 2;
    }
    const std::string name = entry.substr(0, equals);
    std::ifstream in(entry.substr(equals + 1), std::ios::binary);
    if (!in) {
      std::cerr << "make_initramfs: cannot read " << entry.substr(equals + 1)
                << "\n";
      return 1;
    }
    archive.AddFolders(name);
    archive.Add(
        name, S_IFREG | 0755,
        {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()});
  }
  if (!archive.Finish()) {
    std::cerr << "make_initramfs: cannot write " << argv[1] << "\n";
    return 1;
  }
  return 0;
}
