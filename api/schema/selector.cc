// SPDX-License-Identifier: Apache-2.0
#include "api/schema/selector.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>

#include "api/schema/validate.h"
#include "fmt/format.h"

namespace mesh::schema {
namespace {

using Operator = Selector::Operator;

std::optional<int64_t> Integer(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

const std::string* Find(const LabelMap& labels, const std::string& key) {
  const auto it = labels.find(key);
  return it == labels.end() ? nullptr : &it->second;
}

bool Holds(const Selector::Requirement& term, const LabelMap& labels) {
  const std::string* value = Find(labels, term.key);
  const auto listed = [&] {
    return std::binary_search(term.values.begin(), term.values.end(), *value);
  };
  switch (term.op) {
    case Operator::kIn:
      return value != nullptr && listed();
    case Operator::kNotIn:
      return value == nullptr || !listed();
    case Operator::kExists:
      return value != nullptr;
    case Operator::kDoesNotExist:
      return value == nullptr;
    case Operator::kGreater:
    case Operator::kLess: {
      if (value == nullptr) return false;
      const auto have = Integer(*value);
      const auto limit = Integer(term.values.front());
      if (!have || !limit) return false;
      return term.op == Operator::kGreater ? *have > *limit : *have < *limit;
    }
  }
  return false;
}

// Reads the text form, one token of look-ahead, positions for errors.
class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  absl::StatusOr<std::vector<Selector::Requirement>> Parse() {
    std::vector<Selector::Requirement> out;
    SkipSpace();
    if (AtEnd()) return out;
    while (true) {
      auto term = Term();
      if (!term.ok()) return term.status();
      out.push_back(*std::move(term));
      SkipSpace();
      if (AtEnd()) return out;
      if (!Take(",")) return Error("expected ',' between two requirements");
      SkipSpace();
      if (AtEnd()) return Error("expected a requirement after ','");
    }
  }

 private:
  absl::StatusOr<Selector::Requirement> Term() {
    Selector::Requirement term;
    SkipSpace();
    if (Take("!")) {
      term.op = Operator::kDoesNotExist;
      return Key(&term) ? absl::StatusOr<Selector::Requirement>(term) : error_;
    }
    if (!Key(&term)) return error_;
    SkipSpace();
    if (AtEnd() || Peek() == ',') {
      term.op = Operator::kExists;
      return term;
    }
    if (Take("==") || Take("=")) return Single(std::move(term), Operator::kIn);
    if (Take("!=")) return Single(std::move(term), Operator::kNotIn);
    if (Take(">")) return Number(std::move(term), Operator::kGreater);
    if (Take("<")) return Number(std::move(term), Operator::kLess);
    const size_t start = at_;
    const std::string word = Word();
    if (word == "in") return Set(std::move(term), Operator::kIn);
    if (word == "notin") return Set(std::move(term), Operator::kNotIn);
    at_ = start;
    return Error(
        fmt::format("expected '=', '==', '!=', 'in', 'notin', '<' or '>' after \"{}\"", term.key));
  }

  bool Key(Selector::Requirement* term) {
    SkipSpace();
    const size_t start = at_;
    term->key = Word();
    if (term->key.empty()) {
      error_ = Error("expected a label key");
      return false;
    }
    if (const std::string why = CheckQualifiedName(term->key); !why.empty()) {
      at_ = start;
      error_ = Error(fmt::format("invalid label key \"{}\": {}", term->key, why));
      return false;
    }
    return true;
  }

  absl::StatusOr<Selector::Requirement> Single(Selector::Requirement term, Operator op) {
    term.op = op;
    SkipSpace();
    const size_t start = at_;
    const std::string value = Word();
    if (const std::string why = CheckLabelValue(value); !why.empty()) {
      at_ = start;
      return Error(fmt::format("invalid label value \"{}\": {}", value, why));
    }
    term.values = {value};
    return term;
  }

  absl::StatusOr<Selector::Requirement> Number(Selector::Requirement term, Operator op) {
    term.op = op;
    SkipSpace();
    const size_t start = at_;
    const std::string value = Word();
    if (!Integer(value)) {
      at_ = start;
      return Error(fmt::format("expected an integer after '{}', got \"{}\"",
                               op == Operator::kGreater ? '>' : '<', value));
    }
    term.values = {value};
    return term;
  }

  absl::StatusOr<Selector::Requirement> Set(Selector::Requirement term, Operator op) {
    term.op = op;
    SkipSpace();
    if (!Take("(")) return Error("expected '(' before the list of values");
    while (true) {
      SkipSpace();
      const size_t start = at_;
      const std::string value = Word();
      if (const std::string why = CheckLabelValue(value); !why.empty()) {
        at_ = start;
        return Error(fmt::format("invalid label value \"{}\": {}", value, why));
      }
      term.values.push_back(value);
      SkipSpace();
      if (Take(")")) break;
      if (!Take(",")) return Error("expected ',' or ')' in the list of values");
    }
    std::sort(term.values.begin(), term.values.end());
    term.values.erase(std::unique(term.values.begin(), term.values.end()), term.values.end());
    return term;
  }

  std::string Word() {
    const size_t start = at_;
    while (!AtEnd() && std::string_view(" \t\n,()=!<>").find(Peek()) == std::string_view::npos)
      ++at_;
    return std::string(text_.substr(start, at_ - start));
  }
  bool Take(std::string_view token) {
    if (!text_.substr(at_).starts_with(token)) return false;
    at_ += token.size();
    return true;
  }
  void SkipSpace() {
    while (!AtEnd() && (Peek() == ' ' || Peek() == '\t' || Peek() == '\n')) ++at_;
  }
  bool AtEnd() const { return at_ == text_.size(); }
  char Peek() const { return text_[at_]; }

  absl::Status Error(std::string_view why) const {
    return absl::InvalidArgumentError(fmt::format(
        "unable to parse the label selector \"{}\": at character {}: {}", text_, at_ + 1, why));
  }

  std::string_view text_;
  size_t at_ = 0;
  absl::Status error_;
};

}  // namespace

absl::StatusOr<Selector> Selector::Parse(std::string_view text) {
  auto requirements = Parser(text).Parse();
  if (!requirements.ok()) return requirements.status();
  Selector out;
  out.requirements_ = *std::move(requirements);
  return out;
}

absl::StatusOr<Selector> Selector::From(const v1::LabelSelector& selector) {
  Selector out = From(selector.match_labels());
  for (const v1::LabelSelectorRequirement& term : selector.match_expressions()) {
    Requirement requirement;
    requirement.key = term.key();
    requirement.values.assign(term.values().begin(), term.values().end());
    std::sort(requirement.values.begin(), requirement.values.end());
    if (term.operator_() == "In") {
      requirement.op = Operator::kIn;
    } else if (term.operator_() == "NotIn") {
      requirement.op = Operator::kNotIn;
    } else if (term.operator_() == "Exists") {
      requirement.op = Operator::kExists;
    } else if (term.operator_() == "DoesNotExist") {
      requirement.op = Operator::kDoesNotExist;
    } else {
      return absl::InvalidArgumentError(
          fmt::format("\"{}\" is not a label selector operator", term.operator_()));
    }
    const bool wants_values = requirement.op == Operator::kIn || requirement.op == Operator::kNotIn;
    if (wants_values == requirement.values.empty()) {
      return absl::InvalidArgumentError(
          fmt::format("operator \"{}\" on label \"{}\" {}", term.operator_(), term.key(),
                      wants_values ? "needs values" : "takes no values"));
    }
    out.requirements_.push_back(std::move(requirement));
  }
  return out;
}

Selector Selector::From(const LabelMap& labels) {
  Selector out;
  for (const auto& [key, value] : labels)
    out.requirements_.push_back({key, Operator::kIn, {value}});
  std::sort(out.requirements_.begin(), out.requirements_.end(),
            [](const Requirement& a, const Requirement& b) { return a.key < b.key; });
  return out;
}

bool Selector::Matches(const LabelMap& labels) const {
  return std::all_of(requirements_.begin(), requirements_.end(),
                     [&](const Requirement& term) { return Holds(term, labels); });
}

std::string Selector::ToString() const {
  std::string out;
  for (const Requirement& term : requirements_) {
    if (!out.empty()) out += ",";
    const auto list = [&] {
      std::string values;
      for (const std::string& value : term.values) values += (values.empty() ? "" : ",") + value;
      return values;
    };
    switch (term.op) {
      case Operator::kIn:
        out += term.values.size() == 1 ? fmt::format("{}={}", term.key, term.values[0])
                                       : fmt::format("{} in ({})", term.key, list());
        break;
      case Operator::kNotIn:
        out += term.values.size() == 1 ? fmt::format("{}!={}", term.key, term.values[0])
                                       : fmt::format("{} notin ({})", term.key, list());
        break;
      case Operator::kExists:
        out += term.key;
        break;
      case Operator::kDoesNotExist:
        out += "!" + term.key;
        break;
      case Operator::kGreater:
      case Operator::kLess:
        out += fmt::format("{}{}{}", term.key, term.op == Operator::kGreater ? '>' : '<', list());
        break;
    }
  }
  return out;
}

bool Matches(const v1::LabelSelector& selector, const LabelMap& labels) {
  if (!MatchesAll(selector.match_labels(), labels)) return false;
  for (const v1::LabelSelectorRequirement& term : selector.match_expressions()) {
    const std::string* value = Find(labels, term.key());
    const bool listed = value != nullptr && std::find(term.values().begin(), term.values().end(),
                                                      *value) != term.values().end();
    bool holds = false;
    if (term.operator_() == "In") {
      holds = listed;
    } else if (term.operator_() == "NotIn") {
      holds = !listed;
    } else if (term.operator_() == "Exists") {
      holds = value != nullptr;
    } else if (term.operator_() == "DoesNotExist") {
      holds = value == nullptr;
    }
    if (!holds) return false;
  }
  return true;
}

bool MatchesAll(const LabelMap& wanted, const LabelMap& labels) {
  return std::all_of(wanted.begin(), wanted.end(), [&](const auto& pair) {
    const std::string* value = Find(labels, pair.first);
    return value != nullptr && *value == pair.second;
  });
}

}  // namespace mesh::schema
