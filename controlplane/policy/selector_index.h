// SPDX-License-Identifier: Apache-2.0
// Selectors and labels found by each other without a look at all of them.
#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "api/schema/selector.h"

namespace mesh::controlplane {

// The requirement that names the fewest values one of which must be there; null: none names any.
inline const schema::Selector::Requirement* Narrowest(const schema::Selector& selector) {
  const schema::Selector::Requirement* out = nullptr;
  for (const auto& requirement : selector.requirements()) {
    if (requirement.op != schema::Selector::Operator::kIn) continue;
    if (out == nullptr || requirement.values.size() < out->values.size()) out = &requirement;
  }
  return out;
}

// Which of many selectors may match given labels: each is filed under the labels one of which it
// asks for. Those that ask for none may match anything.
template <typename Item>
class SelectorIndex {
 public:
  void Add(const schema::Selector& selector, const Item& item) {
    const auto* narrowest = Narrowest(selector);
    if (narrowest == nullptr) {
      others_.insert(item);
      return;
    }
    for (const std::string& value : narrowest->values) {
      by_label_[{narrowest->key, value}].insert(item);
    }
  }
  void Remove(const schema::Selector& selector, const Item& item) {
    const auto* narrowest = Narrowest(selector);
    if (narrowest == nullptr) {
      others_.erase(item);
      return;
    }
    for (const std::string& value : narrowest->values) {
      const auto it = by_label_.find({narrowest->key, value});
      if (it == by_label_.end()) continue;  // a value that is named twice
      it->second.erase(item);
      if (it->second.empty()) by_label_.erase(it);
    }
  }

  // In order, each once.
  std::set<Item> MayMatch(const schema::LabelMap& labels) const {
    std::set<Item> out = others_;
    for (const auto& [key, value] : labels) {
      const auto it = by_label_.find({key, value});
      if (it != by_label_.end()) out.insert(it->second.begin(), it->second.end());
    }
    return out;
  }

 private:
  std::map<std::pair<std::string, std::string>, std::set<Item>> by_label_;
  std::set<Item> others_;
};

// The other way round: which of many labelled items a selector may match.
template <typename Item>
class LabelledIndex {
 public:
  void Add(const schema::LabelMap& labels, const Item& item) {
    all_.insert(item);
    for (const auto& [key, value] : labels) by_label_[{key, value}].insert(item);
  }
  void Remove(const schema::LabelMap& labels, const Item& item) {
    all_.erase(item);
    for (const auto& [key, value] : labels) {
      const auto it = by_label_.find({key, value});
      it->second.erase(item);
      if (it->second.empty()) by_label_.erase(it);
    }
  }

  const std::set<Item>& all() const { return all_; }
  // In order, each once.
  std::set<Item> MayMatch(const schema::Selector& selector) const {
    const auto* narrowest = Narrowest(selector);
    if (narrowest == nullptr) return all_;
    std::set<Item> out;
    for (const std::string& value : narrowest->values) {
      const auto it = by_label_.find({narrowest->key, value});
      if (it != by_label_.end()) out.insert(it->second.begin(), it->second.end());
    }
    return out;
  }

 private:
  std::map<std::pair<std::string, std::string>, std::set<Item>> by_label_;
  std::set<Item> all_;
};

}  // namespace mesh::controlplane
