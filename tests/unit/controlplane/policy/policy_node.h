// SPDX-License-Identifier: Apache-2.0
// A node without a kernel, for what meshd says of policies: the agent's translation, the rows, the
// two lookups of a packet.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <string>

#include "agent/network/policy_translation.h"
#include "controlplane/policy/policy_index.h"
#include "dataplane/policy/policy_table.h"
#include "tests/support/policy/policy_maps.h"
#include "tests/support/policy/policy_model.h"

namespace mesh::controlplane {

// A pod of the model as the cluster has it.
struct Pod {
  std::string name;
  mesh::testing::ModelPod model;
  IpAddress ip, ip6;
  uint32_t identity = 0;
};

inline v1::Pod PodObject(const Pod& pod) {
  v1::Pod out;
  out.mutable_metadata()->set_namespace_(pod.model.ns);
  for (const auto& [key, value] : pod.model.labels) {
    (*out.mutable_metadata()->mutable_labels())[key] = value;
  }
  auto* container = out.mutable_spec()->add_containers();
  for (const auto& port : pod.model.ports) {
    auto* added = container->add_ports();
    added->set_name(port.name);
    added->set_protocol(port.protocol == 6 ? "TCP" : "UDP");
    added->set_container_port(port.port);
  }
  out.mutable_status()->add_pod_ips()->set_ip(pod.ip.ToString());
  out.mutable_status()->add_pod_ips()->set_ip(pod.ip6.ToString());
  return out;
}

// A node that takes everything it is told.
class PolicyNode {
 public:
  // The number of rows that it writes or removes for that.
  size_t Take(const PolicyDelta& delta) {
    dataplane::PolicyChange change;
    for (const auto& set : delta.sets) {
      const auto translated = agent::TranslatePolicySet(set);
      EXPECT_TRUE(translated.ok()) << translated.status();
      if (translated.ok()) change.sets[set.number()] = *translated;
    }
    change.removed_sets = delta.removed_sets;
    for (const auto& row : delta.members)
      change.members.emplace_back(row.selector(), row.identity());
    for (const auto& row : delta.removed_members) {
      change.removed_members.emplace_back(row.selector(), row.identity());
    }
    const auto rows = table_.Apply(change);
    EXPECT_TRUE(rows.ok()) << rows.status();
    if (!rows.ok()) return 0;
    maps_.Write(*rows);
    for (const auto& row : delta.identities) sets_[row.identity()] = row;
    return rows->peers.size() + rows->blocks.size() + rows->ports.size();
  }

  // As AllowsIngress and AllowsEgress of the model.
  std::optional<bool> Allows(Direction direction, uint32_t judged, uint32_t peer,
                             const IpAddress& address, uint8_t protocol, uint16_t port) const {
    const auto it = sets_.find(judged);
    if (it == sets_.end()) return std::nullopt;
    const bool v4 = address.is_v4();
    const v1::IdentityPolicy& sets = it->second;
    const uint32_t set = direction == Direction::kIngress ? v4 ? sets.ingress() : sets.ingress6()
                         : v4 ? sets.egress()
                                                          : sets.egress6();
    if (set == 0) return std::nullopt;
    const auto everybody = table_.ClassOfEverybody(set);
    EXPECT_TRUE(everybody) << "no set " << set;
    return maps_.Decide(set, everybody.value_or(0), peer, address, protocol, port).has_value();
  }

  const mesh::testing::PolicyMaps& maps() const { return maps_; }

 private:
  dataplane::PolicyTable table_{{1'000'000, 1'000'000, 1'000'000}};
  mesh::testing::PolicyMaps maps_;
  std::map<uint32_t, v1::IdentityPolicy> sets_;
};

}  // namespace mesh::controlplane
