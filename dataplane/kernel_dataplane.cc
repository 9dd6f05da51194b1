// SPDX-License-Identifier: Apache-2.0
#include "dataplane/kernel_dataplane.h"

#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <map>
#include <utility>

#include "common/log.h"
#include "common/status.h"
#include "dataplane/bpf/features.h"
#include "dataplane/bpf/programs.h"
#include "dataplane/kernel_dataplane_impl.h"
#include "dataplane/kernel_flow_events.h"
#include "dataplane/net/tc.h"
#include "dataplane/net/uplink.h"
#include "dataplane/node_config.h"
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

// Of a node that had IPv6 before: rows that nobody keeps would come back with it. Pods keep their
// addresses, so those are kept.
absl::Status RemoveIpv6Pins(const std::string& pin_dir) {
  std::error_code error;
  for (const auto& pin : std::filesystem::directory_iterator(pin_dir, error)) {
    const std::string name = pin.path().filename();
    if (!name.ends_with('6') || name == MESH_ENDPOINT6_MAP_NAME) continue;
    if (unlink(pin.path().c_str()) != 0) {
      return ErrnoStatus(errno, fmt::format("remove {}", pin.path().string()));
    }
  }
  return absl::OkStatus();
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

uint64_t KernelDataplane::Impl::NowNs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

void KernelDataplane::Impl::ServeOwnProcesses(const NodeSockets& sockets) {
  const absl::Status attached = AttachNodeSockets(sockets);
  if (attached.ok()) return;
  shortfall_ = fmt::format(
      "processes of this node do not reach NodePorts and host ports at its own addresses, nor "
      "externalIPs over TCP: {}",
      std::string(attached.message()));
  spdlog::warn("{}", shortfall_);
}

absl::Status KernelDataplane::Impl::BeginCollecting() {
  RETURN_IF_ERROR(collector_.Begin());
  return collector6_.has_value() ? collector6_->Begin() : absl::OkStatus();
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
  if (desired.peers != peers_) {
    absl::MutexLock lock(&peers_mutex_);
    peers_ = desired.peers;
  }
  if (!observed_.has_value()) {
    for (const auto& [identity, policy] : desired.namespaces)
      unwritten_namespaces_.insert(policy.name);
    RETURN_IF_ERROR(Observe());
  }
  const Plan plan = planner_.Compute(desired, *observed_);
  bool judge_again = plan.judge_flows_again;
  // What policies say of an identity is there before an address has it, and that before a pod asks.
  absl::Status policies = pods_.policies().Write(desired, &judge_again);
  const absl::Status written = services_.Execute(plan.actions, *observed_);
  unwritten_namespaces_ = dataplane::UnwrittenNamespaces(desired, *observed_);
  if (!written.ok()) observed_.reset();
  const absl::Status enforced = pods_.policies().Enforce(desired, &judge_again);
  if (policies.ok()) policies = enforced;
  judge_due_ = judge_due_ || judge_again;
  absl::Status judged;
  if (judge_due_) judged = JudgeFlowsAgain();
  if (judged.ok()) judge_due_ = false;
  if (!written.ok()) return written;
  if (!judged.ok()) return judged;
  return policies.ok() ? plan.problem : policies;
}

absl::Status KernelDataplane::Impl::ForgetTraffic() {
  std::vector<mesh_service_traffic_key> gone;
  RETURN_IF_ERROR(maps_.traffic.ForEach([&](const auto& key, const auto&) {
    size_t port = 0;
    if (planner_.Find(key.service_id, &port) == nullptr) gone.push_back(key);
  }));
  return maps_.traffic.RemoveAll(gone);
}

absl::Status KernelDataplane::Impl::ForgetDrops() {
  const std::map<uint32_t, uint32_t> sets = pods_.policies().Numbers();
  std::vector<mesh_policy_drops_key> gone;
  RETURN_IF_ERROR(maps_.policy_drops.ForEach([&](const auto& key, const auto&) {
    if (!sets.contains(key.set)) gone.push_back(key);
  }));
  return maps_.policy_drops.RemoveAll(gone);
}

absl::StatusOr<int> KernelDataplane::Impl::CollectGarbage() {
  if (!observed_.has_value()) RETURN_IF_ERROR(Observe());
  RETURN_IF_ERROR(pods_.policies().Collect());
  if (++collections_ % kForgetEvery == 0) {
    RETURN_IF_ERROR(ForgetTraffic());
    RETURN_IF_ERROR(ForgetDrops());
  }
  const auto exists_in = [&](Family family) {
    return [this, family](uint32_t id) {
      const auto it = observed_->backends.find(id);
      return it != observed_->backends.end() && FamilyOf(it->second.ip) == family;
    };
  };
  ASSIGN_OR_RETURN(
      int gone, collector_.Collect(NowNs(), exists_in(Family::kV4), observed_->Left(Family::kV4)));
  std::set<uint32_t> unused = collector_.TakeUnused();
  if (collector6_.has_value()) {
    ASSIGN_OR_RETURN(const int gone6, collector6_->Collect(NowNs(), exists_in(Family::kV6),
                                                           observed_->Left(Family::kV6)));
    gone += gone6;
    unused.merge(collector6_->TakeUnused());
  }
  const absl::Status given_back = services_.Execute(GiveBack(unused, *observed_), *observed_);
  if (given_back.ok()) return gone;
  observed_.reset();
  return given_back;
}

KernelDataplane::KernelDataplane(const NodeConfig& config, Options options,
                                 std::unique_ptr<Impl> impl)
    : config_(config), options_(std::move(options)), impl_(std::move(impl)) {}
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
                   TakeOver::Begin(encoded, {options.bpf_root + "/mesh", load.pin_dir, hooks,
                                             uplink, load, options.on_step}));
  const auto step = [&](std::string_view name) {
    if (options.on_step) options.on_step(name);
  };
  step("load programs");
  ASSIGN_OR_RETURN(std::unique_ptr<Programs> programs, Programs::Load(encoded, std::move(load)));
  step("attach programs");
  const bool ipv6 = programs->has_ipv6();
  using Second = std::optional<int>;
  RETURN_IF_ERROR(AttachBothFamilies(links.net.ifindex, programs->node(),
                                     ipv6 ? Second(programs->node6()) : std::nullopt));
  RETURN_IF_ERROR(AttachBothFamilies(links.vxlan.ifindex, programs->overlay(),
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
                                     std::move(maps), SocketsDir(options));
  RETURN_IF_ERROR(impl->BeginCollecting());
  RETURN_IF_ERROR(impl->pods().Adopt());
  RETURN_IF_ERROR(take_over.Finish(impl->programs()));
  if (!ipv6) RETURN_IF_ERROR(RemoveIpv6Pins(PinDir(options)));
  NodeSockets sockets = {
      .config = encoded,
      .service_map = impl->programs().map(MESH_SERVICE_MAP_NAME),
      .pin_dir = SocketsDir(options),
  };
  if (ipv6) {
    sockets.config6 = EncodeIpv6(config);
    sockets.service_map6 = impl->programs().map(MESH_SERVICE6_MAP_NAME);
  }
  impl->ServeOwnProcesses(sockets);
  RETURN_IF_ERROR(impl->Observe());
  return std::unique_ptr<KernelDataplane>(
      new KernelDataplane(config, std::move(options), std::move(impl)));
}

bool KernelDataplane::IsLeftAt(const std::string& bpf_root) {
  std::error_code error;
  for (const auto& folder : std::filesystem::directory_iterator(bpf_root + "/mesh", error)) {
    const std::string version = folder.path().filename();
    if (version.starts_with('v') && !std::filesystem::is_empty(folder.path(), error)) return true;
  }
  return false;
}

absl::Status KernelDataplane::Remove(const Options& options) {
  LogLibbpf();
  ASSIGN_OR_RETURN(Netlink netlink, Netlink::Open());
  ASSIGN_OR_RETURN(const std::vector<LinkInfo> links, netlink.Links());
  for (const LinkInfo& link : links) {
    if (!IsPodInterface(link)) continue;
    const absl::Status status = netlink.DeleteLink(link.ifindex);
    if (!status.ok() && !absl::IsNotFound(status)) return status;
  }
  RETURN_IF_ERROR(DetachUplinks(netlink, 0));
  RETURN_IF_ERROR(DetachNodeSockets(SocketsDir(options)));
  RETURN_IF_ERROR(KernelHostRoutes::RemoveRules(netlink));
  RETURN_IF_ERROR(RemoveNodeLinks(netlink));
  std::error_code error;
  std::filesystem::remove_all(options.bpf_root + "/mesh", error);
  if (error) return ErrnoStatus(error.value(), fmt::format("remove {}/mesh", options.bpf_root));
  return absl::OkStatus();
}

absl::Status KernelDataplane::Apply(const DesiredState& desired) { return impl_->Apply(desired); }
absl::StatusOr<Endpoint> KernelDataplane::Attach(const AttachRequest& request) {
  return impl_->pods().Attach(request);
}
absl::StatusOr<bool> KernelDataplane::Settle() { return Shared()->pods().Settle(); }
absl::Status KernelDataplane::Detach(const std::string& container_id, const std::string& ifname) {
  return impl_->pods().Detach(container_id, ifname);
}
std::shared_ptr<KernelDataplane::Impl> KernelDataplane::Shared() const {
  absl::MutexLock lock(&mutex_);
  return impl_;
}

// The same steps as when a newer agent takes over: what is pinned is adopted, and each program
// gives way to its successor. Pods are told before of what is less, and afterwards of what is more:
// who is told by a program that a packet is too long remembers it for minutes.
absl::Status KernelDataplane::SetUplinkMtu(int uplink_mtu, const std::vector<PodInterface>& pods) {
  NodeConfig next = config_;
  next.uplink_mtu = uplink_mtu;
  RETURN_IF_ERROR(CheckConfig(next));
  const int before = config_.uplink_mtu;
  absl::Status of_pods;
  if (uplink_mtu <= before) of_pods = impl_->pods().SetMtu(pods, PodMtu(next));
  if (uplink_mtu == before) return of_pods;
  ASSIGN_OR_RETURN(const std::unique_ptr<KernelDataplane> opened, Open(next, options_));
  config_ = std::move(next);
  {
    absl::MutexLock lock(&mutex_);
    impl_ = opened->impl_;
  }
  if (uplink_mtu > before) of_pods = impl_->pods().SetMtu(pods, PodMtu(config_));
  return of_pods;
}

absl::Status KernelDataplane::Check(const AttachRequest& request) {
  return impl_->pods().Check(request);
}
absl::StatusOr<std::vector<Endpoint>> KernelDataplane::Endpoints() const {
  return impl_->pods().Endpoints();
}
absl::StatusOr<std::vector<ServiceRow>> KernelDataplane::Services() const {
  return impl_->Services();
}
absl::StatusOr<std::vector<BackendRow>> KernelDataplane::Backends() const {
  return impl_->Backends();
}
absl::StatusOr<std::vector<ConntrackRow>> KernelDataplane::Conntrack() const {
  return Shared()->Conntrack();
}
absl::StatusOr<std::vector<Peer>> KernelDataplane::Tunnels() const { return impl_->Tunnels(); }
Routing KernelDataplane::routing() const { return impl_->routing(); }
absl::StatusOr<std::map<IpAddress, uint32_t>> KernelDataplane::Identities() const {
  return impl_->Identities();
}
absl::StatusOr<std::vector<ProgramRow>> KernelDataplane::LoadedPrograms() const {
  return impl_->inspector().LoadedPrograms();
}
absl::StatusOr<UniqueFd> KernelDataplane::CountRuns() const {
  return impl_->inspector().CountRuns();
}
absl::StatusOr<std::vector<MapRow>> KernelDataplane::LoadedMaps() const {
  return Shared()->LoadedMaps();
}
absl::StatusOr<MapRows> KernelDataplane::RowsOf(const std::string& map, uint32_t limit) const {
  return impl_->inspector().RowsOf(map, limit);
}
absl::StatusOr<std::vector<MetricRow>> KernelDataplane::Metrics() const { return impl_->Metrics(); }
absl::StatusOr<MapUsage> KernelDataplane::Usage(Table table) const {
  return Shared()->Usage(table);
}
absl::StatusOr<FlowUsage> KernelDataplane::FlowOwners() const { return impl_->FlowOwners(); }
std::vector<ServiceFlows> KernelDataplane::FlowsOfServices() const {
  return impl_->FlowsOfServices();
}
absl::StatusOr<std::vector<ServiceTraffic>> KernelDataplane::TrafficOfServices() const {
  return impl_->TrafficOfServices();
}
absl::StatusOr<std::vector<PolicyDrops>> KernelDataplane::DropsOfPolicies() const {
  return impl_->DropsOfPolicies();
}
std::string KernelDataplane::Shortfall() const { return impl_->Shortfall(); }

absl::StatusOr<std::vector<PolicyClassRow>> KernelDataplane::Policies() const {
  return impl_->Policies();
}

RefusedPolicies KernelDataplane::PolicyProblems() const { return impl_->PolicyProblems(); }
std::set<std::string> KernelDataplane::UnwrittenNamespaces() const {
  return impl_->UnwrittenNamespaces();
}
std::vector<ServiceProblem> KernelDataplane::ServiceProblems() const {
  return impl_->ServiceProblems();
}
absl::StatusOr<int> KernelDataplane::CollectGarbage() { return impl_->CollectGarbage(); }
absl::StatusOr<std::shared_ptr<Tracer>> KernelDataplane::PacketTracer() {
  return impl_->PacketTracer();
}
absl::StatusOr<NodeRoute> KernelDataplane::RouteOf(const IpAddress& destination, uint8_t protocol,
                                                   uint16_t port) const {
  if (Shared()->Serves({destination, port, static_cast<Protocol>(protocol)}))
    return NodeRoute{true, kHostName, {}};
  ASSIGN_OR_RETURN(Netlink netlink, Netlink::Open());
  const absl::StatusOr<RouteInfo> route = netlink.RouteTo(destination);
  if (absl::IsNotFound(route.status())) return NodeRoute{};
  RETURN_IF_ERROR(route.status());
  ASSIGN_OR_RETURN(const LinkInfo link, netlink.Link(route->ifindex));
  return NodeRoute{link.name == kHostName, link.name, route->gateway};
}
absl::StatusOr<std::unique_ptr<FlowEvents>> KernelDataplane::OpenEvents() {
  auto maps = impl_->programs().CopyMaps();
  if (!maps.ok()) return maps.status();
  return OpenFlowEvents(*std::move(maps));
}

}  // namespace mesh::dataplane
