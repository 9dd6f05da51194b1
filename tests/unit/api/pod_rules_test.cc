// SPDX-License-Identifier: Apache-2.0
// What a pod may say of its rights, its names and its place.
#include <utility>

#include "api/schema/defaults.h"
#include "api/schema/qos.h"
#include "api/schema/validate.h"
#include "gtest/gtest.h"
#include "tests/unit/api/from_text.h"

namespace mesh::schema {
namespace {

v1::Resource PodWith(const std::string& spec) {
  v1::Resource out = ValidPod();
  out.mutable_pod()->mutable_spec()->MergeFrom(FromText<v1::PodSpec>(spec));
  return out;
}

// `container`: added to the only one.
v1::Resource PodOf(const std::string& container) {
  v1::Resource out = ValidPod();
  out.mutable_pod()->mutable_spec()->mutable_containers(0)->MergeFrom(
      FromText<v1::Container>(container));
  return out;
}

std::string Check(v1::Resource resource) {
  ApplyDefaults(&resource);
  return JoinProblems(Validate(resource), 100);
}

TEST(CheckPodSpec, FindsWhatIsWrongWithRightsAndNames) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "security_context { run_as_user: 0 fs_group: 7 supplemental_groups: 1 }"},
      {"spec.securityContext.runAsUser: Invalid value: -1: must be greater than or equal to 0",
       "security_context { run_as_user: -1 }"},
      {"spec.securityContext.supplementalGroups[1]: Invalid value: -1: must be between 0 and "
       "2147483647, inclusive",
       "security_context { supplemental_groups: 1 supplemental_groups: -1 }"},
      {"spec.securityContext.seLinuxOptions: not supported yet",
       "security_context { se_linux_options { level: 's0' } }"},
      {"spec.securityContext.seccompProfile.type: Unsupported value: \"Localhost\": not supported "
       "yet",
       "security_context { seccomp_profile { type: 'Localhost' localhost_profile: 'a.json' } }"},
      {"spec.securityContext.sysctls[0].name: Forbidden: \"kernel.msgmax\" is not one of the "
       "sysctls that are safe for other pods and the node, and unsafe ones are not supported yet",
       "security_context { sysctls { name: 'kernel.msgmax' value: '1' } }"},
      {"", "security_context { sysctls { name: 'net.ipv4.tcp_syncookies' value: '1' } }"},
      {"spec.shareProcessNamespace: Invalid value: true: ShareProcessNamespace and HostPID cannot "
       "both be enabled",
       "share_process_namespace: true host_pid: true"},
      {"spec.dnsConfig.nameservers: Required value: must provide at least one DNS nameserver when "
       "`dnsPolicy` is None",
       "dns_policy: 'None'"},
      {"spec.dnsConfig.nameservers[0]: Invalid value: \"dns\": must be a valid IP address",
       "dns_config { nameservers: 'dns' }"},
      {"", "dns_policy: 'None' dns_config { nameservers: '192.0.2.1' searches: 'a.test.' }"},
      {"spec.schedulerName: Unsupported value: \"mine\": supported values: \"default-scheduler\"",
       "scheduler_name: 'mine'"},
      {"spec.os.name: Unsupported value: \"windows\": supported values: \"linux\"",
       "os { name: 'windows' }"},
      {"spec.serviceAccount: Invalid value: \"a\": is the old name of serviceAccountName, which "
       "says something else",
       "service_account: 'a' service_account_name: 'b'"},
      {"spec.hostNetwork: not supported yet", "host_network: true"},
  };
  for (const auto& [problem, spec] : cases) EXPECT_EQ(Check(PodWith(spec)), problem) << spec;
}

TEST(CheckPodSpec, FindsWhatIsWrongWithTheRightsOfAContainer) {
  const std::pair<const char*, const char*> cases[] = {
      {"",
       "security_context { capabilities { add: 'CAP_NET_ADMIN' add: 'sys_time' drop: 'all' } "
       "read_only_root_filesystem: true allow_privilege_escalation: false }"},
      {"spec.containers[0].securityContext.capabilities.add[0]: Unsupported value: \"NET_ADMON\": "
       "no such capability; did you mean \"NET_ADMIN\"?",
       "security_context { capabilities { add: 'NET_ADMON' } }"},
      {"spec.containers[0].securityContext.allowPrivilegeEscalation: Invalid value: false: cannot "
       "set `allowPrivilegeEscalation` to false and `privileged` to true",
       "security_context { privileged: true allow_privilege_escalation: false }"},
      {"spec.containers[0].securityContext.allowPrivilegeEscalation: Invalid value: false: cannot "
       "set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN",
       "security_context { capabilities { add: 'SYS_ADMIN' } allow_privilege_escalation: false }"},
      {"spec.containers[0].securityContext.procMount: Unsupported value: \"Bare\": supported "
       "values: \"Default\", \"Unmasked\"",
       "security_context { proc_mount: 'Bare' }"},
  };
  for (const auto& [problem, container] : cases)
    EXPECT_EQ(Check(PodOf(container)), problem) << container;
}

TEST(CheckPodSpec, FindsWhatIsWrongWithAPlace) {
  const std::string node =
      "affinity { node_affinity { required_during_scheduling_ignored_during_execution { "
      "node_selector_terms { ";
  const std::pair<std::string, std::string> cases[] = {
      {"", "tolerations { operator: 'Exists' }"},
      {"spec.tolerations[0].operator: Invalid value: \"\": operator must be Exists when `key` is "
       "empty, which means \"match all values and all keys\"",
       "tolerations { value: 'x' }"},
      {"spec.tolerations[0].effect: Invalid value: \"NoSchedule\": effect must be 'NoExecute' when "
       "`tolerationSeconds` is set",
       "tolerations { key: 'a' effect: 'NoSchedule' toleration_seconds: 3 }"},
      {"spec.tolerations[0].value: Invalid value: \"x\": value must be empty when `operator` is "
       "'Exists'",
       "tolerations { key: 'a' operator: 'Exists' value: 'x' }"},
      {"", node + "match_expressions { key: 'disk' operator: 'In' values: 'ssd' } } } } }"},
      {"spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution."
       "nodeSelectorTerms[0].matchExpressions[0].values: Required value: must be specified when "
       "`operator` is 'In' or 'NotIn'",
       node + "match_expressions { key: 'disk' operator: 'In' } } } } }"},
      {"spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution."
       "nodeSelectorTerms[0].matchFields[0].key: Invalid value: \"metadata.uid\": not a valid "
       "field selector key",
       node + "match_fields { key: 'metadata.uid' operator: 'In' values: 'a' } } } } }"},
      {"spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0]."
       "topologyKey: Required value",
       "affinity { pod_anti_affinity { required_during_scheduling_ignored_during_execution { "
       "label_selector { match_labels { key: 'app' value: 'web' } } } } }"},
  };
  for (const auto& [problem, spec] : cases) EXPECT_EQ(Check(PodWith(spec)), problem) << spec;
}

TEST(CheckPodSpec, FindsWhatIsWrongWithASpread) {
  const std::string hard =
      "topology_spread_constraints { max_skew: 1 topology_key: 'zone' when_unsatisfiable: "
      "'DoNotSchedule' ";
  const std::string web = "label_selector { match_labels { key: 'app' value: 'web' } } ";
  const std::string at = "spec.topologySpreadConstraints[0]";
  const std::pair<std::string, std::string> cases[] = {
      {"", hard + web + "min_domains: 2 match_label_keys: 'revision' }"},
      {at + ".maxSkew: Invalid value: 0: must be greater than or equal to 1",
       "topology_spread_constraints { max_skew: 0 topology_key: 'zone' when_unsatisfiable: "
       "'ScheduleAnyway' }"},
      {at + ".minDomains: Invalid value: 2: can only use minDomains if "
            "whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway",
       "topology_spread_constraints { max_skew: 1 topology_key: 'zone' when_unsatisfiable: "
       "'ScheduleAnyway' min_domains: 2 }"},
      {at + ".matchLabelKeys: Forbidden: must not be specified when labelSelector is not set",
       hard + "match_label_keys: 'app' }"},
      {at + ".matchLabelKeys[0]: Invalid value: \"app\": exists in both matchLabelKeys and "
            "labelSelector",
       hard + web + "match_label_keys: 'app' }"},
      {"spec.topologySpreadConstraints[1]: Duplicate value: \"zone/DoNotSchedule\"",
       hard + web + "} " + hard + "}"},
      {"spec.preemptionPolicy: Unsupported value: \"PreemptLowerPriority\": not supported yet, "
       "supported values: \"Never\"",
       "preemption_policy: 'PreemptLowerPriority'"},
      {"", "preemption_policy: 'Never'"},
  };
  for (const auto& [problem, spec] : cases) EXPECT_EQ(Check(PodWith(spec)), problem) << spec;
}

TEST(CheckNode, FindsWhatIsWrongWithATaint) {
  const std::pair<std::string, std::string> cases[] = {
      {"",
       "taints { key: 'a' value: 'b' effect: 'NoSchedule' } taints { key: 'a' effect: "
       "'NoExecute' }"},
      {"spec.taints[0].effect: Unsupported value: \"Never\": supported values: \"NoSchedule\", "
       "\"PreferNoSchedule\", \"NoExecute\"",
       "taints { key: 'a' effect: 'Never' }"},
      {"spec.taints[0].key: Required value", "taints { effect: 'NoSchedule' }"},
      {"spec.taints[1]: Duplicate value: \"a:NoSchedule\": taints must be unique by key and "
       "effect pair",
       "taints { key: 'a' effect: 'NoSchedule' } taints { key: 'a' value: 'b' effect: "
       "'NoSchedule' }"},
  };
  for (const auto& [problem, spec] : cases) {
    v1::Resource node;
    node.mutable_node()->mutable_metadata()->set_name("n1");
    *node.mutable_node()->mutable_spec() = FromText<v1::NodeSpec>(spec);
    EXPECT_EQ(Check(node), problem) << spec;
  }
}

TEST(Warnings, SayThatNoTokenIsMounted) {
  EXPECT_EQ(JoinProblems(Warnings(PodWith("automount_service_account_token: true"))),
            "spec.automountServiceAccountToken: no token is mounted: there is no API yet that "
            "would take one");
  EXPECT_EQ(JoinProblems(Warnings(PodWith("automount_service_account_token: false"))), "");
}

TEST(QosClass, FollowsKubernetes) {
  const auto qos = [](const std::string& resources) {
    return QosClass(PodOf("resources { " + resources + " }").pod().spec());
  };
  const std::string cpu = "limits { key: 'cpu' value { text: '1' } } ";
  const std::string memory = "limits { key: 'memory' value { text: '1Gi' } } ";

  EXPECT_EQ(qos(""), "BestEffort");
  EXPECT_EQ(qos("requests { key: 'cpu' value { text: '0' } }"), "BestEffort");
  EXPECT_EQ(qos(cpu), "Burstable");
  EXPECT_EQ(qos(cpu + memory), "Guaranteed");
  EXPECT_EQ(qos(cpu + memory + "requests { key: 'cpu' value { text: '1000m' } }"), "Guaranteed");
  EXPECT_EQ(qos(cpu + memory + "requests { key: 'cpu' value { text: '500m' } }"), "Burstable");
  v1::PodSpec two = PodOf("resources { " + cpu + memory + " }").pod().spec();
  two.add_containers()->set_name("bare");
  EXPECT_EQ(QosClass(two), "Burstable");
}

}  // namespace
}  // namespace mesh::schema
