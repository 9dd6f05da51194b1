// SPDX-License-Identifier: Apache-2.0
#include "dataplane/tables/endpoint_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dataplane/bpf/fake_map.h"
#include "dataplane/tables/encode.h"

namespace mesh::dataplane {
namespace {

class EndpointTableTest : public ::testing::Test {
 protected:
  static EndpointRecord Record() {
    EndpointRecord record;
    record.ifname = "eth0";
    record.endpoint.ip = *IpAddress::Parse("10.244.1.10");
    record.endpoint.ip6 = *IpAddress::Parse("fd00:10:244:1::a");
    record.endpoint.ifindex = 12;
    record.endpoint.interface = HostInterfaceName("c1", "eth0");
    record.endpoint.pod_mac = {2, 0, 0, 0, 0, 1};
    record.endpoint.host_mac = {2, 0, 0, 0, 0, 2};
    record.endpoint.identity = 256;
    record.policy.identity = 256;
    record.endpoint.ns = "shop";
    record.endpoint.pod = "web-0";
    record.endpoint.container_id = "c1";
    return record;
  }

  FakeMap<mesh_endpoint_key, mesh_endpoint_value> endpoint_;
  FakeMap<mesh_endpoint_key, mesh_endpoint_name> name_;
  FakeMap<mesh_endpoint6_key, mesh_endpoint_value> endpoint6_;
  EndpointTable table_{endpoint_, name_, &endpoint6_};
};

TEST_F(EndpointTableTest, ReadsBackWhatWasWritten) {
  ASSERT_TRUE(table_.Put(Record()).ok());

  const absl::StatusOr<EndpointRecord> found = table_.Find("c1", "eth0");

  ASSERT_TRUE(found.ok());
  EXPECT_EQ(found->endpoint, Record().endpoint);
  EXPECT_TRUE(absl::IsNotFound(table_.Find("c1", "eth1").status()));
}

TEST_F(EndpointTableTest, RefusesANameThatDoesNotFit) {
  EndpointRecord record = Record();
  record.endpoint.container_id = std::string(128, 'x');

  EXPECT_EQ(table_.Put(record).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(endpoint_.size(), 0u);
}

TEST_F(EndpointTableTest, RemovesBothRows) {
  ASSERT_TRUE(table_.Put(Record()).ok());

  ASSERT_TRUE(table_.Remove(Record().endpoint).ok());
  ASSERT_TRUE(table_.Remove(Record().endpoint).ok());

  EXPECT_EQ(endpoint_.size() + endpoint6_.size() + name_.size(), 0u);
}

TEST_F(EndpointTableTest, TakesAPodWithoutIpv6AndRefusesOneWithItOnANodeWithout) {
  EndpointTable without(endpoint_, name_);
  EXPECT_EQ(without.Put(Record()).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(endpoint_.size(), 0u);

  EndpointRecord record = Record();
  record.endpoint.ip6 = IpAddress();
  ASSERT_TRUE(table_.Put(record).ok());
  EXPECT_EQ(table_.Find("c1", "eth0")->endpoint, record.endpoint);
  EXPECT_EQ(endpoint6_.size(), 0u);
}

TEST_F(EndpointTableTest, RemovesASecondAddressWithoutAFirst) {
  ASSERT_TRUE(table_.Put(Record()).ok());
  mesh_endpoint_value left{};
  left.ifindex = 13;
  ASSERT_TRUE(endpoint6_.Upsert({EncodeIp6(*IpAddress::Parse("fd00::99"))}, left).ok());

  ASSERT_TRUE(table_.RemoveOrphans(*IpPrefix::Parse("fd00::/16")).ok());

  EXPECT_EQ(endpoint6_.size(), 1u);
  EXPECT_EQ(table_.Find("c1", "eth0")->endpoint, Record().endpoint);

  ASSERT_TRUE(table_.RemoveOrphans(*IpPrefix::Parse("fd99::/16")).ok());

  EXPECT_EQ(endpoint6_.size(), 0u);
  EXPECT_EQ(table_.Find("c1", "eth0")->endpoint.ip6, IpAddress());
}

TEST(HostInterfaceName, IsFixedForAnAttachmentAndFitsTheKernel) {
  EXPECT_EQ(HostInterfaceName("c1", "eth0"), HostInterfaceName("c1", "eth0"));
  EXPECT_NE(HostInterfaceName("c1", "eth0"), HostInterfaceName("c1", "eth1"));
  EXPECT_EQ(HostInterfaceName(std::string(64, 'f'), "eth0").size(), 14u);
}

}  // namespace
}  // namespace mesh::dataplane
