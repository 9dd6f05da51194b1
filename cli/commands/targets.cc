// SPDX-License-Identifier: Apache-2.0
#include "cli/commands/targets.h"

#include <algorithm>
#include <ostream>

#include "api/schema/schema.h"
#include "api/schema/selector.h"
#include "cli/client.h"
#include "cli/commands/manifest_input.h"
#include "cli/output/age.h"
#include "cli/output/pod_status.h"
#include "cli/output/printers.h"
#include "common/status.h"
#include "fmt/format.h"
#include "fmt/ranges.h"

namespace mesh::cli {
namespace {

const std::vector<TypeRef>& TypesOfAll() {
  static const auto* const kTypes = new std::vector<TypeRef>{
      {v1::KIND_POD}, {v1::KIND_SERVICE}, {v1::KIND_DEPLOYMENT}, {v1::KIND_REPLICA_SET}};
  return *kTypes;
}

absl::StatusOr<std::vector<TypeRef>> ParseTypes(std::string_view words) {
  std::vector<TypeRef> types;
  while (true) {
    const size_t comma = words.find(',');
    const std::string_view word = words.substr(0, comma);
    if (word == "all") {
      types.insert(types.end(), TypesOfAll().begin(), TypesOfAll().end());
    } else if (word.empty()) {
      return absl::InvalidArgumentError(
          "arguments in resource/name form must have a single resource and name");
    } else {
      ASSIGN_OR_RETURN(TypeRef type, FindType(word));
      types.push_back(type);
    }
    if (comma == std::string_view::npos) return types;
    words.remove_prefix(comma + 1);
  }
}

Target TargetOf(const TypeRef& type, const std::string& ns, std::string name) {
  return {.type = type, .ns = IsNamespaced(type) ? ns : "", .name = std::move(name)};
}

absl::StatusOr<Target> ParseSlashed(const std::string& word, const std::string& ns) {
  const size_t slash = word.find('/');
  const std::string name = word.substr(slash + 1);
  if (slash == 0 || name.empty() || name.find('/') != std::string::npos) {
    return absl::InvalidArgumentError(
        "arguments in resource/name form must have a single resource and name");
  }
  ASSIGN_OR_RETURN(TypeRef type, FindType(word.substr(0, slash)));
  return TargetOf(type, ns, name);
}

// Slices of one Service.
std::string SliceSelector(const std::string& service) {
  return "kubernetes.io/service-name=" + service;
}

}  // namespace

bool IsServerNotFound(const absl::Status& status) {
  return status.code() == absl::StatusCode::kNotFound && ServerReason(status) == "NotFound";
}

absl::StatusOr<TypeRef> FindType(std::string_view word) {
  if (word == "endpoints" || word == "endpoint" || word == "ep") {
    return TypeRef{v1::KIND_ENDPOINT_SLICE, true};
  }
  ASSIGN_OR_RETURN(const schema::KindInfo* info, schema::FindResourceType(word));
  return TypeRef{info->kind, false};
}

std::string PluralText(const TypeRef& type) {
  return type.endpoints ? "endpoints" : schema::PluralWithGroup(type.kind);
}

std::string SingularText(const TypeRef& type) {
  return type.endpoints ? "endpoints" : schema::SingularWithGroup(type.kind);
}

std::string ResourceText(const TypeRef& type) {
  return type.endpoints ? "endpoints" : std::string(schema::Info(type.kind).plural);
}

bool IsNamespaced(const TypeRef& type) { return schema::Info(type.kind).namespaced; }

absl::StatusOr<std::vector<Target>> ParseTargets(const std::vector<std::string>& args,
                                                 const std::string& ns, bool all_namespaces) {
  if (args.empty()) {
    return UsageError("required resource not specified; \"meshctl api-resources\" lists them");
  }
  const std::string scope = all_namespaces ? "" : ns;
  std::vector<Target> targets;
  const bool slashed = args.front().find('/') != std::string::npos;
  if (slashed) {
    for (const std::string& arg : args) {
      if (arg.find('/') == std::string::npos) {
        return absl::InvalidArgumentError(
            "there is no need to specify a resource type as a separate argument when passing "
            "arguments in resource/name form (e.g. 'meshctl get resource/<resource_name>' instead "
            "of 'meshctl get resource resource/<resource_name>'");
      }
      ASSIGN_OR_RETURN(Target target, ParseSlashed(arg, scope));
      targets.push_back(std::move(target));
    }
  } else {
    ASSIGN_OR_RETURN(std::vector<TypeRef> types, ParseTypes(args.front()));
    for (const TypeRef& type : types) {
      if (args.size() == 1) targets.push_back(TargetOf(type, scope, ""));
      for (size_t i = 1; i < args.size(); ++i) {
        if (args[i].find('/') != std::string::npos) {
          return absl::InvalidArgumentError(
              "there is no need to specify a resource type as a separate argument when passing "
              "arguments in resource/name form (e.g. 'meshctl get resource/<resource_name>' "
              "instead "
              "of 'meshctl get resource resource/<resource_name>'");
        }
        targets.push_back(TargetOf(type, scope, args[i]));
      }
    }
  }
  const bool named = std::any_of(targets.begin(), targets.end(), [](const Target& target) {
    return !target.name.empty() && IsNamespaced(target.type);
  });
  if (all_namespaces && named) {
    return absl::InvalidArgumentError(
        "a resource cannot be retrieved by name across all namespaces");
  }
  return targets;
}

absl::StatusOr<std::vector<Target>> FindTargets(const TargetFlags& flags, Context& context) {
  if (flags.files.empty()) {
    return ParseTargets(flags.args, context.ns(), flags.all_namespaces);
  }
  if (!flags.args.empty()) {
    return absl::InvalidArgumentError(
        "when paths, URLs, or stdin is provided as input, you may not specify resource arguments "
        "as "
        "well");
  }
  ManifestFlags input{.files = flags.files, .recursive = flags.recursive, .identity_only = true};
  ASSIGN_OR_RETURN(manifest::Manifest manifest, ReadManifests(input, "this command", context));
  std::vector<Target> targets;
  for (const manifest::Object& object : manifest.objects) {
    const v1::ObjectMeta& meta = schema::MetaOf(object.resource);
    targets.push_back(TargetOf({schema::KindOf(object.resource)}, meta.namespace_(), meta.name()));
  }
  return targets;
}

absl::StatusOr<Target> ParsePodTarget(const std::string& word, const std::string& ns) {
  if (word.find('/') != std::string::npos) return ParseSlashed(word, ns);
  return Target{{v1::KIND_POD}, ns, word};
}

absl::StatusOr<Target> ParsePodAnywhere(const std::string& word, const std::string& ns) {
  const size_t slash = word.find('/');
  if (slash == std::string::npos || FindType(word.substr(0, slash)).ok())
    return ParsePodTarget(word, ns);
  if (slash == 0 || slash + 1 == word.size() || word.find('/', slash + 1) != std::string::npos)
    return UsageError(fmt::format("\"{}\" is neither POD, NAMESPACE/POD nor TYPE/NAME", word));
  return Target{{v1::KIND_POD}, word.substr(0, slash), word.substr(slash + 1)};
}

absl::StatusOr<v1::ListResponse> ListObjects(v1::Kind kind, const std::string& ns,
                                             const std::string& selector, ControlClient& client) {
  v1::ListRequest request;
  request.set_kind(kind);
  request.set_namespace_(ns);
  request.set_label_selector(selector);
  return client.List(request);
}

absl::StatusOr<Fetched> Fetch(const std::vector<Target>& targets, const std::string& selector,
                              ControlClient& client) {
  Fetched fetched;
  auto group = [&](const TypeRef& type) -> Found& {
    for (Found& found : fetched.found) {
      if (found.type == type) return found;
    }
    fetched.found.push_back({.type = type});
    return fetched.found.back();
  };
  for (const Target& target : targets) {
    Found& found = group(target.type);
    if (target.name.empty()) {
      ASSIGN_OR_RETURN(v1::ListResponse list,
                       ListObjects(target.type.kind, target.ns, selector, client));
      found.by_name = false;
      found.revision = list.revision();
      for (v1::Resource& item : *list.mutable_items()) found.objects.push_back(std::move(item));
      continue;
    }
    if (target.type.endpoints) {
      ASSIGN_OR_RETURN(v1::ListResponse list, ListObjects(target.type.kind, target.ns,
                                                          SliceSelector(target.name), client));
      if (list.items().empty()) {
        fetched.errors.push_back(
            ServerError(absl::StatusCode::kNotFound, "NotFound",
                        fmt::format("endpoints \"{}\" not found", target.name)));
      }
      for (v1::Resource& item : *list.mutable_items()) found.objects.push_back(std::move(item));
      continue;
    }
    v1::GetRequest request;
    request.mutable_name()->set_kind(target.type.kind);
    request.mutable_name()->set_namespace_(target.ns);
    request.mutable_name()->set_name(target.name);
    absl::StatusOr<v1::Resource> object = client.Get(request);
    if (object.ok()) {
      found.objects.push_back(*std::move(object));
    } else if (!ServerReason(object.status()).empty()) {
      fetched.errors.push_back(object.status());
    } else {
      return object.status();
    }
  }
  return fetched;
}

absl::StatusOr<std::vector<v1::Pod>> FindPods(const Target& target, ControlClient& client) {
  v1::GetRequest request;
  request.mutable_name()->set_kind(target.type.kind);
  request.mutable_name()->set_namespace_(target.ns);
  request.mutable_name()->set_name(target.name);
  ASSIGN_OR_RETURN(v1::Resource object, client.Get(request));
  std::string selector;
  switch (object.kind_case()) {
    case v1::Resource::kPod:
      return std::vector<v1::Pod>{object.pod()};
    case v1::Resource::kDeployment:
      selector = SelectorText(object.deployment().spec().selector());
      break;
    case v1::Resource::kReplicaSet:
      selector = SelectorText(object.replica_set().spec().selector());
      break;
    case v1::Resource::kService:
      if (object.service().spec().selector().empty()) {
        return absl::InvalidArgumentError(fmt::format(
            "invalid service '{}': Service is defined without a selector", target.name));
      }
      selector = LabelsText(object.service().spec().selector());
      break;
    default:
      return absl::InvalidArgumentError(
          fmt::format("cannot attach to *v1.{}: selector for {} not implemented",
                      schema::Info(target.type.kind).name, schema::Info(target.type.kind).name));
  }
  ASSIGN_OR_RETURN(v1::ListResponse list, ListObjects(v1::KIND_POD, target.ns, selector, client));
  std::vector<v1::Pod> pods;
  for (v1::Resource& item : *list.mutable_items()) pods.push_back(std::move(*item.mutable_pod()));
  // Fit for logs and exec first: not going away, running, ready, then the oldest.
  auto rank = [](const v1::Pod& pod) {
    return std::tuple(pod.metadata().has_deletion_timestamp(), pod.status().phase() != "Running",
                      !IsReady(pod), ToTime(pod.metadata().creation_timestamp()),
                      pod.metadata().name());
  };
  std::sort(pods.begin(), pods.end(),
            [&](const v1::Pod& a, const v1::Pod& b) { return rank(a) < rank(b); });
  return pods;
}

absl::StatusOr<v1::Pod> FindPod(const Target& target, ControlClient& client, std::string* note) {
  ASSIGN_OR_RETURN(std::vector<v1::Pod> pods, FindPods(target, client));
  if (pods.empty()) {
    return absl::NotFoundError(
        fmt::format("no pods found for {}/{}", SingularText(target.type), target.name));
  }
  if (pods.size() > 1) {
    *note = fmt::format("Found {} pods, using pod/{}", pods.size(), pods.front().metadata().name());
  }
  return pods.front();
}

absl::StatusOr<std::string> ChooseContainer(const v1::Pod& pod, const std::string& asked,
                                            std::string* note) {
  std::vector<std::string> names;
  for (const auto& container : pod.spec().containers()) names.push_back(container.name());
  if (!asked.empty()) {
    const auto& inits = pod.spec().init_containers();
    const bool init = std::any_of(inits.begin(), inits.end(),
                                  [&](const auto& candidate) { return candidate.name() == asked; });
    if (!init && std::find(names.begin(), names.end(), asked) == names.end()) {
      return absl::InvalidArgumentError(
          fmt::format("container {} is not valid for pod {}", asked, pod.metadata().name()));
    }
    return asked;
  }
  if (names.empty()) {
    return absl::InternalError(fmt::format("pod {} has no containers", pod.metadata().name()));
  }
  if (names.size() > 1) {
    *note =
        fmt::format("Defaulted container \"{}\" out of: {}", names.front(), fmt::join(names, ", "));
  }
  return names.front();
}

}  // namespace mesh::cli
