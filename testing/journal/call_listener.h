// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_JOURNAL_CALL_LISTENER_H_
#define PASSTHRU_TESTING_JOURNAL_CALL_LISTENER_H_

#include <chrono>
#include <string_view>

#include "passthru/testing/journal/call.h"

namespace passthru::journal {

// Is told of each call that a CallRecorder forwarded, after it has returned.
//
// Several threads may call it at once.
class CallListener {
 public:
  using Time = std::chrono::steady_clock::time_point;

  virtual ~CallListener() = default;

  // `line` is the call as in the journal. Of a call that waits it has only the
  // name. `error` is an errno, or 0.
  virtual void OnCall(const Call& call, std::string_view line, int error,
                      Time began, Time ended) = 0;
};

}  // namespace passthru::journal

#endif  // PASSTHRU_TESTING_JOURNAL_CALL_LISTENER_H_
