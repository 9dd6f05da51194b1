// SPDX-License-Identifier: Apache-2.0
// Findings as they are made; private to this folder.
#pragma once

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "controlplane/state/cluster_state.h"
#include "mesh/v1/why.pb.h"

namespace mesh::controlplane {

class Report {
 public:
  using Remedies = std::vector<std::string>;

  v1::Finding& Ok(std::string object, std::string text);
  v1::Finding& Note(std::string object, std::string text, const Remedies& remedies = {});
  v1::Finding& Problem(std::string object, std::string text, const Remedies& remedies = {});
  v1::Finding& Unknown(std::string object, std::string text);
  // One that another report has made.
  void Add(v1::Finding finding);

  // Any so far.
  bool HasProblem() const { return problems_ > 0; }
  v1::WhyResponse Take() { return std::move(response_); }
  const v1::WhyResponse& response() const { return response_; }

 private:
  v1::Finding& Add(v1::Finding::Verdict verdict, std::string object, std::string text,
                   const Remedies& remedies);

  v1::WhyResponse response_;
  int problems_ = 0;
};

// "pod shop/web".
std::string PodTitle(const v1::Pod& pod);
// "pods shop/web-1, shop/web-2"; "pod shop/web-1" for one. REQUIRES: not empty.
std::string PodsTitle(const std::vector<const v1::Pod*>& pods);
std::string ServiceTitle(const v1::Service& service);
// Where a change of the pod's spec is made: "deployment shop/web", its ReplicaSet, or the pod.
std::string TemplateTitle(const ClusterState& state, const v1::Pod& pod);
// "a=b,c=d", sorted.
std::string LabelText(const google::protobuf::Map<std::string, std::string>& labels);
// "5m10s", whole seconds; "0s" for what is not positive.
std::string Elapsed(absl::Duration duration);
// "a, b, c and 4 more".
std::string NameList(const std::vector<std::string>& names, size_t most = 3);

}  // namespace mesh::controlplane
