// SPDX-License-Identifier: Apache-2.0
#include "dataplane/tables/endpoint_table.h"

#include <algorithm>
#include <cstring>

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
  value.identity = endpoint.identity;
  value.flags = endpoint.shaped ? MESH_ENDPOINT_SHAPED : 0;
  std::memcpy(value.pod_mac, endpoint.pod_mac.data(), sizeof(value.pod_mac));
  std::memcpy(value.host_mac, endpoint.host_mac.data(), sizeof(value.host_mac));
  RETURN_IF_ERROR(name_.Upsert(key, name));
  return endpoint_.Upsert(key, value);
}

absl::Status EndpointTable::Remove(const IpAddress& ip) {
  const mesh_endpoint_key key{.ip = EncodeIp(ip)};
  RETURN_IF_ERROR(endpoint_.Remove(key));
  return name_.Remove(key);
}

absl::StatusOr<std::vector<EndpointRecord>> EndpointTable::Dump() const {
  ASSIGN_OR_RETURN(const auto rows, endpoint_.Dump());
  std::vector<EndpointRecord> out;
  for (const auto& [key, value] : rows) {
    EndpointRecord& record = out.emplace_back();
    Endpoint& endpoint = record.endpoint;
    endpoint.ip = DecodeIp(key.ip);
    endpoint.ifindex = static_cast<int>(value.ifindex);
    endpoint.identity = value.identity;
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
