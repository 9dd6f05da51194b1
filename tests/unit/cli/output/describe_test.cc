// SPDX-License-Identifier: Apache-2.0
// Whole descriptions, letter by letter.
#include "cli/output/describe.h"

#include <cstdlib>

#include "gtest/gtest.h"
#include "tests/unit/cli/output/objects.h"

namespace mesh::cli {
namespace {

class DescribeTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    setenv("TZ", "UTC", /*overwrite=*/1);
    tzset();
  }

  v1::Event Event(const std::string& reason, int count) {
    return Parse<v1::Event>("type: 'Warning' reason: '" + reason +
                            "' count: " + std::to_string(count) +
                            " message: 'why' source { component: 'scheduler' } " +
                            Ago("first_timestamp", 600) + Ago("last_timestamp", 5));
  }
};

TEST_F(DescribeTest, TellsAboutARunningPod) {
  v1::Resource pod = Parse<v1::Resource>(
      "pod { metadata { name: 'web-1' namespace: 'shop' labels { key: 'app' value: 'web' } labels "
      "{ "
      "key: 'b' value: 'c' } owner_references { kind: 'ReplicaSet' name: 'web' controller: true } "
      "} "
      "spec { node_name: 'n1' containers { name: 'web' image: 'nginx:1' command: 'sh' args: '-c' "
      "args: "
      "'sleep 1\\n\\tsleep 2\\n' ports { container_port: 80 protocol: 'TCP' } env { name: 'A' "
      "value: '1' } "
      "resources { "
      "limits { key: 'memory' value { text: '64Mi' } } requests { key: 'cpu' value { text: '100m' "
      "} } } "
      "} } status { phase: 'Running' pod_ip: '10.244.1.2' host_ip: '10.0.0.1' pod_ips { ip: "
      "'10.244.1.2' } " +
      Ago("start_time", 60) +
      "conditions { type: 'Ready' status: 'True' } container_statuses { name: 'web' ready: true "
      "restart_count: 1 container_id: 'containerd://abc' image_id: 'sha256:1' state { running { " +
      Ago("started_at", 50) + "} } last_state { terminated { exit_code: 1 reason: 'Error' " +
      Ago("started_at", 60) + Ago("finished_at", 51) + "} } } } }");
  Related related;
  related.events = {Event("Unhealthy", 3)};

  EXPECT_EQ(Describe(pod, related, Now()),
            "Name:         web-1\n"
            "Namespace:    shop\n"
            "Node:         n1/10.0.0.1\n"
            "Start Time:   Fri, 02 Jan 2026 03:03:05 +0000\n"
            "Labels:       app=web\n"
            "              b=c\n"
            "Annotations:  <none>\n"
            "Status:       Running\n"
            "IP:           10.244.1.2\n"
            "IPs:\n"
            "  IP:           10.244.1.2\n"
            "Controlled By:  ReplicaSet/web\n"
            "Containers:\n"
            "  web:\n"
            "    Container ID:  containerd://abc\n"
            "    Image:         nginx:1\n"
            "    Image ID:      sha256:1\n"
            "    Port:          80/TCP\n"
            "    Command:\n"
            "      sh\n"
            "    Args:\n"
            "      -c\n"
            "      sleep 1\n"
            "          sleep 2\n"
            "    State:          Running\n"
            "      Started:      Fri, 02 Jan 2026 03:03:15 +0000\n"
            "    Last State:     Terminated\n"
            "      Reason:       Error\n"
            "      Exit Code:    1\n"
            "      Started:      Fri, 02 Jan 2026 03:03:05 +0000\n"
            "      Finished:     Fri, 02 Jan 2026 03:03:14 +0000\n"
            "    Ready:          True\n"
            "    Restart Count:  1\n"
            "    Limits:\n"
            "      memory:  64Mi\n"
            "    Requests:\n"
            "      cpu:  100m\n"
            "    Environment:\n"
            "      A:  1\n"
            "Conditions:\n"
            "  Type           Status\n"
            "  Ready          True\n"
            "QoS Class:       Burstable\n"
            "Node-Selectors:  <none>\n"
            "Events:\n"
            "  Type     Reason     Age               From       Message\n"
            "  ----     ------     ----              ----       -------\n"
            "  Warning  Unhealthy  5s (x3 over 10m)  scheduler  why\n");
}

TEST_F(DescribeTest, ShowsTheLastWordsOfAContainerLineByLine) {
  v1::Resource pod = Parse<v1::Resource>(
      "pod { metadata { name: 'web' namespace: 'shop' } spec { containers { name: 'a' image: 'b' } "
      "} status { container_statuses { name: 'a' state { terminated { exit_code: 1 reason: 'Error' "
      "message: 'no \\033[31mdatabase\\nat db:5432\\n' } } } } }");

  std::string text = Describe(pod, {}, Now());

  EXPECT_NE(text.find("      Message:      no ?[31mdatabase\n"
                      "                    at db:5432\n"
                      "      Exit Code:    1\n"),
            std::string::npos)
      << text;
}

TEST_F(DescribeTest, TellsTheHooksOfAContainer) {
  v1::Resource pod = Parse<v1::Resource>(
      "pod { metadata { name: 'web' namespace: 'shop' } spec { containers { name: 'a' image: 'b' "
      "lifecycle { post_start { exec { command: 'sh' command: 'up' } } pre_stop { sleep { seconds: "
      "5 } } } } } }");

  std::string text = Describe(pod, {}, Now());

  EXPECT_NE(text.find("Post Start:   exec [sh up]\n"), std::string::npos) << text;
  EXPECT_NE(text.find("Pre Stop:     sleep 5s\n"), std::string::npos) << text;
}

TEST_F(DescribeTest, TellsWhyAPodIsNotScheduled) {
  v1::Resource pod = Parse<v1::Resource>(
      "pod { metadata { name: 'big' namespace: 'shop' } spec { containers { name: 'a' image: 'b' } "
      "} "
      "status { phase: 'Pending' conditions { type: 'PodScheduled' status: 'False' reason: "
      "'Unschedulable' message: '0/3 nodes are available: 3 Insufficient cpu.' } } }");

  std::string text = Describe(pod, {}, Now());

  EXPECT_NE(text.find("Node:         <none>\n"), std::string::npos) << text;
  EXPECT_NE(
      text.find("PodScheduled:  Unschedulable: 0/3 nodes are available: 3 Insufficient cpu.\n"),
      std::string::npos)
      << text;
  EXPECT_NE(text.find("Events:          <none>\n"), std::string::npos) << text;
}

TEST_F(DescribeTest, TellsAboutAServiceAndItsEndpoints) {
  v1::Resource service = Parse<v1::Resource>(
      "service { metadata { name: 'web' namespace: 'shop' } spec { type: 'ClusterIP' cluster_ip: "
      "'10.96.0.10' selector { key: 'app' value: 'web' } ports { name: 'http' port: 80 protocol: "
      "'TCP' "
      "target_port { string_value: 'web' } } ports { name: 'dns' port: 53 protocol: 'UDP' } } }");
  Related related;
  related.slices = {
      Parse<v1::EndpointSlice>("ports { name: 'http' port: 8080 } endpoints { addresses: "
                               "'10.244.1.2' conditions { ready: true } "
                               "}")};

  EXPECT_EQ(Describe(service, related, Now()),
            "Name:         web\n"
            "Namespace:    shop\n"
            "Labels:       <none>\n"
            "Annotations:  <none>\n"
            "Selector:     app=web\n"
            "Type:         ClusterIP\n"
            "IP:           10.96.0.10\n"
            "IPs:          <none>\n"
            "Port:         http  80/TCP\n"
            "TargetPort:   web/TCP\n"
            "Endpoints:    10.244.1.2:8080\n"
            "Port:         dns  53/UDP\n"
            "TargetPort:   53/UDP\n"
            "Endpoints:    <none>\n"
            "Events:       <none>\n");
}

TEST_F(DescribeTest, TellsWhatAServiceOfTypeLoadBalancerHas) {
  v1::Resource service = Parse<v1::Resource>(
      "service { metadata { name: 'web' namespace: 'shop' } spec { type: 'LoadBalancer' "
      "cluster_ip: "
      "'10.96.0.10' cluster_ips: '10.96.0.10' cluster_ips: 'fd00:10:96::10' ip_family_policy: "
      "'PreferDualStack' ip_families: 'IPv4' ip_families: 'IPv6' session_affinity: "
      "'ClientIP' session_affinity_config { client_ip { timeout_seconds: 60 } } "
      "external_traffic_policy: 'Local' internal_traffic_policy: 'Cluster' "
      "health_check_node_port: 30999 load_balancer_source_ranges: '10.0.0.0/8' "
      "load_balancer_source_ranges: '1.2.3.0/24' ports { port: 80 node_port: 30080 } } "
      "status { load_balancer { ingress { ip: '192.168.1.9' } ingress { ip: 'fd00:1::9' } } } }");
  Related related;
  related.slices = {
      Parse<v1::EndpointSlice>("address_type: 'IPv4' ports { port: 80 } endpoints { addresses: "
                               "'10.244.1.2' conditions { ready: true } }"),
      Parse<v1::EndpointSlice>("address_type: 'IPv6' ports { port: 80 } endpoints { addresses: "
                               "'fd00:10:244:1::2' conditions { ready: true } }")};

  EXPECT_EQ(Describe(service, related, Now()),
            "Name:                        web\n"
            "Namespace:                   shop\n"
            "Labels:                      <none>\n"
            "Annotations:                 <none>\n"
            "Selector:                    <none>\n"
            "Type:                        LoadBalancer\n"
            "IP Family Policy:            PreferDualStack\n"
            "IP Families:                 IPv4,IPv6\n"
            "IP:                          10.96.0.10\n"
            "IPs:                         10.96.0.10,fd00:10:96::10\n"
            "LoadBalancer Ingress:        192.168.1.9,fd00:1::9\n"
            "Port:                        <unset>  80/TCP\n"
            "TargetPort:                  80/TCP\n"
            "NodePort:                    <unset>  30080/TCP\n"
            "Endpoints:                   10.244.1.2:80,[fd00:10:244:1::2]:80\n"
            "Session Affinity:            ClientIP (60 s)\n"
            "External Traffic Policy:     Local\n"
            "Internal Traffic Policy:     Cluster\n"
            "HealthCheck NodePort:        30999\n"
            "LoadBalancer Source Ranges:  10.0.0.0/8,1.2.3.0/24\n"
            "Events:                      <none>\n");
}

TEST_F(DescribeTest, TellsAboutADeploymentAndItsReplicaSets) {
  const std::string containers = "spec { containers { name: 'web' image: 'nginx:2' } }";
  v1::Resource deployment = Parse<v1::Resource>(
      "deployment { metadata { name: 'web' namespace: 'shop' " + Ago("creation_timestamp", 60) +
      "} spec { replicas: 2 selector { match_labels { key: 'app' value: 'web' } } strategy { type: "
      "'RollingUpdate' rolling_update { max_unavailable { string_value: '25%' } max_surge { "
      "int_value: 1 "
      "} } } template { metadata { labels { key: 'app' value: 'web' } } " +
      containers +
      " } } status { replicas: 3 updated_replicas: 1 available_replicas: 2 unavailable_replicas: 1 "
      "conditions { type: 'Progressing' status: 'True' reason: 'ReplicaSetUpdated' } } }");
  Related related;
  related.replica_sets = {
      Parse<v1::ReplicaSet>(
          "metadata { name: 'web-old' } spec { replicas: 2 template { spec { containers "
          "{ name: 'web' image: 'nginx:1' } } } } status { replicas: 2 }"),
      Parse<v1::ReplicaSet>(
          "metadata { name: 'web-new' } spec { replicas: 1 template { metadata { labels "
          "{ key: 'app' value: 'web' } labels { key: 'pod-template-hash' value: 'x' } } " +
          containers + " } } status { replicas: 1 }")};

  EXPECT_EQ(
      Describe(deployment, related, Now()),
      "Name:                   web\n"
      "Namespace:              shop\n"
      "CreationTimestamp:      Fri, 02 Jan 2026 03:03:05 +0000\n"
      "Labels:                 <none>\n"
      "Annotations:            <none>\n"
      "Selector:               app=web\n"
      "Replicas:               2 desired | 1 updated | 3 total | 2 available | 1 unavailable\n"
      "StrategyType:           RollingUpdate\n"
      "MinReadySeconds:        0\n"
      "RollingUpdateStrategy:  25% max unavailable, 1 max surge\n"
      "Pod Template:\n"
      "  Labels:  app=web\n"
      "  Containers:\n"
      "   web:\n"
      "    Image:         nginx:2\n"
      "    Port:          <none>\n"
      "    Environment:   <none>\n"
      "  Node-Selectors:  <none>\n"
      "Conditions:\n"
      "  Type           Status  Reason\n"
      "  ----           ------  ------\n"
      "  Progressing    True    ReplicaSetUpdated\n"
      "OldReplicaSets:  web-old (2/2 replicas created)\n"
      "NewReplicaSet:   web-new (1/1 replicas created)\n"
      "Events:          <none>\n");
}

TEST_F(DescribeTest, TellsANodesRequestsAndTheRevisionOfItsMaps) {
  v1::Resource node = Parse<v1::Resource>(
      "node { metadata { name: 'n1' } spec { pod_cidr: '10.244.1.0/24' } status { "
      "dataplane_revision: 40 "
      "allocatable { key: 'cpu' value { text: '2' } } allocatable { key: 'memory' value { text: "
      "'1Gi' } } "
      "} }");
  Related related;
  related.pods = {Parse<v1::Pod>(
      "metadata { name: 'web-1' namespace: 'shop' " + Ago("creation_timestamp", 60) +
      "} spec { containers { resources { requests { key: 'cpu' value { text: '500m' } } } } }")};

  std::string text = Describe(node, related, Now());

  EXPECT_NE(text.find("  Revision:           40\n"), std::string::npos) << text;
  EXPECT_NE(text.find("500m (25%)"), std::string::npos) << text;
}

TEST_F(DescribeTest, TellsTheIsolationOfANamespaceAlsoTheDefault) {
  v1::Resource ns = Parse<v1::Resource>("namespace { metadata { name: 'shop' } }");
  const auto isolation = [&] {
    const std::string text = Describe(ns, {}, Now());
    const size_t at = text.find("Isolation:");
    if (at == std::string::npos) return text;
    return text.substr(at, text.find('\n', at) - at);
  };
  EXPECT_EQ(isolation(),
            "Isolation:    default: other namespaces get in through its Services only");
  auto& annotations = *ns.mutable_namespace_()->mutable_metadata()->mutable_annotations();
  annotations["mesh.io/isolation"] = "open";
  EXPECT_EQ(isolation(), "Isolation:    open (mesh.io/isolation): every namespace gets in");
  annotations["mesh.io/isolation"] = "closed";
  EXPECT_EQ(isolation(),
            "Isolation:    closed (mesh.io/isolation): no other namespace gets in, not through "
            "Services either");
}

TEST_F(DescribeTest, TellsReadyAndUnreadyAddressesOfEndpoints) {
  v1::EndpointSlice slice = Parse<v1::EndpointSlice>(
      "metadata { name: 'web' namespace: 'shop' } ports { port: 80 protocol: 'TCP' } endpoints { "
      "addresses: '10.244.1.2' conditions { ready: true } } endpoints { addresses: '10.244.1.3' "
      "conditions { ready: false } }");

  EXPECT_EQ(DescribeEndpoints({slice}, {}, Now()),
            "Name:         web\n"
            "Namespace:    shop\n"
            "Labels:       <none>\n"
            "Annotations:  <none>\n"
            "Subsets:\n"
            "  Addresses:          10.244.1.2\n"
            "  NotReadyAddresses:  10.244.1.3\n"
            "  Ports:\n"
            "    Name     Port  Protocol\n"
            "    ----     ----  --------\n"
            "    <unset>  80    TCP\n"
            "Events:      <none>\n");
}

}  // namespace
}  // namespace mesh::cli
