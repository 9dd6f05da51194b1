// SPDX-License-Identifier: Apache-2.0
// How fields are named and told apart by reflection; private to field_set.cc and field_remove.cc.
#pragma once

#include <string>
#include <string_view>

#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"

namespace mesh::schema::internal {

// Written by the system, or never seen by users.
bool IsSystemField(const google::protobuf::FieldDescriptor& field);
// One value as a whole: Quantity, IntOrString, times, and what Kubernetes calls atomic.
bool IsWhole(const google::protobuf::Descriptor& type);
// The same of a map.
bool IsWholeMap(const google::protobuf::FieldDescriptor& map);
bool HasMergeKey(const google::protobuf::FieldDescriptor& list);

// `.replicas`, `."app.kubernetes.io/name"`.
std::string NamePiece(std::string_view name);
// `[name="web"]`, `[containerPort=80,protocol="TCP"]`: keys by name; one left out is its default.
std::string KeyPiece(const google::protobuf::Message& element,
                     const google::protobuf::FieldDescriptor& list);
// `[="x"]`.
std::string ValuePiece(std::string_view value);
// Two elements have one key. `key`, when given, gets the piece of the first such.
bool HasTwins(const google::protobuf::Message& message,
              const google::protobuf::FieldDescriptor& list, std::string* key = nullptr);

}  // namespace mesh::schema::internal
