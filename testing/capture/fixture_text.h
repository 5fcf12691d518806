// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_CAPTURE_FIXTURE_TEXT_H_
#define PASSTHRU_TESTING_CAPTURE_FIXTURE_TEXT_H_

#include <string>
#include <vector>

#include "passthru/testing/fixture/device.pb.h"

namespace passthru::capture {

// Returns a fixture as a text file, which LoadFixture() reads back as the same
// message. Comments at the top have the configuration space decoded for people,
// and `notes`, which are sentences. Numbers have the form that hardware people
// use, rows of bytes are aligned, and equal devices give equal texts.
std::string FixtureText(const fixture::PciDevice& device,
                        const std::vector<std::string>& notes = {});

}  // namespace passthru::capture

#endif  // PASSTHRU_TESTING_CAPTURE_FIXTURE_TEXT_H_
