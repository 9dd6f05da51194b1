// SPDX-License-Identifier: Apache-2.0
#include "cli/output/describe.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>
#include <ostream>

#include "api/schema/schema.h"
#include "cli/client.h"
#include "cli/commands/commands.h"
#include "cli/commands/targets.h"
#include "cli/output/age.h"
#include "cli/output/printers.h"
#include "common/status.h"
#include "fmt/format.h"

namespace mesh::cli {
namespace {

struct Flags {
  TargetFlags targets;
  bool show_events = true;
};

bool OwnedBy(const v1::ObjectMeta& meta, const std::string& uid) {
  return std::any_of(meta.owner_references().begin(), meta.owner_references().end(),
                     [&](const auto& owner) { return owner.uid() == uid; });
}

// Fetches what the description of `object` needs besides it.
absl::StatusOr<Related> FetchRelated(const TypeRef& type, const v1::Resource& object,
                                     bool show_events, ControlClient& client) {
  Related related;
  const v1::ObjectMeta& meta = schema::MetaOf(object);
  if (show_events) {
    // Events of things without a namespace are kept in "default".
    const std::string ns = meta.namespace_().empty() ? "" : meta.namespace_();
    ASSIGN_OR_RETURN(v1::ListResponse list, ListObjects(v1::KIND_EVENT, ns, "", client));
    const std::string kind =
        type.endpoints ? "Endpoints" : std::string(schema::Info(type.kind).name);
    const std::string name = type.endpoints ? ServiceOfSlice(object.endpoint_slice()) : meta.name();
    for (const v1::Resource& item : list.items()) {
      const v1::ObjectReference& about = item.event().involved_object();
      if (about.kind() != kind || about.name() != name) continue;
      if (!about.uid().empty() && !type.endpoints && about.uid() != meta.uid()) continue;
      related.events.push_back(item.event());
    }
    std::stable_sort(related.events.begin(), related.events.end(), EventBefore);
  }
  switch (object.kind_case()) {
    case v1::Resource::kDeployment: {
      ASSIGN_OR_RETURN(v1::ListResponse list,
                       ListObjects(v1::KIND_REPLICA_SET, meta.namespace_(), "", client));
      for (const v1::Resource& item : list.items()) {
        if (OwnedBy(item.replica_set().metadata(), meta.uid())) {
          related.replica_sets.push_back(item.replica_set());
        }
      }
      break;
    }
    case v1::Resource::kReplicaSet: {
      ASSIGN_OR_RETURN(v1::ListResponse list,
                       ListObjects(v1::KIND_POD, meta.namespace_(), "", client));
      for (const v1::Resource& item : list.items()) {
        if (OwnedBy(item.pod().metadata(), meta.uid())) related.pods.push_back(item.pod());
      }
      break;
    }
    case v1::Resource::kService: {
      ASSIGN_OR_RETURN(v1::ListResponse list,
                       ListObjects(v1::KIND_ENDPOINT_SLICE, meta.namespace_(),
                                   "kubernetes.io/service-name=" + meta.name(), client));
      for (const v1::Resource& item : list.items()) {
        related.slices.push_back(item.endpoint_slice());
      }
      break;
    }
    case v1::Resource::kNode: {
      ASSIGN_OR_RETURN(v1::ListResponse list, ListObjects(v1::KIND_POD, "", "", client));
      for (const v1::Resource& item : list.items()) {
        const std::string& phase = item.pod().status().phase();
        if (item.pod().spec().node_name() == meta.name() && phase != "Succeeded" &&
            phase != "Failed") {
          related.pods.push_back(item.pod());
        }
      }
      break;
    }
    default:
      break;
  }
  return related;
}

// A name that no object has stands for all that begin with it.
absl::Status FindByPrefix(const std::vector<Target>& targets, Fetched* fetched,
                          ControlClient& client) {
  for (const Target& target : targets) {
    if (target.name.empty() || target.type.endpoints) continue;
    auto missing = std::find_if(
        fetched->errors.begin(), fetched->errors.end(), [&](const absl::Status& error) {
          return IsServerNotFound(error) &&
                 error.message().find("\"" + target.name + "\"") != absl::string_view::npos;
        });
    if (missing == fetched->errors.end()) continue;
    ASSIGN_OR_RETURN(v1::ListResponse list, ListObjects(target.type.kind, target.ns, "", client));
    bool any = false;
    for (Found& found : fetched->found) {
      if (!(found.type == target.type)) continue;
      for (v1::Resource& item : *list.mutable_items()) {
        if (schema::MetaOf(item).name().rfind(target.name, 0) != 0) continue;
        found.objects.push_back(std::move(item));
        any = true;
      }
    }
    if (any) fetched->errors.erase(missing);
  }
  return absl::OkStatus();
}

absl::StatusOr<int> Run(const Flags& flags, Context& context) {
  ASSIGN_OR_RETURN(std::vector<Target> targets, FindTargets(flags.targets, context));
  ASSIGN_OR_RETURN(ControlClient * client, context.client());
  ASSIGN_OR_RETURN(Fetched fetched, Fetch(targets, flags.targets.selector, *client));
  RETURN_IF_ERROR(FindByPrefix(targets, &fetched, *client));
  bool first = true;
  auto separate = [&] {
    if (!first) context.out << "\n\n";
    first = false;
  };
  for (const Found& found : fetched.found) {
    if (found.type.endpoints) {
      std::map<std::pair<std::string, std::string>, std::vector<v1::EndpointSlice>> services;
      for (const v1::Resource& object : found.objects) {
        const v1::EndpointSlice& slice = object.endpoint_slice();
        services[{slice.metadata().namespace_(), ServiceOfSlice(slice)}].push_back(slice);
      }
      for (const auto& [key, slices] : services) {
        v1::Resource object;
        *object.mutable_endpoint_slice() = slices.front();
        ASSIGN_OR_RETURN(Related related,
                         FetchRelated(found.type, object, flags.show_events, *client));
        separate();
        context.out << DescribeEndpoints(slices, related, context.now());
      }
      continue;
    }
    for (const v1::Resource& object : found.objects) {
      ASSIGN_OR_RETURN(Related related,
                       FetchRelated(found.type, object, flags.show_events, *client));
      separate();
      context.out << Describe(object, related, context.now());
    }
  }
  context.out.flush();
  if (first && fetched.errors.empty()) {
    context.err << (flags.targets.all_namespaces
                        ? std::string("No resources found\n")
                        : fmt::format("No resources found in {} namespace.\n", context.ns()));
  }
  for (const absl::Status& error : fetched.errors) context.err << ErrorText(error) << "\n";
  return fetched.errors.empty() ? 0 : 1;
}

}  // namespace

Command DescribeCommand() {
  return {.name = "describe",
          .summary = "Show details of resources, with their events",
          .group = kGroupTroubleshoot,
          .usage = "TYPE [NAME_PREFIX... | -l SELECTOR] | TYPE/NAME... [flags]",
          .examples =
              "  meshctl describe pod web-1\n"
              "  meshctl describe deployment/web\n"
              "  meshctl describe pods -l app=web\n",
          .define = [](CLI::App& app, Context& context) -> Action {
            auto flags = std::make_shared<Flags>();
            app.add_option("resources", flags->targets.args);
            app.add_option("-l,--selector", flags->targets.selector, "Label selector");
            app.add_flag("-A,--all-namespaces", flags->targets.all_namespaces,
                         "Resources of all namespaces");
            app.add_option("-f,--filename", flags->targets.files,
                           "Files or folders that name the resources")
                ->allow_extra_args(false)
                ->take_all();
            app.add_flag("-R,--recursive", flags->targets.recursive,
                         "Folders of -f with all below");
            app.add_flag("--show-events", flags->show_events, "Show events; on by default");
            return [flags, &context] { return Run(*flags, context); };
          }};
}

}  // namespace mesh::cli
