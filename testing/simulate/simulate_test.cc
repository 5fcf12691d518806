// SPDX-License-Identifier: Apache-2.0
//
// Runs small programs, and programs of the machine, on the simulated kernel.
#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

#include "absl/base/config.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/testing/rig/page_sample.h"

namespace passthru::simulate {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

#if defined(ABSL_HAVE_ADDRESS_SANITIZER) || defined(ABSL_HAVE_THREAD_SANITIZER)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

struct Result {
  int status = -1;
  std::string output;  // Both streams.
};

Result Shell(const std::string& command) {
  Result result;
  FILE* const pipe = ::popen(absl::StrCat(command, " 2>&1").c_str(), "r");
  char buffer[4096];
  for (size_t got; (got = fread(buffer, 1, sizeof(buffer), pipe)) > 0;) {
    result.output.append(buffer, got);
  }
  const int status = ::pclose(pipe);
  result.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return result;
}

std::string Client(const std::string& name) {
  return absl::StrCat("testing/simulate/clients/", name);
}

// Runs the launcher with these arguments.
Result Simulate(const std::string& arguments) {
  return Shell(absl::StrCat("testing/simulate/simulate ", arguments));
}

// Returns whether this machine's KVM makes virtual machines.
bool HasKvm() {
  const int kvm = ::open("/dev/kvm", O_RDWR | O_CLOEXEC);
  const int vm = kvm < 0 ? -1 : ::ioctl(kvm, KVM_CREATE_VM, 0);
  if (vm >= 0) ::close(vm);
  if (kvm >= 0) ::close(kvm);
  return vm >= 0;
}

bool IsInstalled(const std::string& program) {
  return Shell(absl::StrCat("command -v ", program)).status == 0;
}

class SimulateTest : public ::testing::Test {
 protected:
  void SetUp() override {
    // `bazel run` sets it, and the launcher would go there.
    ::unsetenv("BUILD_WORKING_DIRECTORY");
  }

  static Result Edu(const std::string& name, const std::string& options = "") {
    return Simulate(absl::StrCat("--fixture=edu.textproto ", options, " -- ",
                                 Client("edu"), " ", name));
  }
};

class EduTest : public SimulateTest,
                public ::testing::WithParamInterface<const char*> {};

TEST_P(EduTest, DriverSeesWhatLinuxShows) {
  const Result result = Edu(GetParam());
  EXPECT_EQ(result.status, 0) << result.output;
  EXPECT_THAT(result.output, Not(HasSubstr("rules that were broken")));
}

INSTANTIATE_TEST_SUITE_P(Cases, EduTest,
                         ::testing::Values("descriptors", "calls", "mapped",
                                           "interrupts", "over_mapped",
                                           "threads", "protected", "forked",
                                           "close_all"),
                         [](const auto& test) {
                           return std::string(test.param);
                         });

TEST_F(SimulateTest, InstructionsOnMappedBarAreThoseOnMemory) {
  const Result result =
      Simulate(absl::StrCat("--fixture=e1000e.textproto -- ",
                            Client("instructions"), " 0000:01:00.0 6"));
  EXPECT_EQ(result.status, 0) << result.output;
  printf("%s", result.output.c_str());
}

TEST_F(SimulateTest, PathsLeadToTheSimulatedDevices) {
  const Result result =
      Simulate(absl::StrCat("--fixture=edu.textproto "
                            "--fixture=e1000e.textproto,driver=none -- ",
                            Client("paths")));
  EXPECT_EQ(result.status, 0) << result.output;
}

TEST_F(SimulateTest, ProgramsThatOneStartsShareTheKernel) {
  // The first program is killed. The next one finds the group free again.
  const std::string client = Client("edu");
  const Result result =
      Simulate(absl::StrCat("--fixture=edu.textproto -- sh -c '", client,
                            " hold & kill -9 $!; "
                            "wait $!; ",
                            client, " forked && env -i ", client, " mapped'"));
  EXPECT_EQ(result.status, 0) << result.output;
}

TEST_F(SimulateTest, ChildrenStayOnTheSimulatedKernel) {
  const Result result =
      Simulate(absl::StrCat("--fixture=edu.textproto -- ", Client("starts")));
  EXPECT_EQ(result.status, 0) << result.output;
  EXPECT_EQ(result.output, "");
}

// An ELF file without an interpreter.
std::string StaticProgram() {
  std::string program = absl::StrCat(::testing::TempDir(), "/static");
  EXPECT_EQ(Shell(absl::StrCat("printf '\\177ELF\\2%0100d' 0 > ", program,
                               " && chmod +x ", program))
                .status,
            0);
  return program;
}

TEST_F(SimulateTest, StaticProgramsAreTold) {
  const std::string program = StaticProgram();
  EXPECT_THAT(
      Simulate(absl::StrCat("--fixture=edu.textproto -- ", program)).output,
      HasSubstr("is linked statically"));
  const std::string script = absl::StrCat(program, "_script");
  ASSERT_EQ(Shell(absl::StrCat("echo '#!", program, "' > ", script,
                               " && chmod +x ", script))
                .status,
            0);
  // So is what a program starts, each time.
  const Result result = Simulate(absl::StrCat(
      "--fixture=edu.textproto -- sh -c '", program, "; ", script, "; true'"));
  EXPECT_EQ(result.status, 0);
  const std::string told =
      absl::StrCat("simulate: ", program,
                   " is linked statically, so the simulated kernel cannot "
                   "reach it; link it dynamically\n");
  const size_t first = result.output.find(told);
  ASSERT_NE(first, std::string::npos) << result.output;
  EXPECT_NE(result.output.find(told, first + 1), std::string::npos)
      << result.output;
}

TEST_F(SimulateTest, ProgramsOfTheMachineSeeTheDevices) {
  const std::string sysfs = "/sys/bus/pci/devices";
  const Result list =
      Simulate(absl::StrCat("--fixture=edu.textproto -- sh -c 'cd ", sysfs,
                            " && ls && cat */vendor "
                            "&& head -c 4 0000:00:02.0/config | od -An -tx1'"));
  EXPECT_EQ(list.status, 0) << list.output;
  EXPECT_EQ(list.output, "0000:00:02.0\n0x1234\n 34 12 e8 11\n");
  if (IsInstalled("/usr/bin/python3")) {
    const Result python = Simulate(absl::StrCat(
        "--fixture=edu.textproto -- /usr/bin/python3 -c 'import os; "
        "print(os.listdir(\"",
        sysfs, "\"), os.path.realpath(\"", sysfs, "/0000:00:02.0\"), open(\"",
        sysfs, "/0000:00:02.0/config\",\"rb\").read(4).hex())'"));
    EXPECT_EQ(python.output,
              "['0000:00:02.0'] /sys/devices/pci0000:00/0000:00:02.0 "
              "3412e811\n");
  }
  if (IsInstalled("lspci")) {
    const Result lspci = Simulate("--fixture=edu.textproto -- lspci -n");
    EXPECT_THAT(lspci.output, HasSubstr("00:02.0 00ff: 1234:11e8 (rev 10)"));
  }
}

// As driverctl and a shell do it. A shell's echo may write past the preloaded
// library.
TEST_F(SimulateTest, DriversAreBoundBySysfs) {
  for (const char* const shell : {"/bin/bash", "/bin/dash", "/bin/sh"}) {
    if (!IsInstalled(shell)) continue;
    const Result result = Simulate(
        absl::StrCat("--fixture=e1000e.textproto,driver=e1000e -- ", shell,
                     " -ec 'device=0000:01:00.0\n"
                     "cd /sys/bus/pci/devices/$device\n"
                     "cat driver_override\n"
                     "echo $device > driver/unbind\n"
                     "test ! -e driver\n"
                     "echo vfio-pci > driver_override\n"
                     "cat driver_override\n"
                     "/sbin/modprobe vfio-pci ids=8086:10d3\n"
                     "/sbin/modprobe -a vfio vfio-pci\n"
                     "! /sbin/modprobe -q -a vfio-pci vfio-bsd\n"
                     "test $(cat /sys/module/e1000e/initstate) = live\n"
                     "! /sbin/modprobe -q vfio-bsd\n"
                     "echo $device > /sys/bus/pci/drivers_probe\n"
                     "ls /dev/vfio\n"
                     "readlink driver\n"
                     "echo $device > driver/unbind\n"
                     "echo > driver_override\n"
                     "echo $device > ../../../bus/pci/drivers/e1000e/bind\n"
                     "ls /dev/vfio\n"
                     "readlink driver'"));
    EXPECT_EQ(result.status, 0) << shell << result.output;
    EXPECT_EQ(result.output,
              "(null)\nvfio-pci\n6\nvfio\n../../../bus/pci/drivers/vfio-pci\n"
              "vfio\n../../../bus/pci/drivers/e1000e\n")
        << shell;
  }
}

TEST_F(SimulateTest, CheckNamesTheCallThatBrokeARule) {
  const Result freed = Edu("frees_pinned_memory", "--check=fail");
  EXPECT_EQ(freed.status, 99) << freed.output;
  EXPECT_THAT(freed.output, HasSubstr("has lost its memory while it is pinned, "
                                      "after munmap("));
  const Result gone = Edu("reaches_gone_memory", "--check=fail");
  EXPECT_EQ(gone.status, 99) << gone.output;
  EXPECT_THAT(gone.output, HasSubstr("reached memory that is gone"));
  EXPECT_EQ(Edu("frees_pinned_memory").status, 0);
  const Result off = Edu("frees_pinned_memory", "--check=off --leaks=off");
  EXPECT_EQ(off.output, "");
  const Result open = Edu("leaves_open", "--leaks=fail");
  EXPECT_EQ(open.status, 99);
  EXPECT_THAT(open.output, HasSubstr("left open at the end"));
  EXPECT_THAT(open.output, HasSubstr("vfio-device 0000:00:02.0"));
  EXPECT_EQ(Edu("leaves_open", "--leaks=off").output, "");
  EXPECT_EQ(Edu("mapped", "--check=fail --leaks=fail").output, "");
}

TEST_F(SimulateTest, ThePageShowsWhatItFinds) {
  EXPECT_TRUE(fake::PageShowsButForAddresses(
      "docs/test-your-vmm.md",
      Edu("reaches_gone_memory", "--check=fail").output));
}

TEST_F(SimulateTest, SimulatedKvmAnswersAndIsChecked) {
  const auto kvm = [](const std::string& name) {
    return Simulate(
        absl::StrCat("--fixture=nvme.textproto --kvm=simulated "
                     "--check=fail --leaks=off -- ",
                     Client("kvm"), " ", name));
  };
  const Result calls = kvm("calls");
  EXPECT_EQ(calls.status, 0) << calls.output;
  EXPECT_THAT(calls.output, HasSubstr("the simulated KVM executes no guest"));
  const Result slot = kvm("slot_over_msix_table");
  EXPECT_EQ(slot.status, 99) << slot.output;
  EXPECT_THAT(slot.output, HasSubstr("which has a page of the MSI-X table"));
  EXPECT_THAT(slot.output, HasSubstr("after KVM_SET_USER_MEMORY_REGION("));
  const Result irqfd = kvm("irqfd_without_route");
  EXPECT_EQ(irqfd.status, 99) << irqfd.output;
  EXPECT_THAT(irqfd.output, HasSubstr("GSI 200, which has no route, after "
                                      "KVM_IRQFD("));
}

// A fault that a client plants on purpose.
struct Planted {
  const char* client;
  const char* name;
  const char* options;
  const char* found;
};

// Each fault makes the status 99, and the report has the text once.
TEST_F(SimulateTest, EachPlantedFaultIsFound) {
  const char kEdu[] = "--fixture=edu.textproto --check=fail --leaks=off";
  const char kKvm[] =
      "--fixture=nvme.textproto --kvm=simulated --check=fail --leaks=off";
  const char kEduLeak[] = "--fixture=edu.textproto --leaks=fail";
  const char kKvmLeak[] =
      "--fixture=nvme.textproto --kvm=simulated --leaks=fail";
  const Planted kPlanted[] = {
      {"edu", "frees_pinned_memory", kEdu, "pinned, after munmap("},
      {"edu", "replaces_pinned_memory", kEdu, "pinned, after munmap("},
      {"edu", "moves_pinned_memory", kEdu, "pinned, after munmap("},
      {"edu", "reaches_gone_memory", kEdu, "reached memory that is gone"},
      {"kvm", "slot_over_msix_table", kKvm, "a page of the MSI-X table"},
      {"kvm", "slot_over_bar_without_decode", kKvm, "memory decode is off"},
      {"kvm", "slot_loses_its_memory", kKvm, "has lost its memory, after"},
      {"kvm", "dma_past_the_guest", kKvm, "is not the guest's memory from"},
      {"kvm", "irqfd_without_route", kKvm, "GSI 200, which has no route"},
      {"edu", "leaves_open", kEduLeak, ": vfio-container 1\n"},
      {"edu", "leaves_open", kEduLeak, ": vfio-group 3\n"},
      {"edu", "leaves_open", kEduLeak, ": vfio-device 0000:00:02.0\n"},
      {"edu", "leaves_open", kEduLeak, "+0x100000) of vfio-device"},
      {"edu", "leaves_open", kEduLeak, "DMA mapping [0x10000, +0x1000)"},
      {"edu", "leaves_open", kEduLeak, "vector 0 signals eventfd"},
      {"kvm", "leaves_open", kKvmLeak, ": /dev/kvm\n"},
      {"kvm", "leaves_open", kKvmLeak, ": vm\n"},
      {"kvm", "leaves_open", kKvmLeak, "memory slot 0 [0x3000, +0x1000)"},
      {"kvm", "leaves_open", kKvmLeak, "on GSI 5"},
  };
  for (const Planted& fault : kPlanted) {
    const Result result = Simulate(absl::StrCat(
        fault.options, " -- ", Client(fault.client), " ", fault.name));
    EXPECT_EQ(result.status, 99) << fault.name << "\n" << result.output;
    const size_t at = result.output.find(fault.found);
    EXPECT_NE(at, std::string::npos)
        << fault.name << ", " << fault.found << "\n"
        << result.output;
    EXPECT_EQ(result.output.find(fault.found, at + 1), std::string::npos)
        << fault.name << "\n"
        << result.output;
  }
  const Result child = Edu("child_frees_its_copy", "--check=fail");
  EXPECT_EQ(child.status, 0) << child.output;
}

// QEMU removes slots and adds them again, and leaves DMA as it is.
TEST_F(SimulateTest, SlotMayGoWhileNoVcpuRuns) {
  const Result result = Simulate(
      absl::StrCat("--fixture=nvme.textproto --kvm=simulated --check=fail "
                   "--leaks=off -- ",
                   Client("kvm"), " moves_a_slot"));
  EXPECT_EQ(result.status, 0) << result.output;
}

TEST_F(SimulateTest, DeviceReachesTheBarOfAnother) {
  const Result result = Edu("reaches_peer",
                            "--fixture=e1000e.textproto "
                            "--check=fail --leaks=off");
  EXPECT_EQ(result.status, 0) << result.output;
}

// The machine's own KVM makes a virtual machine of the program, and the device
// is the launcher's.
class RealKvmTest : public SimulateTest {
 protected:
  void SetUp() override {
    SimulateTest::SetUp();
    if (!HasKvm()) {
      GTEST_SKIP() << "SKIPPED: this machine has no usable /dev/kvm, so no "
                      "guest of --kvm=real ran";
    }
  }
};

TEST_F(RealKvmTest, LaunchersDeviceIsAsGoodAsOneOfTheMachine) {
  const Result result = Simulate(
      absl::StrCat("--fixture=nvme.textproto --kvm=real --bars=polled -- ",
                   Client("kvm"), " real"));
  EXPECT_EQ(result.status, 0) << result.output;
}

// This repository's own VMM drives what it takes for real hardware.
TEST_F(RealKvmTest, GuestDrivesAController) {
  if (kSanitized) {
    GTEST_SKIP() << "SKIPPED: the VMM has a sanitizer, whose library a program "
                    "must load before the launcher's";
  }
  const Result result = Simulate(
      "--fixture=nvme.textproto --kvm=real --bars=polled --check=fail "
      "--leaks=fail -- vmm/demo/passthrough_demo --device=0000:02:00.0 "
      "--allow_writes");
  EXPECT_EQ(result.status, 0) << result.output;
  EXPECT_THAT(result.output, HasSubstr("real hardware, this machine's kernel"));
  EXPECT_THAT(result.output, HasSubstr("512 blocks as written, 0 different"));
  EXPECT_THAT(result.output, HasSubstr("0 unexpected in the guest"));
}

// The order of stores is lost, but a register that the program waits for, and
// one that it asks for with a call, are the device's.
TEST_F(SimulateTest, PolledBarsAreMemory) {
  const Result result = Edu("polled", "--bars=polled");
  EXPECT_EQ(result.status, 0) << result.output;
  // An interrupt comes after the registers that say why.
  const Result interrupts = Edu("interrupts", "--bars=polled");
  EXPECT_EQ(interrupts.status, 0) << interrupts.output;
}

TEST_F(SimulateTest, CallsFailOnDemand) {
  const Result result =
      Edu("mapped", "--fail=VFIO_GROUP_GET_DEVICE_FD:1:ENOMEM");
  EXPECT_EQ(result.status, 1);
  EXPECT_THAT(result.output, HasSubstr("Cannot allocate memory"));
}

TEST_F(SimulateTest, JournalHasEveryCall) {
  const std::string file = absl::StrCat(::testing::TempDir(), "/journal");
  EXPECT_EQ(Edu("mapped", absl::StrCat("--journal=", file)).status, 0);
  std::ifstream stream(file);
  std::stringstream text;
  text << stream.rdbuf();
  EXPECT_THAT(text.str(), HasSubstr("open(/dev/vfio/3"));
  EXPECT_THAT(text.str(), HasSubstr("VFIO_IOMMU_MAP_DMA(vfio-container 1"));
  EXPECT_THAT(text.str(), HasSubstr("mapped-store(vfio-device 0000:00:02.0, "
                                    "region=0, offset=0x98, width=8"));
}

TEST_F(SimulateTest, JournalHasEveryPathOfSysfs) {
  const std::string file = absl::StrCat(::testing::TempDir(), "/journal");
  const Result result = Simulate(
      absl::StrCat("--fixture=edu.textproto --journal=", file,
                   " -- cat /sys/bus/pci/devices/0000:00:02.0/vendor"));
  EXPECT_EQ(result.status, 0) << result.output;
  std::ifstream stream(file);
  std::stringstream text;
  text << stream.rdbuf();
  EXPECT_THAT(
      text.str(),
      AllOf(StartsWith("#1 path(/sys/bus/pci/devices/0000:00:02.0/vendor) = 0\n"
                       "#2 open(/sys/devices/pci0000:00/0000:00:02.0/vendor, "),
            HasSubstr("= 7\n")));  // "0x1234" and the end of the line.
}

// The shell's parent is the launcher.
TEST_F(SimulateTest, CallsCostNoMemory) {
  if (kSanitized) {
    GTEST_SKIP() << "SKIPPED: a sanitizer keeps memory that is free";
  }
  const std::string client = Client("edu");
  const Result result =
      Simulate(absl::StrCat("--fixture=edu.textproto -- sh -c '", client,
                            " many_calls && "
                            "grep VmRSS /proc/$PPID/status && ",
                            client,
                            " many_calls && "
                            "grep VmRSS /proc/$PPID/status'"));
  int before = 0;
  int after = 0;
  ASSERT_EQ(sscanf(result.output.c_str(), "VmRSS: %d kB VmRSS: %d kB", &before,
                   &after),
            2)
      << result.output;
  // 10,000 calls in a list took 5 MB.
  EXPECT_LT(after - before, 2000) << result.output;
}

TEST_F(SimulateTest, MistakesGetOneSentence) {
  EXPECT_EQ(Simulate("--fixture=edu.textproto").status, 125);
  EXPECT_THAT(Simulate("-- true").output, HasSubstr("No device is given"));
  EXPECT_THAT(Simulate("--fixture=none.textproto -- true").output,
              HasSubstr("There is no fixture none.textproto"));
  EXPECT_THAT(Simulate("--kernel=5.0 -- true").output,
              HasSubstr("Give 6.1, 6.12, 6.18, 7.2."));
  EXPECT_THAT(Simulate("--connect=0000:00:02.0 -- true").output,
              HasSubstr("Give the addresses of two devices"));
  EXPECT_THAT(Simulate("--fixture=edu.textproto "
                       "--connect=0000:00:02.0,0000:00:02.0 -- true")
                  .output,
              HasSubstr("0000:00:02.0 cannot be connected"));
  EXPECT_THAT(Simulate("--fixture=edu.textproto -- no-such-program").output,
              HasSubstr("There is no program no-such-program"));
  EXPECT_EQ(Simulate("--fixture=edu.textproto -- sh -c 'exit 7'").status, 7);
  EXPECT_EQ(Simulate("--fixture=edu.textproto -- sh -c 'kill -9 $$'").status,
            137);
  const Result help = Simulate("--help");
  EXPECT_EQ(help.status, 0);
  EXPECT_THAT(help.output, HasSubstr("--fixture=FILE"));
}

}  // namespace
}  // namespace passthru::simulate
