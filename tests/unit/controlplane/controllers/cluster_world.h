// SPDX-License-Identifier: Apache-2.0
// A small cluster as a value: named nodes, pods and applications, and what the API does to writes.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "controlplane/controllers/controller.h"
#include "controlplane/controllers/objects.h"

namespace mesh::controlplane {

class ClusterWorld {
 public:
  ClusterState state;
  absl::Time now = absl::FromUnixSeconds(1'700'000'000);

  // Namespace "default" with identity 256.
  ClusterWorld();

  // Creates or replaces, as the API does: uid, generation, resource_version.
  void Put(v1::Resource resource);
  v1::Node& AddNode(const std::string& name, const std::string& cpu = "4",
                    const std::string& memory = "8Gi",
                    const std::map<std::string, std::string>& labels = {});
  // Not heard any more.
  void Silence(const std::string& node);
  // A pod with label app=<app>; on `node` with the next address when given.
  v1::Pod& AddPod(const std::string& name, const std::string& app, const std::string& node = "",
                  bool ready = false);
  v1::ReplicaSet& AddReplicaSet(const std::string& name, const std::string& app, int replicas);
  v1::Deployment& AddDeployment(const std::string& name, int replicas,
                                const std::string& max_surge = "25%",
                                const std::string& max_unavailable = "25%");
  v1::Service& AddService(const std::string& name, const std::string& app,
                          const std::string& target_port = "");
  // A pod made from the ReplicaSet's template.
  v1::Pod& AddPodOf(const std::string& replica_set, const std::string& name,
                    const std::string& node = "", bool ready = false);

  // Objects to be changed in place by a test; they must exist. Valid until the object is written.
  v1::Pod& pod(const std::string& name);
  v1::Node& node(const std::string& name);
  v1::ReplicaSet& replica_set(const std::string& name);
  v1::Deployment& deployment(const std::string& name);
  v1::Service& service(const std::string& name);
  // The only one there is.
  v1::ReplicaSet& only_replica_set();

  void Terminate(const std::string& pod, int grace_seconds = 30);
  // Everything the writes say, as the API would do it.
  void Apply(const ReconcileResult& result);
  // Steps until the controller writes nothing; fails the test after `limit` steps.
  void Settle(const Controller& controller, const ObjectKey& key, int limit = 4);

 private:
  template <typename T>
  T& Mutable(ObjectMap<T>* objects, const ObjectKey& key);

  std::map<const void*, std::shared_ptr<void>> copies_;
  int64_t revision_ = 0;
  int next_uid_ = 1;
  std::map<std::string, int> next_host_;
};

ObjectKey InDefault(const std::string& name);
// "create pod web-x", "update replicaset web-1 ...": kinds of writes and names, in order.
std::vector<std::string> Describe(const ReconcileResult& result);
int CountWrites(const ReconcileResult& result, Write::Type type);
v1::IntOrString ParseAmount(const std::string& text);

}  // namespace mesh::controlplane
