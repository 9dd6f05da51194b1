// SPDX-License-Identifier: Apache-2.0
#include "cli/manifest/manifest.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "api/schema/defaults.h"
#include "api/schema/schema.h"
#include "cli/manifest/object_decoder.h"
#include "cli/manifest/yaml_tree.h"
#include "fmt/format.h"

namespace mesh::manifest {
namespace {

using internal::Budget;
using internal::Child;
using internal::ObjectDecoder;

bool IsUnder(std::string_view path, std::string_view prefix) {
  if (!path.starts_with(prefix)) return false;
  return path.size() == prefix.size() || prefix.empty() || path[prefix.size()] == '.' ||
         path[prefix.size()] == '[';
}

std::string Parent(const std::string& path) {
  const size_t end = path.find_last_of(".[");
  return end == std::string::npos ? "" : path.substr(0, end);
}

// Whether a validation problem only repeats what an error of decoding said.
bool IsEcho(const schema::Problem& problem, const ObjectDecoder& decoder) {
  const auto& failed = decoder.failed_paths();
  const bool related = std::any_of(failed.begin(), failed.end(), [&](const std::string& path) {
    return IsUnder(problem.path, path) || IsUnder(path, problem.path);
  });
  if (related) return true;
  if (problem.message.starts_with("Required value")) {
    return decoder.doubtful_paths().contains(Parent(problem.path));
  }
  // Rules over two places.
  const bool over_selector = problem.message.find("`selector`") != std::string::npos;
  return over_selector && std::any_of(failed.begin(), failed.end(), [](const std::string& path) {
           return IsUnder(path, "spec.selector") || IsUnder(path, "spec.template.metadata");
         });
}

class Reader : public internal::Findings {
 public:
  explicit Reader(const DecodeOptions& options) : options_(options) {}

  void Read(const Source& source) {
    file_ = source.name == "-" ? kStandardInput : source.name;
    const size_t first = findings_.size();
    if (source.text.size() > kMaxFileBytes) {
      Error({0, 0}, fmt::format("{} bytes are more than the limit of {} bytes for one file",
                                source.text.size(), kMaxFileBytes));
      return;
    }
    const YamlDocuments documents = ParseYaml(source.text, kMaxDepth);
    for (const YamlError& error : documents.errors) Error(error.mark, error.message);
    for (const YamlNodePtr& document : documents.documents) ReadDocument(*document);
    std::stable_sort(findings_.begin() + static_cast<std::ptrdiff_t>(first), findings_.end(),
                     [](const Diagnostic& a, const Diagnostic& b) {
                       return std::tie(a.position.line, a.position.column) <
                              std::tie(b.position.line, b.position.column);
                     });
  }

  Manifest Finish() {
    Manifest out;
    size_t errors = 0;
    for (Diagnostic& finding : findings_) {
      if (finding.severity == Diagnostic::Severity::kError && ++errors > kMaxDiagnostics) {
        ++out.more_errors;
        continue;
      }
      out.diagnostics.push_back(std::move(finding));
    }
    out.objects = std::move(objects_);
    return out;
  }

  void Error(Mark mark, std::string message) override {
    findings_.push_back(
        {Diagnostic::Severity::kError, {file_, mark.line, mark.column}, std::move(message)});
    failed_ = true;
  }
  void Warning(Mark mark, std::string message) override {
    findings_.push_back(
        {Diagnostic::Severity::kWarning, {file_, mark.line, mark.column}, std::move(message)});
  }

 private:
  void ReadDocument(const YamlNode& node) {
    if (node.type != YamlNode::Type::kMap) {
      return Error(node.mark, fmt::format("expected an object with apiVersion and kind, got {}",
                                          internal::Describe(node)));
    }
    const YamlNode* kind = Child(node, "kind");
    const YamlNode* items = Child(node, "items");
    const bool is_list = kind != nullptr && items != nullptr && kind->text.ends_with("List");
    if (!is_list) return ReadObject(node);
    if (items->type == YamlNode::Type::kNull) return;
    if (items->type != YamlNode::Type::kList) {
      return Error(items->mark, "items: expected a list, got " + internal::Describe(*items));
    }
    for (const YamlNodePtr& item : items->items) ReadDocument(*item);
  }

  void ReadObject(const YamlNode& node) {
    if (budget_.exceeded) return;
    failed_ = false;
    Object object;
    object.position = {file_, node.mark.line, node.mark.column};
    ObjectDecoder decoder(file_, options_, &budget_, this);
    if (!decoder.Decode(node, &object)) return;
    const schema::KindInfo& info = schema::Info(schema::KindOf(object.resource));
    const v1::ObjectMeta& meta = schema::MetaOf(object.resource);
    if (options_.identity_only) {
      if (meta.name().empty() && !failed_) Error(node.mark, "metadata.name: Required value");
    } else {
      if (!options_.partial) {
        Check(object, decoder);
      } else if (meta.name().empty() && !failed_) {
        Error(node.mark, "metadata.name: Required value");
      }
      if (!info.namespaced && !meta.namespace_().empty()) {
        const Position& at = object.Locate("metadata.namespace");
        Warning({at.line, at.column},
                fmt::format("metadata.namespace: kind {} has no namespace; ignored", info.name));
      }
    }
    FindTwin(object, info);
    if (!failed_) objects_.push_back(std::move(object));
  }

  void Check(const Object& object, const ObjectDecoder& decoder) {
    v1::Resource complete = object.resource;
    schema::ApplyDefaults(&complete);
    for (const schema::Problem& problem : schema::Validate(complete)) {
      if (IsEcho(problem, decoder)) continue;
      const Position& at = object.Locate(problem.path);
      Error({at.line, at.column}, problem.ToString());
    }
  }

  void FindTwin(const Object& object, const schema::KindInfo& info) {
    const v1::ObjectMeta& meta = schema::MetaOf(object.resource);
    if (meta.name().empty()) return;
    std::string ns;
    if (info.namespaced)
      ns = meta.namespace_().empty() ? options_.default_namespace : meta.namespace_();
    const auto [it, inserted] = seen_.try_emplace({info.kind, ns, meta.name()}, object.position);
    if (inserted) return;
    Error({object.position.line, object.position.column},
          fmt::format("{} \"{}\"{} is given twice; first at {}", schema::PluralWithGroup(info.kind),
                      meta.name(), ns.empty() ? "" : fmt::format(" in namespace \"{}\"", ns),
                      it->second.ToString()));
  }

  const DecodeOptions options_;
  Budget budget_;
  std::string file_;
  bool failed_ = false;  // the object being read
  std::vector<Diagnostic> findings_;
  std::vector<Object> objects_;
  std::map<std::tuple<v1::Kind, std::string, std::string>, Position> seen_;
};

}  // namespace

std::string Position::ToString() const {
  return line == 0 ? file : fmt::format("{}:{}:{}", file, line, column);
}

std::string Diagnostic::ToString() const {
  return fmt::format("{}: {}: {}", position.ToString(),
                     severity == Severity::kError ? "error" : "warning", message);
}

const Position& Object::Locate(std::string_view path) const {
  while (true) {
    if (const auto it = positions.find(path); it != positions.end()) return it->second;
    // A list whose first element may be written by itself, as clusterIPs and clusterIP.
    if (path.ends_with('s')) {
      const auto it = positions.find(path.substr(0, path.size() - 1));
      if (it != positions.end()) return it->second;
    }
    const size_t end = path.find_last_of(".[");
    if (end == std::string_view::npos) break;
    path = path.substr(0, end);
  }
  return position;
}

bool Manifest::ok() const {
  return std::none_of(diagnostics.begin(), diagnostics.end(), [](const Diagnostic& diagnostic) {
    return diagnostic.severity == Diagnostic::Severity::kError;
  });
}

Manifest Decode(const std::vector<Source>& sources, const DecodeOptions& options) {
  Reader reader(options);
  for (const Source& source : sources) reader.Read(source);
  return reader.Finish();
}

}  // namespace mesh::manifest
