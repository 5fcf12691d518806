// SPDX-License-Identifier: Apache-2.0
// FakeVfio's part in the files of sysfs that bind drivers and reset functions.
#include <cerrno>
#include <string>
#include <utility>

#include "absl/synchronization/mutex.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/vfio/fake_vfio.h"

namespace passthru::fake {
namespace {

constexpr std::string_view kVfioPci = "vfio-pci";

}  // namespace

PciBusFiles::Machine FakeVfio::MachineForFiles() {
  return {
      .bind =
          [this](const std::string& address, const std::string& driver) {
            return BindFromFile(address, driver);
          },
      .reset =
          [this](const std::string& address) { return ResetFromFile(address); },
      .remove = [this](const std::string& address) { RemoveFromFile(address); },
      .restore =
          [this](const std::string& address) { RestoreFromFile(address); },
      .is_open =
          [this](const std::string& address) {
            const auto bdf = pci::Bdf::Parse(address);
            const FakeVfioDevice* const device =
                bdf.ok() ? Find(*bdf) : nullptr;
            return device != nullptr && device->is_open();
          },
      .power_state =
          [this](const std::string& address) {
            const auto bdf = pci::Bdf::Parse(address);
            FakeVfioDevice* const device = bdf.ok() ? Find(*bdf) : nullptr;
            return device == nullptr ? 0 : device->hardware().power_state();
          },
  };
}

FakeGroup::Member* FakeVfio::FindMember(const pci::Bdf& bdf,
                                        std::shared_ptr<FakeGroup>* group) {
  for (const auto& [number, candidate] : groups_) {
    for (FakeGroup::Member& member : candidate->members()) {
      if (member.bdf != bdf) continue;
      if (group != nullptr) *group = candidate;
      return &member;
    }
  }
  return nullptr;
}

bool FakeVfio::ApplyDriver(const pci::Bdf& bdf, const std::string& driver) {
  std::shared_ptr<FakeGroup> group;
  FakeGroup::Member* const member = FindMember(bdf, &group);
  if (member == nullptr && !without_iommu_.contains(bdf)) return false;
  files_->SetDriver(bdf.ToString(), driver);
  if (member != nullptr) {
    member->driver = driver;
    group->OnDriverChanged();
    UpdateNode(*group);
  }
  return true;
}

// The probe of vfio-pci fails without an IOMMU (vfio_group_find_or_alloc()),
// and that of a host's driver while the group's DMA belongs to a user
// (iommu_device_use_default_domain()).
//
// Linux waits with unbinding until the user has closed the device, after it
// asked for that. A call of the simulation cannot wait for another, so it asks
// and answers EBUSY.
int FakeVfio::BindFromFile(const std::string& address,
                           const std::string& driver) {
  const auto bdf = pci::Bdf::Parse(address);
  if (!bdf.ok()) return ENODEV;
  std::shared_ptr<FakeGroup> group;
  const FakeGroup::Member* const member = FindMember(*bdf, &group);
  if (driver == kVfioPci && (member == nullptr || member->device == nullptr)) {
    return EINVAL;
  }
  if (!driver.empty() && driver != kVfioPci && group != nullptr &&
      group->container() != nullptr) {
    return EBUSY;
  }
  if (driver.empty() && member != nullptr && member->device != nullptr &&
      member->device->is_open()) {
    member->device->RequestRelease();
    return EBUSY;
  }
  return ApplyDriver(*bdf, driver) ? 0 : ENODEV;
}

int FakeVfio::ResetFromFile(const std::string& address) {
  const auto bdf = pci::Bdf::Parse(address);
  FakeVfioDevice* const device = bdf.ok() ? Find(*bdf) : nullptr;
  return device == nullptr ? ENOTTY : device->ResetFromFile();
}

void FakeVfio::RemoveFromFile(const std::string& address) {
  const auto bdf = pci::Bdf::Parse(address);
  std::shared_ptr<FakeGroup> group;
  FakeGroup::Member* const member =
      bdf.ok() ? FindMember(*bdf, &group) : nullptr;
  if (member == nullptr) return;
  removed_[*bdf] = {group->number(), std::move(*member)};
  std::erase_if(group->members(), [&bdf](const FakeGroup::Member& other) {
    return other.bdf == *bdf;
  });
  UpdateNode(*group);
}

void FakeVfio::RestoreFromFile(const std::string& address) {
  const auto bdf = pci::Bdf::Parse(address);
  const auto found = bdf.ok() ? removed_.find(*bdf) : removed_.end();
  if (found == removed_.end()) return;
  auto [number, member] = std::move(found->second);
  removed_.erase(found);
  AddToGroup(GroupNumbered(number), std::move(member));
}

}  // namespace passthru::fake
