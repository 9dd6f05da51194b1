// SPDX-License-Identifier: Apache-2.0
#include "dataplane/pod_endpoints.h"

#include <net/if.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "common/log.h"
#include "common/status.h"
#include "dataplane/net/pod_link.h"
#include "dataplane/net/tc.h"
#include "dataplane/node_config.h"
#include "fmt/format.h"

namespace mesh::dataplane {

PodEndpoints::PodEndpoints(const NodeConfig& config, Netlink& netlink, const Programs& programs,
                           KernelMaps& maps)
    : config_(config),
      netlink_(netlink),
      programs_(programs),
      endpoints_(maps.v4.endpoint, maps.endpoint_name,
                 maps.v6.has_value() ? &maps.v6->endpoint : nullptr),
      policies_(maps.ForPolicies(), endpoints_),
      flows_(maps.v4.flow) {
  if (maps.v6.has_value()) flows6_.emplace(maps.v6->flow);
}

std::optional<int> PodEndpoints::FromPod6() const {
  return programs_.has_ipv6() ? std::optional(programs_.from_pod6()) : std::nullopt;
}

absl::Status PodEndpoints::Adopt() {
  RETURN_IF_ERROR(endpoints_.RemoveOrphans(config_.pod_cidr6));
  ASSIGN_OR_RETURN(const std::vector<EndpointRecord> records, endpoints_.Dump());
  for (const EndpointRecord& record : records) {
    const absl::StatusOr<LinkInfo> link = netlink_.Link(record.endpoint.interface);
    if (link.ok() && link->ifindex == record.endpoint.ifindex) {
      RETURN_IF_ERROR(AttachBothFamilies(link->ifindex, programs_.from_pod(), FromPod6()));
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

absl::Status PodEndpoints::RemoveFlows(const Endpoint& endpoint) {
  RETURN_IF_ERROR(flows_.RemoveAddress(endpoint.ip));
  if (!flows6_.has_value() || endpoint.ip6 == IpAddress()) return absl::OkStatus();
  return flows6_->RemoveAddress(endpoint.ip6);
}

absl::Status PodEndpoints::CheckAddresses(const AttachRequest& request) const {
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
  return absl::OkStatus();
}

absl::StatusOr<Endpoint> PodEndpoints::Attach(const AttachRequest& request) {
  RETURN_IF_ERROR(CheckAddresses(request));
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
  ASSIGN_OR_RETURN(endpoint.ifindex,
                   MakePodLink(netlink_, request, host_ifname, config_, [&](int ifindex) {
                     return AttachToNewLink(ifindex, programs_.from_pod(), FromPod6());
                   }));
  record.policy = policies_.PolicyOf(request.identity);
  if (absl::Status status = endpoints_.Put(record); !status.ok()) {
    netlink_.DeleteLink(endpoint.ifindex).IgnoreError();  // the first error is the one to tell
    return status;
  }
  policies_.Attached(endpoint, record.policy);
  absl::MutexLock lock(&mutex_);
  unsettled_.push_back(endpoint.ifindex);
  return endpoint;
}

absl::StatusOr<bool> PodEndpoints::Settle() {
  int ifindex = 0;
  {
    absl::MutexLock lock(&mutex_);
    if (unsettled_.empty()) return false;
    ifindex = unsettled_.front();
    unsettled_.pop_front();
  }
  const absl::Status moved = MoveToTcx(ifindex, programs_.from_pod(), FromPod6());
  char name[IF_NAMESIZE];
  const bool gone = if_indextoname(static_cast<unsigned>(ifindex), name) == nullptr;
  absl::MutexLock lock(&mutex_);
  if (!moved.ok() && !absl::IsUnimplemented(moved) && !gone) {
    unsettled_.push_back(ifindex);
    return moved;
  }
  return !unsettled_.empty();
}

absl::Status PodEndpoints::Detach(const std::string& container_id, const std::string& ifname) {
  const absl::StatusOr<EndpointRecord> record = endpoints_.Find(container_id, ifname);
  if (!record.ok() && !absl::IsNotFound(record.status())) return record.status();
  absl::Status first;
  if (record.ok()) {
    policies_.Detached(record->endpoint.ip);
    first = endpoints_.Remove(record->endpoint);
    if (absl::Status status = RemoveFlows(record->endpoint); first.ok()) first = status;
  }
  const absl::StatusOr<LinkInfo> link = netlink_.Link(HostInterfaceName(container_id, ifname));
  if (!link.ok()) return absl::IsNotFound(link.status()) ? first : link.status();
  const absl::Status deleted = netlink_.DeleteLink(link->ifindex);
  if (!deleted.ok() && !absl::IsNotFound(deleted) && first.ok()) first = deleted;
  return first;
}

absl::Status PodEndpoints::Check(const AttachRequest& request) {
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
  RETURN_IF_ERROR(stands(programs_.from_pod(), kPriority4));
  if (!programs_.has_ipv6()) return absl::OkStatus();
  return stands(programs_.from_pod6(), kPriority6);
}

absl::Status PodEndpoints::SetMtu(const std::vector<PodInterface>& pods, int mtu) {
  ASSIGN_OR_RETURN(const std::vector<LinkInfo> links, netlink_.Links());
  std::map<std::string, const LinkInfo*> by_name;
  for (const LinkInfo& link : links) by_name[link.name] = &link;
  absl::Status first;
  for (const PodInterface& pod : pods) {
    const auto host = by_name.find(HostInterfaceName(pod.container_id, pod.ifname));
    if (host == by_name.end()) continue;
    const absl::Status status = SetPodMtu(netlink_, *host->second, pod, mtu);
    // One that is being deleted needs none.
    if (status.ok() || absl::IsNotFound(netlink_.Link(host->first).status())) continue;
    if (first.ok()) first = status;
  }
  return first;
}

absl::StatusOr<std::vector<Endpoint>> PodEndpoints::Endpoints() const {
  ASSIGN_OR_RETURN(std::vector<EndpointRecord> records, endpoints_.Dump());
  std::vector<Endpoint> out;
  for (EndpointRecord& record : records) out.push_back(std::move(record.endpoint));
  return out;
}

}  // namespace mesh::dataplane
