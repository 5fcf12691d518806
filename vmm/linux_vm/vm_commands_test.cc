// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/linux_vm/vm_commands.h"

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/guest/guest_cpu.h"
#include "passthru/testing/rig/page_sample.h"
#include "passthru/vmm/linux_vm/linux_vm.h"
#include "passthru/vmm/linux_vm/linux_vm_test_base.h"

namespace passthru::vmm {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

class VmCommandsTest : public LinuxVmPortTest {
 protected:
  // Makes the VM, whose only other device is `host_nvme_`.
  void Start(guest::GuestProgram program) {
    Create(std::move(program));
    commands_ = std::make_unique<VmCommands>(
        vm_, [this](std::string_view text) -> absl::StatusOr<pci::Bdf> {
          if (text != "nvme") return absl::NotFoundError("no such device");
          return vm_->Plug({.host = host_nvme_});
        });
  }
  absl::StatusOr<std::string> Say(std::string_view command) {
    return commands_->Run(command);
  }

  std::unique_ptr<VmCommands> commands_;
};

TEST_F(VmCommandsTest, MistakesAreSaidInASentence) {
  Start([](guest::GuestCpu&) { return absl::OkStatus(); });
  EXPECT_THAT(Say("help"), IsOkAndHolds(AllOf(HasSubstr("  plug DEVICE"),
                                              HasSubstr("  quit  "))));
  for (const char* command :
       {"", "sing", "plug", "unplug", "unplug a b c", "quit now", "plug a b"}) {
    EXPECT_THAT(Say(command), StatusIs(absl::StatusCode::kInvalidArgument,
                                       HasSubstr("is no command")))
        << command;
  }
  EXPECT_THAT(Say("inspect xml"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "inspect answers as text or json, and not 'xml'"));
  EXPECT_THAT(Say("plug something"),
              StatusIs(absl::StatusCode::kNotFound, "no such device"));
  EXPECT_THAT(Say("unplug 0000:09:00.0"),
              StatusIs(absl::StatusCode::kNotFound,
                       "the guest does not have 0000:09:00.0, but no device"));
  EXPECT_THAT(Say("unplug nonsense"),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(Say("unplug 0000:09:00.0 soon"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("'soon' is no number of seconds")));
}

TEST_F(VmCommandsTest, ADeviceOnBus0StaysThere) {
  Start([](guest::GuestCpu&) { return absl::OkStatus(); });
  ASSERT_THAT(vm_->devices().Attach(host_nvme_), IsOk());
  EXPECT_THAT(Say("unplug " + host_nvme_.ToString()),
              StatusIs(absl::StatusCode::kNotFound,
                       HasSubstr("no device behind a root port")));
}

TEST_F(VmCommandsTest, PlugUnplugAndQuit) {
  Start([](guest::GuestCpu& cpu) {
    cpu.WaitForInterrupt();
    return absl::OkStatus();
  });
  const std::string nvme = host_nvme_.ToString();
  EXPECT_THAT(
      Say("devices"),
      IsOkAndHolds("root port 0, the guest's 0000:00:01.0, is empty\n"
                   "root port 1, the guest's 0000:00:02.0, is empty\n"));
  EXPECT_THAT(
      Run([&] {
        EXPECT_THAT(Say("plug nvme"),
                    IsOkAndHolds("the guest finds it behind root port 0\n"));
        EXPECT_THAT(Say("devices"),
                    IsOkAndHolds(absl::StrCat(
                        nvme,
                        " is the guest's 0000:01:00.0, behind root port 0\n"
                        "root port 1, the guest's 0000:00:02.0, is empty\n")));
        EXPECT_THAT(
            Say("inspect"),
            IsOkAndHolds(AllOf(HasSubstr("root_ports\n"), HasSubstr(nvme))));
        EXPECT_THAT(Say("inspect json"),
                    IsOkAndHolds(HasSubstr("\"root_ports\": [")));
        // The guest has not turned the slot on.
        EXPECT_THAT(Say(absl::StrCat("unplug ", nvme)),
                    IsOkAndHolds("the guest let go of it\n"));
        EXPECT_THAT(Say("plug nvme"), IsOk());
        EXPECT_THAT(Say("quit"), IsOkAndHolds("the VM ends\n"));
      }),
      IsOkAndHolds(VmEnd::kRequested));
}

TEST_F(VmCommandsTest, ThePagesShowThem) {
  Start([](guest::GuestCpu& cpu) {
    cpu.WaitForInterrupt();
    return absl::OkStatus();
  });
  const std::string nvme = host_nvme_.ToString();
  std::string session;
  const auto say = [&](std::string_view command, std::string_view shown) {
    std::string answer = Say(command).value_or("");
    absl::StrAppend(&session, "$ bazel run //vmm:control -- /tmp/vm ", shown,
                    "\n", answer);
    return answer;
  };
  std::string devices;
  EXPECT_THAT(Run([&] {
                say("plug nvme", absl::StrCat("plug ", nvme));
                devices = say("devices", "devices");
                const std::string unplug = absl::StrCat("unplug ", nvme);
                say(unplug, unplug);
                EXPECT_THAT(Say("quit"), IsOk());
              }),
              IsOkAndHolds(VmEnd::kRequested));
  EXPECT_TRUE(fake::PageShows("docs/boot-linux.md", session));
  EXPECT_TRUE(
      fake::PageShows("vmm/control/README.md",
                      absl::StrCat("$ socat - UNIX:/tmp/vm\ndevices\nok ",
                                   devices.size(), "\n", devices)));
}

TEST_F(VmCommandsTest, Reset) {
  Start([](guest::GuestCpu& cpu) {
    cpu.WaitForInterrupt();
    return absl::OkStatus();
  });
  EXPECT_THAT(Run([&] { EXPECT_THAT(Say("reset"), IsOk()); }),
              IsOkAndHolds(VmEnd::kReset));
}

}  // namespace
}  // namespace passthru::vmm
