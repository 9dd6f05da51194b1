// SPDX-License-Identifier: Apache-2.0
// A cluster that is asked why.
#pragma once

#include <string>
#include <vector>

#include "controlplane/controllers/endpoints_controller.h"
#include "controlplane/controllers/objects.h"
#include "controlplane/inspect/why.h"
#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/controlplane/controllers/cluster_world.h"

namespace mesh::controlplane {

class WhyTest : public ::testing::Test {
 protected:
  // Findings of one kind: "object: text -> remedy | remedy".
  static std::vector<std::string> Of(const v1::WhyResponse& response,
                                     v1::Finding::Verdict verdict) {
    std::vector<std::string> out;
    for (const v1::Finding& finding : response.findings()) {
      if (finding.verdict() != verdict) continue;
      std::string line = finding.object() + ": " + finding.text();
      for (int i = 0; i < finding.remedies_size(); ++i)
        line += (i == 0 ? " -> " : " | ") + finding.remedies(i);
      out.push_back(std::move(line));
    }
    return out;
  }
  static std::vector<std::string> Problems(const v1::WhyResponse& r) {
    return Of(r, v1::Finding::PROBLEM);
  }
  static std::vector<std::string> Notes(const v1::WhyResponse& r) {
    return Of(r, v1::Finding::NOTE);
  }
  static std::vector<std::string> Oks(const v1::WhyResponse& r) { return Of(r, v1::Finding::OK); }

  WhyAnswer Answer(const v1::WhyRequest& request) {
    auto answer = Why(world.state, ranges, request, {listeners, refusals}, world.now);
    EXPECT_TRUE(answer.ok()) << answer.status();
    return answer.value_or(WhyAnswer());
  }
  v1::WhyResponse OfPod(const std::string& name) {
    v1::WhyRequest request;
    request.mutable_pod()->set_namespace_("default");
    request.mutable_pod()->set_name(name);
    return Answer(request).response;
  }
  v1::WhyResponse OfService(const std::string& name) {
    if (!world.service(name).spec().selector().empty())
      world.Settle(EndpointsController(), InDefault(name));
    v1::WhyRequest request;
    request.mutable_service()->set_namespace_("default");
    request.mutable_service()->set_name(name);
    return Answer(request).response;
  }

  void Ask(const std::string& pod, const std::string& cpu, const std::string& memory = "0") {
    auto* resources = world.pod(pod).mutable_spec()->mutable_containers(0)->mutable_resources();
    (*resources->mutable_requests())["cpu"].set_text(cpu);
    (*resources->mutable_requests())["memory"].set_text(memory);
  }
  // The status of the pod's only container.
  v1::ContainerStatus& Container(const std::string& pod) {
    v1::PodStatus& status = *world.pod(pod).mutable_status();
    if (status.container_statuses_size() == 0) status.add_container_statuses();
    v1::ContainerStatus& out = *status.mutable_container_statuses(0);
    out.set_name(world.pod(pod).spec().containers(0).name());
    return out;
  }
  google::protobuf::Timestamp Ago(absl::Duration duration) {
    return ToTimestamp(world.now - duration);
  }

  ClusterWorld world;
  const ClusterRanges ranges =
      ParseClusterRanges("10.244.0.0/16,fd00:10:244::/56", "10.96.0.0/16,fd00:10:96::/112").value();
  // The node has no room for these policies, and for these pods nothing from before.
  void Refuse(const std::string& node, const std::vector<std::string>& policies,
              const std::vector<std::string>& shut = {}) {
    v1::PolicyRefusal& refusal = refusals[node];
    refusal.set_reason("no room");
    for (const std::string& name : policies) refusal.add_policies(name);
    for (const std::string& name : shut) refusal.add_shut_pods(name);
  }

  Listeners listeners;
  Refusals refusals;
};

}  // namespace mesh::controlplane
