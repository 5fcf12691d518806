// SPDX-License-Identifier: Apache-2.0
//
// The one who sits before the console of a guest in the lab.

#ifndef PASSTHRU_TESTING_LAB_TYPIST_H_
#define PASSTHRU_TESTING_LAB_TYPIST_H_

namespace passthru::lab {

// Copies `output` to the standard output until it ends. Between GUEST-SLEEPS
// and GUEST-AWAKE in it, presses Enter on `input` again and again, each time
// after twice as long, because a key that comes before the guest is asleep
// keeps it from falling asleep.
void WakeSleepers(int output, int input);

}  // namespace passthru::lab

#endif  // PASSTHRU_TESTING_LAB_TYPIST_H_
