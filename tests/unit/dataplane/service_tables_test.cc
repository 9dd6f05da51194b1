// SPDX-License-Identifier: Apache-2.0
#include "dataplane/tables/service_tables.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "dataplane/bpf/fake_map.h"

namespace mesh::dataplane {
namespace {

IpAddress Ip(const std::string& text) { return *IpAddress::Parse(text); }
IpPrefix Range(const std::string& text) { return *IpPrefix::Parse(text); }

class Tables : public ::testing::Test {
 protected:
  absl::Status Execute(const Action& action) {
    absl::Status status = tables_.Execute(action, observed_);
    if (status.ok()) Perform(action, observed_);
    return status;
  }

  static PutBackend Backend(uint32_t id, const std::string& ip) {
    return {id, {1, Ip(ip), 8080, Protocol::kTcp, BackendState::kActive}};
  }
  PutService Web(std::vector<uint32_t> backend_ids) const {
    const auto it = observed_.services.find(frontend_);
    return {frontend_,
            {1, 256, it == observed_.services.end() ? 0 : it->second.generation,
             std::move(backend_ids)}};
  }

  const Frontend frontend_ = {Ip("10.96.0.10"), 80, Protocol::kTcp};
  FakeMap<mesh_service_key, mesh_service_value> service_;
  FakeMap<mesh_set_key, mesh_set_value> set_;
  FakeMap<mesh_slot_key, mesh_slot_value> slot_{8};
  FakeMap<mesh_backend_key, mesh_backend_value> backend_;
  FakeMap<mesh_tunnel_key, mesh_tunnel_value> tunnel_;
  FakeMap<mesh_namespace_key, mesh_namespace_value> ns_;
  ServiceTables tables_{{service_, set_, slot_, backend_, tunnel_, ns_}};
  Observed observed_;
};

TEST_F(Tables, WritesAServiceInNetworkOrder) {
  ASSERT_TRUE(Execute(Backend(7, "10.244.1.10")).ok());
  ASSERT_TRUE(Execute(Web({7})).ok());

  const auto rows = *service_.Dump();
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].first.vip, htonl(0x0a60000a));
  EXPECT_EQ(rows[0].first.port, htons(80));
  EXPECT_EQ(rows[0].first.proto, 6);
  EXPECT_EQ(set_.Lookup({rows[0].second.set_id})->count, 1u);
  const auto backend = *backend_.Lookup({7});
  EXPECT_EQ(backend.ip, htonl(0x0af4010a));
  EXPECT_EQ(backend.port, htons(8080));
}

TEST_F(Tables, ReadsBackWhatWasWritten) {
  ASSERT_TRUE(Execute(PutNamespace{300, Isolation::kClosed}).ok());
  ASSERT_TRUE(Execute(PutPeer{Range("10.244.2.0/24"), Ip("192.0.2.2")}).ok());
  ASSERT_TRUE(Execute(Backend(7, "10.244.1.10")).ok());
  ASSERT_TRUE(Execute(Backend(8, "10.244.1.11")).ok());
  ASSERT_TRUE(Execute(Web({7, 8})).ok());

  EXPECT_EQ(*tables_.Load(), observed_);
}

TEST_F(Tables, ShowsPacketsACompleteServiceAtEveryWrite) {
  ASSERT_TRUE(Execute(Backend(7, "10.244.1.10")).ok());
  ASSERT_TRUE(Execute(Backend(8, "10.244.1.11")).ok());
  ASSERT_TRUE(Execute(Web({7})).ok());
  // Looks, like a packet, before each write to the slots.
  slot_.fault = [&] {
    const auto [key, value] = (*set_.Dump())[0];
    for (uint32_t i = 0; i < value.count; ++i) {
      EXPECT_TRUE(slot_.Lookup({key.set_id, value.generation, i}).ok());
    }
    return absl::OkStatus();
  };

  ASSERT_TRUE(Execute(Web({7, 8})).ok());
  ASSERT_TRUE(Execute(Web({8})).ok());

  EXPECT_EQ(slot_.size(), 1u);
}

TEST_F(Tables, LeavesNoSlotOfARemovedService) {
  ASSERT_TRUE(Execute(Backend(7, "10.244.1.10")).ok());
  ASSERT_TRUE(Execute(Web({7})).ok());

  ASSERT_TRUE(Execute(RemoveService{frontend_}).ok());
  ASSERT_TRUE(Execute(RemoveBackend{7}).ok());

  EXPECT_EQ(service_.size() + set_.size() + slot_.size() + backend_.size(), 0u);
}

TEST_F(Tables, TellsWhenTheSlotsAreFull) {
  std::vector<uint32_t> many;
  for (uint32_t id = 1; id <= 9; ++id) many.push_back(id);

  EXPECT_TRUE(absl::IsResourceExhausted(Execute(Web(many))));
  EXPECT_EQ(service_.size(), 0u);
}

TEST_F(Tables, RemovesSlotsThatACrashHasLeft) {
  ASSERT_TRUE(Execute(Backend(7, "10.244.1.10")).ok());
  ASSERT_TRUE(Execute(Web({7})).ok());
  ASSERT_TRUE(slot_.Upsert({2, 99, 0}, {7}).ok());
  ASSERT_TRUE(slot_.Upsert({5, 1, 0}, {7}).ok());

  ASSERT_TRUE(tables_.RemoveOrphans().ok());

  EXPECT_EQ(slot_.size(), 1u);
  EXPECT_EQ(*tables_.Load(), observed_);
}

}  // namespace
}  // namespace mesh::dataplane
