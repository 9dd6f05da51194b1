// SPDX-License-Identifier: Apache-2.0
#include "cli/commands/prune.h"

#include <algorithm>
#include <ostream>
#include <set>
#include <tuple>

#include "api/schema/ownership.h"
#include "api/schema/schema.h"
#include "cli/client.h"
#include "cli/commands/targets.h"
#include "common/status.h"
#include "fmt/format.h"

namespace mesh::cli {
namespace {

// What kubectl prunes when it is not told the kinds.
constexpr v1::Kind kDefaultKinds[] = {v1::KIND_CONFIG_MAP,
                                      v1::KIND_ENDPOINTS,
                                      v1::KIND_PERSISTENT_VOLUME_CLAIM,
                                      v1::KIND_POD,
                                      v1::KIND_REPLICATION_CONTROLLER,
                                      v1::KIND_SECRET,
                                      v1::KIND_SERVICE,
                                      v1::KIND_JOB,
                                      v1::KIND_CRON_JOB,
                                      v1::KIND_INGRESS,
                                      v1::KIND_DAEMON_SET,
                                      v1::KIND_DEPLOYMENT,
                                      v1::KIND_REPLICA_SET,
                                      v1::KIND_STATEFUL_SET,
                                      v1::KIND_NAMESPACE,
                                      v1::KIND_PERSISTENT_VOLUME};

using Key = std::tuple<v1::Kind, std::string, std::string>;

Key KeyOf(const v1::Resource& resource) {
  const v1::ObjectMeta& meta = schema::MetaOf(resource);
  return {schema::KindOf(resource), meta.namespace_(), meta.name()};
}

}  // namespace

absl::Status CheckPruneFlags(const PruneFlags& flags, const std::string& selector) {
  if (!flags.prune) {
    if (flags.all) return UsageError("--all is only used with --prune");
    if (!flags.allowlist.empty()) return UsageError("--prune-allowlist is only used with --prune");
    return absl::OkStatus();
  }
  if (flags.all && !selector.empty()) {
    return absl::InvalidArgumentError("cannot set --all and --selector at the same time");
  }
  if (!flags.all && selector.empty()) {
    return absl::InvalidArgumentError(
        "all resources selected for prune without explicitly passing --all. To prune all "
        "resources, pass the --all flag. If you did not mean to prune all resources, specify a "
        "label selector");
  }
  return PruneKinds(flags.allowlist).status();
}

absl::StatusOr<std::vector<v1::Kind>> PruneKinds(const std::vector<std::string>& allowlist) {
  if (allowlist.empty()) {
    return std::vector<v1::Kind>(std::begin(kDefaultKinds), std::end(kDefaultKinds));
  }
  std::vector<v1::Kind> out;
  for (const std::string& entry : allowlist) {
    const size_t slash = entry.rfind('/');
    if (slash == std::string::npos || std::count(entry.begin(), entry.end(), '/') != 2) {
      return absl::InvalidArgumentError(fmt::format(
          "invalid GroupVersionKind format: {}, please follow <group/version/kind>", entry));
    }
    std::string api_version = entry.substr(0, slash);
    if (api_version.starts_with("core/")) api_version.erase(0, 5);
    if (api_version.starts_with("/")) api_version.erase(0, 1);
    ASSIGN_OR_RETURN(const schema::ManifestType type,
                     schema::FindManifestType(api_version, entry.substr(slash + 1)));
    out.push_back(type.info->kind);
  }
  return out;
}

absl::StatusOr<int> Prune(const PruneFlags& flags, const std::string& selector,
                          const std::vector<manifest::Object>& applied, std::string_view suffix,
                          const std::string& output, Context& context) {
  std::set<Key> kept;
  std::set<std::string> namespaces;
  for (const manifest::Object& object : applied) {
    const Key key = KeyOf(object.resource);
    kept.insert(key);
    if (!std::get<1>(key).empty()) namespaces.insert(std::get<1>(key));
  }
  ASSIGN_OR_RETURN(const std::vector<v1::Kind> kinds, PruneKinds(flags.allowlist));
  ASSIGN_OR_RETURN(ControlClient * client, context.client());

  std::vector<v1::DeleteRequest> requests;
  std::vector<std::string> names;
  for (const v1::Kind kind : kinds) {
    const bool namespaced = schema::Info(kind).namespaced;
    // -n says that the apply is about one namespace.
    if (!namespaced && !context.flags.ns.empty()) continue;
    for (const std::string& ns : namespaced ? namespaces : std::set<std::string>{""}) {
      ASSIGN_OR_RETURN(const v1::ListResponse list, ListObjects(kind, ns, selector, *client));
      for (const v1::Resource& item : list.items()) {
        const v1::ObjectMeta& meta = schema::MetaOf(item);
        const bool applied_here =
            !meta.last_applied().empty() || schema::IsAppliedBy(meta, flags.manager);
        if (!applied_here || meta.has_deletion_timestamp()) continue;
        if (kept.contains(KeyOf(item))) continue;
        v1::DeleteRequest& request = requests.emplace_back();
        request.mutable_name()->set_kind(kind);
        request.mutable_name()->set_namespace_(meta.namespace_());
        request.mutable_name()->set_name(meta.name());
        request.set_uid(meta.uid());
        names.push_back(schema::ObjectText(item));
      }
    }
  }
  int exit_code = 0;
  std::vector<absl::StatusOr<v1::Resource>> answers;
  if (suffix.empty() && !requests.empty()) answers = client->DeleteAll(requests);
  for (size_t i = 0; i < names.size(); ++i) {
    if (i < answers.size() && !answers[i].ok() && !IsServerNotFound(answers[i].status())) {
      context.err << ErrorText(answers[i].status()) << "\n";
      exit_code = 1;
      continue;
    }
    if (output.empty()) context.out << fmt::format("{} pruned{}\n", names[i], suffix);
    if (output == "name") context.out << names[i] << "\n";
  }
  return exit_code;
}

}  // namespace mesh::cli
