// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_SIMULATE_SYSFS_TREE_H_
#define PASSTHRU_TESTING_SIMULATE_SYSFS_TREE_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "passthru/testing/kernel/fake_sysfs.h"

namespace passthru::simulate {

// The simulated part of the file system as real files in a folder, where the
// programs of the launcher find it (testing/preload/paths.h). Files are empty
// and have the marks of protocol.h, because the simulated kernel answers for
// them. The other folders of /sys are links to the real ones, for paths that
// leave the simulated part.
//
// Thread-compatible.
class SysfsTree {
 public:
  // `folder` exists and is empty.
  explicit SysfsTree(std::string folder) : folder_(std::move(folder)) {}
  SysfsTree(const SysfsTree&) = delete;
  SysfsTree& operator=(const SysfsTree&) = delete;

  // Makes the folder show these nodes, and no others.
  absl::Status Update(const std::vector<fake::FakeSysfs::Entry>& nodes);

  // Adds the programs that would change the real kernel, and here must not.
  absl::Status AddPrograms();

  // Links what the real file system has in the simulated part of it and the
  // nodes do not.
  absl::Status AddHostDevices();

 private:
  absl::Status Make(const fake::FakeSysfs::Entry& node);
  absl::Status LinkRest(const std::string& directory);

  const std::string folder_;
  std::map<std::string, fake::FakeSysfs::Entry> shown_;  // By path.
};

}  // namespace passthru::simulate

#endif  // PASSTHRU_TESTING_SIMULATE_SYSFS_TREE_H_
