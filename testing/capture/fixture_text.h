// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_CAPTURE_FIXTURE_TEXT_H_
#define PASSTHRU_TESTING_CAPTURE_FIXTURE_TEXT_H_

#include <string>
#include <vector>

#include "passthru/testing/fixture/device.pb.h"

namespace passthru::capture {

// A fixture as a text file: LoadFixture() reads it back as the same message.
// Above it, as comments, the configuration space decoded for people, and
// `notes`, each a sentence. Numbers are as hardware people write them, rows of
// bytes are aligned, and equal devices give equal texts.
std::string FixtureText(const fixture::PciDevice& device,
                        const std::vector<std::string>& notes = {});

}  // namespace passthru::capture

#endif  // PASSTHRU_TESTING_CAPTURE_FIXTURE_TEXT_H_
