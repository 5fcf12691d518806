// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_PRELOAD_TRAP_H_
#define PASSTHRU_TESTING_PRELOAD_TRAP_H_

namespace passthru::preload {

// Installs the handler of SIGSEGV, which carries out the accesses to mapped
// BARs. The program's own handlers see all other faults.
void HandleTraps();

}  // namespace passthru::preload

#endif  // PASSTHRU_TESTING_PRELOAD_TRAP_H_
