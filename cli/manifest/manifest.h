// SPDX-License-Identifier: Apache-2.0
// Manifests in YAML or JSON to Resources, with the position of every field.
//
// What is read: several documents per file, `kind: List`, anchors, aliases and merge keys ("<<").
// What is refused, with file:line:col: everything that would otherwise be dropped or guessed.
// Fields that the system writes (status, metadata.uid, creationTimestamp, managedFields, ...) are
// accepted and left out, so that the output of `get -o yaml` applies; resourceVersion among them.
#pragma once

#include <iosfwd>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "api/schema/validate.h"
#include "mesh/v1/resource.pb.h"

namespace mesh::manifest {

inline constexpr size_t kMaxFileBytes = 3 << 20;  // what the API server of Kubernetes takes
inline constexpr int kMaxDepth = 64;
inline constexpr size_t kMaxDiagnostics = 1000;
inline constexpr size_t kMaxNodes = 500'000;  // after aliases: an alias bomb ends here

// What "-" is shown as.
inline constexpr char kStandardInput[] = "standard input";

struct Position {
  std::string file;  // as named on the command line, or kStandardInput
  int line = 0;      // from 1; 0: the file as a whole
  int column = 0;    // from 1, in bytes

  // "web.yaml:3:5".
  std::string ToString() const;
  friend bool operator==(const Position&, const Position&) = default;
};

struct Diagnostic {
  enum class Severity : uint8_t { kError, kWarning };
  Severity severity = Severity::kError;
  Position position;
  std::string message;

  // "web.yaml:3:5: error: spec.replics: unknown field; did you mean "replicas"?".
  std::string ToString() const;
};

struct Object {
  // As in the manifest: no defaults.
  v1::Resource resource;
  Position position;
  // JSON path ("spec.ports[0].port") -> where its key (or list element) is.
  std::map<std::string, Position, std::less<>> positions;

  // The position of the longest known prefix of `path`, of `clusterIP` for `clusterIPs` where only
  // that is written.
  const Position& Locate(std::string_view path) const;
};

struct Manifest {
  std::vector<Object> objects;
  // Errors and warnings of all files, in file order, at most kMaxDiagnostics errors.
  std::vector<Diagnostic> diagnostics;
  // Errors beyond kMaxDiagnostics.
  size_t more_errors = 0;

  bool ok() const;
};

struct Source {
  std::string name;
  std::string text;
};

struct DecodeOptions {
  // Where a namespaced object without metadata.namespace goes.
  std::string default_namespace = "default";
  // Only apiVersion, kind, name and namespace are read, and nothing is validated: for commands that
  // need no more (delete -f).
  bool identity_only = false;
  // Each may be a part of an object (server-side apply): it is decoded, and not validated.
  bool partial = false;
  // What becomes of fields that are unknown or not supported yet and of keys given twice (the last
  // one counts then). Anything else that is wrong is an error in any case.
  enum class Unknown : uint8_t { kError, kWarn, kIgnore };
  Unknown unknown = Unknown::kError;
};

// Decodes; validates each object (as it would be with its defaults) and finds the same object given
// twice. Objects with errors are left out of `objects`; namespaces are left as written.
Manifest Decode(const std::vector<Source>& sources, const DecodeOptions& options = {});

struct ReadResult {
  std::vector<Source> sources;
  // kubectl's words: `the path "x" does not exist`.
  std::vector<std::string> errors;
};
// Files, folders (their *.yaml, *.yml and *.json, sorted; below them with `recursive`), and "-" for
// `input`. A file is read up to one byte past kMaxFileBytes.
ReadResult ReadSources(const std::vector<std::string>& paths, bool recursive, std::istream& input);

}  // namespace mesh::manifest
