// SPDX-License-Identifier: Apache-2.0
#include "controlplane/state/node_selector.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <string>

namespace mesh::controlplane {
namespace {

std::optional<int64_t> Number(const std::string& text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// `value` null: absent.
bool Matches(const v1::NodeSelectorRequirement& one, const std::string* value) {
  const std::string& op = one.operator_();
  const auto is_one_of = [&] {
    return value != nullptr &&
           std::find(one.values().begin(), one.values().end(), *value) != one.values().end();
  };
  if (op == "In") return is_one_of();
  if (op == "NotIn") return !is_one_of();
  if (op == "Exists") return value != nullptr;
  if (op == "DoesNotExist") return value == nullptr;
  if (value == nullptr || one.values_size() != 1) return false;
  const auto has = Number(*value), limit = Number(one.values(0));
  if (!has || !limit) return false;
  if (op == "Gt") return *has > *limit;
  return op == "Lt" && *has < *limit;
}

const std::string* LabelOf(const v1::Node& node, const std::string& key) {
  const auto it = node.metadata().labels().find(key);
  return it == node.metadata().labels().end() ? nullptr : &it->second;
}

}  // namespace

bool MatchesTerm(const v1::NodeSelectorTerm& term, const v1::Node& node) {
  if (term.match_expressions().empty() && term.match_fields().empty()) return false;
  const auto& expressions = term.match_expressions();
  const auto& fields = term.match_fields();
  return std::all_of(expressions.begin(), expressions.end(),
                     [&](const auto& one) { return Matches(one, LabelOf(node, one.key())); }) &&
         std::all_of(fields.begin(), fields.end(), [&](const auto& one) {
           return one.key() == "metadata.name" && Matches(one, &node.metadata().name());
         });
}

bool MatchesNodeSelector(const v1::NodeSelector& selector, const v1::Node& node) {
  return std::any_of(selector.node_selector_terms().begin(), selector.node_selector_terms().end(),
                     [&](const auto& term) { return MatchesTerm(term, node); });
}

}  // namespace mesh::controlplane
