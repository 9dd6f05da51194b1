// SPDX-License-Identifier: Apache-2.0
// What Services get from the cluster, written through the writer: as many at a time as one likes.
#include "controlplane/state/service_admission.h"

#include <set>

#include "controlplane/state/writer.h"
#include "tests/unit/controlplane/state/world.h"

namespace mesh::controlplane {
namespace {

using ::testing::HasSubstr;

AdmissionOptions WithPool(const std::vector<std::string>& ranges) {
  AdmissionOptions out;
  out.load_balancer_pools = *LoadBalancerPools::Parse(ranges);
  return out;
}

v1::Resource Of(const std::string& type, const std::string& name, int32_t node_port = 0) {
  v1::Resource out = AService(name);
  v1::ServiceSpec* spec = out.mutable_service()->mutable_spec();
  spec->set_type(type);
  spec->clear_ports();
  v1::ServicePort* port = spec->add_ports();
  port->set_port(80);
  port->set_protocol("TCP");
  port->set_node_port(node_port);
  return out;
}

const v1::Service& Stored(World& world, const std::string& name) {
  return *world.cache.state().services.at({"default", name});
}

std::string AddressOf(World& world, const std::string& name) {
  const auto& ingress = Stored(world, name).status().load_balancer().ingress();
  return ingress.empty() ? "" : ingress.Get(0).ip();
}

std::string Message(const absl::StatusOr<Written>& written) {
  return std::string(written.status().message());
}

// `change` on what is stored, as a user's update.
template <typename Change>
absl::StatusOr<Written> Updated(World& world, const std::string& name, Change change) {
  v1::Resource next = *world.cache.Find(v1::KIND_SERVICE, {"default", name});
  change(next.mutable_service()->mutable_spec());
  return world.Submit({Write::Type::kUpdate, next, {}});
}

TEST(ServiceAdmission, GivesEveryNodePortOnce) {
  World world;
  for (int i = 0; i < 50; ++i) {
    world.writer.Create(Of("NodePort", "s" + std::to_string(i)), nullptr);
  }
  world.Settle();

  std::set<int32_t> ports;
  for (const auto& [key, service] : world.cache.state().services) {
    ports.insert(service->spec().ports(0).node_port());
  }
  EXPECT_EQ(ports.size(), 50u);
  EXPECT_GE(*ports.begin(), 30086) << "the lower part is left to people";
  EXPECT_LE(*ports.rbegin(), 32767);
}

TEST(ServiceAdmission, RefusesANodePortThatAnotherHasAndNamesIt) {
  World world;
  ASSERT_TRUE(world.Create(Of("NodePort", "first", 30080)).ok());

  EXPECT_EQ(Message(world.Create(Of("NodePort", "second", 30080))),
            "Service \"second\" is invalid: spec.ports[0].nodePort: Invalid value: 30080: provided "
            "port is already allocated, to Service default/first");
  EXPECT_EQ(
      Message(world.Create(Of("NodePort", "third", 80))),
      "Service \"third\" is invalid: spec.ports[0].nodePort: Invalid value: 80: provided port "
      "is not in the valid range. The range of valid ports is 30000-32767");
  ASSERT_TRUE(world.Delete(v1::KIND_SERVICE, {"default", "first"}).ok());
  EXPECT_TRUE(world.Create(Of("NodePort", "second", 30080)).ok());
}

TEST(ServiceAdmission, GivesOneNumberToBothProtocolsOfAPort) {
  World world;
  v1::Resource dns = Of("NodePort", "dns");
  v1::ServicePort* udp = dns.mutable_service()->mutable_spec()->add_ports();
  udp->set_port(80);
  udp->set_protocol("UDP");

  ASSERT_TRUE(world.Create(dns).ok());

  const v1::ServiceSpec& spec = Stored(world, "dns").spec();
  EXPECT_EQ(spec.ports(0).node_port(), spec.ports(1).node_port());
}

TEST(ServiceAdmission, LeavesHostPortsOfPodsAlone) {
  World world;
  v1::Resource pod = APod("db");
  pod.mutable_pod()->mutable_spec()->mutable_containers(0)->add_ports()->set_host_port(30080);
  // Where the search begins.
  pod.mutable_pod()->mutable_spec()->mutable_containers(0)->add_ports()->set_host_port(30086);
  ASSERT_TRUE(world.Create(pod).ok());

  EXPECT_EQ(Message(world.Create(Of("NodePort", "web", 30080))),
            "Service \"web\" is invalid: spec.ports[0].nodePort: Invalid value: 30080: provided "
            "port is already in use, as hostPort of pod default/db");
  ASSERT_TRUE(world.Create(Of("NodePort", "other")).ok());
  EXPECT_EQ(world.cache.state().services.at({"default", "other"})->spec().ports(0).node_port(),
            30087);
  ASSERT_TRUE(world.Delete(v1::KIND_POD, {"default", "db"}).ok());
  EXPECT_TRUE(world.Create(Of("NodePort", "web", 30080)).ok());
}

TEST(ServiceAdmission, SaysWhenTheNodePortsAreUsedUp) {
  World world({.admission = {.node_port_first = 31000, .node_port_last = 31003}});
  absl::Status last;
  int created = 0;
  for (int i = 0; i < 5 && last.ok(); ++i) {
    last = world.Create(Of("NodePort", "s" + std::to_string(i))).status();
    created += last.ok();
  }

  EXPECT_EQ(created, 4);
  EXPECT_EQ(last.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(last.message()), HasSubstr("--node-port-range"));
}

TEST(ServiceAdmission, KeepsHeadlessAndExternalNameWithoutAddress) {
  World world;
  v1::Resource headless = Of("ClusterIP", "headless");
  headless.mutable_service()->mutable_spec()->set_cluster_ip("None");
  ASSERT_TRUE(world.Create(headless).ok());
  ASSERT_TRUE(world.Create(Of("ExternalName", "elsewhere")).ok());

  EXPECT_EQ(Stored(world, "headless").spec().cluster_ip(), "None");
  EXPECT_EQ(Stored(world, "elsewhere").spec().cluster_ip(), "");
}

TEST(ServiceAdmission, HandsOutBalancerAddressesAndTakesThemBack) {
  World world({.admission = WithPool({"192.168.1.240-192.168.1.241"})});
  for (const char* name : {"a", "b", "c"}) ASSERT_TRUE(world.Create(Of("LoadBalancer", name)).ok());
  EXPECT_EQ(AddressOf(world, "a"), "192.168.1.240");
  EXPECT_EQ(AddressOf(world, "b"), "192.168.1.241");
  EXPECT_EQ(AddressOf(world, "c"), "") << "waits";

  ASSERT_TRUE(world.Delete(v1::KIND_SERVICE, {"default", "a"}).ok());
  v1::Resource waiting = *world.cache.Find(v1::KIND_SERVICE, {"default", "c"});
  ASSERT_TRUE(world.Submit({Write::Type::kUpdateStatus, waiting, {}}).ok());

  EXPECT_EQ(AddressOf(world, "c"), "192.168.1.240");
}

TEST(ServiceAdmission, HandsOutNoAddressThatAnotherServesAsItsExternalIp) {
  World world({.admission = WithPool({"192.168.1.240-192.168.1.241"})});
  v1::Resource outside = Of("ClusterIP", "outside");
  outside.mutable_service()->mutable_spec()->add_external_ips("192.168.1.240");
  ASSERT_TRUE(world.Create(outside).ok());

  ASSERT_TRUE(world.Create(Of("LoadBalancer", "same")).ok());
  EXPECT_EQ(AddressOf(world, "same"), "192.168.1.241");

  // Another port of the address is free, as it is for externalIPs.
  v1::Resource other = Of("LoadBalancer", "other");
  other.mutable_service()->mutable_spec()->mutable_ports(0)->set_port(81);
  ASSERT_TRUE(world.Create(other).ok());
  EXPECT_EQ(AddressOf(world, "other"), "192.168.1.240");
}

TEST(ServiceAdmission, GivesTheBalancerAddressThatIsAskedForOrNone) {
  World world({.admission = WithPool({"192.168.1.240/29"})});
  v1::Resource wish = Of("LoadBalancer", "wish");
  wish.mutable_service()->mutable_spec()->set_load_balancer_ip("192.168.1.245");
  ASSERT_TRUE(world.Create(wish).ok());
  v1::Resource outside = Of("LoadBalancer", "outside");
  outside.mutable_service()->mutable_spec()->set_load_balancer_ip("10.1.1.1");
  ASSERT_TRUE(world.Create(outside).ok());

  EXPECT_EQ(AddressOf(world, "wish"), "192.168.1.245");
  EXPECT_EQ(AddressOf(world, "outside"), "");
}

TEST(ServiceAdmission, FreesWhatATypeHasNoUseFor) {
  World world({.admission = WithPool({"192.168.1.240/32"})});
  ASSERT_TRUE(world.Create(Of("LoadBalancer", "web")).ok());
  const int32_t port = Stored(world, "web").spec().ports(0).node_port();
  ASSERT_NE(port, 0);

  ASSERT_TRUE(Updated(world, "web", [](v1::ServiceSpec* spec) {
                spec->set_type("ClusterIP");
                spec->mutable_ports(0)->set_node_port(0);
              }).ok());

  EXPECT_EQ(AddressOf(world, "web"), "");
  EXPECT_TRUE(world.Create(Of("NodePort", "other", port)).ok());
  ASSERT_TRUE(world.Create(Of("LoadBalancer", "next")).ok());
  EXPECT_EQ(AddressOf(world, "next"), "192.168.1.240");
}

TEST(ServiceAdmission, GivesAHealthCheckPortToLocalBalancers) {
  World world({.admission = WithPool({"192.168.1.240/28"})});
  v1::Resource local = Of("LoadBalancer", "local");
  local.mutable_service()->mutable_spec()->set_external_traffic_policy("Local");

  ASSERT_TRUE(world.Create(local).ok());

  const v1::ServiceSpec& spec = Stored(world, "local").spec();
  EXPECT_GE(spec.health_check_node_port(), 30000);
  EXPECT_NE(spec.health_check_node_port(), spec.ports(0).node_port());
}

TEST(ServiceAdmission, KeepsTheHealthCheckPortFromTheServicesOwnPorts) {
  World world({.admission = WithPool({"192.168.1.240/28"})});
  v1::Resource own = Of("LoadBalancer", "own");
  v1::ServiceSpec& spec = *own.mutable_service()->mutable_spec();
  spec.set_external_traffic_policy("Local");
  spec.set_health_check_node_port(30901);
  spec.mutable_ports(0)->set_node_port(30901);

  const auto refused = world.Create(own);
  EXPECT_THAT(std::string(refused.status().message()),
              HasSubstr("spec.healthCheckNodePort: Invalid value: 30901: provided port is already "
                        "allocated, to a port of the Service itself"));
  spec.mutable_ports(0)->set_node_port(30902);
  ASSERT_TRUE(world.Create(own).ok());
  EXPECT_EQ(Stored(world, "own").spec().health_check_node_port(), 30901);
}

TEST(ServiceAdmission, LeavesNodePortsAwayWhereTheyAreNotWanted) {
  World world({.admission = WithPool({"192.168.1.240/28"})});
  v1::Resource bare = Of("LoadBalancer", "bare");
  bare.mutable_service()->mutable_spec()->set_allocate_load_balancer_node_ports(false);

  ASSERT_TRUE(world.Create(bare).ok());

  EXPECT_EQ(Stored(world, "bare").spec().ports(0).node_port(), 0);
}

TEST(ServiceAdmission, RefusesExternalAddressesThatAreTheClustersOrAnothers) {
  World world({.admission = WithPool({"192.168.1.240/28"})});
  ASSERT_TRUE(world.Create(Of("LoadBalancer", "balanced")).ok());
  const auto with = [](const std::string& name, const std::string& ip, int32_t port = 80) {
    v1::Resource out = Of("ClusterIP", name);
    out.mutable_service()->mutable_spec()->add_external_ips("192.0.2.1");
    out.mutable_service()->mutable_spec()->add_external_ips(ip);
    out.mutable_service()->mutable_spec()->mutable_ports(0)->set_port(port);
    return out;
  };
  ASSERT_TRUE(world.Create(with("first", "203.0.113.7", 81)).ok());

  EXPECT_EQ(Message(world.Create(with("a", "10.96.0.99"))),
            "Service \"a\" is invalid: spec.externalIPs[1]: Invalid value: \"10.96.0.99\": is in "
            "the service range 10.96.0.0/16: an external address may not be one that the cluster "
            "gives out");
  EXPECT_THAT(Message(world.Create(with("a", "10.244.3.9"))), HasSubstr("pod range 10.244.0.0/16"));
  EXPECT_EQ(Message(world.Create(with("a", AddressOf(world, "balanced")))),
            "Service \"a\" is invalid: spec.externalIPs[1]: Invalid value: \"192.168.1.240\": port "
            "80/TCP of it is already served, by Service default/balanced");
  EXPECT_THAT(
      Message(world.Create(with("a", "203.0.113.7", 81))),
      HasSubstr("externalIPs[0]: Invalid value: \"192.0.2.1\": port 81/TCP of it is already "
                "served, by Service default/first"));
  EXPECT_TRUE(world.Create(with("a", "203.0.113.7", 82)).ok()) << "another port of it";
  EXPECT_TRUE(Updated(world, "first", [](v1::ServiceSpec* spec) {
                spec->set_session_affinity("ClientIP");
              }).ok());
  ASSERT_TRUE(world.Delete(v1::KIND_SERVICE, {"default", "first"}).ok());
  EXPECT_TRUE(world.Create(with("next", "203.0.113.7", 81)).ok());
}

TEST(ServiceAdmission, RefusesAPortOfABalancerThatAnotherServesAsItsExternalAddress) {
  World world({.admission = WithPool({"192.168.1.240/28"})});
  ASSERT_TRUE(world.Create(Of("LoadBalancer", "balanced")).ok());
  v1::Resource outside = Of("ClusterIP", "outside");
  outside.mutable_service()->mutable_spec()->add_external_ips(AddressOf(world, "balanced"));
  outside.mutable_service()->mutable_spec()->mutable_ports(0)->set_port(81);
  ASSERT_TRUE(world.Create(outside).ok()) << "another port of it";
  const auto add_port = [](int32_t number) {
    return [number](v1::ServiceSpec* spec) {
      v1::ServicePort* port = spec->add_ports();
      port->set_name("other");
      port->set_port(number);
      port->set_protocol("TCP");
    };
  };

  EXPECT_EQ(
      Message(Updated(world, "balanced", add_port(81))),
      "Service \"balanced\" is invalid: spec.ports[1].port: Invalid value: 81: port 81/TCP of "
      "192.168.1.240, the address of this Service, is already served, by Service "
      "default/outside as one of its externalIPs");
  EXPECT_EQ(Stored(world, "balanced").spec().ports_size(), 1);
  EXPECT_TRUE(Updated(world, "balanced", add_port(82)).ok());
}

TEST(Admission, RefusesEndpointsThatLeadBackIntoTheDatapath) {
  World world;
  const auto with = [](const std::string& address) {
    v1::Resource out;
    out.mutable_endpoint_slice()->mutable_metadata()->set_namespace_("default");
    out.mutable_endpoint_slice()->mutable_metadata()->set_name("db");
    out.mutable_endpoint_slice()->add_endpoints()->add_addresses(address);
    return out;
  };

  EXPECT_EQ(
      Message(world.Create(with("10.96.0.9"))),
      "EndpointSlice \"db\" is invalid: endpoints[0].addresses[0]: Invalid value: "
      "\"10.96.0.9\": is in the service range 10.96.0.0/16: an endpoint may not be a Service");
  EXPECT_THAT(Message(world.Create(with("10.244.3.1"))), HasSubstr("is kept for a node"));
  EXPECT_TRUE(world.Create(with("203.0.113.7")).ok());
}

TEST(LoadBalancerPools, ReadsRangesAndRefusesWhatIsNone) {
  const auto pools = LoadBalancerPools::Parse({"192.168.1.240/30", "10.0.0.1-10.0.0.1"});
  ASSERT_TRUE(pools.ok()) << pools.status();
  EXPECT_EQ(pools->size(true), 5u);
  EXPECT_EQ(pools->At(true, 4).ToString(), "10.0.0.1");
  EXPECT_EQ(pools->ToString(true), "192.168.1.240/30 (4 addresses), 10.0.0.1-10.0.0.1 (1 address)");
  EXPECT_TRUE(pools->Contains(*IpAddress::Parse("192.168.1.243")));
  EXPECT_FALSE(pools->Contains(*IpAddress::Parse("192.168.1.244")));

  const auto both = LoadBalancerPools::Parse({"192.0.2.208/28,2001:db8::200/124", "10.0.0.0/30"});
  ASSERT_TRUE(both.ok()) << both.status();
  EXPECT_EQ(both->size(true), 20u);
  EXPECT_EQ(both->size(false), 16u);

  for (const char* bad :
       {"192.168.1.250-192.168.1.240", "192.168.1.1", "pool", "fd00::1/120", "-"}) {
    EXPECT_EQ(LoadBalancerPools::Parse({bad}).status().code(), absl::StatusCode::kInvalidArgument)
        << bad;
  }
}

TEST(LoadBalancerPools, NamesTheFlagTheReasonAndTheWayOut) {
  const auto said = [](const std::vector<std::string>& ranges) {
    return std::string(LoadBalancerPools::Parse(ranges).status().message());
  };

  EXPECT_EQ(said({"10.0.0.9-10.0.0.1"}),
            "--load-balancer-pool 10.0.0.9-10.0.0.1: its first address is above its last: give "
            "10.0.0.1-10.0.0.9");
  EXPECT_EQ(said({"10.0.0.1-fd00::1"}),
            "--load-balancer-pool 10.0.0.1-fd00::1: its ends are of different families: give a "
            "range for each");
  EXPECT_EQ(said({"10.0.0.0/24", "10.0.0.9-10.0.0.10"}),
            "--load-balancer-pool 10.0.0.9-10.0.0.10: overlaps --load-balancer-pool 10.0.0.0/24: "
            "give each address once");
  EXPECT_EQ(said({"192.0.2.200/28"}),
            "--load-balancer-pool 192.0.2.200/28: has bits set beyond its length: give "
            "192.0.2.192/28");
  EXPECT_THAT(said({"10.0.0.0/24,"}), HasSubstr("is no range: give FIRST-LAST"));
  EXPECT_EQ(said({"10.0.0.1-10.0.0.300"}),
            "--load-balancer-pool 10.0.0.1-10.0.0.300: \"10.0.0.300\" is no address: give "
            "FIRST-LAST, such as 192.168.1.240-192.168.1.250, or a range such as "
            "192.168.1.240/28");
}

}  // namespace
}  // namespace mesh::controlplane
