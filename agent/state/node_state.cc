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

// An address that does not parse is named when it is programmed; until then any block will do.
uint32_t BlockOf(const std::string& ip) {
  const auto address = IpAddress::Parse(ip);
  return address.ok() && address->is_v4() ? address->v4() >> 8 : 0;
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
  for (const auto& [uid, pod] : state.pods) *update.add_pods() = pod;
  for (const auto& [key, service] : state.services) *update.add_services() = *service;
  for (const auto& [name, node] : state.nodes) *update.add_nodes() = node;
  for (const auto& [identity, ns] : state.namespaces) *update.add_namespaces() = ns;
  for (const auto& [block, identities] : state.pod_identities) {
    for (const auto& [ip, pod] : *identities) {
      v1::PodIdentity* to = update.add_pod_identities();
      to->set_ip(ip);
      to->set_ip6(pod.ip6);
      to->set_identity(pod.identity);
    }
  }
  for (const auto& [number, identity] : state.identities) *update.add_identities() = *identity;
  for (const auto& [number, set] : state.policy_sets) *update.add_policy_sets() = *set;
  update.set_policy_epoch(state.policy_epoch);
  const std::string head = welcome.SerializeAsString();
  const std::string body = message.SerializeAsString();
  return fmt::format("{}{:010}{:010}{}{}", kMagic, head.size(), body.size(), head, body);
}

}  // namespace

namespace {

// `upserts` into what is there. A full update repeats what is `known`: that stays the same object.
template <typename T, typename Key>
void MergeNumbered(const google::protobuf::RepeatedPtrField<T>& upserts,
                   const google::protobuf::RepeatedField<uint32_t>& removed, const Key& key_of,
                   const std::map<uint32_t, Shared<T>>& known, std::map<uint32_t, Shared<T>>* out) {
  for (const uint32_t key : removed) out->erase(key);
  for (const T& item : upserts) {
    const auto it = known.find(key_of(item));
    if (it != known.end() && it->second->SerializeAsString() == item.SerializeAsString()) {
      (*out)[it->first] = it->second;
    } else {
      (*out)[key_of(item)] = item;
    }
  }
}

}  // namespace

absl::Status NodeState::Merge(const v1::NodeUpdate& update) {
  std::map<uint32_t, Shared<v1::IdentityState>> known_policies;
  std::map<uint32_t, Shared<v1::PolicySetState>> known_sets;
  std::map<std::string, Shared<v1::ServiceState>> known;
  std::map<uint32_t, Shared<PodIdentities>> known_identities;
  if (update.full()) {
    pods.clear();
    known.swap(services);
    nodes.clear();
    namespaces.clear();
    known_identities.swap(pod_identities);
    known_policies.swap(identities);
    known_sets.swap(policy_sets);
    policy_epoch = update.policy_epoch();
    complete = true;
  } else if (!complete) {
    return absl::InvalidArgumentError(
        fmt::format("increment to revision {} came before a full update", update.revision()));
  }
  for (const std::string& uid : update.removed_pod_uids()) pods.erase(uid);
  for (const std::string& key : update.removed_services()) services.erase(key);
  for (const std::string& name : update.removed_nodes()) nodes.erase(name);
  for (uint32_t identity : update.removed_identities()) namespaces.erase(identity);
  for (const v1::Pod& pod : update.pods()) pods[pod.metadata().uid()] = pod;
  for (const v1::ServiceState& service : update.services()) {
    const std::string key = ServiceKey(service);
    // A full update repeats what is known: that stays the same object.
    const auto it = known.find(key);
    if (it != known.end() && it->second->SerializeAsString() == service.SerializeAsString()) {
      services[key] = it->second;
    } else {
      services[key] = service;
    }
  }
  for (const v1::PeerNode& node : update.nodes()) nodes[node.name()] = node;
  for (const v1::NamespaceState& ns : update.namespaces()) namespaces[ns.identity()] = ns;
  MergePodIdentities(update, known_identities);
  MergeNumbered(
      update.identities(), update.removed_pod_identities(),
      [](const v1::IdentityState& row) { return row.identity(); }, known_policies, &identities);
  MergeNumbered(
      update.policy_sets(), update.removed_policy_sets(),
      [](const v1::PolicySetState& set) { return set.number(); }, known_sets, &policy_sets);
  revision = update.revision();
  return absl::OkStatus();
}

void NodeState::MergePodIdentities(const v1::NodeUpdate& update,
                                   const std::map<uint32_t, Shared<PodIdentities>>& known) {
  // Each block is copied once.
  std::map<uint32_t, PodIdentities> changed;
  const auto block_of = [&](const std::string& ip) -> PodIdentities& {
    const uint32_t block = BlockOf(ip);
    const auto [at, added] = changed.try_emplace(block);
    if (const auto old = pod_identities.find(block); added && old != pod_identities.end())
      at->second = *old->second;
    return at->second;
  };
  for (const std::string& ip : update.removed_pod_ips()) block_of(ip).erase(ip);
  for (const v1::PodIdentity& pod : update.pod_identities())
    block_of(pod.ip())[pod.ip()] = {.ip6 = pod.ip6(), .identity = pod.identity()};
  for (auto& [block, rows] : changed) {
    const auto old = known.find(block);
    if (rows.empty()) {
      pod_identities.erase(block);
    } else if (old != known.end() && *old->second == rows) {
      pod_identities[block] = old->second;
    } else {
      pod_identities[block] = std::move(rows);
    }
  }
}

void ForEachChangedBlock(const NodeState& before, const NodeState& now,
                         const std::function<void(uint32_t block, const PodIdentities* was,
                                                  const PodIdentities* is)>& change) {
  auto old = before.pod_identities.begin();
  const auto end = before.pod_identities.end();
  for (const auto& [block, identities] : now.pod_identities) {
    for (; old != end && old->first < block; ++old) change(old->first, &*old->second, nullptr);
    const bool known = old != end && old->first == block;
    if (!known || !old->second.SameAs(identities))
      change(block, known ? &*old->second : nullptr, &*identities);
    if (known) ++old;
  }
  for (; old != end; ++old) change(old->first, &*old->second, nullptr);
}

void ForEachChangedIdentity(
    const NodeState& before, const NodeState& now,
    const std::function<void(uint32_t identity, const v1::IdentityState* state)>& change) {
  auto old = before.identities.begin();
  const auto end = before.identities.end();
  for (const auto& [identity, state] : now.identities) {
    for (; old != end && old->first < identity; ++old) change(old->first, nullptr);
    const bool known = old != end && old->first == identity;
    const bool same = known && old->second.SameAs(state);
    if (known) ++old;
    if (!same) change(identity, &*state);
  }
  for (; old != end; ++old) change(old->first, nullptr);
}

void ForEachChangedService(
    const NodeState& before, const NodeState& now,
    const std::function<void(const std::string& key, const v1::ServiceState* service)>& change) {
  auto old = before.services.begin();
  const auto end = before.services.end();
  for (const auto& [key, service] : now.services) {
    for (; old != end && old->first < key; ++old) change(old->first, nullptr);
    const bool known = old != end && old->first == key;
    const bool same = known && old->second.SameAs(service);
    if (known) ++old;
    if (!same) change(key, &*service);
  }
  for (; old != end; ++old) change(old->first, nullptr);
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
