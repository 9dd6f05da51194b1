// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/pair_policies.h"

#include <netinet/in.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "agent/network/desired_state.h"
#include "agent/state/node_state.h"
#include "api/schema/defaults.h"
#include "common/status.h"
#include "controlplane/policy/policy_view.h"
#include "fmt/format.h"
#include "google/protobuf/text_format.h"
#include "tests/bench/node.h"

namespace mesh::bench {
namespace {

constexpr int kRulesOfAPolicy = 10;
constexpr int kBystanderRules = 100;
constexpr uint32_t kFirstPeer = 1000;

class Cluster {
 public:
  absl::Status Put(const std::string& text) {
    v1::Resource resource;
    if (!google::protobuf::TextFormat::ParseFromString(text, &resource))
      return absl::InternalError("no object: " + text);
    schema::ApplyDefaults(&resource);
    state_.Put(resource);
    return absl::OkStatus();
  }

  absl::Status PutPod(const std::string& ns, const std::string& name, const std::string& app,
                      const std::string& measured, uint32_t identity) {
    return Put(fmt::format(
        R"(pod {{ metadata {{ namespace: "{}" name: "{}" uid: "{}"
                   labels {{ key: "app" value: "{}" }} labels {{ key: "measured" value: "{}" }} }}
             spec {{ containers {{ name: "c" ports {{ name: "web" container_port: 7000
                                                     protocol: "TCP" }} }} }}
             status {{ identity: {} }} }})",
        ns, name, name, app, measured, identity));
  }

  // As a node has it that has just been told everything.
  absl::Status Tell(const dataplane::NodeConfig& config, dataplane::DesiredState* desired) const {
    controlplane::PolicyView view(controlplane::PolicyView::Options{
        .pod_ranges = {config.cluster_cidr}, .epoch = 1, .linger = absl::ZeroDuration()});
    view.Reset(state_, absl::UnixEpoch());
    v1::NodeUpdate update;
    update.set_full(true);
    view.Full(&update);
    auto node = std::make_shared<agent::NodeState>();
    RETURN_IF_ERROR(node->Merge(update));
    agent::DesiredStateBuilder builder(config);
    const agent::Translation& translation = builder.Build(node);
    if (!translation.skipped.empty()) return absl::InternalError(translation.skipped.front());
    desired->policy_epoch = translation.desired.policy_epoch;
    desired->policy_sets = translation.desired.policy_sets;
    desired->identities = translation.desired.identities;
    return absl::OkStatus();
  }

 private:
  controlplane::ClusterState state_;
};

// Peers and ports of rule number `i`, which is not the pair's; one of ten speaks of other
// namespaces, two of ten of addresses, one of a range of ports, one of a port by its name.
struct RuleText {
  std::string peer, ports;
};

RuleText OtherRule(int i) {
  const auto app = [&] {
    return fmt::format(R"(pod_selector {{ match_labels {{ key: "app" value: "other-{}" }} }})", i);
  };
  RuleText out{app(), R"(ports { protocol: "TCP" port { int_value: 8080 } })"};
  switch (i % 10) {
    case 0:
    case 1:
      out.peer = fmt::format(R"(ip_block {{ cidr: "172.{}.{}.0/24" except: "172.{}.{}.16/28" }})",
                             16 + i / 256 % 200, i % 256, 16 + i / 256 % 200, i % 256);
      break;
    case 2:
      out.peer += R"( namespace_selector { match_labels { key: "team" value: "others" } })";
      break;
    case 3:
      out.ports = R"(ports { protocol: "TCP" port { int_value: 30000 } end_port: 30999 })";
      break;
    case 4:
      out.ports = R"(ports { protocol: "TCP" port { string_value: "web" } })";
      break;
    case 5:
      out.ports += R"( ports { protocol: "UDP" port { int_value: 53 } })";
      break;
    default:
      break;
  }
  return out;
}

RuleText PairRule(const char* peer, uint16_t port) {
  return {fmt::format(R"(pod_selector {{ match_labels {{ key: "app" value: "{}" }} }})", peer),
          fmt::format(R"(ports {{ protocol: "TCP" port {{ int_value: {} }} end_port: {} }}
                         ports {{ protocol: "UDP" port {{ int_value: {} }} }})",
                      port, port + 1, port)};
}

absl::Status PutPolicies(int rules, const char* measured, bool pair, uint16_t port,
                         Cluster* cluster) {
  for (int first = 0; first < rules; first += kRulesOfAPolicy) {
    std::string ingress, egress;
    for (int i = first; i < std::min(rules, first + kRulesOfAPolicy); ++i) {
      const bool is_pairs = pair && i == rules / 2;
      const RuleText in = is_pairs ? PairRule("client", port) : OtherRule(i);
      const RuleText out = is_pairs ? PairRule("server", port) : OtherRule(i);
      ingress += fmt::format("ingress {{ {} from {{ {} }} }}\n", in.ports, in.peer);
      egress += fmt::format("egress {{ {} to {{ {} }} }}\n", out.ports, out.peer);
    }
    RETURN_IF_ERROR(cluster->Put(fmt::format(
        R"(network_policy {{ metadata {{ namespace: "bench" name: "p-{}" uid: "p-{}" }}
             spec {{ pod_selector {{ match_labels {{ key: "measured" value: "{}" }} }}
                     policy_types: "Ingress" policy_types: "Egress" {} {} }} }})",
        first, first, measured, ingress, egress)));
  }
  return absl::OkStatus();
}

const dataplane::PolicyClassRow* RowAbout(const std::vector<dataplane::PolicyClassRow>& rows,
                                          bool egress, const IpAddress& judged, uint32_t peer) {
  for (const dataplane::PolicyClassRow& row : rows) {
    const bool is_judged = std::find(row.pods.begin(), row.pods.end(), judged) != row.pods.end();
    if (row.egress == egress && !row.ipv6 && is_judged &&
        std::binary_search(row.identities.begin(), row.identities.end(), peer))
      return &row;
  }
  return nullptr;
}

}  // namespace

absl::Status AddPairPolicies(int rules, uint16_t port, const dataplane::NodeConfig& config,
                             dataplane::DesiredState* desired) {
  Cluster cluster;
  for (const auto& [name, number, team] :
       {std::tuple("bench", kBenchIdentity, "bench"), std::tuple("others", 257U, "others")}) {
    RETURN_IF_ERROR(cluster.Put(fmt::format(
        R"(namespace {{ metadata {{ name: "{}" labels {{ key: "team" value: "{}" }} }}
             status {{ identity: {} }} }})",
        name, team, number)));
  }
  const bool pair = rules > 0;
  const char* selected = pair ? "yes" : "no";
  RETURN_IF_ERROR(cluster.PutPod("bench", "client", "client", "yes", kClientIdentity));
  RETURN_IF_ERROR(cluster.PutPod("bench", "server", "server", "yes", kServerIdentity));
  RETURN_IF_ERROR(cluster.PutPod("bench", "bystander", "bystander", "no", kBystanderIdentity));
  const int written = pair ? rules : kBystanderRules;
  for (int i = 0; i < written; ++i) {
    if (i % 10 < 2) continue;
    RETURN_IF_ERROR(cluster.PutPod(i % 10 == 2 ? "others" : "bench", fmt::format("other-{}", i),
                                   fmt::format("other-{}", i), "no",
                                   kFirstPeer + static_cast<uint32_t>(i)));
  }
  RETURN_IF_ERROR(PutPolicies(written, selected, pair, port, &cluster));
  return cluster.Tell(config, desired);
}

absl::StatusOr<PairRows> CheckPairPolicies(const dataplane::KernelDataplane& dataplane, int rules,
                                           const IpAddress& client, const IpAddress& server,
                                           uint16_t port) {
  ASSIGN_OR_RETURN(const std::vector<dataplane::PolicyClassRow> rows, dataplane.Policies());
  PairRows out;
  for (const dataplane::PolicyClassRow& row : rows) {
    out.peers += row.identities.size();
    out.blocks += row.blocks.size();
    out.ports += row.ports.size();
  }
  const auto judged = [&](const IpAddress& pod) {
    return std::any_of(rows.begin(), rows.end(), [&](const dataplane::PolicyClassRow& row) {
      return std::find(row.pods.begin(), row.pods.end(), pod) != row.pods.end();
    });
  };
  if (rules == 0) {
    if (judged(client) || judged(server) || rows.empty())
      return absl::FailedPreconditionError("without rules the pair is judged, or nobody is");
    return out;
  }
  for (const bool egress : {false, true}) {
    const dataplane::PolicyClassRow* row = RowAbout(rows, egress, egress ? client : server,
                                                    egress ? kServerIdentity : kClientIdentity);
    const char* direction = egress ? "egress" : "ingress";
    if (row == nullptr)
      return absl::FailedPreconditionError(fmt::format("{}: no row is about the pair", direction));
    const auto decided = dataplane::Decide(row->ports, IPPROTO_TCP, port);
    if (!decided || decided->verdict != dataplane::PolicyVerdict::kAllow)
      return absl::FailedPreconditionError(fmt::format("{}: the pair may not talk", direction));
    if (row->identities.size() != 1 || dataplane::Decide(row->ports, IPPROTO_TCP, 22))
      return absl::FailedPreconditionError(
          fmt::format("{}: more than the pair's rule is about it", direction));
  }
  return out;
}

}  // namespace mesh::bench
