// SPDX-License-Identifier: Apache-2.0
// A Service and its backends: what it selects, what of that can answer, and who may ask.
#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "controlplane/controllers/endpoints_controller.h"
#include "controlplane/controllers/objects.h"
#include "controlplane/inspect/backends.h"
#include "controlplane/inspect/label_distance.h"
#include "controlplane/inspect/node_addresses.h"
#include "controlplane/inspect/topics.h"
#include "controlplane/state/target_port.h"
#include "fmt/format.h"
#include "fmt/ranges.h"

namespace mesh::controlplane {
namespace {

constexpr size_t kMostPods = 10;       // told one by one
constexpr size_t kMostNamespaces = 3;  // the same
// Agents tell every ten minutes of what goes on.
constexpr absl::Duration kToldAgain = absl::Minutes(12);

bool MayGetFlows(const v1::Endpoint& endpoint) {
  return !endpoint.conditions().has_ready() || endpoint.conditions().ready();
}

class Teller {
 public:
  Teller(const ClusterState& state, const v1::Service& service, const Listeners& known,
         absl::Time now, Report* report, std::set<ObjectKey>* wanted)
      : state_(state),
        service_(service),
        spec_(service.spec()),
        ns_(service.metadata().namespace_()),
        title_(ServiceTitle(service)),
        known_(known),
        now_(now),
        report_(report),
        wanted_(wanted) {}

  void Tell() {
    if (spec_.type() == "ExternalName") {
      report_->Note(title_, fmt::format("is another name of {}: it has no backends, and no port is "
                                        "translated",
                                        spec_.external_name()));
      return;
    }
    if (spec_.selector().empty()) {
      WithoutSelector();
    } else {
      Selected();
    }
    if (!report_->HasProblem()) Local();
    if (spec_.type() == "LoadBalancer") {
      Balancer();
      SourceRanges();
    }
    if (!report_->HasProblem()) Backends();
    for (const v1::ServicePort& port : spec_.ports())
      if (!Sockets(port)) DeclaredPort(port);
    NotServed();
  }

 private:
  void WithoutSelector() {
    const auto slices = state_.SlicesOf(KeyOfMeta(service_.metadata()));
    int endpoints = 0, ready = 0;
    for (const v1::EndpointSlice* slice : slices) {
      for (const v1::Endpoint& endpoint : slice->endpoints()) {
        ++endpoints;
        ready += MayGetFlows(endpoint);
      }
    }
    const std::string label = fmt::format("an EndpointSlice with the label {}={}",
                                          kServiceNameLabel, service_.metadata().name());
    if (slices.empty()) {
      report_->Problem(title_,
                       "has no selector, and no EndpointSlice names it: nobody has told where its "
                       "backends are",
                       {"give it spec.selector", "apply " + label});
    } else if (ready == 0) {
      report_->Problem(title_,
                       fmt::format("has no selector; its {} EndpointSlice(s) have {} endpoints, "
                                   "none of them ready",
                                   slices.size(), endpoints),
                       {"set conditions.ready of an endpoint to true, or leave it out"});
    }
    MissingPorts(slices);
  }

  // Ports of the Service that no hand-written slice has: they are matched by name.
  void MissingPorts(const std::vector<const v1::EndpointSlice*>& slices) {
    if (slices.empty()) return;
    for (const v1::ServicePort& port : spec_.ports()) {
      const std::string protocol = ProtocolOf(port.protocol());
      std::set<std::string> has;
      std::string only;  // the name of one of its protocol
      bool found = false;
      for (const v1::EndpointSlice* slice : slices) {
        for (const v1::EndpointPort& own : slice->ports()) {
          const bool same = ProtocolOf(own.protocol()) == protocol;
          found = found || (same && own.name() == port.name());
          if (same) only = own.name();
          has.insert(fmt::format("{} {}", ProtocolOf(own.protocol()),
                                 own.name().empty() ? "without a name" : "named " + own.name()));
        }
      }
      if (found) continue;
      const std::string wanted =
          port.name().empty() ? "without a name, as that port" : "named " + port.name();
      Report::Remedies remedies = {
          port.name().empty()
              ? fmt::format("take the name of the {} port of the EndpointSlice out", protocol)
              : fmt::format("name the {} port of the EndpointSlice {}", protocol, port.name())};
      if (port.name().empty() && !only.empty())
        remedies.push_back(fmt::format("name {} of {} {}", PortTitle(port), title_, only));
      report_->Problem(
          title_,
          fmt::format("{}: no EndpointSlice has a {} port {}; they have {}", PortTitle(port),
                      protocol, wanted,
                      has.empty() ? "no port" : fmt::format("{}", fmt::join(has, ", "))),
          remedies);
    }
  }

  void Selected() {
    std::vector<const v1::Pod*> pods;
    for (const v1::Pod* pod : state_.PodsWith(ns_, spec_.selector()))
      if (!IsFinished(*pod)) pods.push_back(pod);
    if (pods.empty()) return Nothing();
    report_->Ok(title_, fmt::format("selector {} matches {} pod{}", LabelText(spec_.selector()),
                                    pods.size(), pods.size() == 1 ? "" : "s"));
    NamedPorts(pods);
    std::vector<const v1::Pod*> down;
    for (const v1::Pod* pod : pods)
      if (!IsPodReady(state_, *pod) || IsTerminating(pod->metadata())) down.push_back(pod);
    const bool all_down = down.size() == pods.size() && !spec_.publish_not_ready_addresses();
    std::vector<std::string> last;
    for (const v1::Pod* pod : down)
      if (IsPodReady(state_, *pod)) last.push_back(pod->metadata().name());
    const bool none = all_down && last.empty();
    if (all_down && !last.empty())
      report_->Note(title_, fmt::format("none of its pods is ready for more, but {}, which stop{}, "
                                        "may get requests until another one is or they end",
                                        NameList(last), last.size() == 1 ? "s" : ""));
    if (none)
      report_->Problem(title_, fmt::format("none of its {} pod{} may get requests", pods.size(),
                                           pods.size() == 1 ? "" : "s"));
    for (size_t i = 0; i < down.size() && i < kMostPods; ++i) Down(*down[i], none);
    if (down.size() > kMostPods)
      report_->Note(title_, fmt::format("{} more pods are not ready", down.size() - kMostPods));
    Families(pods);
  }

  void Down(const v1::Pod& pod, bool none) {
    const auto problem = ProblemOf(state_, pod, now_);
    if (!problem) return;
    const std::string text = OneLine(*problem, pod);
    const Report::Remedies remedies(problem->remedies().begin(), problem->remedies().end());
    v1::Finding& finding = none ? report_->Problem(PodTitle(pod), text, remedies)
                                : report_->Note(PodTitle(pod), text, remedies);
    if (none && problem->has_logs()) *finding.mutable_logs() = problem->logs();
  }

  // The selector matches no pod that lives.
  void Nothing() {
    const std::string selector = LabelText(spec_.selector());
    const std::string what =
        fmt::format("selector {} matches no pod of namespace {}", selector, ns_);
    if (const std::string maker = MakerWithoutPods(); !maker.empty()) {
      report_->Problem(title_, fmt::format("{}; {} would make such pods and has none", what, maker),
                       {fmt::format("scale {} up", maker)});
      return;
    }
    std::vector<std::string> finished;
    for (const v1::Pod* pod : state_.PodsWith(ns_, spec_.selector()))
      finished.push_back(pod->metadata().name());
    if (!finished.empty()) {
      report_->Problem(
          title_,
          fmt::format("{} that still runs: {} {} finished", what, NameList(finished),
                      finished.size() == 1 ? "has" : "have"),
          {"run the pods by a Deployment, or with restartPolicy: Always: what has finished is not "
           "started again"});
      return;
    }
    Report::Remedies remedies;
    std::string nearest_text;
    const v1::Pod* nearest = nullptr;
    LabelDistance best;
    std::vector<std::string> alike;
    for (const auto& [key, pod] : InNamespace(state_.pods, ns_)) {
      if (IsFinished(*pod)) continue;
      LabelDistance distance = DistanceOf(spec_.selector(), pod->metadata().labels());
      if (nearest == nullptr || distance < best) {
        nearest = pod.get();
        best = std::move(distance);
        alike.clear();
      } else if (distance.has == best.has) {
        alike.push_back(pod->metadata().name());
      }
    }
    if (nearest == nullptr) {
      nearest_text = "; there are no pods in it at all";
    } else if (!best.fixed.empty()) {
      nearest_text = fmt::format("; nearest: pod {}{} has {}, not {}", nearest->metadata().name(),
                                 alike.empty() ? "" : fmt::format(" (and {} more)", alike.size()),
                                 fmt::join(best.has, ", "), fmt::join(best.wanted, ", "));
      remedies.push_back(
          fmt::format("set spec.selector of {} to {}", title_, LabelText(best.fixed)));
      remedies.push_back(fmt::format("label the pods of {} {}", TemplateTitle(state_, *nearest),
                                     fmt::join(best.wanted, ",")));
    } else {
      nearest_text = fmt::format(
          "; no pod there has one of these labels (pod {} has {})", nearest->metadata().name(),
          nearest->metadata().labels().empty() ? "none" : LabelText(nearest->metadata().labels()));
      remedies.push_back(
          fmt::format("set spec.selector of {} to labels that its pods have", title_));
    }
    report_->Problem(title_, what + nearest_text, remedies);
    Elsewhere();
  }

  // A Deployment or ReplicaSet whose pods the selector would match, and that has none.
  std::string MakerWithoutPods() const {
    for (const auto& [key, object] : InNamespace(state_.deployments, ns_))
      if (MatchesLabels(spec_.selector(), object->spec().template_().metadata().labels()))
        return "deployment " + key.ToString();
    for (const auto& [key, object] : InNamespace(state_.replica_sets, ns_))
      if (MatchesLabels(spec_.selector(), object->spec().template_().metadata().labels()))
        return "replicaset " + key.ToString();
    return "";
  }

  void Elsewhere() {
    std::vector<std::string> names, counts;
    for (const auto& [key, ns] : state_.namespaces) {
      const size_t pods = key.name == ns_ ? 0 : state_.PodsWith(key.name, spec_.selector()).size();
      if (pods == 0) continue;
      names.push_back(key.name);
      counts.push_back(fmt::format("{} in namespace {}", pods, key.name));
    }
    if (names.empty()) return;
    Report::Remedies remedies;
    for (size_t i = 0; i < names.size() && i < kMostNamespaces; ++i)
      remedies.push_back(fmt::format("apply the Service in namespace {}", names[i]));
    report_->Note(title_,
                  fmt::format("pods elsewhere would match ({}): a Service selects in its own "
                              "namespace only",
                              NameList(counts, kMostNamespaces)),
                  remedies);
  }

  void NamedPorts(const std::vector<const v1::Pod*>& pods) {
    for (const v1::ServicePort& port : spec_.ports()) {
      if (!port.target_port().has_string_value()) continue;
      std::vector<std::string> without;
      for (const v1::Pod* pod : pods)
        if (ResolvePort(port, *pod) == 0) without.push_back(pod->metadata().name());
      if (without.empty()) continue;
      const std::string& wanted = port.target_port().string_value();
      const std::string protocol = port.protocol().empty() ? "TCP" : port.protocol();
      std::set<std::string> names;
      std::string first;
      for (const v1::Container& container : pods.front()->spec().containers()) {
        for (const v1::ContainerPort& own : container.ports()) {
          const std::string own_protocol = own.protocol().empty() ? "TCP" : own.protocol();
          names.insert(
              own.name().empty()
                  ? fmt::format("{} {} without a name", own_protocol, own.container_port())
                  : fmt::format("{} {} named {}", own_protocol, own.container_port(), own.name()));
          if (first.empty() && own_protocol == protocol)
            first = own.name().empty() ? fmt::format("{}", own.container_port()) : own.name();
        }
      }
      const std::string text = fmt::format(
          "{}: targetPort \"{}\" ({}) is the name of no container port in {}; pod {} has {}",
          PortTitle(port), wanted, protocol, NameList(without), pods.front()->metadata().name(),
          names.empty() ? "no ports" : fmt::format("{}", fmt::join(names, ", ")));
      Report::Remedies remedies;
      if (!first.empty())
        remedies.push_back(
            fmt::format("set targetPort of {} of {} to {}", PortTitle(port), title_, first));
      remedies.push_back(fmt::format("name a container port of {} {}",
                                     TemplateTitle(state_, *pods.front()), wanted));
      if (without.size() == pods.size()) {
        report_->Problem(title_, text, remedies);
      } else {
        report_->Note(title_, text, remedies);
      }
    }
  }

  // A family of the Service in which none of its pods has an address.
  void Families(const std::vector<const v1::Pod*>& pods) {
    for (const std::string& family : spec_.ip_families()) {
      const bool v6 = family == "IPv6";
      const auto has = [&](const v1::Pod* pod) {
        const auto of_family = [&](const std::string& ip) {
          return !ip.empty() && (ip.find(':') != std::string::npos) == v6;
        };
        return of_family(pod->status().pod_ip()) ||
               std::ranges::any_of(pod->status().pod_ips(),
                                   [&](const v1::PodIP& ip) { return of_family(ip.ip()); });
      };
      const bool bound =
          std::ranges::any_of(pods, [](const v1::Pod* pod) { return IsBound(*pod); });
      if (!bound || std::ranges::any_of(pods, has)) continue;
      report_->Problem(
          title_, fmt::format("serves {}, and none of its pods has an {} address", family, family),
          {fmt::format("give the nodes a range of {} addresses, and start the pods "
                       "again",
                       family)});
    }
  }

  // Backends by node, as the dataplane is told them.
  // The node that an endpoint is told to be on; of a hand-written one, what its address says.
  std::string PlaceOf(const v1::Endpoint& endpoint) const {
    if (!endpoint.node_name().empty()) return endpoint.node_name();
    const auto address = IpAddress::Parse(endpoint.addresses(0));
    const v1::Node* node = address.ok() ? NodeWith(state_, *address) : nullptr;
    if (node != nullptr) return fmt::format("an address of node {}", node->metadata().name());
    const auto& balanced = state_.index().balancer_ips;
    const auto service = balanced.find(endpoint.addresses(0));
    if (service != balanced.end())
      return fmt::format("the load balancer address of service {}", service->second.ToString());
    return "no node of the cluster";
  }

  std::map<std::string, int> ReadyByNode(int* total) const {
    std::map<std::string, int> out;
    std::set<std::string> seen;
    for (const v1::EndpointSlice* slice : state_.SlicesOf(KeyOfMeta(service_.metadata()))) {
      for (const v1::Endpoint& endpoint : slice->endpoints()) {
        if (!MayGetFlows(endpoint) || endpoint.addresses().empty()) continue;
        const std::string& uid = endpoint.target_ref().uid();
        if (!seen.insert(uid.empty() ? endpoint.addresses(0) : uid).second) continue;
        ++out[PlaceOf(endpoint)];
        ++*total;
      }
    }
    return out;
  }

  void Local() {
    int total = 0;
    const auto ready = ReadyByNode(&total);
    std::vector<std::string> without;
    for (const auto& [key, node] : state_.nodes)
      if (!ready.contains(key.name)) without.push_back(key.name);
    if (without.empty() || total == 0) return;
    if (spec_.internal_traffic_policy() == "Local") {
      report_->Problem(title_,
                       fmt::format("internalTrafficPolicy is Local, and node{} {} {} no ready "
                                   "backend: pods there are refused",
                                   without.size() == 1 ? "" : "s", NameList(without),
                                   without.size() == 1 ? "has" : "have"),
                       {"set spec.internalTrafficPolicy to Cluster",
                        "run one of its pods on each node that asks"});
    }
    if (spec_.external_traffic_policy() == "Local") {
      report_->Note(
          title_,
          fmt::format("externalTrafficPolicy is Local, and node{} {} {} no ready backend: "
                      "requests from outside that come in there are refused",
                      without.size() == 1 ? "" : "s", NameList(without),
                      without.size() == 1 ? "has" : "have"),
          {"send requests to nodes that have one (healthCheckNodePort tells which)",
           "set spec.externalTrafficPolicy to Cluster"});
    }
  }

  void Balancer() {
    if (!service_.status().load_balancer().ingress().empty()) return;
    if (!spec_.load_balancer_class().empty() && spec_.load_balancer_class() != "mesh.io/pool") {
      report_->Note(title_, fmt::format("waits for an address by whoever serves "
                                        "loadBalancerClass {}",
                                        spec_.load_balancer_class()));
      return;
    }
    const v1::Event* newest = nullptr;
    for (const auto& [key, event] : InNamespace(state_.events, ns_)) {
      const v1::ObjectReference& about = event->involved_object();
      if (event->type() != "Warning" || about.kind() != "Service" ||
          about.uid() != service_.metadata().uid())
        continue;
      if (newest == nullptr || ToTime(newest->last_timestamp()) < ToTime(event->last_timestamp()))
        newest = event.get();
    }
    Report::Remedies remedies;
    if (!spec_.load_balancer_ip().empty() && newest != nullptr &&
        (newest->reason() == "AddressOutsidePool" || newest->reason() == "AddressInUse"))
      remedies.push_back("take spec.loadBalancerIP out, or set it to a free address of the pool");
    if (remedies.empty() || newest->reason() == "AddressOutsidePool")
      remedies.push_back(
          "give meshd a pool with " +
          (remedies.empty() ? std::string("free addresses") : spec_.load_balancer_ip()) +
          " (--load-balancer-pool)");
    report_->Problem(title_,
                     newest == nullptr
                         ? std::string("has no load balancer address")
                         : fmt::format("has no load balancer address: {}", newest->message()),
                     std::move(remedies));
  }

  // What nodes have said of late that they do not serve, one of each.
  void NotServed() {
    std::map<std::string, absl::Time> told;
    for (const auto& [key, event] : InNamespace(state_.events, ns_)) {
      const v1::ObjectReference& about = event->involved_object();
      if (event->reason() != "NotServed" || about.kind() != "Service" ||
          about.uid() != service_.metadata().uid())
        continue;
      absl::Time& at = told.try_emplace(event->message(), absl::InfinitePast()).first->second;
      at = std::max(at, ToTime(event->last_timestamp()));
    }
    for (const auto& [message, at] : told) {
      if (now_ - at > kToldAgain) continue;
      report_->Note(title_,
                    fmt::format("warning, {} ago: NotServed: {}", Elapsed(now_ - at), message));
    }
  }

  // Who is left out is not known here: clients outside are no objects.
  void SourceRanges() {
    const auto& ranges = spec_.load_balancer_source_ranges();
    if (ranges.empty()) return;
    report_->Note(title_, fmt::format("spec.loadBalancerSourceRanges admits {} alone to its load "
                                      "balancer address: what others send there is dropped",
                                      fmt::join(ranges, ", ")));
  }

  void Backends() {
    int total = 0;
    const auto by_node = ReadyByNode(&total);
    if (total == 0) {
      report_->Note(title_, "its EndpointSlices are being written");
      return;
    }
    std::vector<std::string> nodes;
    for (const auto& [node, count] : by_node) nodes.push_back(fmt::format("{} on {}", count, node));
    report_->Ok(title_, fmt::format("has {} backend{} that may get requests: {}", total,
                                    total == 1 ? "" : "s", NameList(nodes, 8)));
  }

  // Whether programs wait where the port leads. False: no socket was looked at.
  bool Sockets(const v1::ServicePort& port) {
    std::set<bool> families;
    for (const std::string& family : spec_.ip_families()) families.insert(family == "IPv6");
    if (families.empty()) families.insert(false);
    const std::string protocol = ProtocolOf(port.protocol());
    const auto backends = BackendsOf(state_, service_, &port, protocol, families);
    size_t asked = 0, listening = 0;
    std::set<uint32_t> numbers;
    std::vector<std::string> ipv4_only;
    // By what is wrong: pods of one template mostly fare alike.
    std::map<std::pair<std::string, Report::Remedies>, std::vector<const v1::Pod*>> deaf;
    for (size_t i = 0; i < backends.size() && i < kMostBackends; ++i) {
      if (backends[i].pod == nullptr) continue;
      const v1::Pod& pod = *backends[i].pod;
      const auto sockets = known_.find(KeyOfMeta(pod.metadata()));
      if (sockets == known_.end()) {
        wanted_->insert(KeyOfMeta(pod.metadata()));
        continue;
      }
      if (!sockets->second.ok()) {
        if (told_unknown_.insert(pod.metadata().name()).second)
          report_->Unknown(PodTitle(pod),
                           fmt::format("its sockets could not be looked at: {}",
                                       std::string(sockets->second.status().message())));
        continue;
      }
      SocketQuestion question{.pod = pod,
                              .protocol = protocol,
                              .port = backends[i].port,
                              .families = families,
                              .service = &service_,
                              .service_port = PortTitle(port)};
      const SocketAnswer answer = AskSocket(state_, *sockets->second, question);
      ++asked;
      if (!answer.listens) {
        std::vector<const v1::Pod*>& alike = deaf[{answer.text, answer.remedies}];
        alike.push_back(&pod);
        continue;
      }
      ++listening;
      numbers.insert(backends[i].port);
      question.families = {true};
      if (families.size() == 2 && !AskSocket(state_, *sockets->second, question).listens)
        ipv4_only.push_back(pod.metadata().name());
    }
    for (const auto& [answer, pods] : deaf) {
      const auto& [text, remedies] = answer;
      report_->Problem(PodsTitle(pods), fmt::format("{}: {}", PortTitle(port), text), remedies);
    }
    if (asked > 0 && listening == asked)
      report_->Ok(title_, fmt::format("{}: programs listen on {} {}{}", PortTitle(port), protocol,
                                      fmt::join(numbers, ", "),
                                      backends.size() > asked
                                          ? fmt::format(" ({} of {} pods were looked into)", asked,
                                                        backends.size())
                                          : ""));
    if (!ipv4_only.empty())
      report_->Note(title_,
                    fmt::format("{}: the program of {} listens for IPv4 only: requests over IPv6 "
                                "are refused",
                                PortTitle(port), NameList(ipv4_only)),
                    {"let it listen on ::"});
    return asked > 0;
  }

  // A targetPort by number that no container has written down. It need not; but who writes ports
  // down mostly writes down the right ones.
  void DeclaredPort(const v1::ServicePort& port) {
    if (port.target_port().has_string_value() || spec_.selector().empty()) return;
    const std::string protocol = ProtocolOf(port.protocol());
    const int32_t wanted =
        port.target_port().has_int_value() ? port.target_port().int_value() : port.port();
    std::set<std::string> has;
    std::string first;
    for (const v1::Pod* pod : state_.PodsWith(ns_, spec_.selector())) {
      for (const v1::Container& container : pod->spec().containers()) {
        for (const v1::ContainerPort& own : container.ports()) {
          if (ProtocolOf(own.protocol()) != protocol) continue;
          if (own.container_port() == wanted) return;
          if (first.empty()) first = std::to_string(own.container_port());
          has.insert(fmt::format("{} {}{}", protocol, own.container_port(),
                                 own.name().empty() ? "" : fmt::format(" ({})", own.name())));
        }
      }
    }
    if (has.empty()) return;
    report_->Note(
        title_,
        fmt::format("{}: no container of its pods has written down {} {}, its "
                    "targetPort; they have {}",
                    PortTitle(port), protocol, wanted, NameList({has.begin(), has.end()})),
        {fmt::format("set targetPort of {} of {} to {}", PortTitle(port), title_, first)});
  }

  const ClusterState& state_;
  const v1::Service& service_;
  const v1::ServiceSpec& spec_;
  const std::string& ns_;
  const std::string title_;
  const Listeners& known_;
  const absl::Time now_;
  Report* const report_;
  std::set<ObjectKey>* const wanted_;
  std::set<std::string> told_unknown_;  // pods
};

}  // namespace

void WhyService(const ClusterState& state, const v1::Service& service, const Listeners& known,
                absl::Time now, Report* report, std::set<ObjectKey>* wanted) {
  Teller(state, service, known, now, report, wanted).Tell();
}

}  // namespace mesh::controlplane
