// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_JOURNAL_CALL_H_
#define PASSTHRU_TESTING_JOURNAL_CALL_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace passthru::journal {

// One decoded argument of a system call, or one field of a struct that it
// points to. `kind` says how it is printed, and which values differ from run
// to run without meaning anything (descriptors and host addresses), so that a
// normalized journal can rename them.
struct CallField {
  enum class Kind { kNumber, kHex, kFd, kHostAddress, kText };

  std::string name;
  Kind kind = Kind::kNumber;
  int64_t number = 0;  // Not for kText.
  std::string text;    // Only for kText.
};

// A call as the journal records it and as faults are matched against it.
struct Call {
  // "open", "mmap", ...; for ioctls the request's UAPI name ("KVM_IRQFD").
  std::string name;
  // What the call was made on: a path, or the description of the open file
  // ("vfio-device 0000:01:00.0"). Empty where there is none.
  std::string subject;
  std::vector<CallField> fields;
  // What the result is, when the call succeeds.
  CallField::Kind result_kind = CallField::Kind::kNumber;

  Call& Number(std::string_view field, int64_t value) {
    return Add(field, CallField::Kind::kNumber, value);
  }
  Call& Hex(std::string_view field, uint64_t value) {
    return Add(field, CallField::Kind::kHex, static_cast<int64_t>(value));
  }
  Call& Fd(std::string_view field, int64_t value) {
    return Add(field, CallField::Kind::kFd, value);
  }
  Call& HostAddress(std::string_view field, uint64_t value) {
    return Add(field, CallField::Kind::kHostAddress,
               static_cast<int64_t>(value));
  }
  Call& Text(std::string_view field, std::string value) {
    fields.push_back({.name = std::string(field),
                      .kind = CallField::Kind::kText,
                      .text = std::move(value)});
    return *this;
  }

  // The field of that name, or null.
  const CallField* Find(std::string_view field) const {
    for (const CallField& candidate : fields) {
      if (candidate.name == field) return &candidate;
    }
    return nullptr;
  }

  // Whether it waits for something to happen: how often it is made, and when,
  // says nothing.
  bool Waits() const { return name == "KVM_RUN" || name == "epoll_wait"; }

 private:
  Call& Add(std::string_view field, CallField::Kind kind, int64_t value) {
    fields.push_back(
        {.name = std::string(field), .kind = kind, .number = value});
    return *this;
  }
};

}  // namespace passthru::journal

#endif  // PASSTHRU_TESTING_JOURNAL_CALL_H_
