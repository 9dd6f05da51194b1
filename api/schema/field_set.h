// SPDX-License-Identifier: Apache-2.0
// Which fields of an object there are, one by one: what ownership is counted in (ownership.h).
//
// A path is text: `.spec.replicas`, `.spec.template.spec.containers[name="web"].image`,
// `.metadata.finalizers[="x"]`, `.metadata.labels."app.kubernetes.io/name"`. Names that are not
// made of letters, digits, '-' and '_' alone are quoted, so that a path can be taken apart again.
//
// What counts as one field is Kubernetes' rule: messages and maps are as many as they have entries;
// a list with (merge_key) one for each element and for each field of it, one with (merge_set) one
// for each value; other lists, label selectors, node selectors and references are one as a whole.
// A message that is set and empty (`emptyDir: {}`) is a field itself.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "mesh/v1/resource.pb.h"

namespace mesh::schema {

using FieldSet = std::set<std::string>;
// The value of each field as bytes that are equal when it is; empty for elements of lists.
using FieldValues = std::map<std::string, std::string>;

// What people can own: neither what the system writes nor name and namespace. A list in which two
// elements share a key is one field.
FieldValues ValuesOf(const v1::Resource& resource);
FieldSet FieldsOf(const v1::Resource& resource);
// Without the values.
FieldSet NamesOf(const FieldValues& values);

FieldSet Union(const FieldSet& a, const FieldSet& b);
FieldSet Minus(const FieldSet& a, const FieldSet& b);
FieldSet Common(const FieldSet& a, const FieldSet& b);

// Fields between two states of an object.
struct FieldChanges {
  FieldSet added, removed, modified;
};
FieldChanges CompareFields(const FieldValues& before, const FieldValues& after);

// With the named fields that lead there: `.spec` and `.spec.replicas` for `.spec.replicas`; no
// element of a list.
FieldSet WithParents(const FieldSet& fields);
// Takes the fields, and what is below them, out of the object. Paths that are not there count as
// taken out.
void RemoveFields(const FieldSet& fields, v1::Resource* resource);

// INVALID_ARGUMENT when two elements of a list have one key, in Kubernetes' words:
// `.spec.ports: duplicate entries for key [port=80,protocol="TCP"]`.
absl::Status CheckListKeys(const v1::Resource& resource);

// The pieces of a path, each with its '.' or '['. Their texts joined are the path.
std::vector<std::string_view> PathPieces(std::string_view path);
// As people read it: names without quotes.
std::string ReadablePath(std::string_view path);

// metav1.FieldsV1: names of members are "f:replicas", `k:{"name":"web"}` and `v:"x"`.
struct FieldTree {
  // The field itself, not only what is below it: "." where it has members.
  bool owned = false;
  std::map<std::string, FieldTree> members;
};
FieldTree FieldTreeOf(const std::vector<std::string_view>& paths);

}  // namespace mesh::schema
