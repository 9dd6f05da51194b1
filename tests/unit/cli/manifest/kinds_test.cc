// SPDX-License-Identifier: Apache-2.0
// The kinds that are stored for others to act on: each rule once, by breaking a valid manifest in
// one place; old apiVersions; and that what was written comes back.
#include <string>
#include <vector>

#include "api/schema/defaults.h"
#include "api/schema/schema.h"
#include "api/schema/validate.h"
#include "cli/manifest/manifest.h"
#include "cli/manifest/print.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mesh::manifest {
namespace {

using ::testing::HasSubstr;

// The errors of one manifest without their places, one a line.
std::string Errors(const std::string& text) {
  const Manifest manifest = Decode({{"a.yaml", text}});
  std::string out;
  for (const Diagnostic& diagnostic : manifest.diagnostics) {
    if (diagnostic.severity == Diagnostic::Severity::kError) out += diagnostic.message + "\n";
  }
  return out;
}

std::string Replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from << "\n" << text;
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

v1::Resource Complete(const std::string& text) {
  const Manifest manifest = Decode({{"a.yaml", text}});
  EXPECT_EQ(Errors(text), "");
  if (manifest.objects.empty()) return {};
  v1::Resource out = manifest.objects[0].resource;
  schema::ApplyDefaults(&out);
  return out;
}

struct Case {
  const char* from;
  const char* to;
  const char* error;  // the errors contain it
};
void ExpectErrors(const std::string& valid, const std::vector<Case>& cases) {
  EXPECT_EQ(Errors(valid), "") << valid;
  for (const Case& c : cases) {
    EXPECT_THAT(Errors(Replaced(valid, c.from, c.to)), HasSubstr(c.error)) << c.from << c.to;
  }
}

constexpr char kStatefulSet[] = R"(apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      restartPolicy: Always
      containers: [{name: db, image: db:1}]
  volumeClaimTemplates:
  - metadata: {name: data}
    spec:
      accessModes: [ReadWriteOnce]
      resources: {requests: {storage: 1Gi}}
)";

TEST(StatefulSet, IsCheckedAsKubernetesDoes) {
  ExpectErrors(
      kStatefulSet,
      {{"labels: {app: db}", "labels: {app: web}", "`selector` does not match template `labels`"},
       {"restartPolicy: Always", "restartPolicy: Never", "supported values: \"Always\""},
       {"storage: 1Gi", "storage: 0",
        "spec.volumeClaimTemplates[0].spec.resources.requests[storage]: Invalid value: \"0\": must "
        "be greater than zero"},
       {"accessModes: [ReadWriteOnce]", "accessModes: [RWO]",
        "spec.volumeClaimTemplates[0].spec.accessModes[0]: Unsupported value: \"RWO\""},
       {"name: data", "name: Data_1", "spec.volumeClaimTemplates[0].metadata.name: Invalid value"},
       {"serviceName: db", "updateStrategy: {type: OnDelete, rollingUpdate: {partition: 1}}",
        "spec.updateStrategy.rollingUpdate: Invalid value"}});
}

TEST(StatefulSet, GetsItsDefaults) {
  const v1::StatefulSetSpec spec = Complete(kStatefulSet).stateful_set().spec();

  EXPECT_EQ(spec.replicas(), 1);
  EXPECT_EQ(spec.pod_management_policy(), "OrderedReady");
  EXPECT_EQ(spec.update_strategy().type(), "RollingUpdate");
  EXPECT_EQ(spec.persistent_volume_claim_retention_policy().when_deleted(), "Retain");
  EXPECT_EQ(spec.template_().spec().containers(0).image_pull_policy(), "IfNotPresent");
}

TEST(StatefulSet, KeepsWhatMayNotChange) {
  const v1::Resource live = Complete(kStatefulSet);

  EXPECT_EQ(
      schema::ValidateUpdate(live, Complete(Replaced(kStatefulSet, "image: db:1", "image: db:2"))),
      std::vector<schema::Problem>{});
  EXPECT_THAT(schema::JoinProblems(schema::ValidateUpdate(
                  live, Complete(Replaced(kStatefulSet, "serviceName: db", "serviceName: d")))),
              HasSubstr("spec: Forbidden: updates to statefulset spec for fields other than"));
}

TEST(DaemonSet, IsCheckedAsKubernetesDoes) {
  const std::string valid = R"(apiVersion: apps/v1
kind: DaemonSet
metadata: {name: log}
spec:
  updateStrategy: {type: RollingUpdate, rollingUpdate: {maxUnavailable: 10%}}
  selector: {matchLabels: {app: log}}
  template:
    metadata: {labels: {app: log}}
    spec: {containers: [{name: log, image: log:1}]}
)";
  ExpectErrors(valid, {{"maxUnavailable: 10%", "maxUnavailable: 0",
                        "maxUnavailable: Required value: cannot be 0 when maxSurge is 0"},
                       {"maxUnavailable: 10%", "maxUnavailable: 1, maxSurge: 1",
                        "may not be set when maxUnavailable is non-zero"},
                       {"matchLabels: {app: log}", "matchLabels: {app: web}",
                        "`selector` does not match template `labels`"}});
}

TEST(ReplicationController, TakesItsSelectorFromTheTemplate) {
  const std::string valid = R"(apiVersion: v1
kind: ReplicationController
metadata: {name: web}
spec:
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: web:1}]}
)";
  EXPECT_EQ(Complete(valid).replication_controller().spec().selector().at("app"), "web");
  ExpectErrors(valid,
               {{"metadata: {labels: {app: web}}\n    ", "", "spec.selector: Required value"},
                {"spec:\n", "spec:\n  selector: {app: db}\n",
                 "`selector` does not match template `labels`"}});
}

constexpr char kJob[] = R"(apiVersion: batch/v1
kind: Job
metadata: {name: pi}
spec:
  template:
    spec:
      restartPolicy: Never
      containers: [{name: pi, image: pi:1}]
)";

TEST(Job, IsCheckedAsKubernetesDoes) {
  ExpectErrors(kJob, {{"restartPolicy: Never\n      ", "",
                       "spec.template.spec.restartPolicy: Required value: valid values: "
                       "\"OnFailure\", \"Never\""},
                      {"spec:\n", "spec:\n  selector: {matchLabels: {a: b}}\n",
                       "`selector` not auto-generated"},
                      {"spec:\n", "spec:\n  completionMode: Indexed\n  parallelism: 2\n",
                       "spec.completions: Required value: when completion mode is Indexed"},
                      {"spec:\n", "spec:\n  podFailurePolicy: {rules: [{action: Ignore}]}\n",
                       "specifying one of OnExitCodes and OnPodConditions is required"}});
}

TEST(Job, GetsItsDefaults) {
  const v1::JobSpec spec = Complete(kJob).job().spec();
  EXPECT_EQ(spec.completions(), 1);
  EXPECT_EQ(spec.parallelism(), 1);
  EXPECT_EQ(spec.backoff_limit(), 6);
  // A queue of work: the number of completions is open.
  const v1::Resource queue = Complete(Replaced(kJob, "spec:\n", "spec:\n  parallelism: 3\n"));
  EXPECT_FALSE(queue.job().spec().has_completions());
}

TEST(Job, ListsExitCodes) {
  const v1::Resource job = Complete(
      Replaced(kJob, "spec:\n",
               "spec:\n  podFailurePolicy: {rules: [{action: FailJob, onExitCodes: {operator: In, "
               "values: [42, 0]}}]}\n"));
  const auto& codes = job.job().spec().pod_failure_policy().rules(0).on_exit_codes().values();
  EXPECT_THAT(codes, ::testing::ElementsAre(42, 0));
  EXPECT_THAT(ToYaml(job), HasSubstr("values:\n        - 42\n        - 0\n"));
}

TEST(Job, KeepsItsTemplate) {
  EXPECT_THAT(schema::JoinProblems(schema::ValidateUpdate(
                  Complete(kJob), Complete(Replaced(kJob, "image: pi:1", "image: pi:2")))),
              HasSubstr("spec.template: Invalid value"));
}

TEST(CronJob, ReadsItsTimes) {
  const std::string valid = R"(apiVersion: batch/v1
kind: CronJob
metadata: {name: hello}
spec:
  schedule: "*/5 8-17 1,15 jan-mar MON-fri"
  jobTemplate:
    spec:
      template:
        spec: {restartPolicy: OnFailure, containers: [{name: a, image: a:1}]}
)";
  const char* line = "\"*/5 8-17 1,15 jan-mar MON-fri\"";
  for (const char* good : {"\"@daily\"", "\"@every 1h30m\"", "\"0 0 * * 0\"", "\"0 0 ? * *\""}) {
    EXPECT_EQ(Errors(Replaced(valid, line, good)), "") << good;
  }
  ExpectErrors(valid,
               {{line, "\"* * * *\"", "expected exactly 5 fields, found 4: [* * * *]"},
                {line, "\"60 * * * *\"", "end of range (60) above maximum (59): 60"},
                {line, "\"* * 0 * *\"", "beginning of range (0) below minimum (1): 0"},
                {line, "\"*/0 * * * *\"", "step of range should be a positive number: */0"},
                {line, "\"* * * * xyz\"", "failed to parse \"xyz\" as a day of week"},
                {line, "\"5-1 * * * *\"", "beginning of range (5) beyond end of range (1): 5-1"},
                {line, "\"@often\"", "unrecognized descriptor: @often"},
                {line, "\"TZ=UTC 0 0 * * *\"", "cannot use TZ or CRON_TZ in schedule"},
                {"schedule:", "timeZone: Local\n  schedule:", "must be an explicit time zone"},
                {"restartPolicy: OnFailure, ", "",
                 "spec.jobTemplate.spec.template.spec.restartPolicy: Required value"}});
}

TEST(ConfigMap, IsCheckedAsKubernetesDoes) {
  const std::string valid =
      "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n"
      "data: {app.conf: \"a=b\"}\nbinaryData: {logo: aGVsbG8=}\n";
  ExpectErrors(valid, {{"app.conf", "app/conf", "data[app/conf]: Invalid value: \"app/conf\""},
                       {"app.conf", "..conf", "must not start with '..'"},
                       {"app.conf", "logo", "duplicate of key present in binaryData"},
                       {"aGVsbG8=", "aGVsbG8", "binaryData[logo]: Invalid value: not base64"},
                       {"\"a=b\"", "true", "data[app.conf]: expected string, got boolean true"}});
  const std::string large = "\"" + std::string((1 << 20) + 1, 'x') + "\"";
  EXPECT_THAT(Errors(Replaced(valid, "\"a=b\"", large)), HasSubstr("Too long"));
}

TEST(ConfigMap, IsSealedByImmutable) {
  const std::string text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: b}\n";
  const v1::Resource sealed = Complete(text + "immutable: true\n");
  EXPECT_EQ(schema::JoinProblems(schema::ValidateUpdate(sealed, Complete(text))),
            "immutable: Forbidden: field is immutable when `immutable` is set");
  EXPECT_EQ(schema::JoinProblems(schema::ValidateUpdate(
                sealed, Complete(Replaced(text, "a: b", "a: c") + "immutable: true\n"))),
            "data: Forbidden: field is immutable when `immutable` is set");
}

TEST(Secret, HasItsTextEncoded) {
  const v1::Secret secret =
      Complete(
          "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {a: hello, b: x}\n"
          "data: {b: eQ==, c: eg==}\n")
          .secret();

  EXPECT_EQ(secret.data().at("a"), "aGVsbG8=");
  EXPECT_EQ(secret.data().at("b"), "eA==");
  EXPECT_EQ(secret.data().at("c"), "eg==");
  EXPECT_TRUE(secret.string_data().empty());
  EXPECT_EQ(secret.type(), "Opaque");
}

TEST(Secret, OfATypeHasItsKeys) {
  const std::string head = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n";
  EXPECT_THAT(Errors(head + "data: {a: plain}\n"), HasSubstr("data[a]: Invalid value: not base64"));
  EXPECT_EQ(Errors(head + "type: kubernetes.io/tls\nstringData: {tls.crt: a}\n"),
            "data[tls.key]: Required value\n");
  EXPECT_THAT(Errors(head + "type: kubernetes.io/dockerconfigjson\n"
                            "stringData: {.dockerconfigjson: x}\n"),
              HasSubstr("<secret contents redacted>"));
  EXPECT_THAT(
      Errors(head + "type: kubernetes.io/service-account-token\n"),
      HasSubstr("metadata.annotations[kubernetes.io/service-account.name]: Required value"));
  EXPECT_EQ(Errors(head + "type: kubernetes.io/basic-auth\nstringData: {username: a}\n"), "");
}

TEST(PersistentVolume, HasOneSource) {
  const std::string valid = R"(apiVersion: v1
kind: PersistentVolume
metadata: {name: pv}
spec:
  capacity: {storage: 5Gi}
  accessModes: [ReadWriteOnce]
  hostPath: {path: /data}
)";
  ExpectErrors(valid,
               {{"  hostPath: {path: /data}\n", "", "spec: Required value: must specify a volume"},
                {"hostPath:", "nfs: {server: a, path: /x}\n  hostPath:",
                 "Forbidden: may not specify more than 1 volume type"},
                {"path: /data", "path: /data/../etc", "must not contain '..'"},
                {"  capacity: {storage: 5Gi}\n", "", "spec.capacity: Required value"},
                {"hostPath: {path: /data}", "local: {path: /data}",
                 "spec.nodeAffinity: Required value: Local volume requires node affinity"},
                {"[ReadWriteOnce]", "[]", "spec.accessModes: Required value"}});
}

TEST(PersistentVolumeClaim, GrowsAndIsOtherwiseFixed) {
  const std::string text = R"(apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: pvc}
spec:
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 5Gi}}
)";
  const v1::Resource live = Complete(text);
  EXPECT_EQ(
      schema::JoinProblems(schema::ValidateUpdate(live, Complete(Replaced(text, "5Gi", "6Gi")))),
      "");
  EXPECT_THAT(
      schema::JoinProblems(schema::ValidateUpdate(live, Complete(Replaced(text, "5Gi", "4Gi")))),
      HasSubstr("can not be less than previous value"));
  EXPECT_THAT(schema::JoinProblems(schema::ValidateUpdate(
                  live, Complete(Replaced(text, "ReadWriteOnce", "ReadWriteMany")))),
              HasSubstr("spec: Forbidden: spec is immutable after creation"));
  EXPECT_THAT(Errors(Replaced(text, "{requests: {storage: 5Gi}}", "{}")),
              HasSubstr("spec.resources[storage]: Required value"));
}

TEST(StorageClass, KeepsItsProvisioner) {
  const std::string text =
      "apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: fast}\n"
      "provisioner: kubernetes.io/gce-pd\nparameters: {type: pd-ssd}\n";
  const v1::Resource live = Complete(text);
  EXPECT_EQ(live.storage_class().reclaim_policy(), "Delete");
  EXPECT_THAT(
      schema::JoinProblems(schema::ValidateUpdate(
          live, Complete(Replaced(Replaced(text, "gce-pd", "aws-ebs"), "pd-ssd", "pd")))),
      HasSubstr("provisioner: Invalid value: \"kubernetes.io/aws-ebs\": field is immutable; "
                "parameters: Forbidden: updates to parameters are forbidden."));
}

TEST(HorizontalPodAutoscaler, IsCheckedAsKubernetesDoes) {
  const std::string valid = R"(apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  minReplicas: 2
  maxReplicas: 5
  metrics:
  - type: Resource
    resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}
)";
  ExpectErrors(valid, {{"maxReplicas: 5", "maxReplicas: 1",
                        "spec.maxReplicas: Invalid value: 1: must be greater than or equal to "
                        "`minReplicas`"},
                       {"minReplicas: 2", "minReplicas: 0", "spec.minReplicas: Invalid value: 0"},
                       {"type: Resource", "type: Pods", "spec.metrics[0].pods: Required value"},
                       {", averageUtilization: 50", "", "must set either a target raw value"}});
}

TEST(HorizontalPodAutoscaler, IsConvertedFromItsOldVersions) {
  const std::string head = "kind: HorizontalPodAutoscaler\nmetadata: {name: web}\nspec:\n";
  const std::string rest = "  scaleTargetRef: {kind: Deployment, name: web}\n  maxReplicas: 5\n";
  const v1::Resource first = Complete("apiVersion: autoscaling/v1\n" + head + rest +
                                      "  targetCPUUtilizationPercentage: 70\n");
  const v1::Resource second = Complete("apiVersion: autoscaling/v2beta1\n" + head + rest +
                                       "  metrics:\n  - type: Resource\n    resource: {name: cpu, "
                                       "targetAverageUtilization: 70}\n");
  for (const v1::Resource& object : {first, second}) {
    const auto& spec = object.horizontal_pod_autoscaler().spec();
    ASSERT_EQ(spec.metrics_size(), 1);
    EXPECT_EQ(spec.metrics(0).resource().name(), "cpu");
    EXPECT_EQ(spec.metrics(0).resource().target().type(), "Utilization");
    EXPECT_EQ(spec.metrics(0).resource().target().average_utilization(), 70);
  }
}

TEST(PodDisruptionBudget, TakesOneOfTwoNumbers) {
  const std::string valid =
      "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: web}\n"
      "spec: {minAvailable: 50%, selector: {matchLabels: {a: b}}}\n";
  ExpectErrors(valid, {{"minAvailable: 50%", "minAvailable: 1, maxUnavailable: 1",
                        "minAvailable and maxUnavailable cannot be both set"},
                       {"50%", "150%", "must not be greater than 100%"}});
}

TEST(PriorityClass, HasALimit) {
  const std::string valid =
      "apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata: {name: high}\n"
      "value: 1000\n";
  ExpectErrors(valid, {{"value: 1000", "value: 1000000001", "maximum allowed value of a user"},
                       {"name: high", "name: system-x", "reserved for system use only"}});
}

TEST(ResourceQuota, KnowsItsResources) {
  const std::string valid =
      "apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: q}\n"
      "spec: {hard: {pods: 10, requests.cpu: 1, gold.storageclass.storage.k8s.io/requests.storage: "
      "1Gi, count/jobs.batch: 5}}\n";
  ExpectErrors(valid, {{"pods: 10", "pod: 10", "must be a standard resource for quota"},
                       {"pods: 10", "pods: 1500m", "must be an integer"}});
}

TEST(LimitRange, OrdersItsValues) {
  const std::string valid =
      "apiVersion: v1\nkind: LimitRange\nmetadata: {name: l}\n"
      "spec: {limits: [{type: Container, min: {cpu: 100m}, max: {cpu: 800m}}]}\n";
  ExpectErrors(valid, {{"min: {cpu: 100m}", "min: {cpu: 2}",
                        "spec.limits[0].min[cpu]: Invalid value: \"2\": min value 2 is greater "
                        "than max value 800m"},
                       {"type: Container", "default: {cpu: 1}, type: Pod",
                        "may not be specified when `type` is 'Pod'"}});
  EXPECT_EQ(Complete(valid).limit_range().spec().limits(0).default_().at("cpu").text(), "800m");
}

TEST(Rbac, IsCheckedAsKubernetesDoes) {
  const std::string role =
      "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: \"system:pods\"}\n"
      "rules: [{apiGroups: [\"\"], resources: [pods], verbs: [get]}]\n";
  ExpectErrors(role, {{"verbs: [get]", "verbs: []", "rules[0].verbs: Required value"},
                      {"apiGroups: [\"\"], ", "", "rules[0].apiGroups: Required value"},
                      {"system:pods", "a/b", "may not contain '/'"},
                      {"resources: [pods]", "nonResourceURLs: [/x]",
                       "namespaced rules cannot apply to non-resource URLs"}});
  const std::string binding =
      "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: b}\n"
      "roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: r}\n"
      "subjects: [{kind: ServiceAccount, name: a, namespace: shop}, {kind: User, name: jane}]\n";
  ExpectErrors(binding, {{"kind: ClusterRole,", "kind: Role,", "supported values: \"ClusterRole\""},
                         {", namespace: shop", "", "subjects[0].namespace: Required value"}});
  EXPECT_EQ(Complete(binding).cluster_role_binding().subjects(1).api_group(),
            "rbac.authorization.k8s.io");
  EXPECT_THAT(schema::JoinProblems(schema::ValidateUpdate(
                  Complete(binding), Complete(Replaced(binding, "name: r}", "name: s}")))),
              HasSubstr("cannot change roleRef"));
}

constexpr char kIngress[] = R"(apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web}
spec:
  rules:
  - host: "*.example.com"
    http:
      paths:
      - path: /api
        pathType: Prefix
        backend: {service: {name: api, port: {number: 80}}}
)";

TEST(Ingress, IsCheckedAsKubernetesDoes) {
  ExpectErrors(
      kIngress,
      {{"        pathType: Prefix\n", "", "spec.rules[0].http.paths[0].pathType: Required value"},
       {"path: /api", "path: api", "must be an absolute path"},
       {"path: /api", "path: /a//b", "must not contain '//'"},
       {"number: 80", "number: 80, name: http", "cannot set both port name & port number"},
       {", port: {number: 80}", "", "port name or number is required"},
       {"*.example.com", "10.0.0.1", "must be a DNS name, not an IP address"},
       {"  rules:\n", "  backend: {}\n  rules:\n", "spec.backend: unknown field"}});
}

TEST(Ingress, IsConvertedFromItsOldVersions) {
  const std::string old = R"(apiVersion: extensions/v1beta1
kind: Ingress
metadata: {name: web}
spec:
  backend: {serviceName: all, servicePort: http}
  rules:
  - http:
      paths:
      - path: /api
        backend: {serviceName: api, servicePort: 80}
)";
  const v1::IngressSpec spec = Complete(old).ingress().spec();
  EXPECT_EQ(spec.default_backend().service().name(), "all");
  EXPECT_EQ(spec.default_backend().service().port().name(), "http");
  const v1::HTTPIngressPath& path = spec.rules(0).http().paths(0);
  EXPECT_EQ(path.backend().service().name(), "api");
  EXPECT_EQ(path.backend().service().port().number(), 80);
  EXPECT_EQ(path.path_type(), "ImplementationSpecific");
  // A field of the present version in an old one is nobody's.
  EXPECT_EQ(Errors(Replaced(old, "{serviceName: api, servicePort: 80}",
                            "{service: {name: api, port: {number: 80}}}")),
            "spec.rules[0].http.paths[0].backend.service: unknown field; extensions/v1beta1 has "
            "serviceName and servicePort in its place\n");
}

TEST(Gateway, IsCheckedAsItsDefinitionSays) {
  const std::string valid = R"(apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  gatewayClassName: mesh
  listeners:
  - {name: http, port: 80, protocol: HTTP}
  - {name: https, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: cert}]}}
)";
  ExpectErrors(valid, {{"protocol: HTTP}", "protocol: HTTP, tls: {mode: Terminate}}",
                        "tls must not be specified for protocols"},
                       {"port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: cert}]}",
                        "port: 80, protocol: HTTP", "must be unique for each listener"},
                       {"name: https", "name: http", "Duplicate value: \"http\""}});
  const v1::GatewaySpec spec = Complete(valid).gateway().spec();
  EXPECT_EQ(spec.listeners(0).allowed_routes().namespaces().from(), "Same");
  EXPECT_EQ(spec.listeners(1).tls().mode(), "Terminate");
  EXPECT_EQ(spec.listeners(1).tls().certificate_refs(0).kind(), "Secret");
}

TEST(HTTPRoute, IsCheckedAsItsDefinitionSays) {
  const std::string valid = R"(apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec:
  parentRefs: [{name: gw}, {group: "", kind: Service, name: web}]
  rules:
  - matches: [{path: {value: /a}}]
    backendRefs: [{name: api, port: 80}]
)";
  ExpectErrors(valid, {{", port: 80", "", "must have port for Service reference"},
                       {"value: /a", "value: a", "must be an absolute path and start with '/'"},
                       {"    backendRefs",
                        "    filters: [{type: RequestRedirect, requestRedirect: {scheme: https}}]\n"
                        "    backendRefs",
                        "RequestRedirect filter must not be used together with backendRefs"},
                       {"    backendRefs", "    filters: [{type: CORS}]\n    backendRefs",
                        "spec.rules[0].filters[0].cors: Required value"},
                       {"    backendRefs", "    timeouts: {request: 1 hour}\n    backendRefs",
                        "must be a duration"}});
  const v1::HTTPRouteSpec spec = Complete(valid).http_route().spec();
  EXPECT_EQ(spec.parent_refs(0).kind(), "Gateway");
  EXPECT_EQ(spec.parent_refs(0).group(), "gateway.networking.k8s.io");
  EXPECT_EQ(spec.parent_refs(1).group(), "");
  EXPECT_EQ(spec.rules(0).matches(0).path().type(), "PathPrefix");
  EXPECT_EQ(spec.rules(0).backend_refs(0).weight(), 1);
}

TEST(Kinds, ComeBackAsTheyWereWritten) {
  for (const char* text : {kStatefulSet, kJob, kIngress}) {
    const v1::Resource object = Complete(text);
    const std::string printed = ToYaml(object);
    EXPECT_EQ(ToYaml(Complete(printed)), printed);
  }
}

}  // namespace
}  // namespace mesh::manifest
