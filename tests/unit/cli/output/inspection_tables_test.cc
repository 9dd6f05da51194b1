// SPDX-License-Identifier: Apache-2.0
#include "cli/output/inspection_tables.h"

#include "cli/output/dataplane_tables.h"
#include "gtest/gtest.h"
#include "tests/unit/cli/output/objects.h"

namespace mesh::cli {
namespace {

std::string Shown(v1::DataplaneTable table, const std::string& rows, bool wide = false) {
  return Format(DataplaneTableOf(
      table, Parse<v1::ListDataplaneResponse>("nodes { node: 'n1' " + rows + " }"), wide));
}

TEST(InspectionTable, TellsOfPoliciesWhatTheySayAboutWhom) {
  const std::string rows =
      "policies { direction: 'ingress' pods: 'shop/web-1' peers: 'shop/cart-1' ports: 'TCP 80' "
      "verdict: 'allow' policy: 'shop/web' rule: 1 policies: 'shop/deny' policies: 'shop/web' set: "
      "3 class_number: 9 } "
      "policies { direction: 'egress' family: 'IPv6' pods: 'shop/web-1' peers: 'everybody else' "
      "ports: 'any' verdict: 'drop' policies: 'shop/deny' set: 4 class_number: 8 }";
  EXPECT_EQ(Shown(v1::DATAPLANE_TABLE_POLICY, rows),
            "NODE   PODS         DIRECTION   FAMILY   PEERS            PORTS    VERDICT   RULE\n"
            "n1     shop/web-1   ingress     both     shop/cart-1      TCP 80   allow     shop/web "
            "ingress[1]\n"
            "n1     shop/web-1   egress      IPv6     everybody else   any      drop      -\n");
  EXPECT_EQ(Shown(v1::DATAPLANE_TABLE_POLICY, rows, true),
            "NODE   PODS         DIRECTION   FAMILY   PEERS            PORTS    VERDICT   RULE     "
            "             POLICIES             SET   CLASS\n"
            "n1     shop/web-1   ingress     both     shop/cart-1      TCP 80   allow     shop/web "
            "ingress[1]   shop/deny,shop/web   3     9\n"
            "n1     shop/web-1   egress      IPv6     everybody else   any      drop      -        "
            "             shop/deny            4     8\n");
}

TEST(InspectionTable, CountsWhoHasAnIdentityAndWideNamesThem) {
  const std::string rows =
      "identities { identity: 1 name: 'host' } "
      "identities { identity: 256 namespace: 'shop' pods: 'shop/web-1' pods: 'shop/web-2' "
      "addresses: '10.244.2.9' }";

  EXPECT_EQ(Shown(v1::DATAPLANE_TABLE_IDENTITY, rows),
            "NODE   IDENTITY   NAMESPACE   PODS   ADDRESSES\n"
            "n1     1          (host)      0      0\n"
            "n1     256        shop        2      1\n");
  EXPECT_EQ(Shown(v1::DATAPLANE_TABLE_IDENTITY, rows, true),
            "NODE   IDENTITY   NAMESPACE   PODS                    ADDRESSES\n"
            "n1     1          (host)      -                       -\n"
            "n1     256        shop        shop/web-1,shop/web-2   10.244.2.9\n");
}

TEST(InspectionTable, ShortensALongListOfAddressesAtAName) {
  const std::string rows =
      "dns { name: 'h.shop.svc.cluster.local' type: 'A' values: '10.0.0.1' values: '10.0.0.2' "
      "values: '10.0.0.3' values: '10.0.0.4' ttl_seconds: 5 namespace: 'shop' service: 'h' }";

  EXPECT_EQ(Shown(v1::DATAPLANE_TABLE_DNS, rows),
            "NODE   NAME                       TYPE   VALUES\n"
            "n1     h.shop.svc.cluster.local   A      10.0.0.1,10.0.0.2,10.0.0.3 + 1 more...\n");
  EXPECT_EQ(Shown(v1::DATAPLANE_TABLE_DNS, rows, true),
            "NODE   NAME                       TYPE   VALUES                                TTL   "
            "NAMESPACE   SERVICE\n"
            "n1     h.shop.svc.cluster.local   A      10.0.0.1,10.0.0.2,10.0.0.3,10.0.0.4   5     "
            "shop        h\n");
}

TEST(InspectionTable, ShowsWhatBecameOfQuestions) {
  EXPECT_EQ(Shown(v1::DATAPLANE_TABLE_DNS_STATS,
                  "dns_counters { name: 'queries' count: 12 } dns_counters { name: 'nxdomain' "
                  "count: 3 }"),
            "NODE   QUESTIONS   COUNT\n"
            "n1     queries     12\n"
            "n1     nxdomain    3\n");
}

TEST(InspectionTable, ShowsProgramsAndWhereTheyStand) {
  const std::string rows =
      "programs { name: 'mesh_from_pod' hook: 'tc' attached_to: 'mesh0a' attached_to: 'mesh0b' "
      "family: 'IPv4' tag: 'a1b2' id: 7 instructions: 4200 machine_bytes: 20480 memory_bytes: "
      "40960 loaded { seconds: 1700000000 } } "
      "programs { name: 'mesh_connect' hook: 'cgroup' family: 'IPv4' instructions: 90 } "
      "programs { name: 'mesh_uplink_xdp' hook: 'xdp' family: 'both' instructions: 80 }";

  EXPECT_EQ(
      Shown(v1::DATAPLANE_TABLE_PROGRAM, rows),
      "NODE   PROGRAM           FAMILY   HOOK     ATTACHED        INSTRUCTIONS   MEMORY   LOADED\n"
      "n1     mesh_from_pod     IPv4     tc       mesh0a,mesh0b   4200           40KiB    "
      "2023-11-14T22:13:20Z\n"
      "n1     mesh_connect      IPv4     cgroup   /               90             0B       "
      "1970-01-01T00:00:00Z\n"
      "n1     mesh_uplink_xdp   both     xdp      <none>          80             0B       "
      "1970-01-01T00:00:00Z\n");
}

TEST(InspectionTable, TellsHowOftenProgramsRanAndHowLong) {
  const auto response = Parse<v1::ListDataplaneResponse>(
      "nodes { node: 'n1' programs { name: 'mesh_node' family: 'IPv4' runs: 1000 run_time_ns: "
      "150000 measured_ms: 2000 } programs { name: 'mesh_overlay' family: 'IPv4' measured_ms: "
      "2000 } }");

  EXPECT_EQ(Format(ProgramStatsTable(response)),
            "NODE   PROGRAM        FAMILY   RUNS   RUNS/S   TIME/RUN   CPU\n"
            "n1     mesh_node      IPv4     1000   500      150ns      0.01%\n"
            "n1     mesh_overlay   IPv4     0      0        -          0.00%\n");
}

TEST(InspectionTable, ShowsHowFullMapsAre) {
  EXPECT_EQ(Shown(v1::DATAPLANE_TABLE_MAP,
                  "maps { name: 'mesh_flow' type: 'hash' key_bytes: 16 value_bytes: 112 entries: "
                  "250 max_entries: 1000 memory_bytes: 1572864 } "
                  "maps { name: 'mesh_metrics' type: 'percpu_array' key_bytes: 4 value_bytes: 16 "
                  "entries: 50 max_entries: 50 memory_bytes: 1000 }"),
            "NODE   MAP            TYPE           KEY   VALUE   ENTRIES   MAX    FULL    MEMORY\n"
            "n1     mesh_flow      hash           16    112     250       1000   25.0%   1.5MiB\n"
            "n1     mesh_metrics   percpu_array   4     16      50        50     -       1000B\n");
}

TEST(InspectionTable, GivesEachCpuItsLine) {
  EXPECT_EQ(Shown(v1::DATAPLANE_TABLE_MAP_ROWS,
                  "map_entries { key: 'vip=10.96.0.10 port=80' values: 'set_id=3' } "
                  "map_entries { key: 'reason=ttl' values: 'packets=1' values: 'packets=2' }"),
            "NODE   KEY                      VALUE\n"
            "n1     vip=10.96.0.10 port=80   set_id=3\n"
            "n1     reason=ttl               cpu0: packets=1\n"
            "n1     reason=ttl               cpu1: packets=2\n");
}

}  // namespace
}  // namespace mesh::cli
