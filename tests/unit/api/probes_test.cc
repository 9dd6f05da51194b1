// SPDX-License-Identifier: Apache-2.0
// Rules of probes and init containers, each once, by breaking a valid pod in one place.
#include "api/schema/defaults.h"
#include "api/schema/validate.h"
#include "fmt/format.h"
#include "gtest/gtest.h"
#include "tests/unit/api/from_text.h"

namespace mesh::schema {
namespace {

std::string Check(const std::string& spec) {
  v1::Resource pod = FromText("pod { metadata { name: 'p' } spec { " + spec + " } }");
  ApplyDefaults(&pod);
  return JoinProblems(Validate(pod), 100);
}

std::string CheckContainer(const std::string& text) {
  return Check(
      "containers { name: 'a' image: 'busybox:1.36' ports { name: 'http' container_port: "
      "8080 } " +
      text + " }");
}

TEST(Probes, HaveKubernetesDefaults) {
  v1::Resource pod = FromText(
      "pod { metadata { name: 'p' } spec { containers { name: 'a' image: 'busybox:1.36' "
      "readiness_probe { http_get { port { int_value: 80 } } } } } }");
  ApplyDefaults(&pod);

  const v1::Probe& probe = pod.pod().spec().containers(0).readiness_probe();
  EXPECT_EQ(probe.period_seconds(), 10);
  EXPECT_EQ(probe.timeout_seconds(), 1);
  EXPECT_EQ(probe.success_threshold(), 1);
  EXPECT_EQ(probe.failure_threshold(), 3);
  EXPECT_EQ(probe.http_get().path(), "/");
  EXPECT_EQ(probe.http_get().scheme(), "HTTP");
}

TEST(Probes, AreRefusedInKubernetesWords) {
  const struct {
    const char* text;
    const char* problem;
  } cases[] = {
      {"liveness_probe { http_get { port { string_value: 'http' } } }", ""},
      {"readiness_probe { tcp_socket { port { int_value: 6379 } } success_threshold: 2 }", ""},
      {"startup_probe { grpc { port: 9090 } termination_grace_period_seconds: 5 }", ""},
      {"liveness_probe { exec { command: 'true' } }", ""},
      {"liveness_probe { period_seconds: 5 }",
       "spec.containers[0].livenessProbe: Required value: must specify a handler type"},
      {"liveness_probe { exec { command: 'true' } grpc { port: 1 } }",
       "spec.containers[0].livenessProbe.grpc: Forbidden: may not specify more than 1 handler "
       "type"},
      {"startup_probe { exec {} }", "spec.containers[0].startupProbe.exec.command: Required value"},
      {"liveness_probe { exec { command: 'true' } success_threshold: 2 }",
       "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1"},
      {"readiness_probe { exec { command: 'true' } termination_grace_period_seconds: 5 }",
       "spec.containers[0].readinessProbe.terminationGracePeriodSeconds: Invalid value: 5: must "
       "not be set for readinessProbes"},
      {"readiness_probe { http_get { port { int_value: 70000 } } }",
       "spec.containers[0].readinessProbe.httpGet.port: Invalid value: 70000: must be between 1 "
       "and 65535, inclusive"},
      {"readiness_probe { tcp_socket { port { string_value: 'htp' } } }",
       "spec.containers[0].readinessProbe.tcpSocket.port: Invalid value: \"htp\": container a has "
       "no port of this name; did you mean \"http\"?"},
      {"readiness_probe { http_get { port { int_value: 80 } host: 'shop.example' } }",
       "spec.containers[0].readinessProbe.httpGet.host: Unsupported value: \"shop.example\": names "
       "of hosts are not supported yet, only addresses"},
      {"readiness_probe { http_get { port { int_value: 80 } path: '/a b' } }",
       "spec.containers[0].readinessProbe.httpGet.path: Invalid value: \"/a b\": must not have "
       "spaces or control characters"},
  };
  for (const auto& c : cases) EXPECT_EQ(CheckContainer(c.text), c.problem) << c.text;
}

TEST(Probes, HeadersCannotEndTheirLine) {
  EXPECT_EQ(CheckContainer("readiness_probe { http_get { port { int_value: 80 } http_headers { "
                           "name: 'X-A' value: 'a\\r\\nb' } } }")
                .substr(0, 64),
            "spec.containers[0].readinessProbe.httpGet.httpHeaders[0].value: ");
}

TEST(Probes, ThePeriodOfTheAnnotationHasLimits) {
  for (const char* bad : {"49", "1s", "3600001", ""}) {
    v1::Resource pod = ValidPod();
    (*pod.mutable_pod()->mutable_metadata()->mutable_annotations())["mesh.io/probe-period-ms"] =
        bad;
    EXPECT_EQ(JoinProblems(Validate(pod), 100),
              fmt::format("metadata.annotations[mesh.io/probe-period-ms]: Invalid value: \"{}\": "
                          "must be a number of milliseconds between 50 and 3600000",
                          bad));
  }
}

TEST(Hooks, AreRefusedInKubernetesWords) {
  const struct {
    const char* text;
    const char* problem;
  } cases[] = {
      {"post_start { exec { command: 'true' } } pre_stop { sleep { seconds: 30 } }", ""},
      {"pre_stop { http_get { port { string_value: 'http' } } }", ""},
      {"pre_stop { sleep { seconds: 0 } }", ""},
      {"post_start {}",
       "spec.containers[0].lifecycle.postStart: Required value: must specify a handler type"},
      {"pre_stop { exec { command: 'true' } sleep { seconds: 1 } }",
       "spec.containers[0].lifecycle.preStop.sleep: Forbidden: may not specify more than 1 handler "
       "type"},
      {"pre_stop { exec {} }", "spec.containers[0].lifecycle.preStop.exec.command: Required value"},
      {"pre_stop { sleep { seconds: 31 } }",
       "spec.containers[0].lifecycle.preStop.sleep: Invalid value: 31: must be non-negative and "
       "less than terminationGracePeriodSeconds (30)"},
      {"post_start { tcp_socket { port { int_value: 80 } } }",
       "spec.containers[0].lifecycle.postStart.tcpSocket: Forbidden: hooks are exec, httpGet or "
       "sleep"},
      {"pre_stop { http_get { port { string_value: 'htp' } } }",
       "spec.containers[0].lifecycle.preStop.httpGet.port: Invalid value: \"htp\": container a "
       "has no port of this name; did you mean \"http\"?"},
  };
  for (const auto& c : cases)
    EXPECT_EQ(CheckContainer(fmt::format("lifecycle {{ {} }}", c.text)), c.problem) << c.text;
}

TEST(InitContainers, AreContainersWithLess) {
  const std::string app = "containers { name: 'a' image: 'busybox:1.36' } ";
  const std::string init = "init_containers { name: 'i' image: 'busybox:1.36' ";
  EXPECT_EQ(Check(app + init + "}"), "");
  EXPECT_EQ(Check(app + init + "restart_policy: 'Always' readiness_probe { grpc { port: 1 } } }"),
            "");
  EXPECT_EQ(Check(app + init + "readiness_probe { grpc { port: 1 } } }"),
            "spec.initContainers[0].readinessProbe: Forbidden: may not be set for init containers "
            "without restartPolicy=Always");
  EXPECT_EQ(Check(app + init + "lifecycle { pre_stop { sleep { seconds: 1 } } } }"),
            "spec.initContainers[0].lifecycle: Forbidden: may not be set for init containers "
            "without restartPolicy=Always");
  EXPECT_EQ(Check(app + init +
                  "restart_policy: 'Always' lifecycle { pre_stop { sleep { seconds: 1 } } } }"),
            "");
  EXPECT_EQ(Check(app + "init_containers { name: 'a' image: 'busybox:1.36' }"),
            "spec.initContainers[0].name: Duplicate value: \"a\"");
  EXPECT_EQ(Check("containers { name: 'a' image: 'busybox:1.36' restart_policy: 'Always' }"),
            "spec.containers[0].restartPolicy: Forbidden: may not be set for non-init containers");
  EXPECT_EQ(Check(app + init + "ports { container_port: 80 host_port: 80 } }"),
            "spec.initContainers[0].ports[0].hostPort: not supported yet");
}

}  // namespace
}  // namespace mesh::schema
