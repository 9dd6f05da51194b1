// SPDX-License-Identifier: Apache-2.0
#include "cli/output/jsonpath.h"

#include <algorithm>
#include <charconv>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "common/status.h"
#include "fmt/format.h"

namespace mesh::cli {
namespace {

using Json = nlohmann::ordered_json;

struct Step;
using Path = std::vector<Step>;

struct Filter {
  std::shared_ptr<Path> left;
  std::string op;               // "" tests that left exists
  std::shared_ptr<Path> right;  // or
  Json literal;
};

struct Step {
  enum class Kind { kKey, kIndex, kSlice, kAll, kRecursive, kFilter, kRoot };
  Kind kind = Kind::kKey;
  std::string key;
  std::vector<int> indexes;
  std::optional<int> from, to;
  int stride = 1;
  Filter filter;
};

struct Node {
  enum class Kind { kText, kPath, kRange };
  Kind kind = Kind::kText;
  std::string text;
  Path path;
  std::vector<Node> body;
};

absl::Status Bad(std::string_view what) {
  return absl::InvalidArgumentError(fmt::format("error parsing jsonpath: {}", what));
}

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  absl::StatusOr<std::vector<Node>> ParseTemplate() {
    std::vector<Node> nodes;
    RETURN_IF_ERROR(ParseNodes(/*in_range=*/false, &nodes));
    return nodes;
  }

 private:
  // Until the end, or "{end}" within a range.
  absl::Status ParseNodes(bool in_range, std::vector<Node>* nodes) {
    while (at_ < text_.size()) {
      if (text_[at_] != '{') {
        const size_t end = std::min(text_.find('{', at_), text_.size());
        nodes->push_back(
            {.kind = Node::Kind::kText, .text = std::string(text_.substr(at_, end - at_))});
        at_ = end;
        continue;
      }
      ++at_;
      SkipSpace();
      if (TakeWord("end")) {
        RETURN_IF_ERROR(Expect('}'));
        return in_range ? absl::OkStatus() : Bad("\"{end}\" without \"{range}\"");
      }
      if (TakeWord("range")) {
        SkipSpace();
        Node node{.kind = Node::Kind::kRange};
        ASSIGN_OR_RETURN(node.path, ParsePath());
        RETURN_IF_ERROR(Expect('}'));
        RETURN_IF_ERROR(ParseNodes(/*in_range=*/true, &node.body));
        nodes->push_back(std::move(node));
        continue;
      }
      while (at_ < text_.size() && text_[at_] != '}') {
        if (text_[at_] == '"' || text_[at_] == '\'') {
          ASSIGN_OR_RETURN(std::string literal, ParseQuoted());
          nodes->push_back({.kind = Node::Kind::kText, .text = std::move(literal)});
        } else {
          Node node{.kind = Node::Kind::kPath};
          ASSIGN_OR_RETURN(node.path, ParsePath());
          nodes->push_back(std::move(node));
        }
        SkipSpace();
      }
      RETURN_IF_ERROR(Expect('}'));
    }
    return in_range ? Bad("\"{range}\" without \"{end}\"") : absl::OkStatus();
  }

  absl::StatusOr<Path> ParsePath() {
    Path path;
    const size_t start = at_;
    if (Take('$'))
      path.push_back({.kind = Step::Kind::kRoot});
    else
      Take('@');
    bool any = at_ != start;
    while (at_ < text_.size()) {
      if (Take('.')) {
        any = true;
        if (Take('.')) path.push_back({.kind = Step::Kind::kRecursive});
        if (at_ < text_.size() && text_[at_] == '[') continue;
        if (Take('*')) {
          path.push_back({.kind = Step::Kind::kAll});
          continue;
        }
        std::string key = ParseKey();
        if (!key.empty()) path.push_back({.kind = Step::Kind::kKey, .key = std::move(key)});
      } else if (Take('[')) {
        any = true;
        ASSIGN_OR_RETURN(Step step, ParseBracket());
        path.push_back(std::move(step));
      } else {
        break;
      }
    }
    if (!any) {
      // A first key without its dot.
      std::string key = ParseKey();
      if (key.empty()) {
        return Bad(fmt::format("unexpected \"{}\" at position {}", text_.substr(at_, 1), at_));
      }
      return Bad(fmt::format("\"{}\" must begin with a dot", key));
    }
    return path;
  }

  std::string ParseKey() {
    std::string key;
    while (at_ < text_.size()) {
      char c = text_[at_];
      if (c == '\\' && at_ + 1 < text_.size()) {
        key += text_[at_ + 1];
        at_ += 2;
        continue;
      }
      if (std::string_view(".[]{}()?=!<>,'\" \t\n|&").find(c) != std::string_view::npos) break;
      key += c;
      ++at_;
    }
    return key;
  }

  absl::StatusOr<Step> ParseBracket() {
    SkipSpace();
    if (Take('*')) {
      RETURN_IF_ERROR(Expect(']'));
      return Step{.kind = Step::Kind::kAll};
    }
    if (at_ < text_.size() && (text_[at_] == '\'' || text_[at_] == '"')) {
      Step step{.kind = Step::Kind::kKey};
      ASSIGN_OR_RETURN(step.key, ParseQuoted());
      RETURN_IF_ERROR(Expect(']'));
      return step;
    }
    if (Take('?')) return ParseFilter();
    const size_t end = text_.find(']', at_);
    if (end == std::string_view::npos) return Bad("unterminated array");
    std::string_view inside = text_.substr(at_, end - at_);
    at_ = end + 1;
    if (inside.find(':') != std::string_view::npos) {
      Step step{.kind = Step::Kind::kSlice};
      std::vector<std::optional<int>> parts;
      while (true) {
        const size_t colon = inside.find(':');
        std::string_view part = inside.substr(0, colon);
        if (part.empty()) {
          parts.emplace_back();
        } else {
          ASSIGN_OR_RETURN(int number, ParseInt(part));
          parts.emplace_back(number);
        }
        if (colon == std::string_view::npos) break;
        inside.remove_prefix(colon + 1);
      }
      if (parts.size() > 3) return Bad("invalid array index");
      step.from = parts[0];
      step.to = parts[1];
      if (parts.size() == 3) step.stride = parts[2].value_or(1);
      if (step.stride < 1) return Bad("the step of a slice must be at least 1");
      return step;
    }
    Step step{.kind = Step::Kind::kIndex};
    while (true) {
      const size_t comma = inside.find(',');
      ASSIGN_OR_RETURN(int number, ParseInt(inside.substr(0, comma)));
      step.indexes.push_back(number);
      if (comma == std::string_view::npos) return step;
      inside.remove_prefix(comma + 1);
    }
  }

  // After "[?": "(@.a == 'x')]".
  absl::StatusOr<Step> ParseFilter() {
    Step step{.kind = Step::Kind::kFilter};
    RETURN_IF_ERROR(Expect('('));
    SkipSpace();
    ASSIGN_OR_RETURN(Path left, ParsePath());
    step.filter.left = std::make_shared<Path>(std::move(left));
    SkipSpace();
    for (std::string_view op : {"==", "!=", "<=", ">=", "<", ">"}) {
      if (text_.substr(at_, op.size()) != op) continue;
      at_ += op.size();
      step.filter.op = op;
      break;
    }
    if (!step.filter.op.empty()) {
      SkipSpace();
      if (at_ < text_.size() && (text_[at_] == '"' || text_[at_] == '\'')) {
        ASSIGN_OR_RETURN(std::string literal, ParseQuoted());
        step.filter.literal = literal;
      } else if (at_ < text_.size() && (text_[at_] == '@' || text_[at_] == '$')) {
        ASSIGN_OR_RETURN(Path right, ParsePath());
        step.filter.right = std::make_shared<Path>(std::move(right));
      } else {
        const size_t end = std::min(text_.find_first_of(" )", at_), text_.size());
        step.filter.literal = Json::parse(text_.substr(at_, end - at_), nullptr, false);
        if (step.filter.literal.is_discarded()) {
          return Bad(fmt::format("unrecognized value \"{}\"", text_.substr(at_, end - at_)));
        }
        at_ = end;
      }
    }
    SkipSpace();
    RETURN_IF_ERROR(Expect(')'));
    RETURN_IF_ERROR(Expect(']'));
    return step;
  }

  absl::StatusOr<std::string> ParseQuoted() {
    const char quote = text_[at_++];
    std::string out;
    while (at_ < text_.size() && text_[at_] != quote) {
      char c = text_[at_++];
      if (c == '\\' && at_ < text_.size()) {
        c = text_[at_++];
        if (c == 'n')
          c = '\n';
        else if (c == 't')
          c = '\t';
        else if (c == 'r')
          c = '\r';
      }
      out += c;
    }
    if (at_ == text_.size()) return Bad("unterminated quoted string");
    ++at_;
    return out;
  }

  static absl::StatusOr<int> ParseInt(std::string_view text) {
    int value = 0;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) {
      return Bad(fmt::format("invalid array index {}", text));
    }
    return value;
  }

  bool Take(char c) {
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  // The word, when nothing that could be part of a longer one follows.
  bool TakeWord(std::string_view word) {
    if (text_.substr(at_, word.size()) != word) return false;
    const char after = at_ + word.size() < text_.size() ? text_[at_ + word.size()] : '}';
    if (after != ' ' && after != '}' && after != '.') return false;
    at_ += word.size();
    SkipSpace();
    return true;
  }
  absl::Status Expect(char c) {
    SkipSpace();
    if (Take(c)) return absl::OkStatus();
    if (at_ >= text_.size()) return Bad(fmt::format("unclosed action: \"{}\" is missing", c));
    return Bad(
        fmt::format("unexpected \"{}\" at position {}, \"{}\" expected", text_[at_], at_, c));
  }
  void SkipSpace() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t')) ++at_;
  }

  std::string_view text_;
  size_t at_ = 0;
};

using Values = std::vector<const Json*>;

class Evaluator {
 public:
  Evaluator(const Json& root, std::string_view separator) : root_(root), separator_(separator) {}

  absl::StatusOr<std::string> Run(const std::vector<Node>& nodes, const Json& current) const {
    std::string out;
    for (const Node& node : nodes) {
      if (node.kind == Node::Kind::kText) {
        out += node.text;
        continue;
      }
      ASSIGN_OR_RETURN(Values values, Find(node.path, current));
      for (size_t i = 0; i < values.size(); ++i) {
        if (node.kind == Node::Kind::kRange) {
          ASSIGN_OR_RETURN(std::string part, Run(node.body, *values[i]));
          out += part;
        } else {
          if (i > 0) out += separator_;
          out += values[i]->is_string() ? values[i]->get<std::string>() : values[i]->dump();
        }
      }
    }
    return out;
  }

 private:
  absl::StatusOr<Values> Find(const Path& path, const Json& current) const {
    Values values = {&current};
    for (const Step& step : path) {
      Values next;
      if (step.kind == Step::Kind::kRoot) next = {&root_};
      for (const Json* value : values) RETURN_IF_ERROR(Apply(step, *value, &next));
      values = std::move(next);
    }
    return values;
  }

  absl::Status Apply(const Step& step, const Json& value, Values* out) const {
    switch (step.kind) {
      case Step::Kind::kRoot:
        break;
      case Step::Kind::kKey:
        if (value.is_object() && value.contains(step.key)) out->push_back(&value.at(step.key));
        break;
      case Step::Kind::kAll:
        if (value.is_structured()) {
          for (const Json& element : value) out->push_back(&element);
        }
        break;
      case Step::Kind::kIndex:
        if (!value.is_array()) break;
        for (int index : step.indexes) {
          const int size = static_cast<int>(value.size());
          const int at = index < 0 ? index + size : index;
          if (at < 0 || at >= size) {
            return absl::InvalidArgumentError(
                fmt::format("array index out of bounds: index {}, length {}", index, size));
          }
          out->push_back(&value.at(static_cast<size_t>(at)));
        }
        break;
      case Step::Kind::kSlice: {
        if (!value.is_array()) break;
        const int size = static_cast<int>(value.size());
        auto bound = [size](int at) { return std::clamp(at < 0 ? at + size : at, 0, size); };
        for (int i = bound(step.from.value_or(0)); i < bound(step.to.value_or(size));
             i += step.stride) {
          out->push_back(&value.at(static_cast<size_t>(i)));
        }
        break;
      }
      case Step::Kind::kRecursive:
        Descend(value, out);
        break;
      case Step::Kind::kFilter:
        if (!value.is_array()) break;
        for (const Json& element : value) {
          ASSIGN_OR_RETURN(bool pass, Passes(step.filter, element));
          if (pass) out->push_back(&element);
        }
        break;
    }
    return absl::OkStatus();
  }

  static void Descend(const Json& value, Values* out) {
    out->push_back(&value);
    if (!value.is_structured()) return;
    for (const Json& element : value) Descend(element, out);
  }

  absl::StatusOr<bool> Passes(const Filter& filter, const Json& element) const {
    ASSIGN_OR_RETURN(Values left, Find(*filter.left, element));
    if (left.empty()) return false;
    if (filter.op.empty()) return true;
    const Json* right = &filter.literal;
    Values found;
    if (filter.right) {
      ASSIGN_OR_RETURN(found, Find(*filter.right, element));
      if (found.empty()) return false;
      right = found.front();
    }
    const Json& a = *left.front();
    if (filter.op == "==") return a == *right;
    if (filter.op == "!=") return a != *right;
    if (filter.op == "<") return a < *right;
    if (filter.op == ">") return a > *right;
    if (filter.op == "<=") return a <= *right;
    return a >= *right;
  }

  const Json& root_;
  const std::string_view separator_;
};

}  // namespace

absl::Status CheckJsonPath(std::string_view text) { return Parser(text).ParseTemplate().status(); }

absl::StatusOr<std::string> EvaluateJsonPath(std::string_view text, const std::string& json,
                                             std::string_view separator) {
  ASSIGN_OR_RETURN(std::vector<Node> nodes, Parser(text).ParseTemplate());
  const Json root = Json::parse(json);
  return Evaluator(root, separator).Run(nodes, root);
}

std::string RelaxedJsonPath(std::string_view text) {
  if (text.starts_with("{") && text.ends_with("}")) {
    text.remove_prefix(1);
    text.remove_suffix(1);
  }
  return fmt::format("{{{}{}}}", text.starts_with(".") || text.starts_with("[") ? "" : ".", text);
}

}  // namespace mesh::cli
