// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_RIG_VFIO_USER_H_
#define PASSTHRU_TESTING_RIG_VFIO_USER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "passthru/pci/bdf.h"
#include "passthru/testing/fixture/device.pb.h"
#include "passthru/testing/host/simulated_host.h"
#include "passthru/testing/vfio/fake_vfio.h"

namespace passthru::fake {

// Loads the device of testing/fixtures/<name>.textproto.
fixture::PciDevice LoadDevice(const std::string& name);

// Overwrites bytes of the fixture's configuration space, without the masks.
void SetConfigBytes(fixture::PciDevice& device, uint32_t offset,
                    const std::vector<uint8_t>& bytes);

// A minimal user of VFIO. It has a container, a group and a device, and uses
// raw system calls. Methods return the calls' results, or -errno.
class VfioUser {
 public:
  // Opens everything up to the device. `bdf` must be in `group`.
  VfioUser(SimulatedHost* host, const pci::Bdf& bdf, uint32_t group);
  ~VfioUser();
  VfioUser(const VfioUser&) = delete;
  VfioUser& operator=(const VfioUser&) = delete;

  int container() const { return container_; }
  int group() const { return group_; }
  int device() const { return device_; }

  int Ioctl(int fd, unsigned long request, void* arg = nullptr);

  // Access the configuration region.
  uint32_t ReadConfig(uint64_t offset, unsigned width);
  void WriteConfig(uint64_t offset, unsigned width, uint32_t value);
  // Access a BAR by pread(2) and pwrite(2).
  int64_t ReadBar(unsigned bar, uint64_t offset, unsigned width,
                  uint64_t* value);
  int64_t WriteBar(unsigned bar, uint64_t offset, unsigned width,
                   uint64_t value);
  void* MapBar(unsigned bar, uint64_t offset, size_t length);
  void UnmapBar(void* address, size_t length);

  // Call VFIO_DEVICE_SET_IRQS with an array of descriptors and without data.
  int SetEventfds(uint32_t index, uint32_t action, uint32_t start,
                  const std::vector<int>& fds);
  int SetNone(uint32_t index, uint32_t action, uint32_t start, uint32_t count);

  int MapDma(uint64_t iova, void* address, uint64_t size, uint32_t flags);
  int UnmapDma(uint64_t iova, uint64_t size);

  int NewEventfd();
  // Returns and clears the eventfd's count, which is 0 if it was not signalled.
  uint64_t Count(int eventfd);
  void Signal(int eventfd);
  // Returns `size` bytes of zeroed memory.
  uint8_t* NewMemory(size_t size);

  // Closes the device, and with it all its state, before the destructor does.
  void CloseDevice();

 private:
  SimulatedHost* const host_;
  int container_ = -1;
  int group_ = -1;
  int device_ = -1;
  std::vector<int> eventfds_;
  std::vector<std::pair<void*, size_t>> memory_;
};

// The base class of tests with one device in a simulated host.
class VfioDeviceTest : public ::testing::Test {
 protected:
  // Plug the device in and open it. StartWithModel() uses the model that the
  // fixture names.
  void Start(const fixture::PciDevice& device, DeviceOptions options = {},
             SimulatedHost::Options host = {});
  void StartWithModel(const fixture::PciDevice& device,
                      SimulatedHost::Options host = {});

  ~VfioDeviceTest() override;

  SimulatedHost& host() { return *host_; }
  VfioUser& user() { return *user_; }
  const pci::Bdf& bdf() const { return bdf_; }
  FakeVfioDevice::Snapshot Snapshot();
  // Reads the hardware's own register.
  uint32_t Physical(uint16_t offset, unsigned width);
  void RaiseMsix(uint16_t vector);
  void RaiseMsi(uint16_t vector);
  void SetIntx(bool asserted);
  void CloseUser() { user_.reset(); }
  void OpenUser();

 private:
  std::unique_ptr<SimulatedHost> host_;
  std::unique_ptr<VfioUser> user_;
  pci::Bdf bdf_;
  uint32_t group_ = 0;
};

}  // namespace passthru::fake

#endif  // PASSTHRU_TESTING_RIG_VFIO_USER_H_
