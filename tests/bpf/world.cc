// SPDX-License-Identifier: Apache-2.0
#include "tests/bpf/world.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <sched.h>

#include <barrier>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <thread>

#include "common/check.h"
#include "dataplane/bpf/prog_run.h"
#include "dataplane/net/netlink.h"
#include "dataplane/net/node_links.h"
#include "dataplane/net/sysctl.h"
#include "dataplane/net/uplink.h"
#include "dataplane/node_config.h"
#include "dataplane/tables/encode.h"
#include "dataplane/tables/metrics_table.h"
#include "dataplane/trace/kernel_tracer.h"
#include "fmt/format.h"
#include "mesh/shared/trace.h"
#ifdef MESH_TEST_IPV6
#include "overlay_driver6.skel.h"
#else
#include "overlay_driver.skel.h"
#endif

namespace mesh::dataplane::testing {
namespace {

using mesh::testing::Decode;
using mesh::testing::Encode;
using mesh::testing::FrameToIpv4;
using mesh::testing::FrameToIpv6;
using mesh::testing::Packet;
using mesh::testing::ToIpv4;
using mesh::testing::ToIpv6;

IpAddress Ip(const std::string& text) { return *IpAddress::Parse(text); }
IpPrefix Range(const std::string& text) { return *IpPrefix::Parse(text); }

// The interfaces that packets of the tests come from, in a network namespace of the process's own.
struct Links {
  NodeLinks node;
  LinkInfo uplink;
  std::map<std::string, LinkInfo> pods;
};

// 192.0.2.0/24 and everything else is there, but 203.0.113.0/24, which is behind mesh_vxlan.
LinkInfo MakeUplink(Netlink& netlink, const NodeConfig& config) {
  const auto check = [](const absl::Status& status) {
    MESH_CHECK(status.ok()) << std::string(status.message());
  };
  check(netlink.AddVeth({"uplink", kUplinkMac, -1}, {"uplink-out", {2, 0, 0, 0, 4, 1}, -1}, 1500));
  const LinkInfo uplink = *netlink.Link("uplink");
  const int vxlan = netlink.Link(kVxlanName)->ifindex;
  for (const int ifindex : {netlink.Link("uplink-out")->ifindex, uplink.ifindex, vxlan}) {
    check(netlink.SetUp(ifindex));
  }
  check(netlink.AddAddress(uplink.ifindex, config.node_ip));
  check(netlink.AddNeighbour(uplink.ifindex, Ip("192.0.2.2"), kPeerMac));
  check(netlink.AddRoute({Range("192.0.2.0/24"), uplink.ifindex, {}, {}}));
  check(netlink.AddRoute({Range("0.0.0.0/0"), uplink.ifindex, Ip("192.0.2.254"), {}}));
  check(netlink.AddRoute({Range("203.0.113.0/24"), vxlan, {}, {}}));
  if (!kIpv6) return uplink;
  check(netlink.AddAddress(uplink.ifindex, ToIpv6(config.node_ip)));
  check(netlink.AddNeighbour(uplink.ifindex, ToIpv6(Ip("192.0.2.2")), kPeerMac));
  check(netlink.AddRoute({ToIpv6(Range("192.0.2.0/24")), uplink.ifindex, {}, {}}));
  check(netlink.AddRoute(
      {ToIpv6(Range("0.0.0.0/0")), uplink.ifindex, ToIpv6(Ip("192.0.2.254")), {}}));
  check(netlink.AddRoute({ToIpv6(Range("203.0.113.0/24")), vxlan, {}, {}}));
  return uplink;
}

const Links& TheLinks(const NodeConfig& config) {
  static const Links* links = [&] {
    MESH_CHECK(unshare(CLONE_NEWNET) == 0)
        << "these tests need root: cannot make a network namespace: " << std::strerror(errno);
    auto* out = new Links();
    Netlink netlink = *Netlink::Open();
    absl::StatusOr<NodeLinks> node = EnsureNodeLinks(netlink, config);
    MESH_CHECK(node.ok()) << std::string(node.status().message());
    out->node = *node;
    MESH_CHECK(netlink.SetForwarding(node->net.ifindex).ok());
    if (kIpv6) MESH_CHECK(SetIpv6(kNetName, "forwarding", "1").ok());
    out->uplink = MakeUplink(netlink, config);
    // Of a Service's address, as processes of the node reach it.
    MESH_CHECK(netlink.SetUp(out->node.host.ifindex).ok());
    const IpPrefix served = Range("192.0.2.60/32");
    MESH_CHECK(netlink.AddRoute({served, out->node.host.ifindex, {}, {}}).ok());
    if (kIpv6) MESH_CHECK(netlink.AddRoute({ToIpv6(served), out->node.host.ifindex, {}, {}}).ok());
    uint8_t number = 0;
    for (const char* name : {"client", "near", "clerk"}) {
      ++number;
      const absl::Status made =
          netlink.AddVeth({name, {2, 0, 0, 0, 1, number}, -1},
                          {std::string(name) + "-pod", {2, 0, 0, 0, 2, number}, -1}, 1450);
      MESH_CHECK(made.ok()) << std::string(made.message());
      out->pods[name] = *netlink.Link(name);
    }
    return out;
  }();
  return *links;
}

}  // namespace

struct World::Loaded {
#ifdef MESH_TEST_IPV6
  using Driver = overlay_driver6_bpf;
#else
  using Driver = overlay_driver_bpf;
#endif
  ~Loaded() { Driver::destroy(driver); }
  std::unique_ptr<Programs> programs;
  std::shared_ptr<Tracer> tracer;
  Driver* driver = nullptr;
};

absl::StatusOr<std::shared_ptr<World::Loaded>> World::LoadPrograms(const NodeConfig& node,
                                                                   const mesh_config& config,
                                                                   uint32_t flow_max_entries,
                                                                   bool use_kernel_functions) {
  auto out = std::make_shared<Loaded>();
  Programs::Options options;
  options.flow_max_entries = flow_max_entries;
  options.use_kernel_functions = use_kernel_functions;
  if (kIpv6) options.ipv6 = EncodeIpv6(node);
  absl::StatusOr<std::unique_ptr<Programs>> programs = Programs::Load(config, options);
  if (!programs.ok()) return programs.status();
  out->programs = *std::move(programs);
  absl::StatusOr<std::shared_ptr<Tracer>> tracer = NewTracer(*out->programs);
  if (!tracer.ok()) return tracer.status();
  out->tracer = *std::move(tracer);

  // The driver shares the programs' maps.
  out->driver = Loaded::Driver::open();
  if (out->driver == nullptr) return absl::InternalError("open the driver");
  std::memcpy(&out->driver->rodata->mesh_config, &config, sizeof(config));
#ifdef MESH_TEST_IPV6
  std::memcpy(&out->driver->rodata->mesh_config6, &*options.ipv6, sizeof(*options.ipv6));
#endif
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, out->driver->obj) {
    const std::string name = bpf_map__name(map);
    if (!out->programs->has_map(name)) continue;
    if (bpf_map__reuse_fd(map, out->programs->map(name)) != 0) {
      return absl::InternalError("share map " + name);
    }
  }
  static std::string words;  // the end of the verifier's log
  words.clear();
  libbpf_set_print([](libbpf_print_level level, const char* format, va_list arguments) {
    char line[4096];
    if (level != LIBBPF_WARN) return 0;
    std::vsnprintf(line, sizeof(line), format, arguments);
    words.append(line);
    if (words.size() > 4096) words.erase(0, words.size() - 4096);
    return 0;
  });
  const int loaded = Loaded::Driver::load(out->driver);
  LogLibbpf();
  if (loaded != 0) return absl::InternalError("load the driver: " + words);
  return out;
}

std::ostream& operator<<(std::ostream& out, const Outcome& outcome) {
  out << "verdict " << outcome.verdict << " " << outcome.reason << " ";
  if (outcome.packet.has_value()) return out << *outcome.packet;
  return out << Decode(outcome.frame).status();
}

void World::Load(uint32_t flow_max_entries, bool use_kernel_functions) {
  config_ = {"node1",
             Ip("192.0.2.1"),
             Range("10.244.1.0/24"),
             Range("10.244.0.0/16"),
             Range("10.96.0.0/16"),
             Ip("10.244.1.1"),
             1500};
  if (kIpv6) {
    config_.node_ip6 = ToIpv6(config_.node_ip);
    config_.pod_cidr6 = ToIpv6(config_.pod_cidr);
    config_.cluster_cidr6 = ToIpv6(config_.cluster_cidr);
    config_.service_cidr6 = ToIpv6(config_.service_cidr);
    config_.gateway6 = ToIpv6(config_.gateway);
  }
  config_.routing = routing_;
  const Links& links = TheLinks(config_);
  mesh_config config{};
  config.node_ip = EncodeIp(config_.node_ip);
  config.gateway = EncodeIp(config_.gateway);
  config.pod_base = EncodeIp(config_.pod_cidr.base());
  config.pod_mask = EncodeMask(config_.pod_cidr.length());
  config.cluster_base = EncodeIp(config_.cluster_cidr.base());
  config.cluster_mask = EncodeMask(config_.cluster_cidr.length());
  config.service_base = EncodeIp(config_.service_cidr.base());
  config.service_mask = EncodeMask(config_.service_cidr.length());
  config.host_ifindex = links.node.host.ifindex;
  config.net_ifindex = links.node.net.ifindex;
  config.vxlan_ifindex = links.node.vxlan.ifindex;
  config.pod_mtu = static_cast<uint32_t>(PodMtu(config_));
  config.tunnel_mtu = static_cast<uint32_t>(TunnelMtu(config_));
  config.routing = static_cast<uint8_t>(routing_);
  if (has_uplink_) config.uplink_ifindex = links.uplink.ifindex;
  std::memcpy(config.uplink_mac, kUplinkMac.data(), kUplinkMac.size());
  std::memcpy(config.host_mac, links.node.host.mac.data(), 6);
  std::memcpy(config.net_mac, links.node.net.mac.data(), 6);

  // The verifier is slow: tests share the programs and find empty maps.
  static std::map<std::pair<bool, Routing>, std::shared_ptr<Loaded>> of_uplink;
  std::shared_ptr<Loaded>& shared = of_uplink[{has_uplink_, routing_}];
  if (flow_max_entries != 0 || !use_kernel_functions || shared == nullptr) {
    absl::StatusOr<std::shared_ptr<Loaded>> loaded =
        LoadPrograms(config_, config, flow_max_entries, use_kernel_functions);
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    loaded_ = *std::move(loaded);
    if (flow_max_entries == 0 && use_kernel_functions) shared = loaded_;
  } else {
    loaded_ = shared;
  }
  programs_ = loaded_->programs.get();
  if (has_uplink_) {
    // Only queues of an interface with such a program can be named as the place of arrival.
    ASSERT_TRUE(AttachXdp(links.uplink, programs_->uplink_xdp()).ok());
  }

  absl::StatusOr<std::unique_ptr<KernelMaps>> maps = KernelMaps::Adopt(*programs_);
  ASSERT_TRUE(maps.ok()) << maps.status();
  maps_ = *std::move(maps);
  flows_ = &Maps().flow;
  owners_ = &Maps().owner;
  routes_ = FakeHostRoutes();

  const auto clear = [](auto& map) {
    const auto rows = *map.Dump();
    for (const auto& [key, value] : rows) ASSERT_TRUE(map.Erase(key).ok());
  };
  const auto clear_family = [&](auto& family) {
    clear(family.service);
    clear(family.backend);
    clear(family.source_range);
    clear(family.tunnel);
    clear(family.identity);
    clear(family.node);
    clear(family.no_masquerade);
    clear(family.announce);
    clear(family.endpoint);
    clear(family.flow);
    clear(family.owner);
  };
  clear_family(maps_->v4);
  if (maps_->v6.has_value()) clear_family(*maps_->v6);
  clear(maps_->set);
  clear(maps_->slot);
  clear(maps_->load);
  clear(maps_->ns);
  clear(maps_->maglev);
  clear(maps_->endpoint_name);
  clear(maps_->pod_ns);
  clear(maps_->policy_peer);
  clear(maps_->policy_port);
  clear(maps_->policy_block);
  if (maps_->v6.has_value()) clear(maps_->policy_block6);
  endpoints_ =
      std::make_unique<EndpointTable>(maps_->v4.endpoint, maps_->endpoint_name,
                                      maps_->v6.has_value() ? &maps_->v6->endpoint : nullptr);
  policies_ = std::make_unique<PolicyTables>(maps_->ForPolicies(), *endpoints_);

  const auto pod = [&](const char* name, const char* ip, uint32_t identity) {
    Pod out{ip, links.pods.at(name).ifindex, identity, {2, 0, 0, 0, 2, 0}};
    out.mac[5] = links.pods.at(name).mac[5];
    AddPod(out);
    return out;
  };
  client_ = pod("client", "10.244.1.10", kShop);
  near_ = pod("near", "10.244.1.11", kShop);
  clerk_ = pod("clerk", "10.244.1.12", kBank);
  observed_ = {};
  next_ = {};
  desired_ = {};
  desired_.complete = true;
  desired_.peers["node2"] = {"node2", Ip("192.0.2.2"), Range("10.244.2.0/24")};
  if (kIpv6) {
    desired_.peers["node2"].ip6 = ToIpv6(Ip("192.0.2.2"));
    desired_.peers["node2"].pod_cidr6 = ToIpv6(Range("10.244.2.0/24"));
  }
  desired_.pod_identities = {
      {Ip("10.244.2.10"), kShop}, {Ip("10.244.2.11"), kShop}, {Ip("10.244.2.12"), kBank}};
  Apply();
}

void World::Apply() {
  ServiceTables tables(maps_->ForServices(routes_));
  const Plan plan = ComputePlan(config_, desired_, observed_, next_);
  ASSERT_TRUE(plan.problem.ok()) << plan.problem;
  bool judge_again = plan.judge_flows_again;
  absl::Status policies = policies_->Write(desired_, &judge_again);
  const absl::Status status = tables.Execute(plan.actions, observed_);
  ASSERT_TRUE(status.ok()) << status;
  if (const absl::Status enforced = policies_->Enforce(desired_, &judge_again); policies.ok())
    policies = enforced;
  ASSERT_TRUE(policies.ok() || (may_refuse_policies_ && absl::IsInvalidArgument(policies)))
      << policies;
  ASSERT_TRUE(policies_->Collect().ok());
  if (!judge_again) return;
  mesh_state_value state = *maps_->state.Lookup(0);
  ++state.generation;
  ASSERT_TRUE(maps_->state.Upsert(0, state).ok());
}

void World::Serve(const std::vector<std::string>& active,
                  const std::vector<std::string>& draining) {
  Service& service = desired_.services["shop/web"];
  service = {"shop", "web", Own(Ip("10.96.0.10")), kShop, {}};
  service.family = F::kFamily;
  for (const Protocol protocol : {Protocol::kTcp, Protocol::kUdp}) {
    ServicePort port{"", protocol, 80, {}};
    for (const std::string& text : active) {
      const mesh::testing::Place place = mesh::testing::At(text);
      port.backends.push_back({Own(place.ip), place.port, BackendState::kActive, "", ""});
    }
    for (const std::string& text : draining) {
      const mesh::testing::Place place = mesh::testing::At(text);
      port.backends.push_back({Own(place.ip), place.port, BackendState::kDraining, "", ""});
    }
    service.ports.push_back(std::move(port));
  }
  Apply();
}

void World::RemoveService() {
  desired_.services.clear();
  Apply();
}

void World::Isolate(uint32_t identity, Isolation isolation) {
  desired_.namespaces[identity] = {"", isolation};
  Apply();
}

void World::Identify(const std::string& ip, uint32_t identity) {
  desired_.pod_identities[Own(Ip(ip))] = identity;
  if (identity == 0) desired_.pod_identities.erase(Own(Ip(ip)));
  Apply();
}

void World::AddPod(const Pod& pod) {
  mesh_endpoint_value value{};
  value.ifindex = static_cast<uint32_t>(pod.ifindex);
  value.identity = pod.identity;
  value.flags = pod.shaped ? MESH_ENDPOINT_SHAPED : 0;
  std::memcpy(value.pod_mac, pod.mac.data(), 6);
  ASSERT_TRUE(Maps().endpoint.Upsert({Row(Ip(pod.ip))}, value).ok());
  // An endpoint has a row of IPv4 in any case.
  if (!kIpv6) return;
  ASSERT_TRUE(maps_->v4.endpoint.Upsert({EncodeIp(Ip(pod.ip))}, value).ok());
}

void World::RemovePod(const Pod& pod) {
  ASSERT_TRUE(Maps().endpoint.Erase({Row(Ip(pod.ip))}).ok());
  if (!kIpv6) return;
  ASSERT_TRUE(maps_->v4.endpoint.Erase({EncodeIp(Ip(pod.ip))}).ok());
}

std::map<std::string, uint64_t> World::Counters() {
  // In one call: this happens twice for every packet of every test.
  static const size_t cpus = static_cast<size_t>(*PossibleCpus());
  std::vector<mesh_metrics_value> values(MESH_METRICS_MAX_ENTRIES * cpus);
  std::vector<uint32_t> indices(MESH_METRICS_MAX_ENTRIES);
  uint32_t count = MESH_METRICS_MAX_ENTRIES, position = 0;
  // ENOENT: that was all of them.
  const int result = bpf_map_lookup_batch(programs_->map(MESH_METRICS_MAP_NAME), nullptr, &position,
                                          indices.data(), values.data(), &count, nullptr);
  EXPECT_TRUE(result == 0 || errno == ENOENT) << std::strerror(errno);
  std::map<std::string, uint64_t> out;
  for (uint32_t i = 0; i < count; ++i) {
    const auto first = values.begin() + static_cast<ptrdiff_t>(i * cpus);
    const MetricRow row = DecodeMetric(indices[i], {first, first + static_cast<ptrdiff_t>(cpus)});
    out[row.reason] += row.packets;
  }
  return out;
}

namespace {

constexpr size_t kEthernet = 14, kOuterSize = 50;

// Takes a packet out of the tunnel; nothing changes when it is in none, or not as it should be.
void Unpack(Outcome& out) {
  constexpr size_t kOuterTos = kEthernet + 1, kFlags = kEthernet + 6;
  if (!out.packet.has_value() || out.packet->destination_port != MESH_VXLAN_PORT) return;
  const std::string& vxlan = out.packet->payload;
  const std::string header = std::string(kPeerMac.begin(), kPeerMac.end()) +
                             std::string(kUplinkMac.begin(), kUplinkMac.end());
  EXPECT_EQ(out.packet->source.ToString(), "192.0.2.1");
  EXPECT_EQ(out.packet->ttl, 64);
  EXPECT_FALSE(out.packet->udp_checksum);
  EXPECT_GE(out.packet->source_port, 49152);
  EXPECT_EQ(out.frame.substr(0, header.size()), header);
  EXPECT_EQ(out.frame[kOuterTos] & ~3, 0) << "the class of service is not passed on";
  EXPECT_EQ(out.frame[kFlags], 0) << "routers may cut it";
  EXPECT_EQ(vxlan.substr(0, 4), std::string("\x08\0\0\0", 4));
  EXPECT_EQ(vxlan.substr(7, 1), std::string(1, '\0'));
  uint32_t vni = 0;
  for (size_t i = 4; i < 7; ++i) vni = vni << 8 | static_cast<uint8_t>(vxlan[i]);
  out.tunnel = {.peer = out.packet->destination,
                .vni = vni,
                .ecn = static_cast<uint8_t>(out.frame[kOuterTos] & 3),
                .source_port = out.packet->source_port,
                .id = out.packet->id};
  out.frame = vxlan.substr(8);
  const absl::StatusOr<Packet> inner = Decode(out.frame);
  out.packet = inner.ok() ? std::optional<Packet>(*inner) : std::nullopt;
}

}  // namespace

// Of a map, in the order of their keys. `key`: room for the longest.
std::string RowsOf(int map) {
  bpf_map_info info{};
  uint32_t length = sizeof(info);
  MESH_CHECK(bpf_obj_get_info_by_fd(map, &info, &length) == 0);
  const bool per_cpu =
      info.type == BPF_MAP_TYPE_PERCPU_ARRAY || info.type == BPF_MAP_TYPE_PERCPU_HASH;
  const size_t values = per_cpu ? static_cast<size_t>(*PossibleCpus()) : 1;
  std::map<std::string, std::string> rows;
  std::string key(info.key_size, 0), value((info.value_size + 7) / 8 * 8 * values, 0);
  std::string next(info.key_size, 0);
  for (const void* from = nullptr; bpf_map_get_next_key(map, from, next.data()) == 0;) {
    key = next;
    from = key.data();
    if (bpf_map_lookup_elem(map, key.data(), value.data()) == 0) rows[key] = value;
  }
  std::string out;
  for (const auto& [row_key, row_value] : rows) out += row_key + row_value;
  return out;
}

std::map<std::string, std::string> World::AllRows() const {
  std::map<std::string, std::string> out;
  const auto maps = *programs_->CopyMaps();
  for (const auto& [name, fd] : maps) out[name] = RowsOf(fd.get());
  return out;
}

Outcome World::RunAsked(int program_fd, int ifindex, const std::string& frame,
                        std::array<uint32_t, 2> cb, bool raw) {
  using Hook = TracePacket::Hook;
  const std::string sent = kIpv6 ? FrameToIpv6(frame) : frame;
  TracePacket packet{.hook = Hook::kOverlay, .ifindex = ifindex, .frame = sent};
  packet.vni = cb[0];
  packet.peer = IpAddress::V4(cb[1]);
  const int hooks[] = {kIpv6 ? programs_->from_pod6() : programs_->from_pod(),
                       kIpv6 ? programs_->node6() : programs_->node(),
                       kIpv6 ? programs_->uplink6() : programs_->uplink()};
  if (program_fd == hooks[0]) packet.hook = Hook::kFromPod;
  if (program_fd == hooks[1]) packet.hook = Hook::kNode;
  if (program_fd == hooks[2]) packet.hook = Hook::kUplink;
  absl::StatusOr<TraceOutcome> traced = loaded_->tracer->Trace(packet);
  EXPECT_TRUE(traced.ok()) << traced.status();
  Outcome out;
  if (!traced.ok()) return out;
  out.verdict = traced->verdict;
  out.frame = traced->frame;
  if (kIpv6 && !raw) out.frame = out.frame == sent ? frame : FrameToIpv4(out.frame);
  if (absl::StatusOr<Packet> decoded = Decode(out.frame); decoded.ok()) {
    out.packet = *std::move(decoded);
  }
  for (const TraceNote& note : traced->notes) {
    if (note.step != MESH_TRACE_REASON) continue;
    EXPECT_TRUE(out.reason.empty()) << "also counted as " << out.reason;
    out.reason = DecodeMetric(MESH_METRICS_INDEX(note.a, note.b), {}).reason;
  }
  out.trace = *std::move(traced);
  return out;
}

Outcome World::Run(int program_fd, int ifindex, const std::string& frame,
                   std::array<uint32_t, 2> cb, bool xdp, bool raw) {
  if (asking_) return RunAsked(program_fd, ifindex, frame, cb, raw);
  const std::map<std::string, uint64_t> before = Counters();
  Outcome out;
  const std::string sent = kIpv6 ? FrameToIpv6(frame) : frame;
  const absl::StatusOr<ProgRunResult> result = ProgRun(program_fd, {sent, ifindex, cb, 1, xdp});
  EXPECT_TRUE(result.ok()) << result.status();
  if (!result.ok()) return out;
  out.verdict = result->verdict;
  out.frame = result->packet;
  if (absl::StatusOr<Packet> decoded = Decode(out.frame); decoded.ok()) {
    out.packet = *std::move(decoded);
    if (has_uplink_ && sent.size() + kOuterSize == out.frame.size()) Unpack(out);
  }
  if (kIpv6 && !raw) {
    out.frame = out.frame == sent ? frame : FrameToIpv4(out.frame);
    const absl::StatusOr<Packet> decoded = Decode(out.frame);
    out.packet = decoded.ok() ? std::optional<Packet>(*decoded) : std::nullopt;
  }
  for (const auto& [reason, packets] : Counters()) {
    if (packets == before.at(reason)) continue;
    EXPECT_EQ(packets, before.at(reason) + 1) << "a packet is counted once";
    EXPECT_TRUE(out.reason.empty()) << "also counted as " << out.reason;
    out.reason = reason;
  }
  return out;
}

Outcome World::FromPod(const Pod& pod, const Packet& packet) {
  return FromPod(pod, Encode(packet));
}

Outcome World::FromPod(const Pod& pod, const std::string& frame) {
  return Run(kIpv6 ? programs_->from_pod6() : programs_->from_pod(), pod.ifindex, frame, {});
}

void World::FromPodsAtOnce(const Pod& one, const Packet& of_one, const Pod& other,
                           const Packet& of_other) {
  const int program_fd = kIpv6 ? programs_->from_pod6() : programs_->from_pod();
  std::barrier start(2);
  const auto run = [&](const Pod& pod, const Packet& packet, int cpu) {
    cpu_set_t one_cpu;
    CPU_ZERO(&one_cpu);
    CPU_SET(cpu, &one_cpu);
    ::sched_setaffinity(0, sizeof one_cpu, &one_cpu);
    const std::string frame = Encode(packet);
    const std::string sent = kIpv6 ? FrameToIpv6(frame) : frame;
    start.arrive_and_wait();
    EXPECT_TRUE(ProgRun(program_fd, {sent, pod.ifindex, {}, 1, false}).ok());
  };
  std::jthread of_one_cpu(run, one, of_one, 0);
  std::jthread of_other_cpu(run, other, of_other, 1);
}

Outcome World::FromUplink(const Packet& packet) { return FromUplink(Encode(packet)); }

Outcome World::FromUplink(const std::string& frame) {
  return Run(kIpv6 ? programs_->uplink6() : programs_->uplink(), TheLinks(config_).uplink.ifindex,
             frame, {});
}

Outcome World::FromUplinkRaw(const std::string& frame) {
  return Run(kIpv6 ? programs_->uplink6() : programs_->uplink(), TheLinks(config_).uplink.ifindex,
             frame, {}, false, true);
}

Outcome World::FromXdp(const Packet& packet) { return FromXdp(Encode(packet)); }

Outcome World::FromXdp(const std::string& frame) {
  return Run(programs_->uplink_xdp(), TheLinks(config_).uplink.ifindex, frame, {}, true);
}

Outcome World::FromNode(const Packet& packet) {
  return Run(kIpv6 ? programs_->node6() : programs_->node(), TheLinks(config_).node.net.ifindex,
             Encode(packet), {});
}

Outcome World::FromPeer(uint32_t vni, const Packet& packet, const std::string& peer,
                        uint32_t service_identity) {
  std::string frame = Encode(packet);
  if ((vni & MESH_VNI_SERVICE) != 0) {
    frame.replace(6, 2, std::string{2, 0});
    for (int i = 0; i < 4; ++i) frame[8 + i] = static_cast<char>(service_identity >> (24 - 8 * i));
  }
  return Run(bpf_program__fd(loaded_->driver->progs.mesh_overlay_drv),
             TheLinks(config_).node.vxlan.ifindex, frame, {vni, Ip(peer).v4()});
}

Outcome World::FromPeer(uint32_t vni, const std::string& frame) {
  return Run(bpf_program__fd(loaded_->driver->progs.mesh_overlay_drv),
             TheLinks(config_).node.vxlan.ifindex, frame, {vni, Ip("192.0.2.2").v4()});
}

Outcome World::FromPeerNative(const Packet& packet, bool through_service) {
  Packet marked = packet;
  if (through_service) marked.fragment |= 0x8000;
  return FromUplink(marked);
}

Outcome World::FromPeerDirect(const Packet& packet, const mesh::testing::Place& backend,
                              const std::string& peer, uint32_t service_identity) {
  std::string frame = Encode(packet);
  const uint32_t ip = backend.ip.v4();
  for (int i = 0; i < 4; ++i) {
    frame[i] = static_cast<char>(ip >> (24 - 8 * i));
    frame[8 + i] = static_cast<char>(service_identity >> (24 - 8 * i));
  }
  frame[4] = static_cast<char>(backend.port >> 8);
  frame[5] = static_cast<char>(backend.port);
  frame.replace(6, 2, std::string{2, 0});
  return Run(bpf_program__fd(loaded_->driver->progs.mesh_overlay_drv),
             TheLinks(config_).node.vxlan.ifindex, frame,
             {MESH_IDENTITY_WORLD_DIRECT | MESH_VNI_SERVICE, Ip(peer).v4()});
}

F::FlowValue World::Flow(const Packet& packet) {
  F::FlowKey key{};
  key.saddr = Row(packet.source);
  key.daddr = Row(packet.destination);
  key.sport = EncodePort(packet.source_port);
  key.dport = EncodePort(packet.destination_port);
  key.proto = packet.protocol == IPPROTO_ICMP ? F::kIcmp : packet.protocol;
  const absl::StatusOr<F::FlowValue> value = flows_->Lookup(key);
  EXPECT_TRUE(value.ok()) << "no flow for " << packet;
  return value.value_or(F::FlowValue{});
}

size_t World::Flows() { return flows_->Dump()->size() / 2; }

void World::Age(double seconds) {
  const auto entries = *flows_->Dump();
  for (auto [key, value] : entries) {
    --value.last_tick;
    value.last_seen_ns -= static_cast<uint64_t>(seconds * 1e9);
    ASSERT_TRUE(flows_->Upsert(key, value).ok());
  }
}

}  // namespace mesh::dataplane::testing
