// SPDX-License-Identifier: Apache-2.0
#include "agent/state/node_state.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <optional>
#include <system_error>
#include <utility>

#include "common/ip_address.h"
#include "common/status.h"
#include "common/unique_fd.h"

namespace mesh::agent {
namespace {

// First bytes of a checkpoint: a file of another shape is refused, not misread.
constexpr char kMagic[] = "mesh-node-state-1\n";
constexpr size_t kMagicBytes = sizeof kMagic - 1;
// Far above the largest state (5,000 nodes, 10,000 services): a longer file is not ours.
constexpr off_t kMaxBytes = 512 << 20;

// Lengths of the two parts, in decimal.
constexpr size_t kLengthDigits = 10;

std::optional<size_t> ParseLength(const char* digits) {
  size_t out = 0;
  const auto [end, error] = std::from_chars(digits, digits + kLengthDigits, out);
  if (error != std::errc() || end != digits + kLengthDigits) return std::nullopt;
  return out;
}

std::string ServiceKey(const v1::ServiceState& service) {
  return fmt::format("{}/{}", service.namespace_(), service.name());
}

template <typename T>
std::string NamedKey(const T& object) {
  return fmt::format("{}/{}", object.metadata().namespace_(), object.metadata().name());
}

absl::Status WriteAll(int fd, const std::string& bytes, const std::string& path) {
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = ::write(fd, bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoStatus(errno, fmt::format("write {}", path));
    done += static_cast<size_t>(n);
  }
  return absl::OkStatus();
}

// The whole state is one full update plus the welcome, in two length-delimited parts.
std::string Encode(const NodeState& state) {
  v1::ControlMessage welcome;
  *welcome.mutable_welcome() = state.config;
  v1::ControlMessage message;
  v1::NodeUpdate& update = *message.mutable_update();
  update.set_revision(state.revision);
  update.set_full(state.complete);
  for (const auto& [uid, pod] : state.pods) *update.add_pods() = *pod;
  for (const auto& [key, service] : state.services) *update.add_services() = *service;
  for (const auto& [name, node] : state.nodes) *update.add_nodes() = *node;
  for (const auto& [identity, ns] : state.namespaces) *update.add_namespaces() = *ns;
  for (const auto& [ip, pod] : state.pod_identities) {
    v1::PodIdentity* to = update.add_pod_identities();
    to->set_ip(ip);
    to->set_ip6(pod.ip6);
    to->set_identity(pod.identity);
  }
  for (const auto& [number, identity] : state.identities) *update.add_identities() = *identity;
  for (const auto& [number, set] : state.policy_sets) *update.add_policy_sets() = *set;
  update.set_policy_epoch(state.policy_epoch);
  for (const auto& [key, map] : state.config_maps) *update.add_config_maps() = *map;
  for (const auto& [key, secret] : state.secrets) *update.add_secrets() = *secret;
  for (const auto& [name, volume] : state.volumes) *update.add_volumes() = *volume;
  const std::string head = welcome.SerializeAsString();
  const std::string body = message.SerializeAsString();
  return fmt::format("{}{:010}{:010}{}{}", kMagic, head.size(), body.size(), head, body);
}

// `upserts` after `removed`. A full update repeats what is there and leaves out what is to go. What
// is said again stays the same object.
template <typename Map, typename T, typename Removed, typename KeyOf>
void MergeList(bool full, const google::protobuf::RepeatedPtrField<T>& upserts,
               const Removed& removed, const KeyOf& key_of, Map* out) {
  typename Map::Changes changes;
  if (full) {
    for (const auto& [key, value] : *out) changes[key] = std::nullopt;
  }
  for (const auto& key : removed) changes[key] = std::nullopt;
  for (const T& item : upserts) {
    const auto key = key_of(item);
    const auto old = out->find(key);
    if (old != out->end() && old->second->SerializeAsString() == item.SerializeAsString()) {
      changes.erase(key);
    } else {
      changes[key] = Shared<T>(item);
    }
  }
  out->Update(std::move(changes));
}

void MergePodIdentities(const v1::NodeUpdate& update,
                        SharedMap<std::string, PodIdentity>* identities) {
  SharedMap<std::string, PodIdentity>::Changes changes;
  if (update.full()) {
    for (const auto& [ip, pod] : *identities) changes[ip] = std::nullopt;
  }
  for (const std::string& ip : update.removed_pod_ips()) changes[ip] = std::nullopt;
  for (const v1::PodIdentity& from : update.pod_identities()) {
    const PodIdentity pod{.ip6 = from.ip6(), .identity = from.identity()};
    const auto old = identities->find(from.ip());
    if (old != identities->end() && old->second == pod) {
      changes.erase(from.ip());
    } else {
      changes[from.ip()] = pod;
    }
  }
  identities->Update(std::move(changes));
}

}  // namespace

absl::Status NodeState::Merge(const v1::NodeUpdate& update) {
  const bool full = update.full();
  if (full) {
    policy_epoch = update.policy_epoch();
    complete = true;
  } else if (!complete) {
    return absl::InvalidArgumentError(
        fmt::format("increment to revision {} came before a full update", update.revision()));
  }
  MergeList(
      full, update.pods(), update.removed_pod_uids(),
      [](const v1::Pod& pod) { return pod.metadata().uid(); }, &pods);
  MergeList(full, update.services(), update.removed_services(), ServiceKey, &services);
  MergeList(
      full, update.nodes(), update.removed_nodes(),
      [](const v1::PeerNode& node) { return node.name(); }, &nodes);
  MergeList(
      full, update.namespaces(), update.removed_identities(),
      [](const v1::NamespaceState& ns) { return ns.identity(); }, &namespaces);
  MergePodIdentities(update, &pod_identities);
  MergeList(
      full, update.identities(), update.removed_pod_identities(),
      [](const v1::IdentityState& row) { return row.identity(); }, &identities);
  MergeList(
      full, update.policy_sets(), update.removed_policy_sets(),
      [](const v1::PolicySetState& set) { return set.number(); }, &policy_sets);
  MergeList(full, update.config_maps(), update.removed_config_maps(), NamedKey<v1::ConfigMap>,
            &config_maps);
  MergeList(full, update.secrets(), update.removed_secrets(), NamedKey<v1::Secret>, &secrets);
  MergeList(
      full, update.volumes(), update.removed_volumes(),
      [](const v1::VolumeState& volume) { return volume.name(); }, &volumes);
  revision = update.revision();
  return absl::OkStatus();
}

absl::Status SaveCheckpoint(const NodeState& state, const std::string& path) {
  const std::string aside = path + ".new";
  {
    UniqueFd fd(::open(aside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    if (!fd) return ErrnoStatus(errno, fmt::format("create checkpoint {}", aside));
    RETURN_IF_ERROR(WriteAll(fd.get(), Encode(state), aside));
    if (::fsync(fd.get()) != 0) return ErrnoStatus(errno, fmt::format("fsync {}", aside));
  }
  if (::rename(aside.c_str(), path.c_str()) != 0) {
    return ErrnoStatus(errno, fmt::format("rename {} to {}", aside, path));
  }
  const std::string folder = path.substr(0, path.rfind('/') + 1);
  UniqueFd dir(::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (dir && ::fsync(dir.get()) != 0) return ErrnoStatus(errno, fmt::format("fsync {}", folder));
  return absl::OkStatus();
}

absl::StatusOr<NodeState> LoadCheckpoint(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd && errno == ENOENT) return absl::NotFoundError(fmt::format("no checkpoint at {}", path));
  if (!fd) return ErrnoStatus(errno, fmt::format("open checkpoint {}", path));
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return ErrnoStatus(errno, fmt::format("stat {}", path));
  if (info.st_size > kMaxBytes) {
    return absl::DataLossError(fmt::format("checkpoint {} has {} bytes, more than the limit of {}",
                                           path, info.st_size, kMaxBytes));
  }
  std::string bytes(static_cast<size_t>(info.st_size), '\0');
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = ::read(fd.get(), bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoStatus(errno, fmt::format("read {}", path));
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  const auto broken = [&] {
    return absl::DataLossError(fmt::format("checkpoint {} does not parse", path));
  };
  const size_t head_at = kMagicBytes + 2 * kLengthDigits;
  if (done != bytes.size() || bytes.size() < head_at) return broken();
  if (std::memcmp(bytes.data(), kMagic, kMagicBytes) != 0) return broken();
  const auto head_bytes = ParseLength(bytes.data() + kMagicBytes);
  const auto body_bytes = ParseLength(bytes.data() + kMagicBytes + kLengthDigits);
  if (!head_bytes || !body_bytes || head_at + *head_bytes + *body_bytes != bytes.size()) {
    return broken();
  }
  v1::ControlMessage head, body;
  if (!head.ParseFromArray(bytes.data() + head_at, static_cast<int>(*head_bytes)) ||
      !head.has_welcome() ||
      !body.ParseFromArray(bytes.data() + head_at + *head_bytes, static_cast<int>(*body_bytes)) ||
      !body.has_update()) {
    return broken();
  }
  NodeState state;
  const bool complete = body.update().full();
  body.mutable_update()->set_full(true);
  RETURN_IF_ERROR(state.Merge(body.update()));
  state.complete = complete;
  state.config = head.welcome();
  return state;
}

}  // namespace mesh::agent
