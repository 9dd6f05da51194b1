// SPDX-License-Identifier: Apache-2.0
// Which objects a command is about: "pods", "pod web", "pod/web svc/web", "pods,svc", "all", -f
// FILE.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cli/command.h"
#include "mesh/v1/control.pb.h"

namespace mesh::cli {

// A kind, or Endpoints: what Kubernetes knows by that name is seen from the EndpointSlices.
struct TypeRef {
  v1::Kind kind = v1::KIND_UNSPECIFIED;
  bool endpoints = false;
  friend bool operator==(const TypeRef&, const TypeRef&) = default;
};

// One object, or all of a type when `name` is empty. `ns` is empty for all namespaces and for kinds
// that have none.
struct Target {
  TypeRef type;
  std::string ns;
  std::string name;
  friend bool operator==(const Target&, const Target&) = default;
};

struct TargetFlags {
  std::vector<std::string> args;
  std::vector<std::string> files;
  bool recursive = false;
  std::string selector;
  bool all_namespaces = false;
};

// `error: the server doesn't have a resource type "foo"` and the like.
absl::StatusOr<TypeRef> FindType(std::string_view word);
// "pods", "deployments.apps", "endpoints"; "pod"; "pods" without the group.
std::string PluralText(const TypeRef& type);
std::string SingularText(const TypeRef& type);
std::string ResourceText(const TypeRef& type);
bool IsNamespaced(const TypeRef& type);

// Arguments as kubectl reads them; pure. UsageError when they name nothing.
absl::StatusOr<std::vector<Target>> ParseTargets(const std::vector<std::string>& args,
                                                 const std::string& ns, bool all_namespaces);
// ParseTargets, or the objects of the files when there are any.
absl::StatusOr<std::vector<Target>> FindTargets(const TargetFlags& flags, Context& context);
// "web" or "TYPE/NAME", for commands about pods (logs, exec).
absl::StatusOr<Target> ParsePodTarget(const std::string& word, const std::string& ns);
// The same, or "NAMESPACE/POD" where the first word is no type.
absl::StatusOr<Target> ParsePodAnywhere(const std::string& word, const std::string& ns);

struct Found {
  TypeRef type;
  std::vector<v1::Resource> objects;
  // Newest revision of the lists; 0 when all were single objects.
  int64_t revision = 0;
  // Every object was asked for by name.
  bool by_name = true;
};
struct Fetched {
  std::vector<Found> found;  // by type, in the order asked
  // What could not be read: NotFound and the like, one per object.
  std::vector<absl::Status> errors;
};
// Reads the targets. An error of the server that concerns one name goes to `errors`; anything else
// fails the whole.
absl::StatusOr<Fetched> Fetch(const std::vector<Target>& targets, const std::string& selector,
                              ControlClient& client);
absl::StatusOr<v1::ListResponse> ListObjects(v1::Kind kind, const std::string& ns,
                                             const std::string& selector, ControlClient& client);

// The pod itself, or the one of a Deployment, ReplicaSet or Service that is fit best: ready and
// running ones first. `note` gets "Found 3 pods, using pod/x" when there was a choice.
absl::StatusOr<v1::Pod> FindPod(const Target& target, ControlClient& client, std::string* note);
// All pods that the target's selector matches.
absl::StatusOr<std::vector<v1::Pod>> FindPods(const Target& target, ControlClient& client);
// The container asked for, or the first one. `note` gets "Defaulted container ..." when there was a
// choice.
absl::StatusOr<std::string> ChooseContainer(const v1::Pod& pod, const std::string& asked,
                                            std::string* note);

// The server answered that there is no such object.
bool IsServerNotFound(const absl::Status& status);

}  // namespace mesh::cli
