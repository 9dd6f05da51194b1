// SPDX-License-Identifier: Apache-2.0
// meshctl local: {up,down,status,exec,outside,load-image}.
#include <CLI/CLI.hpp>
#include <map>
#include <memory>
#include <ostream>

#include "cli/client.h"
#include "cli/command.h"
#include "cli/commands/commands.h"
#include "cli/local/cluster.h"
#include "cli/local/node.h"
#include "cli/output/table.h"
#include "common/status.h"
#include "fmt/format.h"

namespace mesh::cli {
namespace {

using local::Layout;

// Every subcommand takes the cluster's name.
std::shared_ptr<std::string> AddName(CLI::App& app) {
  auto name = std::make_shared<std::string>(local::kDefaultCluster);
  app.add_option("--name", *name,
                 "Name of the cluster, for more than one on a machine (default \"local\")");
  return name;
}

bool IsReady(const v1::Node& node) {
  for (const v1::Condition& condition : node.status().conditions()) {
    if (condition.type() == "Ready") return condition.status() == "True";
  }
  return false;
}

absl::StatusOr<std::vector<std::string>> ReadyNodes(const std::string& server) {
  ASSIGN_OR_RETURN(const std::shared_ptr<ControlClient> client,
                   Connect(server, absl::Milliseconds(500)));
  v1::ListRequest request;
  request.set_kind(v1::KIND_NODE);
  ASSIGN_OR_RETURN(const v1::ListResponse response, client->List(request));
  std::vector<std::string> names;
  for (const v1::Resource& item : response.items()) {
    if (IsReady(item.node())) names.push_back(item.node().metadata().name());
  }
  return names;
}

Command UpCommand() {
  return {
      .name = "up",
      .summary = "Start a cluster of nodes made of namespaces on this machine",
      .group = "",
      .usage = "[--nodes N] [--wait=false]",
      .examples =
          "  # Three nodes\n  meshctl local up\n\n  # One, without waiting for it\n"
          "  meshctl local up --nodes 1 --wait=false\n\n  # IPv4 only, without a tunnel\n"
          "  meshctl local up --ip-family ipv4 --routing native\n",
      .define = [](CLI::App& app, Context& context) -> Action {
        struct Flags {
          local::UpOptions options;
          std::string timeout = "60s";
          std::string family;
        };
        auto flags = std::make_shared<Flags>();
        auto name = AddName(app);
        local::UpOptions& o = flags->options;
        app.add_option("--nodes", o.nodes, "How many nodes (default 3)");
        app.add_flag("--wait,!--no-wait", o.wait, "Return when every node is Ready (default true)");
        app.add_option("--timeout", flags->timeout, "How long to wait (default 60s)");
        app.add_option("--runtime", o.runtime, "runc or crun (default: crun when it is installed)");
        app.add_option("--ip-family", flags->family,
                       "ipv4 or dual: also IPv6 (default dual where the kernel has IPv6)")
            ->check(CLI::IsMember({"ipv4", "dual"}));
        app.add_option("--routing", o.routing,
                       "vxlan, or native: packets between pods go as they are (default vxlan)")
            ->check(CLI::IsMember({"vxlan", "native"}));
        app.add_option("--cluster-cidr", o.cluster_cidr,
                       "Ranges of pod addresses (default 10.244.0.0/16,fd00:10:244::/48)");
        app.add_option("--service-cidr", o.service_cidr,
                       "Ranges of Service addresses (default 10.96.0.0/16,fd00:10:96::/112)");
        app.add_option("--load-balancer-pool", o.load_balancer_pool,
                       "Addresses for Services of type LoadBalancer, in 10.89.0.0/24 and "
                       "fd00:10:89::/64 (default "
                       "10.89.0.200-10.89.0.250,fd00:10:89::200-fd00:10:89::250)");
        app.add_option("--non-masquerade-cidrs", o.non_masquerade_cidrs,
                       "Destinations outside of the cluster that see the pods' own addresses, with "
                       "commas, or given again; they need a way back to the pods (default none)")
            ->delimiter(',')
            ->allow_extra_args(false);
        app.add_option(
               "--xdp", o.xdp,
               "Of the agents: XDP on the uplink, auto or off; not on for veths (default auto)")
            ->check(CLI::IsMember({"auto", "on", "off"}));
        app.add_option("--log-level", o.log_level, "Of meshd and the agents (default info)")
            ->check(CLI::IsMember({"trace", "debug", "info", "warn", "error", "off"}));
        return [flags, name, &app, &context]() -> absl::StatusOr<int> {
          for (const CLI::Option* option : app.get_options()) {
            if (option->count() > 0) flags->options.asked.insert(option->get_name());
          }
          if (!absl::ParseDuration(flags->timeout, &flags->options.timeout)) {
            return UsageError(
                fmt::format("invalid argument \"{}\" for \"--timeout\" flag: expected a "
                            "duration such as 60s",
                            flags->timeout));
          }
          if (!flags->family.empty())
            flags->options.families =
                flags->family == "dual" ? local::IpFamilies::kDual : local::IpFamilies::kIpv4;
          ASSIGN_OR_RETURN(const Layout layout, Layout::Create(*name));
          RETURN_IF_ERROR(local::Up(layout, flags->options, ReadyNodes, context.out));
          return 0;
        };
      },
  };
}

Command DownCommand() {
  return {
      .name = "down",
      .summary = "Remove the cluster and everything it left on this machine",
      .group = "",
      .usage = "",
      .examples = "",
      .define = [](CLI::App& app, Context& context) -> Action {
        auto name = AddName(app);
        return [name, &context]() -> absl::StatusOr<int> {
          ASSIGN_OR_RETURN(const Layout layout, Layout::Create(*name));
          RETURN_IF_ERROR(local::Down(layout, context.out));
          return 0;
        };
      },
  };
}

void PrintStatus(const local::ClusterStatus& status, std::ostream& out) {
  Table table{
      .headers = {"NAME", "STATUS", "ADDRESS", "NAMESPACE", "INIT", "CONTAINERD", "AGENT", "MESHD"},
      .rows = {}};
  for (const local::NodeStatus& node : status.nodes) {
    const auto pid = [&](const char* service) {
      const auto it = node.pids.find(service);
      return it == node.pids.end() ? std::string("-") : std::to_string(it->second);
    };
    const char* state = !node.pids.contains("node-init") ? "Down"
                        : node.ready                     ? "Ready"
                                                         : "NotReady";
    table.rows.push_back(
        {node.name, state,
         node.address6.empty() ? node.address : fmt::format("{},{}", node.address, node.address6),
         node.netns, pid("node-init"), pid("containerd"), pid("agent"), pid("meshd")});
  }
  out << Format(table, true);
}

Command StatusCommand() {
  return {
      .name = "status",
      .summary = "Show the nodes of the local cluster, their addresses, namespaces and processes",
      .group = "",
      .usage = "[-o json]",
      .examples = "",
      .define = [](CLI::App& app, Context& context) -> Action {
        auto name = AddName(app);
        auto output = std::make_shared<std::string>();
        app.add_option("-o,--output", *output, "Output format: json");
        return [name, output, &context]() -> absl::StatusOr<int> {
          if (!output->empty() && *output != "json") {
            return UsageError(
                fmt::format("unable to match a printer suitable for the output format "
                            "\"{}\", allowed formats are: json",
                            *output));
          }
          ASSIGN_OR_RETURN(const Layout layout, Layout::Create(*name));
          ASSIGN_OR_RETURN(local::ClusterStatus status, local::GetStatus(layout));
          if (!status.nodes.empty()) {
            if (const auto ready = ReadyNodes("unix:" + layout.Socket()); ready.ok()) {
              for (local::NodeStatus& node : status.nodes) {
                node.ready = std::find(ready->begin(), ready->end(), node.name) != ready->end();
              }
            }
          }
          if (*output == "json") {
            context.out << local::StatusToJson(layout, status);
          } else if (status.nodes.empty()) {
            context.out << local::NotRunningText(layout) << "\n";
          } else {
            PrintStatus(status, context.out);
          }
          return status.running ? 0 : 1;
        };
      },
  };
}

Command ExecCommandInNode() {
  return {
      .name = "exec",
      .summary = "Run a command in a node",
      .group = "",
      .usage = "NODE -- COMMAND [ARG...]",
      .examples = "  meshctl local exec n2 -- ip addr\n",
      .define = [](CLI::App& app, Context& context) -> Action {
        auto name = AddName(app);
        auto words = std::make_shared<std::vector<std::string>>();
        app.add_option("node", *words);
        return [name, words, &context]() -> absl::StatusOr<int> {
          const std::vector<std::string> command = context.after_dash.value_or(
              std::vector<std::string>(words->begin() + (words->empty() ? 0 : 1), words->end()));
          if (words->empty() || command.empty()) {
            return UsageError("give a node and a command: NODE -- COMMAND [ARG...]");
          }
          ASSIGN_OR_RETURN(const Layout layout, Layout::Create(*name));
          return local::Exec(layout, words->front(), command);
        };
      },
      .children = {},
      .aliases = {},
      .takes_dash = true,
  };
}

Command OutsideCommand() {
  return {
      .name = "outside",
      .summary = "Run a command outside the cluster, on the nodes' link",
      .group = "",
      .usage = "-- COMMAND [ARG...]",
      .examples =
          "  # A node port, from outside\n"
          "  meshctl local outside -- curl http://10.89.0.11:30080/\n"
          "  meshctl local outside -- curl http://[fd00:10:89::11]:30080/\n",
      .define = [](CLI::App& app, Context& context) -> Action {
        auto name = AddName(app);
        auto words = std::make_shared<std::vector<std::string>>();
        app.add_option("command", *words);
        return [name, words, &context]() -> absl::StatusOr<int> {
          const std::vector<std::string> command = context.after_dash.value_or(*words);
          if (command.empty()) return UsageError("give a command: -- COMMAND [ARG...]");
          ASSIGN_OR_RETURN(const Layout layout, Layout::Create(*name));
          context.out.flush();
          return local::ExecOutside(layout, command);
        };
      },
      .children = {},
      .aliases = {},
      .takes_dash = true,
  };
}

Command LoadImageCommand() {
  return {
      .name = "load-image",
      .summary = "Put an image archive (OCI or `docker save`) on every node",
      .group = "",
      .usage = "ARCHIVE [--as REFERENCE]...",
      .examples = "  meshctl local load-image web.tar --as registry.example.com/web:v1\n",
      .define = [](CLI::App& app, Context& context) -> Action {
        struct Flags {
          std::string archive;
          std::vector<std::string> names;
        };
        auto flags = std::make_shared<Flags>();
        auto name = AddName(app);
        app.add_option("archive", flags->archive)->required();
        app.add_option("--as", flags->names, "Another name for the image; may be given again")
            ->allow_extra_args(false);
        return [flags, name, &context]() -> absl::StatusOr<int> {
          ASSIGN_OR_RETURN(const Layout layout, Layout::Create(*name));
          RETURN_IF_ERROR(local::LoadImage(layout, flags->archive, flags->names, context.out));
          return 0;
        };
      },
  };
}

// Not for people: `up` runs them.
Command NodeCommand(const char* command_name, absl::Status (*run)(const std::string&)) {
  return {
      .name = command_name,
      .summary = "Part of `local up`",
      .group = "",
      .usage = "FILE",
      .examples = "",
      .define = [run](CLI::App& app, Context&) -> Action {
        auto file = std::make_shared<std::string>();
        app.add_option("file", *file)->required();
        return [file, run]() -> absl::StatusOr<int> {
          RETURN_IF_ERROR(run(*file));
          return 0;
        };
      },
      .children = {},
      .aliases = {},
      .takes_dash = false,
      .hidden = true,
  };
}

}  // namespace

Command LocalCommand() {
  return {
      .name = "local",
      .summary = "Run a cluster on this machine",
      .group = kGroupCluster,
      .usage = "",
      .examples = "",
      .define = nullptr,
      .children = {UpCommand(), DownCommand(), StatusCommand(), ExecCommandInNode(),
                   OutsideCommand(), LoadImageCommand(),
                   NodeCommand("node-start", local::StartNode),
                   NodeCommand("node-init", local::RunNodeInit)},
  };
}

}  // namespace mesh::cli
