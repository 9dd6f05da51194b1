// SPDX-License-Identifier: Apache-2.0
// Services of clusters with one family and with two, written through the writer.
#include "controlplane/state/service_families.h"

#include "tests/unit/controlplane/state/world.h"

namespace mesh::controlplane {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Writer::Options DualStack(std::vector<std::string> pools = {}) {
  Writer::Options out;
  out.admission.cluster_cidr = "10.244.0.0/16,fd00:10:244::/56";
  out.admission.service_cidr = "10.96.0.0/16,fd00:10:96::/108";
  out.admission.load_balancer_pools = *LoadBalancerPools::Parse(pools);
  return out;
}

v1::Resource Service(const std::string& name, const std::string& policy,
                     const std::vector<std::string>& families = {},
                     const std::vector<std::string>& ips = {}) {
  v1::Resource out = AService(name);
  v1::ServiceSpec* spec = out.mutable_service()->mutable_spec();
  spec->set_ip_family_policy(policy);
  spec->mutable_ip_families()->Assign(families.begin(), families.end());
  spec->mutable_cluster_ips()->Assign(ips.begin(), ips.end());
  if (!ips.empty()) spec->set_cluster_ip(ips[0]);
  return out;
}

v1::ServiceSpec Created(World& world, const v1::Resource& resource) {
  const auto written = world.Create(resource);
  EXPECT_TRUE(written.ok()) << written.status();
  return written.ok() ? written->resource->service().spec() : v1::ServiceSpec();
}

std::string Refused(World& world, const v1::Resource& resource) {
  const auto written = world.Create(resource);
  EXPECT_EQ(written.status().code(), absl::StatusCode::kInvalidArgument) << written.status();
  return std::string(written.status().message());
}

std::vector<std::string> BalancerIps(World& world, const std::string& name) {
  return BalancerAddressesOf(*world.cache.state().services.at({"default", name}));
}

TEST(ServiceFamiliesOfADualStackCluster, AreOneUnlessMoreIsAskedFor) {
  World world(DualStack());

  const v1::ServiceSpec spec = Created(world, Service("web", ""));

  EXPECT_EQ(spec.ip_family_policy(), "SingleStack");
  EXPECT_THAT(spec.ip_families(), ElementsAre("IPv4"));
  EXPECT_THAT(spec.cluster_ips(), ElementsAre("10.96.0.16"));
}

TEST(ServiceFamiliesOfADualStackCluster, AreBothInTheOrderThatIsAskedFor) {
  World world(DualStack());

  for (const char* policy : {"PreferDualStack", "RequireDualStack"}) {
    const v1::ServiceSpec spec = Created(world, Service(std::string("a-") + policy, policy));
    EXPECT_THAT(spec.ip_families(), ElementsAre("IPv4", "IPv6"));
    EXPECT_THAT(spec.cluster_ips(), ElementsAre(HasSubstr("10.96.0."), HasSubstr("fd00:10:96::")));
    EXPECT_EQ(spec.cluster_ip(), spec.cluster_ips(0));
  }
  const v1::ServiceSpec turned = Created(world, Service("b", "PreferDualStack", {"IPv6"}));
  EXPECT_THAT(turned.ip_families(), ElementsAre("IPv6", "IPv4"));
  EXPECT_THAT(turned.cluster_ip(), HasSubstr("fd00:10:96::"));
}

TEST(ServiceFamiliesOfADualStackCluster, FollowTheAddressesThatAreAskedFor) {
  World world(DualStack());

  const v1::ServiceSpec six = Created(world, Service("six", "", {}, {"fd00:10:96:0::7:77"}));
  EXPECT_THAT(six.ip_families(), ElementsAre("IPv6"));
  EXPECT_THAT(six.cluster_ips(), ElementsAre("fd00:10:96::7:77"));

  const v1::ServiceSpec both =
      Created(world, Service("both", "RequireDualStack", {}, {"fd00:10:96::7:78", "10.96.0.78"}));
  EXPECT_THAT(both.ip_families(), ElementsAre("IPv6", "IPv4"));

  EXPECT_EQ(Refused(world, Service("c", "PreferDualStack", {}, {"10.96.0.79", "fd00:10:96::7:77"})),
            "Service \"c\" is invalid: spec.clusterIPs: Invalid value: [\"10.96.0.79\", "
            "\"fd00:10:96::7:77\"]: failed to allocate IP fd00:10:96::7:77: provided IP is already "
            "allocated, to Service default/six");
  EXPECT_THAT(Refused(world, Service("d", "", {}, {"fd00:10:97::1"})),
              HasSubstr("The range of valid IPs is fd00:10:96::/108"));
  EXPECT_THAT(Refused(world, Service("e", "", {}, {"fd00:10:96::a"})),
              HasSubstr("reserved by the cluster"));
}

TEST(ServiceFamiliesOfADualStackCluster, ComeAndGoWithThePolicy) {
  World world(DualStack());
  const v1::ServiceSpec first = Created(world, Service("web", ""));

  v1::Resource next = *world.cache.Find(v1::KIND_SERVICE, {"default", "web"});
  next.mutable_service()->mutable_spec()->set_ip_family_policy("PreferDualStack");
  const auto upgraded = world.Submit({Write::Type::kUpdate, next, {}});
  ASSERT_TRUE(upgraded.ok()) << upgraded.status();
  const v1::ServiceSpec both = upgraded->resource->service().spec();
  EXPECT_THAT(both.cluster_ips(), ElementsAre(first.cluster_ip(), HasSubstr("fd00:")));

  // As api/schema prepares a downgrade.
  next = *upgraded->resource;
  v1::ServiceSpec* spec = next.mutable_service()->mutable_spec();
  spec->set_ip_family_policy("SingleStack");
  spec->mutable_ip_families()->RemoveLast();
  spec->mutable_cluster_ips()->RemoveLast();
  const auto downgraded = world.Submit({Write::Type::kUpdate, next, {}});
  ASSERT_TRUE(downgraded.ok()) << downgraded.status();
  EXPECT_THAT(downgraded->resource->service().spec().cluster_ips(),
              ElementsAre(first.cluster_ip()));
  // Its second address is another's to take.
  EXPECT_THAT(Created(world, Service("b", "", {}, {both.cluster_ips(1)})).cluster_ips(),
              ElementsAre(both.cluster_ips(1)));
}

TEST(ServiceFamiliesOfADualStackCluster, AreTheirsWithoutAddressesToo) {
  World world(DualStack());

  const v1::ServiceSpec pods = Created(world, Service("pods", "PreferDualStack", {}, {"None"}));
  EXPECT_THAT(pods.ip_families(), ElementsAre("IPv4", "IPv6"));
  EXPECT_THAT(pods.cluster_ips(), ElementsAre("None"));

  v1::Resource foreign = Service("foreign", "", {}, {"None"});
  foreign.mutable_service()->mutable_spec()->clear_selector();
  const v1::ServiceSpec names = Created(world, foreign);
  EXPECT_EQ(names.ip_family_policy(), "RequireDualStack");
  EXPECT_THAT(names.ip_families(), ElementsAre("IPv4", "IPv6"));
}

TEST(ServiceFamiliesOfADualStackCluster, EachGetABalancersAddress) {
  World world(DualStack({"192.168.1.1-192.168.1.2", "fd00:1::/126"}));
  const auto balancer = [](const std::string& name, const std::string& policy,
                           const std::vector<std::string>& families = {}) {
    v1::Resource out = Service(name, policy, families);
    out.mutable_service()->mutable_spec()->set_type("LoadBalancer");
    return out;
  };

  Created(world, balancer("both", "RequireDualStack"));
  EXPECT_THAT(BalancerIps(world, "both"), ElementsAre("192.168.1.1", "fd00:1::"));
  Created(world, balancer("six", "", {"IPv6"}));
  EXPECT_THAT(BalancerIps(world, "six"), ElementsAre("fd00:1::1"));
  v1::Resource wish = balancer("wish", "PreferDualStack");
  wish.mutable_service()->mutable_spec()->set_load_balancer_ip("fd00:1:0::3");
  Created(world, wish);
  EXPECT_THAT(BalancerIps(world, "wish"), ElementsAre("192.168.1.2", "fd00:1::3"));
  // IPv4 is used up: what there is is given.
  Created(world, balancer("late", "RequireDualStack"));
  EXPECT_THAT(BalancerIps(world, "late"), ElementsAre("fd00:1::2"));
}

TEST(ServiceFamiliesOfADualStackCluster, MustCoverTheExternalAddresses) {
  World world(DualStack());
  v1::Resource service = Service("web", "");
  service.mutable_service()->mutable_spec()->add_external_ips("203.0.113.7");
  service.mutable_service()->mutable_spec()->add_external_ips("2001:db8::7");

  EXPECT_EQ(Refused(world, service),
            "Service \"web\" is invalid: spec.externalIPs[1]: Invalid value: \"2001:db8::7\": the "
            "Service has no IPv6: `ipFamilies` is [\"IPv4\"]");

  service.mutable_service()->mutable_spec()->set_ip_family_policy("PreferDualStack");
  Created(world, service);
}

TEST(ServiceFamiliesOfADualStackCluster, ShareNothingWhenWritesRace) {
  World world(DualStack());
  for (int i = 0; i < 50; ++i) {
    world.writer.Create(Service("s" + std::to_string(i), "PreferDualStack"), nullptr);
  }
  world.Settle();

  std::set<std::string> seen;
  for (const auto& [key, service] : world.cache.state().services) {
    for (const std::string& ip : service->spec().cluster_ips()) {
      EXPECT_TRUE(seen.insert(ip).second) << ip;
    }
  }
  EXPECT_EQ(seen.size(), 100u);
}

TEST(ServiceFamiliesOfAnIpv4Cluster, RefuseWhatTheClusterHasNot) {
  World world;
  const std::string hint = "; start meshd with an IPv6 range in --cluster-cidr and --service-cidr";

  EXPECT_EQ(Refused(world, Service("web", "", {"IPv6"})),
            "Service \"web\" is invalid: spec.ipFamilies[0]: Invalid value: \"IPv6\": not "
            "configured on this cluster" +
                hint);
  EXPECT_EQ(Refused(world, Service("web", "RequireDualStack")),
            "Service \"web\" is invalid: spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": "
            "this cluster is not configured for dual-stack services" +
                hint);
  EXPECT_EQ(Refused(world, Service("web", "", {}, {"fd00::7"})),
            "Service \"web\" is invalid: spec.clusterIPs[0]: Invalid value: [\"fd00::7\"]: may not "
            "use IPv6 on a cluster which is not configured for it" +
                hint);

  const v1::ServiceSpec spec = Created(world, Service("web", "PreferDualStack"));
  EXPECT_EQ(spec.ip_family_policy(), "PreferDualStack");
  EXPECT_THAT(spec.ip_families(), ElementsAre("IPv4"));
  EXPECT_THAT(spec.cluster_ips(), ElementsAre("10.96.0.16"));
}

TEST(NodesOfADualStackCluster, HaveRangesOfOneNumber) {
  World world(DualStack());
  for (const char* name : {"a", "b"}) {
    v1::Resource node;
    node.mutable_node()->mutable_metadata()->set_name(name);
    ASSERT_TRUE(world.Create(node).ok());
  }

  const auto& nodes = world.cache.state().nodes;
  EXPECT_THAT(nodes.at({"", "a"})->spec().pod_cidrs(),
              ElementsAre("10.244.0.0/24", "fd00:10:244::/64"));
  EXPECT_THAT(nodes.at({"", "b"})->spec().pod_cidrs(),
              ElementsAre("10.244.1.0/24", "fd00:10:244:1::/64"));
}

TEST(Admission, KeepsIpv6EndpointsOutOfServicesAndNodes) {
  World world(DualStack());
  const auto with = [](const std::string& address) {
    v1::Resource out;
    out.mutable_endpoint_slice()->mutable_metadata()->set_namespace_("default");
    out.mutable_endpoint_slice()->mutable_metadata()->set_name("db");
    out.mutable_endpoint_slice()->set_address_type("IPv6");
    out.mutable_endpoint_slice()->add_endpoints()->add_addresses(address);
    return out;
  };

  EXPECT_THAT(Refused(world, with("fd00:10:96::99")),
              HasSubstr("is in the service range fd00:10:96::/108"));
  EXPECT_THAT(Refused(world, with("fd00:10:244:3::1")), HasSubstr("is kept for a node"));
  EXPECT_TRUE(world.Create(with("fd00:10:244:3::2")).ok());
}

TEST(LoadBalancerPools, CountTheFamiliesApart) {
  const auto pools = LoadBalancerPools::Parse(
      {"192.168.1.240/30", "fd00:1::/64", "fd00:2::ff-fd00:2::1:2", "fd00:3::1-fd00:3::1"});
  ASSERT_TRUE(pools.ok()) << pools.status();

  EXPECT_EQ(pools->size(true), 4u);
  EXPECT_EQ(pools->size(false), uint64_t{1} << 63);
  EXPECT_EQ(pools->At(false, 0x10002).ToString(), "fd00:1::1:2");
  EXPECT_TRUE(pools->Contains(*IpAddress::Parse("fd00:1::ffff:ffff:ffff:ffff")));
  EXPECT_TRUE(pools->Contains(*IpAddress::Parse("fd00:2::ffff")));
  EXPECT_FALSE(pools->Contains(*IpAddress::Parse("fd00:2::1:3")));
  const auto small = LoadBalancerPools::Parse({"fd00:2::fe-fd00:2::100", "fd00:3::1-fd00:3::1"});
  EXPECT_EQ(small->size(false), 4u);
  EXPECT_EQ(small->At(false, 2).ToString(), "fd00:2::100");
  EXPECT_EQ(small->At(false, 3).ToString(), "fd00:3::1");

  EXPECT_FALSE(pools->CheckApart(*IpPrefix::Parse("fd00::/16"), "--cluster-cidr").ok());
  EXPECT_FALSE(pools->CheckApart(*IpPrefix::Parse("fd00:2::1:0/112"), "--cluster-cidr").ok());
  EXPECT_TRUE(pools->CheckApart(*IpPrefix::Parse("fd00:4::/32"), "--cluster-cidr").ok());
  for (const char* bad :
       {"fd00::1-10.0.0.1", "fd00::2-fd00::1", "fd00::1-fd00:0:0:1::1", "fd00::1"}) {
    EXPECT_EQ(LoadBalancerPools::Parse({bad}).status().code(), absl::StatusCode::kInvalidArgument)
        << bad;
  }
}

}  // namespace
}  // namespace mesh::controlplane
