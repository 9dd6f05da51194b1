// SPDX-License-Identifier: Apache-2.0
// Goal: what only shows when objects are seen together is told at its place, once, and nothing else
// is.
#include "cli/manifest/cross_check.h"

#include "api/schema/schema.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mesh::manifest {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr char kPods[] = R"(apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: example.com/web:1
        ports: [{name: http, containerPort: 8080}]
        resources: {requests: {memory: 1Mi}}
)";

std::vector<std::string> Problems(const std::string& text, const Lookup& lookup = nullptr) {
  const Manifest manifest = Decode({{"a.yaml", text}});
  EXPECT_TRUE(manifest.ok()) << manifest.diagnostics[0].ToString();
  std::vector<std::string> out;
  for (const Diagnostic& problem : CrossCheck(manifest.objects, lookup)) {
    out.push_back(problem.ToString());
  }
  return out;
}

absl::StatusOr<v1::Resource> Absent(v1::Kind, const std::string&, const std::string&) {
  return absl::NotFoundError("not there");
}

std::string Service(const std::string& port) {
  return std::string(kPods) + "---\napiVersion: v1\nkind: Service\n" +
         "metadata: {name: web, namespace: shop}\nspec:\n  selector: {app: web}\n  ports:\n  - " +
         port + "\n";
}

TEST(CrossCheck, FindsATargetPortThatNoContainerHas) {
  EXPECT_THAT(Problems(Service("{port: 80, targetPort: htpp}")),
              ElementsAre("a.yaml:21:28: warning: spec.ports[0].targetPort: no container of the "
                          "selected pods has a TCP port named \"htpp\"; did you mean \"http\"?"));
  EXPECT_THAT(Problems(Service("{port: 80, protocol: UDP, targetPort: http}")),
              ElementsAre("a.yaml:21:43: warning: spec.ports[0].targetPort: no container of the "
                          "selected pods has a UDP port named \"http\""));
}

TEST(CrossCheck, LeavesPortsAloneThatAreThereOrCannotBeKnown) {
  EXPECT_THAT(Problems(Service("{port: 80, targetPort: http}")), IsEmpty());
  EXPECT_THAT(Problems(Service("{port: 80, targetPort: 9999}")), IsEmpty());
  // Pods of another namespace are not the Service's.
  std::string other = Service("{port: 80, targetPort: htpp}");
  other.replace(other.rfind("namespace: shop"), 15, "namespace: else");
  EXPECT_THAT(Problems(other), IsEmpty());
}

constexpr char kAutoscaler[] = R"(---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web, namespace: shop}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  maxReplicas: 3
  metrics:
  - type: Resource
    resource: {name: RESOURCE, target: {type: Utilization, averageUtilization: 50}}
)";

std::string Autoscaler(const std::string& resource) {
  std::string text = kAutoscaler;
  return text.replace(text.find("RESOURCE"), 8, resource);
}

TEST(CrossCheck, FindsAnAutoscalerOnPodsWithoutRequests) {
  EXPECT_THAT(Problems(kPods + Autoscaler("cpu")),
              ElementsAre("a.yaml:23:5: warning: spec.metrics[0].resource: utilization is a share "
                          "of the request, and container \"web\" of deployment.apps/web has no "
                          "resources.requests.cpu"));
  EXPECT_THAT(Problems(kPods + Autoscaler("memory")), IsEmpty());
}

TEST(CrossCheck, AsksTheServerForWhatIsNotThere) {
  const auto there = [](v1::Kind kind, const std::string& ns,
                        const std::string& name) -> absl::StatusOr<v1::Resource> {
    EXPECT_EQ(kind, v1::KIND_DEPLOYMENT);
    EXPECT_EQ(ns + "/" + name, "shop/web");
    return schema::NewResource(v1::KIND_DEPLOYMENT);
  };

  EXPECT_THAT(Problems(Autoscaler("cpu"), there), IsEmpty());
  EXPECT_THAT(Problems(Autoscaler("cpu"), Absent),
              ElementsAre("a.yaml:6:65: warning: spec.scaleTargetRef.name: there is no Deployment "
                          "\"web\" in namespace \"shop\", neither here nor on the server"));
  // Nobody to ask: nothing is known.
  EXPECT_THAT(Problems(Autoscaler("cpu")), IsEmpty());
}

TEST(CrossCheck, FindsAnIngressToAServiceOrAPortThatIsNotThere) {
  const std::string ingress = R"(---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web, namespace: shop}
spec:
  rules:
  - http:
      paths:
      - path: /a
        pathType: Prefix
        backend: {service: {name: web, port: {number: 81}}}
      - path: /b
        pathType: Prefix
        backend: {service: {name: wbe, port: {number: 80}}}
)";

  EXPECT_THAT(
      Problems(Service("{port: 80}") + ingress, Absent),
      ElementsAre(
          "a.yaml:32:55: warning: spec.rules[0].http.paths[0].backend.service.port.number: "
          "Service \"web\" has no port 81",
          "a.yaml:35:35: warning: spec.rules[0].http.paths[1].backend.service.name: there is no "
          "Service \"wbe\" in namespace \"shop\", neither here nor on the server; did you mean "
          "\"web\"?"));
}

// The object as decoding gives it once the fields of the pod are read: the places of references do
// not depend on that.
Object WithPlaces(v1::Resource resource) {
  Object object;
  object.resource = std::move(resource);
  object.position = {"a.yaml", 1, 1};
  return object;
}

TEST(CrossCheck, FindsAKeyThatItsConfigMapLacks) {
  v1::Resource map = schema::NewResource(v1::KIND_CONFIG_MAP);
  map.mutable_config_map()->mutable_metadata()->set_name("settings");
  (*map.mutable_config_map()->mutable_data())["colour"] = "red";
  v1::Resource pod = schema::NewResource(v1::KIND_POD);
  v1::PodSpec& spec = *pod.mutable_pod()->mutable_spec();
  auto& key = *spec.add_containers()->add_env()->mutable_value_from()->mutable_config_map_key_ref();
  key.set_name("settings");
  key.set_key("color");
  auto& volume = *spec.add_volumes()->mutable_secret();
  volume.set_secret_name("keys");
  volume.add_items()->set_key("tls.crt");

  const auto run = [&] {
    std::vector<std::string> out;
    for (const Diagnostic& problem : CrossCheck({WithPlaces(map), WithPlaces(pod)}, Absent)) {
      out.push_back(problem.message);
    }
    return out;
  };

  EXPECT_THAT(run(), ElementsAre("spec.containers[0].env[0].valueFrom.configMapKeyRef.key: "
                                 "ConfigMap \"settings\" has no key \"color\"; did you mean "
                                 "\"colour\"?",
                                 "spec.volumes[0].secret.secretName: there is no Secret \"keys\", "
                                 "neither here nor on the server"));
  key.set_optional(true);
  volume.set_optional(true);
  EXPECT_THAT(run(), IsEmpty());
}

}  // namespace
}  // namespace mesh::manifest
