// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_SIMULATE_CLIENTS_CLIENT_H_
#define PASSTHRU_TESTING_SIMULATE_CLIENTS_CLIENT_H_

#include <errno.h>
#include <linux/vfio.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// What the small programs share that the tests run on the simulated kernel.
// They call the C library as any program does, and know nothing of the
// simulation.

// Ends the program with status 1 if the condition does not hold.
#define EXPECT(condition)                                                   \
  do {                                                                      \
    if (!(condition)) {                                                     \
      fprintf(stderr, "%s:%d: %s does not hold (errno %d, %s)\n", __FILE__, \
              __LINE__, #condition, errno, strerror(errno));                \
      exit(1);                                                              \
    }                                                                       \
  } while (0)

namespace client {

// A device as a driver in user space opens it.
struct Device {
  int container = -1;
  int group = -1;
  int fd = -1;
};

// Opens the device that is alone in a group, with a type 1 IOMMU.
Device Open(const char* address, int group);
// The same in the container of another device.
Device OpenIn(int container, const char* address, int group);
void Close(const Device& device);

vfio_region_info Region(const Device& device, uint32_t index);

// Maps a BAR.
uint8_t* MapBar(const Device& device, uint32_t index);

// Turns memory decode and bus mastering on or off.
void SetCommand(const Device& device, uint16_t command);

// Maps memory for DMA. Returns the errno.
int MapDma(const Device& device, void* memory, uint64_t iova, uint64_t size);

// Connects or, without descriptors, disconnects interrupts. Returns the errno.
int SetTriggers(const Device& device, uint32_t index, uint32_t start,
                const int* fds, uint32_t count);

inline volatile uint32_t& Register32(uint8_t* bar, uint64_t offset) {
  return *reinterpret_cast<volatile uint32_t*>(bar + offset);
}

}  // namespace client

#endif  // PASSTHRU_TESTING_SIMULATE_CLIENTS_CLIENT_H_
