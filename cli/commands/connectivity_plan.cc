// SPDX-License-Identifier: Apache-2.0
#include "cli/commands/connectivity_plan.h"

#include <algorithm>
#include <map>
#include <optional>

#include "common/ip_address.h"
#include "fmt/format.h"
#include "fmt/ranges.h"

namespace mesh::cli {
namespace {

using Outcome = v1::ProbeResponse;

// A TCP handshake whose first segment is lost is tried again after a second.
constexpr uint32_t kAnswerMs = 4000;
// Silence that long is a drop: an answer takes well below a millisecond.
constexpr uint32_t kSilenceMs = 1000;

constexpr char kEvery[] = "every";
constexpr char kBalancer[] = "balancer";
constexpr char kHeadless[] = "headless";
constexpr char kNobody[] = "nobody";

std::string PodName(size_t index) { return fmt::format("probe-{}", index); }
std::string ServiceName(size_t index) { return fmt::format("to-{}", index); }

v1::Resource PodOf(const ProbePlan& plan, const std::string& ns, size_t index) {
  v1::Resource out;
  v1::Pod& pod = *out.mutable_pod();
  pod.mutable_metadata()->set_name(PodName(index));
  pod.mutable_metadata()->set_namespace_(ns);
  (*pod.mutable_metadata()->mutable_labels())["app"] = kProbeLabel;
  (*pod.mutable_metadata()->mutable_labels())["probe"] = PodName(index);
  pod.mutable_spec()->set_node_name(plan.nodes[index].name);
  pod.mutable_spec()->set_termination_grace_period_seconds(1);
  v1::Container& container = *pod.mutable_spec()->add_containers();
  container.set_name("probe");
  container.set_image(plan.nodes[index].image);
  container.set_image_pull_policy("IfNotPresent");
  return out;
}

v1::Resource ServiceOf(const ProbePlan& plan, const std::string& name, const std::string& key,
                       const std::string& value) {
  v1::Resource out;
  v1::Service& service = *out.mutable_service();
  service.mutable_metadata()->set_name(name);
  service.mutable_metadata()->set_namespace_(plan.ns_a);
  (*service.mutable_spec()->mutable_selector())[key] = value;
  service.mutable_spec()->set_ip_family_policy("PreferDualStack");
  for (const char* protocol : {"TCP", "UDP"}) {
    v1::ServicePort& port = *service.mutable_spec()->add_ports();
    port.set_name(protocol[0] == 'T' ? "tcp" : "udp");
    port.set_protocol(protocol);
    port.set_port(kServicePort);
    port.mutable_target_port()->set_int_value(kProbePort);
  }
  return out;
}

bool IsV6(const std::string& ip) { return ip.find(':') != std::string::npos; }

std::string HostPort(const std::string& ip, uint32_t port) {
  return IsV6(ip) ? fmt::format("[{}]:{}", ip, port) : fmt::format("{}:{}", ip, port);
}

std::vector<std::string> IpsOf(const v1::Pod& pod) {
  std::vector<std::string> out;
  for (const v1::PodIP& ip : pod.status().pod_ips()) out.push_back(ip.ip());
  if (out.empty() && !pod.status().pod_ip().empty()) out.push_back(pod.status().pod_ip());
  return out;
}

std::vector<std::string> ClusterIpsOf(const v1::Service& service) {
  const auto& ips = service.spec().cluster_ips();
  if (!ips.empty()) return {ips.begin(), ips.end()};
  if (service.spec().cluster_ip().empty()) return {};
  return {service.spec().cluster_ip()};
}

class Planner {
 public:
  Planner(const ProbePlan& plan, const ProbeFound& found) : plan_(plan) {
    for (const v1::Pod& pod : found.pods)
      pods_[{pod.metadata().namespace_(), pod.metadata().name()}] = &pod;
    for (const v1::Service& service : found.services)
      services_[service.metadata().name()] = &service;
    for (size_t i = 0; i < plan.nodes.size(); ++i) everyone_.insert(PodName(i));
  }

  std::vector<Check> Closed() {
    ForEachPair([&](size_t from, size_t to) { Direct("pod to pod", plan_.ns_a, from, to, true); });
    ForEachPair([&](size_t from, size_t to) { FullSize(from, to); });
    ForEachPair([&](size_t from, size_t to) { ClusterIp(plan_.ns_a, from, to, "ClusterIP"); });
    ForEachPair([&](size_t from, size_t to) { NodePort(from, to); });
    for (size_t from = 0; from < plan_.nodes.size(); ++from) {
      Balancer(from);
      External(from);
      NoBackend(from);
      Names(from);
    }
    ForEachPair([&](size_t from, size_t to) {
      ClusterIp(plan_.ns_b, from, to, "another namespace's Service");
    });
    ForEachPair([&](size_t from, size_t to) {
      Direct("isolation between namespaces", plan_.ns_b, from, to, false);
    });
    return Take();
  }

  std::vector<Check> Open() {
    ForEachPair([&](size_t from, size_t to) {
      Direct("into an open namespace", plan_.ns_b, from, to, true);
    });
    return Take();
  }

  std::vector<Check> Policies() {
    ForEachPair([&](size_t from, size_t to) {
      Direct("what policies admit", plan_.ns_b, from, to, true, "TCP");
    });
    ForEachPair([&](size_t from, size_t to) {
      Direct("what no policy admits", plan_.ns_b, from, to, false, "UDP");
      Direct("what no policy admits", plan_.ns_a, from, to, false, "TCP");
    });
    for (size_t from = 0; from < plan_.nodes.size(); ++from) {
      Check& check = AddName("names that a policy keeps away", plan_.ns_b, from, kEvery);
      check.expected = Outcome::TIMED_OUT;
      check.request.mutable_resolve()->set_timeout_ms(kSilenceMs);
    }
    return Take();
  }

 private:
  template <typename Visit>
  void ForEachPair(Visit visit) const {
    for (size_t from = 0; from < plan_.nodes.size(); ++from)
      for (size_t to = 0; to < plan_.nodes.size(); ++to) visit(from, to);
  }

  // By promise, in the order in which they were first made.
  std::vector<Check> Take() {
    std::map<std::string, size_t> order;
    for (const Check& check : checks_) order.emplace(check.promise, order.size());
    std::stable_sort(checks_.begin(), checks_.end(), [&](const Check& a, const Check& b) {
      return order[a.promise] < order[b.promise];
    });
    return std::move(checks_);
  }

  Check& Add(const std::string& promise, const std::string& ns, size_t from,
             const std::string& to) {
    Check& check = checks_.emplace_back();
    check.promise = promise;
    check.from_ns = ns;
    check.from_pod = PodName(from);
    check.from_node = plan_.nodes[from].name;
    check.to = to;
    check.request.set_node(check.from_node);
    check.request.set_namespace_(ns);
    check.request.set_pod(check.from_pod);
    return check;
  }

  Check& AddDial(const std::string& promise, const std::string& ns, size_t from,
                 const std::string& to, const std::string& protocol, const std::string& ip,
                 uint32_t port) {
    Check& check = Add(fmt::format("{}, {}, {}", promise, protocol, IsV6(ip) ? "IPv6" : "IPv4"), ns,
                       from, fmt::format("{}, {}", to, HostPort(ip, port)));
    v1::ProbeDial& dial = *check.request.mutable_dial();
    dial.set_protocol(protocol);
    dial.set_address(ip);
    dial.set_port(port);
    dial.set_timeout_ms(kAnswerMs);
    return check;
  }

  const v1::Pod* Target(size_t to) const {
    const auto it = pods_.find({plan_.ns_a, PodName(to)});
    return it == pods_.end() ? nullptr : it->second;
  }
  std::string TargetText(size_t to) const {
    return fmt::format("pod {} on {}", PodName(to), plan_.nodes[to].name);
  }
  // A pod that asks itself says nothing about the network.
  static bool IsSelf(const std::string& ns, const ProbePlan& plan, size_t from, size_t to) {
    return ns == plan.ns_a && from == to;
  }

  // Both protocols, or those for which `only` says so.
  void Direct(const std::string& promise, const std::string& ns, size_t from, size_t to,
              bool admitted, const std::string& only = "") {
    const v1::Pod* pod = Target(to);
    if (pod == nullptr || IsSelf(ns, plan_, from, to)) return;
    for (const std::string& ip : IpsOf(*pod)) {
      for (const char* protocol : {"TCP", "UDP"}) {
        if (!only.empty() && only != protocol) continue;
        Check& check = AddDial(promise, ns, from, TargetText(to), protocol, ip, kProbePort);
        if (admitted) {
          check.answerers = {PodName(to)};
        } else {
          check.expected = Outcome::TIMED_OUT;
          check.request.mutable_dial()->set_timeout_ms(kSilenceMs);
        }
      }
    }
  }

  void FullSize(size_t from, size_t to) {
    const v1::Pod* pod = Target(to);
    if (pod == nullptr || from == to) return;
    for (const std::string& ip : IpsOf(*pod)) {
      Check& check =
          AddDial("full-sized packets", plan_.ns_a, from, TargetText(to), "UDP", ip, kProbePort);
      check.request.mutable_dial()->set_full_size(true);
      check.answerers = {PodName(to)};
    }
  }

  void ClusterIp(const std::string& ns, size_t from, size_t to, const std::string& promise) {
    const auto it = services_.find(ServiceName(to));
    if (it == services_.end()) return;
    for (const std::string& ip : ClusterIpsOf(*it->second)) {
      for (const char* protocol : {"TCP", "UDP"}) {
        AddDial(promise, ns, from, fmt::format("service {} of {}", ServiceName(to), TargetText(to)),
                protocol, ip, kServicePort)
            .answerers = {PodName(to)};
      }
    }
  }

  void NodePort(size_t from, size_t to) {
    const auto it = services_.find(kEvery);
    if (it == services_.end()) return;
    const auto& families = it->second->spec().ip_families();
    for (const std::string& ip : plan_.nodes[to].addresses) {
      const char* family = IsV6(ip) ? "IPv6" : "IPv4";
      if (std::ranges::find(families, family) == families.end()) continue;
      for (const v1::ServicePort& port : it->second->spec().ports()) {
        if (port.node_port() == 0) continue;
        AddDial("node port", plan_.ns_a, from,
                fmt::format("node port of service {} at {}", kEvery, plan_.nodes[to].name),
                port.protocol(), ip, static_cast<uint32_t>(port.node_port()))
            .answerers = everyone_;
      }
    }
  }

  void Balancer(size_t from) {
    const auto it = services_.find(kBalancer);
    if (it == services_.end()) return;
    for (const auto& ingress : it->second->status().load_balancer().ingress()) {
      for (const char* protocol : {"TCP", "UDP"}) {
        AddDial("load balancer address", plan_.ns_a, from, fmt::format("service {}", kBalancer),
                protocol, ingress.ip(), kServicePort)
            .answerers = everyone_;
      }
    }
  }

  void External(size_t from) {
    const auto it = services_.find(kEvery);
    if (it == services_.end()) return;
    for (const std::string& ip : it->second->spec().external_ips()) {
      for (const char* protocol : {"TCP", "UDP"}) {
        AddDial("external address", plan_.ns_a, from, fmt::format("service {}", kEvery), protocol,
                ip, kServicePort)
            .answerers = everyone_;
      }
    }
  }

  void NoBackend(size_t from) {
    const auto it = services_.find(kNobody);
    if (it == services_.end()) return;
    for (const std::string& ip : ClusterIpsOf(*it->second)) {
      for (const char* protocol : {"TCP", "UDP"}) {
        AddDial("refusal without backends", plan_.ns_a, from,
                fmt::format("service {}, which selects nothing", kNobody), protocol, ip,
                kServicePort)
            .expected = Outcome::REFUSED;
      }
    }
  }

  Check& AddName(const std::string& promise, const std::string& ns, size_t from,
                 const std::string& service) {
    const std::string name = fmt::format("{}.{}.svc.{}", service, plan_.ns_a, plan_.cluster_domain);
    Check& check = Add(promise, ns, from, "name " + name);
    check.request.mutable_resolve()->set_name(name);
    check.request.mutable_resolve()->set_timeout_ms(kAnswerMs);
    return check;
  }

  void Names(size_t from) {
    if (const auto it = services_.find(kEvery); it != services_.end()) {
      Check& check = AddName("names of Services", plan_.ns_a, from, kEvery);
      for (const std::string& ip : ClusterIpsOf(*it->second)) check.addresses.insert(ip);
    }
    if (services_.contains(kHeadless)) {
      Check& check = AddName("names of headless Services", plan_.ns_a, from, kHeadless);
      for (size_t i = 0; i < plan_.nodes.size(); ++i)
        if (const v1::Pod* pod = Target(i))
          for (const std::string& ip : IpsOf(*pod)) check.addresses.insert(ip);
    }
    AddName("names that do not exist", plan_.ns_a, from, "no-such-service").expected =
        Outcome::NO_SUCH_NAME;
  }

  const ProbePlan& plan_;
  std::map<std::pair<std::string, std::string>, const v1::Pod*> pods_;
  std::map<std::string, const v1::Service*> services_;
  std::set<std::string> everyone_;
  std::vector<Check> checks_;
};

std::string OutcomeText(v1::ProbeResponse::Outcome outcome) {
  switch (outcome) {
    case Outcome::ANSWERED:
      return "an answer";
    case Outcome::REFUSED:
      return "a refusal";
    case Outcome::TIMED_OUT:
      return "no answer";
    case Outcome::UNREACHABLE:
      return "\"unreachable\"";
    case Outcome::TOO_BIG:
      return "\"packet too big\"";
    case Outcome::NO_SUCH_NAME:
      return "\"no such name\"";
    default:
      return "nothing known";
  }
}

}  // namespace

std::vector<v1::Resource> ProbeNamespaces(const ProbePlan& plan) {
  std::vector<v1::Resource> out;
  for (const std::string& name : {plan.ns_a, plan.ns_b}) {
    v1::Resource resource;
    resource.mutable_namespace_()->mutable_metadata()->set_name(name);
    out.push_back(std::move(resource));
  }
  return out;
}

std::vector<v1::Resource> ProbeObjects(const ProbePlan& plan) {
  std::vector<v1::Resource> out;
  for (size_t i = 0; i < plan.nodes.size(); ++i) {
    out.push_back(PodOf(plan, plan.ns_a, i));
    out.push_back(PodOf(plan, plan.ns_b, i));
    out.push_back(ServiceOf(plan, ServiceName(i), "probe", PodName(i)));
  }
  v1::Resource every = ServiceOf(plan, kEvery, "app", kProbeLabel);
  every.mutable_service()->mutable_spec()->set_type("NodePort");
  every.mutable_service()->mutable_spec()->add_external_ips(kProbeExternalIp);
  out.push_back(std::move(every));
  v1::Resource headless = ServiceOf(plan, kHeadless, "app", kProbeLabel);
  headless.mutable_service()->mutable_spec()->set_cluster_ip("None");
  out.push_back(std::move(headless));
  out.push_back(ServiceOf(plan, kNobody, "app", "nobody"));
  v1::Resource balancer = ServiceOf(plan, kBalancer, "app", kProbeLabel);
  balancer.mutable_service()->mutable_spec()->set_type("LoadBalancer");
  out.push_back(std::move(balancer));
  return out;
}

std::vector<v1::Resource> ProbePolicies(const ProbePlan& plan) {
  const auto named = [](const std::string& ns, const char* name) {
    v1::Resource out;
    v1::NetworkPolicy& policy = *out.mutable_network_policy();
    policy.mutable_metadata()->set_name(name);
    policy.mutable_metadata()->set_namespace_(ns);
    policy.mutable_spec()->mutable_pod_selector();
    return out;
  };
  const auto peer = [](const std::string& ns, v1::NetworkPolicyPeer* out) {
    auto& labels = *out->mutable_namespace_selector()->mutable_match_labels();
    labels["kubernetes.io/metadata.name"] = ns;
  };
  v1::Resource in = named(plan.ns_a, "from-b"), to = named(plan.ns_b, "to-a");
  v1::NetworkPolicySpec& in_spec = *in.mutable_network_policy()->mutable_spec();
  in_spec.add_policy_types("Ingress");
  v1::NetworkPolicyIngressRule& rule = *in_spec.add_ingress();
  peer(plan.ns_b, rule.add_from());
  rule.add_ports()->mutable_port()->set_int_value(kProbePort);
  v1::NetworkPolicySpec& to_spec = *to.mutable_network_policy()->mutable_spec();
  to_spec.add_policy_types("Egress");
  peer(plan.ns_a, to_spec.add_egress()->add_to());
  return {in, to};
}

std::vector<Check> PlanChecks(const ProbePlan& plan, const ProbeFound& found) {
  return Planner(plan, found).Closed();
}

std::vector<Check> PlanOpenChecks(const ProbePlan& plan, const ProbeFound& found) {
  return Planner(plan, found).Open();
}

std::vector<Check> PlanPolicyChecks(const ProbePlan& plan, const ProbeFound& found) {
  return Planner(plan, found).Policies();
}

std::string Broken(const Check& check, const v1::ProbeResponse& response) {
  if (response.outcome() == Outcome::TIMED_OUT && response.packet_bytes() != 0 &&
      check.expected != Outcome::TIMED_OUT)
    return fmt::format(
        "no answer to packets of {} bytes, the MTU of the pods: compare it with the MTU of the "
        "nodes' uplinks and of what is between them",
        response.packet_bytes());
  if (response.outcome() != check.expected)
    return fmt::format(
        "{}{} instead of {}", OutcomeText(response.outcome()),
        response.answered_by().empty() ? "" : fmt::format(" by {}", response.answered_by()),
        OutcomeText(check.expected));
  if (check.expected != Outcome::ANSWERED) return "";
  if (check.request.has_dial()) {
    if (check.answerers.empty() || check.answerers.contains(response.answered_by())) return "";
    return fmt::format("an answer by \"{}\" instead of {}", response.answered_by(),
                       fmt::join(check.answerers, " or "));
  }
  const std::set<std::string> got(response.addresses().begin(), response.addresses().end());
  const bool fits =
      response.truncated() ? std::ranges::includes(check.addresses, got) : got == check.addresses;
  if (fits && !got.empty()) return "";
  return fmt::format("the addresses {} instead of {}",
                     got.empty() ? "(none)" : fmt::format("{}", fmt::join(got, ", ")),
                     fmt::join(check.addresses, ", "));
}

}  // namespace mesh::cli
