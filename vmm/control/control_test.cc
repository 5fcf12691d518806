// SPDX-License-Identifier: Apache-2.0
//
// Tests the control socket, the server and the client at its two ends.

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/devices/kernel/file_descriptor.h"
#include "passthru/devices/kernel/forwarding_syscalls.h"
#include "passthru/devices/kernel/linux_syscalls.h"
#include "passthru/devices/kernel/syscalls.h"
#include "passthru/vmm/control/control_client.h"
#include "passthru/vmm/control/control_server.h"
#include "passthru/vmm/control/socket_address.h"

namespace passthru::vmm {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

// Answers with what it was sent, or as the command says.
absl::StatusOr<std::string> Echo(std::string_view command) {
  if (command == "fail") return absl::NotFoundError("there is none");
  if (command == "nothing") return "";
  if (command == "much") return std::string(1 << 20, 'x');
  return absl::StrCat("<", command, ">");
}

class ControlTest : public ::testing::Test {
 protected:
  // The path of a socket has at most 107 bytes, so it is not in TEST_TMPDIR.
  ControlTest() {
    char folder[] = "/tmp/control_test_XXXXXX";
    EXPECT_NE(mkdtemp(folder), nullptr);
    folder_ = folder;
    path_ = folder_ + "/socket";
  }
  ~ControlTest() override {
    server_.reset();
    unlink(path_.c_str());
    EXPECT_EQ(rmdir(folder_.c_str()), 0);
  }

  absl::Status Listen(ControlServer::Handler handler = Echo) {
    auto server = ControlServer::Create(&kernel_, path_, std::move(handler));
    if (!server.ok()) return server.status();
    server_ = *std::move(server);
    return absl::OkStatus();
  }
  // Connects without SendCommand().
  kernel::FileDescriptor Connect() {
    kernel::FileDescriptor client(
        &kernel_, socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const auto address = SocketAddress::Of(path_);
    EXPECT_EQ(connect(client.get(), address->get(), address->size()), 0);
    return client;
  }
  static void Send(const kernel::FileDescriptor& client,
                   const std::string& text) {
    EXPECT_EQ(send(client.get(), text.data(), text.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(text.size()));
  }
  static std::string Receive(const kernel::FileDescriptor& client,
                             size_t size) {
    std::string text(size, '\0');
    const ssize_t got = recv(client.get(), text.data(), size, MSG_WAITALL);
    text.resize(got < 0 ? 0 : static_cast<size_t>(got));
    return text;
  }

  kernel::LinuxSyscalls kernel_;
  std::string folder_;
  std::string path_;
  std::unique_ptr<ControlServer> server_;
};

TEST_F(ControlTest, CommandsAreAnswered) {
  ASSERT_THAT(Listen(), IsOk());
  EXPECT_THAT(SendCommand(path_, "devices"), IsOkAndHolds("<devices>\n"));
  EXPECT_THAT(SendCommand(path_, " plug a,b=c "),
              IsOkAndHolds("<plug a,b=c>\n"));
  EXPECT_THAT(SendCommand(path_, ""), IsOkAndHolds("<>\n"));
  EXPECT_THAT(SendCommand(path_, "nothing"), IsOkAndHolds(""));
  EXPECT_THAT(SendCommand(path_, "fail"),
              StatusIs(absl::StatusCode::kFailedPrecondition, "there is none"));
  const auto much = SendCommand(path_, "much");
  ASSERT_THAT(much, IsOk());
  EXPECT_EQ(much->size(), (1u << 20) + 1);
}

TEST_F(ControlTest, AConnectionTakesSeveralCommands) {
  ASSERT_THAT(Listen(), IsOk());
  const kernel::FileDescriptor client = Connect();
  Send(client, "a\nb");
  EXPECT_EQ(Receive(client, 9), "ok 4\n<a>\n");
  Send(client, "c\r\nfail\n");
  EXPECT_EQ(Receive(client, 10), "ok 5\n<bc>\n");
  EXPECT_EQ(Receive(client, 23), "error 14\nthere is none\n");
}

TEST_F(ControlTest, OnlyTheUserMayConnect) {
  ASSERT_THAT(Listen(), IsOk());
  struct stat file = {};
  ASSERT_EQ(lstat(path_.c_str(), &file), 0);
  EXPECT_TRUE(S_ISSOCK(file.st_mode));
  EXPECT_EQ(file.st_mode & 0777, 0600u);
}

TEST_F(ControlTest, TheSocketGoesWithTheServer) {
  ASSERT_THAT(Listen(), IsOk());
  const kernel::FileDescriptor client = Connect();
  Send(client, "a\n");
  EXPECT_EQ(Receive(client, 9), "ok 4\n<a>\n");
  server_.reset();
  EXPECT_EQ(Receive(client, 1), "") << "the connection is closed";
  struct stat file = {};
  EXPECT_EQ(lstat(path_.c_str(), &file), -1);
  EXPECT_EQ(errno, ENOENT);
  EXPECT_THAT(SendCommand(path_, "a"), StatusIs(absl::StatusCode::kUnavailable,
                                                HasSubstr("no VM listens at")));
}

TEST_F(ControlTest, ASocketThatAProcessLeftIsReplaced) {
  {
    const kernel::FileDescriptor dead(
        &kernel_, socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const auto address = SocketAddress::Of(path_);
    ASSERT_EQ(bind(dead.get(), address->get(), address->size()), 0);
  }
  ASSERT_THAT(Listen(), IsOk());
  EXPECT_THAT(SendCommand(path_, "a"), IsOkAndHolds("<a>\n"));
}

TEST_F(ControlTest, WhatElseIsThereStays) {
  std::ofstream(path_) << "mine";
  EXPECT_THAT(Listen(), StatusIs(absl::StatusCode::kInvalidArgument,
                                 HasSubstr("a file that is no socket")));
  std::string text;
  std::ifstream(path_) >> text;
  EXPECT_EQ(text, "mine");
}

TEST_F(ControlTest, AServerThatRunsKeepsItsSocket) {
  ASSERT_THAT(Listen(), IsOk());
  EXPECT_THAT(ControlServer::Create(&kernel_, path_, Echo),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("a program that runs listens there")));
  EXPECT_THAT(SendCommand(path_, "a"), IsOkAndHolds("<a>\n"));
}

TEST_F(ControlTest, PathsThatCannotBeAreRefused) {
  for (const std::string& path :
       {std::string(), folder_ + "/no/such", folder_ + std::string(200, 'x')}) {
    EXPECT_THAT(ControlServer::Create(&kernel_, path, Echo),
                StatusIs(absl::StatusCode::kInvalidArgument))
        << path;
  }
  EXPECT_THAT(SendCommand(path_, "two\nlines"),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(ControlTest, ALongCommandEndsTheConnection) {
  ASSERT_THAT(Listen(), IsOk());
  const kernel::FileDescriptor client = Connect();
  Send(client, std::string(ControlServer::kMaxCommand + 1, 'x'));
  EXPECT_EQ(Receive(client, 6), "error ");
  EXPECT_THAT(SendCommand(path_, "a"), IsOkAndHolds("<a>\n"));
}

TEST_F(ControlTest, ACommandThatWaitsHoldsUpNoOther) {
  absl::Notification waits;
  absl::Notification go_on;
  ASSERT_THAT(Listen([&](std::string_view command) {
                if (command == "wait") {
                  waits.Notify();
                  go_on.WaitForNotification();
                }
                return Echo(command);
              }),
              IsOk());
  std::thread waiter([this] {
    EXPECT_THAT(SendCommand(path_, "wait"), IsOkAndHolds("<wait>\n"));
  });
  waits.WaitForNotification();
  EXPECT_THAT(SendCommand(path_, "a"), IsOkAndHolds("<a>\n"));
  go_on.Notify();
  waiter.join();
}

TEST_F(ControlTest, ManyClientsAtOnce) {
  ASSERT_THAT(Listen(), IsOk());
  constexpr int kClients = 8;
  std::vector<std::thread> clients;
  clients.reserve(kClients);
  for (int id = 0; id < kClients; ++id) {
    clients.emplace_back([this, id] {
      for (int i = 0; i < 20; ++i) {
        EXPECT_THAT(SendCommand(path_, absl::StrCat(id, " ", i)),
                    IsOkAndHolds(absl::StrCat("<", id, " ", i, ">\n")));
      }
    });
  }
  for (std::thread& client : clients) client.join();
}

TEST_F(ControlTest, OneConnectionTooManyIsTold) {
  ASSERT_THAT(Listen(), IsOk());
  std::vector<kernel::FileDescriptor> clients;
  clients.reserve(ControlServer::kMaxConnections);
  for (size_t i = 0; i < ControlServer::kMaxConnections; ++i) {
    clients.push_back(Connect());
    Send(clients.back(), "a\n");
    EXPECT_EQ(Receive(clients.back(), 9), "ok 4\n<a>\n");
  }
  EXPECT_THAT(SendCommand(path_, "a"),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       "there are 16 connections already"));
}

TEST_F(ControlTest, AClientThatDoesNotReadIsLeftAtTheEnd) {
  ASSERT_THAT(Listen(), IsOk());
  const kernel::FileDescriptor client = Connect();
  Send(client, "much\nmuch\n");
  EXPECT_EQ(Receive(client, 3), "ok ");
  server_.reset();
}

TEST_F(ControlTest, WhatIsUnderWayAtTheEndIsAnswered) {
  absl::Notification waits;
  absl::Notification go_on;
  ASSERT_THAT(Listen([&](std::string_view command) {
                waits.Notify();
                go_on.WaitForNotification();
                return Echo(command);
              }),
              IsOk());
  std::thread client([this] {
    EXPECT_THAT(SendCommand(path_, "quit"), IsOkAndHolds("<quit>\n"));
  });
  waits.WaitForNotification();
  std::thread end([this] { server_.reset(); });
  go_on.Notify();
  end.join();
  client.join();
}

// Refuses to start the second thread, which is that of a connection.
class FewThreads final : public kernel::ForwardingSyscalls {
 public:
  using ForwardingSyscalls::ForwardingSyscalls;
  kernel::SyscallResult<pthread_t> StartThread(void* (*body)(void*),
                                               void* argument) override {
    if (++started_ > 1) return {.error = EAGAIN};
    return ForwardingSyscalls::StartThread(body, argument);
  }

 private:
  int started_ = 0;
};

TEST_F(ControlTest, AConnectionWithoutAThreadIsTold) {
  FewThreads syscalls(&kernel_);
  auto server = ControlServer::Create(&syscalls, path_, Echo);
  ASSERT_THAT(server, IsOk());
  EXPECT_THAT(SendCommand(path_, "a"),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("starting a thread")));
  server->reset();
}

// Listens at `path` and sends the first client `answer` without end.
class OtherProgram {
 public:
  OtherProgram(kernel::Syscalls* kernel, const std::string& path,
               std::string answer)
      : socket_(kernel, socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const auto address = SocketAddress::Of(path);
    EXPECT_EQ(bind(socket_.get(), address->get(), address->size()), 0);
    EXPECT_EQ(listen(socket_.get(), 1), 0);
    thread_ = std::thread([this, kernel, text = std::move(answer)] {
      const kernel::FileDescriptor client(
          kernel, accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      while (send(client.get(), text.data(), text.size(), MSG_NOSIGNAL) > 0) {
      }
    });
  }
  ~OtherProgram() { thread_.join(); }

 private:
  const kernel::FileDescriptor socket_;
  std::thread thread_;
};

TEST_F(ControlTest, AnotherProgramIsNoVm) {
  for (const char* const answer :
       {"220 mail.example ESMTP\r\n", "endless", "\x1b[2J\n",
        "ok 99999999999999999\n", "ok -1\n"}) {
    OtherProgram other(&kernel_, path_, answer);
    const auto said = SendCommand(path_, "inspect");
    EXPECT_THAT(said, StatusIs(absl::StatusCode::kInternal,
                               HasSubstr("is no VM, because it answers")));
    EXPECT_EQ(said.status().message().find('\x1b'), std::string_view::npos);
    unlink(path_.c_str());
  }
}

}  // namespace
}  // namespace passthru::vmm
