// SPDX-License-Identifier: Apache-2.0
// Goal: rows of the maps carry the names the state knows, and filters hold.
#include "agent/network/dataplane_rows.h"

#include "agent/network/desired_state.h"
#include "dataplane/fake_dataplane.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/agent/network/named_state.h"

namespace mesh::agent {
namespace {

using testing::IsEmpty;

// Shows rows without names, as after a restart.
class NamelessDataplane : public dataplane::FakeDataplane {
 public:
  using FakeDataplane::FakeDataplane;
  absl::StatusOr<std::vector<dataplane::ServiceRow>> Services() const override {
    auto rows = *FakeDataplane::Services();
    for (auto& row : rows) row.ns = row.name = "";
    return rows;
  }
  absl::StatusOr<std::vector<dataplane::ConntrackRow>> Conntrack() const override {
    dataplane::ConntrackRow row;
    row.source = *IpAddress::Parse("10.244.1.7");
    row.source_port = 40000;
    row.destination = *IpAddress::Parse("10.96.0.10");
    row.destination_port = 80;
    row.translated = true;
    row.backend = *IpAddress::Parse("10.244.2.9");
    row.backend_port = 8080;
    row.state = "established";
    row.expires_in = absl::Seconds(90);
    row.packets = 3;
    dataplane::ConntrackRow direct = row;
    direct.translated = false;
    direct.destination = *IpAddress::Parse("10.244.2.9");
    dataplane::ConntrackRow outside = direct;
    outside.masqueraded = true;
    dataplane::ConntrackRow one_way = row;
    one_way.one_way = true;
    return std::vector<dataplane::ConntrackRow>{row, direct, outside, one_way};
  }
  absl::StatusOr<dataplane::FlowUsage> FlowOwners() const override {
    return dataplane::FlowUsage{30,
                                1000,
                                4,
                                500,
                                {{*IpAddress::Parse("10.244.1.7"), "shop", "web-1", 20, 970},
                                 {{}, "", "", 10, 970},
                                 {*IpAddress::Parse("10.244.2.9"), "", "", 7, 970}}};
  }
};

class ListRowsTest : public testing::Test {
 protected:
  ListRowsTest() {
    EXPECT_TRUE(
        dataplane_.Apply(DesiredStateBuilder(dataplane::NodeConfig()).Build(state_).desired).ok());
  }

  v1::DataplaneNode List(v1::DataplaneTable table, const std::string& ns = "",
                         const std::string& service = "") {
    v1::ListDataplaneRequest request;
    request.set_table(table);
    request.set_namespace_(ns);
    request.set_service(service);
    v1::DataplaneNode out;
    EXPECT_TRUE(ListRows(request, dataplane_, state_.get(), &out).ok());
    return out;
  }

  std::shared_ptr<NodeState> state_ = NamedState();
  NamelessDataplane dataplane_{dataplane::NodeConfig()};
};

TEST_F(ListRowsTest, OwnersOfFlowsComeWithTheOccupancyOfTheTable) {
  const v1::DataplaneNode out = List(v1::DATAPLANE_TABLE_FLOW_OWNERS);

  EXPECT_EQ(out.entries(), 30u);
  EXPECT_EQ(out.max_entries(), 1000u);
  EXPECT_EQ(out.entries6(), 4u);
  EXPECT_EQ(out.max_entries6(), 500u);
  ASSERT_EQ(out.flow_owners_size(), 3);
  EXPECT_EQ(out.flow_owners(0).address(), "10.244.1.7");
  EXPECT_EQ(out.flow_owners(0).pod(), "web-1");
  EXPECT_EQ(out.flow_owners(0).flows(), 20u);
  EXPECT_EQ(out.flow_owners(0).limit(), 970u);
  EXPECT_EQ(out.flow_owners(1).address(), "");
  // Whose pod of another node it is, meshd knows.
  const v1::DataplaneNode shop = List(v1::DATAPLANE_TABLE_FLOW_OWNERS, "shop");
  ASSERT_EQ(shop.flow_owners_size(), 2);
  EXPECT_EQ(shop.flow_owners(1).address(), "10.244.2.9");
  EXPECT_EQ(List(v1::DATAPLANE_TABLE_FLOW_OWNERS, "till").flow_owners_size(), 1);
}

TEST_F(ListRowsTest, ServicesHaveNamesAndTheirBackends) {
  const v1::DataplaneNode out = List(v1::DATAPLANE_TABLE_SERVICE);

  ASSERT_EQ(out.services_size(), 2);
  EXPECT_EQ(out.services(0).vip(), "10.96.0.10");
  EXPECT_EQ(out.services(0).protocol(), "TCP");
  EXPECT_EQ(out.services(0).namespace_(), "shop");
  EXPECT_EQ(out.services(0).service(), "web");
  ASSERT_EQ(out.services(0).backends_size(), 2);
  EXPECT_EQ(out.services(0).backends(0).address(), "10.244.1.5");
  EXPECT_EQ(out.services(0).backends(0).pod(), "web-1");
  EXPECT_EQ(out.services(0).backends(0).state(), "active");
  EXPECT_EQ(out.services(0).type(), "ClusterIP");
  EXPECT_EQ(out.services(0).scope(), "internal");
  EXPECT_EQ(out.services(0).algorithm(), "random");
  EXPECT_EQ(out.services(0).backends(0).weight(), 1u);
  EXPECT_EQ(out.services(0).backends(0).scope(), "all");
  EXPECT_EQ(out.services(1).protocol(), "UDP");
  EXPECT_EQ(out.entries(), 2u);
  EXPECT_GT(out.max_entries(), 0u);
}

TEST_F(ListRowsTest, FiltersByNamespaceAndService) {
  EXPECT_EQ(List(v1::DATAPLANE_TABLE_SERVICE, "shop").services_size(), 2);
  EXPECT_EQ(List(v1::DATAPLANE_TABLE_SERVICE, "shop", "web").services_size(), 2);
  EXPECT_THAT(List(v1::DATAPLANE_TABLE_SERVICE, "other").services(), IsEmpty());
  EXPECT_THAT(List(v1::DATAPLANE_TABLE_BACKEND, "shop", "db").backends(), IsEmpty());
}

TEST_F(ListRowsTest, FlowsThroughAServiceBearItsName) {
  const v1::DataplaneNode out = List(v1::DATAPLANE_TABLE_CONNTRACK);

  ASSERT_EQ(out.conntrack_size(), 4);
  EXPECT_EQ(out.conntrack(0).service(), "web");
  EXPECT_EQ(out.conntrack(0).kind(), "service");
  EXPECT_EQ(out.conntrack(0).backend(), "10.244.2.9");
  EXPECT_EQ(out.conntrack(0).expires_in_seconds(), 90);
  EXPECT_EQ(out.conntrack(1).kind(), "direct");
  EXPECT_THAT(out.conntrack(1).backend(), IsEmpty());
  EXPECT_EQ(out.conntrack(2).kind(), "masqueraded");
  EXPECT_EQ(out.conntrack(3).kind(), "service,one-way");
}

TEST_F(ListRowsTest, ShowsEndpointsAndTunnels) {
  ASSERT_TRUE(dataplane_
                  .Attach({.netns = "/n",
                           .ifname = "eth0",
                           .ip = *IpAddress::Parse("10.244.1.5"),
                           .identity = 300,
                           .ns = "shop",
                           .pod = "web-1",
                           .container_id = "abc"})
                  .ok());

  const v1::DataplaneNode endpoints = List(v1::DATAPLANE_TABLE_ENDPOINT);
  const v1::DataplaneNode tunnels = List(v1::DATAPLANE_TABLE_TUNNEL);

  ASSERT_EQ(endpoints.endpoints_size(), 1);
  EXPECT_EQ(endpoints.endpoints(0).pod(), "web-1");
  EXPECT_EQ(endpoints.endpoints(0).mac(), "02:00:00:00:00:64");
  EXPECT_THAT(List(v1::DATAPLANE_TABLE_ENDPOINT, "other").endpoints(), IsEmpty());
  ASSERT_EQ(tunnels.tunnels_size(), 1);
  EXPECT_EQ(tunnels.tunnels(0).cidr(), "10.244.2.0/24");
  EXPECT_EQ(tunnels.tunnels(0).node(), "node-2");
}

TEST(ListRows, ShowsBothFamilies) {
  auto state = NamedState();
  v1::ServiceState& web = state->services["shop/web"].Mutable();
  for (const char* family : {"IPv4", "IPv6"}) web.add_ip_families(family);
  for (const char* ip : {"10.96.0.10", "fd00:96::a"}) web.add_cluster_ips(ip);
  state->nodes["node-2"].set_pod_cidr6("fd00:244:2::/64");
  dataplane::NodeConfig config;
  config.pod_cidr6 = *IpPrefix::Parse("fd00:244:1::/64");
  config.cluster_cidr6 = *IpPrefix::Parse("fd00:244::/32");
  dataplane::FakeDataplane dataplane(config);
  ASSERT_TRUE(dataplane.Apply(DesiredStateBuilder(config).Build(state).desired).ok());
  ASSERT_TRUE(dataplane
                  .Attach({.netns = "/n",
                           .ifname = "eth0",
                           .ip = *IpAddress::Parse("10.244.1.5"),
                           .container_id = "abc",
                           .ip6 = *IpAddress::Parse("fd00:244:1::5")})
                  .ok());
  const auto list = [&](v1::DataplaneTable table) {
    v1::ListDataplaneRequest request;
    request.set_table(table);
    v1::DataplaneNode out;
    EXPECT_TRUE(ListRows(request, dataplane, state.get(), &out).ok());
    return out;
  };

  const v1::DataplaneNode services = list(v1::DATAPLANE_TABLE_SERVICE);
  ASSERT_EQ(services.services_size(), 4);
  EXPECT_EQ(services.services(2).vip(), "fd00:96::a");
  EXPECT_EQ(services.services(2).service(), "web");
  EXPECT_EQ(services.entries(), 2u);
  EXPECT_EQ(services.entries6(), 2u);
  EXPECT_EQ(list(v1::DATAPLANE_TABLE_ENDPOINT).endpoints(0).address6(), "fd00:244:1::5");
  const v1::DataplaneNode tunnels = list(v1::DATAPLANE_TABLE_TUNNEL);
  ASSERT_EQ(tunnels.tunnels_size(), 2);
  EXPECT_EQ(tunnels.tunnels(1).cidr(), "fd00:244:2::/64");
  EXPECT_EQ(tunnels.tunnels(1).node(), "node-2");
}

TEST(ListRows, RefusesARequestWithoutATable) {
  v1::DataplaneNode out;

  EXPECT_TRUE(absl::IsInvalidArgument(ListRows({}, dataplane::FakeDataplane({}), nullptr, &out)));
}

}  // namespace
}  // namespace mesh::agent
