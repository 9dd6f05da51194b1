// SPDX-License-Identifier: Apache-2.0
#include "dataplane/tables/endpoint_table.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>

#include "common/status.h"
#include "dataplane/tables/encode.h"
#include "fmt/format.h"

namespace mesh::dataplane {
namespace {

// One byte stays zero.
template <size_t N>
absl::Status Copy(char (&to)[N], const std::string& from, const char* what) {
  if (from.size() >= N) {
    return absl::InvalidArgumentError(
        fmt::format("{} {}: {} characters, limit {}", what, from, from.size(), N - 1));
  }
  std::memcpy(to, from.data(), from.size());
  return absl::OkStatus();
}

template <size_t N>
std::string Text(const char (&from)[N]) {
  return std::string(from, strnlen(from, N));
}

void Fill(const EndpointPolicy& policy, const EndpointPolicy::Sets& sets,
          mesh_endpoint_value* value) {
  value->identity = policy.identity;
  value->ns = policy.ns;
  value->ingress = sets.ingress;
  value->ingress_class = sets.ingress_class;
  value->egress = sets.egress;
  value->egress_class = sets.egress_class;
}

EndpointPolicy::Sets SetsOf(const mesh_endpoint_value& value) {
  return {.ingress = value.ingress,
          .ingress_class = value.ingress_class,
          .egress = value.egress,
          .egress_class = value.egress_class};
}

}  // namespace

std::string HostInterfaceName(const std::string& container_id, const std::string& ifname) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : container_id + "/" + ifname) {
    hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3;
  }
  return fmt::format("mesh{:010x}", hash >> 24);
}

absl::Status EndpointTable::Put(const EndpointRecord& record) {
  const Endpoint& endpoint = record.endpoint;
  const mesh_endpoint_key key{.ip = EncodeIp(endpoint.ip)};
  mesh_endpoint_name name{};
  RETURN_IF_ERROR(Copy(name.container_id, endpoint.container_id, "container"));
  RETURN_IF_ERROR(Copy(name.ifname, record.ifname, "interface"));
  RETURN_IF_ERROR(Copy(name.ns, endpoint.ns, "namespace"));
  RETURN_IF_ERROR(Copy(name.pod, endpoint.pod, "pod"));
  mesh_endpoint_value value{};
  value.ifindex = static_cast<uint32_t>(endpoint.ifindex);
  Fill(record.policy, record.policy.v4, &value);
  value.flags = endpoint.shaped ? MESH_ENDPOINT_SHAPED : 0;
  std::memcpy(value.pod_mac, endpoint.pod_mac.data(), sizeof(value.pod_mac));
  std::memcpy(value.host_mac, endpoint.host_mac.data(), sizeof(value.host_mac));
  if (endpoint.ip6 != IpAddress() && endpoint6_ == nullptr) {
    return absl::FailedPreconditionError(
        fmt::format("container {}: address {}: this node has no ranges of IPv6",
                    endpoint.container_id, endpoint.ip6.ToString()));
  }
  RETURN_IF_ERROR(name_.Upsert(key, name));
  if (endpoint.ip6 != IpAddress()) {
    mesh_endpoint_value value6 = value;
    Fill(record.policy, record.policy.v6, &value6);
    RETURN_IF_ERROR(endpoint6_->Upsert({EncodeIp6(endpoint.ip6)}, value6));
  }
  return endpoint_.Upsert(key, value);
}

absl::Status EndpointTable::SetPolicy(const IpAddress& ip, const IpAddress& ip6,
                                      const EndpointPolicy& policy) {
  if (ip6 != IpAddress() && endpoint6_ != nullptr) {
    const mesh_endpoint6_key key{EncodeIp6(ip6)};
    ASSIGN_OR_RETURN(mesh_endpoint_value value, endpoint6_->Lookup(key));
    Fill(policy, policy.v6, &value);
    RETURN_IF_ERROR(endpoint6_->Upsert(key, value));
  }
  const mesh_endpoint_key key{.ip = EncodeIp(ip)};
  ASSIGN_OR_RETURN(mesh_endpoint_value value, endpoint_.Lookup(key));
  Fill(policy, policy.v4, &value);
  return endpoint_.Upsert(key, value);
}

absl::Status EndpointTable::Remove(const Endpoint& endpoint) {
  const mesh_endpoint_key key{.ip = EncodeIp(endpoint.ip)};
  RETURN_IF_ERROR(endpoint_.Remove(key));
  if (endpoint.ip6 != IpAddress() && endpoint6_ != nullptr) {
    RETURN_IF_ERROR(endpoint6_->Remove({EncodeIp6(endpoint.ip6)}));
  }
  return name_.Remove(key);
}

absl::Status EndpointTable::RemoveOrphans(const IpPrefix& range6) {
  if (endpoint6_ == nullptr) return absl::OkStatus();
  std::set<uint32_t> known;
  ASSIGN_OR_RETURN(const auto rows, endpoint_.Dump());
  for (const auto& [key, value] : rows) known.insert(value.ifindex);
  ASSIGN_OR_RETURN(const auto rows6, endpoint6_->Dump());
  for (const auto& [key, value] : rows6) {
    if (known.contains(value.ifindex) && range6.Contains(DecodeIp6(key.ip))) continue;
    RETURN_IF_ERROR(endpoint6_->Remove(key));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<EndpointRecord>> EndpointTable::Dump() const {
  ASSIGN_OR_RETURN(const auto rows, endpoint_.Dump());
  std::map<uint32_t, IpAddress> second;  // by interface
  std::map<uint32_t, EndpointPolicy::Sets> second_sets;
  if (endpoint6_ != nullptr) {
    ASSIGN_OR_RETURN(const auto rows6, endpoint6_->Dump());
    for (const auto& [key, value] : rows6) {
      second[value.ifindex] = DecodeIp6(key.ip);
      second_sets[value.ifindex] = SetsOf(value);
    }
  }
  std::vector<EndpointRecord> out;
  for (const auto& [key, value] : rows) {
    EndpointRecord& record = out.emplace_back();
    Endpoint& endpoint = record.endpoint;
    endpoint.ip = DecodeIp(key.ip);
    endpoint.ifindex = static_cast<int>(value.ifindex);
    if (const auto it = second.find(value.ifindex); it != second.end()) endpoint.ip6 = it->second;
    endpoint.identity = value.identity;
    record.policy = {.identity = value.identity, .ns = value.ns, .v4 = SetsOf(value), .v6 = {}};
    if (const auto it = second_sets.find(value.ifindex); it != second_sets.end())
      record.policy.v6 = it->second;
    endpoint.shaped = (value.flags & MESH_ENDPOINT_SHAPED) != 0;
    std::memcpy(endpoint.pod_mac.data(), value.pod_mac, sizeof(value.pod_mac));
    std::memcpy(endpoint.host_mac.data(), value.host_mac, sizeof(value.host_mac));
    const absl::StatusOr<mesh_endpoint_name> name = name_.Lookup(key);
    if (!name.ok()) continue;
    endpoint.container_id = Text(name->container_id);
    endpoint.ns = Text(name->ns);
    endpoint.pod = Text(name->pod);
    record.ifname = Text(name->ifname);
    endpoint.interface = HostInterfaceName(endpoint.container_id, record.ifname);
  }
  std::sort(out.begin(), out.end(), [](const EndpointRecord& a, const EndpointRecord& b) {
    return a.endpoint.ip < b.endpoint.ip;
  });
  return out;
}

absl::StatusOr<EndpointRecord> EndpointTable::Find(const std::string& container_id,
                                                   const std::string& ifname) const {
  ASSIGN_OR_RETURN(std::vector<EndpointRecord> records, Dump());
  for (EndpointRecord& record : records) {
    if (record.endpoint.container_id == container_id && record.ifname == ifname) {
      return std::move(record);
    }
  }
  return absl::NotFoundError(
      fmt::format("container {} interface {}: not attached", container_id, ifname));
}

}  // namespace mesh::dataplane
