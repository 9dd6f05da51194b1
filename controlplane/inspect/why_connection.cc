// SPDX-License-Identifier: Apache-2.0
// A request, hop by hop: who asks, what the name means, the Service's port and its backends, the
// nodes, policies and the isolation of namespaces, and the socket that shall answer.
#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common/ip_address.h"
#include "controlplane/controllers/endpoints_controller.h"
#include "controlplane/controllers/objects.h"
#include "controlplane/inspect/backends.h"
#include "controlplane/inspect/destination.h"
#include "controlplane/inspect/judgement.h"
#include "controlplane/inspect/node_addresses.h"
#include "controlplane/inspect/policy_answer.h"
#include "controlplane/inspect/topics.h"
#include "controlplane/state/target_port.h"
#include "fmt/format.h"
#include "fmt/ranges.h"
#include "google/protobuf/util/message_differencer.h"

namespace mesh::controlplane {
namespace {

using google::protobuf::util::MessageDifferencer;

class Walk {
 public:
  Walk(const ClusterState& state, const ClusterRanges& ranges, const v1::Pod& from,
       const v1::WhyConnection& connection, const Known& known, absl::Time now, Report* report,
       std::set<ObjectKey>* wanted)
      : state_(state),
        ranges_(ranges),
        from_(from),
        connection_(connection),
        known_(known),
        now_(now),
        report_(report),
        wanted_(wanted),
        request_{.protocol = connection.protocol().empty() ? "TCP" : connection.protocol()},
        judgement_(state, from, known, request_) {}

  void Tell() {
    if (const auto problem = ProblemOf(state_, from_, now_)) {
      v1::Finding& finding = report_->Problem(
          PodTitle(from_), "the pod that asks: " + OneLine(*problem, from_),
          Report::Remedies(problem->remedies().begin(), problem->remedies().end()));
      if (problem->has_logs()) *finding.mutable_logs() = problem->logs();
    } else {
      report_->Ok(PodTitle(from_), fmt::format("runs on node {}", from_.spec().node_name()));
      WhyNetwork(state_, from_, now_, report_);
    }
    judgement_.Names(connection_.host(), report_);
    const Destination to = FindDestination(state_, ranges_, from_, connection_, report_);
    request_.families = FamiliesOf(to);
    asked_node_ = AnotherNode(to);
    switch (to.kind) {
      case Destination::Kind::kNothing:
        return;
      case Destination::Kind::kOutside:
        Network(from_.spec().node_name());
        Outside();
        return;
      case Destination::Kind::kPod:
        Direct(*to.pod, to.host_port_of);
        return;
      case Destination::Kind::kService:
        Through(to);
    }
  }

 private:
  // What clients choose of: all that the name stands for.
  std::set<bool> FamiliesOf(const Destination& to) const {
    if (const auto address = IpAddress::Parse(connection_.host()); address.ok())
      return {!address->is_v4()};
    std::set<bool> out;
    const auto add = [&](const std::string& text) {
      if (const auto address = IpAddress::Parse(text); address.ok()) out.insert(!address->is_v4());
    };
    if (to.pod != nullptr) {
      for (const v1::PodIP& ip : to.pod->status().pod_ips()) add(ip.ip());
    } else if (to.service != nullptr) {
      for (const std::string& family : to.service->spec().ip_families())
        out.insert(family == "IPv6");
    }
    // Which is not known of a name outside.
    return out.empty() ? std::set<bool>{false} : out;
  }

  // The node whose address is asked, where that is not the pod's own: it stands for what is served
  // there, and the request goes to it as one to the outside.
  const v1::Node* AnotherNode(const Destination& to) const {
    if (to.node.empty() || to.node == from_.spec().node_name() ||
        FindObject(state_.nodes, {"", from_.spec().node_name()}) == nullptr)
      return nullptr;
    return FindObject(state_.nodes, {"", to.node});
  }

  // Leaving for another node's address: policies see that, not who answers there.
  void Leave(const std::string& instead) {
    Network(from_.spec().node_name());
    if (asked_node_ == nullptr) return;
    request_.instead = instead;
    const auto address = IpAddress::Parse(connection_.host());
    if (!address.ok()) return;
    const std::string& node = asked_node_->metadata().name();
    report_->Ok(PodTitle(from_), fmt::format("the request leaves with the address of node {}, for "
                                             "node {}: it is judged as one between nodes",
                                             from_.spec().node_name(), node));
    judgement_.Policies(true, from_,
                        {.title = fmt::format("{} (node {})", address->ToString(), node),
                         .is_pod = false,
                         .traits = {},
                         .addresses = {*address}},
                        connection_.port(), report_);
    SourcePorts(connection_.host(), connection_.port());
    Network(node);
  }

  void Direct(const v1::Pod& pod, uint32_t host_port_of) {
    if (const auto problem = ProblemOf(state_, pod, now_)) {
      v1::Finding& finding = report_->Problem(
          PodTitle(pod), OneLine(*problem, pod),
          Report::Remedies(problem->remedies().begin(), problem->remedies().end()));
      if (problem->has_logs()) *finding.mutable_logs() = problem->logs();
      if (!IsBound(pod)) return;
    }
    request_.by_host_port = host_port_of != 0;
    Backend backend{.pod = &pod,
                    .address = pod.status().pod_ip(),
                    .port = request_.by_host_port ? host_port_of : connection_.port()};
    if (backend.port == 0) {
      const std::string& name = connection_.port_name();
      for (const v1::Container& container : pod.spec().containers())
        for (const v1::ContainerPort& port : container.ports())
          if (backend.port == 0 && (name.empty() || port.name() == name)) {
            backend.port = static_cast<uint32_t>(port.container_port());
            if (!name.empty()) request_.protocol = ProtocolOf(port.protocol());
          }
      if (backend.port == 0) {
        report_->Problem(PodTitle(pod),
                         name.empty()
                             ? std::string("no port was asked for, and its containers name none")
                             : fmt::format("none of its containers has a port named {}", name),
                         {"say which by its number: NAME:PORT"});
        return;
      }
    }
    Leave(
        fmt::format("ask a Service of {} by its name: the pod itself is then seen", PodTitle(pod)));
    Reach(backend, nullptr, "");
  }

  void Through(const Destination& to) {
    const v1::Service& service = *to.service;
    const std::string title = ServiceTitle(service);
    if (service.spec().type() == "ExternalName") {
      report_->Note(title, fmt::format("is another name of {}, outside of what is looked at",
                                       service.spec().external_name()));
      return;
    }
    if (service.spec().cluster_ip() == "None") return Headless(service);
    const v1::ServicePort* port = FindPort(to);
    if (port == nullptr) return;
    if (service.spec().cluster_ip().empty()) {
      report_->Problem(title, "has no ClusterIP yet");
      return;
    }
    std::vector<Backend> backends = BackendsOf(service, port);
    if (backends.empty()) {
      report_->Problem(title, fmt::format("port {} has no backend that may get requests: they are "
                                          "refused at once",
                                          port->port()));
      WhyService(state_, service, known_.listeners, now_, report_, wanted_);
      return;
    }
    if (!Admits(to)) return;
    const std::string& policy = to.external ? service.spec().external_traffic_policy()
                                            : service.spec().internal_traffic_policy();
    if (policy == "Local") {
      const std::string& own = from_.spec().node_name();
      const std::string& node = to.node.empty() ? own : to.node;
      std::erase_if(backends, [&](const Backend& backend) {
        return backend.pod == nullptr || backend.pod->spec().node_name() != node;
      });
      if (backends.empty() && !to.external) {
        report_->Problem(title,
                         fmt::format("internalTrafficPolicy is Local, and node {} has no ready "
                                     "backend: requests of its pods are refused",
                                     node),
                         {"set spec.internalTrafficPolicy to Cluster",
                          fmt::format("run one of its pods on node {}", node)});
        return;
      }
      if (backends.empty() && node != own) {
        report_->Problem(title,
                         fmt::format("externalTrafficPolicy is Local, and node {}, whose address "
                                     "is asked, has no ready backend: requests are refused there",
                                     node),
                         {"set spec.externalTrafficPolicy to Cluster",
                          fmt::format("run one of its pods on node {}", node)});
        return;
      }
      if (backends.empty()) backends = BackendsOf(service, port);
    }
    report_->Ok(title, fmt::format("port {} has {} backend{} that may get requests", port->port(),
                                   backends.size(), backends.size() == 1 ? "" : "s"));
    Leave(fmt::format("ask {} by its name, or at node {}: the pod itself is then seen", title,
                      from_.spec().node_name()));
    ReachAll(backends, &service, PortTitle(*port));
    if (backends.size() > kMostBackends)
      report_->Note(title, fmt::format("{} more backends were not looked into",
                                       backends.size() - kMostBackends));
  }

  // Whether spec.loadBalancerSourceRanges, which stands at load balancer addresses, lets the pod
  // in.
  bool Admits(const Destination& to) {
    const auto& ranges = to.service->spec().load_balancer_source_ranges();
    const auto dialled = IpAddress::Parse(to.balancer_ip);
    if (ranges.empty() || !dialled.ok()) return true;
    std::string own;
    for (const v1::PodIP& ip : from_.status().pod_ips()) {
      const auto address = IpAddress::Parse(ip.ip());
      if (!address.ok() || address->is_v4() != dialled->is_v4()) continue;
      own = ip.ip();
      for (const std::string& text : ranges) {
        const auto range = IpPrefix::Parse(text);
        if (range.ok() && range->Contains(*address)) return true;
      }
    }
    if (own.empty()) return true;
    Report::Remedies remedies = {fmt::format("add {}/{} to spec.loadBalancerSourceRanges of {}",
                                             own, dialled->is_v4() ? 32 : 128,
                                             ServiceTitle(*to.service))};
    if (!to.service->spec().cluster_ip().empty())
      remedies.push_back(fmt::format("ask its ClusterIP {}, where the ranges do not stand",
                                     to.service->spec().cluster_ip()));
    report_->Problem(ServiceTitle(*to.service),
                     fmt::format("spec.loadBalancerSourceRanges {} does not admit {}, the address "
                                 "of {}: its requests to {} are dropped",
                                 fmt::join(ranges, ", "), own, PodTitle(from_), to.balancer_ip),
                     remedies);
    return false;
  }

  // The name answers with the pods' addresses: no port is translated.
  void Headless(const v1::Service& service) {
    const v1::ServicePort* named = nullptr;
    if (!connection_.port_name().empty() && (named = FindNamed(service)) == nullptr) return;
    std::vector<Backend> backends = BackendsOf(service, named);
    if (backends.empty()) {
      report_->Problem(ServiceTitle(service),
                       "is headless and has no ready endpoint: its name has "
                       "no address");
      WhyService(state_, service, known_.listeners, now_, report_, wanted_);
      return;
    }
    report_->Ok(ServiceTitle(service),
                fmt::format("is headless: the name stands for {} pod{}, at the port that was asked "
                            "for",
                            backends.size(), backends.size() == 1 ? "" : "s"));
    Network(from_.spec().node_name());
    for (Backend& backend : backends)
      if (connection_.port() != 0) backend.port = connection_.port();
    ReachAll(backends, nullptr, "");
  }

  // The port that has the name that was asked for, and with it the protocol.
  const v1::ServicePort* FindNamed(const v1::Service& service) {
    std::vector<std::string> has;
    for (const v1::ServicePort& port : service.spec().ports()) {
      if (port.name() == connection_.port_name()) {
        request_.protocol = ProtocolOf(port.protocol());
        return &port;
      }
      has.push_back(fmt::format("{} {}", ProtocolOf(port.protocol()), PortTitle(port).substr(5)));
    }
    Report::Remedies remedies;
    if (!has.empty())
      remedies.push_back(fmt::format("ask port {}", service.spec().ports(0).port()));
    report_->Problem(ServiceTitle(service),
                     fmt::format("has no port named {}; it serves {}", connection_.port_name(),
                                 has.empty() ? "no port" : fmt::format("{}", fmt::join(has, ", "))),
                     remedies);
    return nullptr;
  }

  const v1::ServicePort* FindPort(const Destination& to) {
    const v1::Service& service = *to.service;
    const auto wanted =
        static_cast<int32_t>(to.service_port != 0 ? to.service_port : connection_.port());
    if (!connection_.port_name().empty() && to.service_port == 0) return FindNamed(service);
    if (wanted == 0) {
      for (const v1::ServicePort& port : service.spec().ports())
        if (ProtocolOf(port.protocol()) == request_.protocol) return &port;
    }
    Report::Remedies remedies;
    std::vector<std::string> has;
    for (const v1::ServicePort& port : service.spec().ports()) {
      if (port.port() == wanted && ProtocolOf(port.protocol()) == request_.protocol) return &port;
      has.push_back(fmt::format("{} {}", ProtocolOf(port.protocol()), PortTitle(port).substr(5)));
      if (port.port() == wanted)
        remedies.push_back(fmt::format("ask with {}: port {} is served for it",
                                       ProtocolOf(port.protocol()), wanted));
      const bool is_target =
          port.target_port().int_value() == wanted ||
          std::ranges::any_of(
              state_.PodsWith(service.metadata().namespace_(), service.spec().selector()),
              [&](const v1::Pod* pod) { return ResolvePort(port, *pod) == wanted; });
      if (port.port() != wanted && is_target)
        remedies.push_back(fmt::format("ask port {}: {} is its targetPort", port.port(), wanted));
    }
    if (remedies.empty() && !service.spec().ports().empty())
      remedies.push_back(fmt::format("ask port {}", service.spec().ports(0).port()));
    if (wanted != 0)
      remedies.push_back(
          fmt::format("add port {} to spec.ports of {}", wanted, ServiceTitle(service)));
    report_->Problem(ServiceTitle(service),
                     fmt::format("does not serve {}; it serves {}",
                                 wanted == 0 ? request_.protocol
                                             : fmt::format("{} {}", request_.protocol, wanted),
                                 fmt::join(has, ", ")),
                     remedies);
    return nullptr;
  }

  std::vector<Backend> BackendsOf(const v1::Service& service, const v1::ServicePort* port) const {
    return controlplane::BackendsOf(state_, service, port, request_.protocol, request_.families);
  }

  // Whether the node forwards at all; once for each node.
  void Network(const std::string& name) {
    if (!seen_nodes_.insert(name).second) return;
    const v1::Node* node = FindObject(state_.nodes, {"", name});
    if (node == nullptr) {
      report_->Problem("node " + name, "does not exist any more");
      return;
    }
    if (!IsNodeHeard(state_, name)) {
      report_->Problem("node " + name, "is silent: its machine, its mesh-agent or its link is down",
                       {fmt::format("bring node {} back", name)});
      return;
    }
    const v1::Condition* network = FindCondition(node->status().conditions(), "NetworkReady");
    if (network != nullptr && network->status() != "True") {
      report_->Problem("node " + name, fmt::format("its dataplane is not programmed: {} {}",
                                                   network->reason(), network->message()));
    } else if (network != nullptr && !network->message().empty()) {
      report_->Note("node " + name, network->message());
    }
    NoteNode(*node, report_);
  }

  // Those that may answer. What is found of several pods alike is told once.
  void ReachAll(const std::vector<Backend>& backends, const v1::Service* service,
                const std::string& service_port) {
    struct Alike {
      std::vector<const v1::Pod*> pods;
      std::vector<v1::Finding> findings;  // without their object
    };
    std::vector<Alike> groups;
    Report* const all = report_;
    for (size_t i = 0; i < backends.size() && i < kMostBackends; ++i) {
      Report part;
      report_ = &part;
      Reach(backends[i], service, service_port);
      report_ = all;
      v1::WhyResponse told = part.Take();
      std::vector<v1::Finding> own;
      for (v1::Finding& finding : *told.mutable_findings()) {
        if (backends[i].pod == nullptr || finding.object() != PodTitle(*backends[i].pod)) {
          all->Add(std::move(finding));
        } else {
          finding.clear_object();
          own.push_back(std::move(finding));
        }
      }
      const auto same = std::ranges::find_if(groups, [&](const Alike& group) {
        return std::ranges::equal(group.findings, own, MessageDifferencer::Equals);
      });
      if (same != groups.end()) {
        same->pods.push_back(backends[i].pod);
      } else if (!own.empty()) {
        groups.push_back({{backends[i].pod}, std::move(own)});
      }
    }
    for (Alike& group : groups) {
      for (v1::Finding& finding : group.findings) {
        finding.set_object(PodsTitle(group.pods));
        all->Add(std::move(finding));
      }
    }
  }

  // One pod that may answer. `service`: what the request came through; null: none.
  void Reach(const Backend& backend, const v1::Service* service, const std::string& service_port) {
    if (backend.pod == nullptr) {
      report_->Note("address " + backend.address,
                    "is no pod of this namespace: it is not looked into");
      SourcePorts(backend.address, backend.port);
      return;
    }
    Network(backend.pod->spec().node_name());
    if (asked_node_ != nullptr) {
      const std::optional<PolicyPeer> seen = Seen(*backend.pod);
      if (seen && !judgement_.Policies(false, *backend.pod, *seen, backend.port, report_))
        judgement_.Isolation(*backend.pod, service, seen->title, report_);
    } else if (KeyOfMeta(backend.pod->metadata()) != KeyOfMeta(from_.metadata())) {
      judgement_.Policies(true, from_, PeerOf(*backend.pod), backend.port, report_);
      // Once a policy selects the pod, it alone decides.
      if (!judgement_.Policies(false, *backend.pod, PeerOf(from_), backend.port, report_))
        judgement_.Isolation(*backend.pod, service, "", report_);
    }
    Socket(backend, service, service_port);
  }

  // Whom the backend sees when another node's address was asked.
  std::optional<PolicyPeer> Seen(const v1::Pod& backend) const {
    const v1::Node* own = FindObject(state_.nodes, {"", from_.spec().node_name()});
    for (const bool ipv6 : request_.families) {
      const auto seen = SourceSeen(*own, *asked_node_, backend.spec().node_name(), !ipv6);
      if (seen)
        return PolicyPeer{
            .title = seen->title, .is_pod = false, .traits = {}, .addresses = {seen->address}};
    }
    return std::nullopt;
  }

  // Whether the pod has found no free source port of late towards an address outside.
  void SourcePorts(const std::string& host, uint32_t port) {
    const auto address = IpAddress::Parse(host);
    if (!address.ok()) return;
    const std::string place =
        fmt::format(fmt::runtime(address->is_v4() ? "{}:{}/{}" : "[{}]:{}/{}"), address->ToString(),
                    port, request_.protocol);
    const auto at = PortsTakenAt(state_, from_, place, now_);
    if (!at.has_value()) return;
    report_->Problem(
        PodTitle(from_),
        fmt::format("found no free source port towards {}, {} ago: connections are refused at once",
                    place, Elapsed(now_ - *at)),
        {"keep connections open and use them again",
         fmt::format("run more pods of {}: each has source ports of its own",
                     TemplateTitle(state_, from_)),
         fmt::format("see what it has open: meshctl bpf ct list --pod {}/{}",
                     from_.metadata().namespace_(), from_.metadata().name())});
  }

  // What egress policies say of an address that is no pod's. What a name outside stands for is not
  // known here.
  void Outside() {
    const auto address = IpAddress::Parse(connection_.host());
    if (address.ok()) {
      // A pod and its own node are never kept apart.
      const v1::Node* node = FindObject(state_.nodes, {"", from_.spec().node_name()});
      if (node != nullptr) {
        for (const v1::NodeAddress& own : node->status().addresses())
          if (own.address() == connection_.host()) return;
      }
      const PolicyPeer peer{
          .title = connection_.host(), .is_pod = false, .traits = {}, .addresses = {*address}};
      judgement_.Policies(true, from_, peer, connection_.port(), report_);
      SourcePorts(connection_.host(), connection_.port());
      return;
    }
    const PolicyAnswer answer = AskPolicies(state_, {.egress = true,
                                                     .pod = from_,
                                                     .peer = {.title = connection_.host()},
                                                     .protocol = ProtocolNumber(request_.protocol),
                                                     .port = 0,
                                                     .ipv6 = std::nullopt});
    judgement_.Refused(true, from_, report_);
    if (answer.facts.policies().empty()) return;
    report_->Note(PodTitle(from_),
                  fmt::format("is isolated for egress by {}: ask for the name's address to know "
                              "whether they admit it",
                              fmt::join(answer.facts.policies(), ", ")));
  }

  // Whether a program waits at the port.
  void Socket(const Backend& backend, const v1::Service* service, const std::string& service_port) {
    const ObjectKey key = KeyOfMeta(backend.pod->metadata());
    const std::string title = PodTitle(*backend.pod);
    const auto it = known_.listeners.find(key);
    if (it == known_.listeners.end()) {
      wanted_->insert(key);
      report_->Unknown(title, "its sockets were not looked at");
      return;
    }
    if (!it->second.ok()) {
      report_->Unknown(title, fmt::format("its sockets could not be looked at: {}",
                                          std::string(it->second.status().message())));
      return;
    }
    const SocketAnswer answer = AskSocket(state_, *it->second,
                                          {.pod = *backend.pod,
                                           .protocol = request_.protocol,
                                           .port = backend.port,
                                           .families = request_.families,
                                           .service = service,
                                           .service_port = service_port});
    if (answer.listens) {
      report_->Ok(title, answer.text);
    } else {
      report_->Problem(title, answer.text, answer.remedies);
    }
  }

  const ClusterState& state_;
  const ClusterRanges& ranges_;
  const v1::Pod& from_;
  const v1::WhyConnection& connection_;
  const Known& known_;
  const absl::Time now_;
  Report* report_;
  std::set<ObjectKey>* const wanted_;
  RequestFacts request_;
  Judgement judgement_;
  const v1::Node* asked_node_ = nullptr;  // AnotherNode()
  std::set<std::string> seen_nodes_;
};

}  // namespace

void WhyConnection(const ClusterState& state, const ClusterRanges& ranges, const v1::Pod& from,
                   const v1::WhyConnection& connection, const Known& known, absl::Time now,
                   Report* report, std::set<ObjectKey>* wanted) {
  Walk(state, ranges, from, connection, known, now, report, wanted).Tell();
}

}  // namespace mesh::controlplane
