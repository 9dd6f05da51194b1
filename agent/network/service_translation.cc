// SPDX-License-Identifier: Apache-2.0
#include "agent/network/service_translation.h"

#include <algorithm>
#include <functional>
#include <set>
#include <utility>

#include "fmt/format.h"

namespace mesh::agent {
namespace {

using dataplane::Algorithm;
using dataplane::Backend;
using dataplane::BackendState;
using dataplane::Protocol;

constexpr uint32_t kMaxWeight = 1000;
// Kubernetes' limit: a day.
constexpr uint32_t kMaxAffinitySeconds = 86400;

bool IsPort(uint32_t port) { return port >= 1 && port <= 65535; }

// A backend with what only the choice of scopes needs.
struct Candidate {
  Backend backend;
  std::string zone;
};

using Predicate = std::function<bool(const Candidate&)>;

class Translator {
 public:
  Translator(const std::string& key, const v1::ServiceState& from, const NodeView& node,
             std::vector<std::string>* skipped)
      : key_(key), from_(from), node_(node), skipped_(skipped) {}

  std::optional<dataplane::Service> Run() {
    if (from_.cluster_ip().empty() || from_.cluster_ip() == "None") return std::nullopt;
    out_.ns = from_.namespace_();
    out_.name = from_.name();
    out_.identity = from_.identity();
    const auto ip = IpAddress::Parse(from_.cluster_ip());
    if (!ip.ok() || !ip->is_v4()) {
      Skip("\"{}\" is not an IPv4 address", from_.cluster_ip());
      return std::nullopt;
    }
    out_.cluster_ip = *ip;
    AddAddresses("load balancer address", from_.load_balancer_ips(), &out_.load_balancer_ips);
    AddAddresses("external address", from_.external_ips(), &out_.external_ips);
    AddSourceRanges();
    AddAlgorithms();
    AddReturnPath();
    AddAffinity();
    out_.announced = !out_.load_balancer_ips.empty() && !from_.announcing_node().empty() &&
                     from_.announcing_node() == node_.name;
    CheckDistribution();
    for (const v1::ServicePortState& port : from_.ports()) AddPort(port);
    return std::move(out_);
  }

 private:
  template <typename... Args>
  void Skip(fmt::format_string<Args...> format, Args&&... args) {
    skipped_->push_back(
        fmt::format("service {}: {}", key_, fmt::format(format, std::forward<Args>(args)...)));
  }

  template <typename Texts>
  void AddAddresses(const char* what, const Texts& texts, std::vector<IpAddress>* out) {
    for (const std::string& text : texts) {
      const auto ip = IpAddress::Parse(text);
      if (ip.ok() && ip->is_v4()) {
        out->push_back(*ip);
      } else {
        Skip("{} \"{}\" is not an IPv4 address", what, text);
      }
    }
    std::sort(out->begin(), out->end());
    out->erase(std::unique(out->begin(), out->end()), out->end());
  }

  void AddSourceRanges() {
    for (const std::string& text : from_.source_ranges()) {
      const auto range = IpPrefix::Parse(text);
      if (range.ok() && range->base().is_v4()) {
        out_.source_ranges.push_back(*range);
      } else {
        Skip("loadBalancerSourceRanges: \"{}\" is not an IPv4 range; nobody is admitted by it",
             text);
      }
    }
    std::sort(out_.source_ranges.begin(), out_.source_ranges.end());
    out_.source_ranges.erase(std::unique(out_.source_ranges.begin(), out_.source_ranges.end()),
                             out_.source_ranges.end());
    // No range would admit everybody; this one holds no client.
    if (out_.source_ranges.empty() && from_.source_ranges_size() > 0)
      out_.source_ranges.push_back(*IpPrefix::Parse("0.0.0.0/32"));
  }

  void AddAlgorithms() {
    switch (from_.algorithm()) {
      case v1::ServiceState::ALGORITHM_DEFAULT:
        break;
      case v1::ServiceState::RANDOM:
        out_.internal_algorithm = out_.external_algorithm = Algorithm::kRandom;
        break;
      case v1::ServiceState::MAGLEV:
        out_.internal_algorithm = out_.external_algorithm = Algorithm::kMaglev;
        break;
      case v1::ServiceState::LEAST_LOADED:
        out_.internal_algorithm = out_.external_algorithm = Algorithm::kLeastLoaded;
        break;
      default:
        Skip("algorithm {} is not known to this node; the default is used",
             static_cast<int>(from_.algorithm()));
    }
  }

  void AddReturnPath() {
    switch (from_.return_path()) {
      case v1::ServiceState::RETURN_PATH_DEFAULT:
        out_.direct_return = node_.direct_return;
        break;
      case v1::ServiceState::SNAT:
        break;
      case v1::ServiceState::DIRECT:
        out_.direct_return = true;
        break;
      default:
        out_.direct_return = node_.direct_return;
        Skip("return path {} is not known to this node; the cluster's default is used",
             static_cast<int>(from_.return_path()));
    }
  }

  void AddAffinity() {
    out_.affinity_seconds = std::min(from_.affinity_seconds(), kMaxAffinitySeconds);
    if (from_.affinity_seconds() > kMaxAffinitySeconds)
      Skip("session affinity of {} s is more than a day; {} s are used", from_.affinity_seconds(),
           kMaxAffinitySeconds);
  }

  void CheckDistribution() {
    const std::string& text = from_.traffic_distribution();
    prefer_node_ = text == "PreferSameNode";
    prefer_zone_ = prefer_node_ || text == "PreferSameZone" || text == "PreferClose";
    if (!text.empty() && !prefer_zone_)
      Skip("trafficDistribution \"{}\" is not known to this node; all endpoints are used", text);
  }

  void AddPort(const v1::ServicePortState& from) {
    dataplane::ServicePort port;
    port.name = from.name();
    if (from.protocol() != 6 && from.protocol() != 17)
      return Skip("port {}: protocol {} is neither TCP (6) nor UDP (17)", from.port(),
                  from.protocol());
    port.protocol = static_cast<Protocol>(from.protocol());
    if (!IsPort(from.port())) return Skip("port {} is not in 1..65535", from.port());
    port.port = static_cast<uint16_t>(from.port());
    if (from.node_port() > 65535)
      Skip("port {}: node port {} is not in 1..65535", from.port(), from.node_port());
    else
      port.node_port = static_cast<uint16_t>(from.node_port());

    std::vector<Candidate> candidates = Candidates(from);
    ChooseScopes(&candidates);
    port.backends.reserve(candidates.size());
    for (Candidate& candidate : candidates) port.backends.push_back(std::move(candidate.backend));
    out_.ports.push_back(std::move(port));
  }

  // One per (ip, port), in this order; an active one wins over a draining one.
  std::vector<Candidate> Candidates(const v1::ServicePortState& from) {
    std::vector<Candidate> out;
    out.reserve(static_cast<size_t>(from.backends_size()));
    for (const v1::BackendState& backend : from.backends()) {
      const auto ip = IpAddress::Parse(backend.ip());
      if (!ip.ok() || !ip->is_v4() || !IsPort(backend.port())) {
        Skip("port {}: backend {}:{} is not an IPv4 address and port", from.port(), backend.ip(),
             backend.port());
        continue;
      }
      if (backend.weight() > kMaxWeight)
        Skip("port {}: backend {}:{} has weight {}; {} is used, the largest", from.port(),
             backend.ip(), backend.port(), backend.weight(), kMaxWeight);
      Candidate next;
      next.backend.ip = *ip;
      next.backend.port = static_cast<uint16_t>(backend.port());
      next.backend.state = backend.state() == v1::BackendState::DRAINING ? BackendState::kDraining
                                                                         : BackendState::kActive;
      next.backend.node = backend.node_name();
      next.backend.pod = backend.pod_name();
      next.backend.scopes = 0;
      next.backend.weight = static_cast<uint16_t>(std::clamp(backend.weight(), 1U, kMaxWeight));
      next.zone = backend.zone();
      out.push_back(std::move(next));
    }
    const auto address = [](const Candidate& c) { return std::pair(c.backend.ip, c.backend.port); };
    std::stable_sort(out.begin(), out.end(), [&](const Candidate& a, const Candidate& b) {
      return std::pair(address(a), a.backend.state) < std::pair(address(b), b.backend.state);
    });
    out.erase(std::unique(
                  out.begin(), out.end(),
                  [&](const Candidate& a, const Candidate& b) { return address(a) == address(b); }),
              out.end());
    return out;
  }

  bool OnThisNode(const Candidate& c) const { return c.backend.node == node_.name; }

  void ChooseScopes(std::vector<Candidate>* candidates) const {
    const Predicate local = [this](const Candidate& c) { return OnThisNode(c); };
    const Predicate nearest = Nearest(*candidates);
    for (Candidate& c : *candidates) {
      if (c.backend.state != BackendState::kActive) continue;
      if ((from_.internal_traffic_local() ? local : nearest)(c))
        c.backend.scopes |= dataplane::kScopeInternal;
      if ((from_.external_traffic_local() ? local : nearest)(c))
        c.backend.scopes |= dataplane::kScopeExternal;
    }
  }

  Predicate Nearest(const std::vector<Candidate>& candidates) const {
    std::vector<Predicate> wishes;
    if (prefer_node_) wishes.push_back([this](const Candidate& c) { return OnThisNode(c); });
    if (prefer_zone_ && !node_.zone.empty())
      wishes.push_back([this](const Candidate& c) { return c.zone == node_.zone; });
    for (Predicate& wish : wishes) {
      const bool any = std::any_of(candidates.begin(), candidates.end(), [&](const Candidate& c) {
        return c.backend.state == BackendState::kActive && wish(c);
      });
      if (any) return std::move(wish);
    }
    return [](const Candidate&) { return true; };
  }

  const std::string& key_;
  const v1::ServiceState& from_;
  const NodeView& node_;
  std::vector<std::string>* skipped_;
  bool prefer_node_ = false, prefer_zone_ = false;
  dataplane::Service out_;
};

bool IsOver(const v1::Pod& pod) {
  return pod.status().phase() == "Succeeded" || pod.status().phase() == "Failed";
}

}  // namespace

std::optional<dataplane::Service> TranslateService(const std::string& key,
                                                   const v1::ServiceState& from,
                                                   const NodeView& node,
                                                   std::vector<std::string>* skipped) {
  return Translator(key, from, node, skipped).Run();
}

std::optional<dataplane::Service> TranslateHostPorts(const v1::Pod& pod, const NodeView& node,
                                                     std::vector<std::string>* skipped) {
  const auto ip = IpAddress::Parse(pod.status().pod_ip());
  if (!ip.ok() || !ip->is_v4() || IsOver(pod)) return std::nullopt;
  dataplane::Service out;
  out.ns = pod.metadata().namespace_();
  out.name = "pod/" + pod.metadata().name();
  out.identity = pod.status().identity();
  for (const v1::Container& container : pod.spec().containers()) {
    for (const v1::ContainerPort& from : container.ports()) {
      if (from.host_port() == 0) continue;
      const auto skip = [&](const std::string& why) {
        skipped->push_back(fmt::format("pod {}/{}: hostPort {}: {}", out.ns, pod.metadata().name(),
                                       from.host_port(), why));
      };
      if (!IsPort(static_cast<uint32_t>(from.host_port())) ||
          !IsPort(static_cast<uint32_t>(from.container_port()))) {
        skip(fmt::format("it or containerPort {} is not in 1..65535", from.container_port()));
        continue;
      }
      if (!from.protocol().empty() && from.protocol() != "TCP" && from.protocol() != "UDP") {
        skip(fmt::format("protocol {} is neither TCP nor UDP", from.protocol()));
        continue;
      }
      if (const auto host = IpAddress::Parse(from.host_ip()); !from.host_ip().empty() &&
                                                              from.host_ip() != "0.0.0.0" &&
                                                              (!host.ok() || *host != node.ip)) {
        skip(fmt::format("hostIP {} is not this node's address {}", from.host_ip(),
                         node.ip.ToString()));
        continue;
      }
      dataplane::ServicePort port;
      port.name = from.name();
      port.protocol = from.protocol() == "UDP" ? Protocol::kUdp : Protocol::kTcp;
      port.port = port.node_port = static_cast<uint16_t>(from.host_port());
      Backend backend;
      backend.ip = *ip;
      backend.port = static_cast<uint16_t>(from.container_port());
      backend.state =
          pod.metadata().has_deletion_timestamp() ? BackendState::kDraining : BackendState::kActive;
      backend.node = node.name;
      backend.pod = pod.metadata().name();
      backend.scopes =
          backend.state == BackendState::kActive ? dataplane::kScopeExternal : uint8_t{0};
      port.backends.push_back(std::move(backend));
      out.ports.push_back(std::move(port));
    }
  }
  if (out.ports.empty()) return std::nullopt;
  return out;
}

int CountLocalEndpoints(const v1::ServiceState& service, const std::string& node) {
  std::set<std::string> addresses;
  for (const v1::ServicePortState& port : service.ports()) {
    for (const v1::BackendState& backend : port.backends()) {
      if (backend.node_name() == node && backend.state() != v1::BackendState::DRAINING)
        addresses.insert(backend.ip());
    }
  }
  return static_cast<int>(addresses.size());
}

}  // namespace mesh::agent
