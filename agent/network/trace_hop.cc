// SPDX-License-Identifier: Apache-2.0
#include "agent/network/trace_hop.h"

#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "agent/network/trace_policy.h"
#include "common/status.h"
#include "dataplane/reasons.h"
#include "fmt/format.h"
#include "fmt/ranges.h"
#include "mesh/shared/base.h"
#include "mesh/shared/drop_reason.h"
#include "mesh/shared/flow_map.h"
#include "mesh/shared/namespace_map.h"
#include "mesh/shared/service_map.h"
#include "mesh/shared/set_map.h"
#include "mesh/shared/trace.h"

namespace mesh::agent {
namespace {

using dataplane::Endpoint;
using dataplane::TraceBackend;
using dataplane::TraceNote;
using dataplane::TraceOutcome;
using dataplane::TracePacket;

constexpr int kOk = 0, kShot = 2, kUnspec = -1;  // TC_ACT_*

std::string Place(const IpAddress& ip, uint16_t port) {
  if (port == 0) return ip.ToString();
  return ip.is_v4() ? fmt::format("{}:{}", ip.ToString(), port)
                    : fmt::format("[{}]:{}", ip.ToString(), port);
}

// Addresses and ports of the frame as its sender wrote them.
struct Dialled {
  IpAddress source, destination;
  uint16_t source_port = 0, destination_port = 0;
  uint8_t protocol = 0;
};

Dialled Read(const std::string& frame) {
  Dialled out;
  const auto byte = [&](size_t at) {
    return at < frame.size() ? static_cast<uint8_t>(frame[at]) : uint8_t{0};
  };
  const auto word = [&](size_t at) { return static_cast<uint16_t>(byte(at) << 8 | byte(at + 1)); };
  size_t ports = 0;
  if (word(12) == 0x0800 && frame.size() >= 34) {
    const auto address = [&](size_t at) {
      return IpAddress::V4(static_cast<uint32_t>(word(at)) << 16 | word(at + 2));
    };
    out.source = address(26);
    out.destination = address(30);
    out.protocol = byte(23);
    // A later fragment has none.
    if ((word(20) & 0x1fff) == 0) ports = 14 + 4 * (byte(14) & 15u);
  } else if (word(12) == 0x86dd && frame.size() >= 54) {
    std::array<uint8_t, 16> bytes;
    const auto address = [&](size_t at) {
      for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = byte(at + i);
      return IpAddress::FromBytes(bytes);
    };
    out.source = address(22);
    out.destination = address(38);
    out.protocol = byte(20);
    ports = 54;
  }
  if (ports != 0 && (out.protocol == IPPROTO_TCP || out.protocol == IPPROTO_UDP)) {
    out.source_port = word(ports);
    out.destination_port = word(ports + 2);
  }
  return out;
}

// What stands for the node's own addresses where a process dials them (bpf/progs/sock.bpf.c).
bool IsOwnAddress(const IpAddress& ip) {
  if (ip.is_v4()) return ip.v4() == MESH_OWN_ADDRESS;
  constexpr uint32_t kWords[] = {MESH_OWN_ADDRESS6_0, MESH_OWN_ADDRESS6_1, MESH_OWN_ADDRESS6_2,
                                 MESH_OWN_ADDRESS6_3};
  std::array<uint8_t, 16> bytes{};
  for (size_t i = 0; i < bytes.size(); ++i)
    bytes[i] = static_cast<uint8_t>(kWords[i / 4] >> (24 - 8 * (i % 4)));
  return ip == IpAddress::FromBytes(bytes);
}

class Teller {
 public:
  // `own_address`: a process of the node dials an address of its own.
  Teller(const TraceOutcome& outcome, const Dialled& dialled, bool own_address,
         const TraceView& view, v1::TraceHopResponse* out)
      : outcome_(outcome),
        dialled_(dialled),
        own_address_(own_address),
        endpoints_(view.endpoints),
        refused_(view.refused),
        state_(view.state),
        own_(view.own),
        out_(out) {}

  void Tell() {
    for (const TraceNote& note : outcome_.notes) TellNote(note);
    if (!is_answer_ && !refused_.text.empty()) {
      for (const bool egress : {true, false}) TellRefusal(egress);
    }
    TellVerdict();
  }

 private:
  void Say(std::string_view step, std::string text) {
    v1::TraceStep* line = out_->add_steps();
    line->set_step(std::string(step));
    line->set_text(std::move(text));
  }

  static std::string SourceText(const std::string& who) {
    return fmt::format("the sender is {}{}", who.starts_with("namespace ") ? "of " : "", who);
  }

  // Of the pods of an identity, or what has the identity.
  std::string NamespaceText(uint32_t identity) const {
    switch (identity) {
      case MESH_IDENTITY_HOST:
        return "a node";
      case MESH_IDENTITY_WORLD:
      case MESH_IDENTITY_WORLD_DIRECT:
        return "outside the cluster";
      case MESH_IDENTITY_UNMANAGED:
        return "an attachment made by hand";
      case MESH_IDENTITY_DNS:
        return "the resolver";
      default:
        break;
    }
    if (state_ != nullptr) {
      const auto pods = state_->identities.find(identity);
      const auto it = state_->namespaces.find(
          pods == state_->identities.end() ? identity : pods->second->namespace_number());
      if (it != state_->namespaces.end()) return fmt::format("namespace {}", it->second->name());
    }
    return fmt::format("identity {}", identity);
  }

  const Endpoint* PodOf(const IpAddress& ip) const {
    const auto it = std::find_if(endpoints_.begin(), endpoints_.end(), [&](const Endpoint& e) {
      return e.ip == ip || (e.ip6 != IpAddress() && e.ip6 == ip);
    });
    return it == endpoints_.end() ? nullptr : &*it;
  }

  // "10.244.1.3:8080 (shop/web-1)"
  std::string BackendText(uint32_t id) const {
    const auto it = outcome_.backends.find(id);
    if (it == outcome_.backends.end()) return fmt::format("backend {}, which is gone", id);
    const TraceBackend& backend = it->second;
    const std::string place = Place(backend.ip, backend.port);
    if (state_ != nullptr) {
      for (const auto& [key, service] : state_->services) {
        for (const v1::ServicePortState& port : service->ports()) {
          for (const v1::BackendState& known : port.backends()) {
            if (known.port() != backend.port || known.pod_name().empty()) continue;
            const auto ip = IpAddress::Parse(known.ip());
            if (!ip.ok() || *ip != backend.ip) continue;
            return fmt::format("{} (pod {}/{} on node {}{})", place, service->namespace_(),
                               known.pod_name(), known.node_name(),
                               known.serves_last() ? ", which stops: no other is ready" : "");
          }
        }
      }
    }
    return place;
  }

  // The Service that is dialled, and as what.
  struct Frontend {
    const v1::ServiceState* service = nullptr;  // null: not known
    const v1::ServicePortState* port = nullptr;
    std::string_view as;  // "ClusterIP"
    bool external = false;
  };
  Frontend FindFrontend() const {
    Frontend by_node_port, by_address;
    if (state_ == nullptr) return {};
    const std::string ip = dialled_.destination.ToString();
    const auto has = [&](const auto& list) {
      return std::find(list.begin(), list.end(), ip) != list.end();
    };
    for (const auto& [key, service] : state_->services) {
      for (const v1::ServicePortState& port : service->ports()) {
        if (port.protocol() != dialled_.protocol) continue;
        if (port.node_port() == dialled_.destination_port && by_node_port.service == nullptr) {
          by_node_port = {&*service, &port, "NodePort", true};
        }
        if (port.port() != dialled_.destination_port) continue;
        if (service->cluster_ip() == ip || has(service->cluster_ips())) {
          return {&*service, &port, "ClusterIP", false};
        }
        if (has(service->load_balancer_ips())) {
          return {&*service, &port, "load balancer's address", true};
        }
        if (has(service->external_ips()) && by_address.service == nullptr)
          by_address = {&*service, &port, "external address", true};
      }
    }
    // At the node's own addresses what the cluster has given comes first.
    const bool own = std::find(own_.begin(), own_.end(), dialled_.destination) != own_.end();
    const bool node_port_first = own && by_node_port.service != nullptr;
    return by_address.service == nullptr || node_port_first ? by_node_port : by_address;
  }

  // The pod that has the port of the node that is dialled: "shop/web-1"; empty: none.
  std::string HostPortPod() const {
    if (state_ == nullptr ||
        std::find(own_.begin(), own_.end(), dialled_.destination) == own_.end())
      return "";
    for (const auto& [uid, pod] : state_->pods) {
      if (pod->status().phase() == "Succeeded" || pod->status().phase() == "Failed") continue;
      for (const v1::Container& container : pod->spec().containers()) {
        for (const v1::ContainerPort& port : container.ports()) {
          const bool udp = port.protocol() == "UDP";
          if (port.host_port() == dialled_.destination_port &&
              udp == (dialled_.protocol == IPPROTO_UDP))
            return fmt::format("{}/{}", pod->metadata().namespace_(), pod->metadata().name());
        }
      }
    }
    return "";
  }

  std::string ServiceText() const {
    const std::string place = Place(dialled_.destination, dialled_.destination_port);
    const Frontend at = FindFrontend();
    if (at.service == nullptr || at.as == "external address") {
      if (const std::string pod = HostPortPod(); !pod.empty())
        return fmt::format("of the host port of pod {} at {}", pod, place);
    }
    if (at.service == nullptr) return state_ == nullptr ? place : fmt::format("at {}", place);
    return fmt::format("{}/{} by its {} {}", at.service->namespace_(), at.service->name(), at.as,
                       place);
  }

  // Why no backend of the Service takes new connections here.
  std::string EmptySetText() const {
    const Frontend at = FindFrontend();
    const bool local =
        at.service != nullptr &&
        (at.external ? at.service->external_traffic_local() : at.service->internal_traffic_local());
    size_t elsewhere = 0;
    std::set<std::string> nodes;
    for (int i = 0; local && i < at.port->backends_size(); ++i) {
      const v1::BackendState& backend = at.port->backends(i);
      const auto ip = IpAddress::Parse(backend.ip());
      if (!ip.ok() || ip->is_v4() != dialled_.destination.is_v4() ||
          backend.state() == v1::BackendState::DRAINING ||
          backend.node_name() == state_->config.node_name()) {
        continue;
      }
      ++elsewhere;
      if (!backend.node_name().empty()) nodes.insert(backend.node_name());
    }
    if (elsewhere == 0) return "it has no backend that takes new connections here";
    return fmt::format(
        "it has no backend on this node, and {} Local keeps to those; {} elsewhere{}{}",
        at.external ? "externalTrafficPolicy" : "internalTrafficPolicy", elsewhere,
        nodes.empty() ? "" : ", on ", fmt::join(nodes, ", "));
  }

  std::string SetText(const TraceNote& note) const {
    if (note.a == 0) return EmptySetText();
    const std::string places = note.a == 1 ? "1 place" : fmt::format("{} places", note.a);
    switch (note.b) {
      case MESH_ALGORITHM_MAGLEV:
        return fmt::format("{}; Maglev table of {}: the same on every node", places, note.c);
      case MESH_ALGORITHM_LEAST_LOADED:
        return fmt::format("{}; least-loaded: the less loaded of two random ones", places);
      default:
        return fmt::format("{}; one at random", places);
    }
  }

  void TellNote(const TraceNote& note) {
    switch (note.step) {
      case MESH_TRACE_FLOW:
        return Say("flow", note.a != 0 ? "the connection is known: its entry is followed"
                                       : "no connection is known: it is decided anew");
      case MESH_TRACE_SOURCE:
        if (note.b != 0) return;  // the verdict says why
        return Say("source", SourceText(NamespaceText(note.a)));
      case MESH_TRACE_REVIEW:
        if (note.b != 0) return;
        return Say("review",
                   note.a == MESH_TRACE_REVIEW_ANEW || note.a == MESH_TRACE_REVIEW_IN_PLACE
                       ? "the known connection is over: it is decided anew"
                       : "looked at again since something has changed: kept");
      case MESH_TRACE_JUDGED:
        is_answer_ = note.a != 0;
        return Say("judge", is_answer_ ? "what it answers is judged as if it began now"
                                       : "it is judged as if it began now");
      case MESH_TRACE_SERVICE: {
        std::string text = fmt::format("Service {}", ServiceText());
        if ((note.b & MESH_SERVICE_SOURCE_RANGES) != 0) {
          text += "; the client is in its loadBalancerSourceRanges";
        }
        return Say("service", std::move(text));
      }
      case MESH_TRACE_AFFINITY:
        return Say("affinity", fmt::format("the client had {}, {}", BackendText(note.a),
                                           note.b != 0 ? "and has it again"
                                                       : "which takes no new connections"));
      case MESH_TRACE_SET:
        return Say("set", SetText(note));
      case MESH_TRACE_LOADS:
        return Say("loads", fmt::format("{} has {} connections, {} has {}", BackendText(note.a),
                                        note.c >> 16, BackendText(note.b), note.c & 0xffff));
      case MESH_TRACE_BACKEND:
        if (const auto it = outcome_.backends.find(note.a); it != outcome_.backends.end()) {
          backend_ = it->second;
        }
        return Say("backend", fmt::format("backend {}", BackendText(note.a)));
      case MESH_TRACE_EGRESS:
      case MESH_TRACE_INGRESS:
        return TellPolicy(note);
      case MESH_TRACE_ISOLATION:
        return Say("isolation", IsolationText(note));
      case MESH_TRACE_DELIVER:
        return TellWay();
      case MESH_TRACE_ENCAPSULATED:
        return Say("encapsulated", "the program writes the headers of the tunnel itself");
      default:
        return;
    }
  }

  void TellPolicy(const TraceNote& note) {
    PolicyAnswer answer;
    answer.egress = note.step == MESH_TRACE_EGRESS;
    answer.ipv6 = !dialled_.source.is_v4();
    answer.verdict = note.b;
    answer.rule = note.c;
    answer.identity = note.a;
    answer.protocol = dialled_.protocol;
    // Who serves in the end is judged, and an answer by what it answers.
    const IpAddress server = Server();
    SetPod(answer.egress == is_answer_ ? server : dialled_.source, &answer);
    answer.peer = answer.egress == is_answer_ ? dialled_.source : server;
    answer.port = is_answer_             ? dialled_.source_port
                  : backend_.has_value() ? backend_->port
                                         : dialled_.destination_port;
    const v1::TracePolicy facts = PolicyFacts(answer, state_, refused_);
    Say("policy", PolicyText(answer, facts, /*asked=*/true));
    *out_->mutable_steps()->rbegin()->mutable_policy() = facts;
    judged_.insert(answer.egress);
  }

  IpAddress Server() const { return backend_.has_value() ? backend_->ip : dialled_.destination; }

  void SetPod(const IpAddress& ip, PolicyAnswer* answer) const {
    const Endpoint* pod = PodOf(ip);
    if (pod == nullptr) return;
    answer->ns = pod->ns;
    answer->pod = pod->pod;
    const auto shut = refused_.shut.find(pod->ip);
    if (shut == refused_.shut.end()) return;
    answer->shut = answer->egress ? shut->second.egress : shut->second.ingress;
  }

  // Of policies that should have judged the packet.
  void TellRefusal(bool egress) {
    if (judged_.contains(egress)) return;
    PolicyAnswer answer{.egress = egress, .ipv6 = !dialled_.source.is_v4()};
    SetPod(egress ? dialled_.source : Server(), &answer);
    if (answer.pod.empty()) return;
    const v1::TracePolicy facts = PolicyFacts(answer, state_, refused_);
    if (!facts.not_in_force().empty()) Say("policy", PolicyText(answer, facts, /*asked=*/false));
  }

  std::string IsolationText(const TraceNote& note) const {
    const std::string receiver = NamespaceText(note.a);
    switch (note.b) {
      case MESH_ISOLATION_OPEN:
        return fmt::format("{} is open (annotation mesh.io/isolation): admitted", receiver);
      case MESH_ISOLATION_CLOSED:
        return fmt::format("{} is closed (annotation mesh.io/isolation): not admitted", receiver);
      default:
        break;
    }
    return note.c != 0
               ? fmt::format("{} is isolated; through a Service of its own: admitted", receiver)
               : fmt::format(
                     "{} is isolated, and the packet comes from another namespace, not through a "
                     "Service of this one: not admitted",
                     receiver);
  }

  void TellWay() {
    const dataplane::TraceWay& way = outcome_.way;
    const bool direct = way.target == MESH_TARGET_DIRECT;
    if (!direct && (way.source != dialled_.source || way.source_port != dialled_.source_port)) {
      std::string text =
          fmt::format("source {} becomes {}", Place(dialled_.source, dialled_.source_port),
                      Place(way.source, way.source_port));
      if ((way.flags & MESH_FLOW_MASQUERADED) != 0) text += ": masqueraded, the port is drawn";
      Say("rewrite", std::move(text));
    }
    if (way.destination != dialled_.destination ||
        way.destination_port != dialled_.destination_port) {
      Say("rewrite", fmt::format("destination {} becomes {}",
                                 Place(dialled_.destination, dialled_.destination_port),
                                 Place(way.destination, way.destination_port)));
    }
    switch (way.target) {
      case MESH_TARGET_POD:
      case MESH_TARGET_POD_SHAPED: {
        const Endpoint* pod = PodOf(way.destination);
        out_->set_target("pod");
        std::string name = "a pod of this node";
        if (pod != nullptr) {
          out_->set_namespace_(pod->ns);
          out_->set_pod(pod->pod);
          name = fmt::format("pod {}/{} ({})", pod->ns, pod->pod, way.destination.ToString());
        }
        return Say("deliver", fmt::format("to {}{}", name,
                                          way.target == MESH_TARGET_POD_SHAPED
                                              ? ", through the queue of its bandwidth limit"
                                              : ""));
      }
      case MESH_TARGET_HOST:
        out_->set_target("host");
        return Say("deliver", "to the node itself");
      case MESH_TARGET_UPLINK:
        out_->set_target("outside");
        return Say("deliver", UplinkText());
      case MESH_TARGET_NODE:
        out_->set_target("native");
        out_->set_next_node(way.peer.ToString());
        return Say("deliver", fmt::format("to node {} as it is (native routing)", NodeText()));
      default:
        out_->set_target("tunnel");
        out_->set_next_node(way.peer.ToString());
        out_->set_vni(way.vni);
        return Say("deliver",
                   fmt::format("to node {} by VXLAN, VNI {:#x}: {}{}{}", NodeText(), way.vni,
                               NamespaceText(way.vni & MESH_VNI_IDENTITY_MASK),
                               (way.vni & MESH_VNI_SERVICE) != 0 ? ", through a Service" : "",
                               direct ? ", whose node answers the client itself" : ""));
    }
  }

  std::string UplinkText() const {
    const std::string ip = outcome_.way.destination.ToString();
    if (state_ != nullptr) {
      for (const auto& [name, node] : state_->nodes) {
        if (node->ip() == ip || node->ip6() == ip)
          return fmt::format("to node {} ({}) itself, by this node's uplink", name, ip);
      }
    }
    return "outside the cluster, by the node's uplink";
  }

  std::string NodeText() const {
    const std::string ip = outcome_.way.peer.ToString();
    if (state_ != nullptr) {
      for (const auto& [name, node] : state_->nodes) {
        if (node->ip() == ip) return fmt::format("{} ({})", name, ip);
      }
    }
    return ip;
  }

  void TellVerdict() {
    uint32_t reason = MESH_REASON_COUNT;
    for (const TraceNote& note : outcome_.notes) {
      if (note.step == MESH_TRACE_REASON) reason = note.a;
    }
    const bool counted = reason < MESH_REASON_COUNT;
    if (counted) out_->set_reason(dataplane::ReasonName(reason));
    if (own_address_ && reason == MESH_REASON_NO_SERVICE) {
      out_->set_verdict("to_stack");
      return Say("verdict",
                 "no Service has this port of the node's own address: it stays with the node's "
                 "processes");
    }
    if (!counted || reason == MESH_REASON_TO_STACK) {
      out_->set_verdict(outcome_.verdict == kOk || outcome_.verdict == kUnspec ? "to_stack"
                                                                               : "dropped");
      return Say("verdict", "left to the node's own routing");
    }
    if (reason == MESH_REASON_FORWARDED) {
      out_->set_verdict("forwarded");
      return;
    }
    const bool told = outcome_.verdict != kShot;
    out_->set_verdict(told ? "refused" : "dropped");
    out_->clear_target();
    Say("verdict", fmt::format("{}: {} ({})", told ? "refused, and the sender is told" : "dropped",
                               dataplane::ReasonText(reason), dataplane::ReasonName(reason)));
  }

  const TraceOutcome& outcome_;
  const Dialled& dialled_;
  const bool own_address_;
  const std::vector<Endpoint>& endpoints_;
  const dataplane::RefusedPolicies& refused_;
  const NodeState* const state_;
  const std::vector<IpAddress>& own_;
  v1::TraceHopResponse* const out_;
  bool is_answer_ = false;
  std::set<bool> judged_;                // egress
  std::optional<TraceBackend> backend_;  // that was chosen
};

absl::StatusOr<TracePacket> PacketOf(const v1::TraceHopRequest& request,
                                     const std::vector<Endpoint>& endpoints) {
  TracePacket out;
  out.frame = request.frame();
  switch (request.entry()) {
    case v1::TraceHopRequest::POD: {
      out.hook = TracePacket::Hook::kFromPod;
      ASSIGN_OR_RETURN(const IpAddress ip, IpAddress::Parse(request.pod_address()));
      for (const Endpoint& endpoint : endpoints) {
        if (endpoint.ip != ip && endpoint.ip6 != ip) continue;
        out.ifindex = endpoint.ifindex;
        return out;
      }
      return absl::NotFoundError(
          fmt::format("trace: no pod of this node has the address {}", request.pod_address()));
    }
    case v1::TraceHopRequest::NODE:
      out.hook = TracePacket::Hook::kNode;
      return out;
    case v1::TraceHopRequest::TUNNEL: {
      out.hook = TracePacket::Hook::kOverlay;
      ASSIGN_OR_RETURN(out.peer, IpAddress::Parse(request.peer()));
      if (!out.peer.is_v4()) {
        return absl::InvalidArgumentError(
            fmt::format("trace: peer {} has to be an IPv4 address", request.peer()));
      }
      out.vni = request.vni();
      return out;
    }
    case v1::TraceHopRequest::UPLINK:
      out.hook = TracePacket::Hook::kUplink;
      return out;
    default:
      return absl::InvalidArgumentError("trace: where the packet enters is not told");
  }
}

// A node's process sends it where no program stands.
v1::TraceHopResponse PastThePrograms(const v1::TraceHopRequest& request, const Dialled& dialled,
                                     const dataplane::NodeRoute& route) {
  v1::TraceHopResponse out;
  v1::TraceStep* step = out.add_steps();
  step->set_step("route");
  if (route.interface.empty() || route.interface == "lo") {
    out.set_verdict("to_stack");
    step->set_text(route.interface.empty()
                       ? fmt::format("the node has no route to {}", dialled.destination.ToString())
                       : "an address of the node itself: no program of mesh has a part in it");
    return out;
  }
  const std::string gateway =
      route.gateway == IpAddress() ? "" : fmt::format(" through {}", route.gateway.ToString());
  step->set_text(fmt::format("by {}{}, the node's own routing: no program has a part in it here",
                             route.interface, gateway));
  out.set_verdict("forwarded");
  out.set_target("outside");
  out.set_source(dialled.source.ToString());
  out.set_source_port(dialled.source_port);
  out.set_destination(dialled.destination.ToString());
  out.set_destination_port(dialled.destination_port);
  out.set_frame(request.frame());
  return out;
}

// The programs give what is for another node to the kernel, which may have no way to it.
absl::Status CheckWay(const TraceView& view, const IpAddress& peer, v1::TraceHopResponse* out) {
  if (out->verdict() != "forwarded" || out->next_node().empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const dataplane::NodeRoute route, view.routes(peer, 0, 0));
  if (!route.interface.empty()) return absl::OkStatus();
  v1::TraceStep* step = out->add_steps();
  step->set_step("route");
  step->set_text(fmt::format("this node has no route to {}, or one that drops: see ip route get {}",
                             peer.ToString(), peer.ToString()));
  out->set_verdict("dropped");
  out->set_reason("no_route");
  out->clear_target();
  out->clear_next_node();
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<v1::TraceHopResponse> TraceHop(const v1::TraceHopRequest& request,
                                              dataplane::Tracer& tracer, const TraceView& view) {
  ASSIGN_OR_RETURN(const TracePacket packet, PacketOf(request, view.endpoints));
  v1::TraceHopResponse out;
  const Dialled dialled = Read(request.frame());
  if (packet.hook == TracePacket::Hook::kNode && dialled.destination != IpAddress()) {
    ASSIGN_OR_RETURN(const dataplane::NodeRoute route,
                     view.routes(dialled.destination, dialled.protocol, dialled.destination_port));
    if (!route.served) return PastThePrograms(request, dialled, route);
  }
  ASSIGN_OR_RETURN(const TraceOutcome outcome, tracer.Trace(packet));
  const bool own = packet.hook == TracePacket::Hook::kNode && IsOwnAddress(dialled.destination);
  Teller(outcome, dialled, own, view, &out).Tell();
  out.set_frame(outcome.frame);
  const dataplane::TraceWay& way = outcome.way;
  if (way.target != 0) {
    out.set_source(way.source.ToString());
    out.set_source_port(way.source_port);
    out.set_destination(way.destination.ToString());
    out.set_destination_port(way.destination_port);
    RETURN_IF_ERROR(CheckWay(view, way.peer, &out));
  }
  return out;
}

}  // namespace mesh::agent
