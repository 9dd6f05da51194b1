// SPDX-License-Identifier: Apache-2.0
// Tables and descriptions of the kinds that are stored for others to act on.
#include "cli/output/describe.h"
#include "cli/output/printers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/cli/output/objects.h"

namespace mesh::cli {
namespace {

// The table of one object, made of a body without its metadata.
std::string TableOf(v1::Kind kind, const std::string& name, const std::string& body,
                    bool wide = false) {
  const auto object = Parse<v1::Resource>(name + " { metadata { name: 'x' namespace: 'default' " +
                                          Ago("creation_timestamp", 90) + "} " + body + " }");
  return Format(ResourceTable(kind, {object}, {.wide = wide, .now = Now()}));
}

constexpr char kTemplate[] =
    "template { metadata { labels { key: 'a' value: 'b' } } spec { containers { name: 'c' image: "
    "'i:1' } } }";

TEST(ResourceTable, ShowsWorkloads) {
  EXPECT_EQ(TableOf(v1::KIND_STATEFUL_SET, "stateful_set",
                    std::string("spec { replicas: 3 ") + kTemplate + " }", true),
            "NAME   READY   AGE   CONTAINERS   IMAGES\n"
            "x      0/3     90s   c            i:1\n");
  EXPECT_EQ(TableOf(v1::KIND_DAEMON_SET, "daemon_set", "status { desired_number_scheduled: 2 }"),
            "NAME   DESIRED   CURRENT   READY   UP-TO-DATE   AVAILABLE   NODE SELECTOR   AGE\n"
            "x      2         0         0       0            0           <none>          90s\n");
  EXPECT_EQ(TableOf(v1::KIND_JOB, "job",
                    "spec { completions: 3 } status { succeeded: 1 " + Ago("start_time", 30) + "}"),
            "NAME   STATUS    COMPLETIONS   DURATION   AGE\n"
            "x      Running   1/3           30s        90s\n");
  EXPECT_EQ(TableOf(v1::KIND_CRON_JOB, "cron_job", "spec { schedule: '*/5 * * * *' }"),
            "NAME   SCHEDULE      TIMEZONE   SUSPEND   ACTIVE   LAST SCHEDULE   AGE\n"
            "x      */5 * * * *   <none>     False     0        <none>          90s\n");
}

TEST(ResourceTable, ShowsWhatPodsReadAndKeep) {
  EXPECT_EQ(TableOf(v1::KIND_CONFIG_MAP, "config_map",
                    "data { key: 'a' value: '1' } binary_data { key: 'b' value: 'eA==' }"),
            "NAME   DATA   AGE\n"
            "x      2      90s\n");
  EXPECT_EQ(TableOf(v1::KIND_SECRET, "secret", "type: 'Opaque' data { key: 'a' value: 'eA==' }"),
            "NAME   TYPE     DATA   AGE\n"
            "x      Opaque   1      90s\n");
  EXPECT_EQ(TableOf(v1::KIND_PERSISTENT_VOLUME_CLAIM, "persistent_volume_claim",
                    "spec { volume_name: 'pv' storage_class_name: 'fast' } status { phase: 'Bound' "
                    "access_modes: 'ReadWriteOnce' capacity { key: 'storage' value { text: '1Gi' } "
                    "} }"),
            "NAME   STATUS   VOLUME   CAPACITY   ACCESS MODES   STORAGECLASS   "
            "VOLUMEATTRIBUTESCLASS   AGE\n"
            "x      Bound    pv       1Gi        RWO            fast           <unset>             "
            "    90s\n");
}

TEST(ResourceTable, ShowsRules) {
  EXPECT_EQ(TableOf(v1::KIND_HORIZONTAL_POD_AUTOSCALER, "horizontal_pod_autoscaler",
                    "spec { min_replicas: 1 max_replicas: 5 scale_target_ref { kind: 'Deployment' "
                    "name: 'web' } metrics { type: 'Resource' resource { name: 'cpu' target { "
                    "type: 'Utilization' average_utilization: 50 } } } }"),
            "NAME   REFERENCE        TARGETS              MINPODS   MAXPODS   REPLICAS   AGE\n"
            "x      Deployment/web   cpu: <unknown>/50%   1         5         0          90s\n");
  EXPECT_EQ(TableOf(v1::KIND_POD_DISRUPTION_BUDGET, "pod_disruption_budget",
                    "spec { min_available { string_value: '50%' } }"),
            "NAME   MIN AVAILABLE   MAX UNAVAILABLE   ALLOWED DISRUPTIONS   AGE\n"
            "x      50%             N/A               0                     90s\n");
  EXPECT_EQ(TableOf(v1::KIND_INGRESS, "ingress",
                    "spec { ingress_class_name: 'nginx' rules { host: 'a.b' } tls { hosts: 'a.b' } "
                    "}"),
            "NAME   CLASS   HOSTS   ADDRESS   PORTS     AGE\n"
            "x      nginx   a.b               80, 443   90s\n");
  EXPECT_EQ(TableOf(v1::KIND_HTTP_ROUTE, "http_route", "spec { hostnames: 'a.b' }"),
            "NAME   HOSTNAMES   AGE\n"
            "x      [\"a.b\"]     90s\n");
}

TEST(ResourceTable, HasARowForEveryKind) {
  for (int number = 1; number <= v1::Kind_MAX; ++number) {
    const auto kind = static_cast<v1::Kind>(number);
    if (kind == v1::KIND_EVENT) continue;  // its rows have no name
    v1::Resource object;
    const auto* field = v1::Resource::descriptor()->FindFieldByNumber(number);
    object.GetReflection()->MutableMessage(&object, field);
    const Table table = ResourceTable(kind, {object}, {.wide = true, .now = Now()});
    ASSERT_EQ(table.rows.size(), 1u);
    EXPECT_EQ(table.rows[0].size(), table.headers.size()) << v1::Kind_Name(kind);
  }
}

TEST(Describe, TellsSizesOfASecretAndNotItsValues) {
  const auto secret = Parse<v1::Resource>(
      "secret { metadata { name: 's' namespace: 'default' } type: 'Opaque' data { key: 'pass' "
      "value: 'aGVsbG8=' } }");
  const std::string text = Describe(secret, {}, Now());

  EXPECT_THAT(text, ::testing::HasSubstr("pass:  5 bytes"));
  EXPECT_THAT(text, ::testing::Not(::testing::HasSubstr("aGVsbG8=")));
}

TEST(Describe, TellsTheFieldsOfAnyKind) {
  const auto object = Parse<v1::Resource>(
      "persistent_volume { metadata { name: 'pv' } spec { access_modes: 'ReadWriteOnce' capacity { "
      "key: 'storage' value { text: '5Gi' } } host_path { path: '/data' } } }");
  const std::string text = Describe(object, {}, Now());

  EXPECT_THAT(text, ::testing::HasSubstr("Name:"));
  EXPECT_THAT(text, ::testing::HasSubstr("storage:"));
  EXPECT_THAT(text, ::testing::HasSubstr("5Gi"));
  EXPECT_THAT(text, ::testing::HasSubstr("/data"));
}

}  // namespace
}  // namespace mesh::cli
