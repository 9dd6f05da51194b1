// SPDX-License-Identifier: Apache-2.0
// What the protos say about their types and fields, for people: the comments of api/mesh/v1, built
// into the program.
#pragma once

#include <string>

#include "google/protobuf/descriptor.h"

namespace mesh::schema {

// The comment above (or behind) the field, in one line per paragraph; empty when there is none.
std::string DocOf(const google::protobuf::FieldDescriptor& field);
// The comment above the message.
std::string DocOf(const google::protobuf::Descriptor& message);

}  // namespace mesh::schema
