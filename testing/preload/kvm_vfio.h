// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_PRELOAD_KVM_VFIO_H_
#define PASSTHRU_TESTING_PRELOAD_KVM_VFIO_H_

namespace passthru::preload {

// The machine's own KVM-VFIO devices, which do not know the launcher's groups
// and devices. This library answers for those as virt/kvm/vfio.c does.

// Answers KVM_SET_DEVICE_ATTR if it adds or removes a file of the launcher.
// Returns false if it does not, and the call is the machine's kernel's. Else
// `result` is 0 or minus an errno.
bool SetKvmVfioFile(int device, unsigned long number, unsigned long argument,
                    long* result);

// For the child of a fork(2), in which no other thread holds the lock.
void ForgetKvmVfioLock();

// Forgets the files of the KVM-VFIO devices whose descriptors are closed.
void ForgetKvmVfio(unsigned first, unsigned last);

}  // namespace passthru::preload

#endif  // PASSTHRU_TESTING_PRELOAD_KVM_VFIO_H_
