// SPDX-License-Identifier: Apache-2.0
#include "agent/network/service_translation.h"

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <utility>

#include "common/rendezvous.h"
#include "fmt/format.h"

namespace mesh::agent {
namespace {

using dataplane::Algorithm;
using dataplane::Backend;
using dataplane::BackendState;
using dataplane::Family;
using dataplane::Protocol;

constexpr uint32_t kMaxWeight = 1000;
// Kubernetes' limit: a day.
constexpr uint32_t kMaxAffinitySeconds = 86400;

bool IsPort(uint32_t port) { return port >= 1 && port <= 65535; }

Family FamilyOf(const IpAddress& ip) { return ip.is_v4() ? Family::kV4 : Family::kV6; }
const char* Name(Family family) { return family == Family::kV4 ? "IPv4" : "IPv6"; }

// As the Service says; one that does not has that of its address.
std::set<Family> FamiliesOf(const v1::ServiceState& service) {
  std::set<Family> out;
  for (const std::string& name : service.ip_families()) {
    if (name == "IPv4") out.insert(Family::kV4);
    if (name == "IPv6") out.insert(Family::kV6);
  }
  if (!out.empty()) return out;
  const auto ip = IpAddress::Parse(service.cluster_ip());
  out.insert(ip.ok() ? FamilyOf(*ip) : Family::kV4);
  return out;
}

// A backend with what only the choice of scopes needs.
struct Candidate {
  Backend backend;
  std::string zone;
};

using Predicate = std::function<bool(const Candidate&)>;

// Which frontends of a Service: all, the ClusterIP, the rest, the balancer's addresses. The first
// and the third have no balancer's addresses where those stand apart.
enum class Part : uint8_t { kAll, kClusterIp, kOutside, kBalancer };

bool BalancerStandsApart(const v1::ServiceState& service) {
  return service.external_traffic_local() && service.load_balancer_ips_size() > 0;
}

bool HasOutside(const v1::ServiceState& service) {
  return service.load_balancer_ips_size() > 0 || service.external_ips_size() > 0 ||
         std::any_of(service.ports().begin(), service.ports().end(),
                     [](const v1::ServicePortState& port) { return port.node_port() != 0; });
}

// One family of a Service.
class Translator {
 public:
  Translator(const std::string& key, const v1::ServiceState& from, const std::set<Family>& families,
             Family family, Part part, const NodeView& node, std::vector<std::string>* skipped)
      : key_(key),
        from_(from),
        families_(families),
        family_(family),
        part_(part),
        node_(node),
        skipped_(skipped) {}

  std::optional<dataplane::Service> Run() {
    out_.family = family_;
    out_.ns = from_.namespace_();
    out_.name = from_.name();
    out_.identity = from_.identity();
    if (!AddClusterIp()) return std::nullopt;
    if (part_ == Part::kOutside || part_ == Part::kBalancer) {
      out_.cluster_ip = IpAddress();
      out_.outside = true;
    }
    if (part_ != Part::kClusterIp && (part_ == Part::kBalancer || !BalancerStandsApart(from_))) {
      AddAddresses("load balancer address", from_.load_balancer_ips(), &out_.load_balancer_ips);
      AddSourceRanges();
    }
    if (part_ == Part::kAll || part_ == Part::kOutside)
      AddAddresses("external address", from_.external_ips(), &out_.external_ips);
    AddAlgorithms();
    AddReturnPath();
    AddAffinity();
    out_.announced = !out_.load_balancer_ips.empty() && !from_.announcing_node().empty() &&
                     from_.announcing_node() == node_.name;
    CheckDistribution();
    const bool addressed = !out_.load_balancer_ips.empty() || !out_.external_ips.empty();
    for (const v1::ServicePortState& port : from_.ports()) {
      if (!out_.outside || addressed || (part_ == Part::kOutside && port.node_port() != 0))
        AddPort(port);
    }
    return std::move(out_);
  }

 private:
  // The two families share most of what can be wrong: it is told once.
  template <typename... Args>
  void Skip(fmt::format_string<Args...> format, Args&&... args) {
    std::string line =
        fmt::format("service {}: {}", key_, fmt::format(format, std::forward<Args>(args)...));
    if (std::find(skipped_->begin(), skipped_->end(), line) == skipped_->end())
      skipped_->push_back(std::move(line));
  }

  // False for what is no address, and for one of the Service's other family.
  bool IsOurs(const absl::StatusOr<IpAddress>& ip) const {
    return ip.ok() && FamilyOf(*ip) == family_;
  }
  bool IsOfTheOther(const absl::StatusOr<IpAddress>& ip) const {
    return ip.ok() && FamilyOf(*ip) != family_ && families_.contains(FamilyOf(*ip));
  }
  std::string Families() const {
    return families_.size() > 1 ? "IPv4 or IPv6" : Name(*families_.begin());
  }

  bool AddClusterIp() {
    std::vector<std::string> texts(from_.cluster_ips().begin(), from_.cluster_ips().end());
    if (texts.empty()) texts.push_back(from_.cluster_ip());
    for (const std::string& text : texts) {
      const auto ip = IpAddress::Parse(text);
      if (IsOurs(ip)) {
        out_.cluster_ip = *ip;
        return true;
      }
      if (!IsOfTheOther(ip)) Skip("\"{}\" is not an {} address", text, Families());
    }
    // One that waits for its second address has none yet: nothing is wrong.
    return false;
  }

  template <typename Texts>
  void AddAddresses(const char* what, const Texts& texts, std::vector<IpAddress>* out) {
    for (const std::string& text : texts) {
      const auto ip = IpAddress::Parse(text);
      if (IsOurs(ip)) {
        out->push_back(*ip);
      } else if (!IsOfTheOther(ip)) {
        Skip("{} \"{}\" is not an {} address", what, text, Families());
      }
    }
    std::sort(out->begin(), out->end());
    out->erase(std::unique(out->begin(), out->end()), out->end());
  }

  // A range of a family that the Service has not admits nobody, which is what it says.
  void AddSourceRanges() {
    for (const std::string& text : from_.source_ranges()) {
      const auto range = IpPrefix::Parse(text);
      if (!range.ok()) {
        Skip("loadBalancerSourceRanges: \"{}\" is not an address range; nobody is admitted by it",
             text);
      } else if (FamilyOf(range->base()) == family_) {
        out_.source_ranges.push_back(*range);
      }
    }
    std::sort(out_.source_ranges.begin(), out_.source_ranges.end());
    out_.source_ranges.erase(std::unique(out_.source_ranges.begin(), out_.source_ranges.end()),
                             out_.source_ranges.end());
    // No range would admit everybody; this one holds no client.
    if (out_.source_ranges.empty() && from_.source_ranges_size() > 0)
      out_.source_ranges.push_back(
          IpPrefix::Of(family_ == Family::kV4 ? IpAddress::V4(0) : IpAddress()));
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
    if (part_ == Part::kClusterIp || part_ == Part::kBalancer)
      port.node_port = 0;
    else if (from.node_port() > 65535)
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
      if (IsOfTheOther(ip) && IsPort(backend.port())) continue;
      if (!IsOurs(ip) || !IsPort(backend.port())) {
        Skip("port {}: backend {}:{} is not an {} address and port", from.port(), backend.ip(),
             backend.port(), Families());
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
      next.backend.may_outlive = backend.may_outlive();
      next.backend.serves_last =
          next.backend.state == BackendState::kDraining && backend.serves_last();
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

  // Of a balancer's address of a Service with externalTrafficPolicy Local, where this node has no
  // ready endpoint: the node whose endpoints new connections get, with their clients' addresses.
  // The one that answers for the address; or when this one does, whose last endpoints stop and
  // whose connections end in peace, the one that the control plane will choose next. Empty: none is
  // ready.
  std::string Heir(const std::vector<Candidate>& candidates) const {
    const std::string service = from_.namespace_() + "/" + from_.name();
    std::string best;
    uint64_t best_weight = 0;
    for (const Candidate& c : candidates) {
      const std::string& node = c.backend.node;
      if (c.backend.state != BackendState::kActive || node.empty()) continue;
      if (node == node_.name) return "";
      const uint64_t weight =
          node == from_.announcing_node() ? UINT64_MAX : RendezvousWeight(service, node);
      if (!best.empty() && weight <= best_weight) continue;
      best = node;
      best_weight = weight;
    }
    return best;
  }

  void ChooseScopes(std::vector<Candidate>* candidates) {
    const std::string heir = part_ == Part::kBalancer ? Heir(*candidates) : "";
    if (!heir.empty()) out_.direct_return = true;
    const Predicate local = [this](const Candidate& c) { return OnThisNode(c); };
    const Predicate nearest_active = Nearest(*candidates);
    const Predicate nearest = [&](const Candidate& c) {
      return c.backend.serves_last || nearest_active(c);
    };
    for (Candidate& c : *candidates) {
      if (c.backend.state != BackendState::kActive && !c.backend.serves_last) continue;
      if (out_.outside) {
        // Whoever dials them inside has neither policy. Without a set for them they get the
        // external.
        if (from_.external_traffic_local() && nearest(c))
          c.backend.scopes |= dataplane::kScopeInternal;
      } else if ((from_.internal_traffic_local() ? local : nearest)(c)) {
        c.backend.scopes |= dataplane::kScopeInternal;
      }
      const bool external = from_.external_traffic_local()
                                ? local(c) || (!heir.empty() && c.backend.node == heir)
                                : nearest(c);
      if (part_ != Part::kClusterIp && external) c.backend.scopes |= dataplane::kScopeExternal;
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
  const std::set<Family>& families_;
  const Family family_;
  const Part part_;
  const NodeView& node_;
  std::vector<std::string>* skipped_;
  bool prefer_node_ = false, prefer_zone_ = false;
  dataplane::Service out_;
};

bool IsOver(const v1::Pod& pod) {
  return pod.status().phase() == "Succeeded" || pod.status().phase() == "Failed";
}

// A host port is asked for on all addresses of the node, those of one family, or one of them.
// nullopt: on an address that the node has not.
std::optional<std::set<Family>> HostFamilies(const std::string& host_ip, const NodeView& node) {
  if (host_ip.empty()) return std::set<Family>{Family::kV4, Family::kV6};
  const auto host = IpAddress::Parse(host_ip);
  if (!host.ok()) return std::nullopt;
  if (*host == IpAddress::V4(0) || *host == node.ip) return std::set<Family>{Family::kV4};
  if (*host == IpAddress() || *host == node.ip6) return std::set<Family>{Family::kV6};
  return std::nullopt;
}

class HostPortTranslator {
 public:
  HostPortTranslator(const v1::Pod& pod, const NodeView& node, std::vector<std::string>* skipped)
      : pod_(pod), node_(node), skipped_(skipped) {}

  Translated Run() {
    for (const std::string& text : PodIps()) {
      const auto ip = IpAddress::Parse(text);
      if (ip.ok() && (ip->is_v4() || node_.ipv6)) Begin(*ip);
    }
    if (out_.v4 || out_.v6) {
      for (const v1::Container& container : pod_.spec().containers()) {
        for (const v1::ContainerPort& port : container.ports()) {
          if (port.host_port() != 0) AddPort(port);
        }
      }
    }
    for (std::optional<dataplane::Service>* service : {&out_.v4, &out_.v6}) {
      if (service->has_value() && (*service)->ports.empty()) service->reset();
    }
    return std::move(out_);
  }

 private:
  std::vector<std::string> PodIps() const {
    std::vector<std::string> out;
    for (const v1::PodIP& ip : pod_.status().pod_ips()) out.push_back(ip.ip());
    if (out.empty()) out.push_back(pod_.status().pod_ip());
    return out;
  }

  void Begin(const IpAddress& ip) {
    dataplane::Service service;
    service.family = FamilyOf(ip);
    service.ns = pod_.metadata().namespace_();
    service.name = "pod/" + pod_.metadata().name();
    ips_[service.family] = ip;
    (service.family == Family::kV4 ? out_.v4 : out_.v6) = std::move(service);
  }

  void Skip(const v1::ContainerPort& from, const std::string& why) {
    skipped_->push_back(fmt::format("pod {}/{}: hostPort {}: {}", pod_.metadata().namespace_(),
                                    pod_.metadata().name(), from.host_port(), why));
  }

  void AddPort(const v1::ContainerPort& from) {
    if (!IsPort(static_cast<uint32_t>(from.host_port())) ||
        !IsPort(static_cast<uint32_t>(from.container_port())))
      return Skip(from,
                  fmt::format("it or containerPort {} is not in 1..65535", from.container_port()));
    if (!from.protocol().empty() && from.protocol() != "TCP" && from.protocol() != "UDP")
      return Skip(from, fmt::format("protocol {} is neither TCP nor UDP", from.protocol()));
    const auto families = HostFamilies(from.host_ip(), node_);
    if (!families)
      return Skip(from, fmt::format("hostIP {} is not this node's address {}{}", from.host_ip(),
                                    node_.ip.ToString(),
                                    node_.ip6 == IpAddress() ? "" : " or " + node_.ip6.ToString()));
    for (const Family family : *families) {
      auto& service = family == Family::kV4 ? out_.v4 : out_.v6;
      if (service) service->ports.push_back(MakePort(from, ips_[family]));
    }
  }

  dataplane::ServicePort MakePort(const v1::ContainerPort& from, const IpAddress& ip) const {
    dataplane::ServicePort port;
    port.name = from.name();
    port.protocol = from.protocol() == "UDP" ? Protocol::kUdp : Protocol::kTcp;
    port.port = port.node_port = static_cast<uint16_t>(from.host_port());
    Backend backend;
    backend.ip = ip;
    backend.port = static_cast<uint16_t>(from.container_port());
    backend.state =
        pod_.metadata().has_deletion_timestamp() ? BackendState::kDraining : BackendState::kActive;
    backend.node = node_.name;
    backend.pod = pod_.metadata().name();
    backend.scopes = dataplane::kScopeExternal;
    backend.serves_last = backend.state == BackendState::kDraining;
    port.backends.push_back(std::move(backend));
    return port;
  }

  const v1::Pod& pod_;
  const NodeView& node_;
  std::vector<std::string>* skipped_;
  Translated out_;
  std::map<Family, IpAddress> ips_;
};

}  // namespace

std::string Ipv6Key(const std::string& key) { return key + "#6"; }
std::string OutsideKey(const std::string& key) { return key + "#out"; }
std::string BalancerKey(const std::string& key) { return key + "#lb"; }

Translated TranslateService(const std::string& key, const v1::ServiceState& from,
                            const NodeView& node, std::vector<std::string>* skipped) {
  Translated out;
  if (from.cluster_ip().empty() || from.cluster_ip() == "None") return out;
  const std::set<Family> families = FamiliesOf(from);
  const bool apart = from.internal_traffic_local() && HasOutside(from);
  const auto translate = [&](Family family, std::optional<dataplane::Service>* whole,
                             std::optional<dataplane::Service>* outside,
                             std::optional<dataplane::Service>* balancer) {
    const auto run = [&](Part part) {
      return Translator(key, from, families, family, part, node, skipped).Run();
    };
    *whole = run(apart ? Part::kClusterIp : Part::kAll);
    if (apart) *outside = run(Part::kOutside);
    if (BalancerStandsApart(from)) *balancer = run(Part::kBalancer);
    for (auto* part : {outside, balancer})
      if (part->has_value() && (*part)->ports.empty()) part->reset();
  };
  if (families.contains(Family::kV4))
    translate(Family::kV4, &out.v4, &out.v4_outside, &out.v4_balancer);
  if (families.contains(Family::kV6)) {
    if (node.ipv6) {
      translate(Family::kV6, &out.v6, &out.v6_outside, &out.v6_balancer);
    } else {
      skipped->push_back(
          fmt::format("service {}: IPv6 is left out: this node was not given ranges of it", key));
    }
  }
  return out;
}

Translated TranslateHostPorts(const v1::Pod& pod, const NodeView& node,
                              std::vector<std::string>* skipped) {
  if (IsOver(pod)) return {};
  return HostPortTranslator(pod, node, skipped).Run();
}

int CountLocalEndpoints(const v1::ServiceState& service, const std::string& node) {
  std::map<Family, std::set<IpAddress>> addresses;
  for (const v1::ServicePortState& port : service.ports()) {
    for (const v1::BackendState& backend : port.backends()) {
      if (backend.node_name() != node || backend.state() == v1::BackendState::DRAINING) continue;
      if (const auto ip = IpAddress::Parse(backend.ip()); ip.ok())
        addresses[FamilyOf(*ip)].insert(*ip);
    }
  }
  return static_cast<int>(std::max(addresses[Family::kV4].size(), addresses[Family::kV6].size()));
}

}  // namespace mesh::agent
