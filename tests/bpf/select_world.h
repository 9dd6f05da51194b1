// SPDX-License-Identifier: Apache-2.0
// The world of world.h with Services written row by row: for tests of what the programs make of
// the tables, whoever fills them.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "mesh/shared/affinity_map.h"
#include "mesh/shared/backend_load_map.h"
#include "mesh/shared/source_range_map.h"
#include "tests/bpf/world.h"

namespace mesh::dataplane::testing {

class SelectWorld : public World {
 protected:
  struct FrontendRow {
    std::string place;  // "10.96.0.10:80"; "0.0.0.0:30080": a NodePort
    uint32_t service_id = 0;
    int scope = MESH_SCOPE_INTERNAL;
    uint32_t flags = 0;
    uint32_t affinity_s = 0;
    uint32_t identity = kShop;
    Protocol protocol = Protocol::kTcp;
  };
  struct BackendRow {
    uint32_t id = 0;
    uint32_t service_id = 0;
    std::string place;
    BackendState state = BackendState::kActive;
    uint16_t weight = 1;
    uint8_t scopes = kScopeBoth;
  };

  void SetUp() override;
  // Removes what these functions have written.
  void Clear();

  void Put(const FrontendRow& row);
  void Put(const BackendRow& row);
  void RemoveBackend(uint32_t id);
  // A new generation with these slots. It takes the place of the last one as the agent does it.
  void PutSet(uint32_t service_id, int scope, const std::vector<uint32_t>& backend_ids,
              uint32_t algorithm = MESH_ALGORITHM_RANDOM, uint32_t table_size = 0);
  // Place i of the table holds backend i modulo their number.
  void PutMaglevSet(uint32_t service_id, int scope, const std::vector<uint32_t>& backend_ids,
                    uint32_t table_size);
  // One frontend, backends 1, 2, ... at these places, one set.
  void PutService(const FrontendRow& frontend, const std::vector<std::string>& places,
                  uint32_t algorithm = MESH_ALGORITHM_RANDOM);
  void PutRange(uint32_t service_id, const std::string& range);
  void PutLoad(uint32_t backend_id, uint32_t flows);
  uint32_t LoadOf(uint32_t backend_id);
  // Makes every client's last sight `seconds` older.
  void AgeAffinity(int seconds);
  // All flows are judged again at their next packet.
  void JudgeAgain();

  // A connection of client port `port` to `to`: the address it is sent to, or the reason it is not.
  std::string Dial(const std::string& to, uint16_t port);
  std::string Dial(const Pod& pod, const std::string& to, uint16_t port);

 private:
  struct Rows;
  std::shared_ptr<Rows> rows_;
};

}  // namespace mesh::dataplane::testing
