// SPDX-License-Identifier: Apache-2.0
// JSON and YAML of what is no Resource (rows of maps, Endpoints).
#pragma once

#include <set>
#include <string>

#include "google/protobuf/message.h"

namespace mesh::cli {

// The message with its JSON names, fields without a value included, but for the lists that `drop`
// names.
std::string MessageJson(const google::protobuf::Message& message,
                        const std::set<std::string>& drop = {});

// A JSON document as YAML, in the same order, in kubectl's style (lists not indented below their
// key). REQUIRES: valid JSON.
std::string YamlFromJson(const std::string& json);
// Indented by four. REQUIRES: valid JSON.
std::string PrettyJson(const std::string& json);

}  // namespace mesh::cli
