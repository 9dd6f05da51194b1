// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/node.h"

#include <sys/stat.h>

#include "fmt/format.h"
#include "mesh/shared/base.h"
#include "tests/support/packet/family.h"

namespace mesh::bench {
namespace {

constexpr uint32_t kOtherServices = 0x0a610000;  // 10.97.0.0
constexpr uint32_t kOtherBackends = 0x0ac80000;  // 10.200.0.0: nobody is there

using mesh::testing::ToIpv6;

IpAddress Address(const std::string& text) { return *IpAddress::Parse(text); }

}  // namespace

dataplane::DesiredState Services(int others, int endpoints, const std::vector<RealService>& real) {
  dataplane::DesiredState desired;
  desired.revision = 1;
  desired.complete = true;
  desired.namespaces[kBenchIdentity] = {.name = "bench"};
  uint32_t backend_ip = kOtherBackends;
  for (int i = 0; i < others; ++i) {
    dataplane::Service service;
    service.ns = "bench";
    service.name = fmt::format("other-{}", i);
    service.cluster_ip = IpAddress::V4(kOtherServices + static_cast<uint32_t>(i));
    service.identity = kBenchIdentity;
    dataplane::ServicePort port;
    port.name = "http";
    port.port = 80;
    for (int e = 0; e < endpoints; ++e) {
      dataplane::Backend backend;
      backend.ip = IpAddress::V4(backend_ip++);
      backend.port = 8080;
      port.backends.push_back(backend);
    }
    service.ports.push_back(std::move(port));
    desired.services[service.ns + "/" + service.name] = std::move(service);
  }
  for (const RealService& one : real) {
    dataplane::Service service;
    service.ns = "bench";
    service.name = one.name;
    service.cluster_ip = Address(one.vip);
    service.identity = kBenchIdentity;
    service.direct_return = one.direct_return;
    for (const RealPort& real_port : one.ports) {
      dataplane::ServicePort port;
      port.name = fmt::format("port-{}", service.ports.size());
      port.protocol = real_port.protocol;
      port.port = real_port.port;
      port.node_port = real_port.node_port;
      for (const std::string& ip : one.backends) {
        dataplane::Backend backend;
        backend.ip = Address(ip);
        backend.port = real_port.backend_port;
        port.backends.push_back(backend);
      }
      service.ports.push_back(std::move(port));
    }
    desired.services[service.ns + "/" + service.name] = std::move(service);
  }
  return desired;
}

dataplane::NodeConfig NodeNumber(int number) {
  dataplane::NodeConfig config;
  config.node_name = fmt::format("n{}", number);
  config.node_ip = Address(fmt::format("192.0.2.{}", number));
  config.pod_cidr = *IpPrefix::Parse(fmt::format("10.244.{}.0/24", number));
  config.cluster_cidr = *IpPrefix::Parse("10.244.0.0/16");
  config.service_cidr = *IpPrefix::Parse("10.96.0.0/12");
  config.gateway = Address(fmt::format("10.244.{}.1", number));
  return config;
}

dataplane::Peer PeerNumber(int number) {
  const dataplane::NodeConfig config = NodeNumber(number);
  return {config.node_name, config.node_ip, config.pod_cidr};
}

void AddIpv6(dataplane::NodeConfig* config) {
  config->node_ip6 = ToIpv6(config->node_ip);
  config->pod_cidr6 = ToIpv6(config->pod_cidr);
  config->cluster_cidr6 = ToIpv6(config->cluster_cidr);
  config->service_cidr6 = ToIpv6(config->service_cidr);
  config->gateway6 = ToIpv6(config->gateway);
}

void AddIpv6(dataplane::Peer* peer) {
  peer->ip6 = ToIpv6(peer->ip);
  peer->pod_cidr6 = ToIpv6(peer->pod_cidr);
}

void MakeIpv6(dataplane::Service* service) {
  service->family = dataplane::Family::kV6;
  service->cluster_ip = ToIpv6(service->cluster_ip);
  for (dataplane::ServicePort& port : service->ports) {
    for (dataplane::Backend& backend : port.backends) backend.ip = ToIpv6(backend.ip);
  }
}

absl::StatusOr<BenchNode> StartNode(const std::string& netns, const std::string& bpf_root,
                                    const dataplane::NodeConfig& config,
                                    const dataplane::DesiredState& desired) {
  if (mkdir(bpf_root.c_str(), 0700) != 0 && errno != EEXIST)
    return ErrnoStatus(errno, "make folder " + bpf_root);
  BenchNode node;
  node.netns = netns;
  node.map_dir = fmt::format("{}/mesh/v{}", bpf_root, MESH_ABI_VERSION);
  RETURN_IF_ERROR(Inside(netns, [&]() -> absl::Status {
    ASSIGN_OR_RETURN(node.dataplane,
                     dataplane::KernelDataplane::Open(config, {.bpf_root = bpf_root}));
    return node.dataplane->Apply(desired);
  }));
  return node;
}

absl::StatusOr<dataplane::Endpoint> AddPod(BenchNode& node, const std::string& pod_netns,
                                           const std::string& ip, const std::string& ip6,
                                           uint32_t identity) {
  return Inside(node.netns, [&]() -> absl::StatusOr<dataplane::Endpoint> {
    dataplane::AttachRequest request;
    request.netns = Namespaces::PathOf(pod_netns);
    request.ifname = "eth0";
    request.ip = Address(ip);
    if (!ip6.empty()) request.ip6 = Address(ip6);
    request.identity = identity;
    request.ns = "bench";
    request.pod = pod_netns;
    request.container_id = pod_netns;
    auto endpoint = node.dataplane->Attach(request);
    RETURN_IF_ERROR(node.dataplane->Settle().status());
    return endpoint;
  });
}

}  // namespace mesh::bench
