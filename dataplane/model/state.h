// SPDX-License-Identifier: Apache-2.0
// What the dataplane must do, in host terms: typed addresses, host byte order, names. The tables
// (dataplane/tables) turn it into map bytes.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common/ip_address.h"
#include "dataplane/policy/policy_set.h"

namespace mesh::dataplane {

enum class Protocol : uint8_t { kTcp = 6, kUdp = 17 };

// Identities below 256 are reserved.
inline constexpr uint32_t kIdentityHost = 1;   // processes of a node
inline constexpr uint32_t kIdentityWorld = 2;  // outside the cluster
// Attachments made by hand (no pod of the control plane): may talk to each other and their node.
inline constexpr uint32_t kIdentityUnmanaged = 3;
// The resolver of the pod's own node, as policies see it.
inline constexpr uint32_t kIdentityDns = 5;
// Those of pods, and the numbers of namespaces.
inline constexpr uint32_t kIdentityFirstPod = 256;

using MacAddress = std::array<uint8_t, 6>;

// How packets between pods of two nodes travel.
enum class Routing : uint8_t {
  kVxlan = 0,
  kNative = 1,  // as they are; all nodes are on one link
};

// Fixed for the life of the node, but for uplink_mtu.
struct NodeConfig {
  std::string node_name;
  IpAddress node_ip;      // tunnel source
  IpPrefix pod_cidr;      // of this node
  IpPrefix cluster_cidr;  // all pods
  IpPrefix service_cidr;
  IpAddress gateway;      // first address of pod_cidr: the node itself, as pods see it
  int uplink_mtu = 1500;  // pods get this less 50 for VXLAN
  // Interface that has node_ip. Empty: no traffic from or to the outside of the cluster.
  std::string uplink;
  // Destinations outside the cluster that see the pods' own addresses.
  std::vector<IpPrefix> non_masquerade;
  // Whether established flows from outside to other nodes are forwarded by XDP on the uplink.
  bool xdp = false;
  Routing routing = Routing::kVxlan;
  // IPv6 beside IPv4. Unset ranges: a cluster without it. The addresses of a node's range differ in
  // their last 32 bits only.
  IpAddress node_ip6;  // unset: nothing of IPv6 enters or leaves the cluster here
  IpPrefix pod_cidr6, cluster_cidr6, service_cidr6;
  IpAddress gateway6;
  // TCP ports at the node's addresses that no Service gets here: its agent's, its control plane's.
  std::set<uint16_t> own_ports;
  bool has_ipv6() const { return cluster_cidr6 != IpPrefix(); }
  // Of the addresses of this node that others know.
  bool IsOwnAddress(const IpAddress& ip) const {
    return ip == node_ip || (ip == node_ip6 && ip != IpAddress());
  }
};

enum class Family : uint8_t { kV4 = 4, kV6 = 6 };
inline constexpr std::array<Family, 2> kFamilies = {Family::kV4, Family::kV6};
inline Family FamilyOf(const IpAddress& ip) { return ip.is_v4() ? Family::kV4 : Family::kV6; }
inline Family FamilyOf(const IpPrefix& range) { return FamilyOf(range.base()); }
inline const char* NameOf(Family family) { return family == Family::kV4 ? "IPv4" : "IPv6"; }
// In place of one: any address of the node.
inline IpAddress AnyAddress(Family family) {
  return family == Family::kV4 ? IpAddress::V4(0) : IpAddress();
}

// What a client dials.
struct Frontend {
  IpAddress vip;  // AnyAddress(): any address of the node
  uint16_t port = 0;
  Protocol protocol = Protocol::kTcp;
  friend auto operator<=>(const Frontend&, const Frontend&) = default;
};

enum class BackendState : uint8_t {
  kActive = 1,
  kDraining = 2,
  // No backend of its Service any more, or of none: lives as long as its TCP flows. Only in maps.
  kLeft = 3,
};

// Which clients of a Service a backend is there for, on this node. For none, or draining: it keeps
// its flows and gets no new one. Clients inside that dial an address for the outside get the
// internal ones where there are any.
inline constexpr uint8_t kScopeInternal = 1;  // they dial the ClusterIP
inline constexpr uint8_t kScopeExternal = 2;  // NodePort, LoadBalancer and external addresses
inline constexpr uint8_t kScopeBoth = 3;

struct Backend {
  IpAddress ip;
  uint16_t port = 0;
  BackendState state = BackendState::kActive;
  std::string node;
  std::string pod;
  uint8_t scopes = kScopeBoth;
  uint16_t weight = 1;  // 1..1000, share of new flows
  // Not being listed any more does not mean that it is gone.
  bool may_outlive = false;
  // Of a draining one: it gets the new flows of its scopes in which nobody is active.
  bool serves_last = false;
  friend auto operator<=>(const Backend&, const Backend&) = default;
};

enum class Algorithm : uint8_t { kRandom = 0, kMaglev = 1, kLeastLoaded = 2 };

struct ServicePort {
  std::string name;
  Protocol protocol = Protocol::kTcp;
  uint16_t port = 0;
  std::vector<Backend> backends;  // sorted by (ip, port)
  uint16_t node_port = 0;         // at any address of the node; 0: none
  friend auto operator<=>(const ServicePort&, const ServicePort&) = default;
};

// One family of a Service. One of two families is two of these, under keys of their own with the
// same `ns` and `name`; all addresses and backends are of the one family.
struct Service {
  std::string ns;
  std::string name;
  IpAddress cluster_ip;
  uint32_t identity = 0;  // of its namespace
  std::vector<ServicePort> ports;
  // Unset cluster_ip ("::") is allowed: a host port is such a Service with a node_port.
  std::vector<IpAddress> load_balancer_ips;
  std::vector<IpAddress> external_ips;
  // Of load_balancer_ips; empty: everybody. Those of the other family admit nobody here.
  std::vector<IpPrefix> source_ranges;
  Algorithm internal_algorithm = Algorithm::kRandom;
  Algorithm external_algorithm = Algorithm::kMaglev;
  bool direct_return = false;     // of external flows to other nodes
  uint32_t affinity_seconds = 0;  // 0: none
  bool announced = false;  // this node answers ARP, neighbour solicitations for load_balancer_ips
  Family family = Family::kV4;
  // The frontends for clients outside of a Service whose cluster_ip is another one's here: with an
  // internalTrafficPolicy of its own.
  bool outside = false;
  friend auto operator<=>(const Service&, const Service&) = default;
};

// Why a frontend of a Service exists. When several claim one, the kind that stands first here has
// it.
enum class FrontendKind : uint8_t {
  kUnknown,
  kClusterIp,
  kNodePort,
  kLoadBalancer,
  kExternalIp,
  kHostPort,
};

// A pod of this node with its veth.
struct Endpoint {
  IpAddress ip;
  int ifindex = 0;        // host side of the veth
  std::string interface;  // its name
  MacAddress pod_mac{};
  MacAddress host_mac{};
  uint32_t identity = 0;
  std::string ns;  // names for people; empty for an attachment made by hand
  std::string pod;
  std::string container_id;
  bool shaped = false;  // what it receives is limited
  IpAddress ip6;        // unset: none
  friend auto operator<=>(const Endpoint&, const Endpoint&) = default;
};

struct Peer {
  std::string name;
  IpAddress ip;
  IpPrefix pod_cidr;
  IpAddress ip6;       // unset: none
  IpPrefix pod_cidr6;  // unset: none
  friend auto operator<=>(const Peer&, const Peer&) = default;
};

enum class Isolation : uint8_t { kDefault = 0, kOpen = 1, kClosed = 2 };

struct NamespacePolicy {
  std::string name;
  Isolation isolation = Isolation::kDefault;
  friend auto operator<=>(const NamespacePolicy&, const NamespacePolicy&) = default;
};

// What is known of all pods with one identity.
struct IdentityPolicy {
  uint32_t ns = 0;  // number of their namespace
  // Numbers in DesiredState::policy_sets; 0: no policy selects them for that direction.
  uint32_t ingress = 0, egress = 0;
  uint32_t ingress6 = 0, egress6 = 0;  // of IPv6 traffic
  std::vector<uint32_t> selectors;     // that select them, ascending
  friend auto operator<=>(const IdentityPolicy&, const IdentityPolicy&) = default;
};

// Everything but endpoints, which follow CNI calls. Maps are ordered: plans are deterministic.
struct DesiredState {
  int64_t revision = 0;
  // False until the control plane (or the checkpoint) has told the whole state once: nothing is
  // removed from the maps before.
  bool complete = false;
  std::map<std::string, Service> services;  // by "namespace/name"
  // Keys of `services` that may differ (appear, change, go) from the state handed to Apply() before
  // this one; all others are as they were then. Unset: any may differ. A hint that saves comparing.
  std::optional<std::vector<std::string>> changed_services;
  // Addresses of this node with a port that its processes have, and which that are, for people: no
  // Service gets one by an external address.
  std::map<Frontend, std::string> taken;
  std::map<std::string, Peer> peers;               // by name
  std::map<uint32_t, NamespacePolicy> namespaces;  // by identity
  // Identities of the pods of other nodes, both families. With native routing, and where policies
  // ask whom a pod sends to.
  std::map<IpAddress, uint32_t> pod_identities;
  // As changed_services: those whose row may differ from the last Apply().
  std::optional<std::vector<IpAddress>> changed_pod_identities;
  // Policies. Numbers of sets and selectors hold within one epoch; 0: nobody has told of policies.
  uint64_t policy_epoch = 0;
  std::map<uint32_t, PolicySet> policy_sets;  // by number; what stands under one never changes
  std::map<uint32_t, IdentityPolicy> identities;
  // As changed_services.
  std::optional<std::vector<uint32_t>> changed_identities;
  // Identities that pods of this node have now, by their IPv4 address.
  std::map<IpAddress, uint32_t> pods;
  // Instead of NodeConfig::non_masquerade, when set.
  std::optional<std::vector<IpPrefix>> non_masquerade;
};

}  // namespace mesh::dataplane
