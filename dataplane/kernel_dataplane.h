// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "dataplane/dataplane.h"

namespace mesh::dataplane {

// The dataplane of the network namespace the caller is in.
//
// Owns, by name, so that a restarted agent knows them: the pins under <bpf_root>/mesh/v<ABI>/, the
// links mesh_vxlan, mesh_host and mesh_net, links whose name begins with "mesh" and whose alias is
// "mesh:...", and the programs at the ingress of all of these (net/tc.h).
class KernelDataplane : public Dataplane {
 public:
  struct Options {
    // A mounted bpffs; two nodes on one machine need one each (or a folder each).
    std::string bpf_root = "/sys/fs/bpf";
    // XDP forwarding on an uplink of that kind too. Its other end must then send complete checksums
    // (ethtool -K <it> tx off).
    bool xdp_on_veth = false;
    // For tests. Version of the maps and places in the connection table, as another build would
    // have them (0: this build's); and what is told before each step of Open().
    uint32_t abi_version = 0;
    uint32_t flow_max_entries = 0;
    std::function<void(std::string_view step)> on_step;
  };

  // Makes the node's links, loads and pins (or adopts) maps, loads the programs and puts them in
  // the place of the running ones, on existing endpoints too. Idempotent; costs 100 ms and
  // more, most of it the verifier. FAILED_PRECONDITION names what is missing (a privilege, a
  // filesystem, a kernel feature) and the way out;
  // INVALID_ARGUMENT an impossible `config`.
  static absl::StatusOr<std::unique_ptr<KernelDataplane>> Open(const NodeConfig& config,
                                                               Options options);
  static absl::StatusOr<std::unique_ptr<KernelDataplane>> Open(const NodeConfig& config) {
    return Open(config, Options());
  }
  // Whether maps of ours are pinned there: programs forward since, also without an agent. The pins
  // end with the machine's run.
  static bool IsLeftAt(const std::string& bpf_root);
  // Takes everything away that Open() and Attach() made in this network namespace. Idempotent.
  static absl::Status Remove(const Options& options);

  ~KernelDataplane() override;

  absl::Status Apply(const DesiredState& desired) override;
  absl::StatusOr<Endpoint> Attach(const AttachRequest& request) override;
  absl::StatusOr<bool> Settle() override;
  absl::Status Detach(const std::string& container_id, const std::string& ifname) override;
  absl::Status SetUplinkMtu(int uplink_mtu, const std::vector<PodInterface>& pods) override;
  int uplink_mtu() const override { return config_.uplink_mtu; }
  absl::Status Check(const AttachRequest& request) override;
  absl::StatusOr<std::vector<Endpoint>> Endpoints() const override;
  absl::StatusOr<std::vector<ServiceRow>> Services() const override;
  absl::StatusOr<std::vector<BackendRow>> Backends() const override;
  absl::StatusOr<std::vector<ConntrackRow>> Conntrack() const override;
  absl::StatusOr<std::vector<Peer>> Tunnels() const override;
  Routing routing() const override;
  absl::StatusOr<std::map<IpAddress, uint32_t>> Identities() const override;
  absl::StatusOr<std::vector<PolicyClassRow>> Policies() const override;
  absl::StatusOr<std::vector<ProgramRow>> LoadedPrograms() const override;
  absl::StatusOr<UniqueFd> CountRuns() const override;
  absl::StatusOr<std::vector<MapRow>> LoadedMaps() const override;
  absl::StatusOr<MapRows> RowsOf(const std::string& map, uint32_t limit) const override;
  absl::StatusOr<std::vector<MetricRow>> Metrics() const override;
  absl::StatusOr<MapUsage> Usage(Table table) const override;
  absl::StatusOr<FlowUsage> FlowOwners() const override;
  std::vector<ServiceFlows> FlowsOfServices() const override;
  absl::StatusOr<std::vector<ServiceTraffic>> TrafficOfServices() const override;
  absl::StatusOr<std::vector<PolicyDrops>> DropsOfPolicies() const override;
  std::string Shortfall() const override;
  std::set<std::string> UnwrittenNamespaces() const override;
  std::vector<ServiceProblem> ServiceProblems() const override;
  RefusedPolicies PolicyProblems() const override;
  absl::StatusOr<int> CollectGarbage() override;
  absl::StatusOr<std::shared_ptr<Tracer>> PacketTracer() override;
  absl::StatusOr<NodeRoute> RouteOf(const IpAddress& destination, uint8_t protocol,
                                    uint16_t port) const override;
  absl::StatusOr<std::unique_ptr<FlowEvents>> OpenEvents() override;

 private:
  class Impl;
  KernelDataplane(const NodeConfig& config, Options options, std::unique_ptr<Impl> impl);
  // For calls of other threads, which may go on with one that has just given way to another.
  std::shared_ptr<Impl> Shared() const;

  NodeConfig config_;
  const Options options_;
  mutable absl::Mutex mutex_;
  std::shared_ptr<Impl> impl_;  // changed by the caller's thread, under `mutex_`
};

}  // namespace mesh::dataplane
