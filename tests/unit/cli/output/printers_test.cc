// SPDX-License-Identifier: Apache-2.0
// The tables of `meshctl get`, letter by letter.
#include "cli/output/printers.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/cli/output/objects.h"

namespace mesh::cli {
namespace {

PrintOptions Options() { return {.now = Now()}; }
PrintOptions Wide() { return {.wide = true, .now = Now()}; }

std::vector<v1::Resource> Pods() {
  return {
      Parse<v1::Resource>("pod { metadata { name: 'web-1' namespace: 'shop' labels { key: 'app' "
                          "value: 'web' } labels { key: 'a' value: 'b' } " +
                          Ago("creation_timestamp", 90) +
                          "} spec { node_name: 'n1' containers { name: 'web' } } status { phase: "
                          "'Running' pod_ip: '10.244.1.2' container_statuses { ready: true state "
                          "{ running {} } } } }"),
      Parse<v1::Resource>("pod { metadata { name: 'web-22' namespace: 'shop' } spec { containers "
                          "{ name: 'web' } } status { phase: 'Pending' } }")};
}

TEST(ResourceTable, ShowsPods) {
  EXPECT_EQ(Format(ResourceTable(v1::KIND_POD, Pods(), Options())),
            "NAME     READY   STATUS    RESTARTS   AGE\n"
            "web-1    1/1     Running   0          90s\n"
            "web-22   0/1     Pending   0          <unknown>\n");
}

TEST(ResourceTable, ShowsPodsWide) {
  EXPECT_EQ(
      Format(ResourceTable(v1::KIND_POD, Pods(), Wide())),
      "NAME     READY   STATUS    RESTARTS   AGE         IP           NODE     NOMINATED NODE   "
      "READINESS GATES\n"
      "web-1    1/1     Running   0          90s         10.244.1.2   n1       <none>           "
      "<none>\n"
      "web-22   0/1     Pending   0          <unknown>   <none>       <none>   <none>           "
      "<none>\n");
}

TEST(ResourceTable, PutsNamespaceFirstAndLabelsLast) {
  PrintOptions options = Options();
  options.with_namespace = true;
  options.show_labels = true;
  options.label_columns = {"example.com/tier", "app"};

  EXPECT_EQ(
      Format(ResourceTable(v1::KIND_POD, Pods(), options)),
      "NAMESPACE   NAME     READY   STATUS    RESTARTS   AGE         TIER     APP      LABELS\n"
      "shop        web-1    1/1     Running   0          90s         <none>   web      "
      "a=b,app=web\n"
      "shop        web-22   0/1     Pending   0          <unknown>   <none>   <none>   <none>\n");
}

TEST(ResourceTable, NamesTheKindWhenThereAreSeveral) {
  PrintOptions options = Options();
  options.with_kind = true;
  v1::Resource deployment = Parse<v1::Resource>("deployment { metadata { name: 'web' " +
                                                Ago("creation_timestamp", 3 * 3600) +
                                                "} spec { replicas: 3 } status { ready_replicas: 2 "
                                                "updated_replicas: 3 available_replicas: 1 } "
                                                "}");

  EXPECT_EQ(Format(ResourceTable(v1::KIND_DEPLOYMENT, {deployment}, options)),
            "NAME                  READY   UP-TO-DATE   AVAILABLE   AGE\n"
            "deployment.apps/web   2/3     3            1           3h\n");
}

TEST(ResourceTable, ShowsDeploymentsAndReplicaSetsWide) {
  const std::string spec =
      "spec { replicas: 2 selector { match_labels { key: 'app' value: 'web' } } template { spec { "
      "containers { name: 'nginx' image: 'nginx:1' } containers { name: 'log' image: 'busybox' } } "
      "} }";
  v1::Resource deployment =
      Parse<v1::Resource>("deployment { metadata { name: 'web' } " + spec + "}");
  v1::Resource set = Parse<v1::Resource>("replica_set { metadata { name: 'web-5d' " +
                                         Ago("creation_timestamp", 130) + "} " + spec +
                                         " status { replicas: 2 ready_replicas: 1 } }");

  EXPECT_EQ(Format(ResourceTable(v1::KIND_DEPLOYMENT, {deployment}, Wide())),
            "NAME   READY   UP-TO-DATE   AVAILABLE   AGE         CONTAINERS   IMAGES            "
            "SELECTOR\n"
            "web    0/2     0            0           <unknown>   nginx,log    nginx:1,busybox   "
            "app=web\n");
  EXPECT_EQ(Format(ResourceTable(v1::KIND_REPLICA_SET, {set}, Options())),
            "NAME     DESIRED   CURRENT   READY   AGE\n"
            "web-5d   2         2         1       2m10s\n");
}

TEST(ResourceTable, ShowsServices) {
  v1::Resource service =
      Parse<v1::Resource>("service { metadata { name: 'dns' " + Ago("creation_timestamp", 5) +
                          "} spec { type: 'ClusterIP' cluster_ip: '10.96.0.10' selector { key: "
                          "'app' value: 'dns' } ports "
                          "{ port: 53 protocol: 'UDP' } ports { port: 53 } } }");

  EXPECT_EQ(Format(ResourceTable(v1::KIND_SERVICE, {service}, Wide())),
            "NAME   TYPE        CLUSTER-IP   EXTERNAL-IP   PORT(S)         AGE   SELECTOR\n"
            "dns    ClusterIP   10.96.0.10   <none>        53/UDP,53/TCP   5s    app=dns\n");
}

TEST(ResourceTable, ShowsHowServicesAreReachedFromOutside) {
  const auto service = [](const std::string& body) {
    return Parse<v1::Resource>("service { metadata { name: 'web' " + Ago("creation_timestamp", 5) +
                               "} " + body + " }");
  };
  const std::string ports = "ports { port: 80 node_port: 30080 protocol: 'TCP' } ";

  EXPECT_EQ(
      Format(ResourceTable(
          v1::KIND_SERVICE,
          {service("spec { type: 'NodePort' cluster_ip: '10.96.0.9' " + ports + "}"),
           service("spec { type: 'LoadBalancer' cluster_ip: '10.96.0.8' " + ports + "}"),
           service("spec { type: 'LoadBalancer' cluster_ip: '10.96.0.7' external_ips: '1.2.3.4' " +
                   ports + "} status { load_balancer { ingress { ip: '192.168.1.9' } } }"),
           service("spec { type: 'ExternalName' external_name: 'db.example.com' }"),
           service("spec { type: 'ClusterIP' cluster_ip: 'None' ports { port: 80 } }")},
          Options())),
      "NAME   TYPE           CLUSTER-IP   EXTERNAL-IP           PORT(S)        AGE\n"
      "web    NodePort       10.96.0.9    <none>                80:30080/TCP   5s\n"
      "web    LoadBalancer   10.96.0.8    <pending>             80:30080/TCP   5s\n"
      "web    LoadBalancer   10.96.0.7    192.168.1.9,1.2.3.4   80:30080/TCP   5s\n"
      "web    ExternalName   <none>       db.example.com        <none>         5s\n"
      "web    ClusterIP      None         <none>                80/TCP         5s\n");
}

TEST(ResourceTable, ShowsNodes) {
  v1::Resource ready = Parse<v1::Resource>(
      "node { metadata { name: 'n1' labels { key: 'node-role.kubernetes.io/control-plane' } " +
      Ago("creation_timestamp", 200) +
      "} spec { unschedulable: true } status { conditions { type: 'Ready' status: 'True' } "
      "addresses { "
      "type: 'InternalIP' address: '10.0.0.1' } node_info { kubelet_version: 'v0.1.0' os_image: "
      "'Debian' kernel_version: '6.1' container_runtime_version: 'containerd://1.6.20' } } }");
  v1::Resource lost = Parse<v1::Resource>(
      "node { metadata { name: 'n2' } status { conditions { type: 'Ready' status: 'Unknown' } } }");

  EXPECT_EQ(Format(ResourceTable(v1::KIND_NODE, {ready, lost}, Options())),
            "NAME   STATUS                     ROLES           AGE         VERSION\n"
            "n1     Ready,SchedulingDisabled   control-plane   3m20s       v0.1.0\n"
            "n2     NotReady                   <none>          <unknown>   <none>\n");
  EXPECT_EQ(Format(ResourceTable(v1::KIND_NODE, {ready}, Wide())),
            "NAME   STATUS                     ROLES           AGE     VERSION   INTERNAL-IP   "
            "EXTERNAL-IP   OS-IMAGE   KERNEL-VERSION   CONTAINER-RUNTIME\n"
            "n1     Ready,SchedulingDisabled   control-plane   3m20s   v0.1.0    10.0.0.1      "
            "<none>        Debian     6.1              containerd://1.6.20\n");
  v1::NodeAddress* second = ready.mutable_node()->mutable_status()->add_addresses();
  second->set_type("InternalIP");
  second->set_address("fd00::1");
  EXPECT_THAT(Format(ResourceTable(v1::KIND_NODE, {ready}, Wide())),
              ::testing::HasSubstr(" 10.0.0.1,fd00::1 "));

  for (const auto& [type, reason] : {std::pair{"AddressesPresent", "AddressMissing"},
                                     {"MtuFollowed", "MtuNotFollowed"},
                                     {"PoliciesInForce", "PolicyNotInForce"},
                                     {"StateSaved", "CheckpointNotWritten"},
                                     {"NetworkReady", "DataplaneNotProgrammed"}}) {
    v1::Condition* condition = ready.mutable_node()->mutable_status()->add_conditions();
    condition->set_type(type);
    condition->set_status("False");
    condition->set_reason(reason);
  }
  EXPECT_THAT(Format(ResourceTable(v1::KIND_NODE, {ready}, Options())),
              ::testing::HasSubstr("n1     Ready,AddressMissing,MtuNotFollowed,PolicyNotInForce,"
                                   "CheckpointNotWritten,SchedulingDisabled "));
}

TEST(ResourceTable, ShowsNamespaces) {
  v1::Resource ns =
      Parse<v1::Resource>("namespace { metadata { name: 'shop' " + Ago("creation_timestamp", 7) +
                          "} status { phase: 'Terminating' } }");

  EXPECT_EQ(Format(ResourceTable(v1::KIND_NAMESPACE, {ns}, Options())),
            "NAME   STATUS        AGE\n"
            "shop   Terminating   7s\n");
}

TEST(ResourceTable, ShowsEvents) {
  v1::Resource event = Parse<v1::Resource>(
      "event { metadata { name: 'web-1.1' } involved_object { kind: 'Pod' name: 'web-1' } reason: "
      "'Pulled' message: 'image present' type: 'Normal' count: 2 source { component: 'agent' host: "
      "'n1' } " +
      Ago("first_timestamp", 60) + Ago("last_timestamp", 10) + "}");

  EXPECT_EQ(Format(ResourceTable(v1::KIND_EVENT, {event}, Options())),
            "LAST SEEN   TYPE     REASON   OBJECT      MESSAGE\n"
            "10s         Normal   Pulled   pod/web-1   image present\n");
  EXPECT_EQ(
      Format(ResourceTable(v1::KIND_EVENT, {event}, Wide())),
      "LAST SEEN   TYPE     REASON   OBJECT      SUBOBJECT   SOURCE      MESSAGE         FIRST "
      "SEEN   COUNT   NAME\n"
      "10s         Normal   Pulled   pod/web-1               agent, n1   image present   60s    "
      "      2       web-1.1\n");
}

// Five ready endpoints and one that is not, on port 80.
v1::Resource Slice() {
  std::string text =
      "endpoint_slice { metadata { name: 'web-0' namespace: 'shop' labels { key: "
      "'kubernetes.io/service-name' value: 'web' } " +
      Ago("creation_timestamp", 30) +
      "} address_type: 'IPv4' ports { name: 'http' port: 80 protocol: 'TCP' } ";
  for (int i = 1; i <= 5; ++i) {
    text +=
        "endpoints { addresses: '10.244.1." + std::to_string(i) + "' conditions { ready: true } } ";
  }
  text += "endpoints { addresses: '10.244.1.9' conditions { ready: false } } }";
  return Parse<v1::Resource>(text);
}

TEST(EndpointsTable, GathersTheSlicesOfAServiceAndShortensTheList) {
  EXPECT_EQ(Format(EndpointsTable({Slice()}, Options())),
            "NAME   ENDPOINTS                                               AGE\n"
            "web    10.244.1.1:80,10.244.1.2:80,10.244.1.3:80 + 2 more...   30s\n");
}

TEST(EndpointsTable, SaysNoneForAServiceWithoutEndpoints) {
  v1::Resource slice =
      Parse<v1::Resource>("endpoint_slice { metadata { name: 'web' " +
                          Ago("creation_timestamp", 30) + "} ports { port: 80 } }");

  EXPECT_EQ(Format(EndpointsTable({slice}, Options())),
            "NAME   ENDPOINTS   AGE\n"
            "web    <none>      30s\n");
}

TEST(ResourceTable, ShowsEndpointSlices) {
  EXPECT_EQ(Format(ResourceTable(v1::KIND_ENDPOINT_SLICE, {Slice()}, Options())),
            "NAME    ADDRESSTYPE   PORTS   ENDPOINTS                                      AGE\n"
            "web-0   IPv4          80      10.244.1.1,10.244.1.2,10.244.1.3 + 3 more...   30s\n");
}

}  // namespace
}  // namespace mesh::cli
