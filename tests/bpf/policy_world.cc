// SPDX-License-Identifier: Apache-2.0
#include "tests/bpf/policy_world.h"

#include <google/protobuf/text_format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "api/schema/defaults.h"
#include "controlplane/policy/pod_traits.h"
#include "fmt/format.h"

namespace mesh::dataplane::testing {

using mesh::testing::At;
using mesh::testing::Echo;
using mesh::testing::kSyn;
using mesh::testing::ModelPod;
using mesh::testing::Packet;
using mesh::testing::PolicyModel;
using mesh::testing::Tcp;
using mesh::testing::Udp;

namespace {

constexpr uint8_t kTcp = 6, kUdp = 17;

v1::Namespace NamespaceOf(const std::string& name, uint32_t number,
                          const std::map<std::string, std::string>& labels) {
  v1::Namespace out;
  out.mutable_metadata()->set_name(name);
  for (const auto& [key, value] : labels) (*out.mutable_metadata()->mutable_labels())[key] = value;
  out.mutable_status()->set_identity(number);
  return out;
}

}  // namespace

void PolicyWorld::SetUp() {
  has_uplink_ = true;
  World::SetUp();
  everybody_ = {
      {"client", "10.244.1.10", {"shop", {{"app", "client"}}, {}}},
      {"near", "10.244.1.11", {"shop", {{"app", "near"}}, {{"web", kTcp, 8080}}}},
      {"clerk", "10.244.1.12", {"bank", {{"app", "clerk"}}, {}}},
      {"far", "10.244.2.10", {"shop", {{"app", "far"}}, {{"web", kTcp, 9090}}}},
      {"teller", "10.244.2.12", {"bank", {{"app", "teller"}}, {}}},
  };
  LabelNamespace("shop", {{"team", "shop"}});
  LabelNamespace("bank", {{"team", "bank"}});
  LabelNamespace("kube-system", {});
  RestartMeshd();
}

void PolicyWorld::RestartMeshd() {
  view_ = std::make_unique<controlplane::PolicyView>(controlplane::PolicyView::Options{
      .pod_ranges = {config_.cluster_cidr, Own(config_.cluster_cidr)},
      .epoch = ++epoch_,
      .linger = absl::ZeroDuration()});
  view_->Reset(state_, absl::UnixEpoch());
  if (builder_ == nullptr) RestartAgent();
  Settle();
  Tell(true);
}

void PolicyWorld::RestartAgent() { RestartAgent(PolicyTables::kLimits); }

void PolicyWorld::RestartAgent(const PolicyLimits& limits) {
  builder_ = std::make_unique<agent::DesiredStateBuilder>(config_);
  policies_ = std::make_unique<PolicyTables>(maps_->ForPolicies(), *endpoints_, limits);
  if (node_ == nullptr) return;
  Tell(false);
}

void PolicyWorld::PutPolicy(const std::string& ns, const std::string& name,
                            const std::string& spec) {
  v1::Resource resource;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(
      fmt::format(R"(network_policy {{ metadata {{ namespace: "{}" name: "{}" }} spec {{ {} }} }})",
                  ns, name, spec),
      &resource))
      << spec;
  schema::ApplyDefaults(&resource);
  RemovePolicy(ns, name);
  model_.policies.push_back(resource.network_policy());
  state_.Put(resource);
  view_->Note({nullptr, std::make_shared<v1::Resource>(resource)});
}

void PolicyWorld::RemovePolicy(const std::string& ns, const std::string& name) {
  const auto old = state_.Find(v1::KIND_NETWORK_POLICY, {ns, name});
  if (old == nullptr) return;
  std::erase_if(model_.policies, [&](const v1::NetworkPolicy& policy) {
    return policy.metadata().name() == name && policy.metadata().namespace_() == ns;
  });
  state_.Remove(v1::KIND_NETWORK_POLICY, {ns, name});
  view_->Note({old, nullptr});
}

void PolicyWorld::Label(const std::string& pod, std::map<std::string, std::string> labels) {
  The(pod).model.labels = std::move(labels);
}

void PolicyWorld::LabelNamespace(const std::string& ns, std::map<std::string, std::string> labels) {
  v1::Resource resource;
  *resource.mutable_namespace_() = NamespaceOf(ns,
                                               ns == "shop"   ? kShop
                                               : ns == "bank" ? kBank
                                                              : 258,
                                               labels);
  state_.Put(resource);
  if (view_ != nullptr) view_->Note({nullptr, std::make_shared<v1::Resource>(resource)});
  labels["kubernetes.io/metadata.name"] = ns;
  model_.namespaces[ns] = std::move(labels);
}

std::map<uint32_t, uint64_t> PolicyWorld::Drops() {
  std::map<uint32_t, uint64_t> out;
  const absl::Status read = maps_->policy_drops.ForEach([&](const auto& key, const auto& per_cpu) {
    for (const mesh_policy_drops_value& value : per_cpu) out[key.set] += value.packets;
  });
  EXPECT_TRUE(read.ok()) << read;
  return out;
}

PolicyWorld::Somebody& PolicyWorld::The(const std::string& name) {
  return *std::find_if(everybody_.begin(), everybody_.end(),
                       [&](const Somebody& one) { return one.name == name; });
}

const World::Pod& PolicyWorld::Here(const Somebody& pod) const {
  if (const auto found = newcomers_.find(pod.name); found != newcomers_.end()) return found->second;
  return pod.name == "client" ? client_ : pod.name == "near" ? near_ : clerk_;
}

v1::Pod PolicyWorld::PodOf(const Somebody& pod) const {
  v1::Pod out;
  out.mutable_metadata()->set_namespace_(pod.model.ns);
  out.mutable_metadata()->set_name(pod.name);
  out.mutable_metadata()->set_uid(pod.name);
  for (const auto& [key, value] : pod.model.labels) {
    (*out.mutable_metadata()->mutable_labels())[key] = value;
  }
  v1::Container* container = out.mutable_spec()->add_containers();
  for (const auto& port : pod.model.ports) {
    v1::ContainerPort* added = container->add_ports();
    added->set_name(port.name);
    added->set_protocol(port.protocol == kTcp ? "TCP" : "UDP");
    added->set_container_port(port.port);
  }
  out.mutable_status()->set_pod_ip(pod.ip);
  out.mutable_status()->add_pod_ips()->set_ip(Own(Ip(pod.ip)).ToString());
  const std::vector<std::string> blocks = controlplane::BlocksAround(out, state_.index().blocks);
  out.mutable_status()->mutable_identity_blocks()->Assign(blocks.begin(), blocks.end());
  return out;
}

void PolicyWorld::Settle() {
  for (Somebody& one : everybody_) {
    v1::Resource resource;
    *resource.mutable_pod() = PodOf(one);
    const std::string text = controlplane::IdentityText(resource.pod());
    const auto [it, is_new] = identities_.try_emplace(text, next_identity_);
    if (is_new) ++next_identity_;
    one.identity = it->second;
    resource.mutable_pod()->mutable_status()->set_identity(one.identity);
    const auto before = state_.Find(v1::KIND_POD, {one.model.ns, one.name});
    state_.Put(resource);
    view_->Note({before, std::make_shared<v1::Resource>(resource)});
  }
  Tell(false);
}

void PolicyWorld::Tell(bool full) {
  v1::NodeUpdate update;
  view_->Refresh(state_, absl::UnixEpoch(), &update);
  if (full || node_ == nullptr) {
    update.Clear();
    update.set_full(true);
    view_->Full(&update);
  }
  for (const Somebody& one : everybody_) {
    if (!IsHere(one)) continue;
    v1::Pod* pod = update.add_pods();
    *pod = PodOf(one);
    pod->mutable_status()->set_identity(one.identity);
  }
  for (const std::string& uid : std::exchange(left_, {})) update.add_removed_pod_uids(uid);
  auto next = node_ == nullptr ? std::make_shared<agent::NodeState>()
                               : std::make_shared<agent::NodeState>(*node_);
  ASSERT_TRUE(next->Merge(update).ok());
  node_ = next;
  const agent::Translation& translation = builder_->Build(node_);
  ASSERT_TRUE(translation.skipped.empty()) << translation.skipped.front();
  desired_.policy_epoch = translation.desired.policy_epoch;
  desired_.policy_sets = translation.desired.policy_sets;
  desired_.identities = translation.desired.identities;
  desired_.changed_identities = translation.desired.changed_identities;
  desired_.pods = translation.desired.pods;
  desired_.pod_identities.clear();
  for (const Somebody& one : everybody_) {
    if (!IsHere(one)) desired_.pod_identities[Own(Ip(one.ip))] = one.identity;
  }
  Apply();
}

PolicyWorld::Somebody& PolicyWorld::Come(const std::string& name, const std::string& ip,
                                         ModelPod model) {
  everybody_.push_back({name, ip, std::move(model)});
  if (IsHere(everybody_.back())) {
    newcomers_[name] = {ip, near_.ifindex, 0, {2, 0, 0, 0, 2, 9}};
  }
  return everybody_.back();
}

void PolicyWorld::Attach(const Somebody& pod) {
  const Pod& link = newcomers_.at(pod.name);
  EndpointRecord record;
  record.endpoint.ip = Ip(pod.ip);
  if (kIpv6) record.endpoint.ip6 = Own(Ip(pod.ip));
  record.endpoint.ifindex = link.ifindex;
  record.endpoint.pod_mac = link.mac;
  record.endpoint.identity = pod.identity;
  record.endpoint.ns = pod.model.ns;
  record.endpoint.pod = record.endpoint.container_id = pod.name;
  record.ifname = "eth0";
  record.policy = policies_->PolicyOf(pod.identity);
  ASSERT_TRUE(endpoints_->Put(record).ok());
  policies_->Attached(record.endpoint, record.policy);
  attached_[pod.name] = record.endpoint;
}

void PolicyWorld::Leave(const std::string& name) {
  const Somebody pod = The(name);
  if (IsHere(pod)) {
    if (const auto attached = attached_.extract(name)) {
      policies_->Detached(attached.mapped().ip);
      ASSERT_TRUE(endpoints_->Remove(attached.mapped()).ok());
    }
    newcomers_.erase(name);
    left_.push_back(name);
  }
  std::erase_if(everybody_, [&](const Somebody& one) { return one.name == name; });
  const auto old = state_.Find(v1::KIND_POD, {pod.model.ns, name});
  if (old == nullptr) return;
  state_.Remove(v1::KIND_POD, {pod.model.ns, name});
  view_->Note({old, nullptr});
}

Packet PolicyWorld::First(const std::string& from, const std::string& to, uint8_t protocol,
                          uint16_t port) {
  const uint16_t source_port = next_port_++;
  if (protocol != kTcp && protocol != kUdp) return Echo(from, to, source_port);
  const auto source = At(fmt::format("{}:{}", from, source_port));
  const auto destination = At(fmt::format("{}:{}", to, port));
  return protocol == kTcp ? Tcp(source, destination, kSyn) : Udp(source, destination);
}

std::string PolicyWorld::Try(const std::string& from, const std::string& to, uint8_t protocol,
                             uint16_t port) {
  const Somebody& sender = The(from);
  const Packet packet = First(sender.ip, The(to).ip, protocol, port);
  return IsHere(sender) ? FromPod(Here(sender), packet).reason
                        : FromPeer(sender.identity, packet).reason;
}

std::string PolicyWorld::TryFromOutside(const std::string& to, uint8_t protocol, uint16_t port) {
  return FromPeer(MESH_IDENTITY_WORLD, First("10.244.2.1", The(to).ip, protocol, port)).reason;
}

std::string PolicyWorld::TryAddress(const std::string& from, const std::string& ip,
                                    uint8_t protocol, uint16_t port) {
  return FromPod(Here(The(from)), First(The(from).ip, ip, protocol, port)).reason;
}

PolicyModel::End PolicyWorld::EndOf(const Somebody& pod) const {
  return {&pod.model, Own(Ip(pod.ip))};
}

std::string PolicyWorld::Expected(const Somebody& from, const Somebody& to, uint8_t protocol,
                                  uint16_t port) const {
  if (protocol != kTcp && protocol != kUdp) port = 0;
  if (IsHere(from) && !model_.AllowsEgress(EndOf(from), EndOf(to), protocol, port).value_or(true)) {
    return "policy_egress";
  }
  if (!IsHere(to)) return "forwarded";
  const std::optional<bool> ingress = model_.AllowsIngress(EndOf(from), EndOf(to), protocol, port);
  if (ingress) return *ingress ? "forwarded" : "policy_ingress";
  return from.model.ns == to.model.ns ? "forwarded" : "isolation";
}

}  // namespace mesh::dataplane::testing
