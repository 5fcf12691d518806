// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/inspect/state_tree.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "passthru/vmm/report/json_text.h"

namespace passthru::vmm {
namespace {

std::string Text(const StateValue& value) {
  if (const bool* yes = std::get_if<bool>(&value)) return *yes ? "yes" : "no";
  if (const auto* number = std::get_if<uint64_t>(&value)) {
    return absl::StrCat(*number);
  }
  if (std::holds_alternative<std::nullptr_t>(value)) return "-";
  const auto& text = std::get<std::string>(value);
  return text.empty() ? "-" : text;
}

std::string Json(const StateValue& value) {
  if (const bool* yes = std::get_if<bool>(&value))
    return *yes ? "true" : "false";
  if (const auto* number = std::get_if<uint64_t>(&value)) {
    return absl::StrCat(*number);
  }
  if (std::holds_alternative<std::nullptr_t>(value)) return "null";
  return JsonString(std::get<std::string>(value));
}

// Returns the values one after the other. `one` is Text() or Json().
std::string Joined(const std::vector<StateValue>& values,
                   std::string_view separator,
                   std::string (*one)(const StateValue&)) {
  return absl::StrJoin(values, separator,
                       [one](std::string* out, const StateValue& value) {
                         absl::StrAppend(out, one(value));
                       });
}

// Appends the cells of a line, of which all but the last fill their columns.
void AppendLine(const std::string& indent,
                const std::vector<std::string>& cells,
                const std::vector<size_t>& widths, std::string& text) {
  text += indent;
  for (size_t i = 0; i < cells.size(); ++i) {
    text += cells[i];
    if (i + 1 < cells.size()) {
      text.append(widths[i] - cells[i].size() + 2, ' ');
    }
  }
  text += '\n';
}

void AppendTable(const std::string& indent, const StateTree::Table& table,
                 std::string& text) {
  std::vector<std::vector<std::string>> lines = {table.columns};
  for (const std::vector<StateValue>& row : table.rows) {
    std::vector<std::string>& line = lines.emplace_back();
    for (const StateValue& value : row) line.push_back(Text(value));
  }
  std::vector<size_t> widths(table.columns.size());
  for (const std::vector<std::string>& line : lines) {
    for (size_t i = 0; i < line.size(); ++i) {
      widths[i] = std::max(widths[i], line[i].size());
    }
  }
  for (const std::vector<std::string>& line : lines) {
    AppendLine(indent, line, widths, text);
  }
}

}  // namespace

StateTree& StateTree::Tree(std::string name) {
  entries_.emplace_back(std::move(name), std::make_unique<StateTree>());
  return *std::get<std::unique_ptr<StateTree>>(entries_.back().content);
}

StateTree::Table& StateTree::AddTable(std::string name,
                                      std::vector<std::string> columns) {
  entries_.emplace_back(std::move(name),
                        Table{.columns = std::move(columns), .rows = {}});
  return std::get<Table>(entries_.back().content);
}

std::string StateTree::ToText() const {
  std::string text;
  AppendText("", text);
  return text;
}

void StateTree::AppendText(const std::string& indent, std::string& text) const {
  size_t width = 0;
  for (const Entry& entry : entries_) {
    if (std::holds_alternative<StateValue>(entry.content) ||
        std::holds_alternative<std::vector<StateValue>>(entry.content)) {
      width = std::max(width, entry.name.size());
    }
  }
  const std::string further = indent + "  ";
  for (const Entry& entry : entries_) {
    if (const auto* value = std::get_if<StateValue>(&entry.content)) {
      AppendLine(indent, {entry.name, Text(*value)}, {width}, text);
      continue;
    }
    if (const auto* values =
            std::get_if<std::vector<StateValue>>(&entry.content)) {
      const std::string line = Joined(*values, " ", Text);
      AppendLine(indent, {entry.name, line.empty() ? "-" : line}, {width},
                 text);
      continue;
    }
    const auto* const table = std::get_if<Table>(&entry.content);
    const auto* const list = std::get_if<Texts>(&entry.content);
    if ((table != nullptr && table->rows.empty()) ||
        (list != nullptr && list->empty())) {
      absl::StrAppend(&text, indent, entry.name, ": none\n");
      continue;
    }
    absl::StrAppend(&text, indent, entry.name, "\n");
    if (table != nullptr) {
      AppendTable(further, *table, text);
    } else if (list != nullptr) {
      for (const std::string& line : *list) {
        absl::StrAppend(&text, further, line, "\n");
      }
    } else {
      std::get<std::unique_ptr<StateTree>>(entry.content)
          ->AppendText(further, text);
    }
  }
}

std::string StateTree::ToJson() const {
  std::string json;
  AppendJson("", json);
  return json + "\n";
}

void StateTree::AppendJson(const std::string& indent, std::string& json) const {
  const std::string further = indent + "  ";
  json += '{';
  const char* comma = "";
  for (const Entry& entry : entries_) {
    absl::StrAppend(&json, comma, "\n", further, JsonString(entry.name), ": ");
    comma = ",";
    if (const auto* value = std::get_if<StateValue>(&entry.content)) {
      json += Json(*value);
    } else if (const auto* values =
                   std::get_if<std::vector<StateValue>>(&entry.content)) {
      absl::StrAppend(&json, "[", Joined(*values, ", ", Json), "]");
    } else if (const auto* table = std::get_if<Table>(&entry.content)) {
      json += '[';
      const char* between = "";
      for (const std::vector<StateValue>& row : table->rows) {
        absl::StrAppend(&json, between, "\n", further, "  {");
        between = ",";
        for (size_t i = 0; i < row.size(); ++i) {
          absl::StrAppend(&json, i == 0 ? "" : ", ",
                          JsonString(table->columns[i]), ": ", Json(row[i]));
        }
        json += '}';
      }
      if (!table->rows.empty()) absl::StrAppend(&json, "\n", further);
      json += ']';
    } else if (const auto* list = std::get_if<Texts>(&entry.content)) {
      json += '[';
      const char* between = "";
      for (const std::string& text : *list) {
        absl::StrAppend(&json, between, "\n", further, "  ", JsonString(text));
        between = ",";
      }
      if (!list->empty()) absl::StrAppend(&json, "\n", further);
      json += ']';
    } else {
      std::get<std::unique_ptr<StateTree>>(entry.content)
          ->AppendJson(further, json);
    }
  }
  if (!entries_.empty()) absl::StrAppend(&json, "\n", indent);
  json += '}';
}

}  // namespace passthru::vmm
