// SPDX-License-Identifier: Apache-2.0
// What is printed, and that it decodes to the same object.
#include "cli/manifest/print.h"

#include "cli/manifest/manifest.h"
#include "google/protobuf/text_format.h"
#include "google/protobuf/util/message_differencer.h"
#include "gtest/gtest.h"

namespace mesh::manifest {
namespace {

v1::Resource FromText(const std::string& text) {
  v1::Resource out;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &out));
  return out;
}

TEST(ToYaml, PrintsAsKubectlDoes) {
  const v1::Resource resource = FromText(R"(
    deployment {
      metadata {
        name: "web" namespace: "default" uid: "u-1" resource_version: "7" generation: 1
        creation_timestamp { seconds: 1767225600 }
        labels { key: "app" value: "web" }
        last_applied: "hidden"
      }
      spec {
        replicas: 0
        selector { match_labels { key: "app" value: "web" } }
        template {
          metadata { labels { key: "app" value: "web" } }
          spec {
            containers {
              name: "web" image: "nginx:1.27" args: "-v" args: "true"
              env { name: "N" value: "8080" }
              env { name: "T" value: "line one\nline two\n" }
              resources { limits { key: "cpu" value { text: "500m" } } }
            }
          }
        }
        strategy { rolling_update { max_surge { string_value: "25%" } max_unavailable { int_value: 1 } } }
      }
      status { observed_generation: 1 }
    })");

  EXPECT_EQ(ToYaml(resource), R"(apiVersion: apps/v1
kind: Deployment
metadata:
  creationTimestamp: "2026-01-01T00:00:00Z"
  generation: 1
  labels:
    app: web
  name: web
  namespace: default
  resourceVersion: "7"
  uid: u-1
spec:
  replicas: 0
  selector:
    matchLabels:
      app: web
  strategy:
    rollingUpdate:
      maxSurge: 25%
      maxUnavailable: 1
  template:
    metadata:
      labels:
        app: web
    spec:
      containers:
      - args:
        - -v
        - "true"
        env:
        - name: "N"
          value: "8080"
        - name: T
          value: |
            line one
            line two
        image: nginx:1.27
        name: web
        resources:
          limits:
            cpu: 500m
status:
  observedGeneration: 1
)");
}

TEST(ToJson, PrintsAsKubectlDoes) {
  const v1::Resource resource = FromText(R"(
    service {
      metadata { name: "web" }
      spec { ports { port: 80 target_port { string_value: "http" } } ports { port: 81 target_port { int_value: 1 } } }
    })");

  EXPECT_EQ(ToJson(resource), R"({
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {
        "name": "web"
    },
    "spec": {
        "ports": [
            {
                "port": 80,
                "targetPort": "http"
            },
            {
                "port": 81,
                "targetPort": 1
            }
        ]
    }
}
)");
}

TEST(ToYamlList, IsAListThatDecodes) {
  const v1::Resource a = FromText(R"(namespace { metadata { name: "a" } })");
  const v1::Resource b = FromText(R"(namespace { metadata { name: "b" } })");

  EXPECT_EQ(ToYamlList({a, b}), R"(apiVersion: v1
items:
- apiVersion: v1
  kind: Namespace
  metadata:
    name: a
- apiVersion: v1
  kind: Namespace
  metadata:
    name: b
kind: List
metadata:
  resourceVersion: ""
)");
  EXPECT_EQ(Decode({{"list.json", ToJsonList({a, b})}}).objects.size(), 2u);
  EXPECT_EQ(ToYamlList({}),
            "apiVersion: v1\nitems: []\nkind: List\nmetadata:\n  resourceVersion: \"\"\n");
}

// Each of these has tripped a YAML writer somewhere.
TEST(ToYaml, DecodesToTheSameText) {
  const char* const texts[] = {
      "",           " ",
      "yes",        "No",
      "null",       "~",
      "1.0",        "0755",
      "1e3",        "0x1f",
      "1_000",      "12:30:45",
      "2001-12-14", "-",
      "- a",        "-a",
      "?",          "? a",
      ": a",        "a: b",
      "a:",         "a #b",
      "#a",         "a#b",
      "&a",         "*a",
      "!a",         "|",
      ">",          "'",
      "\"",         "it's",
      "%a",         "@a",
      "`a`",        "[a]",
      "{a: b}",     ", a",
      "a\nb",       "a\nb\n",
      "a\n\n",      "\n",
      "\na",        " a\nb",
      "a \nb",      "a\tb",
      "\ta",        "a\rb",
      "\x01",       "---",
      "--- a",      "...",
      "<<",         "=",
      "é ü 漢",     "a\\nb",
      "{{ x }}",    "true",
      "a\n  b\n c", "x\n\n\ny\n",
      "a\n ",       "key: |\n  x\n",
      "+1",         ".5",
      "0.",         "1 2",
      "on",         "a, b",
      "a]",         "\"a\" b",
  };
  for (const char* text : texts) {
    v1::Resource resource =
        FromText(R"(pod { metadata { name: "p" } spec { containers { name: "a" image: "b" } } })");
    v1::Container* container = resource.mutable_pod()->mutable_spec()->mutable_containers(0);
    container->add_args(text);
    container->add_args("after");
    auto* env = container->add_env();
    env->set_name("A");
    env->set_value(text);
    container->set_working_dir(text);

    for (const std::string& printed : {ToYaml(resource), ToJson(resource)}) {
      const Manifest manifest = Decode({{"p.yaml", printed}});
      ASSERT_TRUE(manifest.ok()) << manifest.diagnostics[0].ToString() << "\n" << printed;
      ASSERT_EQ(manifest.objects.size(), 1u);
      EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(manifest.objects[0].resource,
                                                                     resource))
          << "\"" << text << "\"\n"
          << printed;
    }
  }
}

// An endpoint without conditions is ready; "ready: false", applied again, would take it out.
TEST(ToYaml, LeavesOutConditionsOfEndpointsThatNobodySet) {
  const v1::Resource resource = FromText(R"(
    endpoint_slice {
      metadata { name: "db" namespace: "default" }
      address_type: "IPv4"
      endpoints { addresses: "10.0.0.7" conditions {} }
      endpoints { addresses: "10.0.0.8" conditions { ready: false serving: true } }
    })");

  const std::string text = ToYaml(resource);

  EXPECT_EQ(text.substr(text.find("endpoints:")), R"(endpoints:
- addresses:
  - 10.0.0.7
  conditions: {}
- addresses:
  - 10.0.0.8
  conditions:
    ready: false
    serving: true
)");
}

}  // namespace
}  // namespace mesh::manifest
