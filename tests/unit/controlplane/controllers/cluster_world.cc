// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/controlplane/controllers/cluster_world.h"

#include "api/schema/defaults.h"
#include "common/check.h"
#include "fmt/format.h"
#include "gtest/gtest.h"

namespace mesh::controlplane {
namespace {

std::string SpecBytes(const v1::Resource& resource) {
  if (resource.has_deployment()) return CanonicalBytes(resource.deployment().spec());
  if (resource.has_replica_set()) return CanonicalBytes(resource.replica_set().spec());
  return "";
}

}  // namespace

ObjectKey InDefault(const std::string& name) { return {"default", name}; }

v1::IntOrString ParseAmount(const std::string& text) {
  v1::IntOrString out;
  if (text.back() == '%')
    out.set_string_value(text);
  else
    out.set_int_value(std::stoi(text));
  return out;
}

// A copy that may be changed in place takes the object's place. It lives as long as the world, so
// that a test may keep the reference.
template <typename T>
T& ClusterWorld::Mutable(ObjectMap<T>* objects, const ObjectKey& key) {
  auto it = objects->find(key);
  MESH_CHECK(it != objects->end()) << key.ToString();
  if (auto mine = copies_.find(it->second.get()); mine != copies_.end())
    return *static_cast<T*>(mine->second.get());
  auto copy = std::make_shared<T>(*it->second);
  it->second = copy;
  copies_[copy.get()] = copy;
  return *copy;
}

ClusterWorld::ClusterWorld() {
  v1::Resource ns;
  ns.mutable_namespace_()->mutable_metadata()->set_name("default");
  ns.mutable_namespace_()->mutable_status()->set_phase("Active");
  ns.mutable_namespace_()->mutable_status()->set_identity(256);
  Put(std::move(ns));
}

void ClusterWorld::Put(v1::Resource resource) {
  const auto before = state.Find(KindOf(resource), KeyOf(resource));
  v1::ObjectMeta* meta = MutableMetaOf(&resource);
  if (before == nullptr) {
    meta->set_uid(fmt::format("uid-{}", next_uid_++));
    meta->set_generation(1);
    *meta->mutable_creation_timestamp() = ToTimestamp(now);
    schema::ApplyDefaults(&resource);
  } else if (SpecBytes(*before) != SpecBytes(resource)) {
    meta->set_generation(MetaOf(*before).generation() + 1);
  }
  meta->set_resource_version(fmt::format("{}", ++revision_));
  state.revision = revision_;
  state.Put(resource);
}

v1::Node& ClusterWorld::AddNode(const std::string& name, const std::string& cpu,
                                const std::string& memory,
                                const std::map<std::string, std::string>& labels) {
  v1::Node out;
  out.mutable_metadata()->set_name(name);
  for (const auto& [key, value] : labels) (*out.mutable_metadata()->mutable_labels())[key] = value;
  out.mutable_spec()->set_pod_cidr(fmt::format("10.244.{}.0/24", state.nodes.size()));
  (*out.mutable_status()->mutable_allocatable())["cpu"].set_text(cpu);
  (*out.mutable_status()->mutable_allocatable())["memory"].set_text(memory);
  (*out.mutable_status()->mutable_allocatable())["pods"].set_text("110");
  *out.mutable_status()->mutable_last_heartbeat() = ToTimestamp(now);
  SetCondition(out.mutable_status()->mutable_conditions(), "Ready", "True", "AgentReady", "", now);
  Put(Wrap(out));
  return node(name);
}

void ClusterWorld::Silence(const std::string& name) {
  SetCondition(node(name).mutable_status()->mutable_conditions(), "Ready", "Unknown",
               "NodeStatusUnknown", "Agent stopped posting node status.", now);
}

v1::Pod& ClusterWorld::AddPod(const std::string& name, const std::string& app,
                              const std::string& node_name, bool ready) {
  v1::Pod out;
  out.mutable_metadata()->set_name(name);
  out.mutable_metadata()->set_namespace_("default");
  (*out.mutable_metadata()->mutable_labels())["app"] = app;
  v1::Container* container = out.mutable_spec()->add_containers();
  container->set_name("main");
  container->set_image("registry.local/app:1");
  out.mutable_status()->set_phase(ready ? "Running" : "Pending");
  if (!node_name.empty()) {
    const std::string cidr = node(node_name).spec().pod_cidr();
    out.mutable_spec()->set_node_name(node_name);
    out.mutable_status()->set_pod_ip(
        fmt::format("{}{}", cidr.substr(0, cidr.rfind('.') + 1), 2 + next_host_[node_name]++));
  }
  if (ready) SetCondition(out.mutable_status()->mutable_conditions(), "Ready", "True", "", "", now);
  Put(Wrap(out));
  return pod(name);
}

v1::ReplicaSet& ClusterWorld::AddReplicaSet(const std::string& name, const std::string& app,
                                            int replicas) {
  v1::ReplicaSet out;
  out.mutable_metadata()->set_name(name);
  out.mutable_metadata()->set_namespace_("default");
  out.mutable_spec()->set_replicas(replicas);
  (*out.mutable_spec()->mutable_selector()->mutable_match_labels())["app"] = app;
  auto* tmpl = out.mutable_spec()->mutable_template_();
  (*tmpl->mutable_metadata()->mutable_labels())["app"] = app;
  v1::Container* container = tmpl->mutable_spec()->add_containers();
  container->set_name("main");
  container->set_image("registry.local/app:1");
  Put(Wrap(out));
  return replica_set(name);
}

v1::Deployment& ClusterWorld::AddDeployment(const std::string& name, int replicas,
                                            const std::string& max_surge,
                                            const std::string& max_unavailable) {
  v1::Deployment out;
  out.mutable_metadata()->set_name(name);
  out.mutable_metadata()->set_namespace_("default");
  out.mutable_spec()->set_replicas(replicas);
  (*out.mutable_spec()->mutable_selector()->mutable_match_labels())["app"] = name;
  auto* tmpl = out.mutable_spec()->mutable_template_();
  (*tmpl->mutable_metadata()->mutable_labels())["app"] = name;
  v1::Container* container = tmpl->mutable_spec()->add_containers();
  container->set_name("main");
  container->set_image("registry.local/app:1");
  auto* strategy = out.mutable_spec()->mutable_strategy();
  strategy->set_type("RollingUpdate");
  *strategy->mutable_rolling_update()->mutable_max_surge() = ParseAmount(max_surge);
  *strategy->mutable_rolling_update()->mutable_max_unavailable() = ParseAmount(max_unavailable);
  Put(Wrap(out));
  return deployment(name);
}

v1::Service& ClusterWorld::AddService(const std::string& name, const std::string& app,
                                      const std::string& target_port) {
  v1::Service out;
  out.mutable_metadata()->set_name(name);
  out.mutable_metadata()->set_namespace_("default");
  if (!app.empty()) (*out.mutable_spec()->mutable_selector())["app"] = app;
  v1::ServicePort* port = out.mutable_spec()->add_ports();
  port->set_port(80);
  if (!target_port.empty()) port->mutable_target_port()->set_string_value(target_port);
  Put(Wrap(out));
  return service(name);
}

v1::Pod& ClusterWorld::AddPodOf(const std::string& rs_name, const std::string& name,
                                const std::string& node_name, bool ready) {
  const v1::ReplicaSet& rs = replica_set(rs_name);
  v1::Pod out = AddPod(name, "", node_name, ready);
  *out.mutable_metadata()->mutable_labels() = rs.spec().template_().metadata().labels();
  *out.mutable_metadata()->add_owner_references() =
      ControllerRef("apps/v1", "ReplicaSet", rs.metadata());
  Put(Wrap(out));
  return pod(name);
}

v1::Pod& ClusterWorld::pod(const std::string& name) {
  return Mutable(&state.pods, InDefault(name));
}
v1::Node& ClusterWorld::node(const std::string& name) { return Mutable(&state.nodes, {"", name}); }
v1::ReplicaSet& ClusterWorld::replica_set(const std::string& name) {
  return Mutable(&state.replica_sets, InDefault(name));
}
v1::Deployment& ClusterWorld::deployment(const std::string& name) {
  return Mutable(&state.deployments, InDefault(name));
}
v1::Service& ClusterWorld::service(const std::string& name) {
  return Mutable(&state.services, InDefault(name));
}
v1::ReplicaSet& ClusterWorld::only_replica_set() {
  MESH_CHECK(state.replica_sets.size() == 1) << state.replica_sets.size();
  return replica_set(state.replica_sets.begin()->first.name);
}

void ClusterWorld::Terminate(const std::string& name, int grace_seconds) {
  v1::ObjectMeta* meta = pod(name).mutable_metadata();
  *meta->mutable_deletion_timestamp() = ToTimestamp(now + absl::Seconds(grace_seconds));
  meta->set_deletion_grace_period_seconds(grace_seconds);
}

void ClusterWorld::Apply(const ReconcileResult& result) {
  for (const Write& write : result.writes) {
    const v1::Kind kind = KindOf(write.resource);
    const ObjectKey key = KeyOf(write.resource);
    const auto present = state.Find(kind, key);
    if (write.type == Write::Type::kCreate) {
      if (present == nullptr) Put(write.resource);
      continue;
    }
    ASSERT_NE(present, nullptr) << "write to " << key.ToString() << ", which does not exist";
    switch (write.type) {
      case Write::Type::kRemove:
        state.Remove(kind, key);
        break;
      case Write::Type::kDelete:
        if (kind == v1::KIND_POD && IsBound(present->pod()) && !IsFinished(present->pod()))
          Terminate(key.name, 30);
        else
          state.Remove(kind, key);
        break;
      default:
        Put(write.resource);
    }
  }
}

void ClusterWorld::Settle(const Controller& controller, const ObjectKey& key, int limit) {
  for (int step = 0; step < limit; ++step) {
    const ReconcileResult result = controller.Reconcile(state, key, now);
    if (result.writes.empty()) return;
    Apply(result);
  }
  const ReconcileResult left = controller.Reconcile(state, key, now);
  EXPECT_TRUE(left.writes.empty())
      << controller.name()
      << " does not come to rest: " << left.writes[0].resource.ShortDebugString();
}

std::vector<std::string> Describe(const ReconcileResult& result) {
  static constexpr const char* kTypes[] = {"create", "update", "status",
                                           "delete", "remove", "bind"};
  std::vector<std::string> out;
  for (const Write& write : result.writes)
    out.push_back(
        fmt::format("{} {}", kTypes[static_cast<int>(write.type)], KeyOf(write.resource).name));
  return out;
}

int CountWrites(const ReconcileResult& result, Write::Type type) {
  int count = 0;
  for (const Write& write : result.writes) count += write.type == type;
  return count;
}

}  // namespace mesh::controlplane
