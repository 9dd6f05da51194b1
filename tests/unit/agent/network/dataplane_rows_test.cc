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
  EXPECT_EQ(List(v1::DATAPLANE_TABLE_SERVICE, "", "shop/web").services_size(), 2);
  EXPECT_THAT(List(v1::DATAPLANE_TABLE_SERVICE, "", "pay/web").services(), IsEmpty());
  EXPECT_EQ(List(v1::DATAPLANE_TABLE_CONNTRACK, "", "shop/web").conntrack_size(), 2);
  EXPECT_THAT(List(v1::DATAPLANE_TABLE_CONNTRACK, "", "pay/web").conntrack(), IsEmpty());
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
  EXPECT_EQ(tunnels.tunnels(0).routing(), "vxlan");
}

TEST_F(ListRowsTest, IdentitiesNameTheNamespaceAndWhoHasThem) {
  state_->namespaces[300].Mutable().set_name("shop");
  ASSERT_TRUE(dataplane_
                  .Attach({.netns = "/n",
                           .ifname = "eth0",
                           .ip = *IpAddress::Parse("10.244.1.5"),
                           .identity = 300,
                           .ns = "shop",
                           .pod = "web-1",
                           .container_id = "abc"})
                  .ok());
  dataplane::DesiredState desired = dataplane_.desired();
  desired.pod_identities[*IpAddress::Parse("10.244.2.9")] = 300;
  ASSERT_TRUE(dataplane_.Apply(desired).ok());

  const v1::DataplaneNode shop = List(v1::DATAPLANE_TABLE_IDENTITY, "shop");
  const v1::DataplaneNode all = List(v1::DATAPLANE_TABLE_IDENTITY);

  ASSERT_EQ(shop.identities_size(), 1);
  EXPECT_EQ(shop.identities(0).identity(), 300u);
  EXPECT_THAT(shop.identities(0).pods(), testing::ElementsAre("shop/web-1"));
  EXPECT_THAT(shop.identities(0).addresses(), testing::ElementsAre("10.244.2.9"));
  ASSERT_EQ(all.identities_size(), 7);  // with the namespace "empty"
  EXPECT_EQ(all.identities(0).name(), "host");
}

TEST_F(ListRowsTest, PoliciesNamePodsPeersAndRules) {
  constexpr uint32_t kWeb = 300, kCart = 301;
  const auto attach = [&](const char* ip, uint32_t identity, const char* pod) {
    ASSERT_TRUE(dataplane_
                    .Attach({.netns = pod,
                             .ifname = "eth0",
                             .ip = *IpAddress::Parse(ip),
                             .identity = identity,
                             .ns = "shop",
                             .pod = pod,
                             .container_id = pod})
                    .ok());
  };
  attach("10.244.1.5", kWeb, "web-1");
  attach("10.244.1.6", kCart, "cart-1");
  state_->namespaces[400].Mutable().set_name("bank");
  v1::Pod& pod = state_->pods["uid-web"].Mutable();
  pod.mutable_metadata()->set_namespace_("shop");
  pod.mutable_metadata()->set_name("web-1");
  pod.mutable_status()->set_identity(kWeb);
  v1::IdentityState identity;
  identity.set_ingress(7);
  state_->identities[kWeb] = identity;
  v1::PolicySetState set;
  set.add_policies("shop/deny");
  set.add_policies("shop/web");
  v1::PolicyRuleState* rule = set.add_rules();
  rule->set_id(77);
  rule->set_policy(1);
  rule->set_index(2);
  state_->policy_sets[7] = set;
  dataplane::PolicyClassRow some{.set = 3, .number = 9};
  some.pods = {*IpAddress::Parse("10.244.1.5")};
  some.identities = {2, kCart, 400};
  some.blocks = {*IpPrefix::Parse("192.0.2.0/24")};
  const dataplane::Decision allow{dataplane::PolicyVerdict::kAllow, 77};
  some.ports = {{{6, 80, 24}, allow}, {{6, 81, 24}, allow}, {{17, 0, 8}, allow}};
  dataplane::PolicyClassRow rest{.set = 3, .number = 8};
  rest.pods = some.pods;
  rest.everybody = true;
  dataplane_.policies = {some, rest};

  const v1::DataplaneNode out = List(v1::DATAPLANE_TABLE_POLICY, "shop");

  ASSERT_EQ(out.policies_size(), 2);
  EXPECT_EQ(out.policies(0).ShortDebugString(),
            "direction: \"ingress\" pods: \"shop/web-1\" peers: \"2(world)\" peers: "
            "\"shop/cart-1\" peers: \"400(bank)\" peers: \"192.0.2.0/24\" ports: \"TCP 80-81\" "
            "ports: \"UDP\" verdict: \"allow\" policy: \"shop/web\" rule: 2 policies: "
            "\"shop/deny\" policies: \"shop/web\" set: 3 class_number: 9");
  EXPECT_EQ(out.policies(1).ShortDebugString(),
            "direction: \"ingress\" pods: \"shop/web-1\" peers: \"everybody else\" ports: "
            "\"any\" verdict: \"drop\" policies: \"shop/deny\" policies: \"shop/web\" set: 3 "
            "class_number: 8");
  EXPECT_THAT(List(v1::DATAPLANE_TABLE_POLICY, "bank").policies(), IsEmpty());
  v1::ListDataplaneRequest request;
  request.set_table(v1::DATAPLANE_TABLE_POLICY);
  const auto count = [&](const std::string& policy, const std::string& of_pod) {
    request.set_policy(policy);
    request.set_pod(of_pod);
    v1::DataplaneNode node;
    EXPECT_TRUE(ListRows(request, dataplane_, state_.get(), &node).ok());
    return node.policies_size();
  };
  EXPECT_EQ(count("web", ""), 2);
  EXPECT_EQ(count("deny", ""), 1);
  EXPECT_EQ(count("other", ""), 0);
  EXPECT_EQ(count("", "web-1"), 2);
  EXPECT_EQ(count("", "cart-1"), 0);
  EXPECT_EQ(count("shop/web", ""), 2);
  EXPECT_EQ(count("bank/web", ""), 0);

  // Once IPv6 is judged apart, the rest is of IPv4.
  dataplane::PolicyClassRow six = rest, egress = rest;
  six.ipv6 = true;
  egress.egress = true;
  dataplane_.policies = {rest, six, egress};
  const v1::DataplaneNode apart = List(v1::DATAPLANE_TABLE_POLICY);
  ASSERT_EQ(apart.policies_size(), 3);
  EXPECT_EQ(apart.policies(0).family(), "IPv4");
  EXPECT_EQ(apart.policies(1).family(), "IPv6");
  EXPECT_EQ(apart.policies(2).family(), "");
}

TEST_F(ListRowsTest, FlowsAreFoundByPodProtocolAndAddress) {
  v1::ListDataplaneRequest request;
  request.set_table(v1::DATAPLANE_TABLE_CONNTRACK);
  const auto flows = [&](const v1::ListDataplaneRequest& wanted) {
    v1::DataplaneNode out;
    EXPECT_TRUE(ListRows(wanted, dataplane_, state_.get(), &out).ok());
    return out.conntrack_size();
  };
  v1::ListDataplaneRequest by_pod = request, by_other = request, by_udp = request, by_ip = request;
  by_pod.set_pod("web-2");
  by_other.set_pod("till/web-2");
  by_udp.set_protocol("UDP");
  by_ip.set_ip("10.96.0.10");

  EXPECT_EQ(flows(by_pod), 4);
  EXPECT_EQ(flows(by_other), 0);
  EXPECT_EQ(flows(by_udp), 0);
  EXPECT_EQ(flows(by_ip), 2);
  v1::DataplaneNode out;
  ASSERT_TRUE(ListRows(by_pod, dataplane_, state_.get(), &out).ok());
  EXPECT_EQ(out.conntrack(0).destination_pod(), "shop/web-2");
  EXPECT_EQ(out.conntrack(0).source_pod(), "");
}

TEST_F(ListRowsTest, RowsOfAMapHaveNamesBehindNumbersAndAddresses) {
  state_->namespaces[300].Mutable().set_name("shop");
  dataplane_.map_rows["mesh_x"] = {{"ip=10.244.2.9 identity=300", {"identity=2 port=80"}},
                                   {"ip=10.1.1.1", {"identity=999"}}};
  v1::ListDataplaneRequest request;
  request.set_table(v1::DATAPLANE_TABLE_MAP_ROWS);
  request.set_map("mesh_x");
  v1::DataplaneNode out;
  ASSERT_TRUE(ListRows(request, dataplane_, state_.get(), &out).ok());

  ASSERT_EQ(out.map_entries_size(), 2);
  EXPECT_EQ(out.map_entries(0).key(), "ip=10.244.2.9(shop/web-2) identity=300(shop)");
  EXPECT_EQ(out.map_entries(0).values(0), "identity=2(world) port=80");
  EXPECT_EQ(out.map_entries(1).key(), "ip=10.1.1.1");
  EXPECT_EQ(out.map_entries(1).values(0), "identity=999");
  EXPECT_FALSE(out.more());

  request.set_limit(1);
  v1::DataplaneNode first;
  ASSERT_TRUE(ListRows(request, dataplane_, state_.get(), &first).ok());
  EXPECT_EQ(first.map_entries_size(), 1);
  EXPECT_TRUE(first.more());
  request.set_map("mesh_none");
  EXPECT_TRUE(absl::IsNotFound(ListRows(request, dataplane_, state_.get(), &first)));
}

TEST(SubtractRuns, LeavesTheRunsInBetween) {
  v1::DataplaneNode before, after;
  v1::ProgramRow* row = before.add_programs();
  row->set_id(7);
  row->set_runs(100);
  row->set_run_time_ns(5000);
  *after.add_programs() = *row;
  after.mutable_programs(0)->set_runs(130);
  after.mutable_programs(0)->set_run_time_ns(8000);
  after.add_programs()->set_runs(4);

  SubtractRuns(before, absl::Milliseconds(1500), &after);

  EXPECT_EQ(after.programs(0).runs(), 30u);
  EXPECT_EQ(after.programs(0).run_time_ns(), 3000u);
  EXPECT_EQ(after.programs(0).measured_ms(), 1500u);
  EXPECT_EQ(after.programs(1).runs(), 4u);
}

TEST(ListRows, ShowsBothFamilies) {
  auto state = NamedState();
  v1::ServiceState& web = state->services["shop/web"].Mutable();
  for (const char* family : {"IPv4", "IPv6"}) web.add_ip_families(family);
  for (const char* ip : {"10.96.0.10", "fd00:96::a"}) web.add_cluster_ips(ip);
  state->nodes["node-2"].Mutable().set_pod_cidr6("fd00:244:2::/64");
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
