// SPDX-License-Identifier: Apache-2.0
#include "agent/network/trace_hop.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mesh/shared/drop_reason.h"
#include "mesh/shared/flow_map.h"
#include "mesh/shared/namespace_map.h"
#include "mesh/shared/policy_map.h"
#include "mesh/shared/set_map.h"
#include "mesh/shared/trace.h"

namespace mesh::agent {
namespace {

using dataplane::TraceOutcome;
using dataplane::TracePacket;
using ::testing::Contains;
using ::testing::HasSubstr;

constexpr uint32_t kShop = 256, kBank = 257;

IpAddress Ip(const char* text) { return *IpAddress::Parse(text); }

class CannedTracer : public dataplane::Tracer {
 public:
  absl::StatusOr<TraceOutcome> Trace(const TracePacket& packet) override {
    asked = packet;
    return outcome;
  }
  TracePacket asked;
  TraceOutcome outcome;
};

class TraceHopTest : public testing::Test {
 protected:
  TraceHopTest() {
    state_.namespaces[kShop].Mutable().set_name("shop");
    state_.namespaces[kBank].Mutable().set_name("bank");
    state_.nodes["n2"].Mutable().set_ip("192.0.2.2");
    v1::ServiceState service;
    service.set_namespace_("bank");
    service.set_name("api");
    service.set_cluster_ip("10.96.0.10");
    v1::ServicePortState* port = service.add_ports();
    port->set_protocol(6);
    port->set_port(80);
    v1::BackendState* backend = port->add_backends();
    backend->set_ip("10.244.2.4");
    backend->set_port(8080);
    backend->set_pod_name("api-1");
    backend->set_node_name("n2");
    state_.services["bank/api"] = service;
    dataplane::Endpoint pod;
    pod.ip = Ip("10.244.1.3");
    pod.ifindex = 7;
    pod.ns = "shop";
    pod.pod = "web";
    endpoints_.push_back(pod);
    request_.set_entry(v1::TraceHopRequest::POD);
    request_.set_pod_address("10.244.1.3");
    // 10.244.1.3:55555 to 10.96.0.10:80, TCP.
    request_.set_frame(
        std::string("\0\0\0\0\0\0\0\0\0\0\0\0\x08\0", 14) +
        std::string("\x45\0\0\x28\0\0\x40\0\x40\x06\0\0\x0a\xf4\x01\x03\x0a\x60\0\x0a", 20) +
        std::string("\xd9\x03\0\x50", 4) + std::string(16, '\0'));
  }

  absl::StatusOr<v1::TraceHopResponse> Ask() {
    return TraceHop(request_, tracer_,
                    {.endpoints = endpoints_,
                     .refused = refused_,
                     .state = &state_,
                     .own = own_,
                     .routes = [&](const IpAddress&, uint8_t, uint16_t) { return route_; }});
  }
  v1::TraceHopResponse Tell() {
    const auto out = Ask();
    EXPECT_TRUE(out.ok()) << out.status();
    return out.ok() ? *out : v1::TraceHopResponse();
  }
  static std::string Line(const v1::TraceHopResponse& response, const std::string& step) {
    for (const v1::TraceStep& line : response.steps()) {
      if (line.step() == step) return line.text();
    }
    return "";
  }

  NodeState state_;
  std::vector<dataplane::Endpoint> endpoints_;
  dataplane::RefusedPolicies refused_;
  std::vector<IpAddress> own_;
  CannedTracer tracer_;
  dataplane::NodeRoute route_{.served = true, .interface = "mesh_host", .gateway = {}};
  v1::TraceHopRequest request_;
};

TEST_F(TraceHopTest, TellsWhoSendsThatIsNoPod) {
  const auto source = [&](uint32_t identity) {
    tracer_.outcome.notes = {{MESH_TRACE_SOURCE, identity, 0, 0},
                             {MESH_TRACE_REASON, MESH_REASON_TO_STACK, 0, 0}};
    return Line(Tell(), "source");
  };
  EXPECT_EQ(source(MESH_IDENTITY_HOST), "the sender is a node");
  EXPECT_EQ(source(MESH_IDENTITY_WORLD), "the sender is outside the cluster");
  EXPECT_EQ(source(kShop), "the sender is of namespace shop");
}

TEST_F(TraceHopTest, AtTheNodesOwnAddressWhatTheClusterGaveComesBeforeExternalAddresses) {
  tracer_.outcome.notes = {{MESH_TRACE_SERVICE, 3, 0, 6}};
  v1::ServiceState& api = state_.services["bank/api"].Mutable();
  api.set_cluster_ip("10.96.0.11");
  v1::ServiceState thief = api;
  thief.set_name("a-thief");
  thief.add_external_ips("10.96.0.10");
  state_.services["bank/a-thief"] = thief;
  api.mutable_ports(0)->set_node_port(80);
  const auto told = [&](const std::vector<IpAddress>& own) {
    own_ = own;
    return Line(Tell(), "service");
  };

  EXPECT_EQ(told({Ip("10.96.0.10")}), "Service bank/api by its NodePort 10.96.0.10:80");
  EXPECT_EQ(told({}), "Service bank/a-thief by its external address 10.96.0.10:80");
  state_.services["bank/api"].Mutable().mutable_ports(0)->set_node_port(0);
  EXPECT_EQ(told({Ip("10.96.0.10")}), "Service bank/a-thief by its external address 10.96.0.10:80");
  v1::Pod& pod = state_.pods["uid-1"].Mutable();
  pod.mutable_metadata()->set_namespace_("shop");
  pod.mutable_metadata()->set_name("one");
  pod.mutable_spec()->add_containers()->add_ports()->set_host_port(80);
  EXPECT_EQ(told({Ip("10.96.0.10")}), "Service of the host port of pod shop/one at 10.96.0.10:80");
}

TEST_F(TraceHopTest, TellsAServicesBackendAndTheWayThere) {
  tracer_.outcome.verdict = 7;
  tracer_.outcome.notes = {{MESH_TRACE_FLOW, 0, 0, 0},
                           {MESH_TRACE_SOURCE, kShop, 0, 0},
                           {MESH_TRACE_SERVICE, 3, 0, 6},
                           {MESH_TRACE_SET, 2, MESH_ALGORITHM_RANDOM, 0},
                           {MESH_TRACE_BACKEND, 9, 0, 0},
                           {MESH_TRACE_DELIVER, MESH_TARGET_TUNNEL, 0, 0},
                           {MESH_TRACE_REASON, MESH_REASON_FORWARDED, 0, 0}};
  tracer_.outcome.backends[9] = {Ip("10.244.2.4"), 8080};
  dataplane::TraceWay& way = tracer_.outcome.way;
  way.target = MESH_TARGET_TUNNEL;
  way.source = Ip("10.244.1.3");
  way.source_port = 55555;
  way.destination = Ip("10.244.2.4");
  way.destination_port = 8080;
  way.peer = Ip("192.0.2.2");
  way.vni = kShop | MESH_VNI_SERVICE;

  const v1::TraceHopResponse told = Tell();

  EXPECT_EQ(tracer_.asked.ifindex, 7);
  EXPECT_EQ(told.verdict(), "forwarded");
  EXPECT_EQ(told.target(), "tunnel");
  EXPECT_EQ(told.next_node(), "192.0.2.2");
  EXPECT_EQ(told.vni(), kShop | MESH_VNI_SERVICE);
  EXPECT_EQ(Line(told, "source"), "the sender is of namespace shop");
  EXPECT_EQ(Line(told, "service"), "Service bank/api by its ClusterIP 10.96.0.10:80");
  EXPECT_EQ(Line(told, "set"), "2 places; one at random");
  EXPECT_EQ(Line(told, "backend"), "backend 10.244.2.4:8080 (pod bank/api-1 on node n2)");
  EXPECT_EQ(Line(told, "rewrite"), "destination 10.96.0.10:80 becomes 10.244.2.4:8080");
  EXPECT_THAT(Line(told, "deliver"), HasSubstr("to node n2 (192.0.2.2) by VXLAN, VNI 0x800100"));

  // What the programs give to the kernel it may have no way for.
  route_ = {};
  const v1::TraceHopResponse lost = Tell();
  EXPECT_EQ(lost.verdict(), "dropped");
  EXPECT_EQ(lost.reason(), "no_route");
  EXPECT_EQ(lost.next_node(), "");
  EXPECT_THAT(Line(lost, "route"), HasSubstr("this node has no route to 192.0.2.2"));
}

TEST_F(TraceHopTest, NamesThePolicyThatKeepsToBackendsOfTheNode) {
  state_.config.set_node_name("n1");
  v1::ServiceState service = *state_.services["bank/api"];
  service.mutable_ports(0)->set_node_port(30080);
  const auto told = [&](bool internal, bool external, const char* node) {
    service.set_internal_traffic_local(internal);
    service.set_external_traffic_local(external);
    service.mutable_ports(0)->mutable_backends(0)->set_node_name(node);
    state_.services["bank/api"] = service;
    return Line(Tell(), "set");
  };
  tracer_.outcome.verdict = 7;
  tracer_.outcome.notes = {{MESH_TRACE_SET, 0, 0, 0},
                           {MESH_TRACE_REASON, MESH_REASON_NO_BACKEND, 0, 0}};
  const std::string plain = "it has no backend that takes new connections here";

  EXPECT_EQ(told(true, false, "n2"),
            "it has no backend on this node, and internalTrafficPolicy Local keeps to those; 1 "
            "elsewhere, on n2");
  EXPECT_EQ(told(false, true, "n2"), plain);
  EXPECT_EQ(told(true, true, "n1"), plain) << "it is none of the policy's doing";
  service.mutable_ports(0)->mutable_backends(0)->set_state(v1::BackendState::DRAINING);
  EXPECT_EQ(told(true, true, "n2"), plain);
  service.mutable_ports(0)->mutable_backends(0)->clear_state();

  // At the NodePort.
  std::string frame = request_.frame();
  frame.replace(36, 2, "\x75\x80");
  request_.set_frame(frame);
  EXPECT_EQ(told(true, false, "n2"), plain);
  EXPECT_THAT(told(false, true, "n2"), HasSubstr("externalTrafficPolicy Local keeps to those"));
}

TEST_F(TraceHopTest, TellsWhyAPacketIsDropped) {
  tracer_.outcome.verdict = 2;
  tracer_.outcome.notes = {{MESH_TRACE_FLOW, 0, 0, 0},
                           {MESH_TRACE_ISOLATION, kBank, MESH_ISOLATION_DEFAULT, 0},
                           {MESH_TRACE_REASON, MESH_REASON_ISOLATION, 1, 0}};
  v1::TraceHopResponse told = Tell();
  EXPECT_EQ(told.verdict(), "dropped");
  EXPECT_EQ(told.reason(), "isolation");
  EXPECT_THAT(Line(told, "isolation"), HasSubstr("namespace bank is isolated"));
  EXPECT_THAT(Line(told, "isolation"), HasSubstr("not admitted"));

  // Refused: the sender is sent an answer.
  tracer_.outcome.verdict = 7;
  tracer_.outcome.notes = {{MESH_TRACE_SET, 0, 0, 0},
                           {MESH_TRACE_REASON, MESH_REASON_NO_BACKEND, 0, 0}};
  told = Tell();
  EXPECT_EQ(told.verdict(), "refused");
  EXPECT_EQ(told.reason(), "no_backend");
  EXPECT_EQ(told.target(), "");
  EXPECT_EQ(Line(told, "set"), "it has no backend that takes new connections here");
}

TEST_F(TraceHopTest, NamesThePoliciesThatDecide) {
  constexpr uint32_t kWeb = 300, kApi = 301;
  v1::IdentityState web, api;
  web.set_identity(kWeb);
  web.set_namespace_number(kShop);
  web.set_egress(2);
  state_.identities[kWeb] = web;
  api.set_identity(kApi);
  api.set_namespace_number(kBank);
  api.set_ingress(1);
  state_.identities[kApi] = api;
  const auto add_pod = [&](const char* ns, const char* name, const char* ip, uint32_t identity) {
    v1::Pod& pod = state_.pods[name].Mutable();
    pod.mutable_metadata()->set_namespace_(ns);
    pod.mutable_metadata()->set_name(name);
    pod.mutable_status()->set_identity(identity);
    if (name == std::string("web")) return;
    dataplane::Endpoint& endpoint = endpoints_.emplace_back();
    endpoint.ip = Ip(ip);
    endpoint.ns = ns;
    endpoint.pod = name;
  };
  add_pod("shop", "web", "10.244.1.3", kWeb);
  add_pod("bank", "api", "10.244.1.4", kApi);
  v1::PolicySetState egress;
  egress.set_number(2);
  egress.set_egress(true);
  egress.add_policies("shop/deny-all");
  egress.add_policies("shop/to-bank");
  v1::PolicyRuleState* rule = egress.add_rules();
  rule->set_id(77);
  rule->set_policy(1);
  rule->set_index(3);
  state_.policy_sets[2] = egress;
  v1::PolicySetState ingress;
  ingress.set_number(1);
  ingress.add_policies("bank/deny-all");
  state_.policy_sets[1] = ingress;
  tracer_.outcome.verdict = 2;
  tracer_.outcome.notes = {{MESH_TRACE_SOURCE, kWeb, 0, 0},
                           {MESH_TRACE_BACKEND, 9, 0, 0},
                           {MESH_TRACE_EGRESS, kApi, MESH_VERDICT_ALLOW, 77},
                           {MESH_TRACE_INGRESS, kWeb, 0, 0},
                           {MESH_TRACE_REASON, MESH_REASON_POLICY_INGRESS, 1, 0}};
  tracer_.outcome.backends[9] = {Ip("10.244.1.4"), 8080};

  const v1::TraceHopResponse told = Tell();

  EXPECT_EQ(told.verdict(), "dropped");
  EXPECT_EQ(told.reason(), "policy_ingress");
  EXPECT_EQ(Line(told, "source"), "the sender is of namespace shop");
  std::vector<std::string> lines;
  for (const v1::TraceStep& step : told.steps()) {
    if (step.step() == "policy") lines.push_back(step.text());
  }
  EXPECT_THAT(lines, testing::ElementsAre(
                         "pod shop/web may send it by policy shop/to-bank, rule egress[3]",
                         "pod bank/api is isolated for ingress by policy bank/deny-all, no rule of "
                         "which admits it"));
  EXPECT_THAT(Line(told, "verdict"), HasSubstr("no ingress policy that selects the receiver"));

  const auto facts = [&](int i) {
    std::vector<v1::TracePolicy> out;
    for (const v1::TraceStep& step : told.steps()) {
      if (step.has_policy()) out.push_back(step.policy());
    }
    return out.at(static_cast<size_t>(i)).ShortDebugString();
  };
  EXPECT_EQ(facts(0),
            "egress: true namespace: \"shop\" pod: \"web\" allowed: true policy: "
            "\"shop/to-bank\" rule: 3 policies: \"shop/deny-all\" policies: \"shop/to-bank\" "
            "peer: \"10.244.1.4\" protocol: 6 port: 8080");
  EXPECT_EQ(facts(1),
            "namespace: \"bank\" pod: \"api\" policies: \"bank/deny-all\" peer: "
            "\"10.244.1.3\" protocol: 6 port: 8080");

  // Where some of it is refused, what is asked for is not what has decided.
  const auto refused = [&] {
    std::vector<std::string> out;
    const v1::TraceHopResponse again = Tell();
    for (const v1::TraceStep& step : again.steps()) {
      if (step.step() == "policy") out.push_back(step.text());
    }
    return out;
  };
  refused_ = {"no room", {1}, {}};
  EXPECT_THAT(refused(),
              testing::ElementsAre(
                  "pod shop/web may send it by policy shop/to-bank, rule egress[3]",
                  "pod bank/api is isolated by what was in force before for ingress: policy "
                  "bank/deny-all is not in force on this node: no room"));
  refused_.sets = {1, 2};
  EXPECT_THAT(refused()[0],
              "pod shop/web may send it by policy shop/to-bank, rule egress[3], of "
              "what was in force before: policies shop/deny-all, shop/to-bank are "
              "not in force on this node: no room");
  refused_.shut[Ip("10.244.1.4")].ingress = true;
  EXPECT_THAT(refused()[1],
              "pod bank/api is shut for ingress: policy bank/deny-all is not in "
              "force on this node: no room");
  tracer_.outcome.notes = {{MESH_TRACE_BACKEND, 9, 0, 0},
                           {MESH_TRACE_REASON, MESH_REASON_FORWARDED, 1, 0}};
  refused_ = {"no room", {1}, {}};
  EXPECT_THAT(refused(), testing::ElementsAre(
                             "pod bank/api is as it was before for ingress: policy bank/deny-all "
                             "is not in force on this node: no room"));
  refused_ = {};

  // Of an answer the receiver of its flow is who sends it.
  tracer_.outcome.notes = {{MESH_TRACE_FLOW, 1, 0, 0},
                           {MESH_TRACE_REVIEW, MESH_TRACE_REVIEW_JUDGED, 0, 0},
                           {MESH_TRACE_JUDGED, 1, 0, 0},
                           {MESH_TRACE_INGRESS, kApi, 0, 0}};
  EXPECT_THAT(Line(Tell(), "policy"), HasSubstr("pod shop/web is isolated for ingress"));
}

TEST_F(TraceHopTest, WhatTheProgramsLeaveAloneIsTheNodesOwn) {
  request_.set_entry(v1::TraceHopRequest::UPLINK);
  tracer_.outcome.verdict = 0;
  const v1::TraceHopResponse told = Tell();
  EXPECT_EQ(tracer_.asked.hook, TracePacket::Hook::kUplink);
  EXPECT_EQ(told.verdict(), "to_stack");
  EXPECT_EQ(told.reason(), "");
}

// Of a process of the node the kernel's routes decide who gets it.
TEST_F(TraceHopTest, TheNodesRoutesComeBeforeThePrograms) {
  request_.set_entry(v1::TraceHopRequest::NODE);
  route_ = {.served = false, .interface = "eth0", .gateway = Ip("192.0.2.254")};
  v1::TraceHopResponse told = Tell();
  EXPECT_TRUE(tracer_.asked.frame.empty());
  EXPECT_EQ(told.verdict(), "forwarded");
  EXPECT_EQ(told.target(), "outside");
  EXPECT_EQ(told.destination(), "10.96.0.10");
  EXPECT_EQ(told.destination_port(), 80u);
  EXPECT_EQ(told.frame(), request_.frame());
  EXPECT_THAT(Line(told, "route"), HasSubstr("by eth0 through 192.0.2.254"));

  route_ = {};
  told = Tell();
  EXPECT_EQ(told.verdict(), "to_stack");
  EXPECT_THAT(Line(told, "route"), HasSubstr("no route to 10.96.0.10"));

  route_ = {.served = true, .interface = "mesh_host"};
  Tell();
  EXPECT_EQ(tracer_.asked.hook, TracePacket::Hook::kNode);
}

TEST_F(TraceHopTest, AnOwnAddressWithoutAServiceStaysWithTheNode) {
  request_.set_entry(v1::TraceHopRequest::NODE);
  route_ = {.served = true, .interface = "mesh_host"};
  tracer_.outcome.verdict = 2;
  tracer_.outcome.notes = {{MESH_TRACE_REASON, MESH_REASON_NO_SERVICE, 0, 0}};
  EXPECT_EQ(Tell().verdict(), "dropped");

  request_.mutable_frame()->replace(30, 4, std::string("\xa9\xfe\x40\x04", 4));
  const v1::TraceHopResponse told = Tell();
  EXPECT_EQ(told.verdict(), "to_stack");
  EXPECT_THAT(Line(told, "verdict"), HasSubstr("stays with the node's processes"));
}

TEST_F(TraceHopTest, RefusesWhatItCannotAsk) {
  request_.set_pod_address("10.244.1.99");
  EXPECT_EQ(Ask().status().code(), absl::StatusCode::kNotFound);
  request_.set_pod_address("nonsense");
  EXPECT_EQ(Ask().status().code(), absl::StatusCode::kInvalidArgument);
  request_.set_entry(v1::TraceHopRequest::TUNNEL);
  request_.set_peer("fd00::1");
  EXPECT_EQ(Ask().status().code(), absl::StatusCode::kInvalidArgument);
  request_.clear_entry();
  EXPECT_EQ(Ask().status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace mesh::agent
