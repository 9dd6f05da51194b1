// SPDX-License-Identifier: Apache-2.0
// The world with an uplink, and a Service that clients outside reach at a NodePort and at an
// announced address.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "dataplane/tables/encode.h"
#include "tests/bpf/select_world.h"

namespace mesh::dataplane::testing {

inline constexpr uint32_t kService = 7;
inline const mesh::testing::Place kUser = mesh::testing::At("198.51.100.1:50000"),
                                  kNodePort = mesh::testing::At("192.0.2.1:30080"),
                                  kBalancer = mesh::testing::At("192.0.2.50:80"),
                                  kNear = mesh::testing::At("10.244.1.11:8080"),
                                  kFar = mesh::testing::At("10.244.2.10:8080");

class FrontendWorld : public SelectWorld {
 protected:
  void SetUp() override {
    has_uplink_ = true;
    SelectWorld::SetUp();
    PutNode("192.0.2.2");
  }

  void Serve(const std::vector<std::string>& places, uint32_t flags = 0,
             uint32_t algorithm = MESH_ALGORITHM_RANDOM, Protocol protocol = Protocol::kTcp) {
    for (const char* place : {"0.0.0.0:30080", "192.0.2.50:80"}) {
      PutService({.place = place,
                  .service_id = kService,
                  .scope = MESH_SCOPE_EXTERNAL,
                  .flags = MESH_SERVICE_EXTERNAL | flags,
                  .protocol = protocol},
                 places, algorithm);
    }
  }
  void PutNode(const std::string& ip) {
    // Nodes talk IPv4 to each other.
    ASSERT_TRUE(maps_->v4.node.Upsert({EncodeIp(*IpAddress::Parse(ip))}, 1).ok());
  }
  // A packet of another node that has chosen `backend` for a client outside.
  Outcome Direct(const mesh::testing::Packet& packet, const mesh::testing::Place& backend,
                 const std::string& peer = "192.0.2.2") {
    return FromPeerDirect(packet, backend, peer);
  }
};

}  // namespace mesh::dataplane::testing
