// SPDX-License-Identifier: Apache-2.0
// Goal: what a pod takes from elsewhere is checked as Kubernetes checks it, and what is not done is
// refused by name.
#include <string>

#include "api/schema/defaults.h"
#include "api/schema/references.h"
#include "api/schema/validate.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/api/from_text.h"

namespace mesh::schema {
namespace {

using ::testing::ElementsAre;

v1::Resource APod(const std::string& volumes, const std::string& container) {
  return FromText<v1::Resource>("pod { metadata { name: 'web' } spec { " + volumes +
                                " containers { name: 'app' image: 'web:1' " + container + " } } }");
}

std::string Check(const std::string& volumes, const std::string& container) {
  v1::Resource pod = APod(volumes, container);
  ApplyDefaults(&pod);
  return JoinProblems(Validate(pod), 100);
}

struct Case {
  const char* problem;
  const char* volumes;
  const char* container;
};

TEST(Validate, TakesEverySortOfSource) {
  EXPECT_EQ(
      Check(
          "volumes { name: 'a' config_map { name: 'x' items { key: 'k' path: 'd/k' mode: 256 } } } "
          "volumes { name: 'b' secret { secret_name: 'x' default_mode: 256 } } "
          "volumes { name: 'c' empty_dir { } } "
          "volumes { name: 'd' empty_dir { medium: 'Memory' size_limit { text: '64Mi' } } } "
          "volumes { name: 'e' host_path { path: '/var/log' type: 'Directory' } } "
          "volumes { name: 'f' downward_api { items { path: 'labels' field_ref { field_path: "
          "'metadata.labels' } } items { path: 'cpu' resource_field_ref { container_name: 'app' "
          "resource: 'limits.cpu' divisor { text: '1m' } } } } } "
          "volumes { name: 'g' projected { sources { secret { name: 'x' } } sources { config_map "
          "{ name: 'x' } } } } volumes { name: 'h' }",
          "volume_mounts { name: 'a' mount_path: '/a' sub_path: 'd/k' } "
          "volume_mounts { name: 'b' mount_path: '/b' read_only: true } "
          "volume_mounts { name: 'c' mount_path: '/c' sub_path_expr: '$(POD)' mount_propagation: "
          "'None' } "
          "env_from { prefix: 'P_' config_map_ref { name: 'x' } } "
          "env { name: 'A' value_from { field_ref { field_path: \"metadata.labels['a/b']\" } } } "
          "env { name: 'B' value_from { secret_key_ref { name: 'x' key: 'k' optional: true } } }"),
      "");
}

TEST(Validate, FindsWhatIsWrongWithVolumes) {
  const Case cases[] = {
      {"spec.volumes[0].configMap.name: Required value", "volumes { name: 'a' config_map { } }",
       ""},
      {"spec.volumes[0].secret.secretName: Required value", "volumes { name: 'a' secret { } }", ""},
      {"spec.volumes[0].secret: Forbidden: may not specify more than 1 volume type",
       "volumes { name: 'a' empty_dir { } secret { secret_name: 'x' } }", ""},
      {"", "volumes { name: 'a' persistent_volume_claim { claim_name: 'x' read_only: true } }", ""},
      {"spec.volumes[0].persistentVolumeClaim.claimName: Required value",
       "volumes { name: 'a' persistent_volume_claim { } }", ""},
      {"spec.volumes[0].ephemeral.volumeClaimTemplate: Required value",
       "volumes { name: 'a' ephemeral { } }", ""},
      {"spec.volumes[0].ephemeral.volumeClaimTemplate.spec.accessModes: Required value: at least 1 "
       "access mode is required",
       "volumes { name: 'a' ephemeral { volume_claim_template { spec { resources { requests { "
       "key: 'storage' value { text: '1Gi' } } } } } } }",
       ""},
      {"", "volumes { name: 'a' empty_dir { size_limit { text: '1Gi' } } }", ""},
      {"spec.volumes[0].emptyDir.medium: Unsupported value: \"HugePages\": not supported yet, "
       "supported values: \"\", \"Memory\"",
       "volumes { name: 'a' empty_dir { medium: 'HugePages' } }", ""},
      {"spec.volumes[0].hostPath.path: Invalid value: \"/a/../b\": must not contain '..'",
       "volumes { name: 'a' host_path { path: '/a/../b' } }", ""},
      {"spec.volumes[0].configMap.items[0].path: Invalid value: \"/x\": must be a relative path",
       "volumes { name: 'a' config_map { name: 'x' items { key: 'k' path: '/x' } } }", ""},
      {"spec.volumes[0].configMap.items[0].path: Invalid value: \"..x\": must not start with '..'",
       "volumes { name: 'a' config_map { name: 'x' items { key: 'k' path: '..x' } } }", ""},
      {"spec.volumes[0].secret.items[1].path: Invalid value: \"x\": conflicting duplicate paths",
       "volumes { name: 'a' secret { secret_name: 'x' items { key: 'k' path: 'x' } items { key: "
       "'l' path: 'x' } } }",
       ""},
      {"spec.volumes[0].downwardAPI.items[0]: Required value: one of fieldRef and resourceFieldRef "
       "is required",
       "volumes { name: 'a' downward_api { items { path: 'x' } } }", ""},
      {"spec.volumes[0].projected.sources[0].serviceAccountToken: not supported yet",
       "volumes { name: 'a' projected { sources { service_account_token { path: 't' } } } }", ""},
      {"spec.containers[0].volumeMounts[0].name: Not found: \"confg\"; did you mean \"config\"?",
       "volumes { name: 'config' empty_dir { } }",
       "volume_mounts { name: 'confg' mount_path: '/x' }"},
      {"spec.containers[0].volumeMounts[0].subPath: Invalid value: \"a/../../b\": must not contain "
       "'..'",
       "volumes { name: 'a' empty_dir { } }",
       "volume_mounts { name: 'a' mount_path: '/x' sub_path: 'a/../../b' }"},
      {"spec.containers[0].volumeMounts[0].mountPropagation: Unsupported value: \"Bidirectional\": "
       "not supported yet, supported values: \"None\"",
       "volumes { name: 'a' empty_dir { } }",
       "volume_mounts { name: 'a' mount_path: '/x' mount_propagation: 'Bidirectional' }"},
  };
  for (const Case& c : cases) EXPECT_EQ(Check(c.volumes, c.container), c.problem);
}

TEST(Validate, FindsWhatIsWrongWithSourcesOfAnEnvironment) {
  const Case cases[] = {
      {"spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Unsupported value: "
       "\"status.podIp\": supported values: \"metadata.name\", \"metadata.namespace\", "
       "\"metadata.uid\", \"spec.nodeName\", \"spec.serviceAccountName\", \"status.hostIP\", "
       "\"status.hostIPs\", \"status.podIP\", \"status.podIPs\"; did you mean \"status.podIP\"?",
       "", "env { name: 'A' value_from { field_ref { field_path: 'status.podIp' } } }"},
      {"spec.containers[0].env[0].valueFrom: Invalid value: \"\": may not be specified when "
       "`value` "
       "is not empty",
       "", "env { name: 'A' value: 'x' value_from { field_ref { field_path: 'metadata.name' } } }"},
      {"spec.containers[0].env[0].valueFrom: Invalid value: \"\": may not have more than one field "
       "specified at a time",
       "",
       "env { name: 'A' value_from { field_ref { field_path: 'metadata.name' } secret_key_ref { "
       "name: 'x' key: 'k' } } }"},
      {"spec.containers[0].env[0].valueFrom.configMapKeyRef.key: Required value; "
       "spec.containers[0].env[0].valueFrom.configMapKeyRef.name: Required value",
       "", "env { name: 'A' value_from { config_map_key_ref { } } }"},
      {"spec.containers[0].env[0].valueFrom.resourceFieldRef.resource: not supported yet", "",
       "env { name: 'A' value_from { resource_field_ref { resource: 'limits.ephemeral-storage' } } "
       "}"},
      {"spec.containers[0].envFrom[0]: Invalid value: \"\": must specify one of: `configMapRef` or "
       "`secretRef`",
       "", "env_from { prefix: 'A' }"},
  };
  for (const Case& c : cases) EXPECT_EQ(Check(c.volumes, c.container), c.problem);
}

TEST(ReferencesOf, FindsAllThatAPodRefersTo) {
  const v1::Resource pod = APod(
      "volumes { name: 'a' config_map { name: 'm1' } } volumes { name: 'b' projected { sources "
      "{ secret { name: 's1' } } } } image_pull_secrets { name: 's2' } init_containers { "
      "env_from { secret_ref { name: 's3' } } }",
      "env { name: 'A' value_from { config_map_key_ref { name: 'm2' } } }");

  const PodReferences found = ReferencesOf(pod.pod().spec());

  EXPECT_THAT(found.config_maps, ElementsAre("m1", "m2"));
  EXPECT_THAT(found.secrets, ElementsAre("s1", "s2", "s3"));
}

}  // namespace
}  // namespace mesh::schema
