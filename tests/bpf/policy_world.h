// SPDX-License-Identifier: Apache-2.0
// The world of world.h with NetworkPolicies, taken the whole way: objects as the store has them,
// what meshd tells of them, the agent's state, its translation, the maps, the programs. Pods and
// namespaces of world.h have labels here:
//
//   shop (team=shop)   client 10.244.1.10 app=client   near 10.244.1.11 app=near, port web=8080/TCP
//                      far 10.244.2.10 app=far, port web=9090/TCP
//   bank (team=bank)   clerk 10.244.1.12 app=clerk     teller 10.244.2.12 app=teller
#pragma once

#include <map>
#include <string>
#include <vector>

#include "agent/network/desired_state.h"
#include "agent/state/node_state.h"
#include "controlplane/policy/policy_view.h"
#include "tests/bpf/world.h"
#include "tests/support/policy/policy_model.h"

namespace mesh::dataplane::testing {

inline IpAddress Ip(const std::string& text) { return *IpAddress::Parse(text); }
inline IpPrefix Range(const std::string& text) { return *IpPrefix::Parse(text); }

class PolicyWorld : public World {
 protected:
  struct Somebody {
    std::string name, ip;
    mesh::testing::ModelPod model;
    uint32_t identity = 0;
  };

  void SetUp() override;

  // `spec`: text of mesh.v1.NetworkPolicySpec. Replaces one of the same name. Settle() follows.
  void PutPolicy(const std::string& ns, const std::string& name, const std::string& spec);
  void RemovePolicy(const std::string& ns, const std::string& name);
  void Label(const std::string& pod, std::map<std::string, std::string> labels);
  void LabelNamespace(const std::string& ns, std::map<std::string, std::string> labels);
  // Gives the pods the identities that meshd would, and brings what has changed into the maps.
  void Settle();
  // As another meshd would say the same: other numbers for everything.
  void RestartMeshd();
  // As another agent finds the maps.
  void RestartAgent();
  // Such an agent, on a node that has less room for policies.
  void RestartAgent(const PolicyLimits& limits);

  // A first datagram (TCP: SYN), from a port that no other had.
  std::string Try(const std::string& from, const std::string& to, uint8_t protocol, uint16_t port);
  // The same from an address of the other node that no pod has.
  std::string TryFromOutside(const std::string& to, uint8_t protocol, uint16_t port);
  std::string TryAddress(const std::string& from, const std::string& ip, uint8_t protocol,
                         uint16_t port);
  // Packets that were counted as dropped by policies, by the numbers of their sets in the maps.
  std::map<uint32_t, uint64_t> Drops();
  Somebody& The(const std::string& name);
  // A pod that nobody knows yet, in everybody_ from now on; Settle() tells meshd and the node of
  // it.
  Somebody& Come(const std::string& name, const std::string& ip, mesh::testing::ModelPod model);
  // Its interface, as the agent attaches one; its identity is what Settle() has given it, or 0.
  void Attach(const Somebody& pod);
  // Both; Settle() follows.
  void Leave(const std::string& name);
  static bool IsHere(const Somebody& pod) { return pod.ip.starts_with("10.244.1."); }
  // What a first packet must meet, word by word; empty: forwarded.
  std::string Expected(const Somebody& from, const Somebody& to, uint8_t protocol,
                       uint16_t port) const;
  mesh::testing::PolicyModel::End EndOf(const Somebody& pod) const;
  mesh::testing::Packet First(const std::string& from, const std::string& to, uint8_t protocol,
                              uint16_t port);

  std::vector<Somebody> everybody_;
  mesh::testing::PolicyModel model_;

 private:
  v1::Pod PodOf(const Somebody& pod) const;
  const Pod& Here(const Somebody& pod) const;
  void Tell(bool full);

  std::map<std::string, uint32_t> identities_;  // by what they stand for
  uint32_t next_identity_ = 300;
  uint64_t epoch_ = 0;
  controlplane::ClusterState state_;
  std::unique_ptr<controlplane::PolicyView> view_;
  std::shared_ptr<const agent::NodeState> node_;
  std::unique_ptr<agent::DesiredStateBuilder> builder_;
  uint16_t next_port_ = 20000;
  std::map<std::string, Pod> newcomers_;  // of this node, all behind one interface
  std::map<std::string, Endpoint> attached_;
  std::vector<std::string> left_;  // uids that the node has not heard of
};

}  // namespace mesh::dataplane::testing
