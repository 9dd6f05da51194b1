// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "api/schema/schema.h"
#include "common/ip_address.h"
#include "controlplane/controllers/objects.h"
#include "controlplane/inspect/backends.h"
#include "controlplane/inspect/destination.h"
#include "controlplane/inspect/node_addresses.h"
#include "fmt/format.h"

namespace mesh::controlplane {
namespace {

class Finder {
 public:
  Finder(const ClusterState& state, const ClusterRanges& ranges, const v1::Pod& from,
         const v1::WhyConnection& connection, Report* report)
      : state_(state),
        ranges_(ranges),
        from_(from),
        connection_(connection),
        report_(report),
        title_(PodTitle(from)),
        protocol_(connection.protocol().empty() ? "TCP" : connection.protocol()),
        asked_(connection.host()) {}

  Destination Find() {
    if (connection_.has_to())
      return Follow(Object(connection_.to().namespace_(), connection_.to().name(), true));
    const auto ip = IpAddress::Parse(connection_.host());
    return ip.ok() ? Address(*ip) : Follow(Name(connection_.host()));
  }

 private:
  // As the resolver does with ExternalName, as far as the names are the cluster's.
  Destination Follow(Destination out) {
    std::set<ObjectKey> seen;
    while (out.kind == Destination::Kind::kService &&
           out.service->spec().type() == "ExternalName") {
      const std::string title = ServiceTitle(*out.service);
      asked_ = out.service->spec().external_name();
      if (asked_.ends_with('.')) asked_.pop_back();
      if (!seen.insert(KeyOfMeta(out.service->metadata())).second) {
        report_->Problem(title, "leads back to itself: the name does not resolve",
                         {"let spec.externalName of one of them name something else"});
        return {};
      }
      // Search lists are for what a pod asks, not for this.
      const std::vector<std::string> labels = absl::StrSplit(asked_, '.');
      if (!IsFull(labels, 2) && !IsFull(labels, 3)) return out;
      report_->Note(title, fmt::format("is another name of {}", asked_));
      out = Name(asked_);
    }
    return out;
  }

  static bool IsFull(const std::vector<std::string>& labels, size_t at) {
    return labels.size() > at && labels[at] == "svc";
  }

  static Destination Of(const v1::Service& service, bool external = false) {
    return {.kind = Destination::Kind::kService, .service = &service, .external = external};
  }

  Destination Name(std::string host) {
    if (host.ends_with('.')) host.pop_back();
    const std::vector<std::string> labels = absl::StrSplit(host, '.');
    if (host == "localhost") return Itself(host);
    const std::string& own = from_.metadata().namespace_();
    const auto is_namespace = [&](const std::string& name) {
      return state_.namespaces.contains({"", name});
    };
    if (labels.size() == 1) return Object(own, labels[0], false);
    if (IsFull(labels, 3) || (labels.size() == 3 && is_namespace(labels[2])))
      return PodOfHeadless(labels[0], labels[1], labels[2]);
    // "db-0.db" comes before "web.shop".
    if (labels.size() == 2 && state_.services.contains({own, labels[1]}) &&
        (!is_namespace(labels[1]) || HasHostname({own, labels[1]}, labels[0])))
      return PodOfHeadless(labels[0], labels[1], own);
    if (IsFull(labels, 2) || (labels.size() == 2 && is_namespace(labels[1])))
      return Object(labels[1], labels[0], false);
    if (labels.size() == 2) {
      std::vector<std::string> names;
      for (const auto& [key, ns] : state_.namespaces) names.push_back(key.name);
      if (const auto near = schema::NearestWord(labels[1], names))
        report_->Note(title_,
                      fmt::format("there is no namespace {}; {} is near", labels[1], *near));
    }
    report_->Note(title_, fmt::format("{} is no name of the cluster: the node's own name servers "
                                      "are asked, and what they say is not looked at",
                                      host));
    return {.kind = Destination::Kind::kOutside};
  }

  Destination Object(const std::string& ns, const std::string& name, bool or_pod) {
    const std::string full = fmt::format("{}/{}", ns, name);
    if (!state_.namespaces.contains({"", ns})) {
      std::vector<std::string> names;
      for (const auto& [key, object] : state_.namespaces) names.push_back(key.name);
      Report::Remedies remedies;
      if (const auto near = schema::NearestWord(ns, names))
        remedies.push_back(fmt::format("ask for {}.{}", name, *near));
      const v1::Node* node = ns == "node" ? FindObject(state_.nodes, {"", name}) : nullptr;
      if (node != nullptr && !node->status().addresses().empty())
        remedies = {fmt::format("ask for the address of node {}: {}", name,
                                node->status().addresses(0).address())};
      report_->Problem(title_, fmt::format("asks for {}, and there is no namespace {}", full, ns),
                       remedies);
      return {};
    }
    if (const v1::Service* service = FindObject(state_.services, {ns, name})) {
      report_->Ok(title_, fmt::format("{} is service {}", NameText(ns, name), full));
      return Of(*service);
    }
    if (or_pod) {
      if (const v1::Pod* pod = FindObject(state_.pods, {ns, name})) {
        report_->Note(title_, fmt::format("there is no service {}: pod {} is meant, at its own "
                                          "address",
                                          full, full));
        return {.kind = Destination::Kind::kPod, .pod = pod};
      }
    }
    Missing(ns, name, full);
    return {};
  }

  std::string NameText(const std::string& ns, const std::string& name) const {
    return asked_.empty() ? fmt::format("{}.{}", name, ns) : asked_;
  }

  bool HasHostname(const ObjectKey& service, const std::string& hostname) const {
    for (const v1::EndpointSlice* slice : state_.SlicesOf(service)) {
      for (const v1::Endpoint& endpoint : slice->endpoints())
        if (endpoint.hostname() == hostname) return true;
    }
    return false;
  }

  void Missing(const std::string& ns, const std::string& name, const std::string& full) {
    Report::Remedies remedies;
    std::vector<std::string> names;
    for (const auto& [key, service] : InNamespace(state_.services, ns)) names.push_back(key.name);
    if (const auto near = schema::NearestWord(name, names))
      remedies.push_back(fmt::format("ask for {}.{}", *near, ns));
    for (const auto& [key, service] : state_.services)
      if (key.name == name && key.ns != ns && remedies.size() < 3)
        remedies.push_back(fmt::format("ask for {}.{}", name, key.ns));
    if (state_.deployments.contains({ns, name}))
      remedies.push_back(fmt::format("apply a Service for deployment {}", full));
    report_->Problem(title_,
                     fmt::format("asks for {}, and there is no service {}: the name does not "
                                 "resolve",
                                 NameText(ns, name), full),
                     remedies);
  }

  // "db-0.db.shop.svc...": a pod by its hostname, below its headless Service.
  Destination PodOfHeadless(const std::string& hostname, const std::string& name,
                            const std::string& ns) {
    const v1::Service* service = FindObject(state_.services, {ns, name});
    const std::string full = fmt::format("{}/{}", ns, name);
    if (service == nullptr) {
      Missing(ns, name, full);
      return {};
    }
    std::vector<std::string> names;
    for (const v1::EndpointSlice* slice : state_.SlicesOf({ns, name})) {
      for (const v1::Endpoint& endpoint : slice->endpoints()) {
        if (!endpoint.hostname().empty()) names.push_back(endpoint.hostname());
        if (endpoint.hostname() != hostname) continue;
        if (const v1::Pod* pod = FindObject(state_.pods, {ns, endpoint.target_ref().name()})) {
          report_->Ok(title_, fmt::format("{} is {}", asked_, PodTitle(*pod)));
          return {.kind = Destination::Kind::kPod, .pod = pod};
        }
      }
    }
    report_->Problem(
        title_,
        fmt::format("asks for {}, and no endpoint of service {} has the hostname {}{}", asked_,
                    full, hostname,
                    names.empty() ? "" : fmt::format("; they have {}", NameList(names))),
        {fmt::format("set spec.hostname: {} and spec.subdomain: {} of the pod", hostname, name)});
    return {};
  }

  Destination Itself(const std::string& name) {
    report_->Note(title_, fmt::format("{} is the pod itself: the request does not leave it, and "
                                      "its containers are not asked",
                                      name));
    return {};
  }

  Destination Address(const IpAddress& ip) {
    const std::string text = ip.ToString();
    if (IsLoopback(text)) return Itself(text);
    const StateIndex& index = state_.index();
    if (const auto it = index.cluster_ips.find(text); it != index.cluster_ips.end())
      return Dialled(it->second, "the ClusterIP", false);
    const v1::Node* has = NodeWith(state_, ip);
    const std::string named = has == nullptr ? "" : has->metadata().name();
    const std::string node = connection_.port() == 0 ? "" : named;
    if (!node.empty() && IsGivenAt(ip, node)) return Node(ip, node);
    // A balancer's address and a node's may be another Service's externalIP at some ports.
    if (const auto it =
            index.external_ports.find({text, static_cast<int32_t>(connection_.port()), protocol_});
        it != index.external_ports.end())
      return External(it->second, named);
    if (const auto it = index.balancer_ips.find(text); it != index.balancer_ips.end())
      return Balancer(it->second, text);
    for (const auto& [key, pod] : state_.pods) {
      if (IsFinished(*pod)) continue;
      const auto& ips = pod->status().pod_ips();
      if (pod->status().pod_ip() != text &&
          std::ranges::none_of(ips, [&](const v1::PodIP& own) { return own.ip() == text; }))
        continue;
      report_->Ok(title_, fmt::format("{} is the address of {}", text, PodTitle(*pod)));
      return {.kind = Destination::Kind::kPod, .pod = pod.get()};
    }
    if (!node.empty()) return Node(ip, node);
    for (const auto& [port, service] : index.external_ports)
      if (port.ip == text) return ExternalOrBeyond(service, named, text);
    if (const v1::Node* of = NodeWithGateway(state_, ip)) return Gateway(ip, of->metadata().name());
    if (ranges_.services.Contains(ip)) {
      report_->Problem(title_,
                       fmt::format("{} is an address for Services ({}), and no Service has it: "
                                   "requests are refused at once",
                                   text, ranges_.services.Of(ip.is_v4())->ToString()),
                       {"ask the Service by its name: one that is applied anew gets another "
                        "address"});
      return {};
    }
    if (ranges_.pods.Contains(ip)) {
      report_->Problem(title_,
                       fmt::format("{} is an address for pods ({}), and no pod has it: nothing "
                                   "answers",
                                   text, ranges_.pods.Of(ip.is_v4())->ToString()),
                       {"ask a Service: a pod that is replaced gets another address"});
      return {};
    }
    report_->Note(title_,
                  fmt::format("{} is no address of the cluster: the request leaves it, from "
                              "the address of node {}",
                              text, from_.spec().node_name()));
    return {.kind = Destination::Kind::kOutside};
  }

  // Whether the cluster has given the port at the node's address to somebody: that comes before
  // externalIPs.
  bool IsGivenAt(const IpAddress& ip, const std::string& node) const {
    const auto port = static_cast<int32_t>(connection_.port());
    if (const v1::Service* service = NodePortOf(port)) {
      const auto& families = service->spec().ip_families();
      if (std::ranges::find(families, ip.is_v4() ? "IPv4" : "IPv6") != families.end()) return true;
    }
    if (IsHealthPort(port) || HostPortPod(ip.ToString(), node, port).first != nullptr) return true;
    const v1::Node* object = FindObject(state_.nodes, {"", node});
    const std::string& agent = object->status().agent_endpoint();
    return protocol_ == "TCP" && agent.ends_with(fmt::format(":{}", port));
  }

  // The Service that has the node port in the protocol that is asked for.
  const v1::Service* NodePortOf(int32_t number) const {
    const auto it = state_.index().node_ports.find(number);
    const v1::Service* service =
        it == state_.index().node_ports.end() ? nullptr : FindObject(state_.services, it->second);
    if (service == nullptr) return nullptr;
    for (const v1::ServicePort& port : service->spec().ports()) {
      const std::string protocol = port.protocol().empty() ? "TCP" : port.protocol();
      if (port.node_port() == number && protocol == protocol_) return service;
    }
    return nullptr;
  }

  // The number may be a slip of a digit. 0: none is near.
  std::pair<int32_t, ObjectKey> NearNodePort(int32_t number) const {
    constexpr int32_t kNear = 10;
    for (int32_t by = 1; by <= kNear; ++by) {
      for (const int32_t candidate : {number - by, number + by})
        if (const v1::Service* service = NodePortOf(candidate))
          return {candidate, KeyOfMeta(service->metadata())};
    }
    return {};
  }

  bool IsHealthPort(int32_t number) const {
    const auto it = state_.index().node_ports.find(number);
    const v1::Service* service =
        it == state_.index().node_ports.end() ? nullptr : FindObject(state_.services, it->second);
    return service != nullptr && protocol_ == "TCP" &&
           service->spec().health_check_node_port() == number;
  }

  Destination Dialled(const ObjectKey& key, std::string_view what, bool external) {
    const v1::Service* service = FindObject(state_.services, key);
    if (service == nullptr) return {};
    report_->Ok(title_,
                fmt::format("{} is {} of service {}", connection_.host(), what, key.ToString()));
    return Of(*service, external);
  }

  Destination External(const ObjectKey& key, const std::string& node) {
    Destination out = Dialled(key, "an external address", true);
    out.node = node;
    return out;
  }

  // What no Service serves at such an address is whoever has the address.
  Destination ExternalOrBeyond(const ObjectKey& key, const std::string& node,
                               const std::string& ip) {
    if (connection_.port() == 0) return External(key, node);
    report_->Note(
        title_,
        fmt::format("{} is an external address of service {}/{}, which has no port {}/{}: "
                    "the request leaves the cluster, from the address of node {}",
                    ip, key.ns, key.name, connection_.port(), protocol_, from_.spec().node_name()));
    return {.kind = Destination::Kind::kOutside};
  }

  // What is served at a node's address is served at its gateway's too, for its own pods.
  Destination Gateway(const IpAddress& ip, const std::string& node) {
    if (node == from_.spec().node_name() && connection_.port() != 0) return Node(ip, node);
    report_->Note(title_, fmt::format("{} is the gateway of node {}'s pods: a process of that node "
                                      "has to answer, which is not looked at",
                                      ip.ToString(), node));
    return {.kind = Destination::Kind::kOutside};
  }

  Destination Balancer(const ObjectKey& key, const std::string& ip) {
    Destination out = Dialled(key, "a load balancer address", true);
    out.balancer_ip = ip;
    return out;
  }

  Destination Node(const IpAddress& address, const std::string& node) {
    const std::string ip = address.ToString();
    const auto port = static_cast<int32_t>(connection_.port());
    const StateIndex& index = state_.index();
    // The asking pod's own node is told of with the pod.
    if (node != from_.spec().node_name() && !IsNodeHeard(state_, node)) {
      std::vector<std::string> ways = {fmt::format("bring node {} back", node)};
      if (index.node_ports.contains(port))
        ways.push_back("ask another node: each of them serves a node port");
      report_->Problem(title_,
                       fmt::format("{} is an address of node {}, which is silent: its machine, its "
                                   "mesh-agent or its link is down",
                                   ip, node),
                       std::move(ways));
    }
    if (const auto it = index.node_ports.find(port); it != index.node_ports.end()) {
      const v1::Service* service = FindObject(state_.services, it->second);
      if (service != nullptr) {
        const std::string family = address.is_v4() ? "IPv4" : "IPv6";
        const auto& families = service->spec().ip_families();
        if (std::ranges::find(families, family) == families.end()) {
          report_->Problem(
              title_,
              fmt::format(
                  "{} is a node port of service {}, which has no {}: it is not served at {}", port,
                  it->second.ToString(), family, ip),
              {fmt::format("ask it at an {} address of a node", address.is_v4() ? "IPv6" : "IPv4"),
               fmt::format("set spec.ipFamilyPolicy of service {} to PreferDualStack",
                           it->second.ToString())});
          return {};
        }
        Destination out = Of(*service, true);
        out.node = node;
        for (const v1::ServicePort& own : service->spec().ports())
          if (own.node_port() == port) out.service_port = static_cast<uint32_t>(own.port());
        report_->Ok(title_, fmt::format("{}:{} is a node port of service {}", ip, port,
                                        it->second.ToString()));
        if (out.service_port != 0) return out;
      }
    }
    if (const auto [pod, port_of] = HostPortPod(ip, node, port); pod != nullptr) {
      report_->Ok(title_, fmt::format("{}:{} is a host port of {}", ip, port, PodTitle(*pod)));
      return {.kind = Destination::Kind::kPod, .pod = pod, .host_port_of = port_of, .node = node};
    }
    if (IsHealthPort(port)) {
      report_->Note(title_, fmt::format("{}:{} is the healthCheckNodePort of service {}: the agent "
                                        "of node {} answers, not one of its backends",
                                        ip, port, index.node_ports.at(port).ToString(), node));
      return {.kind = Destination::Kind::kOutside};
    }
    const auto [near, of] = NearNodePort(port);
    report_->Note(title_,
                  fmt::format("{} is node {} itself, and {} is no node port and no pod's host port "
                              "there: a process of the node has to answer, which is not looked at",
                              ip, node, port),
                  near == 0 ? Report::Remedies()
                            : Report::Remedies{fmt::format("ask {}: it is a node port of service "
                                                           "{}, and near",
                                                           near, of.ToString())});
    return {.kind = Destination::Kind::kOutside};
  }

  // The pod that serves a host port at an address of its node, and its own port.
  std::pair<const v1::Pod*, uint32_t> HostPortPod(const std::string& ip, const std::string& node,
                                                  int32_t number) const {
    const auto& all = state_.index().host_ports;
    const auto it = all.find(number);
    if (it == all.end()) return {nullptr, 0};
    const bool of_v4 = ip.find(':') == std::string::npos;
    for (const ObjectKey& key : it->second) {
      const v1::Pod* pod = FindObject(state_.pods, key);
      if (pod == nullptr || pod->spec().node_name() != node || IsFinished(*pod)) continue;
      for (const v1::Container& container : pod->spec().containers()) {
        for (const v1::ContainerPort& port : container.ports()) {
          const std::string& at = port.host_ip();
          const bool here = at.empty() || at == ip || at == (of_v4 ? "0.0.0.0" : "::");
          if (port.host_port() == number &&
              (port.protocol().empty() ? "TCP" : port.protocol()) == protocol_ && here)
            return {pod, static_cast<uint32_t>(port.container_port())};
        }
      }
    }
    return {nullptr, 0};
  }

  const ClusterState& state_;
  const ClusterRanges& ranges_;
  const v1::Pod& from_;
  const v1::WhyConnection& connection_;
  Report* const report_;
  const std::string title_, protocol_;
  // The name that is looked for: what the pod asks, then what ExternalNames make of it.
  std::string asked_;
};

}  // namespace

Destination FindDestination(const ClusterState& state, const ClusterRanges& ranges,
                            const v1::Pod& from, const v1::WhyConnection& connection,
                            Report* report) {
  return Finder(state, ranges, from, connection, report).Find();
}

}  // namespace mesh::controlplane
