// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <ostream>
#include <set>

#include "cli/client.h"
#include "cli/commands/commands.h"
#include "cli/output/dataplane_tables.h"
#include "cli/output/structured.h"
#include "common/status.h"
#include "fmt/format.h"

namespace mesh::cli {
namespace {

struct Flags {
  std::string service;
  std::string node;
  std::string output = "table";
  bool no_headers = false;
};

// The field of DataplaneNode that holds the rows.
const char* ListName(v1::DataplaneTable table) {
  switch (table) {
    case v1::DATAPLANE_TABLE_SERVICE:
      return "services";
    case v1::DATAPLANE_TABLE_BACKEND:
      return "backends";
    case v1::DATAPLANE_TABLE_CONNTRACK:
      return "conntrack";
    case v1::DATAPLANE_TABLE_ENDPOINT:
      return "endpoints";
    case v1::DATAPLANE_TABLE_TUNNEL:
      return "tunnels";
    case v1::DATAPLANE_TABLE_FLOW_OWNERS:
      return "flowOwners";
    default:
      return "metrics";
  }
}

absl::StatusOr<int> Run(v1::DataplaneTable table, const Flags& flags, Context& context) {
  const bool wide = flags.output == "wide";
  const bool structured = flags.output == "json" || flags.output == "yaml";
  if (!wide && !structured && flags.output != "table") {
    return absl::InvalidArgumentError(
        fmt::format("unable to match a printer suitable for the output format \"{}\", allowed "
                    "formats are: json,table,wide,yaml",
                    flags.output));
  }
  ASSIGN_OR_RETURN(ControlClient * client, context.client());
  v1::ListDataplaneRequest request;
  request.set_table(table);
  request.set_node(flags.node);
  // The maps of a node hold all namespaces: without -n nothing is left out.
  request.set_namespace_(context.flags.ns);
  request.set_service(flags.service);
  ASSIGN_OR_RETURN(v1::ListDataplaneResponse response, client->ListDataplane(request));
  if (structured) {
    // A node answers with one table; the lists of the others are noise.
    std::set<std::string> others = {"services", "backends", "conntrack", "endpoints",
                                    "tunnels",  "metrics",  "flowOwners"};
    others.erase(ListName(table));
    const std::string json = MessageJson(response, others);
    context.out << (flags.output == "json" ? PrettyJson(json) : YamlFromJson(json));
  } else {
    Table rows = DataplaneTableOf(table, response, wide);
    if (!rows.rows.empty()) context.out << Format(rows, !flags.no_headers);
    context.out.flush();
    if (rows.rows.empty()) context.err << "No entries found.\n";
    if (wide) context.out << "\n" << OccupancyText(response);
  }
  context.out.flush();
  const std::string failures = FailureText(response);
  context.err << failures;
  return failures.empty() ? 0 : 1;
}

Command TableCommand(v1::DataplaneTable table, std::string name, std::vector<std::string> aliases,
                     std::string summary) {
  // How one Service is asked for.
  enum class ByService : uint8_t { kNot, kFlag, kArgument };
  const auto define = [](v1::DataplaneTable rows, ByService by) {
    return [rows, by](CLI::App& app, Context& context) -> Action {
      auto flags = std::make_shared<Flags>();
      if (by == ByService::kArgument) {
        app.add_option("service", flags->service)->required();
      } else if (by == ByService::kFlag) {
        app.add_option("--service", flags->service, "Only entries of this Service");
      }
      app.add_option("--node", flags->node, "Only this node; all nodes when absent");
      app.add_option("-o,--output", flags->output,
                     "table, wide (more columns, and how full the map is), json or yaml");
      app.add_flag("--no-headers", flags->no_headers, "Leave out the headers");
      return [rows, flags, &context] { return Run(rows, *flags, context); };
    };
  };
  const std::string usage = "[-n NAMESPACE] [--node NODE] [-o table|wide|json|yaml]";
  std::vector<Command> children = {{.name = "list",
                                    .summary = summary,
                                    .usage = "[--service SERVICE] " + usage,
                                    .define = define(table, ByService::kFlag),
                                    .aliases = {"ls"}}};
  if (table == v1::DATAPLANE_TABLE_SERVICE || table == v1::DATAPLANE_TABLE_BACKEND) {
    children.push_back({.name = "get",
                        .summary = summary + " of one Service",
                        .usage = "SERVICE " + usage,
                        .define = define(table, ByService::kArgument)});
  }
  if (table == v1::DATAPLANE_TABLE_CONNTRACK) {
    children.push_back({.name = "stats",
                        .summary = "How many connections each pod has, and how many are left to it",
                        .usage = usage,
                        .define = define(v1::DATAPLANE_TABLE_FLOW_OWNERS, ByService::kNot)});
  }
  return {.name = std::move(name),
          .summary = std::move(summary),
          .children = std::move(children),
          .aliases = std::move(aliases)};
}

}  // namespace

Command BpfCommand() {
  return {.name = "bpf",
          .summary = "Read the BPF maps of the nodes, with names in place of numbers",
          .group = kGroupNetwork,
          .children = {
              TableCommand(v1::DATAPLANE_TABLE_SERVICE, "service", {"services", "svc"},
                           "Service addresses and their backends"),
              TableCommand(v1::DATAPLANE_TABLE_BACKEND, "backend", {"backends"},
                           "Backends and their state"),
              TableCommand(v1::DATAPLANE_TABLE_CONNTRACK, "ct", {"conntrack"},
                           "Connections and where they go"),
              TableCommand(v1::DATAPLANE_TABLE_ENDPOINT, "endpoint", {"endpoints", "ep"},
                           "Pods of the node, as the datapath delivers to them"),
              TableCommand(v1::DATAPLANE_TABLE_TUNNEL, "tunnel", {"tunnels"},
                           "Other nodes and the pod addresses behind them"),
              TableCommand(v1::DATAPLANE_TABLE_METRICS, "metrics", {"metric"},
                           "Packets forwarded, and dropped by reason"),
          }};
}

}  // namespace mesh::cli
