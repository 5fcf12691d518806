// SPDX-License-Identifier: Apache-2.0
#include "testing/lab/guest_hot_plug.h"

#include <fcntl.h>
#include <sys/klog.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>
#include <vector>

namespace passthru::lab {
namespace {

// SYSLOG_ACTION_READ_ALL and SYSLOG_ACTION_CLEAR.
constexpr int kLogReadAll = 3;
constexpr int kLogClear = 5;

// Where the data is on the disk, behind that of other checks.
constexpr off_t kBegin = off_t{1} << 20;
constexpr size_t kBlockSize = 4096;
constexpr uint64_t kBlocks = 64;

std::string WithErrno(const std::string& what) {
  return what + ": " + std::strerror(errno);
}

std::string WriteFile(const std::string& path, const std::string& text) {
  const int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC);
  const bool written = fd >= 0 && write(fd, text.data(), text.size()) ==
                                      static_cast<ssize_t>(text.size());
  std::string error = written ? "" : WithErrno("write to " + path);
  if (fd >= 0) close(fd);
  return error;
}

// Returns what the write of this number has put into its block.
std::vector<uint64_t> BlockOf(uint64_t number) {
  std::vector<uint64_t> words(kBlockSize / sizeof(uint64_t));
  for (size_t i = 0; i < words.size(); ++i) words[i] = number << 16 | i;
  return words;
}

// Calls `is_so` until it returns true, for at most some minutes.
template <typename Condition>
bool Await(Condition is_so) {
  for (int tries = 0; tries < 6000; ++tries) {
    if (is_so()) return true;
    usleep(50 * 1000);
  }
  return false;
}

std::string SerialOfDisk(const std::string& disk) {
  std::ifstream in("/sys/block/" + disk.substr(disk.rfind('/') + 1) +
                   "/device/serial");
  std::string serial;
  in >> serial;
  return serial;
}

// Returns the disk of a controller, or an empty text if there is none.
std::string FindDisk(const std::string& serial) {
  std::error_code error;
  for (const auto& entry :
       std::filesystem::directory_iterator("/sys/block", error)) {
    std::string disk = "/dev/" + entry.path().filename().string();
    if (SerialOfDisk(disk) == serial && access(disk.c_str(), F_OK) == 0) {
      return disk;
    }
  }
  return "";
}

// The errors that a program gets from Linux when a disk goes under it. (A disk
// that is being removed has the size 0, which is ENOSPC.)
bool IsHardwareError(int error) {
  return error == EIO || error == ENODEV || error == ENXIO || error == ENOSPC;
}

// Writes block after block until that fails. `done` is how many succeeded.
std::string WriteUntilError(const std::string& disk, uint64_t& done,
                            int& error) {
  void* memory = nullptr;
  if (posix_memalign(&memory, kBlockSize, kBlockSize) != 0) return "no memory";
  const int fd = open(disk.c_str(), O_RDWR | O_DIRECT | O_SYNC | O_CLOEXEC);
  if (fd < 0) return WithErrno("open " + disk);
  for (done = 0, error = 0; error == 0;) {
    const std::vector<uint64_t> block = BlockOf(done);
    std::memcpy(memory, block.data(), kBlockSize);
    const auto offset =
        kBegin + static_cast<off_t>(done % kBlocks * kBlockSize);
    errno = EIO;  // For a write of less than a block.
    if (pwrite(fd, memory, kBlockSize, offset) == ssize_t{kBlockSize}) {
      if (++done == kBlocks) std::printf("guest: I/O runs\n");
    } else {
      error = errno;
    }
  }
  close(fd);
  std::free(memory);
  return "";
}

// Checks the blocks after so many writes. The next one may have reached the
// disk although it failed.
std::string CheckBlocks(const std::string& disk, uint64_t done) {
  const int fd = open(disk.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return WithErrno("open " + disk);
  std::vector<uint64_t> block(kBlockSize / sizeof(uint64_t));
  for (uint64_t i = 0; i < kBlocks; ++i) {
    const auto offset = kBegin + static_cast<off_t>(i * kBlockSize);
    if (pread(fd, block.data(), kBlockSize, offset) != ssize_t{kBlockSize}) {
      return WithErrno("read " + disk);
    }
    // The last write before `done` that went to this block.
    const uint64_t last = done - 1 - (done - 1 - i) % kBlocks;
    const bool in_doubt = done % kBlocks == i && block == BlockOf(done);
    if (block != BlockOf(last) && !in_doubt) {
      return "block " + std::to_string(i) + " of " + disk +
             " has not the data of write " + std::to_string(last);
    }
  }
  close(fd);
  return "";
}

}  // namespace

std::string CheckPortInterrupts(const std::string& kind) {
  std::ifstream in("/proc/interrupts");
  bool found = false;
  for (std::string line; std::getline(in, line);) {
    if (line.find("pciehp") == std::string::npos) continue;
    std::printf("guest: %s\n", line.c_str());
    if (line.find(kind) == std::string::npos) {
      return "the ports' interrupts are not of the kind " + kind;
    }
    found = true;
  }
  return found ? "" : "no port has a hot-plug interrupt";
}

std::string IgnoreButtons() {
  const std::string driver = "/sys/bus/pci_express/drivers/pciehp/";
  std::vector<std::string> ports;
  std::error_code failure;
  for (const auto& entry :
       std::filesystem::directory_iterator(driver, failure)) {
    const std::string name = entry.path().filename().string();
    if (name.find(':') != std::string::npos) ports.push_back(name);
  }
  if (ports.empty()) return "pciehp has no port";
  for (const std::string& port : ports) {
    std::string error = WriteFile(driver + "unbind", port);
    if (!error.empty()) return error;
  }
  return "";
}

std::string WriteUntilUnplugged(const std::string& serial, bool comes_back,
                                std::string& disk) {
  const auto is_there = [&serial, &disk] {
    disk = FindDisk(serial);
    return !disk.empty();
  };
  if (!Await(is_there)) return "there is no disk with serial " + serial;
  uint64_t done = 0;
  int number = 0;
  std::string error = WriteUntilError(disk, done, number);
  if (!error.empty()) return error;
  if (comes_back && !Await([&serial] { return FindDisk(serial).empty(); })) {
    return disk + " is still there after: " + std::strerror(number);
  }
  std::printf("guest: after %s writes the disk fails: %s\n",
              std::to_string(done).c_str(), std::strerror(number));
  if (!IsHardwareError(number)) return "this is no error of hardware";
  if (done < kBlocks) return "the disk went before it was asked for";
  if (!comes_back) return "";
  if (!Await(is_there)) return "the disk does not come back";
  error = CheckBlocks(disk, done);
  if (error.empty()) std::printf("guest: the disk is back with its data\n");
  return error;
}

std::string LeaveUnlessGone(const std::string& argument, bool& left) {
  const size_t at = argument.find('@');
  const std::string serial = argument.substr(0, at);
  const std::string bdf =
      at == std::string::npos ? "" : argument.substr(at + 1);
  // Linux looks for devices before it starts its init.
  const std::string device = "/sys/bus/pci/devices/" + bdf;
  left = access(device.c_str(), F_OK) == 0;
  if (!left) {
    std::printf("guest: started without %s\n", bdf.c_str());
    return "";
  }
  std::string disk;
  std::string error = WriteUntilUnplugged(serial, false, disk);
  if (!error.empty()) return error;
  const bool gone =
      Await([&device] { return access(device.c_str(), F_OK) != 0; });
  return gone ? "" : bdf + " is still there";
}

std::string ResetAtButton() {
  // Earlier buttons do not count.
  if (klogctl(kLogClear, nullptr, 0) != 0) return WithErrno("clear the log");
  std::printf("guest: a button resets\n");
  std::fflush(stdout);
  std::vector<char> log(1 << 20);
  const bool pressed = Await([&log] {
    const int size =
        klogctl(kLogReadAll, log.data(), static_cast<int>(log.size() - 1));
    log[static_cast<size_t>(std::max(size, 0))] = '\0';
    return std::strstr(log.data(), "utton press") != nullptr;
  });
  if (!pressed) return "no button was pressed";
  return WriteFile("/proc/sysrq-trigger", "b");
}

}  // namespace passthru::lab
