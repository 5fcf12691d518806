// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/demo/process_resources.h"

#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace passthru::vmm {
namespace {

using ::absl_testing::IsOk;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<std::string> Resources() {
  auto resources = ProcessResources();
  EXPECT_THAT(resources, IsOk());
  return resources.value_or(std::vector<std::string>());
}

TEST(ProcessResourcesTest, ADescriptorIsHeldUntilItIsClosed) {
  const std::vector<std::string> before = Resources();
  const int first = eventfd(0, 0);
  const int second = eventfd(0, 0);
  EXPECT_THAT(NewResources(before, Resources()),
              ElementsAre("descriptor of anon_inode:[eventfd]",
                          "descriptor of anon_inode:[eventfd]"));
  close(first);
  close(second);
  EXPECT_THAT(NewResources(before, Resources()), IsEmpty());
}

// The mapping stands for those of vCPUs and of BARs.
TEST(ProcessResourcesTest, AMappingOfADeviceIsHeldUntilItIsUnmapped) {
  const std::vector<std::string> before = Resources();
  void* const mapped =
      mmap(nullptr, 4096, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(mapped, MAP_FAILED);
  EXPECT_THAT(NewResources(before, Resources()),
              ElementsAre("mapping of /dev/zero (deleted)"));
  munmap(mapped, 4096);
  EXPECT_THAT(NewResources(before, Resources()), IsEmpty());
}

}  // namespace
}  // namespace passthru::vmm
