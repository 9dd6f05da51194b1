// SPDX-License-Identifier: Apache-2.0
// Manifests in, objects or exact messages out.
#include "cli/manifest/manifest.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mesh::manifest {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<std::string> Messages(const Manifest& manifest) {
  std::vector<std::string> out;
  for (const Diagnostic& diagnostic : manifest.diagnostics) out.push_back(diagnostic.ToString());
  return out;
}

Manifest DecodeOne(std::string text) { return Decode({{"web.yaml", std::move(text)}}); }

constexpr char kDeployment[] = R"(apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: 3
  selector:
    matchLabels: {app: web}
  template:
    metadata:
      labels: {app: web}
    spec:
      containers:
      - name: web
        image: nginx:1.27
        ports:
        - containerPort: 80
        resources:
          requests: {cpu: 0.5, memory: 64Mi}
)";

// kDeployment with one line replaced.
std::string With(const std::string& line, const std::string& replacement) {
  std::string text = kDeployment;
  const size_t at = text.find(line);
  EXPECT_NE(at, std::string::npos) << line;
  return text.replace(at, line.size(), replacement);
}

TEST(Decode, ReadsADeployment) {
  const Manifest manifest = DecodeOne(kDeployment);

  ASSERT_THAT(Messages(manifest), IsEmpty());
  ASSERT_EQ(manifest.objects.size(), 1u);
  const v1::Deployment& deployment = manifest.objects[0].resource.deployment();
  EXPECT_EQ(deployment.spec().replicas(), 3);
  EXPECT_EQ(deployment.metadata().namespace_(), "");
  EXPECT_EQ(deployment.spec().selector().match_labels().at("app"), "web");
  const v1::Container& container = deployment.spec().template_().spec().containers(0);
  EXPECT_EQ(container.ports(0).container_port(), 80);
  EXPECT_EQ(container.ports(0).protocol(), "");  // no defaults
  EXPECT_EQ(container.resources().requests().at("cpu").text(), "0.5");
  EXPECT_EQ(manifest.objects[0].Locate("spec.template.spec.containers[0].image").ToString(),
            "web.yaml:15:16");
  EXPECT_EQ(manifest.objects[0].Locate("spec.template.spec.containers[0].command").ToString(),
            "web.yaml:14:9");
}

TEST(Decode, LocatesAListByTheFieldOfItsFirstElementWhereOnlyThatIsWritten) {
  const Manifest manifest = DecodeOne(R"(apiVersion: v1
kind: Service
metadata:
  name: web
spec:
  ports:
  - port: 80
  clusterIP: 10.96.0.7
)");

  ASSERT_EQ(manifest.objects.size(), 1u);
  EXPECT_EQ(manifest.objects[0].Locate("spec.clusterIPs[0]").ToString(), "web.yaml:8:14");
  EXPECT_EQ(manifest.objects[0].Locate("spec.clusterIPs").ToString(), "web.yaml:8:14");
  EXPECT_EQ(manifest.objects[0].Locate("spec.ports[0].targetPort").ToString(), "web.yaml:7:5");
}

struct Case {
  std::string text;
  std::vector<std::string> messages;
};

TEST(Decode, NamesEachMistakeWithItsPlace) {
  const Case cases[] = {
      {With("  replicas: 3", "  replics: 3"),
       {"web.yaml:6:3: error: spec.replics: unknown field; did you mean \"replicas\"?"}},
      {With("replicas: 3", "replicas: three"),
       {"web.yaml:6:13: error: spec.replicas: expected integer, got string \"three\""}},
      {With("replicas: 3", "replicas: \"3\""),
       {"web.yaml:6:13: error: spec.replicas: expected integer, got string \"3\"; remove the "
        "quotes"}},
      {With("replicas: 3", "replicas: 1.5"),
       {"web.yaml:6:13: error: spec.replicas: expected integer, got number 1.5"}},
      {With("replicas: 3", "replicas: yes"),
       {"web.yaml:6:13: error: spec.replicas: expected integer, got boolean yes"}},
      {With("replicas: 3", "replicas: [3]"),
       {"web.yaml:6:13: error: spec.replicas: expected integer, got a list"}},
      {With("replicas: 3", "replicas: 99999999999"),
       {"web.yaml:6:13: error: spec.replicas: Invalid value: 99999999999: does not fit in 32 "
        "bits"}},
      {With("replicas: 3", "replicas: 99999999999999999999"),
       {"web.yaml:6:13: error: spec.replicas: Invalid value: 99999999999999999999: does not fit in "
        "32 bits"}},
      {With("replicas: 3", "replicas: -1"),
       {"web.yaml:6:13: error: spec.replicas: Invalid value: -1: must be greater than or equal to "
        "0"}},
      {With("replicas: 3", "replicas: 010"),
       {"web.yaml:6:13: error: spec.replicas: YAML reads 010 as 8; write it in decimal"}},
      {With("  replicas: 3", "  replicas: 3\n  replicas: 4"),
       {"web.yaml:7:3: error: spec.replicas: duplicate key; first given at line 6"}},
      {With("  replicas: 3", "  paused: true"),
       {"web.yaml:6:3: error: spec.paused: not supported yet: value true (only false is)"}},
      {With("  template:\n", "  template:\n    replicas: 3\n"),
       {"web.yaml:10:5: error: spec.template.replicas: unknown field; \"replicas\" belongs in "
        "spec"}},
      {With("    spec:\n", "    spec:\n      volumes: [{name: x, nfs: {server: y, path: /}}]\n"),
       {"web.yaml:13:27: error: spec.template.spec.volumes[0].nfs: not supported yet"}},
      {With("        image: nginx:1.27\n", ""),
       {"web.yaml:14:9: error: spec.template.spec.containers[0].image: Required value"}},
      {With("        image: nginx:1.27\n", "        imagee: nginx:1.27\n"),
       {"web.yaml:15:9: error: spec.template.spec.containers[0].imagee: unknown field; did you "
        "mean "
        "\"image\"?"}},
      {With("image: nginx:1.27", "image: nginx:1 27"),
       {"web.yaml:15:16: error: spec.template.spec.containers[0].image: Invalid value: \"nginx:1 "
        "27\": "
        "must not have white space (an image is [registry/]name[:tag][@digest], e.g. "
        "'nginx:1.27')"}},
      {With("containerPort: 80", "containerPort: 70000"),
       {"web.yaml:17:26: error: spec.template.spec.containers[0].ports[0].containerPort: Invalid "
        "value: "
        "70000: must be between 1 and 65535, inclusive"}},
      {With("containerPort: 80", "containerPort: 0"),
       {"web.yaml:17:26: error: spec.template.spec.containers[0].ports[0].containerPort: Invalid "
        "value: 0: must be between 1 and 65535, inclusive"}},
      {With("labels: {app: web}", "labels: {app: 1.0}"),
       {"web.yaml:11:21: error: spec.template.metadata.labels[app]: expected string, got number "
        "1.0; "
        "quote it: \"1.0\""}},
      {With("labels: {app: web}", "labels: {app: on}"),
       {"web.yaml:11:21: error: spec.template.metadata.labels[app]: expected string, got boolean "
        "on; "
        "quote it: \"on\""}},
      {With("labels: {app: web}", "labels: {on: web, app: web}"),
       {"web.yaml:11:16: error: spec.template.metadata.labels: YAML reads the key on as a boolean; "
        "quote it"}},
      {With("labels: {app: web}", "labels: {app: db}"),
       {"web.yaml:11:7: error: spec.template.metadata.labels: Invalid value: {\"app\":\"db\"}: "
        "`selector` does not match template `labels`"}},
      {With("      containers:\n      - name: web\n        image: nginx:1.27",
            "      containers:\n        name: web\n        image: nginx:1.27"),
       {"web.yaml:14:9: error: spec.template.spec.containers: expected a list, got a mapping"}},
      {With("memory: 64Mi", "memory: 64MB"),
       {"web.yaml:19:40: error: spec.template.spec.containers[0].resources.requests[memory]: "
        "Invalid "
        "value: \"64MB\": quantities must match the regular expression "
        "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"}},
      {With("memory: 64Mi", "memory: yes"),
       {"web.yaml:19:40: error: spec.template.spec.containers[0].resources.requests[memory]: "
        "expected a "
        "quantity like 250m or 64Mi, got boolean yes"}},
      {With("name: web\nspec", "name: {{ .Values.name }}\nspec"),
       {"web.yaml:4:9: error: metadata.name: expected string, got a template; render it before it "
        "is "
        "applied"}},
      {With("name: web\nspec", "name: !Ref web\nspec"),
       {"web.yaml:4:9: error: metadata.name: the tag !Ref is not supported"}},
      {With("kind: Deployment", "kind: Deploymnet"),
       {"web.yaml:2:7: error: unknown kind \"Deploymnet\"; did you mean \"Deployment\"?"}},
      {With("kind: Deployment", "kind: ControllerRevision"),
       {"web.yaml:2:7: error: kind ControllerRevision is not supported yet"}},
      {With("apiVersion: apps/v1", "apiVersion: v1"),
       {"web.yaml:1:13: error: kind Deployment has apiVersion \"apps/v1\", not \"v1\""}},
      {With("apiVersion: apps/v1\n", ""), {"web.yaml:1:1: error: apiVersion: Required value"}},
      {"kind: Event\napiVersion: v1\n",
       {"web.yaml:1:7: error: kind Event is written by the cluster; applying one is not supported "
        "yet"}},
      {"- a\n- b\n",
       {"web.yaml:1:1: error: expected an object with apiVersion and kind, got a list"}},
      {"just text\n",
       {"web.yaml:1:1: error: expected an object with apiVersion and kind, got string \"just "
        "text\""}},
      {"{\"apiVersion\": \"v1\", \"kind\": \"Service\", \"metadata\": {\"name\": \"a\"},\n"
       " \"spec\": {\"ports\": [{\"port\": 0}]}}\n",
       {"web.yaml:2:30: error: spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, "
        "inclusive"}},
  };
  for (const Case& c : cases) {
    const Manifest manifest = DecodeOne(c.text);
    EXPECT_EQ(Messages(manifest), c.messages) << c.text;
    EXPECT_FALSE(manifest.ok());
    EXPECT_TRUE(manifest.objects.empty());
  }
}

TEST(Decode, ReportsAllMistakesOfAllFilesInOneRun) {
  const Manifest manifest = Decode({
      {"a.yaml", With("  replicas: 3", "  replics: 3") +
                     "---\nkind: CSINode\napiVersion: storage.k8s.io/v1\n"},
      {"b.yaml", "a: [\n"},
      {"c.yaml",
       "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n"
       "spec: {selector: {a: b}, ports: [{port: 80}]}\n"},
  });

  EXPECT_THAT(
      Messages(manifest),
      ElementsAre("a.yaml:6:3: error: spec.replics: unknown field; did you mean \"replicas\"?",
                  "a.yaml:21:7: error: kind CSINode is not supported yet",
                  "b.yaml:2:1: error: invalid YAML: a list that starts with [ is not closed"));
  ASSERT_EQ(manifest.objects.size(), 1u);
  EXPECT_TRUE(manifest.objects[0].resource.has_service());
}

constexpr char kWithExtras[] = R"(apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  replics: 3
  containers:
  - name: web
    image: example.com/web:1
    image: example.com/web:2
)";

TEST(Decode, WarnsOfWhatItLeavesOutWhenAskedTo) {
  DecodeOptions options;
  options.unknown = DecodeOptions::Unknown::kWarn;

  const Manifest manifest = Decode({{"a.yaml", kWithExtras}}, options);

  EXPECT_THAT(Messages(manifest),
              ElementsAre("a.yaml:5:3: warning: spec.replics: unknown field; left out",
                          "a.yaml:9:5: warning: spec.containers[0].image: duplicate key; first "
                          "given at line 8; left out"));
  ASSERT_EQ(manifest.objects.size(), 1u);
  // As with Kubernetes the last one counts.
  EXPECT_EQ(manifest.objects[0].resource.pod().spec().containers(0).image(), "example.com/web:2");
}

TEST(Decode, LeavesOutInSilenceWhenAskedTo) {
  DecodeOptions options;
  options.unknown = DecodeOptions::Unknown::kIgnore;

  const Manifest manifest = Decode({{"a.yaml", kWithExtras}}, options);

  EXPECT_TRUE(manifest.diagnostics.empty());
  EXPECT_EQ(manifest.objects.size(), 1u);
}

TEST(Decode, TellsAMissingFieldAlsoWhereItsTypoIsLeftOut) {
  DecodeOptions options;
  options.unknown = DecodeOptions::Unknown::kIgnore;

  const Manifest manifest = Decode(
      {{"a.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {contaners: []}\n"}},
      options);

  EXPECT_THAT(Messages(manifest),
              ElementsAre("a.yaml:4:1: error: spec.containers: Required value"));
}

TEST(Decode, FindsATypoInTheNameOfKindOrApiVersion) {
  const Manifest manifest = Decode({{"a.yaml",
                                     "apiVersion: v1\nkidn: Pod\n---\n"
                                     "apVersion: v1\nkind: Pod\n---\n"
                                     "apiVersion: networking.k8s.oi/v1\nkind: Ingress\n---\n"
                                     "apiVersion: networking.k8s.io/v1\nkind: Ingres\n"}});

  EXPECT_THAT(
      Messages(manifest),
      ElementsAre("a.yaml:2:1: error: kidn: unknown field; did you mean \"kind\"?",
                  "a.yaml:4:1: error: apVersion: unknown field; did you mean \"apiVersion\"?",
                  "a.yaml:7:13: error: kind Ingress has apiVersion "
                  "\"networking.k8s.io/v1\", not \"networking.k8s.oi/v1\"",
                  "a.yaml:11:7: error: unknown kind \"Ingres\"; did you mean \"Ingress\"?"));
}

TEST(Decode, StopsListingAtTheBound) {
  std::string text;
  for (size_t i = 0; i < kMaxDiagnostics + 30; ++i)
    text += "---\nkind: Jib\napiVersion: batch/v1\n";

  const Manifest manifest = DecodeOne(text);

  EXPECT_EQ(manifest.diagnostics.size(), kMaxDiagnostics);
  EXPECT_EQ(manifest.more_errors, 30u);
}

TEST(Decode, RefusesTheSameObjectTwice) {
  const Manifest manifest =
      Decode({{"a.yaml", kDeployment}, {"b.yaml", std::string("\n") + kDeployment}});

  EXPECT_THAT(
      Messages(manifest),
      ElementsAre("b.yaml:2:1: error: deployments.apps \"web\" in namespace \"default\" is given "
                  "twice; first at a.yaml:1:1"));
}

TEST(Decode, TellsObjectsOfTwoNamespacesApart) {
  const std::string other = With("  name: web\nspec", "  name: web\n  namespace: other\nspec");

  EXPECT_TRUE(Decode({{"a.yaml", kDeployment}, {"b.yaml", other}}).ok());
  EXPECT_FALSE(
      Decode({{"a.yaml", kDeployment}, {"b.yaml", other}}, {.default_namespace = "other"}).ok());
}

TEST(Decode, TakesTheOutputOfGet) {
  const Manifest manifest = DecodeOne(R"(apiVersion: v1
items:
- apiVersion: v1
  kind: Service
  metadata:
    creationTimestamp: "2026-01-31T12:00:00Z"
    generation: 4
    managedFields: [{manager: x}]
    name: web
    resourceVersion: "77"
    selfLink: /x
    uid: 0-1
  spec:
    clusterIP: 10.96.0.9
    clusterIPs: [10.96.0.9]
    internalTrafficPolicy: Cluster
    ipFamilies: [IPv4]
    ipFamilyPolicy: SingleStack
    ports: [{port: 80, protocol: TCP, targetPort: http}]
    selector: {app: web}
    sessionAffinity: None
    type: ClusterIP
  status:
    loadBalancer: {}
kind: List
metadata:
  resourceVersion: ""
)");

  EXPECT_THAT(Messages(manifest), IsEmpty());
  ASSERT_EQ(manifest.objects.size(), 1u);
  const v1::Service& service = manifest.objects[0].resource.service();
  EXPECT_EQ(service.metadata().resource_version(), "");
  EXPECT_EQ(service.metadata().uid(), "");
  EXPECT_EQ(service.spec().ports(0).target_port().string_value(), "http");
}

TEST(Decode, ExpandsAliasesAndMergeKeys) {
  const Manifest manifest = DecodeOne(R"(apiVersion: v1
kind: Pod
metadata:
  name: p
  labels: &labels {app: web, tier: front}
  annotations:
    <<: *labels
    tier: back
spec:
  containers:
  - &base
    name: a
    image: busybox:1.36
  - <<: *base
    name: b
)");

  EXPECT_THAT(Messages(manifest), IsEmpty());
  ASSERT_EQ(manifest.objects.size(), 1u);
  const v1::Pod& pod = manifest.objects[0].resource.pod();
  EXPECT_EQ(pod.metadata().annotations().at("app"), "web");
  EXPECT_EQ(pod.metadata().annotations().at("tier"), "back");
  EXPECT_EQ(pod.spec().containers(1).name(), "b");
  EXPECT_EQ(pod.spec().containers(1).image(), "busybox:1.36");
}

TEST(Decode, BoundsAliasesThatMultiply) {
  std::string text = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\n";
  text += "x0: &x0 {}\n";
  std::string list = "spec:\n  containers: &c0 [";
  // Nine levels of nine merges: 9^9 values.
  std::string bomb = "apiVersion: v1\nkind: Pod\nmetadata:\n  labels:\n    m0: &m0 {a: b}\n";
  for (int i = 1; i < 10; ++i) {
    bomb += "    m" + std::to_string(i) + ": &m" + std::to_string(i) + " {<<: [";
    for (int j = 0; j < 9; ++j) bomb += (j == 0 ? "*m" : ", *m") + std::to_string(i - 1);
    bomb += "]}\n";
  }
  bomb += "    <<: *m9\n";

  const Manifest manifest = DecodeOne(bomb);

  bool bounded = false;
  for (const std::string& message : Messages(manifest)) {
    bounded = bounded || message.ends_with("more than 500000 values once aliases are expanded");
  }
  EXPECT_TRUE(bounded);
}

TEST(Decode, TakesNothingForNothing) {
  const Manifest manifest = DecodeOne(R"(apiVersion: v1
kind: Pod
metadata:
  name: p
  creationTimestamp: null
  labels: {empty: }
spec:
  securityContext: {}
  volumes: []
  affinity:
  nodeSelector: null
  containers:
  - {name: a, image: busybox, env: [{name: A, value: }], resources: {}}
status: {}
)");

  EXPECT_THAT(Messages(manifest), IsEmpty());
  ASSERT_EQ(manifest.objects.size(), 1u);
  EXPECT_EQ(manifest.objects[0].resource.pod().metadata().labels().at("empty"), "");
}

TEST(Decode, ReadsNumbersThatKubernetesReads) {
  const Manifest manifest = DecodeOne(R"(apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports:
  - {name: a, port: 8e1, targetPort: 8080}
  - {name: b, port: 81.0, targetPort: "http"}
)");

  EXPECT_THAT(Messages(manifest), IsEmpty());
  ASSERT_EQ(manifest.objects.size(), 1u);
  const v1::ServiceSpec& spec = manifest.objects[0].resource.service().spec();
  EXPECT_EQ(spec.ports(0).port(), 80);
  EXPECT_EQ(spec.ports(0).target_port().int_value(), 8080);
  EXPECT_EQ(spec.ports(1).port(), 81);
  EXPECT_EQ(spec.ports(1).target_port().string_value(), "http");
}

TEST(Decode, ReadsModesOfFilesAsTheyAreWritten) {
  const Manifest manifest = DecodeOne(R"(apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  containers: [{name: a, image: busybox}]
  volumes:
  - {name: a, secret: {secretName: a, defaultMode: 0400, items: [{key: k, path: p, mode: 0o777}]}}
)");

  EXPECT_THAT(Messages(manifest), IsEmpty());
  ASSERT_EQ(manifest.objects.size(), 1u);
  const v1::SecretVolumeSource& secret =
      manifest.objects[0].resource.pod().spec().volumes(0).secret();
  EXPECT_EQ(secret.default_mode(), 0400);
  EXPECT_EQ(secret.items(0).mode(), 0777);
}

TEST(Decode, WarnsOfAnOldVersionAndTakesItsSelectorFromTheTemplate) {
  std::string text = With("apiVersion: apps/v1", "apiVersion: extensions/v1beta1");
  const std::string selector = "  selector:\n    matchLabels: {app: web}\n";
  text.replace(text.find(selector), selector.size(), "");

  const Manifest manifest = DecodeOne(text);

  EXPECT_THAT(
      Messages(manifest),
      ElementsAre("web.yaml:1:13: warning: extensions/v1beta1 Deployment is deprecated; it is "
                  "read as apps/v1 Deployment"));
  ASSERT_EQ(manifest.objects.size(), 1u);
  EXPECT_EQ(manifest.objects[0].resource.deployment().spec().selector().match_labels().at("app"),
            "web");
}

TEST(Decode, ReadsOnlyNamesWhenOnlyNamesMatter) {
  const Manifest manifest =
      Decode({{"web.yaml", With("  replicas: 3", "  replics: three")}}, {.identity_only = true});

  EXPECT_TRUE(manifest.ok());
  ASSERT_EQ(manifest.objects.size(), 1u);
  EXPECT_EQ(manifest.objects[0].resource.deployment().metadata().name(), "web");
}

TEST(Decode, RefusesAFileThatIsTooLarge) {
  const Manifest manifest = DecodeOne(std::string(kMaxFileBytes + 1, '#'));

  EXPECT_THAT(
      Messages(manifest),
      ElementsAre("web.yaml: error: 3145729 bytes are more than the limit of 3145728 bytes for "
                  "one file"));
}

TEST(Decode, NamesStandardInput) {
  const Manifest manifest = Decode({{"-", "- x\n"}});

  EXPECT_THAT(Messages(manifest), ElementsAre("standard input:1:1: error: expected an object with "
                                              "apiVersion and kind, got a list"));
}

}  // namespace
}  // namespace mesh::manifest
