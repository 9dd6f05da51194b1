// SPDX-License-Identifier: Apache-2.0
// What NetworkPolicies and the isolation of namespaces say about a request of a pod; private to
// this folder. What is true of several pods alike is told once.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "controlplane/inspect/policy_answer.h"
#include "controlplane/inspect/report.h"
#include "controlplane/inspect/why.h"

namespace mesh::controlplane {

// Known bit by bit while a request is followed.
struct RequestFacts {
  std::string protocol;     // of the Service's port, when it was named
  std::set<bool> families;  // true: IPv6
  std::string instead;      // what to ask instead, of who asks another node's address
  bool by_host_port = false;
};

class Judgement {
 public:
  // All outlive this.
  Judgement(const ClusterState& state, const v1::Pod& from, const Known& known,
            const RequestFacts& request)
      : state_(state), from_(from), known_(known), request_(request) {}

  // What the NetworkPolicies say that select `pod`; whether there are any. Once where both families
  // fare alike.
  bool Policies(bool egress, const v1::Pod& pod, const PolicyPeer& peer, uint32_t port,
                Report* report);
  // Whether what the policies say about the pod is not what its packets meet.
  bool Refused(bool egress, const v1::Pod& pod, Report* report);
  // Whether the pod may ask for names; what it asks for here is a name, or may well be.
  //   host  that it asks
  void Names(const std::string& host, Report* report);
  //   service  that the request came through; null: none
  //   seen     of whose address the request is, where it is not the pod's own; else empty
  void Isolation(const v1::Pod& to, const v1::Service* service, const std::string& seen,
                 Report* report);

 private:
  void PoliciesWithoutPods(bool egress, const std::string& ns, Report* report);
  void TellPolicies(const v1::Pod& pod, const PolicyAnswer& answer, const std::string& over,
                    bool refused, Report* report);

  const ClusterState& state_;
  const v1::Pod& from_;
  const Known& known_;
  const RequestFacts& request_;
  std::set<std::string> told_isolation_, told_policies_;
  std::set<std::pair<bool, std::string>> told_nobody_;  // egress, namespace
  std::map<std::pair<bool, ObjectKey>, bool> refused_;  // egress, pod
};

}  // namespace mesh::controlplane
