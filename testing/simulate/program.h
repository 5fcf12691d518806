// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_SIMULATE_PROGRAM_H_
#define PASSTHRU_TESTING_SIMULATE_PROGRAM_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace passthru::simulate {

// Returns the path of a program as execvp(3) would find it, or an error that
// says that there is none.
absl::StatusOr<std::string> FindProgram(const std::string& name);

// Returns an error that says so if a library cannot be preloaded into the
// program, because it is linked statically, or because it is a script of such
// an interpreter.
absl::Status CheckIsDynamic(const std::string& path);

}  // namespace passthru::simulate

#endif  // PASSTHRU_TESTING_SIMULATE_PROGRAM_H_
