// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/journal/call_recorder.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <cerrno>
#include <cstdint>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/testing/host/fake_kernel.h"
#include "passthru/testing/journal/call_listener.h"

namespace passthru::journal {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

TEST(CallRecorderTest, WritesWhatIsCalledOnWhat) {
  fake::FakeKernel kernel;
  std::ostringstream journal;
  CallRecorder recorder(&kernel, &journal);
  const int kvm = recorder.Open("/dev/kvm", O_RDWR | O_CLOEXEC).value;
  const int vm = recorder.IoctlInt(kvm, KVM_CREATE_VM, 0).value;
  const int vcpu = recorder.IoctlInt(vm, KVM_CREATE_VCPU, 0).value;
  kvm_create_device vfio = {.type = KVM_DEV_TYPE_VFIO, .fd = 0, .flags = 0};
  recorder.Ioctl(vm, KVM_CREATE_DEVICE, &vfio);
  for (const int fd : {static_cast<int>(vfio.fd), vcpu, vm, kvm}) {
    recorder.Close(fd);
  }
  EXPECT_EQ(journal.str(),
            "open(/dev/kvm, flags=0x80002) = fd#1\n"
            "KVM_CREATE_VM(/dev/kvm, arg=0) = fd#2\n"
            "KVM_CREATE_VCPU(vm, arg=0) = fd#3\n"
            "KVM_CREATE_DEVICE(vm, type=4, flags=0x0, fd=fd#4) = 0\n"
            "close(kvm-vfio, fd=fd#4) = 0\n"
            "close(vcpu 0, fd=fd#3) = 0\n"
            "close(vm, fd=fd#2) = 0\n"
            "close(/dev/kvm, fd=fd#1) = 0\n");
}

TEST(CallRecorderTest, TheWaitingThreadIsIndentedAndItsWaitsOnlyCounted) {
  fake::FakeKernel kernel;
  std::ostringstream journal;
  CallRecorder recorder(&kernel, &journal);
  const int event = recorder.Eventfd(1, EFD_CLOEXEC).value;
  const int epoll = recorder.EpollCreate(EPOLL_CLOEXEC).value;
  std::thread([&] {
    epoll_event unused = {};
    recorder.EpollWait(epoll, &unused, 1, 0);
    uint64_t count = 0;
    recorder.Read(event, &count, sizeof(count));
  }).join();
  recorder.Close(epoll);
  recorder.Close(event);
  EXPECT_EQ(journal.str(),
            "eventfd(initial=1, flags=0x80000) = fd#1\n"
            "epoll_create(flags=0x80000) = fd#2\n"
            "  read(eventfd, fd=fd#1, count=8, data=0x1) = 8\n"
            "close(epoll, fd=fd#2) = 0\n"
            "close(eventfd, fd=fd#1) = 0\n");
  EXPECT_THAT(recorder.Take(), Contains(Pair("epoll_wait", 1u)));
  EXPECT_THAT(recorder.Take(), IsEmpty());
}

TEST(CallRecorderTest, FailureIsWrittenByItsName) {
  fake::FakeKernel kernel({.has_kvm = false});
  std::ostringstream journal;
  CallRecorder recorder(&kernel, &journal);
  recorder.Open("/dev/kvm", O_RDWR);
  EXPECT_EQ(journal.str(), "open(/dev/kvm, flags=0x2) = ENOENT\n");
}

// Keeps what it is told.
class Kept final : public CallListener {
 public:
  void OnCall(const Call& call, std::string_view line, int error, Time began,
              Time ended) override {
    EXPECT_LE(began, ended);
    EXPECT_NE(began, Time());
    lines.push_back(std::string(line));
    names.push_back(call.name);
    errors.push_back(error);
  }

  std::vector<std::string> lines;
  std::vector<std::string> names;
  std::vector<int> errors;
};

TEST(CallRecorderTest, ListenerIsToldOfEachCallWhenItHasReturned) {
  fake::FakeKernel kernel;
  Kept kept;
  CallRecorder recorder(&kernel, /*journal=*/nullptr, &kept);
  const int epoll = recorder.EpollCreate(EPOLL_CLOEXEC).value;
  epoll_event unused = {};
  recorder.EpollWait(epoll, &unused, 1, 0);
  recorder.Close(-1);
  recorder.Close(epoll);
  EXPECT_THAT(kept.names,
              ElementsAre("epoll_create", "epoll_wait", "close", "close"));
  EXPECT_THAT(kept.lines,
              ElementsAre("epoll_create(flags=0x80000) = fd#1", "epoll_wait",
                          "close(fd=-1) = EBADF", "close(epoll, fd=fd#1) = 0"));
  EXPECT_THAT(kept.errors, ElementsAre(0, 0, EBADF, 0));
}

}  // namespace
}  // namespace passthru::journal
