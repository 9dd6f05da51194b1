// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>
#include <ostream>
#include <set>

#include "cli/access_client.h"
#include "cli/client.h"
#include "cli/commands/each_node.h"
#include "cli/commands/pod_commands.h"
#include "cli/commands/targets.h"
#include "cli/output/table.h"
#include "common/status.h"
#include "fmt/format.h"

namespace mesh::cli {
namespace {

constexpr uint32_t kMeasureMs = 1000;
constexpr uint64_t kMebibyte = 1 << 20;

struct Flags {
  std::vector<std::string> args;
  std::string selector;
  std::string sort_by;
  bool all_namespaces = false;
  bool containers = false;
  bool no_headers = false;
};

absl::Status CheckSort(const std::string& sort_by) {
  if (sort_by.empty() || sort_by == "cpu" || sort_by == "memory") return absl::OkStatus();
  return UsageError("--sort-by accepts only cpu or memory");
}

std::string CpuText(uint64_t milli) { return fmt::format("{}m", milli); }
std::string MemoryText(uint64_t bytes) {
  return fmt::format("{}Mi", (bytes + kMebibyte - 1) / kMebibyte);
}
std::string ShareText(uint64_t part, uint64_t whole) {
  return whole == 0 ? "<unknown>" : fmt::format("{}%", part * 100 / whole);
}

struct Use {
  std::vector<std::string> name;  // namespace, pod, container
  uint64_t cpu_milli = 0, memory_bytes = 0;
};

// The largest first when sorted, else by name.
void Sort(std::vector<Use>& rows, const std::string& by) {
  std::sort(rows.begin(), rows.end(), [&](const Use& a, const Use& b) {
    if (by == "cpu" && a.cpu_milli != b.cpu_milli) return a.cpu_milli > b.cpu_milli;
    if (by == "memory" && a.memory_bytes != b.memory_bytes) return a.memory_bytes > b.memory_bytes;
    return a.name < b.name;
  });
}

// Measured at all of `nodes` at the same time. `failed`: one did not answer, which is said.
std::vector<v1::StatsResponse> Measure(const std::vector<std::string>& nodes, ControlClient& client,
                                       Context& context, bool* failed) {
  const auto access = AccessClient::New(client.server());
  return AskEach<v1::StatsResponse>(
      nodes,
      [&](const std::string& node) {
        v1::StatsRequest request;
        request.set_node(node);
        request.set_measure_ms(kMeasureMs);
        return access->Stats(request);
      },
      context, failed);
}

absl::StatusOr<int> TopNode(const Flags& flags, Context& context) {
  RETURN_IF_ERROR(CheckSort(flags.sort_by));
  ASSIGN_OR_RETURN(ControlClient * client, context.client());
  ASSIGN_OR_RETURN(const std::vector<std::string> nodes,
                   FindNodes(flags.args, flags.selector, *client));
  bool failed = false;
  std::map<std::string, v1::StatsResponse> by_name;
  std::vector<Use> rows;
  for (v1::StatsResponse& node : Measure(nodes, *client, context, &failed)) {
    rows.push_back({.name = {node.node()},
                    .cpu_milli = node.cpu_milli(),
                    .memory_bytes = node.memory_bytes()});
    by_name[rows.back().name[0]] = std::move(node);
  }
  Sort(rows, flags.sort_by);
  Table table{.headers = {"NAME", "CPU(cores)", "CPU(%)", "MEMORY(bytes)", "MEMORY(%)"}};
  for (const Use& row : rows) {
    const v1::StatsResponse& node = by_name[row.name[0]];
    table.rows.push_back(
        {row.name[0], CpuText(row.cpu_milli), ShareText(row.cpu_milli, node.cpu_capacity_milli()),
         MemoryText(row.memory_bytes), ShareText(row.memory_bytes, node.memory_capacity_bytes())});
  }
  if (!table.rows.empty()) context.out << Format(table, !flags.no_headers);
  return failed ? 1 : 0;
}

absl::StatusOr<int> TopPod(const Flags& flags, Context& context) {
  RETURN_IF_ERROR(CheckSort(flags.sort_by));
  if (flags.args.size() > 1) return UsageError("at most one pod; use -l for several");
  if (!flags.args.empty() && (!flags.selector.empty() || flags.all_namespaces))
    return UsageError("only a selector (-l), all namespaces (-A) or a POD name is allowed");
  ASSIGN_OR_RETURN(ControlClient * client, context.client());
  std::vector<v1::Pod> pods;
  if (!flags.args.empty()) {
    std::string note;
    ASSIGN_OR_RETURN(v1::Pod pod,
                     FindPod({.type = {v1::KIND_POD}, .ns = context.ns(), .name = flags.args[0]},
                             *client, &note));
    pods.push_back(std::move(pod));
  } else {
    const std::string ns = flags.all_namespaces ? "" : context.ns();
    ASSIGN_OR_RETURN(v1::ListResponse list, ListObjects(v1::KIND_POD, ns, flags.selector, *client));
    for (v1::Resource& item : *list.mutable_items()) pods.push_back(std::move(*item.mutable_pod()));
  }
  std::set<std::string> nodes;
  std::set<std::pair<std::string, std::string>> wanted;
  for (const v1::Pod& pod : pods) {
    if (pod.spec().node_name().empty()) continue;
    nodes.insert(pod.spec().node_name());
    wanted.emplace(pod.metadata().namespace_(), pod.metadata().name());
  }
  bool failed = false;
  std::map<std::vector<std::string>, Use> sums;
  for (const v1::StatsResponse& node :
       Measure({nodes.begin(), nodes.end()}, *client, context, &failed)) {
    for (const v1::ContainerUse& each : node.containers()) {
      if (!wanted.contains({each.namespace_(), each.pod()})) continue;
      std::vector<std::string> name = {each.namespace_(), each.pod()};
      if (flags.containers) name.push_back(each.container());
      Use& sum = sums[name];
      sum.name = std::move(name);
      sum.cpu_milli += each.cpu_milli();
      sum.memory_bytes += each.memory_bytes();
    }
  }
  std::vector<Use> rows;
  for (auto& [name, use] : sums) rows.push_back(std::move(use));
  Sort(rows, flags.sort_by);
  Table table;
  table.headers = flags.containers
                      ? std::vector<std::string>{"POD", "NAME", "CPU(cores)", "MEMORY(bytes)"}
                      : std::vector<std::string>{"NAME", "CPU(cores)", "MEMORY(bytes)"};
  if (flags.all_namespaces) table.headers.insert(table.headers.begin(), "NAMESPACE");
  for (const Use& row : rows) {
    std::vector<std::string> cells(row.name.begin() + (flags.all_namespaces ? 0 : 1),
                                   row.name.end());
    cells.push_back(CpuText(row.cpu_milli));
    cells.push_back(MemoryText(row.memory_bytes));
    table.rows.push_back(std::move(cells));
  }
  if (!table.rows.empty()) {
    context.out << Format(table, !flags.no_headers);
  } else if (!failed) {
    context.err << (flags.all_namespaces
                        ? std::string("No resources found\n")
                        : fmt::format("No resources found in {} namespace.\n", context.ns()));
  }
  return failed ? 1 : 0;
}

void DefineCommon(CLI::App& app, Flags& flags) {
  app.add_option("-l,--selector", flags.selector, "Label selector");
  app.add_option("--sort-by", flags.sort_by, "cpu or memory: the largest first");
  app.add_flag("--no-headers", flags.no_headers, "Leave out the headers");
}

}  // namespace

Command TopCommand() {
  Command node{.name = "node",
               .summary = "What nodes use",
               .usage = "[NAME | -l SELECTOR]",
               .examples = "  meshctl top node\n",
               .define = [](CLI::App& app, Context& context) -> Action {
                 auto flags = std::make_shared<Flags>();
                 app.add_option("name", flags->args);
                 DefineCommon(app, *flags);
                 return [flags, &context] { return TopNode(*flags, context); };
               }};
  node.aliases = {"nodes", "no"};
  Command pod{.name = "pod",
              .summary = "What pods use",
              .usage = "[NAME | -l SELECTOR] [-A] [--containers]",
              .examples =
                  "  meshctl top pod\n"
                  "  meshctl top pod web-1 --containers\n"
                  "  meshctl top pod -A --sort-by=memory\n",
              .define = [](CLI::App& app, Context& context) -> Action {
                auto flags = std::make_shared<Flags>();
                app.add_option("name", flags->args);
                DefineCommon(app, *flags);
                app.add_flag("-A,--all-namespaces", flags->all_namespaces,
                             "Pods of all namespaces");
                app.add_flag("--containers", flags->containers, "A line for each container");
                return [flags, &context] { return TopPod(*flags, context); };
              }};
  pod.aliases = {"pods", "po"};
  return {.name = "top",
          .summary = "Show what nodes and pods use of processors and memory",
          .group = kGroupTroubleshoot,
          .usage = "(node | pod)",
          .children = {std::move(node), std::move(pod)}};
}

}  // namespace mesh::cli
