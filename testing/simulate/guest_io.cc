// SPDX-License-Identifier: Apache-2.0
//
// The program "guest_io ROUNDS" writes random blocks to the first NVMe
// namespace of the machine that the lab's init has booted, reads them back past
// the page cache and compares them. It prints how many rounds were right.
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

namespace {

constexpr char kDisk[] = "/dev/nvme0n1";
constexpr size_t kBlock = 512;
constexpr size_t kMostBlocks = 128;
constexpr int kWaits = 600;  // Of 100 ms, for an emulated machine.

[[noreturn]] void Fail(const char* what) {
  printf("guest_io: %s: %s\n", what, strerror(errno));
  exit(1);
}

int OpenDisk() {
  for (int i = 0; i < kWaits; ++i) {
    const int fd = open(kDisk, O_RDWR | O_DIRECT | O_CLOEXEC);
    if (fd >= 0) return fd;
    const timespec wait = {.tv_sec = 0, .tv_nsec = 100'000'000};
    nanosleep(&wait, nullptr);
  }
  Fail(kDisk);
}

uint64_t Random() {
  static uint64_t state = 0x9e3779b97f4a7c15u;
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) Fail("usage: guest_io ROUNDS");
  const int rounds = atoi(argv[1]);
  const int disk = OpenDisk();
  uint64_t bytes = 0;
  if (ioctl(disk, BLKGETSIZE64, &bytes) != 0) Fail("BLKGETSIZE64");
  void* written = nullptr;
  void* seen = nullptr;
  if (posix_memalign(&written, 4096, kMostBlocks * kBlock) != 0 ||
      posix_memalign(&seen, 4096, kMostBlocks * kBlock) != 0) {
    Fail("memory");
  }
  for (int round = 0; round < rounds; ++round) {
    const size_t blocks = 1 + Random() % kMostBlocks;
    const size_t size = blocks * kBlock;
    const uint64_t at = Random() % (bytes / kBlock - blocks + 1) * kBlock;
    auto* const data = static_cast<uint64_t*>(written);
    for (size_t i = 0; i < size / sizeof(*data); ++i) data[i] = Random();
    if (pwrite(disk, written, size, static_cast<off_t>(at)) !=
        static_cast<ssize_t>(size)) {
      Fail("write");
    }
    memset(seen, 0, size);
    if (pread(disk, seen, size, static_cast<off_t>(at)) !=
        static_cast<ssize_t>(size)) {
      Fail("read");
    }
    if (memcmp(written, seen, size) != 0) {
      printf("guest_io: %zu bytes at %llu differ in round %d\n", size,
             static_cast<unsigned long long>(at), round);
      return 1;
    }
  }
  printf("guest_io: %d rounds right on %llu bytes\n", rounds,
         static_cast<unsigned long long>(bytes));
  return 0;
}
