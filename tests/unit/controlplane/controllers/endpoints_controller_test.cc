// SPDX-License-Identifier: Apache-2.0
#include "controlplane/controllers/endpoints_controller.h"

#include <set>
#include <string>
#include <utility>

#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/controlplane/controllers/cluster_world.h"

namespace mesh::controlplane {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class EndpointsControllerTest : public ::testing::Test {
 protected:
  EndpointsControllerTest() {
    world.AddNode("a");
    world.AddNode("b");
  }
  ReconcileResult Reconcile() {
    return controller.Reconcile(world.state, InDefault("web"), world.now);
  }
  void Settle() { world.Settle(controller, InDefault("web"), 1); }
  const v1::EndpointSlice& Slice(const std::string& name) {
    const v1::EndpointSlice* slice = FindObject(world.state.endpoint_slices, InDefault(name));
    EXPECT_NE(slice, nullptr) << name;
    static const v1::EndpointSlice none;
    return slice == nullptr ? none : *slice;
  }
  void GivePort(const std::string& pod, const std::string& name, int number,
                const std::string& protocol = "TCP") {
    v1::ContainerPort* port = world.pod(pod).mutable_spec()->mutable_containers(0)->add_ports();
    port->set_name(name);
    port->set_container_port(number);
    port->set_protocol(protocol);
  }
  // "10.244.0.2 ready serving", one line per endpoint.
  static std::vector<std::string> Lines(const v1::EndpointSlice& slice) {
    std::vector<std::string> out;
    for (const v1::Endpoint& endpoint : slice.endpoints()) {
      std::string line = endpoint.addresses(0);
      if (endpoint.conditions().ready()) line += " ready";
      if (endpoint.conditions().serving()) line += " serving";
      if (endpoint.conditions().terminating()) line += " terminating";
      out.push_back(line);
    }
    return out;
  }

  // What a slice calls the first port of the Service.
  v1::EndpointPort PortOf(const std::string& service) {
    const v1::ServicePort& port = world.service(service).spec().ports(0);
    v1::EndpointPort out;
    out.set_name(port.name());
    out.set_protocol(port.protocol());
    out.set_port(8080);
    return out;
  }

  ClusterWorld world;
  EndpointsController controller;
};

TEST_F(EndpointsControllerTest, ListsThePodsThatTheServiceSelects) {
  const std::string uid = world.AddService("web", "web").metadata().uid();
  world.AddPod("web-1", "web", "a", true);
  world.AddPod("web-2", "web", "b", false);
  world.AddPod("other", "other", "a", true);
  world.AddPod("unplaced", "web");

  Settle();

  const v1::EndpointSlice& slice = Slice("web");
  EXPECT_THAT(Lines(slice), ElementsAre("10.244.0.2 ready serving", "10.244.1.2"));
  ASSERT_EQ(slice.ports_size(), 1);
  EXPECT_EQ(slice.ports(0).port(), 80);
  EXPECT_EQ(slice.ports(0).protocol(), "TCP");
  EXPECT_EQ(slice.address_type(), "IPv4");
  EXPECT_EQ(slice.metadata().labels().at(kServiceNameLabel), "web");
  EXPECT_EQ(ControllerOf(slice.metadata())->uid(), uid);
  EXPECT_EQ(slice.endpoints(0).node_name(), "a");
  EXPECT_EQ(slice.endpoints(0).target_ref().name(), "web-1");
}

TEST_F(EndpointsControllerTest, KeepsATerminatingPodServingButNotReady) {
  world.AddService("web", "web");
  world.AddPod("web-1", "web", "a", true);
  world.AddPod("web-2", "web", "b", true);
  world.Terminate("web-1");

  Settle();

  EXPECT_THAT(Lines(Slice("web")),
              ElementsAre("10.244.0.2 serving terminating", "10.244.1.2 ready serving"));
}

TEST_F(EndpointsControllerTest, KeepsAPodThatLeavesForThoseWhoAreConnected) {
  world.AddService("web", "web");
  world.AddPod("web-1", "web", "a", true);
  world.AddPod("web-2", "web", "b", true);
  Settle();

  v1::Pod leaver = world.pod("web-2");
  (*leaver.mutable_metadata()->mutable_labels())["app"] = "other";
  world.Put(Wrap(leaver));
  Settle();
  EXPECT_THAT(Lines(Slice("web")), ElementsAre("10.244.0.2 ready serving", "10.244.1.2 serving"));
  // It ends without a label of the Service, and is told all the same.
  const auto left = std::make_shared<const v1::Resource>(Wrap(world.pod("web-2")));
  EXPECT_THAT(controller.Affected(world.state, {left, nullptr}), ElementsAre(InDefault("web")));

  v1::Service service = world.service("web");
  service.mutable_spec()->mutable_ports(0)->mutable_target_port()->set_int_value(8080);
  world.Put(Wrap(service));
  Settle();
  std::map<int32_t, std::vector<std::string>> lines;
  for (const auto& [key, slice] : world.state.endpoint_slices)
    lines[slice->ports(0).port()] = Lines(*slice);
  EXPECT_THAT(lines[8080], ElementsAre("10.244.0.2 ready serving"));
  EXPECT_THAT(lines[80], ElementsAre("10.244.0.2 serving", "10.244.1.2 serving"));

  world.pod("web-1").mutable_status()->set_phase("Failed");
  world.state.Remove(v1::KIND_POD, InDefault("web-2"));
  Settle();
  for (const auto& [key, slice] : world.state.endpoint_slices)
    EXPECT_THAT(Lines(*slice), IsEmpty());
  EXPECT_THAT(controller.Affected(world.state, {left, nullptr}), IsEmpty());
  EXPECT_THAT(world.state.index().unready_endpoints, IsEmpty());
}

TEST_F(EndpointsControllerTest, KeepsWhoIsConnectedWhenTheSelectorIsTakenAway) {
  world.AddService("web", "web");
  world.AddPod("web-1", "web", "a", true);
  Settle();

  v1::Service service = world.service("web");
  service.mutable_spec()->clear_selector();
  world.Put(Wrap(service));
  Settle();
  EXPECT_THAT(Lines(Slice("web")), ElementsAre("10.244.0.2 serving"));

  world.state.Remove(v1::KIND_POD, InDefault("web-1"));
  Settle();
  EXPECT_TRUE(world.state.endpoint_slices.empty()) << "other people's slices are the Service's now";
}

TEST_F(EndpointsControllerTest, KeepsWhoIsConnectedToAPortThatGetsAnotherNameAndNumber) {
  world.AddService("web", "web");
  world.AddPod("web-1", "web", "a", true);
  Settle();

  v1::Service service = world.service("web");
  v1::ServicePort& port = *service.mutable_spec()->mutable_ports(0);
  port.set_name("renamed");
  port.mutable_target_port()->set_int_value(8080);
  v1::ServicePort& other = *service.mutable_spec()->add_ports();
  other.set_name("other");
  other.set_protocol("TCP");
  other.set_port(81);
  world.Put(Wrap(service));
  Settle();
  const auto lines = [&] {
    std::map<std::string, std::vector<std::string>> out;
    for (const auto& [key, slice] : world.state.endpoint_slices) {
      if (slice->endpoints().empty()) continue;
      for (const v1::EndpointPort& own : slice->ports())
        out[fmt::format("{} {}", own.name(), own.port())] = Lines(*slice);
    }
    return out;
  };
  const std::vector<std::string> ready = {"10.244.0.2 ready serving"};
  const std::vector<std::string> kept = {"10.244.0.2 serving"};
  const std::map<std::string, std::vector<std::string>> wanted = {
      {"renamed 8080", ready}, {"other 81", ready}, {"renamed 80", kept}, {"other 80", kept}};
  EXPECT_EQ(lines(), wanted);
  Settle();
  EXPECT_EQ(lines(), wanted) << "the same again, and not more each time";
}

// Each write is seen by itself: at none of them may a port have nobody who is ready.
TEST_F(EndpointsControllerTest, SwapsTheNumbersOfTwoPortsWithoutAGap) {
  world.AddService("web", "web", "http");
  world.AddPod("web-1", "web", "a", true);
  GivePort("web-1", "http", 9000);
  GivePort("web-1", "admin", 9001);
  const auto point = [&](const std::string& first, const std::string& second) {
    v1::Service service = world.service("web");
    service.mutable_spec()->clear_ports();
    for (const auto& [name, target] : {std::pair("http", first), std::pair("admin", second)}) {
      v1::ServicePort& port = *service.mutable_spec()->add_ports();
      port.set_name(name);
      port.set_protocol("TCP");
      port.set_port(service.spec().ports_size());
      port.mutable_target_port()->set_string_value(target);
    }
    world.Put(Wrap(service));
  };
  const auto ready = [&] {
    std::set<std::string> names;
    for (const auto& [key, slice] : world.state.endpoint_slices) {
      for (const v1::Endpoint& endpoint : slice->endpoints()) {
        if (!endpoint.conditions().ready()) continue;
        for (const v1::EndpointPort& port : slice->ports()) names.insert(port.name());
      }
    }
    return names;
  };
  point("http", "admin");
  Settle();
  for (int i = 0; i < 4; ++i) {
    i % 2 == 0 ? point("admin", "http") : point("http", "admin");
    const ReconcileResult all = Reconcile();
    EXPECT_GE(all.writes.size(), 2U);
    for (const Write& write : all.writes) {
      ReconcileResult one;
      one.writes.push_back(write);
      world.Apply(one);
      EXPECT_THAT(ready(), ElementsAre("admin", "http")) << "change " << i;
    }
    Settle();
  }
}

TEST_F(EndpointsControllerTest, LeavesOutFinishedPods) {
  world.AddService("web", "web");
  world.AddPod("web-1", "web", "a", true).mutable_status()->set_phase("Succeeded");

  Settle();

  EXPECT_THAT(Lines(Slice("web")), IsEmpty());
}

TEST_F(EndpointsControllerTest, ResolvesNamedPortsPerPodAndSplitsSlicesByTheirNumbers) {
  world.AddService("web", "web", "http");
  world.AddPod("web-1", "web", "a", true);
  world.AddPod("web-2", "web", "b", true);
  world.AddPod("web-3", "web", "b", true);
  world.AddPod("portless", "web", "a", true);
  GivePort("web-1", "http", 8080);
  GivePort("web-2", "http", 9090);
  GivePort("web-3", "http", 8080, "UDP");  // not the port that is meant

  Settle();

  EXPECT_THAT(Lines(Slice("web")), ElementsAre("10.244.0.2 ready serving"));
  EXPECT_EQ(Slice("web").ports(0).port(), 8080);
  EXPECT_THAT(Lines(Slice("web-1")), ElementsAre("10.244.1.2 ready serving"));
  EXPECT_EQ(Slice("web-1").ports(0).port(), 9090);
  EXPECT_EQ(world.state.endpoint_slices.size(), 2u);
}

TEST_F(EndpointsControllerTest, KeepsASliceForItsPortsWhenAnotherOneGoes) {
  world.AddService("web", "web", "http");
  world.AddPod("web-1", "web", "a", true);
  world.AddPod("web-2", "web", "b", true);
  GivePort("web-1", "http", 8080);
  GivePort("web-2", "http", 9090);
  Settle();

  world.state.Remove(v1::KIND_POD, InDefault("web-1"));
  Settle();

  ASSERT_EQ(world.state.endpoint_slices.size(), 1u);
  EXPECT_EQ(world.state.endpoint_slices.begin()->second->ports(0).port(), 9090);
}

TEST_F(EndpointsControllerTest, KeepsAnEmptySliceForAServiceWithoutPods) {
  world.AddService("web", "web");

  Settle();

  EXPECT_THAT(Lines(Slice("web")), IsEmpty());
}

TEST_F(EndpointsControllerTest, RemovesTheSlicesWithTheService) {
  world.AddService("web", "web");
  world.AddPod("web-1", "web", "a", true);
  Settle();

  world.state.Remove(v1::KIND_SERVICE, InDefault("web"));
  Settle();

  EXPECT_TRUE(world.state.endpoint_slices.empty());
}

TEST_F(EndpointsControllerTest, LeavesAServiceWithoutSelectorToOthers) {
  world.AddService("web", "");
  v1::EndpointSlice manual;
  manual.mutable_metadata()->set_name("web-manual");
  manual.mutable_metadata()->set_namespace_("default");
  (*manual.mutable_metadata()->mutable_labels())[kServiceNameLabel] = "web";
  world.Put(Wrap(manual));

  EXPECT_THAT(Describe(Reconcile()), IsEmpty());
}

TEST_F(EndpointsControllerTest, TakesPodsOfASilentNodeOutWhileOthersServe) {
  world.AddService("web", "web");
  world.AddPod("web-1", "web", "a", true);
  world.AddPod("web-2", "web", "b", true);
  Settle();

  world.Silence("a");
  Settle();
  EXPECT_THAT(Lines(Slice("web")), ElementsAre("10.244.0.2", "10.244.1.2 ready serving"));

  // Nobody else is left: a pod that may live is better than none.
  world.Silence("b");
  Settle();
  EXPECT_THAT(Lines(Slice("web")),
              ElementsAre("10.244.0.2 ready serving", "10.244.1.2 ready serving"));
}

TEST_F(EndpointsControllerTest, IsAskedAboutPodsServicesSlicesAndNodes) {
  world.AddService("web", "web");
  Settle();
  auto service = std::make_shared<v1::Resource>(Wrap(world.service("web")));
  auto pod = std::make_shared<v1::Resource>(Wrap(world.AddPod("web-1", "web", "a", true)));
  auto slice = std::make_shared<v1::Resource>(Wrap(Slice("web")));
  auto before = std::make_shared<v1::Resource>(Wrap(world.node("a")));
  world.Silence("a");
  auto after = std::make_shared<v1::Resource>(Wrap(world.node("a")));

  for (const Change& change : {Change{nullptr, service}, Change{pod, nullptr},
                               Change{slice, nullptr}, Change{before, after}})
    EXPECT_THAT(controller.Affected(world.state, change), ElementsAre(InDefault("web")));
}

TEST_F(EndpointsControllerTest, SplitsAtAHundredAndRewritesOneSliceForOnePod) {
  world.AddService("web", "web");
  for (int i = 0; i < 230; ++i) world.AddPod(fmt::format("web-{:03}", i), "web", "a", true);
  Settle();

  EXPECT_EQ(Slice("web").endpoints_size(), 100);
  EXPECT_EQ(Slice("web-1").endpoints_size(), 100);
  EXPECT_EQ(Slice("web-2").endpoints_size(), 30);

  world.Terminate("web-150");
  EXPECT_THAT(Describe(Reconcile()), ElementsAre(HasSubstr("web-1")));
  Settle();
  world.state.Remove(v1::KIND_POD, InDefault("web-010"));
  EXPECT_THAT(Describe(Reconcile()), ElementsAre(HasSubstr("web")));
  Settle();
  // The room that it left is used, others stay where they are.
  world.AddPod("web-230", "web", "b", true);
  ASSERT_EQ(Reconcile().writes.size(), 1u);
  Settle();
  EXPECT_EQ(Slice("web").endpoints_size(), 100);
}

TEST_F(EndpointsControllerTest, RemovesSlicesThatHaveBecomeEmpty) {
  world.AddService("web", "web");
  for (int i = 0; i < 101; ++i) world.AddPod(fmt::format("web-{:03}", i), "web", "a", true);
  Settle();
  ASSERT_EQ(world.state.endpoint_slices.size(), 2u);

  world.state.Remove(v1::KIND_POD, InDefault("web-100"));
  Settle();

  EXPECT_EQ(world.state.endpoint_slices.size(), 1u);
  EXPECT_EQ(Slice("web").endpoints_size(), 100);
}

TEST_F(EndpointsControllerTest, SplitsASliceThatIsTooLongAsOlderVersionsMadeThem) {
  world.AddService("web", "web");
  for (int i = 0; i < 150; ++i) world.AddPod(fmt::format("web-{:03}", i), "web", "a", true);
  Settle();
  v1::EndpointSlice whole = Slice("web");
  for (const v1::Endpoint& endpoint : Slice("web-1").endpoints()) *whole.add_endpoints() = endpoint;
  world.state.Remove(v1::KIND_ENDPOINT_SLICE, InDefault("web-1"));
  world.Put(Wrap(whole));

  Settle();

  EXPECT_EQ(Slice("web").endpoints_size(), 100);
  EXPECT_EQ(Slice("web-1").endpoints_size(), 50);
}

TEST_F(EndpointsControllerTest, PublishesPodsThatAreNotReadyWhereTheServiceAsksForIt) {
  world.AddService("web", "web").mutable_spec()->set_publish_not_ready_addresses(true);
  world.AddPod("web-1", "web", "a", false);

  Settle();

  EXPECT_THAT(Lines(Slice("web")), ElementsAre("10.244.0.2 ready"));
}

TEST_F(EndpointsControllerTest, TellsZoneWeightAndHostname) {
  world.AddNode("c", "4", "8Gi", {{"topology.kubernetes.io/zone", "north"}});
  world.AddService("web", "web");
  v1::Pod& pod = world.AddPod("web-1", "web", "c", true);
  (*pod.mutable_metadata()->mutable_annotations())["mesh.io/weight"] = "7";
  pod.mutable_spec()->set_hostname("first");
  pod.mutable_spec()->set_subdomain("web");

  Settle();

  const v1::Endpoint& endpoint = Slice("web").endpoints(0);
  EXPECT_EQ(endpoint.zone(), "north");
  EXPECT_EQ(endpoint.weight(), 7u);
  EXPECT_EQ(endpoint.hostname(), "first");
}

TEST_F(EndpointsControllerTest, GivesAHeadlessServiceWithoutPortsItsPods) {
  v1::ServiceSpec* spec = world.AddService("web", "web").mutable_spec();
  spec->set_cluster_ip("None");
  spec->clear_ports();
  world.AddPod("web-1", "web", "a", true);

  Settle();

  EXPECT_THAT(Lines(Slice("web")), ElementsAre("10.244.0.2 ready serving"));
  EXPECT_TRUE(Slice("web").ports().empty());
}

TEST_F(EndpointsControllerTest, WarnsOfAPortNameThatNoContainerHas) {
  world.AddService("web", "web", "http");
  EXPECT_THAT(Reconcile().events, IsEmpty()) << "no pods yet";
  world.AddPod("web-1", "web", "a", true);
  world.AddPod("web-2", "web", "a", true);

  const ReconcileResult result = Reconcile();

  ASSERT_EQ(result.events.size(), 1u);
  EXPECT_EQ(result.events[0].object.name(), "web");
  EXPECT_EQ(result.events[0].reason, "PortNotFound");
  EXPECT_EQ(result.events[0].message,
            "port 80: no container port is named \"http\" (TCP) in the selected pods web-1, web-2");
}

TEST_F(EndpointsControllerTest, NamesEndpointsOutsideOfTheCluster) {
  const EndpointsController knowing(
      DualRange{.v4 = *IpPrefix::Parse("10.244.0.0/16"), .v6 = std::nullopt});
  world.AddService("web", "");
  v1::EndpointSlice manual;
  manual.mutable_metadata()->set_name("db");
  manual.mutable_metadata()->set_namespace_("default");
  (*manual.mutable_metadata()->mutable_labels())[kServiceNameLabel] = "web";
  *manual.add_ports() = PortOf("web");
  manual.add_endpoints()->add_addresses("10.244.0.9");
  manual.add_endpoints()->add_addresses("203.0.113.7");
  world.Put(Wrap(manual));

  const ReconcileResult result = knowing.Reconcile(world.state, InDefault("web"), world.now);

  EXPECT_THAT(result.writes, IsEmpty());
  ASSERT_EQ(result.events.size(), 1u);
  EXPECT_EQ(result.events[0].message,
            "EndpointSlice db sends to addresses outside of the cluster: 203.0.113.7");
}

TEST_F(EndpointsControllerTest, KeepsSlicesOfEachFamily) {
  v1::Service service = world.AddService("web", "web");
  service.mutable_spec()->add_ip_families("IPv6");
  service.mutable_spec()->add_ip_families("IPv4");
  world.Put(Wrap(service));
  for (const char* name : {"web-1", "web-2"}) world.AddPod(name, "web", "a", true);
  v1::Pod second = world.pod("web-2");  // web-1 is from before the cluster had IPv6
  second.mutable_status()->add_pod_ips()->set_ip(second.status().pod_ip());
  second.mutable_status()->add_pod_ips()->set_ip("fd00:10:244::3");
  world.Put(Wrap(second));

  Settle();

  EXPECT_EQ(Slice("web").address_type(), "IPv4");
  EXPECT_THAT(Lines(Slice("web")),
              ElementsAre("10.244.0.2 ready serving", "10.244.0.3 ready serving"));
  EXPECT_EQ(Slice("web-ipv6").address_type(), "IPv6");
  EXPECT_THAT(Lines(Slice("web-ipv6")), ElementsAre("fd00:10:244::3 ready serving"));
  EXPECT_EQ(Slice("web-ipv6").ports(0).port(), Slice("web").ports(0).port());

  // The family goes, its slices go.
  service.mutable_spec()->mutable_ip_families()->RemoveLast();
  world.Put(Wrap(service));
  Settle();
  EXPECT_EQ(FindObject(world.state.endpoint_slices, InDefault("web")), nullptr);
  EXPECT_THAT(Lines(Slice("web-ipv6")), ElementsAre("fd00:10:244::3 ready serving"));
}

// With a selector, too: such slices are used beside those of the controller.
TEST_F(EndpointsControllerTest, NamesWhatIsOddInSlicesOfOthers) {
  const EndpointsController knowing(
      DualRange{.v4 = *IpPrefix::Parse("10.244.0.0/16"), .v6 = std::nullopt});
  for (const char* selector : {"", "web"}) {
    world.AddService("web", selector);
    v1::EndpointSlice manual;
    manual.mutable_metadata()->set_name("db");
    manual.mutable_metadata()->set_namespace_("default");
    (*manual.mutable_metadata()->mutable_labels())[kServiceNameLabel] = "web";
    manual.set_address_type("IPv6");
    *manual.add_ports() = PortOf("web");
    manual.add_endpoints()->add_addresses("2001:db8::7");
    world.Put(Wrap(manual));
    manual.mutable_metadata()->set_name("far");
    manual.set_address_type("IPv4");
    manual.mutable_endpoints(0)->set_addresses(0, "203.0.113.7");
    // The cluster's own.
    v1::Service& balanced = world.AddService("balanced", "web");
    balanced.mutable_status()->mutable_load_balancer()->add_ingress()->set_ip("192.0.2.200");
    world.Put(Wrap(balanced));
    manual.add_endpoints()->add_addresses("192.0.2.200");
    world.Put(Wrap(manual));

    const ReconcileResult result = knowing.Reconcile(world.state, InDefault("web"), world.now);

    ASSERT_EQ(result.events.size(), 2u) << selector;
    EXPECT_EQ(result.events[0].reason, "AddressFamily");
    EXPECT_EQ(result.events[0].message,
              "EndpointSlice db is not used: its addressType is IPv6, ipFamilies of the Service is "
              "IPv4");
    EXPECT_EQ(result.events[1].reason, "EndpointsOutsideCluster");
    EXPECT_EQ(result.events[1].message,
              "EndpointSlice far sends to addresses outside of the cluster: 203.0.113.7");
  }
}

TEST_F(EndpointsControllerTest, NamesPortsOfSlicesThatTheServiceHasNot) {
  v1::Service& service = world.AddService("web", "");
  service.mutable_spec()->clear_ports();
  v1::ServicePort* http = service.mutable_spec()->add_ports();
  http->set_name("http");
  http->set_port(80);
  http->set_protocol("TCP");
  world.Put(Wrap(service));
  v1::EndpointSlice manual;
  manual.mutable_metadata()->set_name("db");
  manual.mutable_metadata()->set_namespace_("default");
  (*manual.mutable_metadata()->mutable_labels())[kServiceNameLabel] = "web";
  manual.set_address_type("IPv4");
  manual.add_endpoints()->add_addresses("10.244.0.7");
  v1::EndpointPort* port = manual.add_ports();
  port->set_protocol("TCP");
  port->set_port(8080);
  const auto events = [&] {
    world.Put(Wrap(manual));
    std::vector<std::string> out;
    for (const auto& event : controller.Reconcile(world.state, InDefault("web"), world.now).events)
      out.push_back(event.reason + ": " + event.message);
    return out;
  };

  port->set_name("htttp");
  EXPECT_THAT(events(), ElementsAre("PortNotFound: EndpointSlice db has a port that the Service "
                                    "has not, \"htttp\" (TCP): ports are matched by name and "
                                    "protocol, and the Service has \"http\" (TCP)"));
  port->set_name("http");
  EXPECT_THAT(events(), ElementsAre());
  port->set_protocol("UDP");
  EXPECT_EQ(events().size(), 1u);
  manual.clear_ports();
  EXPECT_THAT(events(), ElementsAre("PortNotFound: EndpointSlice db has no port: ports are matched "
                                    "by name and protocol, and the Service has \"http\" (TCP)"));
}

}  // namespace
}  // namespace mesh::controlplane
