// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <ostream>
#include <string>
#include <vector>

#include "cli/client.h"
#include "cli/commands/commands.h"
#include "cli/commands/targets.h"
#include "cli/commands/why_subject.h"
#include "cli/output/structured.h"
#include "cli/output/why.h"
#include "common/status.h"
#include "fmt/format.h"

namespace mesh::cli {
namespace {

struct Flags {
  std::vector<std::string> args;
  std::string output;
};

void Name(const std::string& ns, const std::string& name, v1::WhyObject* out) {
  out->set_namespace_(ns);
  out->set_name(name);
}

// The pod, or of a workload of that name the one that is fit best.
absl::StatusOr<v1::Pod> FindAsker(const Target& target, Context& context, ControlClient& client) {
  std::string note;
  absl::StatusOr<v1::Pod> pod = FindPod(target, client, &note);
  if (!pod.ok() && IsServerNotFound(pod.status()) && target.type.kind == v1::KIND_POD) {
    for (const v1::Kind kind : {v1::KIND_DEPLOYMENT, v1::KIND_REPLICA_SET}) {
      absl::StatusOr<v1::Pod> other = FindPod({{kind}, target.ns, target.name}, client, &note);
      if (other.ok() || !IsServerNotFound(other.status())) {
        pod = std::move(other);
        break;
      }
    }
  }
  if (!note.empty()) context.err << note << "\n";
  return pod;
}

absl::StatusOr<std::vector<v1::WhyRequest>> RequestsOf(const WhySubject& subject, Context& context,
                                                       ControlClient& client) {
  std::vector<v1::WhyRequest> requests;
  const Target& target = subject.target;
  if (subject.is_request) {
    ASSIGN_OR_RETURN(v1::Pod pod, FindAsker(target, context, client));
    v1::WhyConnection& connection = *requests.emplace_back().mutable_connection();
    Name(target.ns, pod.metadata().name(), connection.mutable_from());
    if (subject.host.empty()) {
      Name(subject.to_ns, subject.to_name, connection.mutable_to());
    } else {
      connection.set_host(subject.host);
    }
    connection.set_port(subject.port);
    connection.set_port_name(subject.port_name);
    connection.set_protocol(subject.protocol);
    return requests;
  }
  switch (target.type.endpoints ? v1::KIND_SERVICE : target.type.kind) {
    case v1::KIND_POD:
      Name(target.ns, target.name, requests.emplace_back().mutable_pod());
      return requests;
    case v1::KIND_SERVICE:
      Name(target.ns, target.name, requests.emplace_back().mutable_service());
      return requests;
    case v1::KIND_NETWORK_POLICY:
      Name(target.ns, target.name, requests.emplace_back().mutable_network_policy());
      return requests;
    case v1::KIND_DEPLOYMENT:
    case v1::KIND_REPLICA_SET: {
      ASSIGN_OR_RETURN(std::vector<v1::Pod> pods, FindPods(target, client));
      if (pods.empty())
        return absl::NotFoundError(
            fmt::format("{}/{} has no pods; its events may tell why: meshctl describe {} {} -n {}",
                        SingularText(target.type), target.name, SingularText(target.type),
                        target.name, target.ns));
      for (const v1::Pod& pod : pods)
        Name(target.ns, pod.metadata().name(), requests.emplace_back().mutable_pod());
      return requests;
    }
    default:
      return UsageError(
          fmt::format("why knows pods, services, deployments, replicasets, networkpolicies and "
                      "requests, not {}",
                      PluralText(target.type)));
  }
}

void PrintLogs(const v1::LogsRequest& request, Context& context, ControlClient& client) {
  std::string text;
  const absl::Status status = client.Logs(request, [&](std::string_view chunk) {
    text += chunk;
    return true;
  });
  if (!status.ok()) {
    context.out << fmt::format("           (no log: {})\n", std::string(status.message()));
    return;
  }
  if (text.empty()) {
    context.out << "           (it wrote no log)\n";
    return;
  }
  size_t begin = 0;
  while (begin < text.size()) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    context.out << "         | " << text.substr(begin, end - begin) << "\n";
    begin = end + 1;
  }
}

absl::StatusOr<int> Run(const Flags& flags, Context& context) {
  if (!flags.output.empty() && flags.output != "json" && flags.output != "yaml")
    return absl::InvalidArgumentError(
        fmt::format("unable to match a printer suitable for the output format \"{}\", allowed "
                    "formats are: json,yaml",
                    flags.output));
  ASSIGN_OR_RETURN(const WhySubject subject, ParseWhySubject(flags.args, context.ns()));
  ASSIGN_OR_RETURN(ControlClient * client, context.client());
  ASSIGN_OR_RETURN(const std::vector<v1::WhyRequest> requests,
                   RequestsOf(subject, context, *client));
  v1::WhyResponse all;
  for (const v1::WhyRequest& request : requests) {
    ASSIGN_OR_RETURN(v1::WhyResponse response, client->Why(request));
    all.MergeFrom(response);
  }
  if (!flags.output.empty()) {
    const std::string json = MessageJson(all);
    context.out << (flags.output == "json" ? PrettyJson(json) : YamlFromJson(json));
    return HasProblem(all) ? 1 : 0;
  }
  for (const v1::Finding& finding : all.findings()) {
    context.out << FindingText(finding);
    if (finding.has_logs()) PrintLogs(finding.logs(), context, *client);
  }
  return HasProblem(all) ? 1 : 0;
}

}  // namespace

Command WhyCommand() {
  return {
      .name = "why",
      .summary = "Say what is wrong with a pod, Service, policy or request, and what would end it",
      .group = kGroupTroubleshoot,
      .usage = "POD | svc/NAME | netpol/NAME | POD -> NAME:PORT [flags]",
      .examples =
          "  meshctl why web-1\n"
          "  meshctl why deploy/web -n shop\n"
          "  meshctl why svc/api -n pay\n"
          "  meshctl why netpol/allow-shop -n pay\n"
          "  meshctl why 'shop/web -> pay/api:8080'\n"
          "  meshctl why shop/web pay/api:8080\n"
          "  meshctl why shop/web udp://10.96.0.10:53\n",
      .define = [](CLI::App& app, Context& context) -> Action {
        auto flags = std::make_shared<Flags>();
        app.add_option("subject", flags->args);
        app.add_option("-o,--output", flags->output, "json or yaml");
        return [flags, &context] { return Run(*flags, context); };
      }};
}

}  // namespace mesh::cli
