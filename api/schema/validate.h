// SPDX-License-Identifier: Apache-2.0
// Checks of one object: the field options of options.proto by reflection, then the rules of its
// kind (rules_*.cc). Wording follows Kubernetes: path `spec.replicas`, message `Invalid value: -1:
// must be greater than or equal to 0`.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "mesh/v1/resource.pb.h"

namespace mesh::schema {

struct Problem {
  // JSON names: "spec.template.spec.containers[0].ports[1].containerPort"; an entry of a map is
  // "metadata.labels[app]".
  std::string path;
  std::string message;

  std::string ToString() const { return path + ": " + message; }
  friend bool operator==(const Problem&, const Problem&) = default;
};

// Everything wrong with the object, in the order of its fields; empty when it is valid. Meant for
// an object after ApplyDefaults (indexes in paths are those of the manifest all the same); fields
// that the system writes (status, uid, ...) are not checked.
std::vector<Problem> Validate(const v1::Resource& resource);

// Before `next`, which comes from a manifest or a client, is defaulted and checked as the successor
// of `live`: drops values that its new type has no use for and that nobody has changed, keeps those
// that the cluster assigned (cluster IP, node ports).
void PrepareUpdate(const v1::Resource& live, v1::Resource* next);

// What may not change: immutable fields, and a Pod's spec. `live` and `next` have the same kind;
// both after ApplyDefaults.
std::vector<Problem> ValidateUpdate(const v1::Resource& live, const v1::Resource& next);

// Legal but surely not meant, seen from the object alone (a label selector without labels, a limit
// below what a container needs to start, ...).
std::vector<Problem> Warnings(const v1::Resource& resource);

// What defaulting takes away from a manifest although it says so, as in Kubernetes. `given`: before
// ApplyDefaults.
std::vector<Problem> DroppedByDefaults(const v1::Resource& given);

// "path: message; path: message (and N more)", for one status line.
std::string JoinProblems(const std::vector<Problem>& problems, size_t limit = 5);

// What is wrong with `value` for the range that options.proto gives `field`; empty when it is
// inside or there is none.
std::string CheckRange(const google::protobuf::FieldDescriptor& field, int64_t value);

// Text rules, each returning what is wrong or an empty string; in Kubernetes' words.
std::string CheckDnsLabel(std::string_view text);
std::string CheckDnsLabel1035(std::string_view text);
std::string CheckDnsSubdomain(std::string_view text);
std::string CheckPortName(std::string_view text);
std::string CheckEnvName(std::string_view text);
// [prefix/]name, as in label and annotation keys.
std::string CheckQualifiedName(std::string_view text);
std::string CheckLabelValue(std::string_view text);
// [registry[:port]/]path[:tag][@digest].
std::string CheckImageReference(std::string_view text);

}  // namespace mesh::schema
