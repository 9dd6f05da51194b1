// SPDX-License-Identifier: Apache-2.0
// What Kubernetes knows and mesh does not: the table behind "not supported yet", against a typing
// error or a field in the wrong place. Generated from the published schema (gen_known_fields.py).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "google/protobuf/descriptor.h"
#include "mesh/v1/resource.pb.h"

namespace mesh::schema {

// Why `field` is not a field of `message` at `path` (of the message; "" at the top):
//   not supported yet
//   unknown field; did you mean "replicas"?
//   unknown field; "replicas" belongs in spec
//   unknown field
std::string ExplainUnknownField(v1::Kind kind, const google::protobuf::Descriptor& message,
                                std::string_view path, std::string_view field);

// Values of a field that mesh has not which ask for what mesh does anyway (sessionAffinity: None,
// hostNetwork: false): accepted without effect. "[IPv4]" for a list of scalars. Empty: none.
std::vector<std::string_view> ImpliedValuesOf(const google::protobuf::Descriptor& message,
                                              std::string_view field);

// The kind is one that Kubernetes or its usual extensions have.
bool IsKnownForeignKind(std::string_view kind);
const std::vector<std::string>& ForeignKinds();

// Field of `message` by its JSON name; null for unknown, (internal) and (pending) ones.
const google::protobuf::FieldDescriptor* FindField(const google::protobuf::Descriptor& message,
                                                   std::string_view json_name);

}  // namespace mesh::schema
