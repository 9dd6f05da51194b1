// SPDX-License-Identifier: Apache-2.0
#include "cli/manifest/yaml_tree.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <istream>
#include <map>
#include <streambuf>

#include "fmt/format.h"
#include "yaml-cpp/eventhandler.h"
#include "yaml-cpp/exceptions.h"
#include "yaml-cpp/mark.h"
#include "yaml-cpp/parser.h"

namespace mesh::manifest {
namespace {

constexpr std::string_view kCoreTags = "tag:yaml.org,2002:";

// Builds one document. Throws YAML::ParserException, as the parser does.
class TreeBuilder : public YAML::EventHandler {
 public:
  TreeBuilder(int line_offset, int max_depth) : line_offset_(line_offset), max_depth_(max_depth) {}

  YamlNodePtr root() const { return root_; }
  // Of the document.
  const YAML::Mark& start() const { return start_; }

  void OnDocumentStart(const YAML::Mark& mark) override { start_ = mark; }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    Add(Make(YamlNode::Type::kNull, mark), anchor);
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto it = anchors_.find(anchor);
    if (it == anchors_.end()) throw YAML::ParserException(mark, "an alias inside its own anchor");
    Place(it->second);
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    auto node = Make(YamlNode::Type::kScalar, mark);
    node->text = value;
    node->plain = tag == "?";
    SetTag(tag, node.get());
    Add(std::move(node), anchor);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    Open(YamlNode::Type::kList, mark, tag, anchor);
  }
  void OnSequenceEnd() override { Close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    Open(YamlNode::Type::kMap, mark, tag, anchor);
  }
  void OnMapEnd() override { Close(); }

 private:
  struct Frame {
    std::shared_ptr<YamlNode> node;
    YAML::anchor_t anchor;
    YamlNodePtr key;  // of a map, while its value is awaited
  };

  std::shared_ptr<YamlNode> Make(YamlNode::Type type, const YAML::Mark& mark) const {
    auto node = std::make_shared<YamlNode>();
    node->type = type;
    node->mark = {mark.line + 1 + line_offset_, mark.column + 1};
    return node;
  }
  static void SetTag(const std::string& tag, YamlNode* node) {
    if (tag.empty() || tag == "?" || tag == "!") return;
    if (tag.compare(0, kCoreTags.size(), kCoreTags) != 0) {
      node->tag = tag;
    } else if (tag.substr(kCoreTags.size()) != "str") {
      node->plain = true;  // !!int "3" is 3
    }
  }
  void Open(YamlNode::Type type, const YAML::Mark& mark, const std::string& tag,
            YAML::anchor_t anchor) {
    if (static_cast<int>(stack_.size()) >= max_depth_) {
      throw YAML::ParserException(mark, fmt::format("nested deeper than {} levels", max_depth_));
    }
    auto node = Make(type, mark);
    SetTag(tag, node.get());
    stack_.push_back({std::move(node), anchor, nullptr});
  }
  void Close() {
    Frame frame = std::move(stack_.back());
    stack_.pop_back();
    Add(std::move(frame.node), frame.anchor);
  }
  void Add(std::shared_ptr<YamlNode> node, YAML::anchor_t anchor) {
    if (anchor != 0) anchors_[anchor] = node;
    Place(std::move(node));
  }
  void Place(YamlNodePtr node) {
    if (stack_.empty()) {
      root_ = std::move(node);
      return;
    }
    Frame& top = stack_.back();
    if (top.node->type == YamlNode::Type::kList) {
      top.node->items.push_back(std::move(node));
    } else if (top.key == nullptr) {
      top.key = std::move(node);
    } else {
      top.node->entries.emplace_back(std::move(top.key), std::move(node));
      top.key = nullptr;
    }
  }

  const int line_offset_;
  const int max_depth_;
  std::vector<Frame> stack_;
  YAML::Mark start_;
  std::map<YAML::anchor_t, YamlNodePtr> anchors_;
  YamlNodePtr root_;
};

// A stream over memory that is not copied.
class ViewBuffer : public std::streambuf {
 public:
  explicit ViewBuffer(std::string_view text) {
    char* begin = const_cast<char*>(text.data());
    setg(begin, begin, begin + text.size());
  }
};

std::string_view LineAt(std::string_view text, int line) {
  for (int i = 1; i < line; ++i) {
    const size_t end = text.find('\n');
    if (end == std::string_view::npos) return "";
    text.remove_prefix(end + 1);
  }
  return text.substr(0, text.find('\n'));
}

// What is probably meant by yaml-cpp's words.
struct Wording {
  std::string_view given;
  std::string_view said;
};
constexpr Wording kWordings[] = {
    {"illegal map value", "a mapping is not allowed here (check the indentation)"},
    {"end of map not found", "expected a key of the mapping here (check the indentation)"},
    {"end of sequence not found", "expected an item of the list here (check the indentation)"},
    {"end of map flow not found", "a mapping that starts with { is not closed"},
    {"end of sequence flow not found", "a list that starts with [ is not closed"},
};

std::string Explain(std::string_view text, int line, std::string_view message) {
  for (const Wording& wording : kWordings) {
    if (message == wording.given) message = wording.said;
  }
  const std::string_view at = LineAt(text, line);
  if (at.find("{{") != std::string_view::npos) {
    return fmt::format("invalid YAML: {} (a template must be rendered before it is applied)",
                       message);
  }
  const size_t first = at.find_first_not_of(" \t");
  const size_t tab = at.find('\t');
  if (tab != std::string_view::npos && (first == std::string_view::npos || tab < first)) {
    return "invalid YAML: a tab in the indentation; YAML indents with spaces";
  }
  return fmt::format("invalid YAML: {}", message);
}

// The place of the first byte that is not part of UTF-8 text, or nullopt.
std::optional<YamlError> CheckText(std::string_view text) {
  Mark mark{1, 1};
  for (size_t i = 0; i < text.size();) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const size_t length = byte < 0x80                    ? 1
                          : byte >= 0xc2 && byte <= 0xdf ? 2
                          : byte >= 0xe0 && byte <= 0xef ? 3
                          : byte >= 0xf0 && byte <= 0xf4 ? 4
                                                         : 0;
    bool fits = length != 0 && i + length <= text.size();
    for (size_t k = 1; fits && k < length; ++k) {
      fits = (static_cast<unsigned char>(text[i + k]) & 0xc0) == 0x80;
    }
    if (fits && length == 3) {
      const auto second = static_cast<unsigned char>(text[i + 1]);
      fits = !(byte == 0xe0 && second < 0xa0) && !(byte == 0xed && second > 0x9f);
    }
    if (!fits) {
      return YamlError{mark,
                       fmt::format("not UTF-8 text (byte 0x{:02x}); save the file as UTF-8", byte)};
    }
    if (byte < 0x20 && byte != '\n' && byte != '\r' && byte != '\t') {
      return YamlError{
          mark,
          fmt::format("control character 0x{:02x}: this is no text file, or is damaged", byte)};
    }
    if (byte == '\n') {
      mark = {mark.line + 1, 1};
    } else {
      mark.column += static_cast<int>(length);
    }
    i += length;
  }
  return std::nullopt;
}

struct Chunk {
  std::string_view text;
  int line_offset = 0;
};

bool OnlyCommentsAndDirectives(std::string_view text) {
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    const size_t first = line.find_first_not_of(" \t\r");
    if (first != std::string_view::npos && line[first] != '#' && line[0] != '%') return false;
    text.remove_prefix(std::min(text.size(), line.size() + 1));
  }
  return true;
}

// One chunk per document: a broken one must not hide the others. "---" at the start of a line ends
// a document wherever it stands (YAML 1.2, 9.1.1).
std::vector<Chunk> SplitDocuments(std::string_view text) {
  std::vector<Chunk> chunks;
  size_t start = 0;
  int start_line = 0;
  int line = 0;
  for (size_t at = 0; at < text.size(); ++line) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view here = text.substr(at, end - at);
    const bool marker = here.starts_with("---") &&
                        (here.size() == 3 || here[3] == ' ' || here[3] == '\t' || here[3] == '\r');
    if (marker && !OnlyCommentsAndDirectives(text.substr(start, at - start))) {
      chunks.push_back({text.substr(start, at - start), start_line});
      start = at;
      start_line = line;
    }
    at = end + 1;
  }
  chunks.push_back({text.substr(start), start_line});
  return chunks;
}

std::optional<uint32_t> HexUnit(std::string_view escape) {
  uint32_t value = 0;
  if (escape.size() < 6 || escape[0] != '\\' || escape[1] != 'u') return std::nullopt;
  const auto [at, error] = std::from_chars(escape.data() + 2, escape.data() + 6, value, 16);
  if (error != std::errc() || at != escape.data() + 6) return std::nullopt;
  return value;
}

// JSON writes characters beyond 16 bits as two escapes (\ud83d\ude00), which YAML does not have:
// they become the one of YAML (\U0001f600). Columns after it on its line count two less.
std::string JoinSurrogates(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    if (text[i] != '\\') {
      out += text[i++];
      continue;
    }
    const auto high = HexUnit(text.substr(i));
    const auto low = high ? HexUnit(text.substr(i + 6)) : std::nullopt;
    if (low && *high >= 0xd800 && *high < 0xdc00 && *low >= 0xdc00 && *low < 0xe000) {
      out += fmt::format("\\U{:08x}", 0x10000 + ((*high - 0xd800) << 10) + (*low - 0xdc00));
      i += 12;
      continue;
    }
    out += text.substr(i, 2);  // "\\" is one escape, whatever follows
    i += 2;
  }
  return out;
}

bool LooksLikeJson(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  return first != std::string_view::npos && (text[first] == '{' || text[first] == '[');
}

}  // namespace

YamlDocuments ParseYaml(std::string_view text, int max_depth) {
  YamlDocuments out;
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  if (auto error = CheckText(text)) {
    out.errors.push_back(*std::move(error));
    return out;
  }
  std::string json;
  if (LooksLikeJson(text)) {
    json = JoinSurrogates(text);
    text = json;
  }
  for (const Chunk& chunk : SplitDocuments(text)) {
    const auto fail = [&](const YAML::Mark& mark, std::string_view message) {
      const int line = mark.is_null() ? 1 : mark.line + 1;
      out.errors.push_back({{line + chunk.line_offset, mark.is_null() ? 1 : mark.column + 1},
                            Explain(chunk.text, line, message)});
    };
    // The one place that sees yaml-cpp's exceptions.
    try {
      ViewBuffer buffer(chunk.text);
      std::istream stream(&buffer);
      YAML::Parser parser(stream);
      int last = -1;
      while (true) {
        TreeBuilder builder(chunk.line_offset, max_depth);
        if (!parser.HandleNextDocument(builder)) break;
        // What cannot begin a node (a comma, a bracket that closes) yaml-cpp takes for an empty
        // document, and does not consume.
        if (builder.start().pos == last) {
          fail(builder.start(), "unexpected character");
          break;
        }
        last = builder.start().pos;
        const YamlNodePtr root = builder.root();
        if (root != nullptr && root->type != YamlNode::Type::kNull) out.documents.push_back(root);
      }
    } catch (const YAML::Exception& error) {
      fail(error.mark, error.msg);
    } catch (const std::exception& error) {
      fail(YAML::Mark::null_mark(), error.what());
    }
  }
  return out;
}

ScalarType PlainScalarType(std::string_view text) {
  constexpr std::array<std::string_view, 22> kBooleans = {
      "true", "True", "TRUE", "false", "False", "FALSE", "yes", "Yes", "YES", "no", "No",
      "NO",   "on",   "On",   "ON",    "off",   "Off",   "OFF", "y",   "Y",   "n",  "N"};
  if (text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL") {
    return ScalarType::kNull;
  }
  if (std::find(kBooleans.begin(), kBooleans.end(), text) != kBooleans.end()) {
    return ScalarType::kBoolean;
  }
  std::string_view rest = text;
  if (rest.front() == '-' || rest.front() == '+') rest.remove_prefix(1);
  if (rest == ".inf" || rest == ".Inf" || rest == ".INF" || text == ".nan" || text == ".NaN" ||
      text == ".NAN") {
    return ScalarType::kFloat;
  }
  const auto digits = [](std::string_view part, std::string_view alphabet) {
    return !part.empty() && part.find_first_not_of(alphabet) == std::string_view::npos;
  };
  constexpr std::string_view kDecimal = "0123456789";
  if (digits(rest, kDecimal)) return ScalarType::kInteger;
  if ((rest.starts_with("0x") && digits(rest.substr(2), "0123456789abcdefABCDEF")) ||
      (rest.starts_with("0o") && digits(rest.substr(2), "01234567")) ||
      (rest.starts_with("0b") && digits(rest.substr(2), "01"))) {
    return ScalarType::kInteger;
  }
  // Digits with one point and an optional exponent.
  const size_t e = rest.find_first_of("eE");
  std::string_view mantissa = rest.substr(0, e);
  if (e != std::string_view::npos) {
    std::string_view exponent = rest.substr(e + 1);
    if (!exponent.empty() && (exponent.front() == '-' || exponent.front() == '+')) {
      exponent.remove_prefix(1);
    }
    if (!digits(exponent, kDecimal)) return ScalarType::kString;
  }
  const size_t point = mantissa.find('.');
  const std::string_view whole = mantissa.substr(0, point);
  const std::string_view fraction =
      point == std::string_view::npos ? std::string_view() : mantissa.substr(point + 1);
  const bool number =
      (digits(whole, kDecimal) && (fraction.empty() || digits(fraction, kDecimal))) ||
      (whole.empty() && digits(fraction, kDecimal));
  return number ? ScalarType::kFloat : ScalarType::kString;
}

bool BooleanValue(std::string_view text) {
  return text.front() == 't' || text.front() == 'T' || text.front() == 'y' || text.front() == 'Y' ||
         text == "on" || text == "On" || text == "ON";
}

}  // namespace mesh::manifest
