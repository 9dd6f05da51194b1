// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <map>
#include <ostream>
#include <set>

#include "api/schema/schema.h"
#include "api/schema/validate.h"
#include "cli/client.h"
#include "cli/commands/commands.h"
#include "cli/output/dataplane_tables.h"
#include "cli/output/inspection_tables.h"
#include "cli/output/structured.h"
#include "common/ip_address.h"
#include "common/status.h"
#include "fmt/format.h"

namespace mesh::cli {
namespace {

constexpr absl::Duration kMeasureMax = absl::Seconds(10);

struct Flags {
  std::string service;
  std::string pod;
  std::string protocol;
  std::string ip;
  std::string map;
  std::string policy;
  std::string node;
  uint32_t limit = 100;
  std::string duration = "1s";
  std::string output = "table";
  bool no_headers = false;
  bool watch = false;
  std::string interval = "2s";
  bool interval_given = false;
};

// What a list can be asked for.
struct Look {
  v1::DataplaneTable table = v1::DATAPLANE_TABLE_UNSPECIFIED;
  bool by_service = false, by_pod = false, by_protocol = false, by_ip = false;
  bool service_argument = false, map_argument = false, policy_argument = false;
  bool measure = false;  // programs: count their runs
};

// The lists of DataplaneNode but for the one that holds the rows.
std::set<std::string> OtherLists(v1::DataplaneTable table) {
  const std::map<v1::DataplaneTable, std::string> names = {
      {v1::DATAPLANE_TABLE_SERVICE, "services"},
      {v1::DATAPLANE_TABLE_BACKEND, "backends"},
      {v1::DATAPLANE_TABLE_CONNTRACK, "conntrack"},
      {v1::DATAPLANE_TABLE_ENDPOINT, "endpoints"},
      {v1::DATAPLANE_TABLE_TUNNEL, "tunnels"},
      {v1::DATAPLANE_TABLE_METRICS, "metrics"},
      {v1::DATAPLANE_TABLE_FLOW_OWNERS, "flowOwners"},
      {v1::DATAPLANE_TABLE_IDENTITY, "identities"},
      {v1::DATAPLANE_TABLE_DNS, "dns"},
      {v1::DATAPLANE_TABLE_DNS_STATS, "dnsCounters"},
      {v1::DATAPLANE_TABLE_PROGRAM, "programs"},
      {v1::DATAPLANE_TABLE_MAP, "maps"},
      {v1::DATAPLANE_TABLE_MAP_ROWS, "mapEntries"},
      {v1::DATAPLANE_TABLE_POLICY, "policies"}};
  std::set<std::string> out;
  for (const auto& [other, name] : names) {
    if (other != (table == v1::DATAPLANE_TABLE_POLICY_STATS ? v1::DATAPLANE_TABLE_MAP : table))
      out.insert(name);
  }
  return out;
}

absl::StatusOr<absl::Duration> ParseTime(const char* flag, const std::string& text,
                                         absl::Duration max) {
  absl::Duration out;
  if (!absl::ParseDuration(text, &out) || out <= absl::ZeroDuration() || out > max) {
    return absl::InvalidArgumentError(
        fmt::format("invalid argument \"{}\" for \"{}\": want a duration above 0 and at most {}",
                    text, flag, absl::FormatDuration(max)));
  }
  return out;
}

// NAME or NAMESPACE/NAME; empty: none was given.
absl::Status CheckNamed(const std::string& flag, const std::string& text) {
  const size_t slash = text.find('/');
  const bool two = slash != std::string::npos;
  if (text.empty() || (schema::CheckDnsSubdomain(two ? text.substr(slash + 1) : text).empty() &&
                       (!two || schema::CheckDnsLabel(text.substr(0, slash)).empty())))
    return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("invalid argument \"{}\" for \"{}\": want NAME or NAMESPACE/NAME", text, flag));
}

absl::StatusOr<v1::ListDataplaneRequest> RequestOf(const Look& look, const Flags& flags,
                                                   const Context& context) {
  v1::ListDataplaneRequest out;
  out.set_table(look.table);
  out.set_node(flags.node);
  // The maps of a node hold all namespaces: without -n nothing is left out.
  out.set_namespace_(context.flags.ns);
  RETURN_IF_ERROR(CheckNamed(look.service_argument ? "SERVICE" : "--service", flags.service));
  RETURN_IF_ERROR(CheckNamed("--pod", flags.pod));
  RETURN_IF_ERROR(CheckNamed("POLICY", flags.policy));
  out.set_service(flags.service);
  out.set_pod(flags.pod);
  for (char c : flags.protocol)
    out.mutable_protocol()->push_back(static_cast<char>(std::toupper(c)));
  if (!flags.protocol.empty() && out.protocol() != "TCP" && out.protocol() != "UDP") {
    return absl::InvalidArgumentError(
        fmt::format("invalid argument \"{}\" for \"--proto\": want tcp or udp", flags.protocol));
  }
  if (!flags.ip.empty()) {
    const auto ip = IpAddress::Parse(flags.ip);
    if (!ip.ok()) {
      return absl::InvalidArgumentError(fmt::format("invalid argument \"{}\" for \"--ip\": {}",
                                                    flags.ip, std::string(ip.status().message())));
    }
    out.set_ip(ip->ToString());
  }
  out.set_map(flags.map);
  out.set_policy(flags.policy);
  if (look.map_argument) out.set_limit(flags.limit);
  if (look.measure) {
    ASSIGN_OR_RETURN(const absl::Duration time,
                     ParseTime("--duration", flags.duration, kMeasureMax));
    out.set_measure_ms(static_cast<uint32_t>(absl::ToInt64Milliseconds(time)));
  }
  return out;
}

// Nobody has rows of what was asked for: a Service without backends or addresses, or a policy that
// selects no pod, may have none.
absl::Status CheckThereIs(v1::Kind kind, const std::string& named, const Context& context,
                          ControlClient* client) {
  const size_t slash = named.find('/');
  const std::string ns = slash == std::string::npos ? context.flags.ns : named.substr(0, slash);
  const std::string name = slash == std::string::npos ? named : named.substr(slash + 1);
  v1::ListRequest request;
  request.set_kind(kind);
  request.set_namespace_(ns);
  ASSIGN_OR_RETURN(const v1::ListResponse response, client->List(request));
  for (const v1::Resource& item : response.items()) {
    if (schema::MetaOf(item).name() == name) return absl::OkStatus();
  }
  const std::string what = fmt::format(
      "{} \"{}\" not found in", kind == v1::KIND_SERVICE ? "services" : "networkpolicies", name);
  return absl::NotFoundError(ns.empty() ? what + " any namespace"
                                        : fmt::format("{} namespace {}", what, ns));
}

bool HasRows(const Look& look, const v1::ListDataplaneResponse& response) {
  return !DataplaneTableOf(look.table, response, false).rows.empty();
}

bool Structured(const Flags& flags) { return flags.output == "json" || flags.output == "yaml"; }

// What goes to the output for one answer.
std::string TextOf(const Look& look, const Flags& flags,
                   const v1::ListDataplaneResponse& response) {
  if (Structured(flags)) {
    // A node answers with one table; the lists of the others are noise.
    const std::string json = MessageJson(response, OtherLists(look.table));
    return flags.output == "json" ? PrettyJson(json) : YamlFromJson(json);
  }
  const bool wide = flags.output == "wide";
  const Table rows =
      look.measure ? ProgramStatsTable(response) : DataplaneTableOf(look.table, response, wide);
  std::string out;
  if (!rows.rows.empty()) out = Format(rows, !flags.no_headers);
  const bool has_occupancy =
      std::any_of(response.nodes().begin(), response.nodes().end(),
                  [](const v1::DataplaneNode& node) { return node.max_entries() > 0; });
  if (wide && has_occupancy) out += "\n" + OccupancyText(response);
  return out;
}

std::string MoreText(const Flags& flags, const v1::ListDataplaneResponse& response) {
  std::string out;
  for (const v1::DataplaneNode& node : response.nodes()) {
    if (node.more())
      out += fmt::format("{}: the map has more rows than --limit {}\n", node.node(), flags.limit);
  }
  return out;
}

// Goes on until it is interrupted. On a terminal the newest state is drawn in place; otherwise it
// is printed again when it has changed.
absl::StatusOr<int> Watch(const Look& look, const Flags& flags,
                          const v1::ListDataplaneRequest& request, Context& context) {
  ASSIGN_OR_RETURN(const absl::Duration interval,
                   ParseTime("--interval", flags.interval, absl::Hours(1)));
  ASSIGN_OR_RETURN(ControlClient * client, context.client());
  std::string last, last_failures;
  for (bool first = true;; first = false) {
    ASSIGN_OR_RETURN(const v1::ListDataplaneResponse response, client->ListDataplane(request));
    const std::string text = TextOf(look, flags, response), failures = FailureText(response);
    if (context.out_is_terminal) {
      // Home, the text, and nothing of what was below it.
      context.out << "\033[H\033[2J"
                  << absl::FormatTime("%H:%M:%S", context.now(), absl::LocalTimeZone())
                  << fmt::format("  every {}\n\n", absl::FormatDuration(interval)) << text
                  << failures;
    } else if (first || text != last) {
      if (!first && flags.output != "json")
        context.out << (flags.output == "yaml" ? "---\n" : "\n");
      context.out << text;
    }
    context.out.flush();
    if (!context.out_is_terminal && failures != last_failures) context.err << failures;
    last = text;
    last_failures = failures;
    if (!context.out.good() || !context.pause || !context.pause(interval))
      return failures.empty() ? 0 : 1;
  }
}

absl::StatusOr<int> Run(const Look& look, const Flags& flags, Context& context) {
  if (!Structured(flags) && flags.output != "wide" && flags.output != "table") {
    return absl::InvalidArgumentError(
        fmt::format("unable to match a printer suitable for the output format \"{}\", allowed "
                    "formats are: json,table,wide,yaml",
                    flags.output));
  }
  if (!flags.watch && flags.interval_given) return UsageError("--interval goes with --watch");
  ASSIGN_OR_RETURN(const v1::ListDataplaneRequest request, RequestOf(look, flags, context));
  if (flags.watch) return Watch(look, flags, request, context);
  ASSIGN_OR_RETURN(ControlClient * client, context.client());
  ASSIGN_OR_RETURN(const v1::ListDataplaneResponse response, client->ListDataplane(request));
  const std::string text = TextOf(look, flags, response), failures = FailureText(response);
  if (look.service_argument && failures.empty() && !HasRows(look, response))
    RETURN_IF_ERROR(CheckThereIs(v1::KIND_SERVICE, flags.service, context, client));
  if (look.policy_argument && failures.empty() && !HasRows(look, response))
    RETURN_IF_ERROR(CheckThereIs(v1::KIND_NETWORK_POLICY, flags.policy, context, client));
  context.out << text;
  context.out.flush();
  if (text.empty() && failures.empty()) context.err << "No entries found.\n";
  context.err << MoreText(flags, response) << failures;
  return failures.empty() ? 0 : 1;
}

std::string UsageOf(const Look& look) {
  std::string out;
  if (look.service_argument) out += "SERVICE ";
  if (look.policy_argument) out += "POLICY ";
  if (look.map_argument) out += "MAP [--limit ROWS] ";
  if (look.measure) out += "[--duration TIME] ";
  if (look.by_service) out += "[--service SERVICE] ";
  if (look.by_pod) out += "[--pod POD] ";
  if (look.by_protocol) out += "[--proto tcp|udp] ";
  if (look.by_ip) out += "[--ip ADDRESS] ";
  return out + "[-n NAMESPACE] [--node NODE] [-o table|wide|json|yaml] [--watch]";
}

Command LookCommand(std::string name, std::string summary, Look look) {
  return {.name = std::move(name),
          .summary = std::move(summary),
          .usage = UsageOf(look),
          .define = [look](CLI::App& app, Context& context) -> Action {
            auto flags = std::make_shared<Flags>();
            if (look.service_argument)
              app.add_option("service", flags->service, "NAME or NAMESPACE/NAME")->required();
            if (look.policy_argument)
              app.add_option("policy", flags->policy, "NAME or NAMESPACE/NAME")->required();
            if (look.map_argument) {
              app.add_option("map", flags->map, "As `bpf map list` names it")->required();
              app.add_option("--limit", flags->limit, "How many rows of each node at most")
                  ->check(CLI::Range(1, 100'000));
            }
            if (look.measure)
              app.add_option("--duration", flags->duration, "How long runs are counted, up to 10s");
            const auto only = [&app](const char* name, std::string* to, const char* help) {
              app.add_option(name, *to, help)->check([](const std::string& given) {
                return given.empty() ? "give one, or leave the flag out" : "";
              });
            };
            if (look.by_service)
              only("--service", &flags->service,
                   "Only entries of this Service, NAME or NAMESPACE/NAME");
            if (look.by_pod)
              only("--pod", &flags->pod, "Only entries of this pod, NAME or NAMESPACE/NAME");
            if (look.by_protocol) only("--proto", &flags->protocol, "Only entries of tcp or udp");
            if (look.by_ip) only("--ip", &flags->ip, "Only entries with this address");
            only("--node", &flags->node, "Only this node; all nodes when absent");
            app.add_option("-o,--output", flags->output,
                           "table, wide (more columns, and how full the map is), json or yaml");
            app.add_flag("--no-headers", flags->no_headers, "Leave out the headers");
            app.add_flag("-w,--watch", flags->watch,
                         "Go on, until interrupted: drawn in place on a terminal, else printed "
                         "again when something has changed");
            const CLI::Option* interval =
                app.add_option("--interval", flags->interval, "Between two looks of --watch (2s)");
            return [look, flags, interval, &context] {
              flags->interval_given = interval->count() > 0;
              return Run(look, *flags, context);
            };
          }};
}

Command TableCommand(std::string name, std::vector<std::string> aliases, std::string summary,
                     std::vector<Command> children) {
  for (Command& child : children) {
    if (child.name == "list") child.aliases = {"ls"};
    if (child.summary.empty()) child.summary = summary;
  }
  return {.name = std::move(name),
          .summary = std::move(summary),
          .children = std::move(children),
          .aliases = std::move(aliases)};
}

// All filters that fit rows with a Service.
Look ServiceLook(v1::DataplaneTable table, bool named) {
  return {.table = table,
          .by_service = !named,
          .by_pod = true,
          .by_protocol = true,
          .by_ip = true,
          .service_argument = named};
}

}  // namespace

Command BpfCommand() {
  const auto list = [](Look look) { return LookCommand("list", "", look); };
  const auto of_services = [&](v1::DataplaneTable table, const std::string& summary) {
    return std::vector<Command>{
        list(ServiceLook(table, false)),
        LookCommand("get", summary + " of one Service", ServiceLook(table, true))};
  };
  const std::string services = "Service addresses and their backends";
  const std::string backends = "Backends and their state";
  return {
      .name = "bpf",
      .summary = "Read the BPF maps of the nodes, with names in place of numbers",
      .group = kGroupNetwork,
      .children = {
          TableCommand("service", {"services", "svc"}, services,
                       of_services(v1::DATAPLANE_TABLE_SERVICE, services)),
          TableCommand("backend", {"backends"}, backends,
                       of_services(v1::DATAPLANE_TABLE_BACKEND, backends)),
          TableCommand(
              "ct", {"conntrack"}, "Connections and where they go",
              {list(ServiceLook(v1::DATAPLANE_TABLE_CONNTRACK, false)),
               LookCommand("stats",
                           "How many connections each pod has, and how many are left to it",
                           {.table = v1::DATAPLANE_TABLE_FLOW_OWNERS})}),
          TableCommand(
              "endpoint", {"endpoints", "ep"}, "Pods of the node, as the datapath delivers to them",
              {list({.table = v1::DATAPLANE_TABLE_ENDPOINT, .by_pod = true, .by_ip = true})}),
          TableCommand(
              "identity", {"identities", "id"},
              "Whom the datapath tells apart, and who is known to be it",
              {list({.table = v1::DATAPLANE_TABLE_IDENTITY, .by_pod = true, .by_ip = true})}),
          TableCommand(
              "policy", {"policies", "netpol"},
              "What policies say about the node's pods: whom, which ports, and which rule it is",
              {list({.table = v1::DATAPLANE_TABLE_POLICY, .by_pod = true}),
               LookCommand(
                   "get", "What one policy says about the node's pods",
                   {.table = v1::DATAPLANE_TABLE_POLICY, .by_pod = true, .policy_argument = true}),
               LookCommand("stats", "How full the maps of policies are",
                           {.table = v1::DATAPLANE_TABLE_POLICY_STATS})}),
          TableCommand("tunnel", {"tunnels"},
                       "Other nodes, the pod addresses behind them and the way there",
                       {list({.table = v1::DATAPLANE_TABLE_TUNNEL, .by_ip = true})}),
          TableCommand("dns", {}, "Names that the node's resolver answers by itself",
                       {list({.table = v1::DATAPLANE_TABLE_DNS, .by_service = true, .by_ip = true}),
                        LookCommand("stats", "Questions of pods, and what became of them",
                                    {.table = v1::DATAPLANE_TABLE_DNS_STATS})}),
          TableCommand("metrics", {"metric"}, "Packets forwarded, and dropped by reason",
                       {list({.table = v1::DATAPLANE_TABLE_METRICS})}),
          TableCommand("prog", {"programs", "program"}, "Programs and where they are attached",
                       {list({.table = v1::DATAPLANE_TABLE_PROGRAM}),
                        LookCommand("stats", "How often programs run, and how long",
                                    {.table = v1::DATAPLANE_TABLE_PROGRAM, .measure = true})}),
          TableCommand(
              "map", {"maps"}, "All maps, and how full they are",
              {list({.table = v1::DATAPLANE_TABLE_MAP}),
               LookCommand("dump", "The rows of a map, by the names of their fields",
                           {.table = v1::DATAPLANE_TABLE_MAP_ROWS, .map_argument = true})}),
      }};
}

}  // namespace mesh::cli
