// SPDX-License-Identifier: Apache-2.0
#include "testing/preload/kvm_vfio.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

#include "testing/preload/client.h"
#include "testing/preload/files.h"
#include "testing/preload/lock.h"
#include "testing/preload/raw.h"

namespace passthru::preload {
namespace {

struct KvmDeviceAttribute {  // struct kvm_device_attr of linux/kvm.h.
  uint32_t flags;
  uint32_t group;
  uint64_t attribute;
  uint64_t address;
};
constexpr unsigned long kKvmSetDeviceAttribute =
    _IOW(0xae, 0xe1, KvmDeviceAttribute);
constexpr uint32_t kKvmDevVfioFile = 1;
constexpr uint64_t kKvmDevVfioFileAdd = 1;
constexpr uint64_t kKvmDevVfioFileDel = 2;

// A file of the launcher in the list of a KVM-VFIO device.
struct Listed {
  bool used = false;
  long process = 0;  // whose entry it is, for a child of vfork(2)
  int device = -1;
  uint64_t file_device = 0;
  uint64_t file_inode = 0;
};
constexpr int kMost = 256;
Listed listed[kMost];
int count;  // Of those that are used.
int list_lock;

// Reads the program's memory, where there may be none.
bool CopyFromProgram(void* to, uint64_t from, size_t size) {
  iovec local = {to, size};
  iovec remote = {reinterpret_cast<void*>(from), size};
  return Raw(SYS_process_vm_readv, Raw(SYS_getpid), AsLong(&local), 1,
             AsLong(&remote), 1, 0) == static_cast<long>(size);
}

bool IsKvmVfio(int fd) {
  constexpr char kName[] = "anon_inode:kvm-vfio";
  char path[32];
  char target[32];
  DescriptorPath(fd, path);
  const long length = Raw(SYS_readlinkat, AT_FDCWD, AsLong(path),
                          AsLong(target), sizeof(target));
  return length == sizeof(kName) - 1 &&
         memcmp(target, kName, sizeof(kName) - 1) == 0;
}

Listed* Find(int device, const Request& file) {
  for (Listed& entry : listed) {
    if (entry.used && entry.device == device &&
        entry.file_device == file.device && entry.file_inode == file.inode) {
      return &entry;
    }
  }
  return nullptr;
}

// Answers like kvm_vfio_file_add().
long Add(int device, Request& file) {
  file.kind = Kind::kIsVfioFile;
  const long valid = Call(file);
  if (valid != 0) return valid;
  const Locked locked(&list_lock);
  if (Find(device, file) != nullptr) return -EEXIST;
  for (Listed& entry : listed) {
    if (entry.used) continue;
    entry = {true, Raw(SYS_getpid), device, file.device, file.inode};
    ++count;
    return 0;
  }
  return -ENOMEM;
}

// Answers like kvm_vfio_file_del().
long Delete(int device, const Request& file) {
  const Locked locked(&list_lock);
  Listed* const entry = Find(device, file);
  if (entry == nullptr) return -ENOENT;
  entry->used = false;
  --count;
  return 0;
}

}  // namespace

bool SetKvmVfioFile(int device, unsigned long number, unsigned long argument,
                    long* result) {
  if (number != kKvmSetDeviceAttribute || Folder() == nullptr) return false;
  KvmDeviceAttribute attribute;
  int fd = -1;
  Request file;
  if (!CopyFromProgram(&attribute, argument, sizeof(attribute)) ||
      attribute.group != kKvmDevVfioFile ||
      (attribute.attribute != kKvmDevVfioFileAdd &&
       attribute.attribute != kKvmDevVfioFileDel) ||
      !CopyFromProgram(&fd, attribute.address, sizeof(fd)) ||
      !IsOurs(fd, &file) || !IsKvmVfio(device)) {
    return false;
  }
  *result = attribute.attribute == kKvmDevVfioFileAdd ? Add(device, file)
                                                      : Delete(device, file);
  return true;
}

void ForgetKvmVfio(unsigned first, unsigned last) {
  if (__atomic_load_n(&count, __ATOMIC_ACQUIRE) == 0) return;
  const Locked locked(&list_lock);
  const long process = Raw(SYS_getpid);
  for (Listed& entry : listed) {
    const auto device = static_cast<unsigned>(entry.device);
    if (!entry.used || entry.process != process || device < first ||
        device > last) {
      continue;
    }
    entry.used = false;
    --count;
  }
}

void ForgetKvmVfioLock() { list_lock = 0; }

}  // namespace passthru::preload
