// SPDX-License-Identifier: Apache-2.0
// A control plane's state on virtual time: memory store, watch cache, writer.
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "common/sim_loop.h"
#include "controlplane/state/watch_cache.h"
#include "controlplane/state/writer.h"
#include "controlplane/store/commit_queue.h"
#include "controlplane/store/memory_store.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mesh::controlplane {

class World {
 public:
  explicit World(Writer::Options options = {}) : writer(loop, cache, *commits, Random(7), options) {
    EXPECT_TRUE(cache.Start().ok());
    writer.EnsureBaseObjects({});
    Settle();
  }

  // Runs what is due now.
  void Settle() { loop.RunFor(absl::ZeroDuration()); }

  // Runs one write to its end.
  template <typename Start>
  absl::StatusOr<Written> Do(Start start) {
    std::optional<absl::StatusOr<Written>> out;
    start([&out](absl::StatusOr<Written> written) { out = std::move(written); });
    EXPECT_TRUE(loop.RunUntil([&out] { return out.has_value(); }, absl::Seconds(1)));
    return out ? *std::move(out) : absl::DeadlineExceededError("no answer");
  }
  absl::StatusOr<Written> Create(const v1::Resource& resource) {
    return Do([&](Writer::Done done) { writer.Create(resource, std::move(done)); });
  }
  absl::StatusOr<Written> Submit(Write write) {
    return Do([&](Writer::Done done) { writer.Submit(std::move(write), std::move(done)); });
  }
  absl::StatusOr<Written> Delete(v1::Kind kind, const ObjectKey& key,
                                 Writer::DeleteOptions options = {}) {
    return Do([&](Writer::Done done) { writer.Delete(kind, key, options, std::move(done)); });
  }

  SimLoop loop;
  MemoryStore store{{.loop = &loop}};
  WatchCache cache{loop, store};
  std::unique_ptr<CommitQueue> commits = NewLoopCommitQueue(loop, store);
  Writer writer;
};

inline v1::Resource APod(const std::string& name, const std::string& node = "",
                         const std::string& ns = "default") {
  v1::Resource out;
  v1::Pod* pod = out.mutable_pod();
  pod->mutable_metadata()->set_namespace_(ns);
  pod->mutable_metadata()->set_name(name);
  pod->mutable_spec()->set_node_name(node);
  v1::Container* container = pod->mutable_spec()->add_containers();
  container->set_name("main");
  container->set_image("registry/web:1");
  return out;
}

inline v1::Resource AService(const std::string& name, const std::string& cluster_ip = "",
                             const std::string& ns = "default") {
  v1::Resource out;
  v1::Service* service = out.mutable_service();
  service->mutable_metadata()->set_namespace_(ns);
  service->mutable_metadata()->set_name(name);
  service->mutable_spec()->set_cluster_ip(cluster_ip);
  (*service->mutable_spec()->mutable_selector())["app"] = name;
  service->mutable_spec()->add_ports()->set_port(80);
  return out;
}

inline v1::Resource ANamespace(const std::string& name) {
  v1::Resource out;
  out.mutable_namespace_()->mutable_metadata()->set_name(name);
  return out;
}

inline v1::Resource ANode(const std::string& name) {
  v1::Resource out;
  out.mutable_node()->mutable_metadata()->set_name(name);
  return out;
}

inline v1::Resource ADeployment(const std::string& name, int replicas,
                                const std::string& ns = "default") {
  v1::Resource out;
  v1::Deployment* deployment = out.mutable_deployment();
  deployment->mutable_metadata()->set_namespace_(ns);
  deployment->mutable_metadata()->set_name(name);
  v1::DeploymentSpec* spec = deployment->mutable_spec();
  spec->set_replicas(replicas);
  (*spec->mutable_selector()->mutable_match_labels())["app"] = name;
  (*spec->mutable_template_()->mutable_metadata()->mutable_labels())["app"] = name;
  v1::Container* container = spec->mutable_template_()->mutable_spec()->add_containers();
  container->set_name("main");
  container->set_image("registry/web:1");
  return out;
}

}  // namespace mesh::controlplane
