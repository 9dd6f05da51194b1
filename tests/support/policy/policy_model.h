// SPDX-License-Identifier: Apache-2.0
// What NetworkPolicies mean, read from the objects word by word, for one packet at a time: slow,
// and without anything in common with the code that it judges.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/ip_address.h"
#include "mesh/v1/networking.pb.h"

namespace mesh::testing {

struct ModelPort {
  std::string name;
  uint8_t protocol = 6;
  uint16_t port = 0;
};

struct ModelPod {
  std::string ns;
  std::map<std::string, std::string> labels;
  std::vector<ModelPort> ports;
};

struct PolicyModel {
  std::map<std::string, std::map<std::string, std::string>> namespaces;  // labels, by name
  std::vector<v1::NetworkPolicy> policies;                               // with defaults

  // One end of a connection; `pod` is null for what is outside of the cluster.
  struct End {
    const ModelPod* pod = nullptr;
    IpAddress address;
  };

  // Whether `pod` of `direction` takes (sends) a first packet; nullopt: no policy selects it for
  // that direction. `port` is the receiver's; 0 for protocols without ports.
  std::optional<bool> AllowsIngress(const End& from, const End& to, uint8_t protocol,
                                    uint16_t port) const;
  std::optional<bool> AllowsEgress(const End& from, const End& to, uint8_t protocol,
                                   uint16_t port) const;
};

}  // namespace mesh::testing
