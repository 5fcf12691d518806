// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_SIMULATE_GUEST_IO_DISK_H_
#define PASSTHRU_TESTING_SIMULATE_GUEST_IO_DISK_H_

#include <stddef.h>
#include <stdint.h>

#include <string>
#include <vector>

#include "testing/simulate/guest_io/machine.h"

namespace guest_io {

// The first namespace of the NVMe controller behind a root port, which may come
// and go. The object knows what every block must hold: zeros at first, and what
// it has written later.
//
// Thread-compatible.
class Disk {
 public:
  explicit Disk(const std::string& port);
  ~Disk() { Close(); }
  Disk(const Disk&) = delete;
  Disk& operator=(const Disk&) = delete;

  // Opens the disk past the page cache. Waits until it is there.
  void Open();
  void Close();
  // Closes the disk and waits until it is gone.
  void AwaitGone();

  // Compares every block with what it must hold.
  void VerifyAll();

  // Writes random blocks at a random place, reads them back and compares them.
  // Returns false if the disk has gone meanwhile, which is all that may keep
  // it from working. Blocks that were being written then may hold what they
  // held or what was written.
  bool Round();

  // Does this many rounds, in which the disk may not go.
  void Rounds(int count);

  // Writes the text to the last block, where Round() does not write.
  void Sign(const std::string& text);

  uint64_t bytes() const { return blocks_ * kBlock; }
  uint64_t rounds() const { return rounds_; }
  const std::string& port() const { return port_; }

  // Returns the controller's name, such as nvme0.
  std::string Controller() const;

 private:
  static constexpr size_t kBlock = 512;
  static constexpr size_t kMostBlocks = 128;

  // What a block holds. A version is a content that depends on the block, too.
  struct Block {
    uint32_t version = 0;  // 0 for zeros.
    uint32_t perhaps = 0;  // What it may hold instead, or 0.
  };

  std::string Node() const;
  bool Read(uint64_t first, size_t count);
  bool Write(uint64_t first, size_t count);
  // Returns whether the disk is no longer there.
  bool IsGone() const;
  bool Holds(uint64_t block, uint32_t version, const uint8_t* data) const;

  const std::string port_;
  const uint64_t salt_;  // Makes the contents of disks different.
  int fd_ = -1;
  uint64_t blocks_ = 0;
  uint32_t last_version_ = 0;
  uint64_t rounds_ = 0;
  std::vector<Block> contents_;
  Random random_;
  alignas(4096) uint8_t data_[kMostBlocks * kBlock] = {};
};

}  // namespace guest_io

#endif  // PASSTHRU_TESTING_SIMULATE_GUEST_IO_DISK_H_
