// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/doctor/host_files.h"

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "passthru/vmm/doctor/parse_size.h"
#include "passthru/vmm/doctor/wrong_host.h"

namespace passthru::doctor {
namespace {

using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::ElementsAre;

TEST(HostFilesTest, SaysHowItKnows) {
  WrongHost host({});
  host.AddFile("/sys/class/test/one", " 1\n");
  host.AddFile("/sys/class/test/none", "\n");
  host.AddFile("/sys/class/test/lines", "1\n2\n");
  const HostFiles files(host.syscalls());
  EXPECT_EQ(files.Text("/sys/class/test/one").value, "1");
  EXPECT_EQ(files.Text("/sys/class/test/one").known_by,
            "/sys/class/test/one = 1");
  EXPECT_EQ(files.Text("/sys/class/test/none").known_by,
            "/sys/class/test/none is empty");
  EXPECT_EQ(files.Text("/sys/class/test/lines").known_by,
            "/sys/class/test/lines");
  EXPECT_EQ(files.Text("/sys/class/test/absent").known_by,
            "/sys/class/test/absent: ENOENT");
  EXPECT_EQ(files.Bytes("/sys/class/test/lines", 3).value, "1\n2");
  EXPECT_FALSE(files.Link("/sys/class/test/one").ok());
  EXPECT_EQ(files.Folder("/sys/class/test").value.size(), 3u);
  EXPECT_EQ(files.Folder("/sys/class/test/one").known_by,
            "/sys/class/test/one: ENOTDIR");
}

TEST(HostFilesTest, CutsNoText) {
  WrongHost host({});
  const HostFiles files(host.syscalls());
  for (const size_t size : {65535, 65536, 65537, 1 << 20}) {
    host.AddFile("/sys/class/test/long", std::string(size, 'x'));
    EXPECT_EQ(files.Text("/sys/class/test/long").value.size(), size);
  }
  host.AddFile("/sys/class/test/long", std::string(16 << 20, 'x'));
  EXPECT_EQ(files.Text("/sys/class/test/long").error, EFBIG);
}

TEST(HostFilesTest, TakesMessagesOfTheLibraryApart) {
  constexpr char kMessage[] =
      "no permission to open /dev/x: `chmod 1 /dev/x; ls` (as root), or `id` "
      "(errno 13 / EACCES)";
  EXPECT_EQ(WithoutCommands(kMessage), "no permission to open /dev/x");
  EXPECT_THAT(CommandsIn(kMessage), ElementsAre("chmod 1 /dev/x", "ls", "id"));
  EXPECT_EQ(WithoutCommands("open of x: bad (errno 5 / EIO)"),
            "open of x: bad");
  EXPECT_TRUE(CommandsIn("nothing to do").empty());
  EXPECT_TRUE(CommandsIn("an open ` quote").empty());
}

TEST(HostFilesTest, FindsTheLineOfALabel) {
  EXPECT_EQ(LineAfter("a : 1\nbc\t: 2 3\n", "bc"), "2 3");
  EXPECT_EQ(LineAfter("a : 1\n", "b"), "");
}

TEST(HostFilesTest, WritesSizesAsPeopleDo) {
  EXPECT_EQ(Bytes(0), "0 bytes");
  EXPECT_EQ(Bytes(uint64_t{8} << 20), "8 MiB");
  EXPECT_EQ(Bytes(uint64_t{3} << 39), "1.5 TiB");
}

TEST(ParseSizeTest, ReadsUnits) {
  EXPECT_THAT(ParseSize("4096"), IsOkAndHolds(4096u));
  EXPECT_THAT(ParseSize("8G"), IsOkAndHolds(uint64_t{8} << 30));
  for (const char* wrong : {"", "G", "0", "-1", "8g", "8GB", "99999999T"}) {
    EXPECT_THAT(ParseSize(wrong), StatusIs(absl::StatusCode::kInvalidArgument))
        << wrong;
  }
}

}  // namespace
}  // namespace passthru::doctor
