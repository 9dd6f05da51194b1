// SPDX-License-Identifier: Apache-2.0
#include "agent/pods/pod_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/agent/pods/pod_builder.h"

namespace mesh::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Pair;

TEST(ExpandVariables, FollowsKubernetes) {
  const std::map<std::string, std::string> known = {{"A", "1"}, {"B_C", "two"}};

  EXPECT_EQ(ExpandVariables("$(A)-$(B_C)", known), "1-two");
  EXPECT_EQ(ExpandVariables("$(UNKNOWN)", known), "$(UNKNOWN)");
  EXPECT_EQ(ExpandVariables("$$(A)", known), "$(A)");
  EXPECT_EQ(ExpandVariables("$A $ $(A", known), "$A $ $(A");
}

TEST(BuildSandboxConfig, GivesPodsTheClusterResolver) {
  PodConfigOptions options;
  options.name_servers = {"10.244.1.1"};

  const auto config = BuildSandboxConfig(MakePod(), 3, options);

  EXPECT_EQ(config.hostname(), "web");
  EXPECT_EQ(config.metadata().attempt(), 3u);
  EXPECT_EQ(config.log_directory(), "/var/log/pods/default_web_uid-web");
  EXPECT_THAT(config.dns_config().servers(), ElementsAre("10.244.1.1"));
  EXPECT_THAT(config.dns_config().searches(),
              ElementsAre("default.svc.cluster.local", "svc.cluster.local", "cluster.local"));
  EXPECT_THAT(config.dns_config().options(), ElementsAre("ndots:5"));
  EXPECT_EQ(config.labels().at("io.kubernetes.pod.uid"), "uid-web");
}

TEST(BuildSandboxConfig, CallsThePodByItsWholeNameWhereThatIsAskedFor) {
  v1::Pod pod = MakePod();
  pod.mutable_spec()->set_set_hostname_as_fqdn(true);
  EXPECT_EQ(BuildSandboxConfig(pod, 0, {}).hostname(), "web");

  pod.mutable_spec()->set_subdomain("peers");
  EXPECT_EQ(BuildSandboxConfig(pod, 0, {}).hostname(), "web.peers.default.svc.cluster.local");
  EXPECT_TRUE(CheckHostname(pod, {}).ok());

  pod.mutable_metadata()->set_name(std::string(40, 'w'));
  const std::string name = std::string(40, 'w') + ".peers.default.svc.cluster.local";
  EXPECT_EQ(CheckHostname(pod, {}).message(),
            "Failed to construct FQDN from Pod hostname and cluster domain, FQDN " + name +
                " is too long (64 characters is the max, 72 characters requested)");
  pod.mutable_spec()->set_set_hostname_as_fqdn(false);
  EXPECT_TRUE(CheckHostname(pod, {}).ok());
}

TEST(PeerNameServers, AreThoseOfTheTwoNodesThatFollowInTheRing) {
  SharedMap<std::string, Shared<v1::PeerNode>> peers;
  peers["a"].Mutable().set_pod_cidr("10.244.0.0/24");
  peers["b"].Mutable().set_pod_cidr("10.244.1.0/24");
  peers["d"].Mutable().set_pod_cidr("10.244.3.0/24");

  EXPECT_THAT(PeerNameServers("c", peers), ElementsAre("10.244.3.1", "10.244.0.1"));
  EXPECT_THAT(PeerNameServers("z", peers), ElementsAre("10.244.0.1", "10.244.1.1"));
  EXPECT_THAT(PeerNameServers("c", {}), ElementsAre());
}

TEST(BuildSandboxConfig, WaitsOnlyASecondForANodesResolverWhenThereAreOthers) {
  PodConfigOptions options;
  options.name_servers = {"10.244.1.1", "10.244.2.1"};

  const auto config = BuildSandboxConfig(MakePod(), 0, options);

  EXPECT_THAT(config.dns_config().servers(), ElementsAre("10.244.1.1", "10.244.2.1"));
  EXPECT_THAT(config.dns_config().options(), ElementsAre("ndots:5", "timeout:1", "attempts:3"));
}

TEST(BuildContainerConfig, ExpandsVariablesInCommandAndArguments) {
  v1::Pod pod = MakePod();
  v1::Container& container = *pod.mutable_spec()->mutable_containers(0);
  container.add_command("serve");
  container.add_args("--url=$(URL)");

  const PodInputs inputs{.environment = {{"HOST", "db"}, {"URL", "http://db:80"}}, .mounts = {}};
  const auto config = BuildContainerConfig(pod, container, 2, "sha256:1", inputs, {});

  EXPECT_EQ(config.envs(1).value(), "http://db:80");
  EXPECT_THAT(config.args(), ElementsAre("--url=http://db:80"));
  EXPECT_EQ(config.log_path(), "app/2.log");
  EXPECT_EQ(config.image().image(), "sha256:1");
}

TEST(BuildContainerConfig, HasWhatAttachNeeds) {
  v1::Pod pod = MakePod();
  v1::Container& container = *pod.mutable_spec()->mutable_containers(0);
  auto config = BuildContainerConfig(pod, container, 0, "x", {}, {});
  EXPECT_FALSE(config.stdin());
  EXPECT_FALSE(config.stdin_once());
  EXPECT_FALSE(config.tty());

  container.set_stdin(true);
  container.set_stdin_once(true);
  container.set_tty(true);
  config = BuildContainerConfig(pod, container, 0, "x", {}, {});
  EXPECT_TRUE(config.stdin());
  EXPECT_TRUE(config.stdin_once());
  EXPECT_TRUE(config.tty());
}

TEST(HostsFile, NamesThePodInEachOfItsFamilies) {
  v1::Pod pod = MakePod();
  pod.mutable_status()->add_pod_ips()->set_ip("10.244.1.7");
  pod.mutable_status()->add_pod_ips()->set_ip("fd00:10:244:1::7");

  EXPECT_THAT(HostsFile(pod, {}), EndsWith("fe00::2\tip6-allrouters\n"
                                           "10.244.1.7\tweb\n"
                                           "fd00:10:244:1::7\tweb\n"));
  EXPECT_THAT(HostsFile(pod, {}), HasSubstr("\n127.0.0.1\tlocalhost\n::1\tlocalhost "));
}

TEST(HostsFile, PutsTheLongNameFirstBelowASubdomain) {
  v1::Pod pod = MakePod();
  pod.mutable_spec()->set_hostname("zero");
  pod.mutable_spec()->set_subdomain("peers");

  EXPECT_THAT(HostsFile(pod, {}),
              EndsWith("10.244.1.7\tzero.peers.default.svc.cluster.local zero\n"));
}

TEST(BuildContainerConfig, TurnsResourcesIntoCgroupValues) {
  v1::Pod pod = MakePod();
  v1::Container& container = *pod.mutable_spec()->mutable_containers(0);
  (*container.mutable_resources()->mutable_requests())["cpu"].set_text("250m");
  (*container.mutable_resources()->mutable_requests())["memory"].set_text("256Mi");
  (*container.mutable_resources()->mutable_limits())["cpu"].set_text("500m");
  (*container.mutable_resources()->mutable_limits())["memory"].set_text("512Mi");
  PodConfigOptions options;
  options.memory_capacity_bytes = int64_t{1} << 30;

  const auto config = BuildContainerConfig(pod, container, 0, "x", {}, options);

  EXPECT_EQ(config.linux().resources().cpu_shares(), 256);
  EXPECT_EQ(config.linux().resources().cpu_quota(), 50'000);
  EXPECT_EQ(config.linux().resources().cpu_period(), 100'000);
  EXPECT_EQ(config.linux().resources().memory_limit_in_bytes(), 536'870'912);
  EXPECT_EQ(config.linux().resources().oom_score_adj(), 750);
}

TEST(BuildContainerConfig, LetsThoseGoFirstWhoAskForNothing) {
  v1::Pod pod = MakePod();
  v1::Container& container = *pod.mutable_spec()->mutable_containers(0);
  PodConfigOptions options;
  options.memory_capacity_bytes = int64_t{1} << 30;
  options.oom_score_adj_min = -1000;
  const auto score = [&] {
    return BuildContainerConfig(pod, container, 0, "x", {}, options)
        .linux()
        .resources()
        .oom_score_adj();
  };

  EXPECT_EQ(score(), 1000);
  (*container.mutable_resources()->mutable_requests())["cpu"].set_text("1");
  EXPECT_EQ(score(), 999);
  (*container.mutable_resources()->mutable_limits())["cpu"].set_text("1");
  (*container.mutable_resources()->mutable_limits())["memory"].set_text("512Mi");
  EXPECT_EQ(score(), -997);
}

TEST(BuildContainerConfig, KeepsHugeCpuWithinWhatTheKernelTakes) {
  v1::Pod pod = MakePod();
  v1::Container& container = *pod.mutable_spec()->mutable_containers(0);
  (*container.mutable_resources()->mutable_requests())["cpu"].set_text("1000000");
  (*container.mutable_resources()->mutable_limits())["cpu"].set_text("1000000000000000");

  const auto config = BuildContainerConfig(pod, container, 0, "x", {}, PodConfigOptions());

  EXPECT_EQ(config.linux().resources().cpu_shares(), 262'144);
  EXPECT_EQ(config.linux().resources().cpu_quota(), 100'000'000'000);
}

TEST(BuildContainerConfig, NeverAsksForAnOomScoreBelowTheAgentsOwn) {
  v1::Pod pod = MakePod();
  v1::Container& container = *pod.mutable_spec()->mutable_containers(0);
  (*container.mutable_resources()->mutable_requests())["memory"].set_text("1Gi");
  PodConfigOptions options;
  options.memory_capacity_bytes = int64_t{1} << 30;
  options.oom_score_adj_min = 500;

  const auto config = BuildContainerConfig(pod, container, 0, "x", {}, options);

  EXPECT_EQ(config.linux().resources().oom_score_adj(), 500);
}

TEST(ServiceEnvironment, NamesTheServicesOfTheNamespace) {
  SharedMap<std::string, Shared<v1::ServiceState>> services;
  v1::ServiceState redis;
  redis.set_namespace_("default");
  redis.set_name("redis-leader");
  redis.set_cluster_ip("10.96.0.9");
  v1::ServicePortState* port = redis.add_ports();
  port->set_port(6379);
  port->set_protocol(6);
  services["default/redis-leader"] = redis;
  v1::ServiceState headless = redis;
  headless.set_name("headless");
  headless.set_cluster_ip("None");
  services["default/headless"] = headless;
  redis.set_namespace_("other");
  services["other/web"] = redis;

  EXPECT_THAT(ServiceEnvironment(services, "default"),
              ElementsAre(Pair("REDIS_LEADER_SERVICE_HOST", "10.96.0.9"),
                          Pair("REDIS_LEADER_SERVICE_PORT", "6379"),
                          Pair("REDIS_LEADER_PORT", "tcp://10.96.0.9:6379"),
                          Pair("REDIS_LEADER_PORT_6379_TCP", "tcp://10.96.0.9:6379"),
                          Pair("REDIS_LEADER_PORT_6379_TCP_PROTO", "tcp"),
                          Pair("REDIS_LEADER_PORT_6379_TCP_PORT", "6379"),
                          Pair("REDIS_LEADER_PORT_6379_TCP_ADDR", "10.96.0.9")));
}

class GoodImage : public ::testing::TestWithParam<const char*> {};
TEST_P(GoodImage, IsAccepted) { EXPECT_TRUE(CheckImageReference(GetParam()).ok()); }
INSTANTIATE_TEST_SUITE_P(
    Table, GoodImage,
    ::testing::Values("redis", "redis:6.0.5", "docker.io/library/redis", "localhost/web:1",
                      "localhost:5000/a/b__c:V1.2-x", "gcr.io/google_samples/gb-frontend:v5",
                      "a.b/c@sha256:"
                      "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"));

class BadImage : public ::testing::TestWithParam<const char*> {};
TEST_P(BadImage, IsRefused) { EXPECT_FALSE(CheckImageReference(GetParam()).ok()); }
INSTANTIATE_TEST_SUITE_P(Table, BadImage,
                         ::testing::Values("", "UPPER", "a/B", "a:", "a:-x", "a//b", "-a", "a@",
                                           "a@sha256", "a b", "a_", "a..b"));

}  // namespace
}  // namespace mesh::agent
