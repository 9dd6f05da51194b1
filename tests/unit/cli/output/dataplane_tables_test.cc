// SPDX-License-Identifier: Apache-2.0
#include "cli/output/dataplane_tables.h"

#include "gtest/gtest.h"
#include "tests/unit/cli/output/objects.h"

namespace mesh::cli {
namespace {

v1::ListDataplaneResponse Response(const std::string& rows) {
  return Parse<v1::ListDataplaneResponse>(
      "nodes { node: 'n1' revision: 42 entries: 2 max_entries: "
      "65536 " +
      rows + " } nodes { node: 'n2' error: 'not reachable' }");
}

TEST(DataplaneTable, ShowsServicesWithTheirBackends) {
  auto response = Response(
      "services { vip: '10.96.0.10' port: 80 protocol: 'TCP' service_id: 3 namespace: 'shop' "
      "service: "
      "'web' type: 'NodePort' scope: 'external' algorithm: 'maglev' affinity_seconds: 10800 "
      "return_path: 'direct' "
      "backends { address: '10.244.1.2' port: 8080 state: 'active' pod: 'web-1' } backends { "
      "address: '10.244.2.7' port: 8080 state: 'draining' pod: 'web-2' } } "
      "services { vip: '10.96.0.11' port: 53 protocol: 'UDP' service_id: 4 namespace: "
      "'kube-system' "
      "service: 'dns' }");

  EXPECT_EQ(Format(DataplaneTableOf(v1::DATAPLANE_TABLE_SERVICE, response, /*wide=*/false)),
            "NODE   NAMESPACE     SERVICE   TYPE       FRONTEND            ALGORITHM   BACKENDS\n"
            "n1     shop          web       NodePort   10.96.0.10:80/TCP   maglev      "
            "10.244.1.2:8080,10.244.2.7:8080(draining)\n"
            "n1     kube-system   dns       -          10.96.0.11:53/UDP   -           <none>\n");
  EXPECT_EQ(
      Format(DataplaneTableOf(v1::DATAPLANE_TABLE_SERVICE, response, /*wide=*/true)),
      "NODE   NAMESPACE     SERVICE   TYPE       FRONTEND            ALGORITHM   BACKENDS          "
      "                          ID    SCOPE      AFFINITY   RANGES   RETURN   PODS\n"
      "n1     shop          web       NodePort   10.96.0.10:80/TCP   maglev      "
      "10.244.1.2:8080,10.244.2.7:8080(draining)   3     external   3h         no       direct   "
      "web-1,web-2\n"
      "n1     kube-system   dns       -          10.96.0.11:53/UDP   -           <none>            "
      "                          4     -          -          no       -        <none>\n");
}

TEST(DataplaneTable, ShortensALongListOfBackends) {
  std::string rows = "services { vip: '10.96.0.1' port: 80 protocol: 'TCP' ";
  for (int i = 1; i <= 6; ++i) {
    rows += "backends { address: '10.0.0." + std::to_string(i) + "' port: 1 state: 'active' } ";
  }

  Table table = DataplaneTableOf(v1::DATAPLANE_TABLE_SERVICE, Response(rows + "}"), false);

  EXPECT_EQ(table.rows.at(0).at(6), "10.0.0.1:1,10.0.0.2:1,10.0.0.3:1,10.0.0.4:1 + 2 more...");
}

TEST(DataplaneTable, ShowsBackends) {
  auto response = Response(
      "backends { backend_id: 9 address: '10.244.1.2' port: 80 protocol: 'TCP' state: 'active' "
      "node: "
      "'n1' namespace: 'shop' pod: 'web-1' service: 'web' weight: 3 scope: 'internal' }");

  EXPECT_EQ(Format(DataplaneTableOf(v1::DATAPLANE_TABLE_BACKEND, response, false)),
            "NODE   ID    NAMESPACE   SERVICE   BACKEND             STATE    WEIGHT   SCOPE      "
            "POD     ON\n"
            "n1     9     shop        web       10.244.1.2:80/TCP   active   3        internal   "
            "web-1   n1\n");
}

TEST(DataplaneTable, ShowsConnections) {
  auto response = Response(
      "conntrack { protocol: 'TCP' source: '10.244.1.3' source_port: 40000 destination: "
      "'10.96.0.10' "
      "destination_port: 80 backend: '10.244.1.2' backend_port: 8080 state: 'established' "
      "expires_in_seconds: 300 packets: 12 bytes: 3400 namespace: 'shop' service: 'web' kind: "
      "'service' } conntrack { protocol: 'UDP' source: '10.244.1.3' source_port: 5 destination: "
      "'10.244.1.4' destination_port: 6 state: 'unreplied' expires_in_seconds: 20 kind: 'direct' "
      "}");

  EXPECT_EQ(
      Format(DataplaneTableOf(v1::DATAPLANE_TABLE_CONNTRACK, response, false)),
      "NODE   PROTO   SOURCE             DESTINATION     BACKEND           STATE         EXPIRES  "
      " PACKETS   BYTES\n"
      "n1     TCP     10.244.1.3:40000   10.96.0.10:80   10.244.1.2:8080   established   5m       "
      " 12        3400\n"
      "n1     UDP     10.244.1.3:5       10.244.1.4:6    -                 unreplied     20s      "
      " 0         0\n");
}

TEST(DataplaneTable, ShowsEndpointsTunnelsAndMetrics) {
  auto response = Response(
      "endpoints { address: '10.244.1.2' mac: '02:00:00:00:00:01' ifindex: 7 interface: 'mesh1' "
      "identity: 256 namespace: 'shop' pod: 'web-1' } "
      "tunnels { cidr: '10.244.2.0/24' node_ip: '10.0.0.2' node: 'n2' routing: "
      "'native' } "
      "metrics { reason: 'namespace_isolation' direction: 'ingress' packets: 3 bytes: 222 }");

  EXPECT_EQ(
      Format(DataplaneTableOf(v1::DATAPLANE_TABLE_ENDPOINT, response, true)),
      "NODE   NAMESPACE   POD     ADDRESS      INTERFACE   MAC                 IFINDEX   IDENTITY\n"
      "n1     shop        web-1   10.244.1.2   mesh1       02:00:00:00:00:01   7         256\n");
  EXPECT_EQ(Format(DataplaneTableOf(v1::DATAPLANE_TABLE_TUNNEL, response, false)),
            "NODE   CIDR            PEER   VIA        ROUTING\n"
            "n1     10.244.2.0/24   n2     10.0.0.2   native\n");
  EXPECT_EQ(Format(DataplaneTableOf(v1::DATAPLANE_TABLE_METRICS, response, false)),
            "NODE   REASON                DIRECTION   PACKETS   BYTES\n"
            "n1     namespace_isolation   ingress     3         222\n");
}

TEST(DataplaneTable, ShowsWhoHasHowManyConnections) {
  auto response = Response(
      "flow_owners { address: '10.244.1.2' namespace: 'shop' pod: 'web-1' flows: 2 limit: 99 } "
      "flow_owners { flows: 1 limit: 99 }");
  EXPECT_EQ(Format(DataplaneTableOf(v1::DATAPLANE_TABLE_FLOW_OWNERS, response, false)),
            "NODE   NAMESPACE   POD      ADDRESS      FLOWS   LIMIT\n"
            "n1     shop        web-1    10.244.1.2   2       99\n"
            "n1     -           (node)   -            1       99\n"
            "n1     -           (all)    -            2       65536\n");
}

TEST(OccupancyText, TellsHowFullTheMapIs) {
  EXPECT_EQ(OccupancyText(Response("")), "n1: 2 of 65536 entries, revision 42\n");
}

TEST(FailureText, NamesTheNodeThatDidNotAnswer) {
  EXPECT_EQ(FailureText(Response("")), "warning: n2: not reachable\n");
}

}  // namespace
}  // namespace mesh::cli
