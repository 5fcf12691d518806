// SPDX-License-Identifier: Apache-2.0
//
// The program "count_calls PROGRAM ARGUMENT..." runs a VMM and counts, in the
// kernel, how often KVM_RUN returned to it and why, and which ioctls it made.
// The counters are histograms of the kernel's own tracepoints
// (Documentation/trace/histogram.rst), so any VMM is counted alike. Nothing
// else may run on the machine.
//
// It passes the program's output on. The guest's init (guest_init.cc) prints
// "GUEST-MARK NAME" on its console and waits for a line. Then this program
// reads the counters, and sends the line. At the end it prints
// "COUNT NAME KIND WHAT NUMBER" for all that was counted up to each mark, and
// up to the end under the name "all". KIND is ioctl, call (another system
// call), exit (a return of KVM_RUN), port or memory (an access of the guest, by
// port or page).
//
// Exits with the program's status, and with 125 if it cannot count.

#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/vfio.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr int kCannotCount = 125;
constexpr std::string_view kMark = "GUEST-MARK ";
constexpr char kTracing[] = "/sys/kernel/tracing";

[[noreturn]] void Fail(const std::string& what) {
  std::fprintf(stderr, "count_calls: %s: %s\n", what.c_str(),
               std::strerror(errno));
  std::exit(kCannotCount);
}

// A histogram of a tracepoint, and what its lines stand for.
struct Histogram {
  const char* kind;
  const char* event;
  const char* trigger;
};

// Pages are of 4096 bytes. The kernel tells of a read that a device in it
// answers, and of one that it gives to the VMM (type 0). Of writes it tells
// only that there was one (type 2).
constexpr std::array<Histogram, 6> kHistograms = {{
    {"ioctl", "syscalls/sys_enter_ioctl", "hist:keys=cmd:size=4096"},
    {"call", "syscalls/sys_enter_pread64", "hist:keys=__syscall_nr"},
    {"call", "syscalls/sys_enter_pwrite64", "hist:keys=__syscall_nr"},
    {"exit", "kvm/kvm_userspace_exit", "hist:keys=reason,errno"},
    {"port", "kvm/kvm_pio", "hist:keys=port:size=4096"},
    {"memory", "kvm/kvm_mmio",
     "hist:keys=gpa.buckets=4096:size=8192 if type != 1"},
}};

std::string EventFile(const Histogram& histogram, const char* file) {
  return std::string(kTracing) + "/events/" + histogram.event + "/" + file;
}

void Start(const Histogram& histogram) {
  const std::string path = EventFile(histogram, "trigger");
  const int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC);
  const auto size = static_cast<ssize_t>(std::strlen(histogram.trigger));
  if (fd < 0 || write(fd, histogram.trigger, size) != size) Fail(path);
  close(fd);
}

// Returns the name of an ioctl's command, or its number.
std::string IoctlName(uint64_t command) {
  static const auto* const names = new std::map<uint64_t, const char*>{
      {KVM_RUN, "KVM_RUN"},
      {KVM_IRQFD, "KVM_IRQFD"},
      {KVM_IOEVENTFD, "KVM_IOEVENTFD"},
      {KVM_IRQ_LINE, "KVM_IRQ_LINE"},
      {KVM_IRQ_LINE_STATUS, "KVM_IRQ_LINE_STATUS"},
      {KVM_SIGNAL_MSI, "KVM_SIGNAL_MSI"},
      {KVM_SET_GSI_ROUTING, "KVM_SET_GSI_ROUTING"},
      {KVM_SET_USER_MEMORY_REGION, "KVM_SET_USER_MEMORY_REGION"},
      {KVM_SET_USER_MEMORY_REGION2, "KVM_SET_USER_MEMORY_REGION2"},
      {VFIO_DEVICE_SET_IRQS, "VFIO_DEVICE_SET_IRQS"},
      {VFIO_DEVICE_RESET, "VFIO_DEVICE_RESET"},
      {VFIO_IOMMU_MAP_DMA, "VFIO_IOMMU_MAP_DMA"},
      {VFIO_IOMMU_UNMAP_DMA, "VFIO_IOMMU_UNMAP_DMA"},
  };
  const auto found = names->find(command);
  if (found != names->end()) return found->second;
  char number[32];
  std::snprintf(number, sizeof(number), "0x%x", static_cast<unsigned>(command));
  return number;
}

// Returns why KVM_RUN returned. The kernel's errno is negative.
std::string ExitName(uint64_t reason, int error) {
  if (error == -EINTR) return "interrupted";
  if (error < 0) return std::string("error_") + std::to_string(-error);
  switch (reason) {
    case KVM_EXIT_IO:
      return "port";
    case KVM_EXIT_MMIO:
      return "memory";
    case KVM_EXIT_INTR:
      return "interrupted";
    case KVM_EXIT_IRQ_WINDOW_OPEN:
      return "interrupt_window";
    case KVM_EXIT_TPR_ACCESS:
      return "task_priority";
    case KVM_EXIT_SHUTDOWN:
      return "shutdown";
    default:
      return "reason_" + std::to_string(reason);
  }
}

// What was counted, as "KIND WHAT".
using Counts = std::map<std::string, uint64_t>;

// Returns the number behind `name`, as in "errno:          0".
int64_t Field(const std::string& line, const std::string& name) {
  const size_t at = line.find(" " + name + ":");
  if (at == std::string::npos) return 0;
  // A bucket is "~ FIRST-LAST".
  const size_t digits = line.find_first_of("-0123456789", at + name.size() + 2);
  // Some kernels print a negative number as one of 64 bits without a sign.
  return static_cast<int64_t>(
      std::strtoull(line.c_str() + digits, nullptr, 10));
}

// Parses a line of a histogram, as in
// "{ reason:          2, errno:          0 } hitcount:         17".
void AddLine(const Histogram& histogram, const std::string& line,
             Counts& counts) {
  const std::string_view kind = histogram.kind;
  std::string what;
  char text[32];
  if (kind == "ioctl") {
    what = IoctlName(static_cast<uint32_t>(Field(line, "cmd")));
  } else if (kind == "exit") {
    what = ExitName(static_cast<uint64_t>(Field(line, "reason")),
                    static_cast<int>(Field(line, "errno")));
  } else if (kind == "call") {
    what = Field(line, "__syscall_nr") == SYS_pread64 ? "pread64" : "pwrite64";
  } else if (kind == "port") {
    std::snprintf(text, sizeof(text), "0x%x",
                  static_cast<unsigned>(Field(line, "port")));
    what = text;
  } else {
    std::snprintf(text, sizeof(text), "0x%llx",
                  static_cast<unsigned long long>(Field(line, "gpa")));
    what = text;
  }
  counts[std::string(kind) + " " + what] +=
      static_cast<uint64_t>(Field(line, "hitcount"));
}

Counts Read() {
  Counts counts;
  for (const Histogram& histogram : kHistograms) {
    const std::string path = EventFile(histogram, "hist");
    std::ifstream in(path);
    if (!in.is_open()) Fail(path);
    for (std::string line; std::getline(in, line);) {
      if (line.rfind("{ ", 0) == 0) AddLine(histogram, line, counts);
      // A full histogram would count too little.
      if (line.find("Dropped:") != std::string::npos &&
          Field(line, "Dropped") != 0) {
        errno = ENOSPC;
        Fail(path);
      }
    }
  }
  return counts;
}

void Print(const std::string& name, const Counts& counts) {
  for (const auto& [what, count] : counts) {
    std::printf("COUNT %s %s %llu\n", name.c_str(), what.c_str(),
                static_cast<unsigned long long>(count));
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: count_calls PROGRAM ARGUMENT...\n");
    return kCannotCount;
  }
  if (mount("tracefs", kTracing, "tracefs", 0, nullptr) != 0 &&
      errno != EBUSY) {
    Fail("mount tracefs");
  }
  int output[2];
  int input[2];
  if (pipe2(output, O_CLOEXEC) != 0 || pipe2(input, O_CLOEXEC) != 0) {
    Fail("pipe2");
  }
  for (const Histogram& histogram : kHistograms) Start(histogram);
  const pid_t child = fork();
  if (child < 0) Fail("fork");
  if (child == 0) {
    dup2(input[0], STDIN_FILENO);
    dup2(output[1], STDOUT_FILENO);
    execv(argv[1], argv + 1);
    Fail(std::string("exec ") + argv[1]);
  }
  close(output[1]);
  close(input[0]);
  std::vector<std::pair<std::string, Counts>> marks;
  FILE* const lines = fdopen(output[0], "r");
  char line[4096];
  while (std::fgets(line, sizeof(line), lines) != nullptr) {
    std::fputs(line, stdout);
    std::fflush(stdout);
    const std::string_view text(line);
    const size_t at = text.find(kMark);
    if (at == std::string_view::npos) continue;
    const std::string_view name = text.substr(at + kMark.size());
    marks.emplace_back(name.substr(0, name.find_first_of("\r\n")), Read());
    if (write(input[1], "\n", 1) != 1) Fail("the guest's console");
  }
  int status = 0;
  if (waitpid(child, &status, 0) != child) Fail("waitpid");
  marks.emplace_back("all", Read());
  for (const auto& [name, counts] : marks) Print(name, counts);
  std::fflush(stdout);
  if (WIFSIGNALED(status)) return 128 + WTERMSIG(status);
  return WEXITSTATUS(status);
}
