// SPDX-License-Identifier: Apache-2.0
#include "controlplane/inspect/why.h"

#include <utility>

#include "controlplane/controllers/objects.h"
#include "controlplane/inspect/topics.h"
#include "fmt/format.h"

namespace mesh::controlplane {

absl::StatusOr<WhyAnswer> Why(const ClusterState& state, const ClusterRanges& ranges,
                              const v1::WhyRequest& request, const Known& known, absl::Time now) {
  Report report;
  std::set<ObjectKey> wanted;
  switch (request.subject_case()) {
    case v1::WhyRequest::kPod: {
      const v1::WhyObject& name = request.pod();
      const v1::Pod* pod = FindObject(state.pods, {name.namespace_(), name.name()});
      if (pod == nullptr)
        return absl::NotFoundError(fmt::format("pods \"{}\" not found", name.name()));
      WhyPod(state, *pod, now, &report);
      WhyRefused(state, *pod, std::nullopt, known.refusals, &report);
      break;
    }
    case v1::WhyRequest::kService: {
      const v1::WhyObject& name = request.service();
      const v1::Service* service = FindObject(state.services, {name.namespace_(), name.name()});
      if (service == nullptr)
        return absl::NotFoundError(fmt::format("services \"{}\" not found", name.name()));
      WhyService(state, *service, known.listeners, now, &report, &wanted);
      break;
    }
    case v1::WhyRequest::kNetworkPolicy: {
      const v1::WhyObject& name = request.network_policy();
      const v1::NetworkPolicy* policy =
          FindObject(state.network_policies, {name.namespace_(), name.name()});
      if (policy == nullptr)
        return absl::NotFoundError(
            fmt::format("networkpolicies.networking.k8s.io \"{}\" not found", name.name()));
      WhyPolicy(state, ranges, *policy, known, &report, &wanted);
      break;
    }
    case v1::WhyRequest::kConnection: {
      const v1::WhyConnection& connection = request.connection();
      const v1::WhyObject& name = connection.from();
      const v1::Pod* pod = FindObject(state.pods, {name.namespace_(), name.name()});
      if (pod == nullptr)
        return absl::NotFoundError(fmt::format("pods \"{}\" not found", name.name()));
      if (connection.host().empty() && connection.to().name().empty())
        return absl::InvalidArgumentError("connection.host: Required value");
      WhyConnection(state, ranges, *pod, connection, known, now, &report, &wanted);
      break;
    }
    default:
      return absl::InvalidArgumentError("subject: Required value");
  }
  return WhyAnswer{.response = report.Take(), .wanted = std::move(wanted)};
}

}  // namespace mesh::controlplane
