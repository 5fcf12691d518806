// SPDX-License-Identifier: Apache-2.0
//
// The /init of a Linux that runs as a guest inside the lab. It loads the
// modules of /lab/modules, if there are any, and does what the arguments on the
// kernel's command line after "--" ask for, one after the other:
//
//   write=/dev/nvme0n1  writes random data to a disk, drops the caches, reads
//                       the data back and prints its sum, as cksum(1) does,
//                       beside the controller's serial number. The name may be
//                       a pattern, which stands for the first disk like it.
//   vectors=KIND        prints the interrupts of NVMe controllers, and fails
//                       unless they are of this kind in /proc/interrupts
//   reads=DISK:N        reads N single blocks of 4 KiB past the caches, between
//                       two marks that the counter of calls waits for
//                       (count_calls.cc)
//   device=BDF          waits for a PCI device
//   mark=NAME           prints a mark and waits for a line of input
//   cpus=N              fails unless N CPUs are online
//   net=e1000e:10.0.2   gives the driver's network card the address 10.0.2.15,
//                       pings 10.0.2.2, fetches the file "data" from there by
//                       TFTP and prints its sum
//   interrupts=DRIVER:KIND  prints the interrupts of the driver's device, and
//                       fails unless they are of this kind: msix, msi or intx
//   remove=DRIVER       removes the driver's device and finds it again
//   function_reset=DRIVER  resets the driver's device
//   suspend=DRIVER,...  sleeps (s2idle) until a key is pressed, and checks that
//                       the devices of these drivers were in D3hot
//   rom=DRIVER          prints the size and sum of the device's expansion ROM
//   port_vectors=KIND   fails unless the interrupts of root ports are of this
//                       kind
//   unplug=SERIAL       writes to the disk of a controller until it is
//                       unplugged, waits until it is plugged again, checks its
//                       data, and then does what write= does
//   surprise=SERIAL     ignores the attention buttons of ports from now on, and
//                       writes to the disk until that fails
//   lose=SERIAL         writes to the disk until that fails
//   leave=SERIAL@BDF    does the same unless Linux started without the device
//                       at BDF, waits until that is gone and resets the machine
//   config=N            reads the configuration space of all devices N times
//   reset_at_button     at the end waits for an attention button and resets the
//                       machine then, before Linux has let go of the device
//   log                 prints the kernel's log
//   reset               resets the machine instead of turning the power off
//   restart=/dev/nvme0n1  resets the machine at once, unless a mark on the disk
//                       says that it has been reset. Removes the mark in that
//                       case.
//   wreck               writes everywhere in PCI space before such a reset
//
// It then checks the kernel's log and turns the power off. Its last line is
// "GUEST-OK", unless something failed.

#include <fcntl.h>
#include <glob.h>
#include <linux/reboot.h>
#include <sys/klog.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "testing/lab/guest_device.h"
#include "testing/lab/guest_hot_plug.h"
#include "testing/lab/guest_network.h"

namespace {

constexpr size_t kDataSize = 256 * 1024;
constexpr int kLogReadAll = 3;  // SYSLOG_ACTION_READ_ALL

bool failed = false;

void Fail(const std::string& what) {
  std::printf("guest: %s\n", what.c_str());
  failed = true;
}
void FailErrno(const std::string& what) {
  Fail(what + ": " + std::strerror(errno));
}

void MountAt(const char* type, const char* where) {
  mkdir(where, 0755);
  if (mount(type, where, type, 0, nullptr) != 0 && errno != EBUSY) {
    FailErrno(std::string("mount ") + where);
  }
}

// A line has a file of /lab and its parameters, as in "e1000e.ko IntMode=1".
void LoadModules() {
  std::ifstream list("/lab/modules");
  for (std::string line; std::getline(list, line);) {
    const size_t space = line.find(' ');
    const std::string name = line.substr(0, space);
    const std::string parameters =
        space == std::string::npos ? "" : line.substr(space + 1);
    const int fd = open(("/lab/" + name).c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0 || (syscall(SYS_finit_module, fd, parameters.c_str(), 0) != 0 &&
                   errno != EEXIST)) {
      FailErrno("module " + name);
    }
    if (fd >= 0) close(fd);
  }
}

// The sum of cksum(1), which is a CRC over the bytes and their number (POSIX).
uint32_t Cksum(const std::vector<uint8_t>& bytes) {
  constexpr uint32_t kPolynomial = 0x04c11db7;
  uint32_t crc = 0;
  const auto add = [&crc](uint8_t byte) {
    crc ^= uint32_t{byte} << 24;
    for (int i = 0; i < 8; ++i) {
      crc = (crc & 0x80000000) != 0 ? crc << 1 ^ kPolynomial : crc << 1;
    }
  };
  for (const uint8_t byte : bytes) add(byte);
  for (size_t n = bytes.size(); n != 0; n >>= 8) add(static_cast<uint8_t>(n));
  return ~crc;
}

bool Transfer(int fd, std::vector<uint8_t>& data, bool write) {
  size_t done = 0;
  while (done < data.size()) {
    const ssize_t n = write ? pwrite(fd, data.data() + done, data.size() - done,
                                     static_cast<off_t>(done))
                            : pread(fd, data.data() + done, data.size() - done,
                                    static_cast<off_t>(done));
    if (n <= 0) return false;
    done += static_cast<size_t>(n);
  }
  return true;
}

// Waits for the disk, which a driver finds in the background, or which is
// plugged. Replaces a pattern by the disk's name.
int OpenDisk(std::string& disk) {
  for (int tries = 0; tries < 2400; ++tries) {
    glob_t found = {};
    if (glob(disk.c_str(), 0, nullptr, &found) == 0) {
      const std::string name = found.gl_pathv[0];
      globfree(&found);
      const int fd = open(name.c_str(), O_RDWR | O_CLOEXEC);
      if (fd >= 0) {
        disk = name;
        return fd;
      }
    }
    usleep(50 * 1000);
  }
  return -1;
}

// Returns the serial number of the controller behind a disk such as
// /dev/nvme0n1. Linux probes controllers in parallel, so a name does not tell
// which of them it is.
std::string SerialOf(const std::string& disk) {
  std::ifstream in("/sys/block/" + disk.substr(disk.rfind('/') + 1) +
                   "/device/serial");
  std::string serial;
  in >> serial;
  if (serial.empty()) Fail("the controller of " + disk + " has no serial");
  return serial;
}

void WriteAndReadBack(std::string disk) {
  const int fd = OpenDisk(disk);
  if (fd < 0) return FailErrno("open " + disk);
  std::vector<uint8_t> data(kDataSize);
  const int random = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
  for (size_t done = 0; done < data.size();) {
    const ssize_t n = read(random, data.data() + done, data.size() - done);
    if (n <= 0) return FailErrno("read /dev/urandom");
    done += static_cast<size_t>(n);
  }
  close(random);
  if (!Transfer(fd, data, true) || fsync(fd) != 0) {
    return FailErrno("write " + disk);
  }
  const int caches = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);
  if (caches < 0 || write(caches, "3", 1) != 1) FailErrno("drop_caches");
  close(caches);
  std::vector<uint8_t> again(data.size());
  if (!Transfer(fd, again, false)) return FailErrno("read " + disk);
  close(fd);
  if (again != data) return Fail(disk + " has other data than was written");
  std::printf("guest: %s with serial %s has the sum %u\n", disk.c_str(),
              SerialOf(disk).c_str(), Cksum(data));
}

// Tells who counts the guest's exits where it is, and waits for a line of
// input.
void Mark(const char* name) {
  std::printf("GUEST-MARK %s\n", name);
  std::fflush(stdout);
  char byte = 0;
  while (read(STDIN_FILENO, &byte, 1) == 1 && byte != '\n') {
  }
}

// Does what a guest does in the steady state, one block of the disk after the
// other.
void ReadBlocks(const std::string& argument) {
  const size_t colon = argument.find(':');
  const std::string disk = argument.substr(0, colon);
  constexpr size_t kBlock = 4096;
  void* block = nullptr;
  const int fd = open(disk.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC);
  if (fd < 0 || posix_memalign(&block, kBlock, kBlock) != 0) {
    return FailErrno("open " + disk + " past the caches");
  }
  const int count = std::atoi(argument.c_str() + colon + 1);
  Mark("reads");
  for (int i = 0; i < count; ++i) {
    const auto at = static_cast<off_t>(i % 64 * kBlock);
    if (pread(fd, block, kBlock, at) != static_cast<ssize_t>(kBlock)) {
      FailErrno("read " + disk);
      break;
    }
  }
  Mark("end-of-reads");
  std::free(block);
  close(fd);
}

// Returns whether the machine has not been reset yet, and marks the disk for
// the next time.
bool IsFirstStart(std::string disk) {
  constexpr off_t kMarkPlace = 1 << 20;
  const int fd = OpenDisk(disk);
  if (fd < 0) {
    FailErrno("open " + disk);
    return false;
  }
  char mark = 0;
  const bool read = pread(fd, &mark, 1, kMarkPlace) == 1;
  const bool first = mark == 0;
  mark = first ? 1 : 0;
  if (!read || pwrite(fd, &mark, 1, kMarkPlace) != 1 || fsync(fd) != 0) {
    FailErrno("the mark on " + disk);
  }
  close(fd);
  std::printf("guest: this is the %s start\n", first ? "first" : "second");
  return first;
}

void FailUnlessEmpty(const std::string& error) {
  if (!error.empty()) Fail(error);
}

void UseCard(const std::string& text) {
  const passthru::lab::Card card = passthru::lab::ParseCard(text);
  std::string error = passthru::lab::Ping(card);
  std::vector<uint8_t> file;
  if (error.empty()) error = passthru::lab::Fetch(card, file);
  if (!error.empty()) return Fail(error);
  std::printf("guest: %s pings, and fetched %zu bytes with the sum %u\n",
              card.driver.c_str(), file.size(), Cksum(file));
}

void PrintRom(const std::string& driver) {
  std::vector<uint8_t> rom;
  FailUnlessEmpty(passthru::lab::ReadRom(driver, rom));
  std::printf("guest: the ROM of %s has %zu bytes with the sum %u\n",
              driver.c_str(), rom.size(), Cksum(rom));
}

void UnplugAndPlug(const std::string& serial) {
  std::string disk;
  const std::string error =
      passthru::lab::WriteUntilUnplugged(serial, true, disk);
  if (!error.empty()) return Fail(error);
  WriteAndReadBack(disk);
}

void Lose(const std::string& serial) {
  std::string disk;
  FailUnlessEmpty(passthru::lab::WriteUntilUnplugged(serial, false, disk));
}

void LoseBySurprise(const std::string& serial) {
  const std::string error = passthru::lab::IgnoreButtons();
  if (!error.empty()) return Fail(error);
  Lose(serial);
}

// Returns whether the device was there and left.
bool Leave(const std::string& argument) {
  bool left = false;
  FailUnlessEmpty(passthru::lab::LeaveUnlessGone(argument, left));
  return left;
}

void CheckPortVectors(const std::string& kind) {
  const std::string error = passthru::lab::CheckPortInterrupts(kind);
  if (!error.empty()) Fail(error);
}

// Waits until Linux has found a device and added it. sysfs shows it earlier.
// The host bridge, which nobody needs, is removed under the same lock
// (pci_lock_rescan_remove()), and so after that.
void WaitForDevice(const std::string& bdf) {
  const std::string devices = "/sys/bus/pci/devices/";
  const std::string device = devices + bdf;
  for (int tries = 0; access(device.c_str(), F_OK) != 0; ++tries) {
    if (tries == 1200) return Fail("there is no device " + bdf);
    usleep(50 * 1000);
  }
  std::ofstream(devices + "0000:00:00.0/remove") << "1";
}

void CheckCpus(const std::string& wanted) {
  const long online = sysconf(_SC_NPROCESSORS_ONLN);
  std::printf("guest: %ld CPUs are online\n", online);
  if (std::to_string(online) != wanted) Fail(wanted + " CPUs were expected");
}

// Prints the lines of the kernel's log that no guest should have, and with
// `all` all lines.
void CheckLog(bool all) {
  std::vector<char> log(1 << 20);
  const int size =
      klogctl(kLogReadAll, log.data(), static_cast<int>(log.size()));
  if (size <= 0) return FailErrno("the kernel's log");
  std::istringstream lines(std::string(log.data(), static_cast<size_t>(size)));
  for (std::string line; std::getline(lines, line);) {
    if (all) std::printf("%s\n", line.c_str());
    for (const char* bad :
         {"ACPI Error", "ACPI BIOS Error", "ACPI Warning", "no space",
          "can't claim", "Firmware Bug", "Call Trace", "nobody cared"}) {
      if (line.find(bad) != std::string::npos) {
        Fail("the kernel's log has: " + line);
      }
    }
  }
}

// Prints the NVMe controllers' interrupts, and returns whether there are some,
// all of this kind. An empty one stands for any kind.
bool PrintInterrupts(const std::string& kind) {
  std::ifstream in("/proc/interrupts");
  bool some = false;
  bool all = true;
  for (std::string line; std::getline(in, line);) {
    if (line.find("nvme") == std::string::npos) continue;
    std::printf("guest: %s\n", line.c_str());
    some = true;
    all = all && line.find(kind) != std::string::npos;
  }
  return some && all;
}

}  // namespace

int main(int argc, char** argv) {
  std::printf("GUEST-BEGIN\n");
  MountAt("proc", "/proc");
  MountAt("sysfs", "/sys");
  MountAt("devtmpfs", "/dev");
  LoadModules();
  int end = RB_POWER_OFF;
  bool log = false;
  bool reset_at_button = false;
  bool wreck = false;
  for (int i = 1; i < argc; ++i) {
    const std::string what = argv[i];
    const size_t equals = what.find('=');
    const std::string key = what.substr(0, equals);
    const std::string value =
        equals == std::string::npos ? "" : what.substr(equals + 1);
    if (key == "write") WriteAndReadBack(value);
    if (key == "reads") ReadBlocks(value);
    if (key == "device") WaitForDevice(value);
    if (key == "mark") Mark(value.c_str());
    if (key == "cpus") CheckCpus(value);
    if (key == "vectors" && !PrintInterrupts(value)) {
      Fail("the controller's interrupts are not of the kind " + value);
    }
    if (key == "net") UseCard(value);
    if (key == "interrupts") {
      const size_t colon = value.find(':');
      FailUnlessEmpty(passthru::lab::CheckInterrupts(value.substr(0, colon),
                                                     value.substr(colon + 1)));
    }
    if (key == "remove") FailUnlessEmpty(passthru::lab::RemoveAndRescan(value));
    if (key == "function_reset") {
      FailUnlessEmpty(passthru::lab::ResetFunction(value));
    }
    if (key == "suspend") FailUnlessEmpty(passthru::lab::Suspend(value));
    if (key == "rom") PrintRom(value);
    if (key == "restart" && IsFirstStart(value)) {
      end = static_cast<int>(RB_AUTOBOOT);
      break;
    }
    if (key == "port_vectors") CheckPortVectors(value);
    if (key == "unplug") UnplugAndPlug(value);
    if (key == "surprise") LoseBySurprise(value);
    if (key == "lose") Lose(value);
    if (key == "config") {
      FailUnlessEmpty(passthru::lab::ReadConfig(std::atoi(value.c_str())));
    }
    if (key == "leave" && Leave(value)) {
      end = static_cast<int>(RB_AUTOBOOT);
      break;
    }
    if (key == "reset_at_button") reset_at_button = true;
    if (key == "wreck") wreck = true;
    if (key == "log") log = true;
    if (key == "reset") end = static_cast<int>(RB_AUTOBOOT);
  }
  CheckLog(log);
  std::printf("%s\n", failed ? "GUEST-FAILED" : "GUEST-OK");
  std::fflush(stdout);
  sync();
  if (reset_at_button) Fail(passthru::lab::ResetAtButton());
  if (wreck && end != RB_POWER_OFF) Fail(passthru::lab::WreckAndReset());
  reboot(end);
  return 1;
}
