// SPDX-License-Identifier: Apache-2.0
//
// The program "guest_io [STEP PORT NUMBER]..." drives the devices behind root
// ports (00:04.0) of the machine that the lab's init has booted. It says on the
// second serial line what it saw, at the end "guest_io: done", and
// "guest_io: FAILED" if anything was not as on hardware. The steps are
//
//   io PORT[,PORT]... ROUNDS   random I/O on disks, at the same time
//   resets PORT TIMES          every way to reset a disk's controller, with I/O
//                              meanwhile or right after
//   hot PORT,PORT CYCLES       I/O on a disk that the host takes away and gives
//                              back, whenever this program says "ready", while
//                              another disk works all the time
//   edu PORT TIMES             arithmetic of QEMU's edu device
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "testing/simulate/guest_io/disk.h"
#include "testing/simulate/guest_io/machine.h"

namespace guest_io {
namespace {

// Rounds after which I/O is believed to work again.
constexpr int kSomeRounds = 10;

Disk& DiskBehind(const std::string& port) {
  static std::map<std::string, std::unique_ptr<Disk>> disks;
  std::unique_ptr<Disk>& disk = disks[port];
  if (disk == nullptr) {
    disk = std::make_unique<Disk>(port);
    disk->Open();
  }
  return *disk;
}

// Does rounds on a disk, in a thread, until it ends.
class Load {
 public:
  explicit Load(Disk& disk) : disk_(disk), thread_([this] { Run(); }) {}
  ~Load() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      ends_ = true;
    }
    thread_.join();
  }
  Load(const Load&) = delete;
  Load& operator=(const Load&) = delete;

  // Waits for rounds that begin from now on.
  void AwaitRounds(uint64_t count) {
    std::unique_lock<std::mutex> lock(mutex_);
    const uint64_t first = begun_ + 1;
    changed_.wait(lock, [&] { return begun_ > first + count; });
  }

 private:
  void Run() {
    for (;;) {
      {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (ends_) return;
        ++begun_;
      }
      changed_.notify_all();
      disk_.Rounds(1);
    }
  }

  Disk& disk_;
  std::mutex mutex_;
  std::condition_variable changed_;
  uint64_t begun_ = 0;
  bool ends_ = false;
  std::thread thread_;
};

void DoRounds(const std::string& ports, int rounds) {
  std::vector<Disk*> disks;
  std::istringstream stream(ports);
  for (std::string port; std::getline(stream, port, ',');) {
    disks.push_back(&DiskBehind(port));
  }
  std::vector<std::thread> threads;
  for (Disk* const disk : disks) {
    threads.emplace_back([disk, rounds] { disk->Rounds(rounds); });
  }
  for (std::thread& thread : threads) thread.join();
  for (Disk* const disk : disks) {
    disk->VerifyAll();
    disk->Sign("signed by the guest behind " + disk->port());
    Say(disk->port() + ": " + std::to_string(disk->rounds()) +
        " rounds right on " + std::to_string(disk->bytes()) + " bytes, " +
        Interrupts(disk->Controller() + "q"));
  }
}

// Checks the disk of a driver that has started anew.
void CheckAnew(Disk& disk) {
  disk.Open();
  disk.VerifyAll();
  disk.Rounds(kSomeRounds);
}

void DoResets(const std::string& port, int times) {
  Disk& disk = DiskBehind(port);
  const std::string bdf = DeviceAddress(port);
  const std::string device = "/sys/bus/pci/devices/" + bdf;
  const std::string driver = "/sys/bus/pci/drivers/nvme";
  const uint64_t before = disk.rounds();
  WriteFile(device + "/reset_method", "flr");
  {
    Load load(disk);
    for (int i = 0; i < times; ++i) {
      load.AwaitRounds(kSomeRounds);
      WriteFile(device + "/reset", "1");
    }
    for (int i = 0; i < times; ++i) {
      load.AwaitRounds(kSomeRounds);
      WriteFile(device + "/nvme/" + disk.Controller() + "/reset_controller",
                "1");
    }
    load.AwaitRounds(kSomeRounds);
  }
  disk.VerifyAll();
  Say(port + ": " + std::to_string(times) + " FLRs and as many controller " +
      "resets during " + std::to_string(disk.rounds() - before) + " rounds");
  for (int i = 0; i < times; ++i) {
    disk.Close();
    WriteFile(driver + "/unbind", bdf);
    WriteFile(device + "/reset", "1");
    WriteFile(driver + "/bind", bdf);
    CheckAnew(disk);
  }
  for (int i = 0; i < times; ++i) {
    disk.Close();
    WriteFile(device + "/remove", "1");
    WriteFile("/sys/bus/pci/rescan", "1");
    CheckAnew(disk);
  }
  Say(port + ": data right after " + std::to_string(times) +
      " times unbind, FLR and bind, and as many times remove and rescan");
}

void DoHotPlug(const std::string& ports, int cycles) {
  const size_t comma = ports.find(',');
  if (comma == std::string::npos) Fail("hot needs two ports");
  const std::string port = ports.substr(0, comma);
  Disk& disk = DiskBehind(port);
  Disk& other = DiskBehind(ports.substr(comma + 1));
  auto load = std::make_unique<Load>(other);
  for (int i = 0; i <= cycles; ++i) {
    CheckAnew(disk);
    Say("ready " + std::to_string(i));
    uint64_t during = 0;
    while (disk.Round()) ++during;
    disk.AwaitGone();
    load->AwaitRounds(kSomeRounds);
    Say(port + ": unplugged in round " + std::to_string(during) +
        " after it was plugged in");
  }
  load.reset();
  other.VerifyAll();
  Say("ready " + std::to_string(cycles + 1));
  other.AwaitGone();
  Say(other.port() + ": unplugged at the end");
  // The host has to finish the unplug before the machine ends.
  AwaitHost();
  Say(port + ": " + std::to_string(disk.rounds()) + " rounds right on " +
      std::to_string(disk.bytes()) + " bytes with " + std::to_string(cycles) +
      " plugs and an unplug more, and " + std::to_string(other.rounds()) +
      " on the disk behind " + other.port() + " meanwhile");
}

// The registers are those of QEMU's docs/specs/edu.rst.
void DoEdu(const std::string& port, int times) {
  const std::string device = "/sys/bus/pci/devices/" + DeviceAddress(port);
  WriteFile(device + "/enable", "1");
  const int file =
      open((device + "/resource0").c_str(), O_RDWR | O_SYNC | O_CLOEXEC);
  if (file < 0) Fail(device + "/resource0");
  void* const bar =
      mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (bar == MAP_FAILED) Fail("mmap of edu's BAR");
  auto* const registers = static_cast<volatile uint32_t*>(bar);
  if (registers[0] != 0x010000ed) Fail("edu's identification");
  for (uint32_t i = 1; i <= static_cast<uint32_t>(times); ++i) {
    registers[1] = i;
    if (registers[1] != ~i) Fail("edu's liveness check");
    registers[2] = 6;
    while ((registers[8] & 1) != 0) {
    }
    if (registers[2] != 720) Fail("edu's factorial");
  }
  munmap(bar, 4096);
  Say(port + ": edu is right " + std::to_string(times) + " times");
}

int Run(const std::vector<std::string>& arguments) {
  for (size_t i = 0; i + 2 < arguments.size(); i += 3) {
    const std::string& port = arguments[i + 1];
    const int number = atoi(arguments[i + 2].c_str());
    errno = 0;
    if (arguments[i] == "io") {
      DoRounds(port, number);
    } else if (arguments[i] == "resets") {
      DoResets(port, number);
    } else if (arguments[i] == "hot") {
      DoHotPlug(port, number);
    } else if (arguments[i] == "edu") {
      DoEdu(port, number);
    } else {
      Fail("there is no step " + arguments[i]);
    }
  }
  Say("done");
  return 0;
}

}  // namespace
}  // namespace guest_io

int main(int argc, char** argv) {
  return guest_io::Run({argv + 1, argv + argc});
}
