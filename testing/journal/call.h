// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_JOURNAL_CALL_H_
#define PASSTHRU_TESTING_JOURNAL_CALL_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace passthru::journal {

// One decoded argument of a system call, or one field of a struct that it
// points to. `kind` says how to print the value. Descriptors and host addresses
// differ from run to run without meaning, so a normalized journal renames them.
struct CallField {
  enum class Kind { kNumber, kHex, kFd, kHostAddress, kText };

  std::string name;
  Kind kind = Kind::kNumber;
  int64_t number = 0;  // Unused for kText.
  std::string text;    // Used for kText only.
};

// A system call as the journal records it and as the fault injector matches it.
struct Call {
  // "open", "mmap" or the like. For an ioctl, the request's UAPI name, such as
  // "KVM_IRQFD".
  std::string name;
  // The object of the call: a path, or the description of an open file such as
  // "vfio-device 0000:01:00.0". Empty if the call has none.
  std::string subject;
  std::vector<CallField> fields;
  // How to print the result of a successful call.
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
    Reserve();
    fields.push_back({.name = std::string(field),
                      .kind = CallField::Kind::kText,
                      .text = std::move(value)});
    return *this;
  }

  // Returns the field named `field`, or null.
  const CallField* Find(std::string_view field) const {
    for (const CallField& candidate : fields) {
      if (candidate.name == field) return &candidate;
    }
    return nullptr;
  }

  // Returns whether the call waits for an event. How often and when a program
  // makes such a call says nothing about the program.
  bool Waits() const { return name == "KVM_RUN" || name == "epoll_wait"; }

 private:
  static constexpr size_t kUsualFields = 5;

  // Makes room for the fields of most calls with one allocation.
  void Reserve() {
    if (fields.empty()) fields.reserve(kUsualFields);
  }
  Call& Add(std::string_view field, CallField::Kind kind, int64_t value) {
    Reserve();
    fields.push_back(
        {.name = std::string(field), .kind = kind, .number = value});
    return *this;
  }
};

}  // namespace passthru::journal

#endif  // PASSTHRU_TESTING_JOURNAL_CALL_H_
