// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/host/simulated_host.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/log/log.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "passthru/devices/kernel/status_macros.h"
#include "passthru/testing/fixture/fixture.h"
#include "passthru/testing/models/edu_model.h"
#include "passthru/testing/models/nvme/nvme_model.h"

namespace passthru::fake {

namespace {

FakeVfio::Options VfioOptions(SimulatedHost::Options options) {
  options.vfio.mapped_registers |= options.kernel.passthrough_kvm;
  return std::move(options.vfio);
}

}  // namespace

SimulatedHost::SimulatedHost(Options options)
    : enforce_invariants_(options.enforce_invariants),
      kernel_(options.kernel),
      vfio_(&kernel_.core(), VfioOptions(std::move(options))),
      invariants_(&kernel_, &vfio_) {
  kernel_.AddSubsystem(&vfio_);
  kernel_.SetObserver(&invariants_);
}

SimulatedHost::~SimulatedHost() {
  invariants_.CheckNothingLeft();
  kernel_.Shutdown();
  const std::vector<std::string> violations = invariants_.Take();
  if (enforce_invariants_ && !violations.empty()) {
    LOG(FATAL) << "Broken invariants:\n  " << absl::StrJoin(violations, "\n  ");
  }
}

absl::StatusOr<pci::Bdf> SimulatedHost::AddFixture(const std::string& path,
                                                   DeviceOptions options) {
  PASSTHRU_ASSIGN_OR_RETURN(const auto fixture, fixture::LoadFixture(path));
  pci::Bdf bdf;
  if (options.bdf.has_value()) {
    bdf = *options.bdf;
  } else {
    PASSTHRU_ASSIGN_OR_RETURN(const auto captured,
                              pci::Bdf::Parse(fixture.bdf()));
    bdf = captured;
  }
  if (options.model == nullptr) {
    PASSTHRU_ASSIGN_OR_RETURN(options.model, MakeModel(fixture));
  }
  PASSTHRU_RETURN_IF_ERROR(vfio_.AddDevice(fixture, std::move(options)));
  return bdf;
}

absl::StatusOr<std::unique_ptr<models::DeviceModel>> MakeModel(
    const fixture::PciDevice& device) {
  if (device.model().empty()) return nullptr;
  if (device.model() == "edu") return std::make_unique<models::EduModel>();
  if (device.model() == "nvme") {
    PASSTHRU_ASSIGN_OR_RETURN(auto nvme, models::nvme::NvmeModel::Create({}));
    return nvme;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("fixture ", device.name(), ": no device model '",
                   device.model(), "'; there are: nvme, edu"));
}

}  // namespace passthru::fake
