// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <ostream>
#include <string>
#include <vector>

#include "api/flows/flow_filter.h"
#include "cli/client.h"
#include "cli/commands/commands.h"
#include "cli/commands/list_option.h"
#include "cli/commands/targets.h"
#include "cli/output/flow_rows.h"
#include "cli/output/structured.h"
#include "cli/output/table.h"
#include "common/status.h"
#include "fmt/format.h"

namespace mesh::cli {
namespace {

struct Flags {
  bool follow = false;
  std::string node;
  std::vector<std::string> pods, services, verdicts, reasons, protocols, ports, ips, from, to;
  uint32_t last = 1000, count = 0;
  std::string output = "table";
  bool no_headers = false, last_given = false;
};

std::vector<std::string> Upper(std::vector<std::string> words) {
  for (std::string& word : words) {
    for (char& c : word) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  return words;
}

absl::StatusOr<v1::FlowFilter> FilterOf(const Flags& flags, const std::string& ns) {
  v1::FlowFilter out;
  out.set_namespace_(ns);
  const auto add = [](const std::vector<std::string>& from, auto* to) {
    to->Add(from.begin(), from.end());
  };
  add(flags.pods, out.mutable_pods());
  add(flags.services, out.mutable_services());
  add(flags.verdicts, out.mutable_verdicts());
  add(flags.reasons, out.mutable_reasons());
  add(Upper(flags.protocols), out.mutable_protocols());
  add(flags.ips, out.mutable_ips());
  add(flags.from, out.mutable_from());
  add(flags.to, out.mutable_to());
  for (const std::string& text : flags.ports) {
    const bool digits = !text.empty() && text.size() <= 5 &&
                        std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
    if (!digits)
      return absl::InvalidArgumentError(
          fmt::format("--port: \"{}\" is no port: want 1 to 65535", text));
    out.add_ports(static_cast<uint32_t>(std::stoul(text)));
  }
  for (const std::string& reason : flags.reasons) {
    if (reason.empty()) return absl::InvalidArgumentError("--reason: \"\" is no reason");
  }
  const absl::Status checked = FlowFilter::Parse(out).status();
  // Fields are called as the flags are.
  if (!checked.ok())
    return absl::InvalidArgumentError(fmt::format("--{}", std::string(checked.message())));
  return out;
}

// Of a node that is not there nothing is ever told.
absl::Status CheckNodes(const v1::FlowFilter& filter, ControlClient& client) {
  ASSIGN_OR_RETURN(const FlowFilter parsed, FlowFilter::Parse(filter));
  if (parsed.Nodes().empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const v1::ListResponse nodes, ListObjects(v1::KIND_NODE, "", "", client));
  for (const FlowFilter::NamedNode& named : parsed.Nodes()) {
    const bool known = std::ranges::any_of(nodes.items(), [&](const v1::Resource& item) {
      return item.node().metadata().name() == named.node;
    });
    if (!known)
      return absl::NotFoundError(
          fmt::format("--{}: nodes \"{}\" not found", named.field, named.node));
  }
  return absl::OkStatus();
}

// Prints flows as they come. One thread.
class Printer {
 public:
  Printer(const Flags& flags, Context& context) : flags_(flags), context_(context) {}

  // False when all is printed that was asked for, or nobody reads any more.
  bool Print(const v1::FlowsChunk& chunk) {
    if (!chunk.error().empty()) {
      failed_ = true;
      context_.err << fmt::format("warning: {}\n", chunk.error());
    }
    std::vector<v1::Flow> flows(chunk.flows().begin(), chunk.flows().end());
    if (flags_.count > 0 && flows.size() > flags_.count - printed_)
      flows.resize(flags_.count - printed_);
    printed_ += flows.size();
    if (flags_.output == "table" || flags_.output == "wide") {
      PrintRows(flows);
    } else {
      for (const v1::Flow& flow : flows) PrintDocument(flow);
    }
    if (chunk.has_lost()) context_.err << FlowLossText(chunk.node(), chunk.lost());
    context_.err.flush();
    context_.out.flush();
    return context_.out.good() && (flags_.count == 0 || printed_ < flags_.count);
  }

  // Headers alone too: that it listens is seen.
  void PrintRows(const std::vector<v1::Flow>& flows) {
    const bool wide = flags_.output == "wide";
    Table table{.headers = FlowHeaders(wide)};
    for (const v1::Flow& flow : flows)
      table.rows.push_back(FlowRow(flow, wide, absl::LocalTimeZone()));
    context_.out << stream_.Next(table, !flags_.no_headers);
  }

  void Widen(const std::vector<std::string>& row) { stream_.Widen(row); }
  bool failed() const { return failed_; }

 private:
  // A document per flow: JSON on a line of its own.
  void PrintDocument(const v1::Flow& flow) {
    const std::string json = MessageJson(flow);
    context_.out << (flags_.output == "json" ? json + "\n" : "---\n" + YamlFromJson(json));
  }

  const Flags& flags_;
  Context& context_;
  TableStream stream_;
  size_t printed_ = 0;
  bool failed_ = false;
};

absl::StatusOr<int> RunFollow(const v1::FlowsRequest& request, const Flags& flags,
                              ControlClient& client, Context& context) {
  Printer printer(flags, context);
  printer.Widen(TypicalFlowRow());
  RETURN_IF_ERROR(
      client.Flows(request, [&](const v1::FlowsChunk& chunk) { return printer.Print(chunk); }));
  return printer.failed() ? 1 : 0;
}

// The nodes' flows in the order of time.
absl::StatusOr<int> RunOnce(const v1::FlowsRequest& request, const Flags& flags,
                            ControlClient& client, Context& context) {
  v1::FlowList list;
  std::string notes;
  bool failed = false;
  RETURN_IF_ERROR(client.Flows(request, [&](const v1::FlowsChunk& chunk) {
    if (!chunk.error().empty()) {
      failed = true;
      notes += fmt::format("warning: {}\n", chunk.error());
    }
    if (chunk.more())
      notes += fmt::format("{}: there are more flows than --last {}\n", chunk.node(), flags.last);
    for (const v1::Flow& flow : chunk.flows()) *list.add_flows() = flow;
    return true;
  }));
  std::stable_sort(list.mutable_flows()->begin(), list.mutable_flows()->end(),
                   [](const v1::Flow& a, const v1::Flow& b) {
                     return std::pair(a.time().seconds(), a.time().nanos()) <
                            std::pair(b.time().seconds(), b.time().nanos());
                   });
  if (flags.output == "json" || flags.output == "yaml") {
    const std::string json = MessageJson(list);
    context.out << (flags.output == "json" ? PrettyJson(json) : YamlFromJson(json));
  } else if (list.flows().empty()) {
    if (!failed) context.err << "No flows found.\n";
  } else {
    Printer(flags, context).PrintRows({list.flows().begin(), list.flows().end()});
  }
  context.out.flush();
  context.err << notes;
  return failed ? 1 : 0;
}

absl::StatusOr<int> Run(const Flags& flags, Context& context) {
  const std::vector<std::string> outputs = {"json", "table", "wide", "yaml"};
  if (std::ranges::find(outputs, flags.output) == outputs.end()) {
    return absl::InvalidArgumentError(
        fmt::format("unable to match a printer suitable for the output format \"{}\", allowed "
                    "formats are: json,table,wide,yaml",
                    flags.output));
  }
  if (flags.count > 0 && !flags.follow) return UsageError("--count goes with --follow");
  if (flags.last_given && flags.follow)
    return UsageError("--last goes without --follow; --count ends what is followed");
  v1::FlowsRequest request;
  request.set_node(flags.node);
  request.set_follow(flags.follow);
  request.set_limit(flags.last);
  ASSIGN_OR_RETURN(*request.mutable_filter(), FilterOf(flags, context.flags.ns));
  ASSIGN_OR_RETURN(ControlClient * client, context.client());
  RETURN_IF_ERROR(CheckNodes(request.filter(), *client));
  return flags.follow ? RunFollow(request, flags, *client, context)
                      : RunOnce(request, flags, *client, context);
}

}  // namespace

Command FlowsCommand() {
  return {
      .name = "flows",
      .summary = "Connections as the nodes see them: open ones, and what is dropped and why",
      .group = kGroupNetwork,
      .usage = "[--follow] [FILTER...] [--node NODE] [-o table|wide|json|yaml]",
      .examples =
          "  meshctl flows -n shop\n"
          "  meshctl flows --follow --verdict dropped --verdict refused\n"
          "  meshctl flows -f --from shop/web-* --to pay/api-0 --port 8080\n"
          "  meshctl flows -f --service pay/api -o json | jq .source.pod\n",
      .define = [](CLI::App& app, Context& context) -> Action {
        auto flags = std::make_shared<Flags>();
        const auto list = [&](const char* name, std::vector<std::string>* to, const char* help) {
          AddList(app, name, to, help);
        };
        app.add_flag("-f,--follow", flags->follow,
                     "What happens from now on, until interrupted; else what is open now, and what "
                     "was dropped of late");
        list("--pod", &flags->pods, "One of the ends: NAME, NAMESPACE/NAME or NAMESPACE/PREFIX*");
        list("--from", &flags->from, "Who sends: a pod, an address, a range, node/NAME or outside");
        list("--to", &flags->to, "Who gets it: as --from; of a Service its backend");
        list("--service", &flags->services, "Through this Service: NAME or NAMESPACE/NAME");
        list("--verdict", &flags->verdicts, "forwarded, dropped or refused");
        list("--reason", &flags->reasons, "Dropped for this, as in `bpf metrics list`");
        list("--proto", &flags->protocols, "tcp, udp or icmp");
        list("--port", &flags->ports, "At one of the ends, or as dialled");
        list("--ip", &flags->ips, "One of the ends, or as dialled: an address or a range");
        app.add_option("--node", flags->node, "As this node sees them; all nodes when absent");
        app.add_option("--count", flags->count, "With --follow: end after so many flows")
            ->check(CLI::Range(1, 1'000'000'000));
        CLI::Option* last = app.add_option("--last", flags->last,
                                           "Without --follow: the newest of each node at most")
                                ->check(CLI::Range(1, 100'000));
        app.add_option("-o,--output", flags->output,
                       "table, wide, json or yaml; with --follow a document per flow");
        app.add_flag("--no-headers", flags->no_headers, "Leave out the headers");
        return [flags, last, &context] {
          flags->last_given = last->count() > 0;
          return Run(*flags, context);
        };
      }};
}

}  // namespace mesh::cli
