// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_PRELOAD_PROTOCOL_H_
#define PASSTHRU_TESTING_PRELOAD_PROTOCOL_H_

#include <stddef.h>
#include <stdint.h>

// What the preloaded library says to the launcher, which has the simulated
// kernel. Both come from one build, so the structs have no versions.
//
// A program reaches the launcher by a Unix socket of packets (SOCK_SEQPACKET)
// in the folder that kFolderVariable names. It sends one Request, with a path
// behind it if the kind has one, and gets one Reply, with a descriptor
// (SCM_RIGHTS) if the flags say so. The launcher knows the process from the
// socket (SO_PEERCRED) and reads and writes its memory itself.
//
// This header is C++ without libraries, because the library has none.
namespace passthru::preload {

// "FOLDER" or "FOLDER:kvm". With the suffix /dev/kvm is the launcher's, too.
inline constexpr char kFolderVariable[] = "PASSTHRU_SIMULATE";
inline constexpr char kSocketName[] = "/socket";

// The largest access of a processor to memory, which is that of AVX-512.
inline constexpr size_t kLargestAccess = 64;
inline constexpr size_t kLongestPath = 4096;

enum class Kind : uint32_t {
  kHello,       // The program has started (after execve(2)).
  kForked,      // argument[0]: the parent.
  kExit,        // The program ends in order.
  kOpen,        // A path; argument[0]: flags. May make a file.
  kIoctl,       // argument: request, arg. May make a file.
  kRead,        // argument: buffer, count.
  kWrite,       // The same.
  kPread,       // argument: buffer, count, offset.
  kPwrite,      // The same.
  kSeek,        // argument: offset, whence.
  kMap,         // argument: address, length, protection << 32 | flags, offset.
  kUnmapped,    // argument: address, length. It is about to happen.
  kLoad,        // argument[0]: address. Replies with `data`.
  kStore,       // The same, with `data`.
  kClosed,      // It has happened.
  kStat,        // Replies with a mode, a device number and a size, and a name.
  kIsVfioFile,  // Succeeds if the KVM-VFIO device takes the file.
  kPath,        // A path of /sys that a call names. Only the journal wants it.
};

struct Request {
  Kind kind = Kind::kHello;
  // The descriptor, and what fstat(2) of the real kernel says of it.
  int32_t fd = -1;
  uint64_t device = 0;
  uint64_t inode = 0;
  // A free descriptor for a file that the call makes, or -1.
  int32_t reserved_fd = -1;
  uint32_t data_size = 0;
  uint64_t argument[4] = {};
  uint8_t data[kLargestAccess] = {};
};

struct Reply {
  static constexpr uint32_t kHasFd = 1;
  // The memory of kMap must be mapped without permissions, so that it traps.
  static constexpr uint32_t kTraps = 2;
  // The launcher wants to know when the process closes an eventfd, and when it
  // unmaps memory.
  static constexpr uint32_t kWatchesCloses = 4;
  static constexpr uint32_t kWatchesUnmaps = 8;
  // It wants to know of each path of /sys that the process uses.
  static constexpr uint32_t kWatchesPaths = 16;

  int64_t result = 0;
  int32_t error = 0;  // An errno, or 0.
  uint32_t flags = 0;
  uint64_t argument[3] = {};
  uint8_t data[kLargestAccess] = {};
};

// How files of the launcher's folder stand for those that only the launcher can
// open. A file with the first bit is one of /sys, and one with both is a
// character device, whose size is its number (DeviceSize()). All others are
// what they show.
inline constexpr unsigned kLiveBit = 01000;
inline constexpr unsigned kDeviceBit = 02000;

constexpr uint64_t DeviceSize(unsigned major, unsigned minor) {
  return uint64_t{major} << 20 | minor;
}

// The signal that marks the launcher's files (F_GETSIG of fcntl(2)), which is
// fake::FileTable::kMark.
inline constexpr int kMark = 63;

}  // namespace passthru::preload

#endif  // PASSTHRU_TESTING_PRELOAD_PROTOCOL_H_
