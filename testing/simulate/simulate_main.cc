// SPDX-License-Identifier: Apache-2.0
//
// The launcher: runs a program, and whatever it starts, on the simulated
// kernel.
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/base/log_severity.h"
#include "absl/log/globals.h"
#include "absl/log/initialize.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "passthru/devices/kernel/errors.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/testing/host/simulated_host.h"
#include "passthru/testing/journal/journal.h"
#include "passthru/testing/preload/protocol.h"
#include "passthru/testing/simulate/options.h"
#include "passthru/testing/simulate/program.h"
#include "passthru/testing/simulate/report.h"
#include "passthru/testing/simulate/server.h"
#include "passthru/testing/simulate/sysfs_tree.h"

namespace passthru::simulate {
namespace {

namespace fs = std::filesystem;

constexpr int kLauncherFailed = 125;
constexpr int kRulesBroken = 99;
constexpr char kLibraryName[] = "libpassthru_simulate.so";

// A folder that goes with the object.
class TemporaryFolder {
 public:
  static absl::StatusOr<std::unique_ptr<TemporaryFolder>> Create() {
    const char* const parent = std::getenv("TMPDIR");
    std::string path =
        absl::StrCat(parent == nullptr ? "/tmp" : parent, "/simulate-XXXXXX");
    if (::mkdtemp(path.data()) == nullptr) {
      return kernel::ErrnoError(errno, path);
    }
    // The kernel shows paths without links, and the programs look for this one.
    std::error_code error;
    const fs::path whole = fs::canonical(path, error);
    return std::make_unique<TemporaryFolder>(error ? path : whole.string());
  }
  explicit TemporaryFolder(std::string path) : path_(std::move(path)) {}
  ~TemporaryFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  const std::string path_;
};

// Returns the first of these files that exists, or an empty string.
std::string FirstThatExists(const std::vector<fs::path>& candidates) {
  std::error_code error;
  for (const fs::path& candidate : candidates) {
    if (fs::exists(candidate, error)) {
      return fs::absolute(candidate, error).string();
    }
  }
  return "";
}

// The folders where this program's files may be: Bazel's runfiles (from the
// working directory of `bazel run` or of a test), and beside the program.
std::vector<fs::path> Roots() {
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  return {fs::current_path(error), program.parent_path() / "../..",
          program.parent_path(), program.parent_path() / "../share/passthru"};
}

std::string FindLibrary(const Options& options, const fs::path& user) {
  if (!options.library.empty()) {
    return FirstThatExists({user / options.library});
  }
  std::vector<fs::path> candidates;
  for (const fs::path& root : Roots()) {
    candidates.push_back(root / "testing/preload" / kLibraryName);
    candidates.push_back(root / kLibraryName);
  }
  return FirstThatExists(candidates);
}

// Gives the library a path that LD_PRELOAD, a list, can have.
absl::Status MakeLoadable(const std::string& folder, std::string& library) {
  constexpr char kSeparators[] = " :";
  if (folder.find_first_of(kSeparators) != std::string::npos) {
    return absl::InvalidArgumentError(absl::StrCat(
        folder, " has a space or a colon. Set TMPDIR to a folder without."));
  }
  if (library.find_first_of(kSeparators) == std::string::npos) {
    return absl::OkStatus();
  }
  const std::string link = absl::StrCat(folder, "/", kLibraryName);
  if (::symlink(library.c_str(), link.c_str()) != 0) {
    return kernel::ErrnoError(errno, link);
  }
  library = link;
  return absl::OkStatus();
}

std::string FindFixture(const std::string& name, const fs::path& user) {
  std::vector<fs::path> candidates = {user / name};
  for (const fs::path& root : Roots()) {
    candidates.push_back(root / "testing/fixtures" / name);
    candidates.push_back(root / "fixtures" / name);
  }
  return FirstThatExists(candidates);
}

absl::Status AddDevices(const Options& options, const fs::path& user,
                        fake::SimulatedHost& host) {
  unsigned added = 0;
  for (const DeviceOption& device : options.devices) {
    const std::string file = FindFixture(device.fixture, user);
    if (file.empty()) {
      return absl::NotFoundError(
          absl::StrCat("There is no fixture ", device.fixture,
                       ", neither there nor in testing/fixtures."));
    }
    fake::ModelOptions model;
    // Network devices differ by their MAC addresses.
    model.mac_tail = static_cast<uint8_t>(model.mac_tail + added++);
    if (!absl::SimpleAtoi(device.disk, &model.disk_bytes) &&
        !device.disk.empty()) {
      model.disk_file = (user / device.disk).string();
    }
    PASSTHRU_ASSIGN_OR_RETURN(
        const pci::Bdf address,
        host.AddFixture(file,
                        {.bdf = device.address,
                         .group = device.group,
                         .driver = device.driver.value_or(options.driver)},
                        model));
    if (const std::string why = host.WhyNoModel(address); !why.empty()) {
      std::cerr << "simulate: " << address.ToString()
                << " is memory without behaviour: " << why << "\n";
    }
  }
  for (const ConnectOption& wire : options.wires) {
    PASSTHRU_RETURN_IF_ERROR(host.Connect(wire.first, wire.second));
  }
  return absl::OkStatus();
}

fake::SimulatedHost::Options HostOptions(const Options& options) {
  return {.kernel = {.version = options.kernel,
                     .has_kvm = options.kvm == Options::Kvm::kSimulated,
                     .passthrough_kvm = options.bars == Options::Bars::kPolled,
                     // It would grow with every call.
                     .journal = false},
          .enforce_invariants = false,
          .dma_rule = fake::Invariants::DmaRule::kWhenAVcpuRuns};
}

// The limit of files that the program has without the launcher.
rlimit own_limit = {.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};

// Lets this process have as many files as it may, because it has those of all
// programs.
void RaiseFileLimit() {
  if (::getrlimit(RLIMIT_NOFILE, &own_limit) != 0) return;
  rlimit limit = own_limit;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

// Starts the program, which is this process's child.
absl::StatusOr<pid_t> Start(const Options& options, const std::string& path,
                            const std::string& library,
                            const std::string& folder, const fs::path& user) {
  std::vector<char*> arguments;
  for (const std::string& argument : options.program) {
    arguments.push_back(const_cast<char*>(argument.c_str()));
  }
  arguments.push_back(nullptr);
  const char* const other = std::getenv("LD_PRELOAD");
  const std::string preload =
      other == nullptr ? library : absl::StrCat(library, ":", other);
  const std::string where =
      absl::StrCat(folder, options.kvm == Options::Kvm::kReal ? "" : ":kvm");
  const pid_t child = ::fork();
  if (child < 0) return kernel::ErrnoError(errno, "fork");
  if (child > 0) return child;
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::setrlimit(RLIMIT_NOFILE, &own_limit);
  ::setenv("LD_PRELOAD", preload.c_str(), 1);
  ::setenv(preload::kFolderVariable, where.c_str(), 1);
  if (::chdir(user.c_str()) != 0) ::_exit(kLauncherFailed);
  ::execv(path.c_str(), arguments.data());
  std::cerr << "simulate: " << path << ": " << ::strerror(errno) << "\n";
  ::_exit(kLauncherFailed);
}

absl::Status OpenJournal(const Options& options, std::ofstream& file,
                         journal::Journal& journal) {
  if (options.journal.empty()) return absl::OkStatus();
  file.open(options.journal);
  if (!file) return kernel::ErrnoError(errno, options.journal);
  journal.set_sink([&file](const journal::JournalEntry& entry) {
    file << entry << std::endl;
  });
  return absl::OkStatus();
}

absl::StatusOr<int> Simulate(const Options& options) {
  const char* const directory = std::getenv("BUILD_WORKING_DIRECTORY");
  const fs::path user = directory == nullptr ? fs::current_path() : directory;
  std::string library = FindLibrary(options, user);
  if (library.empty()) {
    return absl::NotFoundError(
        options.library.empty()
            ? "libpassthru_simulate.so is not beside the launcher. Name it "
              "with --library."
            : absl::StrCat("There is no library ", options.library));
  }
  std::ofstream journal;
  fake::SimulatedHost host(HostOptions(options));
  if (options.check == Options::Check::kOff) host.kernel().SetObserver(nullptr);
  PASSTHRU_RETURN_IF_ERROR(AddDevices(options, user, host));
  // Bazel starts programs in another folder than the user's, where the files
  // above were.
  if (::chdir(user.c_str()) != 0)
    return kernel::ErrnoError(errno, user.string());
  PASSTHRU_ASSIGN_OR_RETURN(const std::string program,
                            FindProgram(options.program[0]));
  PASSTHRU_RETURN_IF_ERROR(CheckIsDynamic(program));
  PASSTHRU_RETURN_IF_ERROR(
      OpenJournal(options, journal, host.kernel().journal()));
  for (const FailOption& failure : options.failures) {
    host.kernel().faults().FailNthOf(failure.call, failure.nth, failure.error);
  }

  PASSTHRU_ASSIGN_OR_RETURN(const auto folder, TemporaryFolder::Create());
  PASSTHRU_RETURN_IF_ERROR(MakeLoadable(folder->path(), library));
  SysfsTree tree(folder->path());
  std::vector<fake::FakeSysfs::Entry> nodes;
  host.kernel().EditPaths(
      [&nodes](fake::FakeSysfs& paths) { nodes = paths.All(); });
  PASSTHRU_RETURN_IF_ERROR(tree.Update(nodes));
  PASSTHRU_RETURN_IF_ERROR(tree.AddPrograms());
  if (options.host_devices) PASSTHRU_RETURN_IF_ERROR(tree.AddHostDevices());
  PASSTHRU_ASSIGN_OR_RETURN(const auto server,
                            Server::Create(&host, &tree, folder->path()));
  // Programs that outlive their parents remain this process's descendants, so
  // that it may go on reading their memory.
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  PASSTHRU_ASSIGN_OR_RETURN(const pid_t child, Start(options, program, library,
                                                     folder->path(), user));
  host.kernel().StartDeviceThread();
  Report report(&host);
  server->set_polls(options.bars == Options::Bars::kPolled);
  const int status = server->Run(child, [&] {
    report.Write(std::cerr, host.kernel().CheckLeaks().leaks);
  });
  host.kernel().StopDeviceThread();
  const std::vector<std::string> leaks = options.leaks == Options::Check::kOff
                                             ? std::vector<std::string>()
                                             : server->left_open();
  if (options.check != Options::Check::kOff || !leaks.empty()) {
    report.Write(std::cerr, leaks);
  }
  const bool failed =
      (options.check == Options::Check::kFail && report.found_any()) ||
      (options.leaks == Options::Check::kFail && !leaks.empty());
  return failed ? kRulesBroken : status;
}

}  // namespace
}  // namespace passthru::simulate

int main(int argc, char** argv) {
  namespace simulate = passthru::simulate;
  absl::InitializeLog();
  // The report has what the log says of broken rules.
  absl::SetStderrThreshold(absl::LogSeverityAtLeast::kFatal);
  const auto options = simulate::ParseOptions({argv + 1, argv + argc});
  if (!options.ok()) {
    std::cerr << "simulate: " << options.status().message() << "\n";
    return simulate::kLauncherFailed;
  }
  if (options->help) {
    std::cout << simulate::Manual();
    return 0;
  }
  simulate::RaiseFileLimit();
  const auto status = simulate::Simulate(*options);
  if (!status.ok()) {
    std::cerr << "simulate: " << status.status().message() << "\n";
    return simulate::kLauncherFailed;
  }
  return *status;
}
