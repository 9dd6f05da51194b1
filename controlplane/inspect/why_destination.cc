// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "api/schema/schema.h"
#include "common/ip_address.h"
#include "controlplane/controllers/objects.h"
#include "controlplane/inspect/destination.h"
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
        title_(PodTitle(from)) {}

  Destination Find() {
    if (connection_.has_to())
      return Object(connection_.to().namespace_(), connection_.to().name(), true);
    const auto ip = IpAddress::Parse(connection_.host());
    return ip.ok() ? Address(*ip) : Name(connection_.host());
  }

 private:
  static Destination Of(const v1::Service& service, bool external = false) {
    return {.kind = Destination::Kind::kService, .service = &service, .external = external};
  }

  Destination Name(std::string host) {
    if (host.ends_with('.')) host.pop_back();
    const std::vector<std::string> labels = absl::StrSplit(host, '.');
    const auto is_cluster = [&](size_t at) { return labels.size() > at && labels[at] == "svc"; };
    if (labels.size() == 1) return Object(from_.metadata().namespace_(), labels[0], false);
    if (is_cluster(3)) return PodOfHeadless(labels[0], labels[1], labels[2]);
    if (is_cluster(2) || (labels.size() == 2 && state_.namespaces.contains({"", labels[1]})))
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
      const auto near = schema::NearestWord(ns, names);
      report_->Problem(
          title_, fmt::format("asks for {}, and there is no namespace {}", full, ns),
          near ? Report::Remedies{fmt::format("ask for {}.{}", name, *near)} : Report::Remedies{});
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
    if (!connection_.host().empty()) return connection_.host();
    return fmt::format("{}.{}", name, ns);
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
          report_->Ok(title_, fmt::format("{} is {}", connection_.host(), PodTitle(*pod)));
          return {.kind = Destination::Kind::kPod, .pod = pod};
        }
      }
    }
    report_->Problem(
        title_,
        fmt::format("asks for {}, and no endpoint of service {} has the hostname {}{}",
                    connection_.host(), full, hostname,
                    names.empty() ? "" : fmt::format("; they have {}", NameList(names))),
        {fmt::format("set spec.hostname: {} and spec.subdomain: {} of the pod", hostname, name)});
    return {};
  }

  Destination Address(const IpAddress& ip) {
    const std::string text = ip.ToString();
    const StateIndex& index = state_.index();
    if (const auto it = index.cluster_ips.find(text); it != index.cluster_ips.end())
      return Dialled(it->second, "the ClusterIP", false);
    if (const auto it = index.balancer_ips.find(text); it != index.balancer_ips.end())
      return Balancer(it->second, text);
    for (const auto& [port, service] : index.external_ports)
      if (port.ip == text) return Dialled(service, "an external address", true);
    for (const auto& [key, pod] : state_.pods) {
      if (IsFinished(*pod)) continue;
      const auto& ips = pod->status().pod_ips();
      if (pod->status().pod_ip() != text &&
          std::ranges::none_of(ips, [&](const v1::PodIP& own) { return own.ip() == text; }))
        continue;
      report_->Ok(title_, fmt::format("{} is the address of {}", text, PodTitle(*pod)));
      return {.kind = Destination::Kind::kPod, .pod = pod.get()};
    }
    for (const auto& [key, node] : state_.nodes) {
      const auto& addresses = node->status().addresses();
      if (std::ranges::none_of(addresses, [&](const auto& own) { return own.address() == text; }))
        continue;
      return Node(ip, key.name);
    }
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

  Destination Dialled(const ObjectKey& key, std::string_view what, bool external) {
    const v1::Service* service = FindObject(state_.services, key);
    if (service == nullptr) return {};
    report_->Ok(title_,
                fmt::format("{} is {} of service {}", connection_.host(), what, key.ToString()));
    return Of(*service, external);
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
        for (const v1::ServicePort& own : service->spec().ports())
          if (own.node_port() == port) out.service_port = static_cast<uint32_t>(own.port());
        report_->Ok(title_, fmt::format("{}:{} is a node port of service {}", ip, port,
                                        it->second.ToString()));
        if (out.service_port != 0) return out;
      }
    }
    report_->Note(title_, fmt::format("{} is node {} itself, and {} is no node port: a process of "
                                      "the node has to answer, which is not looked at",
                                      ip, node, port));
    return {.kind = Destination::Kind::kOutside};
  }

  const ClusterState& state_;
  const ClusterRanges& ranges_;
  const v1::Pod& from_;
  const v1::WhyConnection& connection_;
  Report* const report_;
  const std::string title_;
};

}  // namespace

Destination FindDestination(const ClusterState& state, const ClusterRanges& ranges,
                            const v1::Pod& from, const v1::WhyConnection& connection,
                            Report* report) {
  return Finder(state, ranges, from, connection, report).Find();
}

}  // namespace mesh::controlplane
