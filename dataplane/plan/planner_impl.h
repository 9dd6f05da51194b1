// SPDX-License-Identifier: Apache-2.0
// Inside the planner: nobody but its own files includes this.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "dataplane/plan/plan.h"
#include "dataplane/plan/port_plan.h"

namespace mesh::dataplane {

inline constexpr char kNoIpv6[] = "this node has no ranges of IPv6";

class Planner::Impl {
 public:
  Impl(NodeConfig node, NextIds next, const RowCounts& limits)
      : node_(std::move(node)), next_(next), room_(limits) {}

  Plan Compute(const DesiredState& desired, const Observed& observed);
  void Forget();
  const Service* Find(uint32_t service_id, size_t* port) const;
  FrontendKind Kind(const Frontend& frontend) const;
  void ForEachServiceProblem(
      const std::function<void(const Service& service, const std::string& problem)>& tell) const {
    for (const std::string& key : troubled_) {
      const ServiceRecord& record = records_.at(key);
      for (const std::string& problem : record.problems) tell(record.service, problem);
    }
  }
  const NextIds& next() const { return next_; }

 private:
  // Who asks for a frontend. In order of right: an address that the cluster gave away before one
  // that somebody wrote, then by name.
  struct Claimant {
    FrontendKind kind = FrontendKind::kUnknown;
    std::string key;  // of the Service
    size_t port = 0;  // index in it
    friend auto operator<=>(const Claimant&, const Claimant&) = default;
  };

  struct PortRecord {
    uint32_t service_id = 0;  // 0: has no frontend of its own
    std::vector<Claim> claims;
  };

  // A Service as it was planned last.
  struct ServiceRecord {
    Service service;
    std::vector<PortRecord> ports;
    std::vector<OutsidePlace> outside;
    std::vector<std::string> problems;
  };

  // What a port is called in its Service, for it to keep its number while its addresses change.
  using PortName = std::tuple<std::string, Protocol, std::string>;  // Service key, protocol, name

  // Phases of a plan, in the order of execution.
  struct Phases {
    std::vector<Action> put_backends, put_source_ranges, put_sets, put_frontends, put_outside;
    std::vector<Action> remove_outside, remove_frontends, remove_sets, remove_source_ranges,
        leave_backends, remove_backends, remove_identities, remove_peers;
  };

  void PlanNamespaces();
  void PlanPeers();
  void PlanIdentities();
  void PlanIdentity(const IpAddress& ip);
  // Processes of a node send with the first address of its range.
  void AddGateway(const IpPrefix& pod_cidr) {
    const std::optional<IpAddress> gateway = pod_cidr.At(1);
    if (gateway.has_value() && node_.routing == Routing::kNative) gateways_.insert(*gateway);
  }
  bool PlanPeer(const std::string& name, const IpPrefix& pod_cidr, const PeerEntry& node,
                std::set<IpPrefix>* ranges);
  void PlanServices(const std::set<std::string>& keys);
  std::set<std::string> WithRivals(std::set<std::string> keys) const;
  void Release(const std::string& key);
  bool Stands(const std::string& key, const Service& service) const;
  bool TakeRoom(const std::string& key, const Service& service, ServiceRecord* record);
  void Register(const std::string& key, const Service& service);
  void Number(const std::set<std::string>& keys);
  void PlanService(const std::string& key);
  void PlanPort(const std::string& key, ServiceRecord& record, size_t index);
  void PlanSet(uint32_t service_id, Scope scope, Algorithm algorithm,
               const std::vector<std::pair<uint32_t, uint16_t>>& weights);
  void PlanSourceRanges(uint32_t service_id, const std::set<IpPrefix>& wanted);
  void RemoveLeft(uint32_t service_id, const std::set<uint32_t>& backends,
                  const std::array<bool, 2>& scopes);
  bool MayOutlive(uint32_t service_id, uint32_t backend_id);
  void MakeRoomOfLeft();
  void PlanOutside(Outside kind, const std::set<IpPrefix>& wanted);
  bool IsOwn(const Frontend& frontend) const;
  std::optional<Frontend> AtAnyAddress(const Frontend& frontend) const;
  std::vector<Frontend> Alike(const Frontend& frontend) const;
  bool IsOfAnotherNode(const IpAddress& ip) const {
    return !node_.IsOwnAddress(ip) && nodes_.contains(IpPrefix::Of(ip));
  }
  bool IsServed(const Frontend& frontend) const;
  std::string WhyNot(const std::string& key, size_t port, const Claim& claim) const;
  void AddTaken(std::set<std::string>* keys);
  void AddAtNodes(const std::set<IpPrefix>& before, std::set<std::string>* keys) const;
  bool Owns(const std::string& key, size_t port, const Frontend& frontend) const;
  void Join();

  const NodeConfig node_;
  NextIds next_;

  // Memory.
  bool planned_ = false, planned_complete_ = false;
  std::map<std::string, ServiceRecord> records_;
  std::map<Frontend, std::set<Claimant>> claims_;              // the first has it
  std::map<uint32_t, std::pair<std::string, size_t>> owners_;  // service id -> key, port
  std::map<OutsidePlace, std::set<std::string>> outside_;
  std::set<std::string> troubled_;  // keys of records with problems
  Room room_;
  std::map<std::string, RowCounts> left_out_;  // keys of records for which there is no room
  std::map<std::string, Peer> peers_;
  std::optional<std::vector<IpPrefix>> non_masquerade_;
  std::map<uint32_t, NamespacePolicy> namespaces_;
  std::set<IpPrefix> nodes_;  // addresses of all nodes
  std::map<Frontend, std::string> taken_;
  std::set<IpAddress> gateways_;  // of the other nodes: what their processes send with
  std::vector<std::string> peer_problems_;

  // Of the plan at work.
  const DesiredState* desired_ = nullptr;
  const Observed* observed_ = nullptr;
  Plan plan_;
  Phases phases_;
  std::map<PortName, uint32_t> released_names_;
  std::set<uint32_t> released_ids_;
  // Addresses of the backends of before that may live when they are listed no more.
  std::map<uint32_t, std::set<std::pair<IpAddress, uint16_t>>> released_outliving_;
  std::set<uint32_t> returned_;           // backends that had left
  std::array<uint64_t, 2> leaving_ = {};  // IPv4, IPv6
  std::set<OutsidePlace> touched_outside_;
};

}  // namespace mesh::dataplane
