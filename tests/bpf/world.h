// SPDX-License-Identifier: Apache-2.0
// A named world for packets: one node (node1, 192.0.2.1, pods 10.244.1.0/24) with its real programs
// and maps, run packet by packet without a network. node2 (192.0.2.2) has 10.244.2.0/24.
//
//   shop/client  10.244.1.10     shop/web  10.96.0.10:80 (TCP, UDP)
//   shop/near    10.244.1.11
//   bank/clerk   10.244.1.12
//
// The uplink, where a test asks for one, leads to 192.0.2.0/24 and, by 192.0.2.254, everywhere but
// 203.0.113.0/24. With native routing packets of node2 come by it; node1 knows 10.244.2.10 and .11
// as shop's and .12 as bank's.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "dataplane/bpf/kernel_map.h"
#include "dataplane/bpf/programs.h"
#include "dataplane/kernel_maps.h"
#include "dataplane/tables/fake_host_routes.h"
#include "dataplane/tables/family.h"
#include "dataplane/tables/flow_table.h"
#include "dataplane/tables/policy_tables.h"
#include "dataplane/tables/service_tables.h"
#include "dataplane/trace/trace.h"
#include "mesh/shared/endpoint_map.h"
#include "mesh/shared/metrics_map.h"
#include "mesh/shared/owner_map.h"
#include "mesh/shared/state_map.h"
#include "tests/support/packet/family.h"
#include "tests/support/packet/packet.h"

namespace mesh::dataplane::testing {

// The tests are written down for IPv4. Compiled with MESH_TEST_IPV6 the world has both families: it
// gives the frames to the programs of IPv6 as IPv6 and tells what comes out as IPv4, with the
// address that each stands for (tests/support/packet/family.h).
#ifdef MESH_TEST_IPV6
inline constexpr bool kIpv6 = true;
using F = V6;
#else
inline constexpr bool kIpv6 = false;
using F = V4;
#endif

// What stands in the maps and on the links for an address or a range of the tests.
template <typename T>
T Own(const T& of_ipv4) {
  return kIpv6 ? mesh::testing::ToIpv6(of_ipv4) : of_ipv4;
}
inline F::Address Row(const IpAddress& of_ipv4) { return F::Encode(Own(of_ipv4)); }

inline constexpr uint32_t kShop = 256, kBank = 257;
inline constexpr MacAddress kUplinkMac = {2, 0, 0, 0, 3, 1};
inline constexpr MacAddress kPeerMac = {2, 0, 0, 0, 3, 2};  // of node2
inline constexpr int kPass = 0, kDrop = 2, kRedirect = 7;

// What became of a packet.
struct Outcome {
  int verdict = 0;
  // Name of the counter that moved: "forwarded" or a drop reason.
  std::string reason;
  // Decoded with all checksums verified; empty when that failed.
  std::optional<mesh::testing::Packet> packet;
  std::string frame;
  // Of a packet that the program has put into the tunnel itself, whose outer headers are right:
  // what they say. `packet` and `frame` are what is inside.
  struct Tunnel {
    IpAddress peer;
    uint32_t vni = 0;
    uint8_t ecn = 0;
    uint16_t source_port = 0, id = 0;
  };
  std::optional<Tunnel> tunnel;
  // Of a packet that was asked about instead of sent: `packet` and `frame` are what is in a tunnel.
  std::optional<TraceOutcome> trace;
};
std::ostream& operator<<(std::ostream& out, const Outcome& outcome);

class World : public ::testing::Test {
 protected:
  struct Pod {
    std::string ip;
    int ifindex = 0;
    uint32_t identity = 0;
    MacAddress mac{};
    bool shaped = false;
  };

  void SetUp() override { Load(0); }
  // Anew, with a flow table of that size; 0: as shipped. Without the kernel's functions: as on
  // kernels that do not have them.
  void Load(uint32_t flow_max_entries, bool use_kernel_functions = true);

  // shop/web has these backends, "10.244.1.11:8080"; later calls change it.
  void Serve(const std::vector<std::string>& active, const std::vector<std::string>& draining = {});
  void RemoveService();
  void Isolate(uint32_t identity, Isolation isolation);
  // Of a pod of node2; 0: none is known. Native routing.
  void Identify(const std::string& ip, uint32_t identity);
  void AddPod(const Pod& pod);
  void RemovePod(const Pod& pod);

  Outcome FromPod(const Pod& pod, const mesh::testing::Packet& packet);
  // Any bytes.
  Outcome FromPod(const Pod& pod, const std::string& frame);
  // Two packets at the same moment, each on a CPU. What becomes of them is not looked at.
  void FromPodsAtOnce(const Pod& one, const mesh::testing::Packet& of_one, const Pod& other,
                      const mesh::testing::Packet& of_other);
  // From outside, at the uplink. What is left to the node has no reason.
  Outcome FromUplink(const mesh::testing::Packet& packet);
  Outcome FromUplink(const std::string& frame);
  // With IPv6: what comes out stays what it is.
  Outcome FromUplinkRaw(const std::string& frame);
  // From outside, before the kernel: verdicts are XDP_*.
  Outcome FromXdp(const mesh::testing::Packet& packet);
  Outcome FromXdp(const std::string& frame);
  Outcome FromNode(const mesh::testing::Packet& packet);
  // `vni`: identity, or identity | MESH_VNI_SERVICE: through a Service of `service_identity`.
  Outcome FromPeer(uint32_t vni, const mesh::testing::Packet& packet,
                   const std::string& peer = "192.0.2.2", uint32_t service_identity = kShop);

  // Of a client outside, for whom the other node has chosen `backend`: direct return.
  Outcome FromPeerDirect(const mesh::testing::Packet& packet, const mesh::testing::Place& backend,
                         const std::string& peer = "192.0.2.2", uint32_t service_identity = kShop);
  // Any bytes of another node.
  Outcome FromPeer(uint32_t vni, const std::string& frame);
  // Of another node, with native routing. `through_service`: of the receiver's namespace, as that
  // node has judged.
  Outcome FromPeerNative(const mesh::testing::Packet& packet, bool through_service = false);

  // Of the direction of `packet`; fails the test when it is not there.
  F::FlowValue Flow(const mesh::testing::Packet& packet);
  size_t Flows();
  // Makes every flow `seconds` older. No flow is over by it on a machine that started more
  // recently.
  void Age(double seconds);

  // From now on packets are asked about (dataplane/trace) instead of run; not those for XDP.
  void Ask(bool ask) { asking_ = ask; }
  bool asking() const { return asking_; }
  // Every row of every map, as bytes.
  std::map<std::string, std::string> AllRows() const;

  // What the node is to do, and doing it.
  DesiredState desired_;
  void Apply();
  std::unique_ptr<EndpointTable> endpoints_;
  std::unique_ptr<PolicyTables> policies_;
  bool may_refuse_policies_ = false;  // for want of room

  // Set before Load(). Without it the outside is left to the node.
  bool has_uplink_ = false;
  NodeConfig config_;
  Routing routing_ = Routing::kVxlan;  // native: with an uplink only
  Pod client_, near_, clerk_;
  Programs* programs_ = nullptr;
  KernelMap<F::FlowKey, F::FlowValue>* flows_ = nullptr;
  KernelMap<F::OwnerKey, mesh_owner_value>* owners_ = nullptr;
  std::unique_ptr<KernelMaps> maps_;
  // Those of the family that is tested.
  auto& Maps() {
    if constexpr (kIpv6) {
      return *maps_->v6;
    } else {
      return maps_->v4;
    }
  }

 private:
  struct Loaded;
  static absl::StatusOr<std::shared_ptr<Loaded>> LoadPrograms(const NodeConfig& node,
                                                              const mesh_config& config,
                                                              uint32_t flow_max_entries,
                                                              bool use_kernel_functions);
  Outcome Run(int program_fd, int ifindex, const std::string& frame, std::array<uint32_t, 2> cb,
              bool xdp = false, bool raw = false);
  Outcome RunAsked(int program_fd, int ifindex, const std::string& frame,
                   std::array<uint32_t, 2> cb, bool raw);
  std::map<std::string, uint64_t> Counters();

  std::shared_ptr<Loaded> loaded_;
  bool asking_ = false;
  Observed observed_;
  NextIds next_;
  FakeHostRoutes routes_;
};

}  // namespace mesh::dataplane::testing
