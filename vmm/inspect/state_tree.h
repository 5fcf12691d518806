// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_VMM_INSPECT_STATE_TREE_H_
#define PASSTHRU_VMM_INSPECT_STATE_TREE_H_

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace passthru::vmm {

// A value in a state tree. Null is one that is absent, such as the GSI of a
// vector that has none.
using StateValue = std::variant<bool, uint64_t, std::string, std::nullptr_t>;

// Returns the number, or null if there is none.
template <typename T>
StateValue OrNull(const std::optional<T>& number) {
  if (!number.has_value()) return nullptr;
  return uint64_t{*number};
}

// What something is made of and in which state it is, for people and for
// programs. A tree has named values, tables, lists of texts, and further trees,
// in the order in which they were added. References that it returns stay valid
// while it lives.
//
// Thread-compatible.
class StateTree {
 public:
  struct Table {
    std::vector<std::string> columns;
    // Each has as many values as there are columns.
    std::vector<std::vector<StateValue>> rows;
  };
  using Texts = std::vector<std::string>;

  StateTree& Tree(std::string name);
  void Value(std::string name, StateValue value) {
    entries_.emplace_back(std::move(name), std::move(value));
  }
  // Adds values of one kind, which text has in one line and JSON in an array.
  void Values(std::string name, std::vector<StateValue> values) {
    entries_.emplace_back(std::move(name), std::move(values));
  }
  Table& AddTable(std::string name, std::vector<std::string> columns);
  void List(std::string name, Texts texts) {
    entries_.emplace_back(std::move(name), std::move(texts));
  }

  // Returns indented lines of text. Yes and no stand for true and false, and -
  // for an empty text and for null.
  std::string ToText() const;
  // Returns a JSON object (RFC 8259). A table is an array of objects.
  std::string ToJson() const;

 private:
  using Content = std::variant<StateValue, std::vector<StateValue>, Table,
                               Texts, std::unique_ptr<StateTree>>;
  struct Entry {
    Entry(std::string entry_name, Content entry_content)
        : name(std::move(entry_name)), content(std::move(entry_content)) {}
    std::string name;
    Content content;
  };

  void AppendText(const std::string& indent, std::string& text) const;
  void AppendJson(const std::string& indent, std::string& json) const;

  std::list<Entry> entries_;
};

}  // namespace passthru::vmm

#endif  // PASSTHRU_VMM_INSPECT_STATE_TREE_H_
