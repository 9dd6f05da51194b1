// SPDX-License-Identifier: Apache-2.0
#include "dataplane/kernel_dataplane.h"

#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <map>
#include <set>
#include <utility>

#include "common/log.h"
#include "common/status.h"
#include "dataplane/bpf/features.h"
#include "dataplane/bpf/programs.h"
#include "dataplane/kernel_maps.h"
#include "dataplane/net/host_routes.h"
#include "dataplane/net/netlink.h"
#include "dataplane/net/node_links.h"
#include "dataplane/net/node_sockets.h"
#include "dataplane/net/pod_link.h"
#include "dataplane/net/tc.h"
#include "dataplane/net/uplink.h"
#include "dataplane/node_config.h"
#include "dataplane/plan/plan.h"
#include "dataplane/service_rows.h"
#include "dataplane/tables/endpoint_table.h"
#include "dataplane/tables/flow_collector.h"
#include "dataplane/tables/flow_table.h"
#include "dataplane/tables/metrics_table.h"
#include "dataplane/tables/service_tables.h"
#include "dataplane/takeover.h"
#include "fmt/format.h"
#include "mesh/shared/moving.h"

namespace mesh::dataplane {
namespace {

std::string PinDir(const KernelDataplane::Options& options) {
  const uint32_t version = options.abi_version != 0 ? options.abi_version : MESH_ABI_VERSION;
  return fmt::format("{}/mesh/v{}", options.bpf_root, version);
}

// Of no version: sockets outlive builds.
std::string SocketsDir(const KernelDataplane::Options& options) {
  return options.bpf_root + "/mesh/sockets";
}

absl::Status MakeFolder(const std::string& path) {
  if (mkdir(path.c_str(), 0700) == 0 || errno == EEXIST) return absl::OkStatus();
  return ErrnoStatus(errno, fmt::format("make folder {}", path));
}

// Puts the programs of both families at an interface of ours. Those of IPv6 first: what stands
// before them leaves packets to them.
absl::Status AttachBoth(int ifindex, int program4, std::optional<int> program6) {
  if (program6.has_value()) RETURN_IF_ERROR(AttachIngress(ifindex, *program6, kPriority6));
  RETURN_IF_ERROR(AttachIngress(ifindex, program4, kPriority4));
  return program6.has_value() ? absl::OkStatus() : DetachIngress(ifindex, kPriority6);
}

// Of a node that had IPv6 before: rows that nobody keeps would come back with it.
absl::Status RemoveIpv6Pins(const std::string& pin_dir) {
  std::error_code error;
  for (const auto& pin : std::filesystem::directory_iterator(pin_dir, error)) {
    if (!pin.path().filename().string().ends_with('6')) continue;
    if (unlink(pin.path().c_str()) != 0) {
      return ErrnoStatus(errno, fmt::format("remove {}", pin.path().string()));
    }
  }
  return absl::OkStatus();
}

// The clock of mesh_flow_value::last_seen_ns.
uint64_t NowNs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

// "mesh" and ten hex digits: see HostInterfaceName().
bool IsPodInterface(const LinkInfo& link) {
  return link.kind == "veth" && link.name.size() == 14 && link.name.starts_with("mesh") &&
         link.name.find_first_not_of("0123456789abcdef", 4) == std::string::npos;
}

// Where programs of ours may stand.
absl::StatusOr<std::vector<TakeOver::Hook>> Hooks(Netlink& netlink, const NodeLinks& node_links,
                                                  const std::optional<LinkInfo>& uplink) {
  std::vector<TakeOver::Hook> hooks = {{node_links.net.ifindex, MESH_HOOK_NODE},
                                       {node_links.vxlan.ifindex, MESH_HOOK_OVERLAY}};
  if (uplink.has_value()) hooks.push_back({uplink->ifindex, MESH_HOOK_UPLINK});
  ASSIGN_OR_RETURN(const std::vector<LinkInfo> links, netlink.Links());
  for (const LinkInfo& link : links) {
    if (IsPodInterface(link)) hooks.push_back({link.ifindex, MESH_HOOK_FROM_POD});
  }
  return hooks;
}

}  // namespace

class KernelDataplane::Impl {
 public:
  Impl(NodeConfig config, Netlink netlink, const NodeLinks& links,
       std::unique_ptr<Programs> programs, std::unique_ptr<KernelMaps> maps)
      : config_(std::move(config)),
        netlink_(std::move(netlink)),
        programs_(std::move(programs)),
        kept_maps_(std::move(maps)),
        maps_(*kept_maps_),
        routes_(netlink_, links.host.ifindex, config_.gateway, config_.gateway6),
        services_(maps_.ForServices(routes_)),
        endpoints_(maps_.v4.endpoint, maps_.endpoint_name,
                   maps_.v6.has_value() ? &maps_.v6->endpoint : nullptr),
        flows_(maps_.v4.flow),
        collector_({maps_.v4.flow, maps_.v4.owner, maps_.load}),
        planner_(config_) {
    if (!maps_.v6.has_value()) return;
    flows6_.emplace(maps_.v6->flow);
    collector6_.emplace(FlowCollector<V6>::Tables{maps_.v6->flow, maps_.v6->owner, maps_.load});
  }

  const Programs& programs() const { return *programs_; }
  // Puts the new program on every endpoint; one whose interface is gone is no endpoint any more.
  absl::Status AdoptEndpoints();
  absl::Status Observe();
  absl::Status Apply(const DesiredState& desired);
  absl::StatusOr<Endpoint> Attach(const AttachRequest& request);
  absl::Status Detach(const std::string& container_id, const std::string& ifname);
  absl::Status Check(const AttachRequest& request);
  absl::StatusOr<std::vector<Endpoint>> Endpoints() const;
  absl::StatusOr<std::vector<ServiceRow>> Services() const;
  absl::StatusOr<std::vector<BackendRow>> Backends() const;
  absl::StatusOr<std::vector<ConntrackRow>> Conntrack() const;
  absl::StatusOr<std::vector<Peer>> Tunnels() const;
  absl::StatusOr<std::vector<MetricRow>> Metrics() const;
  absl::StatusOr<MapUsage> Usage(Table table) const;
  absl::StatusOr<FlowUsage> FlowOwners() const;
  absl::StatusOr<int> CollectGarbage();
  absl::Status BeginCollecting();
  // For what they dial at the node's own addresses; see Shortfall().
  void ServeOwnProcesses(const NodeSockets& sockets);
  std::string Shortfall() const { return shortfall_; }

 private:
  absl::Status RemoveFlows(const Endpoint& endpoint);
  absl::Status AttachPod(int ifindex) const {
    return AttachBoth(ifindex, programs_->from_pod(),
                      programs_->has_ipv6() ? std::optional(programs_->from_pod6()) : std::nullopt);
  }
  absl::Status JudgeFlowsAgain();

  NodeConfig config_;
  Netlink netlink_;
  std::unique_ptr<Programs> programs_;
  std::unique_ptr<KernelMaps> kept_maps_;
  KernelMaps& maps_;
  KernelHostRoutes routes_;
  ServiceTables services_;
  EndpointTable endpoints_;
  FlowTable<V4> flows_;
  FlowCollector<V4> collector_;
  std::optional<FlowTable<V6>> flows6_;
  std::optional<FlowCollector<V6>> collector6_;

  // What the maps hold; unset after a failed write, then read again.
  std::optional<Observed> observed_;
  Planner planner_;
  bool judge_due_ = false;
  std::string shortfall_;
  std::map<std::string, Peer> peers_;  // of the last Apply, for their names
};

void KernelDataplane::Impl::ServeOwnProcesses(const NodeSockets& sockets) {
  const absl::Status attached = AttachNodeSockets(sockets);
  if (attached.ok()) return;
  shortfall_ = fmt::format(
      "processes of this node do not reach NodePorts and host ports at its own addresses: {}",
      std::string(attached.message()));
  spdlog::warn("{}", shortfall_);
}

absl::Status KernelDataplane::Impl::BeginCollecting() {
  RETURN_IF_ERROR(collector_.Begin());
  return collector6_.has_value() ? collector6_->Begin() : absl::OkStatus();
}

absl::Status KernelDataplane::Impl::RemoveFlows(const Endpoint& endpoint) {
  RETURN_IF_ERROR(flows_.RemoveAddress(endpoint.ip));
  if (!flows6_.has_value() || endpoint.ip6 == IpAddress()) return absl::OkStatus();
  return flows6_->RemoveAddress(endpoint.ip6);
}

absl::Status KernelDataplane::Impl::AdoptEndpoints() {
  RETURN_IF_ERROR(endpoints_.RemoveOrphans());
  ASSIGN_OR_RETURN(const std::vector<EndpointRecord> records, endpoints_.Dump());
  for (const EndpointRecord& record : records) {
    const absl::StatusOr<LinkInfo> link = netlink_.Link(record.endpoint.interface);
    if (link.ok() && link->ifindex == record.endpoint.ifindex) {
      RETURN_IF_ERROR(AttachPod(link->ifindex));
      continue;
    }
    if (!link.ok() && !absl::IsNotFound(link.status())) return link.status();
    spdlog::info("endpoint {} of {}/{}: its interface is gone, removed",
                 record.endpoint.ip.ToString(), record.endpoint.ns, record.endpoint.pod);
    RETURN_IF_ERROR(endpoints_.Remove(record.endpoint));
    RETURN_IF_ERROR(RemoveFlows(record.endpoint));
  }
  return absl::OkStatus();
}

absl::Status KernelDataplane::Impl::Observe() {
  RETURN_IF_ERROR(services_.RemoveOrphans());
  ASSIGN_OR_RETURN(observed_, services_.Load());
  planner_.Forget();
  return absl::OkStatus();
}

absl::Status KernelDataplane::Impl::JudgeFlowsAgain() {
  ASSIGN_OR_RETURN(mesh_state_value state, maps_.state.Lookup(0));
  ++state.generation;
  return maps_.state.Upsert(0, state);
}

absl::Status KernelDataplane::Impl::Apply(const DesiredState& desired) {
  if (desired.peers != peers_) peers_ = desired.peers;
  if (!observed_.has_value()) RETURN_IF_ERROR(Observe());
  const Plan plan = planner_.Compute(desired, *observed_);
  const absl::Status written = services_.Execute(plan.actions, *observed_);
  if (!written.ok()) observed_.reset();
  judge_due_ = judge_due_ || plan.judge_flows_again;
  absl::Status judged;
  if (judge_due_) judged = JudgeFlowsAgain();
  if (judged.ok()) judge_due_ = false;
  if (!written.ok()) return written;
  return judged.ok() ? plan.problem : judged;
}

absl::StatusOr<Endpoint> KernelDataplane::Impl::Attach(const AttachRequest& request) {
  if (!config_.pod_cidr.Contains(request.ip) || request.ip == config_.gateway) {
    return absl::InvalidArgumentError(
        fmt::format("container {}: address {} is not one for pods of this node ({})",
                    request.container_id, request.ip.ToString(), config_.pod_cidr.ToString()));
  }
  if (request.ip6 != IpAddress() && (!config_.has_ipv6() || !IsForPods(config_, request.ip6))) {
    return absl::InvalidArgumentError(fmt::format(
        "container {}: address {} is not one for pods of this node ({})", request.container_id,
        request.ip6.ToString(),
        config_.has_ipv6() ? config_.pod_cidr6.ToString() : "it has no ranges of IPv6"));
  }
  if (request.identity == 0 || request.identity > MESH_VNI_IDENTITY_MASK) {
    return absl::InvalidArgumentError(fmt::format("container {}: identity {}, range 1 to {}",
                                                  request.container_id, request.identity,
                                                  MESH_VNI_IDENTITY_MASK));
  }
  const std::string host_ifname = HostInterfaceName(request.container_id, request.ifname);
  ASSIGN_OR_RETURN(const std::vector<EndpointRecord> records, endpoints_.Dump());
  for (const EndpointRecord& record : records) {
    const bool same =
        record.endpoint.container_id == request.container_id && record.ifname == request.ifname;
    const bool same_ip = record.endpoint.ip == request.ip;
    const bool same_ip6 = request.ip6 != IpAddress() && record.endpoint.ip6 == request.ip6;
    if (!same && (same_ip || same_ip6)) {
      return absl::AlreadyExistsError(fmt::format("address {} belongs to container {} ({}/{})",
                                                  (same_ip ? request.ip : request.ip6).ToString(),
                                                  record.endpoint.container_id, record.endpoint.ns,
                                                  record.endpoint.pod));
    }
    if (!same) continue;
    // A repeated request: nothing to do when all of it still stands.
    if (Check(request).ok()) return record.endpoint;
    RETURN_IF_ERROR(Detach(request.container_id, request.ifname));
  }
  // Left by an attempt that did not reach its map entry.
  if (const absl::StatusOr<LinkInfo> old = netlink_.Link(host_ifname); old.ok()) {
    RETURN_IF_ERROR(netlink_.DeleteLink(old->ifindex));
  }

  EndpointRecord record;
  record.ifname = request.ifname;
  Endpoint& endpoint = record.endpoint;
  endpoint.ip = request.ip;
  endpoint.ip6 = request.ip6;
  endpoint.interface = host_ifname;
  endpoint.pod_mac = PodMac(request.ip);
  endpoint.host_mac = HostMac(request.ip);
  endpoint.identity = request.identity;
  endpoint.ns = request.ns;
  endpoint.pod = request.pod;
  endpoint.container_id = request.container_id;
  endpoint.shaped = request.ingress_bandwidth != 0;
  ASSIGN_OR_RETURN(endpoint.ifindex, MakePodLink(netlink_, request, host_ifname, config_,
                                                 [&](int ifindex) { return AttachPod(ifindex); }));
  if (absl::Status status = endpoints_.Put(record); !status.ok()) {
    netlink_.DeleteLink(endpoint.ifindex).IgnoreError();  // the first error is the one to tell
    return status;
  }
  return endpoint;
}

absl::Status KernelDataplane::Impl::Detach(const std::string& container_id,
                                           const std::string& ifname) {
  const absl::StatusOr<EndpointRecord> record = endpoints_.Find(container_id, ifname);
  if (!record.ok() && !absl::IsNotFound(record.status())) return record.status();
  absl::Status first;
  if (record.ok()) {
    first = endpoints_.Remove(record->endpoint);
    if (absl::Status status = RemoveFlows(record->endpoint); first.ok()) first = status;
  }
  const absl::StatusOr<LinkInfo> link = netlink_.Link(HostInterfaceName(container_id, ifname));
  if (!link.ok()) return absl::IsNotFound(link.status()) ? first : link.status();
  const absl::Status deleted = netlink_.DeleteLink(link->ifindex);
  if (!deleted.ok() && !absl::IsNotFound(deleted) && first.ok()) first = deleted;
  return first;
}

absl::Status KernelDataplane::Impl::Check(const AttachRequest& request) {
  const std::string host_ifname = HostInterfaceName(request.container_id, request.ifname);
  ASSIGN_OR_RETURN(const EndpointRecord record,
                   endpoints_.Find(request.container_id, request.ifname));
  const auto broken = [&](const std::string& what) {
    return absl::FailedPreconditionError(
        fmt::format("container {} interface {}: {}", request.container_id, request.ifname, what));
  };
  for (const auto& [has, want] :
       {std::pair(record.endpoint.ip, request.ip), std::pair(record.endpoint.ip6, request.ip6)}) {
    if (has != want) {
      return broken(fmt::format("has address {}, not {}", has.ToString(), want.ToString()));
    }
  }
  if (request.identity != 0 && record.endpoint.identity != request.identity) {
    return broken(
        fmt::format("has identity {}, not {}", record.endpoint.identity, request.identity));
  }
  RETURN_IF_ERROR(CheckPodLink(netlink_, request, host_ifname, config_));
  ASSIGN_OR_RETURN(const LinkInfo link, netlink_.Link(host_ifname));
  if (link.ifindex != record.endpoint.ifindex) return broken("its host side was replaced");
  const auto stands = [&](int program_fd, uint32_t priority) -> absl::Status {
    const absl::StatusOr<uint32_t> attached = IngressProgramId(link.ifindex, priority);
    ASSIGN_OR_RETURN(const uint32_t ours, ProgramId(program_fd));
    if (attached.ok() && *attached == ours) return absl::OkStatus();
    return broken(fmt::format("no program of ours at {} with priority {}", host_ifname, priority));
  };
  RETURN_IF_ERROR(stands(programs_->from_pod(), kPriority4));
  if (!programs_->has_ipv6()) return absl::OkStatus();
  return stands(programs_->from_pod6(), kPriority6);
}

absl::StatusOr<std::vector<Endpoint>> KernelDataplane::Impl::Endpoints() const {
  ASSIGN_OR_RETURN(std::vector<EndpointRecord> records, endpoints_.Dump());
  std::vector<Endpoint> out;
  for (EndpointRecord& record : records) out.push_back(std::move(record.endpoint));
  return out;
}

absl::StatusOr<std::vector<ServiceRow>> KernelDataplane::Impl::Services() const {
  ASSIGN_OR_RETURN(const Observed observed, services_.Load());
  return ServiceRows(observed, planner_);
}

absl::StatusOr<std::vector<BackendRow>> KernelDataplane::Impl::Backends() const {
  ASSIGN_OR_RETURN(const Observed observed, services_.Load());
  return BackendRows(observed, planner_);
}

absl::StatusOr<std::vector<ConntrackRow>> KernelDataplane::Impl::Conntrack() const {
  ASSIGN_OR_RETURN(std::vector<ConntrackRow> out, flows_.Rows(NowNs()));
  if (!flows6_.has_value()) return out;
  const auto range_of = [&](const IpAddress& node) -> std::optional<IpPrefix> {
    for (const auto& [name, peer] : peers_) {
      if (peer.ip == node && peer.pod_cidr6 != IpPrefix()) return peer.pod_cidr6;
    }
    return std::nullopt;
  };
  ASSIGN_OR_RETURN(const std::vector<ConntrackRow> rows6, flows6_->Rows(NowNs(), range_of));
  out.insert(out.end(), rows6.begin(), rows6.end());
  return out;
}

absl::StatusOr<std::vector<Peer>> KernelDataplane::Impl::Tunnels() const {
  ASSIGN_OR_RETURN(const Observed observed, services_.Load());
  std::vector<Peer> out;
  // Both ranges of a node make one row.
  const auto row_of = [&](const IpAddress& node) -> Peer& {
    for (Peer& peer : out) {
      if (peer.ip == node) return peer;
    }
    Peer& peer = out.emplace_back();
    peer.ip = node;
    return peer;
  };
  for (const auto& [pod_cidr, node] : observed.peers) {
    Peer& peer = row_of(node.ip);
    if (FamilyOf(pod_cidr) == Family::kV4) {
      peer.pod_cidr = pod_cidr;
    } else {
      peer.pod_cidr6 = pod_cidr;
      peer.ip6 = node.ip6;
    }
    for (const auto& [name, named] : peers_) {
      if (named.pod_cidr == pod_cidr || named.pod_cidr6 == pod_cidr) peer.name = name;
    }
  }
  return out;
}

absl::StatusOr<std::vector<MetricRow>> KernelDataplane::Impl::Metrics() const {
  std::vector<MetricRow> out;
  for (uint32_t index = 0; index < MESH_METRICS_MAX_ENTRIES; ++index) {
    ASSIGN_OR_RETURN(const std::vector<mesh_metrics_value> per_cpu, maps_.metrics.Lookup(index));
    MetricRow row = DecodeMetric(index, per_cpu);
    if (row.packets > 0 || index / 2 == MESH_REASON_FORWARDED) out.push_back(std::move(row));
  }
  return out;
}

absl::StatusOr<MapUsage> KernelDataplane::Impl::Usage(Table table) const {
  const auto usage = [](const auto& map) -> absl::StatusOr<MapUsage> {
    ASSIGN_OR_RETURN(const auto rows, map.Dump());
    return MapUsage{static_cast<uint32_t>(rows.size()), map.max_entries()};
  };
  switch (table) {
    case Table::kService:
      return usage(maps_.v4.service);
    case Table::kBackend:
      return usage(maps_.v4.backend);
    case Table::kConntrack:
      return usage(maps_.v4.flow);
    case Table::kEndpoint:
      return usage(maps_.v4.endpoint);
    case Table::kTunnel:
      return usage(maps_.v4.tunnel);
    default:
      break;
  }
  if (!maps_.v6.has_value()) return absl::NotFoundError("this node has no ranges of IPv6");
  switch (table) {
    case Table::kService6:
      return usage(maps_.v6->service);
    case Table::kBackend6:
      return usage(maps_.v6->backend);
    case Table::kConntrack6:
      return usage(maps_.v6->flow);
    case Table::kEndpoint6:
      return usage(maps_.v6->endpoint);
    case Table::kTunnel6:
      return usage(maps_.v6->tunnel);
    default:
      break;
  }
  return absl::InvalidArgumentError("no such table");
}

absl::StatusOr<FlowUsage> KernelDataplane::Impl::FlowOwners() const {
  ASSIGN_OR_RETURN(FlowUsage out, collector_.Usage());
  if (collector6_.has_value()) {
    ASSIGN_OR_RETURN(const FlowUsage out6, collector6_->Usage());
    out.flows6 = out6.flows;
    out.capacity6 = out6.capacity;
    out.owners.insert(out.owners.end(), out6.owners.begin(), out6.owners.end());
    std::ranges::stable_sort(out.owners, std::greater<>(), &FlowOwner::flows);
  }
  ASSIGN_OR_RETURN(const std::vector<EndpointRecord> records, endpoints_.Dump());
  for (const EndpointRecord& record : records) {
    for (FlowOwner& owner : out.owners) {
      if (owner.ip == IpAddress()) continue;
      if (owner.ip != record.endpoint.ip && owner.ip != record.endpoint.ip6) continue;
      owner.ns = record.endpoint.ns;
      owner.pod = record.endpoint.pod;
    }
  }
  return out;
}

absl::StatusOr<int> KernelDataplane::Impl::CollectGarbage() {
  if (!observed_.has_value()) RETURN_IF_ERROR(Observe());
  const auto exists_in = [&](Family family) {
    return [this, family](uint32_t id) {
      const auto it = observed_->backends.find(id);
      return it != observed_->backends.end() && FamilyOf(it->second.ip) == family;
    };
  };
  ASSIGN_OR_RETURN(int gone, collector_.Collect(NowNs(), exists_in(Family::kV4)));
  if (!collector6_.has_value()) return gone;
  ASSIGN_OR_RETURN(const int gone6, collector6_->Collect(NowNs(), exists_in(Family::kV6)));
  return gone + gone6;
}

KernelDataplane::KernelDataplane(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
KernelDataplane::~KernelDataplane() = default;

absl::StatusOr<std::unique_ptr<KernelDataplane>> KernelDataplane::Open(const NodeConfig& config,
                                                                       Options options) {
  RETURN_IF_ERROR(CheckConfig(config));
  Environment environment;
  RETURN_IF_ERROR(ReadEnvironment(options.bpf_root, &environment));
  RETURN_IF_ERROR(CheckEnvironment(environment, options.bpf_root));
  RETURN_IF_ERROR(MakeFolder(options.bpf_root + "/mesh"));

  ASSIGN_OR_RETURN(Netlink netlink, Netlink::Open());
  ASSIGN_OR_RETURN(const NodeLinks links, EnsureNodeLinks(netlink, config));
  std::optional<LinkInfo> uplink;
  if (!config.uplink.empty()) {
    ASSIGN_OR_RETURN(uplink, FindUplink(netlink, config));
    if (config.xdp && uplink->kind == "veth" && !options.xdp_on_veth) {
      return absl::FailedPreconditionError(
          fmt::format("uplink {}: XDP forwarding is not for a veth, whose other end leaves "
                      "checksums to be filled in; run without it",
                      config.uplink));
    }
  }
  Programs::Options load;
  load.pin_dir = PinDir(options);
  load.flow_max_entries = options.flow_max_entries;
  if (config.has_ipv6()) load.ipv6 = EncodeIpv6(config);
  const mesh_config encoded = Encode(config, links, uplink);
  ASSIGN_OR_RETURN(const std::vector<TakeOver::Hook> hooks, Hooks(netlink, links, uplink));
  ASSIGN_OR_RETURN(TakeOver take_over,
                   TakeOver::Begin(encoded, {options.bpf_root + "/mesh", load.pin_dir, hooks, load,
                                             options.on_step}));
  const auto step = [&](std::string_view name) {
    if (options.on_step) options.on_step(name);
  };
  step("load programs");
  ASSIGN_OR_RETURN(std::unique_ptr<Programs> programs, Programs::Load(encoded, std::move(load)));
  step("attach programs");
  const bool ipv6 = programs->has_ipv6();
  using Second = std::optional<int>;
  RETURN_IF_ERROR(AttachBoth(links.net.ifindex, programs->node(),
                             ipv6 ? Second(programs->node6()) : std::nullopt));
  RETURN_IF_ERROR(AttachBoth(links.vxlan.ifindex, programs->overlay(),
                             ipv6 ? Second(programs->overlay6()) : std::nullopt));
  RETURN_IF_ERROR(DetachUplinks(netlink, uplink.has_value() ? uplink->ifindex : 0));
  if (uplink.has_value()) {
    if (ipv6) RETURN_IF_ERROR(AttachUplink(*uplink, programs->uplink6(), kPriority6));
    RETURN_IF_ERROR(AttachUplink(*uplink, programs->uplink(), kPriority4));
    if (!ipv6) RETURN_IF_ERROR(DetachUplinkIpv6(*uplink));
    RETURN_IF_ERROR(config.xdp ? AttachXdp(*uplink, programs->uplink_xdp()) : DetachXdp(*uplink));
  }
  RETURN_IF_ERROR(EnsureNodeRoutes(netlink, config, links));

  ASSIGN_OR_RETURN(std::unique_ptr<KernelMaps> maps, KernelMaps::Adopt(*programs));
  auto impl = std::make_unique<Impl>(config, std::move(netlink), links, std::move(programs),
                                     std::move(maps));
  RETURN_IF_ERROR(impl->BeginCollecting());
  RETURN_IF_ERROR(impl->AdoptEndpoints());
  RETURN_IF_ERROR(take_over.Finish(impl->programs()));
  if (!ipv6) RETURN_IF_ERROR(RemoveIpv6Pins(PinDir(options)));
  impl->ServeOwnProcesses(
      {encoded, impl->programs().map(MESH_SERVICE_MAP_NAME), SocketsDir(options)});
  RETURN_IF_ERROR(impl->Observe());
  return std::unique_ptr<KernelDataplane>(new KernelDataplane(std::move(impl)));
}

absl::Status KernelDataplane::Remove(const Options& options) {
  ASSIGN_OR_RETURN(Netlink netlink, Netlink::Open());
  ASSIGN_OR_RETURN(const std::vector<LinkInfo> links, netlink.Links());
  for (const LinkInfo& link : links) {
    if (!IsPodInterface(link)) continue;
    const absl::Status status = netlink.DeleteLink(link.ifindex);
    if (!status.ok() && !absl::IsNotFound(status)) return status;
  }
  RETURN_IF_ERROR(DetachUplinks(netlink, 0));
  RETURN_IF_ERROR(DetachNodeSockets(SocketsDir(options)));
  RETURN_IF_ERROR(RemoveNodeLinks(netlink));
  std::error_code error;
  std::filesystem::remove_all(options.bpf_root + "/mesh", error);
  if (error) return ErrnoStatus(error.value(), fmt::format("remove {}/mesh", options.bpf_root));
  return absl::OkStatus();
}

absl::Status KernelDataplane::Apply(const DesiredState& desired) { return impl_->Apply(desired); }
absl::StatusOr<Endpoint> KernelDataplane::Attach(const AttachRequest& request) {
  return impl_->Attach(request);
}
absl::Status KernelDataplane::Detach(const std::string& container_id, const std::string& ifname) {
  return impl_->Detach(container_id, ifname);
}
absl::Status KernelDataplane::Check(const AttachRequest& request) { return impl_->Check(request); }
absl::StatusOr<std::vector<Endpoint>> KernelDataplane::Endpoints() const {
  return impl_->Endpoints();
}
absl::StatusOr<std::vector<ServiceRow>> KernelDataplane::Services() const {
  return impl_->Services();
}
absl::StatusOr<std::vector<BackendRow>> KernelDataplane::Backends() const {
  return impl_->Backends();
}
absl::StatusOr<std::vector<ConntrackRow>> KernelDataplane::Conntrack() const {
  return impl_->Conntrack();
}
absl::StatusOr<std::vector<Peer>> KernelDataplane::Tunnels() const { return impl_->Tunnels(); }
absl::StatusOr<std::vector<MetricRow>> KernelDataplane::Metrics() const { return impl_->Metrics(); }
absl::StatusOr<MapUsage> KernelDataplane::Usage(Table table) const { return impl_->Usage(table); }
absl::StatusOr<FlowUsage> KernelDataplane::FlowOwners() const { return impl_->FlowOwners(); }
std::string KernelDataplane::Shortfall() const { return impl_->Shortfall(); }
absl::StatusOr<int> KernelDataplane::CollectGarbage() { return impl_->CollectGarbage(); }

}  // namespace mesh::dataplane
