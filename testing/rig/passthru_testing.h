// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_RIG_PASSTHRU_TESTING_H_
#define PASSTHRU_TESTING_RIG_PASSTHRU_TESTING_H_

// Everything with which a VMM tests passthrough without hardware: a simulated
// host with captured devices, what was asked of its kernel, failures to inject,
// and guests with drivers. docs/use-in-your-vmm.md explains each.

// IWYU pragma: begin_exports
#include "passthru/testing/guest/drivers/guest_driver.h"
#include "passthru/testing/guest/drivers/guest_edu.h"
#include "passthru/testing/guest/drivers/guest_nvme.h"
#include "passthru/testing/guest/guest_cpu.h"
#include "passthru/testing/guest/guest_layout.h"
#include "passthru/testing/guest/linux/guest_machine.h"
#include "passthru/testing/guest/linux/linux_pci_probe.h"
#include "passthru/testing/host/fake_kernel.h"
#include "passthru/testing/host/invariants.h"
#include "passthru/testing/host/simulated_host.h"
#include "passthru/testing/journal/call.h"
#include "passthru/testing/journal/fault_injector.h"
#include "passthru/testing/journal/journal.h"
#include "passthru/testing/journal/journal_matchers.h"
#include "passthru/testing/kernel/kernel_version.h"
#include "passthru/testing/kernel/leak_check.h"
#include "passthru/testing/kvm/fake_kvm.h"
#include "passthru/testing/vfio/fake_vfio.h"
// IWYU pragma: end_exports

#endif  // PASSTHRU_TESTING_RIG_PASSTHRU_TESTING_H_
