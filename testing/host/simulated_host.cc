// SPDX-License-Identifier: Apache-2.0
#include "passthru/testing/host/simulated_host.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/log/log.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
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
  const auto fixture = fixture::LoadFixture(path);
  if (!fixture.ok()) return fixture.status();
  pci::Bdf bdf;
  if (options.bdf.has_value()) {
    bdf = *options.bdf;
  } else {
    const auto captured = pci::Bdf::Parse(fixture->bdf());
    if (!captured.ok()) return captured.status();
    bdf = *captured;
  }
  if (options.model == nullptr) {
    auto model = MakeModel(*fixture);
    if (!model.ok()) return model.status();
    options.model = *std::move(model);
  }
  if (absl::Status status = vfio_.AddDevice(*fixture, std::move(options));
      !status.ok()) {
    return status;
  }
  return bdf;
}

absl::StatusOr<std::unique_ptr<models::DeviceModel>> MakeModel(
    const fixture::PciDevice& device) {
  if (device.model().empty()) return nullptr;
  if (device.model() == "edu") return std::make_unique<models::EduModel>();
  if (device.model() == "nvme") {
    auto nvme = models::nvme::NvmeModel::Create({});
    if (!nvme.ok()) return nvme.status();
    return *std::move(nvme);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("fixture ", device.name(), ": no device model '",
                   device.model(), "'; there are: nvme, edu"));
}

}  // namespace passthru::fake
