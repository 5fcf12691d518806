// SPDX-License-Identifier: Apache-2.0
//
// Drives the edu device of the fixture, in group 3 at 0000:00:02.0, as a driver
// in user space does. `edu CASE` ends with 0 if all is as on Linux.
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>
#include <vector>

#include "testing/simulate/clients/client.h"

namespace client {
namespace {

constexpr char kAddress[] = "0000:00:02.0";
constexpr int kGroup = 3;
constexpr uint32_t kIdentification = 0x010000ed;
constexpr uint16_t kMemoryAndMaster = 0x6;
constexpr size_t kPageBytes = 4096;

uint32_t ReadRegister(const Device& device, uint64_t offset) {
  uint32_t value = 0;
  EXPECT(pread(device.fd, &value, sizeof(value),
               static_cast<off_t>(Region(device, 0).offset + offset)) == 4);
  return value;
}

// Lets the device copy 64 bytes between memory and its buffer.
constexpr uint64_t kBuffer = 0x40000;
constexpr uint32_t kToDevice = 1;
constexpr uint32_t kFromDevice = 1 | 2;
void Transfer(uint8_t* bar, uint64_t from, uint64_t to, uint32_t command) {
  *reinterpret_cast<volatile uint64_t*>(bar + 0x80) = from;
  *reinterpret_cast<volatile uint64_t*>(bar + 0x88) = to;
  *reinterpret_cast<volatile uint64_t*>(bar + 0x90) = 64;
  *reinterpret_cast<volatile uint64_t*>(bar + 0x98) = command;
  while ((*reinterpret_cast<volatile uint64_t*>(bar + 0x98) & 1) != 0) {
  }
}

uint8_t* NewPage() {
  void* const page = mmap(nullptr, kPageBytes, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  EXPECT(page != MAP_FAILED);
  return static_cast<uint8_t*>(page);
}

bool Answers(int fd) {
  vfio_device_info info = {};
  info.argsz = sizeof(info);
  return ioctl(fd, VFIO_DEVICE_GET_INFO, &info) == 0 && info.num_regions >= 9;
}

// Descriptors are as good as any: duplicates, and those of children and of
// other programs.
void Descriptors() {
  const Device device = Open(kAddress, kGroup);
  const int copies[] = {dup(device.fd), dup2(device.fd, 100),
                        dup3(device.fd, 101, O_CLOEXEC),
                        fcntl(device.fd, F_DUPFD, 200)};
  for (const int copy : copies) EXPECT(Answers(copy));
  vfio_device_info info = {};
  info.argsz = sizeof(info);
  EXPECT(syscall(SYS_ioctl, device.fd, VFIO_DEVICE_GET_INFO, &info) == 0);

  int pair[2];
  EXPECT(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
  const pid_t child = fork();
  if (child == 0) {
    // The child uses what it inherited, and sends one that only it has.
    EXPECT(Answers(device.fd));
    const int sent = dup(device.fd);
    char byte = 0;
    iovec part = {&byte, 1};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr message = {};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    cmsghdr* const rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(rights), &sent, sizeof(sent));
    EXPECT(sendmsg(pair[1], &message, 0) == 1);
    _exit(0);
  }
  int status = 0;
  EXPECT(waitpid(child, &status, 0) == child && status == 0);
  char byte = 0;
  iovec part = {&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  EXPECT(recvmsg(pair[0], &message, 0) == 1);
  int received = -1;
  memcpy(&received, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(received));
  EXPECT(Answers(received));

  // The file lives as long as one of them, and the group as long as the file.
  close(device.fd);
  close(device.group);
  EXPECT(open("/dev/vfio/3", O_RDWR) == -1 && errno == EBUSY);
  for (const int copy : copies) close(copy);
  EXPECT(Answers(received));
  close(received);
  const int again = open("/dev/vfio/3", O_RDWR | O_CLOEXEC);
  EXPECT(again >= 0);
  // A child that is killed closes, too.
  EXPECT(close(again) == 0);
  const pid_t killed = fork();
  if (killed == 0) {
    EXPECT(open("/dev/vfio/3", O_RDWR) >= 0);
    kill(getpid(), SIGKILL);
  }
  EXPECT(waitpid(killed, &status, 0) == killed && WIFSIGNALED(status));
  EXPECT(open("/dev/vfio/3", O_RDWR) >= 0);
}

// Every call that reads or writes reaches the device, and the others answer as
// for a VFIO file.
void Calls() {
  const Device device = Open(kAddress, kGroup);
  SetCommand(device, kMemoryAndMaster);
  const auto bar = static_cast<off_t>(Region(device, 0).offset);
  uint32_t value = 0;
  iovec part = {&value, sizeof(value)};
  EXPECT(pread(device.fd, &value, 4, bar) == 4 && value == kIdentification);
  value = 0;
  EXPECT(preadv(device.fd, &part, 1, bar) == 4 && value == kIdentification);
  value = 0;
  EXPECT(preadv2(device.fd, &part, 1, bar, 0) == 4 && value == kIdentification);
  value = 0;
  EXPECT(syscall(SYS_pread64, device.fd, &value, 4, bar) == 4 &&
         value == kIdentification);
  value = 0;  // BAR 0 begins at position 0.
  EXPECT(read(device.fd, &value, 4) == 4 && value == kIdentification);
  EXPECT(readv(device.fd, &part, 1) == 4 && value == ReadRegister(device, 4));
  const uint32_t liveness = 0x12345678;
  iovec out = {const_cast<uint32_t*>(&liveness), sizeof(liveness)};
  EXPECT(pwritev(device.fd, &out, 1, bar + 4) == 4);
  EXPECT(ReadRegister(device, 4) == ~liveness);
  EXPECT(lseek(device.fd, 0, SEEK_SET) == -1 && errno == ESPIPE);
  volatile uintptr_t nowhere = 8;
  EXPECT(pread(device.fd, reinterpret_cast<void*>(nowhere), 4, bar) == -1 &&
         errno == EFAULT);

  struct stat status;
  EXPECT(fstat(device.container, &status) == 0 && S_ISCHR(status.st_mode) &&
         status.st_rdev == makedev(10, 196));
  EXPECT(stat("/dev/vfio/vfio", &status) == 0 && S_ISCHR(status.st_mode) &&
         status.st_rdev == makedev(10, 196));
  EXPECT(fstat(device.fd, &status) == 0 && !S_ISFIFO(status.st_mode));
  EXPECT((fcntl(device.fd, F_GETFL) & (O_ACCMODE | O_NONBLOCK)) == O_RDWR);
  char link[64] = {};
  char path[64];
  snprintf(path, sizeof(path), "/proc/self/fd/%d", device.container);
  EXPECT(readlink(path, link, sizeof(link) - 1) > 0);
  EXPECT(strcmp(link, "/dev/vfio/vfio") == 0);

  pollfd poll_fd = {device.fd, POLLIN | POLLOUT, 0};
  EXPECT(poll(&poll_fd, 1, -1) == 1 && poll_fd.revents == (POLLIN | POLLOUT));
  fd_set set;
  FD_ZERO(&set);
  FD_SET(device.fd, &set);
  EXPECT(select(device.fd + 1, &set, nullptr, nullptr, nullptr) == 1 &&
         FD_ISSET(device.fd, &set));
  const int epoll = epoll_create1(0);
  epoll_event event = {};
  EXPECT(epoll_ctl(epoll, EPOLL_CTL_ADD, device.fd, &event) == -1 &&
         errno == EPERM);
  Close(device);
}

// A mapped register is the register, in order with all other accesses.
void Mapped() {
  const Device device = Open(kAddress, kGroup);
  SetCommand(device, kMemoryAndMaster);
  uint8_t* const bar = MapBar(device, 0);
  EXPECT(Register32(bar, 0) == kIdentification);
  for (uint32_t i = 0; i < 50; ++i) {
    Register32(bar, 4) = i;
    EXPECT(ReadRegister(device, 4) == ~i);
    const uint32_t other = i << 8;
    EXPECT(pwrite(device.fd, &other, 4,
                  static_cast<off_t>(Region(device, 0).offset + 4)) == 4);
    EXPECT(Register32(bar, 4) == ~other);
  }

  // DMA whose parameters are below the register that starts it.
  uint8_t* const memory = NewPage();
  EXPECT(MapDma(device, memory, 0x10000, kPageBytes) == 0);
  for (int round = 0; round < 20; ++round) {
    for (int i = 0; i < 64; ++i) memory[i] = static_cast<uint8_t>(i + round);
    Transfer(bar, 0x10000, kBuffer, kToDevice);
    Transfer(bar, kBuffer, 0x10000 + 2048, kFromDevice);
    EXPECT(memcmp(memory, memory + 2048, 64) == 0);
  }
  munmap(bar, Region(device, 0).size);
  Close(device);
}

// Interrupts arrive at eventfds, of which the program has the descriptors.
void Interrupts() {
  const Device device = Open(kAddress, kGroup);
  SetCommand(device, kMemoryAndMaster);
  uint8_t* const bar = MapBar(device, 0);
  const int event = eventfd(0, EFD_CLOEXEC);
  EXPECT(SetTriggers(device, VFIO_PCI_MSI_IRQ_INDEX, 0, &event, 1) == 0);
  for (uint32_t i = 1; i <= 4; ++i) {
    Register32(bar, 0x60) = i;
    uint64_t count = 0;
    EXPECT(read(event, &count, sizeof(count)) == 8 && count == 1);
    EXPECT(Register32(bar, 0x24) == i);
    Register32(bar, 0x64) = i;
  }
  EXPECT(SetTriggers(device, VFIO_PCI_MSI_IRQ_INDEX, 0, nullptr, 0) == 0);
  const int file = open("/dev/null", O_RDWR);
  EXPECT(SetTriggers(device, VFIO_PCI_MSI_IRQ_INDEX, 0, &file, 1) == EINVAL);
  const int closed = 300;
  EXPECT(SetTriggers(device, VFIO_PCI_MSI_IRQ_INDEX, 0, &closed, 1) == EBADF);

  // INTx is masked when it fires. A write to the eventfd unmasks it.
  EXPECT(SetTriggers(device, VFIO_PCI_INTX_IRQ_INDEX, 0, &event, 1) == 0);
  const int unmask = eventfd(0, EFD_CLOEXEC);
  alignas(vfio_irq_set) char bytes[sizeof(vfio_irq_set) + sizeof(int)];
  auto* const set = reinterpret_cast<vfio_irq_set*>(bytes);
  *set = {};
  set->argsz = sizeof(bytes);
  set->flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_UNMASK;
  set->index = VFIO_PCI_INTX_IRQ_INDEX;
  set->count = 1;
  memcpy(set->data, &unmask, sizeof(unmask));
  EXPECT(ioctl(device.fd, VFIO_DEVICE_SET_IRQS, set) == 0);
  for (int i = 0; i < 4; ++i) {
    Register32(bar, 0x60) = 1;
    uint64_t count = 0;
    EXPECT(read(event, &count, sizeof(count)) == 8 && count == 1);
    Register32(bar, 0x64) = 1;
    const uint64_t one = 1;
    EXPECT(write(unmask, &one, sizeof(one)) == 8);
  }
  // Its close takes it away, so that another one can be set.
  EXPECT(ioctl(device.fd, VFIO_DEVICE_SET_IRQS, set) == -1 && errno == EBUSY);
  EXPECT(close(unmask) == 0);
  const int other = eventfd(0, EFD_CLOEXEC);
  memcpy(set->data, &other, sizeof(other));
  EXPECT(ioctl(device.fd, VFIO_DEVICE_SET_IRQS, set) == 0);
  Close(device);
}

sigjmp_buf after_fault;
int fault_signal;

void OnFault(int signal) {
  fault_signal = signal;
  siglongjmp(after_fault, 1);
}

bool Faults(uint8_t* address, int signal) {
  fault_signal = 0;
  if (sigsetjmp(after_fault, 1) == 0) {
    static_cast<void>(*static_cast<volatile uint8_t*>(address));
    return false;
  }
  return fault_signal == signal;
}

// What the program maps over a BAR is its own, a BAR without decode raises
// SIGBUS, and the program's handlers see its own faults.
void OverMapped() {
  const Device device = Open(kAddress, kGroup);
  SetCommand(device, kMemoryAndMaster);
  const uint64_t size = Region(device, 0).size;
  uint8_t* const bar = MapBar(device, 0);
  uint8_t* const own = bar + 2 * kPageBytes;
  EXPECT(mmap(own, kPageBytes, PROT_READ | PROT_WRITE,
              MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == own);
  memset(own, 0x5a, kPageBytes);
  EXPECT(munmap(bar + 4 * kPageBytes, kPageBytes) == 0);
  signal(SIGSEGV, OnFault);
  signal(SIGBUS, OnFault);
  SetCommand(device, 0);
  EXPECT(Faults(bar, SIGBUS));
  EXPECT(own[0] == 0x5a && own[kPageBytes - 1] == 0x5a);
  SetCommand(device, kMemoryAndMaster);
  EXPECT(Register32(bar, 0) == kIdentification);
  EXPECT(own[0] == 0x5a && own[kPageBytes - 1] == 0x5a);
  EXPECT(Faults(bar + 4 * kPageBytes, SIGSEGV));
  EXPECT(!Faults(bar + 3 * kPageBytes, SIGSEGV));
  EXPECT(mprotect(bar + 3 * kPageBytes, kPageBytes, PROT_NONE) == 0);
  EXPECT(Faults(bar + 3 * kPageBytes, SIGSEGV));
  EXPECT(mremap(bar, kPageBytes, 8 * kPageBytes, MREMAP_MAYMOVE) ==
             MAP_FAILED &&
         errno == EFAULT);
  EXPECT(mmap(nullptr, kPageBytes, PROT_READ, MAP_PRIVATE, device.fd, 0) ==
             MAP_FAILED &&
         errno == EINVAL);
  // A mapping keeps the device open (vm_area_struct.vm_file).
  Close(device);
  EXPECT(open("/dev/vfio/3", O_RDWR) == -1 && errno == EBUSY);
  EXPECT(Register32(bar, 0) == kIdentification);
  EXPECT(munmap(bar, size) == 0);
  EXPECT(open("/dev/vfio/3", O_RDWR) >= 0);
}

// Maps memory for DMA and frees it, so that other threads soon get its
// addresses.
void MapAndFree(const Device& device, uint64_t iova) {
  constexpr size_t kSize = 4 * kPageBytes;
  for (int i = 0; i < 300; ++i) {
    void* const memory = mmap(nullptr, kSize, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT(memory != MAP_FAILED);
    EXPECT(MapDma(device, memory, iova, kSize) == 0);
    vfio_iommu_type1_dma_unmap unmap = {};
    unmap.argsz = sizeof(unmap);
    unmap.iova = iova;
    unmap.size = kSize;
    EXPECT(ioctl(device.container, VFIO_IOMMU_UNMAP_DMA, &unmap) == 0);
    if (i % 3 == 0) {
      EXPECT(munmap(memory, kSize) == 0);
    } else if (i % 3 == 1) {
      EXPECT(mremap(memory, kSize, kPageBytes, 0) == memory);
      EXPECT(munmap(memory, kPageBytes) == 0);
    } else {
      void* const moved = mremap(memory, kSize, 64 * kSize, MREMAP_MAYMOVE);
      EXPECT(moved != MAP_FAILED);
      EXPECT(munmap(moved, 64 * kSize) == 0);
    }
  }
}

// What one thread does with its memory and its part of a BAR does not disturb
// the others.
void Threads() {
  const Device device = Open(kAddress, kGroup);
  SetCommand(device, kMemoryAndMaster);
  const uint64_t size = Region(device, 0).size;
  uint8_t* const bar = MapBar(device, 0);
  std::atomic<bool> done = false;
  std::thread reader([&] {
    while (!done) EXPECT(Register32(bar, 0) == kIdentification);
  });
  std::vector<std::thread> threads;
  for (uint64_t i = 0; i < 4; ++i) {
    threads.emplace_back([&device, i] { MapAndFree(device, i << 32); });
  }
  for (int i = 0; i < 200; ++i) {
    uint8_t* const page = bar + 3 * kPageBytes;
    EXPECT(mprotect(page, kPageBytes, PROT_READ) == 0);
    EXPECT(mprotect(page, kPageBytes, PROT_READ | PROT_WRITE) == 0);
    EXPECT(munmap(MapBar(device, 0), size) == 0);
  }
  for (std::thread& thread : threads) thread.join();
  done = true;
  reader.join();
  EXPECT(munmap(bar, size) == 0);
  Close(device);
}

// The program's own memory between two BARs gets its protection.
void Protected() {
  const Device device = Open(kAddress, kGroup);
  SetCommand(device, kMemoryAndMaster);
  uint8_t* const bar = MapBar(device, 0);
  uint8_t* const own = bar + 2 * kPageBytes;
  EXPECT(mmap(own, kPageBytes, PROT_READ | PROT_WRITE,
              MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == own);
  own[0] = 1;
  signal(SIGSEGV, OnFault);
  EXPECT(mprotect(bar + kPageBytes, 3 * kPageBytes, PROT_NONE) == 0);
  EXPECT(Faults(bar + kPageBytes, SIGSEGV));
  EXPECT(Faults(own, SIGSEGV));
  EXPECT(Faults(bar + 3 * kPageBytes, SIGSEGV));
  EXPECT(Register32(bar, 0) == kIdentification);
  EXPECT(mprotect(bar, 4 * kPageBytes, PROT_READ) == 0);
  EXPECT(own[0] == 1 && !Faults(bar + 3 * kPageBytes, SIGSEGV));
  EXPECT(munmap(bar + 1, kPageBytes) == -1 && errno == EINVAL);
  EXPECT(munmap(bar, 0) == -1 && errno == EINVAL);
  EXPECT(Register32(bar, 0) == kIdentification);
  EXPECT(munmap(bar, Region(device, 0).size) == 0);
  Close(device);
}

// Registers are memory, which the device polls.
void Polled() {
  const Device device = Open(kAddress, kGroup);
  SetCommand(device, kMemoryAndMaster);
  uint8_t* const bar = MapBar(device, 0);
  EXPECT(Register32(bar, 0) == kIdentification);
  for (uint32_t i = 1; i < 20; ++i) {
    Register32(bar, 4) = i;
    EXPECT(ReadRegister(device, 4) == ~i);
    Register32(bar, 4) = i << 8;
    while (Register32(bar, 4) != ~(i << 8)) {
    }
    // What a call wrote, the mapping shows at once.
    const uint32_t written = i << 16;
    EXPECT(pwrite(device.fd, &written, sizeof(written),
                  static_cast<off_t>(Region(device, 0).offset + 4)) == 4);
    EXPECT(Register32(bar, 4) == ~written);
  }

  // While the device decodes no memory, nothing is behind its mappings, in this
  // process and in others. Afterwards all is as before.
  uint8_t* const unused = bar + 5 * kPageBytes;
  *unused = 0x5a;
  const uint32_t before = Register32(bar, 4);
  signal(SIGBUS, OnFault);
  SetCommand(device, 0);
  EXPECT(Faults(bar, SIGBUS) && Faults(unused, SIGBUS));
  uint8_t* const late = MapBar(device, 0);
  const pid_t child = fork();
  if (child == 0) _exit(Faults(bar, SIGBUS) && Faults(late, SIGBUS) ? 0 : 1);
  int status = 0;
  EXPECT(waitpid(child, &status, 0) == child && status == 0);
  SetCommand(device, kMemoryAndMaster);
  EXPECT(Register32(bar, 0) == kIdentification && *unused == 0x5a);
  EXPECT(Register32(bar, 4) == before && Register32(late, 4) == before);
  Register32(late, 4) = 7;
  EXPECT(ReadRegister(device, 4) == ~7u && Register32(bar, 4) == ~7u);
  Close(device);
}

// A child has the mappings, too.
void Forked() {
  const Device device = Open(kAddress, kGroup);
  SetCommand(device, kMemoryAndMaster);
  uint8_t* const bar = MapBar(device, 0);
  const pid_t child = fork();
  if (child == 0) {
    Register32(bar, 4) = 0x1111;
    _exit(Register32(bar, 4) == ~0x1111u ? 0 : 1);
  }
  int status = 0;
  EXPECT(waitpid(child, &status, 0) == child && status == 0);
  EXPECT(ReadRegister(device, 4) == ~0x1111u);
  Close(device);
}

// A device reaches the BAR of another one, if that is mapped for it: the
// e1000e of the fixture, whose registers are memory.
void ReachesPeer() {
  constexpr uint64_t kPeer = 0x100000;
  constexpr uint64_t kOffset = 0x5400;
  const Device device = Open(kAddress, kGroup);
  const Device peer = OpenIn(device.container, "0000:01:00.0", 6);
  SetCommand(device, kMemoryAndMaster);
  SetCommand(peer, kMemoryAndMaster);
  uint8_t* const bar = MapBar(device, 0);
  uint8_t* const other = MapBar(peer, 0);
  uint8_t* const memory = NewPage();
  EXPECT(MapDma(device, memory, 0x10000, kPageBytes) == 0);
  EXPECT(MapDma(device, other, kPeer, Region(peer, 0).size) == 0);
  for (int i = 0; i < 64; ++i) memory[i] = static_cast<uint8_t>(i + 1);
  Transfer(bar, 0x10000, kBuffer, kToDevice);
  Transfer(bar, kBuffer, kPeer + kOffset, kFromDevice);
  for (uint64_t i = 0; i < 64; i += 4) {
    uint32_t value = 0;
    EXPECT(pread(peer.fd, &value, 4,
                 static_cast<off_t>(Region(peer, 0).offset + kOffset + i)) ==
           4);
    EXPECT(memcmp(&value, memory + i, 4) == 0);
    EXPECT(Register32(other, kOffset + i) == value);
    Register32(other, kOffset + i) = ~value;
  }
  Transfer(bar, kPeer + kOffset, kBuffer, kToDevice);
  Transfer(bar, kBuffer, 0x10000 + 2048, kFromDevice);
  for (int i = 0; i < 64; ++i) {
    EXPECT(memory[2048 + i] == static_cast<uint8_t>(~memory[i]));
  }
  // It does not answer without decode.
  SetCommand(peer, 0);
  Transfer(bar, kPeer + kOffset, kBuffer, kToDevice);
  Transfer(bar, kBuffer, 0x10000 + 2048, kFromDevice);
  for (int i = 0; i < 64; ++i) EXPECT(memory[2048 + i] == 0xff);
}

// A program that closes all it does not know does not lose the simulation.
void CloseAll() {
  const Device device = Open(kAddress, kGroup);
  for (int fd = 3; fd < 1024; ++fd) {
    if (fd != device.fd) close(fd);
  }
  EXPECT(Answers(device.fd));
  EXPECT(syscall(SYS_close_range, 3u, ~0u, 0) == 0);
  EXPECT(open("/dev/vfio/3", O_RDWR) >= 0);
}

// Waits until it is killed, with the device open.
void Hold() {
  Open(kAddress, kGroup);
  for (;;) pause();
}

// Breaks a rule: unmaps memory that the device may still reach.
void FreesPinnedMemory() {
  const Device device = Open(kAddress, kGroup);
  uint8_t* const memory = NewPage();
  EXPECT(MapDma(device, memory, 0x10000, kPageBytes) == 0);
  munmap(memory, kPageBytes);
  Close(device);
}

// The same by a mapping over it.
void ReplacesPinnedMemory() {
  const Device device = Open(kAddress, kGroup);
  uint8_t* const memory = NewPage();
  EXPECT(MapDma(device, memory, 0x10000, kPageBytes) == 0);
  EXPECT(mmap(memory, kPageBytes, PROT_READ,
              MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == memory);
  Close(device);
}

// The same by moving it.
void MovesPinnedMemory() {
  const Device device = Open(kAddress, kGroup);
  uint8_t* const memory = NewPage();
  EXPECT(MapDma(device, memory, 0x10000, kPageBytes) == 0);
  EXPECT(mremap(memory, kPageBytes, kPageBytes, MREMAP_MAYMOVE | MREMAP_FIXED,
                NewPage()) != MAP_FAILED);
  Close(device);
}

// Breaks no rule: a child has addresses of its own.
void ChildFreesItsCopy() {
  const Device device = Open(kAddress, kGroup);
  uint8_t* const memory = NewPage();
  EXPECT(MapDma(device, memory, 0x10000, kPageBytes) == 0);
  const pid_t child = fork();
  if (child == 0) _exit(munmap(memory, kPageBytes) == 0 ? 0 : 1);
  int status = 0;
  EXPECT(waitpid(child, &status, 0) == child && status == 0);
  Close(device);
}

// Breaks a rule: lets the device reach memory that is gone.
void ReachesGoneMemory() {
  const Device device = Open(kAddress, kGroup);
  SetCommand(device, kMemoryAndMaster);
  uint8_t* const bar = MapBar(device, 0);
  uint8_t* const memory = NewPage();
  EXPECT(MapDma(device, memory, 0x10000, kPageBytes) == 0);
  munmap(memory, kPageBytes);
  Transfer(bar, 0x10000, kBuffer, kToDevice);
  Close(device);
}

// Leaves everything open at its end.
void LeavesOpen() {
  const Device device = Open(kAddress, kGroup);
  MapBar(device, 0);
  EXPECT(MapDma(device, NewPage(), 0x10000, kPageBytes) == 0);
  const int event = eventfd(0, EFD_CLOEXEC);
  EXPECT(SetTriggers(device, VFIO_PCI_MSI_IRQ_INDEX, 0, &event, 1) == 0);
}

// Makes calls without end, as far as memory is concerned.
void ManyCalls() {
  const Device device = Open(kAddress, kGroup);
  for (int i = 0; i < 5000; ++i) ReadRegister(device, 4);
  Close(device);
}

}  // namespace
}  // namespace client

int main(int argc, char** argv) {
  using Case = void (*)();
  static const struct {
    const char* name;
    Case run;
  } kCases[] = {
      {"descriptors", client::Descriptors},
      {"calls", client::Calls},
      {"mapped", client::Mapped},
      {"interrupts", client::Interrupts},
      {"over_mapped", client::OverMapped},
      {"threads", client::Threads},
      {"protected", client::Protected},
      {"polled", client::Polled},
      {"forked", client::Forked},
      {"close_all", client::CloseAll},
      {"hold", client::Hold},
      {"reaches_peer", client::ReachesPeer},
      {"frees_pinned_memory", client::FreesPinnedMemory},
      {"replaces_pinned_memory", client::ReplacesPinnedMemory},
      {"moves_pinned_memory", client::MovesPinnedMemory},
      {"child_frees_its_copy", client::ChildFreesItsCopy},
      {"reaches_gone_memory", client::ReachesGoneMemory},
      {"leaves_open", client::LeavesOpen},
      {"many_calls", client::ManyCalls},
  };
  for (const auto& entry : kCases) {
    if (argc == 2 && strcmp(argv[1], entry.name) == 0) {
      entry.run();
      return 0;
    }
  }
  fprintf(stderr, "There is no such case.\n");
  return 2;
}
