// SPDX-License-Identifier: Apache-2.0
// What the API's writes mean, without gRPC: validation, apply with its three-way merge, warnings.
// The control service translates to and from these.
//
// Thread: loop only, but for the functions said to be pure.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "controlplane/state/watch_cache.h"
#include "controlplane/state/writer.h"
#include "mesh/v1/control.pb.h"

namespace mesh::controlplane {

// Pure. The objects with defaults, or INVALID_ARGUMENT that carries every problem of every object
// (status.h); also when an object is there twice.
absl::StatusOr<std::vector<v1::Resource>> CheckedForApply(const v1::ApplyRequest& request);
// Pure. OK, or INVALID_ARGUMENT `Deployment "web" is invalid: spec.replicas: ...`.
absl::Status CheckObject(const v1::Resource& resource);

class Api {
 public:
  // Both outlive this.
  Api(WatchCache& cache, Writer& writer) : cache_(cache), writer_(writer) {}

  using ApplyDone = std::function<void(absl::StatusOr<v1::ApplyResponse>)>;
  // Namespaces first, then accounts and priority classes, then all others in their order. What can
  // be refused is refused before the first write: NOT_FOUND (namespace), FAILED_PRECONDITION
  // (terminating), INVALID_ARGUMENT, and ABORTED for the conflicts of a server-side apply.
  void Apply(v1::ApplyRequest request, ApplyDone done);

  using Done = std::function<void(absl::StatusOr<v1::Resource>)>;
  // A dry run of Create and Update goes through admission and writes nothing.
  void Create(v1::CreateRequest request, Done done);
  void Update(v1::UpdateRequest request, Done done);
  void Delete(const v1::DeleteRequest& request, Done done);
  void Scale(const v1::ScaleRequest& request, Done done);

 private:
  struct Application;
  absl::Status CheckNamespaces(const v1::ApplyRequest& request) const;
  // The state as it will be with the accounts and priority classes of the request; null where it
  // brings none.
  std::unique_ptr<ClusterState> StateWithAccounts(const v1::ApplyRequest& request) const;
  void ApplyWave(const std::shared_ptr<Application>& application, int wave);
  void ApplyOne(const std::shared_ptr<Application>& application, int index);
  void FinishApply(const std::shared_ptr<Application>& application);
  void AddWarnings(Application* application);
  // What would be stored; `current` is null for a new object.
  absl::StatusOr<v1::Resource> Tried(const v1::Resource* current, const std::string& manager,
                                     v1::Resource next);

  WatchCache& cache_;
  Writer& writer_;
};

// Pure. What is legal but surely not meant about `resource` among the objects of `states`: a
// Service that selects nothing, a pod that fits no node (of the first).
struct Warning {
  std::string reason;  // of the Event
  std::string message;
};
std::vector<Warning> WarningsFor(const std::vector<const ClusterState*>& states,
                                 const v1::Resource& resource);

}  // namespace mesh::controlplane
