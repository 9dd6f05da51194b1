// SPDX-License-Identifier: Apache-2.0
#include "controlplane/controllers/load_balancer_controller.h"

#include "controlplane/controllers/objects.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/controlplane/controllers/cluster_world.h"

namespace mesh::controlplane {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class LoadBalancerControllerTest : public ::testing::Test {
 protected:
  void Add(const std::string& name, const std::string& ip = "", const std::string& wish = "") {
    v1::Service service = world.AddService(name, name);
    service.mutable_spec()->set_type("LoadBalancer");
    service.mutable_spec()->set_load_balancer_ip(wish);
    if (!ip.empty()) {
      service.mutable_status()->mutable_load_balancer()->add_ingress()->set_ip(ip);
    }
    world.Put(Wrap(service));
  }
  ReconcileResult Reconcile(const std::string& name) {
    return controller.Reconcile(world.state, InDefault(name), world.now);
  }
  std::string Why(const std::string& name) {
    const ReconcileResult result = Reconcile(name);
    return result.events.size() == 1 ? result.events[0].reason + ": " + result.events[0].message
                                     : "";
  }

  ClusterWorld world;
  LoadBalancerController controller{*LoadBalancerPools::Parse({"192.168.1.1-192.168.1.2"})};
};

TEST_F(LoadBalancerControllerTest, LetsAServiceThatHasItsAddressBe) {
  Add("a", "192.168.1.1");

  EXPECT_THAT(Reconcile("a").writes, IsEmpty());
  EXPECT_THAT(Reconcile("a").events, IsEmpty());
}

TEST_F(LoadBalancerControllerTest, NamesThePoolThatIsExhausted) {
  Add("a", "192.168.1.1");
  Add("b", "192.168.1.2");
  Add("c");

  EXPECT_EQ(Why("c"),
            "PoolExhausted: all addresses of the pool 192.168.1.1-192.168.1.2 (2 addresses) are in "
            "use; delete a Service of type LoadBalancer, or start meshd with a larger "
            "--load-balancer-pool");
  EXPECT_THAT(Reconcile("c").writes, IsEmpty());
}

TEST_F(LoadBalancerControllerTest, NamesAnAddressOutsideOfThePool) {
  Add("a", "", "10.1.1.1");

  EXPECT_EQ(Why("a"),
            "AddressOutsidePool: spec.loadBalancerIP 10.1.1.1 is outside of the pool "
            "192.168.1.1-192.168.1.2 (2 addresses)");
}

TEST_F(LoadBalancerControllerTest, NamesWhoHasTheAddressThatIsAskedFor) {
  Add("a", "192.168.1.1");
  Add("b", "", "192.168.1.1");

  EXPECT_EQ(Why("b"),
            "AddressInUse: spec.loadBalancerIP 192.168.1.1 is in use by Service default/a");
}

TEST_F(LoadBalancerControllerTest, SaysThatThereIsNoPool) {
  const LoadBalancerController without{LoadBalancerPools()};
  Add("a");

  const ReconcileResult result = without.Reconcile(world.state, InDefault("a"), world.now);

  ASSERT_EQ(result.events.size(), 1u);
  EXPECT_EQ(result.events[0].reason, "NoLoadBalancerPool");
}

TEST_F(LoadBalancerControllerTest, NamesTheSourceRangesThatAdmitNobody) {
  Add("a", "192.168.1.1");
  v1::Service service = world.service("a");
  v1::ServiceSpec* spec = service.mutable_spec();
  spec->add_ip_families("IPv4");
  spec->add_load_balancer_source_ranges("198.51.100.0/24");
  world.Put(Wrap(service));
  EXPECT_EQ(Why("a"), "");

  spec->set_load_balancer_source_ranges(0, "2001:db8::/32");
  world.Put(Wrap(service));
  EXPECT_EQ(Why("a"),
            "SourceRangeFamily: spec.loadBalancerSourceRanges: 2001:db8::/32 admits nobody: the "
            "Service has no IPv6; no client of IPv4 is admitted: no range is of it");
}

TEST_F(LoadBalancerControllerTest, AsksForAnAddressAsSoonAsOneIsFree) {
  Add("a", "192.168.1.1");
  Add("b", "192.168.1.2");
  Add("c");
  const auto gone = std::make_shared<const v1::Resource>(Wrap(world.service("a")));
  world.state.Remove(v1::KIND_SERVICE, InDefault("a"));

  EXPECT_THAT(controller.Affected(world.state, {gone, nullptr}), ElementsAre(InDefault("c")));
  const ReconcileResult result = Reconcile("c");
  ASSERT_EQ(result.writes.size(), 1u);
  EXPECT_EQ(result.writes[0].type, Write::Type::kUpdateStatus);
}

TEST_F(LoadBalancerControllerTest, LeavesOtherClassesToTheirOwners) {
  Add("a");
  v1::Service service = world.service("a");
  service.mutable_spec()->set_load_balancer_class("example.com/other");
  world.Put(Wrap(service));

  EXPECT_EQ(Why("a"),
            "ForeignLoadBalancerClass: spec.loadBalancerClass example.com/other: its address is "
            "another controller's to give; meshd gives one to Services without a class, and to "
            "mesh.io/pool");
  EXPECT_THAT(Reconcile("a").writes, IsEmpty());

  service.mutable_status()->mutable_load_balancer()->add_ingress()->set_ip("203.0.113.7");
  world.Put(Wrap(service));
  EXPECT_THAT(Reconcile("a").events, IsEmpty());
}

TEST_F(LoadBalancerControllerTest, GivesNoAddressThatAnotherServesAsItsExternalIp) {
  v1::Service outside = world.AddService("outside", "outside");
  outside.mutable_spec()->add_external_ips("192.168.1.1");
  world.Put(Wrap(outside));
  Add("a", "", "192.168.1.1");
  ASSERT_EQ(world.service("a").spec().ports(0).port(), outside.spec().ports(0).port());

  EXPECT_EQ(
      Why("a"),
      "AddressInUse: spec.loadBalancerIP 192.168.1.1 is in use by Service default/outside, as "
      "one of its externalIPs with the same port");

  const auto with = std::make_shared<const v1::Resource>(Wrap(world.service("outside")));
  outside.mutable_spec()->clear_external_ips();
  world.Put(Wrap(outside));
  const auto without = std::make_shared<const v1::Resource>(Wrap(world.service("outside")));
  EXPECT_THAT(controller.Affected(world.state, {with, without}), ElementsAre(InDefault("a")));
  EXPECT_EQ(Reconcile("a").writes.size(), 1u);
}

}  // namespace
}  // namespace mesh::controlplane
