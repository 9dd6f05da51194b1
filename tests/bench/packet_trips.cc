// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/packet_trips.h"

#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <net/if.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "common/status.h"
#include "dataplane/bpf/errors.h"
#include "fmt/format.h"
#include "mesh/shared/flow_map.h"
#include "tests/support/packet/family.h"

namespace mesh::bench {
namespace {

using dataplane::BpfErrnoStatus;
using mesh::testing::At;
using mesh::testing::Decode;
using mesh::testing::Encode;
using mesh::testing::FrameToIpv4;
using mesh::testing::FrameToIpv6;
using mesh::testing::kAck;
using mesh::testing::kSyn;
using mesh::testing::Packet;
using mesh::testing::Tcp;
using mesh::testing::ToIpv6;

constexpr char kClient[] = "10.244.1.2", kServer[] = "10.244.1.3", kFarServer[] = "10.244.2.3";
constexpr char kFarClient[] = "10.244.2.2";
constexpr char kVip[] = "10.96.3.7", kFarVip[] = "10.96.3.8", kDirectVip[] = "10.96.3.9";
constexpr char kNodeIp[] = "192.0.2.1", kGateway[] = "10.244.1.1", kOutside[] = "203.0.113.9";
constexpr char kPeerIp[] = "192.0.2.2", kPeerMac[] = "02:00:00:00:02:02";
constexpr uint16_t kNodePort = 30080, kFarNodePort = 30081, kDirectNodePort = 30082;
constexpr uint16_t kVxlanPort = 4789;
const std::string kPayload(64, 'x');

// Outer Ethernet, IPv4, UDP and VXLAN headers.
constexpr size_t kOuterBytes = 50;

std::string SixOf(const std::string& address) {
  return ToIpv6(*IpAddress::Parse(address)).ToString();
}

absl::StatusOr<int> LinkIndex(const std::string& netns, const std::string& link) {
  return Inside(netns, [&]() -> absl::StatusOr<int> {
    const unsigned index = if_nametoindex(link.c_str());
    if (index == 0) return ErrnoStatus(errno, "find link " + link);
    return static_cast<int>(index);
  });
}

absl::Status MakeUplink(Namespaces& spaces, const std::string& netns, const std::string& name,
                        const Kind& kind) {
  ASSIGN_OR_RETURN(const std::string outside, spaces.Add(name + "-o"));
  RETURN_IF_ERROR(AddVeth({netns, "up0", fmt::format("{}/24", kNodeIp)},
                          {outside, "up0", fmt::format("{}/24", kPeerIp)}));
  RETURN_IF_ERROR(Run({"ip", "-n", netns, "route", "add", "default", "via", kPeerIp}));
  RETURN_IF_ERROR(Run({"ip", "-n", netns, "neigh", "replace", kPeerIp, "dev", "up0", "lladdr",
                       kPeerMac, "nud", "permanent"}));
  if (kind.is_v4()) return absl::OkStatus();
  RETURN_IF_ERROR(Run({"ip", "-n", netns, "address", "add", fmt::format("{}/120", SixOf(kNodeIp)),
                       "dev", "up0", "nodad"}));
  RETURN_IF_ERROR(Run({"ip", "-n", netns, "route", "add", "default", "via", SixOf(kPeerIp)}));
  return Run({"ip", "-n", netns, "neigh", "replace", SixOf(kPeerIp), "dev", "up0", "lladdr",
              kPeerMac, "nud", "permanent"});
}

dataplane::DesiredState Desired(const Kind& kind, int others, int endpoints) {
  dataplane::DesiredState desired = Services(
      others, endpoints,
      {{.name = "near", .vip = kVip, .backends = {kServer}, .ports = {{.node_port = kNodePort}}},
       {.name = "far",
        .vip = kFarVip,
        .backends = {kFarServer},
        .ports = {{.node_port = kFarNodePort}}},
       {.name = "direct",
        .vip = kDirectVip,
        .backends = {kFarServer},
        .ports = {{.node_port = kDirectNodePort}},
        .direct_return = true}});
  dataplane::Peer peer = PeerNumber(2);
  if (!kind.is_v4()) {
    for (auto& [name, service] : desired.services) MakeIpv6(&service);
    AddIpv6(&peer);
  }
  desired.peers["n2"] = peer;
  if (kind.is_native()) {
    for (const char* pod : {kFarServer, kFarClient}) {
      const IpAddress ip = *IpAddress::Parse(pod);
      desired.pod_identities[kind.is_v4() ? ip : ToIpv6(ip)] = kBenchIdentity;
    }
  }
  return desired;
}

dataplane::NodeConfig Config(const Kind& kind) {
  dataplane::NodeConfig config = NodeNumber(1);
  config.uplink = "up0";
  config.routing = kind.routing;
  if (!kind.is_v4()) AddIpv6(&config);
  return config;
}

uint32_t Byte(const std::string& in, size_t at) { return static_cast<uint8_t>(in[at]); }
uint32_t Word(const std::string& in, size_t at) { return Byte(in, at) << 8 | Byte(in, at + 1); }

// The frame inside; DATA_LOSS when what is around it is wrong.
absl::StatusOr<std::string> Decapsulate(const std::string& frame) {
  uint32_t sum = 0;
  for (size_t at = 14; at < 34; at += 2) sum += Word(frame, at);
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  if (Byte(frame, 14) != 0x45 || sum != 0xffff)
    return absl::DataLossError("outer header: not an IPv4 header with a right sum");
  if (Word(frame, 16) != frame.size() - 14 || Word(frame, 38) != frame.size() - 34)
    return absl::DataLossError("outer header: wrong length");
  const IpAddress to = IpAddress::V4(Word(frame, 30) << 16 | Word(frame, 32));
  if (to != PeerNumber(2).ip || Byte(frame, 42) != 0x08)
    return absl::DataLossError(
        fmt::format("outer header: not VXLAN to the other node but to {}", to.ToString()));
  return frame.substr(kOuterBytes);
}

std::string Describe(const Packet& packet) {
  return fmt::format("{}:{} to {}:{}", packet.source.ToString(), packet.source_port,
                     packet.destination.ToString(), packet.destination_port);
}

Packet Answer(const Packet& to, uint8_t flags) {
  Packet out = to;
  std::swap(out.source, out.destination);
  std::swap(out.source_port, out.destination_port);
  out.tcp_flags = flags;
  return out;
}

Packet From(const std::string& client, uint16_t port, const std::string& to, uint16_t to_port) {
  return Tcp(At(fmt::format("{}:{}", client, port)), At(fmt::format("{}:{}", to, to_port)), kAck,
             kPayload);
}

Arrival FromPod(const PacketNode& node, const dataplane::Endpoint& pod) {
  return {.program_fd = node.from_pod.get(), .ifindex = pod.ifindex};
}

Arrival FromOutside(const PacketNode& node) {
  return {.program_fd = node.uplink.get(), .ifindex = node.uplink_ifindex};
}

Arrival FromPeer(const PacketNode& node) {
  if (node.kind.is_native()) return FromOutside(node);
  return {.program_fd = node.overlay.get(),
          .ifindex = node.vxlan_ifindex,
          .vni = kBenchIdentity,
          .tunnel_peer = PeerNumber(2).ip.v4(),
          .tunnel_self = NodeNumber(1).node_ip.v4(),
          .for_another_host = true};
}

// The program is loaded, not attached: XDP forwarding is not for a veth, and BPF_PROG_TEST_RUN lets
// no XDP program run as if on one.
Arrival FromOutsideXdp(const PacketNode& node) {
  return {.hook = Hook::kXdp, .program_fd = node.uplink_xdp.get()};
}

// Sends `packet` once; it must be redirected.
absl::StatusOr<Packet> Send(PacketRun& run, const Kind& kind, const Arrival& arrival,
                            const Packet& packet) {
  const std::string frame = FrameOf(kind, packet);
  ASSIGN_OR_RETURN(const RunResult result, run.Once(arrival, frame));
  if (result.verdict != TC_ACT_REDIRECT)
    return absl::DataLossError(fmt::format("verdict {} for {}", result.verdict, Describe(packet)));
  ASSIGN_OR_RETURN(const Outcome outcome, OutcomeOf(result.frame, frame.size()));
  return outcome.packet;
}

// The two directions of an established flow as they look: as sent, and as they leave.
struct Flow {
  Packet request, request_out, answer, answer_out;
};

// The handshake of a flow that begins with `first` as a SYN.
absl::StatusOr<Flow> Establish(PacketRun& run, const Kind& kind, const Arrival& there,
                               const Arrival& back, const Packet& first) {
  Packet syn = first;
  syn.tcp_flags = kSyn;
  Flow flow;
  ASSIGN_OR_RETURN(Packet out, Send(run, kind, there, syn));
  flow.answer = Answer(out, kSyn | kAck);
  ASSIGN_OR_RETURN(flow.answer_out, Send(run, kind, back, flow.answer));
  flow.request = first;
  flow.request.tcp_flags = kAck;
  ASSIGN_OR_RETURN(flow.request_out, Send(run, kind, there, flow.request));
  flow.answer.tcp_flags = flow.answer_out.tcp_flags = kAck;
  return flow;
}

}  // namespace

absl::StatusOr<PacketNode> MakePacketNode(Namespaces& spaces, const std::string& bpf_root,
                                          const std::string& name, const Kind& kind, int others,
                                          int endpoints) {
  PacketNode out;
  out.kind = kind;
  ASSIGN_OR_RETURN(const std::string netns, spaces.Add(name + "-n"));
  ASSIGN_OR_RETURN(const std::string client, spaces.Add(name + "-c"));
  ASSIGN_OR_RETURN(const std::string server, spaces.Add(name + "-s"));
  RETURN_IF_ERROR(MakeUplink(spaces, netns, name, kind));
  ASSIGN_OR_RETURN(out.node, StartNode(netns, bpf_root + "/" + name, Config(kind),
                                       Desired(kind, others, endpoints)));
  const auto six = [&](const char* ip) { return kind.is_v4() ? "" : SixOf(ip); };
  ASSIGN_OR_RETURN(out.client, AddPod(out.node, client, kClient, six(kClient)));
  ASSIGN_OR_RETURN(out.server, AddPod(out.node, server, kServer, six(kServer)));
  const std::string suffix = kind.is_v4() ? "" : "6";
  const std::string flow_path =
      out.node.map_dir + "/" + (kind.is_v4() ? MESH_FLOW_MAP_NAME : MESH_FLOW6_MAP_NAME);
  ASSIGN_OR_RETURN(out.from_pod, OpenProgram("mesh_from_pod" + suffix, flow_path));
  ASSIGN_OR_RETURN(out.overlay, OpenProgram("mesh_overlay" + suffix, flow_path));
  ASSIGN_OR_RETURN(out.uplink, OpenProgram("mesh_uplink" + suffix, flow_path));
  auto xdp = OpenProgram("mesh_uplink_xdp", flow_path);  // carries IPv4 only
  if (!xdp.ok() && !absl::IsNotFound(xdp.status())) return xdp.status();
  if (xdp.ok()) out.uplink_xdp = *std::move(xdp);
  ASSIGN_OR_RETURN(out.vxlan_ifindex, LinkIndex(netns, "mesh_vxlan"));
  ASSIGN_OR_RETURN(out.uplink_ifindex, LinkIndex(netns, "up0"));
  out.flows = UniqueFd(bpf_obj_get(flow_path.c_str()));
  if (!out.flows) return BpfErrnoStatus(errno, "open " + flow_path);
  return out;
}

std::string FrameOf(const Kind& kind, const Packet& packet) {
  const std::string frame = Encode(packet);
  return kind.is_v4() ? frame : FrameToIpv6(frame);
}

bool IsTunnelled(const std::string& frame, size_t in_bytes) {
  return frame.size() == in_bytes + kOuterBytes && Word(frame, 12) == 0x0800 &&
         Byte(frame, 23) == 17 && Word(frame, 36) == kVxlanPort;
}

absl::StatusOr<Outcome> OutcomeOf(const std::string& frame, size_t in_bytes) {
  Outcome out;
  std::string inner = frame;
  if (IsTunnelled(frame, in_bytes)) {
    out.form = Form::kTunnelled;
    ASSIGN_OR_RETURN(inner, Decapsulate(frame));
  }
  ASSIGN_OR_RETURN(out.packet, Decode(FrameToIpv4(inner)));
  return out;
}

absl::StatusOr<Form> CheckTrip(PacketRun& run, const Kind& kind, const Trip& trip) {
  const std::string frame = FrameOf(kind, trip.in);
  ASSIGN_OR_RETURN(const RunResult result, run.Once(trip.arrival, frame));
  if (result.verdict != trip.verdict)
    return absl::DataLossError(
        fmt::format("{}: verdict {} instead of {}", trip.name, result.verdict, trip.verdict));
  ASSIGN_OR_RETURN(const Outcome outcome, OutcomeOf(result.frame, frame.size()));
  if (outcome.form == Form::kTunnelled && trip.form == Form::kPlain)
    return absl::DataLossError(fmt::format("{}: came out in a tunnel", trip.name));
  if (!(outcome.packet == trip.out))
    return absl::DataLossError(fmt::format("{}: {} came out instead of {}", trip.name,
                                           Describe(outcome.packet), Describe(trip.out)));
  return outcome.form;
}

absl::StatusOr<std::vector<Trip>> MakeTrips(PacketRun& run, const PacketNode& node) {
  std::vector<Trip> trips;
  const Kind& kind = node.kind;
  const Arrival client = FromPod(node, node.client), server = FromPod(node, node.server);
  const Arrival peer = FromPeer(node), outside = FromOutside(node);
  // To the other node.
  const Form away = kind.is_native() ? Form::kPlain : Form::kTunnelled;
  const auto establish = [&](const Arrival& there, const Arrival& back, const Packet& first) {
    return Establish(run, kind, there, back, first);
  };
  const auto add = [&](const char* name, const Arrival& arrival, const Packet& in,
                       const Packet& out, Form form = Form::kPlain, int verdict = TC_ACT_REDIRECT) {
    trips.push_back({name, arrival, in, out, verdict, form});
  };
  {
    ASSIGN_OR_RETURN(const Flow flow,
                     establish(client, server, From(kClient, 1001, kServer, 8080)));
    add("pod_local_request", client, flow.request, flow.request);
    add("pod_local_answer", server, flow.answer, flow.answer);
  }
  {
    const Packet request = From(kClient, 1002, kVip, 80);
    ASSIGN_OR_RETURN(const Flow flow, establish(client, server, request));
    add("clusterip_local_request", client, request, From(kClient, 1002, kServer, 8080));
    add("clusterip_local_answer", server, flow.answer, Answer(request, kAck));
  }
  {
    const Packet request = From(kClient, 1003, kFarVip, 80);
    ASSIGN_OR_RETURN(const Flow flow, establish(client, peer, request));
    add("clusterip_remote_request", client, request, From(kClient, 1003, kFarServer, 8080), away);
    add("clusterip_remote_answer", peer, flow.answer, Answer(request, kAck));
  }
  {
    const Packet request = From(kFarClient, 1004, kServer, 8080);
    ASSIGN_OR_RETURN(const Flow flow, establish(peer, server, request));
    add("overlay_request", peer, request, request);
    add("overlay_answer", server, flow.answer, flow.answer, away);
  }
  {
    const Packet request = From(kClient, 1005, kOutside, 443);
    ASSIGN_OR_RETURN(const Flow flow, establish(client, outside, request));
    add("masquerade_out", client, request,
        From(kNodeIp, flow.request_out.source_port, kOutside, 443));
    add("masquerade_in", outside, flow.answer, Answer(request, kAck));
  }
  {
    const Packet request = From(kOutside, 1006, kNodeIp, kNodePort);
    ASSIGN_OR_RETURN(const Flow flow, establish(outside, server, request));
    add("nodeport_local_request", outside, request, From(kOutside, 1006, kServer, 8080));
    add("nodeport_local_answer", server, flow.answer, Answer(request, kAck));
  }
  {
    const Packet request = From(kOutside, 1007, kNodeIp, kFarNodePort);
    ASSIGN_OR_RETURN(const Flow flow, establish(outside, peer, request));
    const Packet out = From(kGateway, flow.request_out.source_port, kFarServer, 8080);
    add("nodeport_snat_request_tc", outside, request, out, away);
    if (node.uplink_xdp)
      add("nodeport_snat_request_xdp", FromOutsideXdp(node), request, out, away, XDP_TX);
    add("nodeport_snat_answer", peer, flow.answer, Answer(request, kAck));
  }
  {
    // The backend's node answers the client itself. Always through the tunnel.
    const Packet request = From(kOutside, 1008, kNodeIp, kDirectNodePort);
    Packet syn = request;
    syn.tcp_flags = kSyn;
    RETURN_IF_ERROR(Send(run, kind, outside, syn).status());
    add("nodeport_direct_request_tc", outside, request, request, Form::kTunnelled);
    if (node.uplink_xdp)
      add("nodeport_direct_request_xdp", FromOutsideXdp(node), request, request, Form::kTunnelled,
          XDP_TX);
  }
  {
    const Packet ssh = From(kOutside, 1009, kNodeIp, 22);
    add("uplink_no_service_tc", outside, ssh, ssh, Form::kPlain, TC_ACT_OK);
    if (node.uplink_xdp)
      add("uplink_no_service_xdp", FromOutsideXdp(node), ssh, ssh, Form::kPlain, XDP_PASS);
  }
  if (kind.is_v4()) {
    const Packet tunnelled =
        mesh::testing::Udp(At(fmt::format("{}:40000", kPeerIp)),
                           At(fmt::format("{}:{}", kNodeIp, kVxlanPort)), kPayload);
    add("uplink_tunnelled_tc", outside, tunnelled, tunnelled, Form::kPlain, TC_ACT_OK);
  }
  return trips;
}

}  // namespace mesh::bench
