// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_VFIO_FIXTURE_CHECKS_H_
#define PASSTHRU_TESTING_VFIO_FIXTURE_CHECKS_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "testing/proto/device.pb.h"
#include "testing/vfio/fixture_bytes.h"

namespace passthru::fake {

// What is wrong with a fixture, collected over all checks. Thread-compatible.
class FixtureProblems {
 public:
  explicit FixtureProblems(std::string_view file) : file_(file) {}

  // `field` is a path as protobuf writes it: "regions[1].size".
  void Add(std::string_view field, std::string_view reason);

  absl::Status ToStatus() const;

 private:
  const std::string file_;
  std::vector<std::string> problems_;
};

// The parts of Validate(), by concern. CheckConfig() comes first and answers
// whether the configuration space could be read at all.
bool CheckConfig(const PciDevice& device, FixtureProblems& problems);
void CheckIdentity(const PciDevice& device, const ConfigImage& config,
                   FixtureProblems& problems);
void CheckRegions(const PciDevice& device, const ConfigImage& config,
                  FixtureProblems& problems);
void CheckInterrupts(const PciDevice& device, const ConfigImage& config,
                     FixtureProblems& problems);
void CheckReset(const PciDevice& device, const ConfigImage& config,
                FixtureProblems& problems);
void CheckRedactions(const PciDevice& device, const ConfigImage& config,
                     FixtureProblems& problems);

// Rows of bytes: readable, ascending, inside `size` bytes. Returns whether.
bool CheckRows(const google::protobuf::RepeatedPtrField<ByteRow>& rows,
               std::string_view field, uint64_t size,
               FixtureProblems& problems);

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_VFIO_FIXTURE_CHECKS_H_
