// SPDX-License-Identifier: Apache-2.0
// Each rule once, by breaking a valid object in one place.
#include "api/schema/validate.h"

#include <functional>

#include "api/schema/defaults.h"
#include "fmt/format.h"
#include "gtest/gtest.h"
#include "tests/unit/api/from_text.h"

namespace mesh::schema {
namespace {

std::string Check(v1::Resource resource) {
  ApplyDefaults(&resource);
  return JoinProblems(Validate(resource), 100);
}

struct DeploymentCase {
  const char* problem;
  std::function<void(v1::Deployment*)> change;
};

v1::Container* FirstContainer(v1::Deployment* d) {
  return d->mutable_spec()->mutable_template_()->mutable_spec()->mutable_containers(0);
}

TEST(Validate, FindsWhatIsWrongWithADeployment) {
  const DeploymentCase cases[] = {
      {"", [](v1::Deployment*) {}},
      {"metadata.name: Required value",
       [](v1::Deployment* d) { d->mutable_metadata()->clear_name(); }},
      {"spec.replicas: Invalid value: -1: must be greater than or equal to 0",
       [](v1::Deployment* d) { d->mutable_spec()->set_replicas(-1); }},
      {"spec.selector: Required value",
       [](v1::Deployment* d) { d->mutable_spec()->clear_selector(); }},
      {"spec.selector: Invalid value: {}: empty selector is invalid for deployment",
       [](v1::Deployment* d) { d->mutable_spec()->mutable_selector()->clear_match_labels(); }},
      {"spec.template.metadata.labels: Invalid value: {\"app\":\"db\"}: `selector` does not match "
       "template `labels`",
       [](v1::Deployment* d) {
         (*d->mutable_spec()->mutable_template_()->mutable_metadata()->mutable_labels())["app"] =
             "db";
       }},
      {"spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicaSet "
       "is "
       "not Supported",
       [](v1::Deployment* d) {
         d->mutable_spec()->mutable_template_()->mutable_spec()->set_active_deadline_seconds(60);
       }},
      {"spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: "
       "\"Always\"",
       [](v1::Deployment* d) {
         d->mutable_spec()->mutable_template_()->mutable_spec()->set_restart_policy("Never");
       }},
      {"spec.template.metadata.annotations[kubernetes.io/egress-bandwidth]: Invalid value: \"10\": "
       "must be a number of bits a second between 1k and 1P",
       [](v1::Deployment* d) {
         auto& annotations =
             *d->mutable_spec()->mutable_template_()->mutable_metadata()->mutable_annotations();
         annotations["kubernetes.io/egress-bandwidth"] = "10";
         annotations["kubernetes.io/ingress-bandwidth"] = "10M";
       }},
      {"spec.template.spec.containers: Required value",
       [](v1::Deployment* d) {
         d->mutable_spec()->mutable_template_()->mutable_spec()->clear_containers();
       }},
      {"spec.template.spec.containers[0].image: Required value",
       [](v1::Deployment* d) { FirstContainer(d)->clear_image(); }},
      {"spec.template.spec.containers[1].name: Duplicate value: \"web\"",
       [](v1::Deployment* d) {
         *d->mutable_spec()->mutable_template_()->mutable_spec()->add_containers() =
             *FirstContainer(d);
       }},
      {"spec.template.spec.containers[0].ports[0].containerPort: Required value",
       [](v1::Deployment* d) { FirstContainer(d)->mutable_ports(0)->set_container_port(0); }},
      {"spec.template.spec.containers[0].ports[0].containerPort: Invalid value: 65536: must be "
       "between "
       "1 and 65535, inclusive",
       [](v1::Deployment* d) { FirstContainer(d)->mutable_ports(0)->set_container_port(65536); }},
      {"spec.template.spec.containers[0].ports[0].name: Invalid value: \"a-very-long-port-name\": "
       "must "
       "be no more than 15 characters",
       [](v1::Deployment* d) {
         FirstContainer(d)->mutable_ports(0)->set_name("a-very-long-port-name");
       }},
      {"spec.template.spec.containers[0].ports[0].protocol: Unsupported value: \"SCTP\": SCTP is "
       "not supported: mesh forwards TCP and UDP, supported values: \"TCP\", \"UDP\"",
       [](v1::Deployment* d) { FirstContainer(d)->mutable_ports(0)->set_protocol("SCTP"); }},
      {"spec.template.spec.containers[0].env[0].name: Invalid value: \"A=B\": a valid environment "
       "variable name must consist only of printable ASCII characters other than '='",
       [](v1::Deployment* d) { FirstContainer(d)->add_env()->set_name("A=B"); }},
      {"spec.template.spec.containers[0].resources.limits[cpu]: Invalid value: \"-1\": must be "
       "greater "
       "than or equal to 0",
       [](v1::Deployment* d) {
         (*FirstContainer(d)->mutable_resources()->mutable_limits())["cpu"].set_text("-1");
       }},
      {"spec.template.spec.containers[0].resources.requests[cpu]: Invalid value: \"2\": must be "
       "less "
       "than or equal to cpu limit of 500m",
       [](v1::Deployment* d) {
         (*FirstContainer(d)->mutable_resources()->mutable_limits())["cpu"].set_text("500m");
         (*FirstContainer(d)->mutable_resources()->mutable_requests())["cpu"].set_text("2");
       }},
      {"spec.template.spec.containers[0].resources.limits[ephemeral-storage]: not supported yet",
       [](v1::Deployment* d) {
         (*FirstContainer(d)->mutable_resources()->mutable_limits())["ephemeral-storage"].set_text(
             "1Gi");
       }},
      {"spec.strategy.type: Unsupported value: \"Rolling\": supported values: \"RollingUpdate\", "
       "\"Recreate\"",
       [](v1::Deployment* d) { d->mutable_spec()->mutable_strategy()->set_type("Rolling"); }},
      {"spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is "
       "'Recreate'",
       [](v1::Deployment* d) {
         d->mutable_spec()->mutable_strategy()->set_type("Recreate");
         d->mutable_spec()->mutable_strategy()->mutable_rolling_update();
       }},
      {"spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` "
       "is 0",
       [](v1::Deployment* d) {
         auto* rolling = d->mutable_spec()->mutable_strategy()->mutable_rolling_update();
         rolling->mutable_max_surge()->set_string_value("0%");
         rolling->mutable_max_unavailable()->set_int_value(0);
       }},
      {"spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"101%\": must not be greater "
       "than "
       "100%",
       [](v1::Deployment* d) {
         d->mutable_spec()
             ->mutable_strategy()
             ->mutable_rolling_update()
             ->mutable_max_unavailable()
             ->set_string_value("101%");
       }},
      {"spec.progressDeadlineSeconds: Invalid value: 5: must be greater than minReadySeconds",
       [](v1::Deployment* d) {
         d->mutable_spec()->set_progress_deadline_seconds(5);
         d->mutable_spec()->set_min_ready_seconds(5);
       }},
      {"spec.selector.matchExpressions[0].values: Required value: must be specified when "
       "`operator` is "
       "'In' or 'NotIn'; spec.template.metadata.labels: Invalid value: {\"app\":\"web\"}: "
       "`selector` "
       "does not match template `labels`",
       [](v1::Deployment* d) {
         auto* term = d->mutable_spec()->mutable_selector()->add_match_expressions();
         term->set_key("app");
         term->set_operator_("In");
       }},
  };
  for (const DeploymentCase& c : cases) {
    v1::Resource resource = ValidDeployment();
    c.change(resource.mutable_deployment());
    EXPECT_EQ(Check(resource), c.problem);
  }
}

struct ServiceCase {
  const char* problem;
  std::function<void(v1::Service*)> change;
};

TEST(Validate, FindsWhatIsWrongWithAService) {
  const ServiceCase cases[] = {
      {"", [](v1::Service*) {}},
      {"spec.ports: Required value", [](v1::Service* s) { s->mutable_spec()->clear_ports(); }},
      {"spec.ports[0].port: Required value",
       [](v1::Service* s) { s->mutable_spec()->mutable_ports(0)->set_port(0); }},
      {"spec.ports[0].name: Required value; spec.ports[1].name: Required value",
       [](v1::Service* s) { s->mutable_spec()->add_ports()->set_port(81); }},
      {"spec.ports[1]: Duplicate value: \"80/TCP\"",
       [](v1::Service* s) {
         s->mutable_spec()->mutable_ports(0)->set_name("a");
         auto* port = s->mutable_spec()->add_ports();
         port->set_port(80);
         port->set_name("b");
       }},
      {"spec.ports[1].name: Duplicate value: \"a\"",
       [](v1::Service* s) {
         s->mutable_spec()->mutable_ports(0)->set_name("a");
         auto* port = s->mutable_spec()->add_ports();
         port->set_port(81);
         port->set_name("a");
       }},
      {"",
       [](v1::Service* s) {  // one number over both protocols
         s->mutable_spec()->mutable_ports(0)->set_name("dns");
         auto* port = s->mutable_spec()->add_ports();
         port->set_port(80);
         port->set_protocol("UDP");
         port->set_name("dns-udp");
       }},
      {"spec.ports[0].targetPort: Invalid value: 0: must be between 1 and 65535, inclusive",
       [](v1::Service* s) {
         s->mutable_spec()->mutable_ports(0)->mutable_target_port()->set_int_value(0);
       }},
      {"spec.ports[0].targetPort: Invalid value: \"80\": must contain at least one letter (a-z)",
       [](v1::Service* s) {
         s->mutable_spec()->mutable_ports(0)->mutable_target_port()->set_string_value("80");
       }},
      {"spec.type: Unsupported value: \"Cluster\": supported values: \"ClusterIP\", \"NodePort\", "
       "\"LoadBalancer\", \"ExternalName\"; did you mean \"ClusterIP\"?",
       [](v1::Service* s) { s->mutable_spec()->set_type("Cluster"); }},
      {"spec.ports[0].protocol: Unsupported value: \"SCTP\": SCTP is not supported: mesh forwards "
       "TCP and UDP, supported values: \"TCP\", \"UDP\"",
       [](v1::Service* s) { s->mutable_spec()->mutable_ports(0)->set_protocol("SCTP"); }},
      {"spec.clusterIP: Invalid value: \"10.0.0\": must be a valid IP address",
       [](v1::Service* s) { s->mutable_spec()->set_cluster_ip("10.0.0"); }},
      {"metadata.labels[a b]: Invalid value: \"a b\": name part must consist of alphanumeric "
       "characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. "
       "'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
       "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
       [](v1::Service* s) { (*s->mutable_metadata()->mutable_labels())["a b"] = "c"; }},
  };
  for (const ServiceCase& c : cases) {
    v1::Resource resource = ValidService();
    c.change(resource.mutable_service());
    EXPECT_EQ(Check(resource), c.problem);
  }
}

TEST(Validate, FindsWhatIsWrongWithHowAServiceIsReached) {
  const auto spec = [](v1::Service* s) { return s->mutable_spec(); };
  const ServiceCase cases[] = {
      {"", [&](v1::Service* s) { spec(s)->set_cluster_ip("None"); }},
      {"",
       [&](v1::Service* s) {  // headless: ports are not needed
         spec(s)->set_cluster_ip("None");
         spec(s)->clear_ports();
       }},
      {"spec.clusterIP: Invalid value: \"None\": may not be set to 'None' for NodePort services; "
       "leave clusterIP out, and delete a Service that was applied with it first",
       [&](v1::Service* s) {
         spec(s)->set_type("NodePort");
         spec(s)->set_cluster_ip("None");
       }},
      {"",
       [&](v1::Service* s) {
         spec(s)->set_type("ExternalName");
         spec(s)->set_external_name("db.example.com.");
         spec(s)->clear_ports();
       }},
      {"spec.externalName: Required value",
       [&](v1::Service* s) { spec(s)->set_type("ExternalName"); }},
      {"spec.clusterIP: Forbidden: may not be set for ExternalName services",
       [&](v1::Service* s) {
         spec(s)->set_type("ExternalName");
         spec(s)->set_external_name("db.example.com");
         spec(s)->set_cluster_ip("10.96.0.7");
       }},
      {"spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
       [&](v1::Service* s) { spec(s)->mutable_ports(0)->set_node_port(30080); }},
      {"spec.ports[1].nodePort: Duplicate value: 30080",
       [&](v1::Service* s) {
         spec(s)->set_type("NodePort");
         spec(s)->mutable_ports(0)->set_name("a");
         spec(s)->mutable_ports(0)->set_node_port(30080);
         auto* port = spec(s)->add_ports();
         port->set_port(81);
         port->set_name("b");
         port->set_node_port(30080);
       }},
      {"spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 86401: must be greater "
       "than 0 and less than or equal to 86400",
       [&](v1::Service* s) {
         spec(s)->set_session_affinity("ClientIP");
         spec(s)->mutable_session_affinity_config()->mutable_client_ip()->set_timeout_seconds(
             86401);
       }},
      {"spec.externalIPs[0]: Invalid value: \"127.0.0.1\": may not be in the loopback range "
       "(127.0.0.0/8, ::1/128)",
       [&](v1::Service* s) { spec(s)->add_external_ips("127.0.0.1"); }},
      {"spec.externalTrafficPolicy: Invalid value: \"Local\": may only be set for "
       "externally-accessible services",
       [&](v1::Service* s) { spec(s)->set_external_traffic_policy("Local"); }},
      {"spec.loadBalancerSourceRanges: Forbidden: may only be used when `type` is 'LoadBalancer'",
       [&](v1::Service* s) { spec(s)->add_load_balancer_source_ranges("10.0.0.0/8"); }},
      {"spec.loadBalancerSourceRanges[0]: Invalid value: \"office\": must be a valid address "
       "range, "
       "e.g. 10.9.8.0/24 or 2001:db8::/64",
       [&](v1::Service* s) {
         spec(s)->set_type("LoadBalancer");
         spec(s)->add_load_balancer_source_ranges("office");
       }},
      {"spec.healthCheckNodePort: Invalid value: 30001: may only be set when `type` is "
       "'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
       [&](v1::Service* s) {
         spec(s)->set_type("LoadBalancer");
         spec(s)->set_health_check_node_port(30001);
       }},
      {"spec.trafficDistribution: Unsupported value: \"Near\": supported values: \"PreferClose\", "
       "\"PreferSameZone\", \"PreferSameNode\"",
       [&](v1::Service* s) { spec(s)->set_traffic_distribution("Near"); }},
      {"metadata.annotations[mesh.io/load-balancing]: Unsupported value: \"best\": supported "
       "values: \"random\", \"maglev\", \"least-loaded\"",
       [](v1::Service* s) {
         (*s->mutable_metadata()->mutable_annotations())["mesh.io/load-balancing"] = "best";
       }},
      {"metadata.annotations[mesh.io/return-path]: Unsupported value: \"dsr\": supported values: "
       "\"snat\", \"direct\"",
       [](v1::Service* s) {
         (*s->mutable_metadata()->mutable_annotations())["mesh.io/return-path"] = "dsr";
       }},
  };
  for (const ServiceCase& c : cases) {
    v1::Resource resource = ValidService();
    c.change(resource.mutable_service());
    EXPECT_EQ(Check(resource), c.problem);
  }
}

TEST(Validate, FindsWhatIsWrongWithAnEndpointSlice) {
  const std::string head = "endpoint_slice { metadata { name: \"db\" } ";
  const std::pair<const char*, const char*> cases[] = {
      {"address_type: \"IPv4\" endpoints { addresses: \"203.0.113.7\" } ports { port: 5432 } }",
       ""},
      {"endpoints { addresses: \"203.0.113.7\" } }", "addressType: Required value"},
      {"address_type: \"IPv6\" endpoints { addresses: \"2001:db8::9\" } }", ""},
      {"address_type: \"FQDN\" }",
       "addressType: Unsupported value: \"FQDN\": not supported yet, supported values: \"IPv4\", "
       "\"IPv6\""},
      {"address_type: \"IPv6\" endpoints { addresses: \"10.9.8.7\" } }",
       "endpoints[0].addresses[0]: Invalid value: \"10.9.8.7\": must be a valid IPv6 address, "
       "(e.g. "
       "2001:db8::9)"},
      {"address_type: \"IPv4\" endpoints { addresses: \"2001:db8::9\" } }",
       "endpoints[0].addresses[0]: Invalid value: \"2001:db8::9\": must be a valid IPv4 address, "
       "(e.g. 10.9.8.7)"},
      {"address_type: \"IPv6\" endpoints { addresses: \"fe80::1\" } }",
       "endpoints[0].addresses[0]: Invalid value: \"fe80::1\": may not be in the link-local range "
       "(169.254.0.0/16, fe80::/10)"},
      {"address_type: \"IPv6\" endpoints { addresses: \"::1\" } }",
       "endpoints[0].addresses[0]: Invalid value: \"::1\": may not be in the loopback range "
       "(127.0.0.0/8, ::1/128)"},
      {"address_type: \"IPv6\" endpoints { addresses: \"ff0e::1\" } }",
       "endpoints[0].addresses[0]: Invalid value: \"ff0e::1\": must be a unicast address"},
      {"address_type: \"IPv4\" endpoints { } }", "endpoints[0].addresses: Required value"},
      {"address_type: \"IPv4\" endpoints { addresses: \"169.254.1.1\" } }",
       "endpoints[0].addresses[0]: Invalid value: \"169.254.1.1\": may not be in the link-local "
       "range (169.254.0.0/16, fe80::/10)"},
      {"address_type: \"IPv4\" endpoints { addresses: \"db.example.com\" } }",
       "endpoints[0].addresses[0]: Invalid value: \"db.example.com\": must be a valid IPv4 "
       "address, "
       "(e.g. 10.9.8.7)"},
      {"address_type: \"IPv4\" ports { port: 1 } ports { port: 2 } }",
       "ports[1].name: Duplicate value: \"\""},
  };
  for (const auto& [body, problem] : cases)
    EXPECT_EQ(Check(FromText(head + body)), problem) << body;
}

TEST(Validate, TakesWeightsFromOneToAThousand) {
  for (const char* bad : {"0", "1001", "-1", "2x", "", "heavy"}) {
    v1::Resource pod = ValidPod();
    (*pod.mutable_pod()->mutable_metadata()->mutable_annotations())["mesh.io/weight"] = bad;
    EXPECT_EQ(Check(pod),
              fmt::format("metadata.annotations[mesh.io/weight]: Invalid value: \"{}\": "
                          "must be a number between 1 and 1000, inclusive",
                          bad));
  }
  v1::Resource deployment = ValidDeployment();
  auto* meta = deployment.mutable_deployment()->mutable_spec()->mutable_template_();
  auto& annotations = *meta->mutable_metadata()->mutable_annotations();
  annotations["mesh.io/weight"] = "1000";
  EXPECT_EQ(Check(deployment), "");
  annotations["mesh.io/weight"] = "1e3";
  EXPECT_EQ(Check(deployment),
            "spec.template.metadata.annotations[mesh.io/weight]: Invalid value: \"1e3\": must be a "
            "number between 1 and 1000, inclusive");
}

TEST(Validate, GivesAPortOfTheNodeToOneContainer) {
  v1::Resource pod = ValidPod();
  auto* container = pod.mutable_pod()->mutable_spec()->mutable_containers(0);
  for (int i = 0; i < 2; ++i) {
    auto* port = container->add_ports();
    port->set_container_port(80 + i);
    port->set_host_port(8080);
  }

  EXPECT_EQ(Check(pod), "spec.containers[0].ports[1].hostPort: Duplicate value: \"TCP//8080\"");
}

TEST(Validate, LimitsNamesByKind) {
  struct Case {
    v1::Resource resource;
    std::string name;
    bool valid;
  };
  const std::string label63(63, 'a');
  const std::string label64(64, 'a');
  const Case cases[] = {
      {ValidService(), label63, true},
      {ValidService(), label64, false},
      {ValidService(), "1web", false},
      {ValidService(), "web.a", false},
      {ValidDeployment(), "web.a", true},
      {ValidDeployment(), "1web", true},
      {ValidDeployment(), "Web", false},
      {ValidDeployment(), "web_a", false},
      {ValidPod(), "-a", false},
      {ValidPod(), "a-", false},
      {ValidPod(), label63 + "." + label63 + "." + label63 + "." + std::string(61, 'a'), true},
      {ValidPod(), label63 + "." + label63 + "." + label63 + "." + std::string(62, 'a'), false},
      {FromText("namespace { metadata { name: \"x\" } }"), "a.b", false},
  };
  for (const Case& c : cases) {
    v1::Resource resource = c.resource;
    if (resource.has_service()) resource.mutable_service()->mutable_metadata()->set_name(c.name);
    if (resource.has_deployment())
      resource.mutable_deployment()->mutable_metadata()->set_name(c.name);
    if (resource.has_pod()) resource.mutable_pod()->mutable_metadata()->set_name(c.name);
    if (resource.has_namespace_())
      resource.mutable_namespace_()->mutable_metadata()->set_name(c.name);
    EXPECT_EQ(Check(resource).empty(), c.valid) << c.name;
  }
}

TEST(CheckImageReference, KnowsTheGrammar) {
  for (const char* good :
       {"nginx", "nginx:1.27", "library/nginx", "registry.k8s.io/pause:3.9", "localhost:5000/a/b:c",
        "localhost/a", "gcr.io/google-samples/gb-frontend:v5", "a__b/c-d.e:V_1.0-x",
        "nginx@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "nginx:1@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}) {
    EXPECT_EQ(CheckImageReference(good), "") << good;
  }
  for (const char* bad :
       {"Nginx", "nginx:", "nginx:a b", "nginx:-a", "/nginx", "nginx/", "a//b", "a___b", "<image>",
        "reg.io:x/a", "nginx@sha256:123", "nginx@", "$IMAGE"}) {
    EXPECT_NE(CheckImageReference(bad), "") << bad;
  }
}

TEST(ValidateUpdate, RefusesAChangedSelector) {
  v1::Resource live = ValidDeployment();
  v1::Resource next = live;
  auto* spec = next.mutable_deployment()->mutable_spec();
  (*spec->mutable_selector()->mutable_match_labels())["app"] = "db";

  EXPECT_EQ(JoinProblems(ValidateUpdate(live, next)),
            "spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"db\"}}: field is immutable");
  EXPECT_TRUE(ValidateUpdate(live, live).empty());
}

TEST(ValidateUpdate, LetsTheClusterAddressBeSetOnce) {
  v1::Resource live = ValidService();
  v1::Resource next = live;
  next.mutable_service()->mutable_spec()->set_cluster_ip("10.96.0.7");

  EXPECT_TRUE(ValidateUpdate(live, next).empty());
  EXPECT_EQ(JoinProblems(ValidateUpdate(next, live)),
            "spec.clusterIP: Invalid value: \"\": may not change once set; to change it delete the "
            "Service and apply it again");
}

// `file` as the successor of `live`, the way apply and update take it.
v1::Resource Successor(const v1::Resource& live, v1::Resource next) {
  PrepareUpdate(live, &next);
  ApplyDefaults(&next);
  EXPECT_EQ(JoinProblems(Validate(next)), "");
  return next;
}

TEST(PrepareUpdate, DropsWhatTheNewTypeHasNoUseFor) {
  v1::Resource live = ValidService();
  auto* spec = live.mutable_service()->mutable_spec();
  spec->set_type("LoadBalancer");
  spec->set_cluster_ip("10.96.0.7");
  spec->set_external_traffic_policy("Local");
  spec->set_health_check_node_port(30999);
  spec->mutable_ports(0)->set_node_port(30080);
  ApplyDefaults(&live);

  v1::Resource next = live;
  next.mutable_service()->mutable_spec()->set_type("ClusterIP");
  const v1::ServiceSpec internal = Successor(live, next).service().spec();
  EXPECT_EQ(internal.cluster_ip(), "10.96.0.7");
  EXPECT_EQ(internal.ports(0).node_port(), 0);
  EXPECT_EQ(internal.health_check_node_port(), 0);
  EXPECT_EQ(internal.external_traffic_policy(), "");
  EXPECT_FALSE(internal.has_allocate_load_balancer_node_ports());

  next = live;
  next.mutable_service()->mutable_spec()->set_type("ExternalName");
  next.mutable_service()->mutable_spec()->set_external_name("db.example.com");
  EXPECT_EQ(Successor(live, next).service().spec().cluster_ip(), "");
}

TEST(PrepareUpdate, KeepsWhatTheClusterAssigned) {
  v1::Resource live = ValidService();
  live.mutable_service()->mutable_spec()->set_type("NodePort");
  live.mutable_service()->mutable_spec()->set_cluster_ip("10.96.0.7");
  live.mutable_service()->mutable_spec()->mutable_ports(0)->set_node_port(30080);
  ApplyDefaults(&live);
  v1::Resource file = ValidService();
  file.mutable_service()->mutable_spec()->set_type("LoadBalancer");

  const v1::ServiceSpec next = Successor(live, file).service().spec();

  EXPECT_EQ(next.cluster_ip(), "10.96.0.7");
  EXPECT_EQ(next.ports(0).node_port(), 30080);
}

// A manifest names `clusterIP` alone; the live object has `clusterIPs`, too.
TEST(PrepareUpdate, LetsClusterIpsFollowTheClusterIpOfTheManifest) {
  v1::Resource live = ValidService();
  live.mutable_service()->mutable_spec()->set_cluster_ip("10.96.0.7");
  live.mutable_service()->mutable_spec()->add_cluster_ips("10.96.0.7");
  ApplyDefaults(&live);
  for (const char* other : {"10.96.0.9", "None"}) {
    v1::Resource next = live;
    next.mutable_service()->mutable_spec()->set_cluster_ip(other);
    EXPECT_EQ(
        JoinProblems(ValidateUpdate(live, Successor(live, next))),
        std::string("spec.clusterIP: Invalid value: \"") + other +
            "\": may not change once set; to change it delete the Service and apply it again");
  }
}

// The manifest before asked for an address, this one leaves it out.
TEST(PrepareUpdate, GivesAnAddressOfAManifestBackForAName) {
  for (const char* address : {"None", "10.96.0.7"}) {
    v1::Resource live = ValidService();
    live.mutable_service()->mutable_spec()->set_cluster_ip(address);
    live.mutable_service()->mutable_spec()->add_cluster_ips(address);
    ApplyDefaults(&live);
    v1::Resource next = live;
    next.mutable_service()->mutable_spec()->clear_cluster_ip();
    EXPECT_EQ(Successor(live, next).service().spec().cluster_ip(), address);

    next.mutable_service()->mutable_spec()->set_type("ExternalName");
    next.mutable_service()->mutable_spec()->set_external_name("db.example.com");
    EXPECT_EQ(Successor(live, next).service().spec().cluster_ips_size(), 0);
  }
}

TEST(ValidateUpdate, KeepsAPodsSpec) {
  v1::Resource live = ValidPod();
  v1::Resource next = live;
  (*next.mutable_pod()->mutable_metadata()->mutable_labels())["a"] = "b";
  EXPECT_TRUE(ValidateUpdate(live, next).empty());

  next.mutable_pod()->mutable_spec()->mutable_containers(0)->set_image("busybox:1.37");
  EXPECT_EQ(
      JoinProblems(ValidateUpdate(live, next)),
      "spec.containers: Forbidden: the spec of a pod may not change; delete the pod first, or let "
      "a Deployment replace it");
}

TEST(Validate, KnowsTheIsolationOfANamespace) {
  v1::Resource space;
  space.mutable_namespace_()->mutable_metadata()->set_name("shop");
  auto& annotations = *space.mutable_namespace_()->mutable_metadata()->mutable_annotations();
  annotations["mesh.io/isolation"] = "closed";
  EXPECT_EQ(Check(space), "");

  annotations["mesh.io/isolation"] = "bogus";

  EXPECT_EQ(Check(space),
            "metadata.annotations[mesh.io/isolation]: Unsupported value: \"bogus\": supported "
            "values: \"open\", \"closed\"");
}

TEST(Validate, SaysWhatASourceRangeWithHostBitsShouldBe) {
  v1::Resource service = ValidService();
  v1::ServiceSpec* spec = service.mutable_service()->mutable_spec();
  spec->set_type("LoadBalancer");
  spec->add_load_balancer_source_ranges("10.1.2.3/20");
  const std::string at = "spec.loadBalancerSourceRanges[0]: ";
  EXPECT_EQ(Check(service), at + "Invalid value: \"10.1.2.3/20\": has bits set beyond its length: "
                                 "give 10.1.0.0/20, or 10.1.2.3/32 for the one address");
  spec->set_load_balancer_source_ranges(0, "fd00::1/64");
  EXPECT_EQ(Check(service), at + "Invalid value: \"fd00::1/64\": has bits set beyond its length: "
                                 "give fd00::/64, or fd00::1/128 for the one address");
  for (const char* bad : {"10.1.2.3", "10.1.2.3/33", "10.1.2.3/x", "x/8", "/8", ""}) {
    spec->set_load_balancer_source_ranges(0, bad);
    EXPECT_EQ(Check(service),
              at + "Invalid value: \"" + bad +
                  "\": must be a valid address range, e.g. 10.9.8.0/24 or 2001:db8::/64");
  }
}

TEST(JoinProblems, SaysHowManyAreLeftOut) {
  EXPECT_EQ(JoinProblems({{"a", "x"}, {"b", "y"}, {"c", "z"}}, 2), "a: x; b: y (and 1 more)");
}

}  // namespace
}  // namespace mesh::schema
