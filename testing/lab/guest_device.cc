// SPDX-License-Identifier: Apache-2.0
#include "testing/lab/guest_device.h"

#include <fcntl.h>
#include <sys/io.h>
#include <sys/klog.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <system_error>
#include <vector>

namespace passthru::lab {
namespace {

namespace fs = std::filesystem;

constexpr char kPci[] = "/sys/bus/pci/";
constexpr int kLogReadAll = 3;  // SYSLOG_ACTION_READ_ALL

std::string WriteTo(const std::string& path, const std::string& text) {
  const int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC);
  const bool written = fd >= 0 && write(fd, text.data(), text.size()) ==
                                      static_cast<ssize_t>(text.size());
  const int error = errno;
  if (fd >= 0) close(fd);
  if (written) return "";
  return "writing " + text + " to " + path + ": " + std::strerror(error);
}

std::vector<std::string> Names(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    names.push_back(entry.path().filename());
  }
  return names;
}

// Returns the address of the driver's first device, for which this waits, or an
// empty text.
std::string DeviceOf(const std::string& driver) {
  for (int tries = 0; tries < 600; ++tries) {
    std::string first;
    for (const std::string& name : Names(kPci + ("drivers/" + driver))) {
      const bool is_address = name.find(':') != std::string::npos;
      if (is_address && (first.empty() || name < first)) first = name;
    }
    if (!first.empty()) return first;
    usleep(50 * 1000);
  }
  return "";
}

std::string NoDevice(const std::string& driver) {
  return "no device of the driver " + driver;
}

std::string FolderOf(const std::string& device) {
  return kPci + ("devices/" + device + "/");
}

std::string FirstWord(const std::string& path) {
  std::string word;
  std::ifstream(path) >> word;
  return word;
}

// Returns how often this interrupt came, on all CPUs (/proc/interrupts).
unsigned long InterruptCount(const std::string& number) {
  std::ifstream in("/proc/interrupts");
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    std::string name;
    words >> name;
    if (name != number + ":") continue;
    unsigned long sum = 0;
    for (unsigned long count = 0; words >> count;) sum += count;
    return sum;
  }
  return 0;
}

std::string KernelLog() {
  std::vector<char> log(1 << 20);
  const int size =
      klogctl(kLogReadAll, log.data(), static_cast<int>(log.size()));
  return {log.data(), static_cast<size_t>(size > 0 ? size : 0)};
}

}  // namespace

std::string CheckInterrupts(const std::string& driver,
                            const std::string& kind) {
  const std::string device = DeviceOf(driver);
  if (device.empty()) return NoDevice(driver);
  const std::string folder = FolderOf(device);
  unsigned long sum = 0;
  std::set<std::string> kinds;
  const std::vector<std::string> messages = Names(folder + "msi_irqs");
  for (const std::string& number : messages) {
    kinds.insert(FirstWord(folder + "msi_irqs/" + number));
    sum += InterruptCount(number);
  }
  if (messages.empty()) {
    kinds.insert("intx");
    sum = InterruptCount(FirstWord(folder + "irq"));
  }
  std::printf("guest: %s at %s took %lu interrupts of %s\n", driver.c_str(),
              device.c_str(), sum, kinds.begin()->c_str());
  if (kinds != std::set<std::string>{kind}) return "they must be of " + kind;
  return sum == 0 ? "it must have interrupts" : "";
}

std::string RemoveAndRescan(const std::string& driver) {
  const std::string device = DeviceOf(driver);
  if (device.empty()) return NoDevice(driver);
  std::string error = WriteTo(FolderOf(device) + "remove", "1");
  if (!error.empty()) return error;
  if (fs::exists(FolderOf(device))) return device + " is not removed";
  error = WriteTo(kPci + std::string("rescan"), "1");
  if (!error.empty()) return error;
  const std::string again = DeviceOf(driver);
  if (again != device) return device + " does not come back with " + driver;
  std::printf("guest: %s at %s was removed and found again\n", driver.c_str(),
              device.c_str());
  return "";
}

std::string ResetFunction(const std::string& driver) {
  const std::string device = DeviceOf(driver);
  if (device.empty()) return NoDevice(driver);
  const std::string method = FirstWord(FolderOf(device) + "reset_method");
  const std::string error = WriteTo(FolderOf(device) + "reset", "1");
  if (!error.empty()) return error;
  std::printf("guest: %s at %s was reset (%s)\n", driver.c_str(),
              device.c_str(), method.c_str());
  return "";
}

std::string Suspend(const std::string& drivers) {
  const std::string serial = "/sys/class/tty/ttyS0/";
  std::string error = WriteTo(serial + "power/wakeup", "enabled");
  // The kernel then says which state each device is in.
  if (error.empty()) {
    error = WriteTo("/proc/dynamic_debug/control",
                    "file drivers/pci/pci-driver.c +p");
  }
  if (!error.empty()) return error;
  std::printf("GUEST-SLEEPS\n");
  std::fflush(stdout);
  // A key that comes too early ends the attempt with EBUSY.
  for (int tries = 0; tries < 10; ++tries) {
    error = WriteTo("/sys/power/state", "freeze");
    if (error.empty()) break;
  }
  std::printf("GUEST-AWAKE\n");
  std::fflush(stdout);
  if (!error.empty()) return error;
  const std::string waker = FirstWord("/sys/power/pm_wakeup_irq");
  if (waker.empty() || waker != FirstWord(serial + "irq")) {
    return "the interrupt '" + waker + "' woke it, and not the serial port's";
  }
  const std::string log = KernelLog();
  std::istringstream list(drivers);
  for (std::string driver; std::getline(list, driver, ',');) {
    const std::string device = DeviceOf(driver);
    if (device.empty()) return NoDevice(driver);
    const std::string wanted = device + ": PCI PM: Suspend power state: D3hot";
    if (log.find(wanted) == std::string::npos) {
      return driver + " at " + device + " was not in D3hot";
    }
    std::printf("guest: %s at %s was in D3hot\n", driver.c_str(),
                device.c_str());
  }
  return "";
}

std::string ReadConfig(int times) {
  size_t bytes = 0;
  for (int i = 0; i < times; ++i) {
    for (const std::string& device : Names(kPci + std::string("devices"))) {
      std::ifstream in(FolderOf(device) + "config", std::ios::binary);
      const std::string config((std::istreambuf_iterator<char>(in)),
                               std::istreambuf_iterator<char>());
      if (config.empty()) return device + " has no configuration space";
      bytes += config.size();
    }
  }
  std::printf("guest: read %zu bytes of configuration space\n", bytes);
  return "";
}

std::string ReadRom(const std::string& driver, std::vector<uint8_t>& rom) {
  const std::string device = DeviceOf(driver);
  if (device.empty()) return NoDevice(driver);
  const std::string path = FolderOf(device) + "rom";
  std::string error = WriteTo(path, "1");
  if (!error.empty()) return error;
  std::ifstream in(path, std::ios::binary);
  rom.assign(std::istreambuf_iterator<char>(in),
             std::istreambuf_iterator<char>());
  error = WriteTo(path, "0");
  if (rom.empty()) return driver + " at " + device + " has no expansion ROM";
  return error;
}

std::string WreckAndReset() {
  std::printf("guest: writes everywhere in PCI space\n");
  std::fflush(stdout);
  std::mt19937 random(1);
  const auto below = [&random](uint32_t end) {
    return static_cast<uint32_t>(random() % end);
  };
  std::vector<int> functions;
  for (const std::string& device : Names(kPci + std::string("devices"))) {
    const std::string path = FolderOf(device) + "config";
    functions.push_back(open(path.c_str(), O_RDWR | O_CLOEXEC));
    if (functions.back() < 0) return path + ": " + std::strerror(errno);
  }
  constexpr int kWrites = 2000;
  constexpr uint32_t kConfigSize = 4096;
  for (int i = 0; i < kWrites; ++i) {
    // Half of the writes are to the first 256 bytes.
    const uint32_t end = i % 2 == 0 ? kConfigSize : 256;
    const size_t size = size_t{1} << below(3);
    const off_t offset = below(end) & ~(static_cast<uint32_t>(size) - 1);
    const uint32_t value = random();
    // The kernel refuses what is behind a small space.
    static_cast<void>(
        pwrite(functions[below(functions.size())], &value, size, offset));
  }
  if (iopl(3) != 0) return std::string("iopl: ") + std::strerror(errno);
  constexpr uint16_t kConfigAddress = 0xcf8;
  constexpr uint16_t kConfigData = 0xcfc;
  for (int i = 0; i < kWrites; ++i) {
    outl(0x80000000 | below(0x1000000), kConfigAddress);
    outl(random(), kConfigData);
  }
  // This reset asks no driver.
  return WriteTo("/proc/sysrq-trigger", "b");
}

}  // namespace passthru::lab
