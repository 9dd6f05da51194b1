// SPDX-License-Identifier: Apache-2.0
// Goal: a container gets the environment that Kubernetes would give it, or nothing and the reason.
// Method: containers and the node's state as values.
#include "agent/pods/environment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/agent/pods/pod_builder.h"

namespace mesh::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

class EnvironmentTest : public ::testing::Test {
 protected:
  EnvironmentTest() {
    (*pod.mutable_metadata()->mutable_labels())["app"] = "shop";
    (*pod.mutable_metadata()->mutable_annotations())["note"] = "two \"words\"\nand a line";
    pod.mutable_spec()->set_node_name("n1");
    v1::ConfigMap map;
    map.mutable_metadata()->set_namespace_("default");
    map.mutable_metadata()->set_name("settings");
    (*map.mutable_data())["COLOR"] = "green";
    (*map.mutable_data())["SIZE"] = "big";
    (*map.mutable_binary_data())["BLOB"] = "AAEC";
    state.config_maps["default/settings"] = map;
    v1::Secret secret;
    secret.mutable_metadata()->set_namespace_("default");
    secret.mutable_metadata()->set_name("keys");
    (*secret.mutable_data())["password"] = "czNjcmV0";  // s3cret
    (*secret.mutable_data())["bytes"] = "/w==";         // 0xff
    state.secrets["default/keys"] = secret;
  }

  v1::Container& container() { return *pod.mutable_spec()->mutable_containers(0); }
  v1::EnvVar& Add(const std::string& name) {
    v1::EnvVar* out = container().add_env();
    out->set_name(name);
    return *out;
  }
  void Field(const std::string& name, const std::string& path) {
    Add(name).mutable_value_from()->mutable_field_ref()->set_field_path(path);
  }
  void Resource(const std::string& name, const std::string& resource,
                const std::string& divisor = "") {
    auto* ref = Add(name).mutable_value_from()->mutable_resource_field_ref();
    ref->set_resource(resource);
    if (!divisor.empty()) ref->mutable_divisor()->set_text(divisor);
  }
  absl::StatusOr<Environment> Resolve(const Variables& services = {}) {
    return ResolveEnvironment(pod, container(), services, state, node);
  }
  std::string Error() { return std::string(Resolve().status().message()); }

  v1::Pod pod = MakePod();
  NodeState state;
  NodeFacts node{.ips = {"192.0.2.1", "2001:db8::1"}, .cpu_milli = 4000, .memory_bytes = 8 << 20};
};

TEST_F(EnvironmentTest, LaterSourcesHideEarlierOnesAndMayReferToThem) {
  v1::EnvFromSource* from = container().add_env_from();
  from->set_prefix("MY_");
  from->mutable_config_map_ref()->set_name("settings");
  Add("MY_SIZE").set_value("small");
  Add("TEXT").set_value("$(MY_COLOR) $(MY_SIZE) $(DB) $(LATER) $$(MY_SIZE)");
  Add("LATER").set_value("x");
  Add("DB").set_value("mine");

  const auto resolved = Resolve({{"DB", "10.96.0.7"}});

  ASSERT_TRUE(resolved.ok()) << resolved.status();
  EXPECT_THAT(
      resolved->variables,
      ElementsAre(Pair("DB", "mine"), Pair("MY_COLOR", "green"), Pair("MY_SIZE", "small"),
                  Pair("TEXT", "green small 10.96.0.7 $(LATER) $(MY_SIZE)"), Pair("LATER", "x")));
}

TEST_F(EnvironmentTest, TakesSingleKeysOfConfigMapsAndSecrets) {
  auto* color = Add("COLOR").mutable_value_from()->mutable_config_map_key_ref();
  color->set_name("settings");
  color->set_key("COLOR");
  auto* password = Add("PASSWORD").mutable_value_from()->mutable_secret_key_ref();
  password->set_name("keys");
  password->set_key("password");

  const auto resolved = Resolve();

  ASSERT_TRUE(resolved.ok()) << resolved.status();
  EXPECT_THAT(resolved->variables, ElementsAre(Pair("COLOR", "green"), Pair("PASSWORD", "s3cret")));
}

TEST_F(EnvironmentTest, TellsThePodAboutItself) {
  pod.mutable_status()->add_pod_ips()->set_ip("10.244.1.7");
  pod.mutable_status()->add_pod_ips()->set_ip("fd00::7");
  Field("NAME", "metadata.name");
  Field("UID", "metadata.uid");
  Field("APP", "metadata.labels['app']");
  Field("NONE", "metadata.annotations['other']");
  Field("NODE", "spec.nodeName");
  Field("ACCOUNT", "spec.serviceAccountName");
  Field("IP", "status.podIP");
  Field("IPS", "status.podIPs");
  Field("HOSTS", "status.hostIPs");

  const auto resolved = Resolve();

  ASSERT_TRUE(resolved.ok()) << resolved.status();
  EXPECT_THAT(resolved->variables,
              ElementsAre(Pair("NAME", "web"), Pair("UID", "uid-web"), Pair("APP", "shop"),
                          Pair("NONE", ""), Pair("NODE", "n1"), Pair("ACCOUNT", "default"),
                          Pair("IP", "10.244.1.7"), Pair("IPS", "10.244.1.7,fd00::7"),
                          Pair("HOSTS", "192.0.2.1,2001:db8::1")));
}

TEST_F(EnvironmentTest, GivesResourcesInUnitsOfTheDivisorRoundedUp) {
  (*container().mutable_resources()->mutable_limits())["cpu"].set_text("1500m");
  (*container().mutable_resources()->mutable_requests())["memory"].set_text("64Mi");
  Resource("CORES", "limits.cpu");
  Resource("MILLI", "limits.cpu", "1m");
  Resource("MEBI", "requests.memory", "1Mi");
  Resource("NODE_MEMORY", "limits.memory");
  Resource("NOTHING", "requests.cpu");

  const auto resolved = Resolve();

  ASSERT_TRUE(resolved.ok()) << resolved.status();
  EXPECT_THAT(resolved->variables,
              ElementsAre(Pair("CORES", "2"), Pair("MILLI", "1500"), Pair("MEBI", "64"),
                          Pair("NODE_MEMORY", "8388608"), Pair("NOTHING", "0")));
}

TEST_F(EnvironmentTest, NamesWhatIsMissing) {
  auto* map = Add("A").mutable_value_from()->mutable_config_map_key_ref();
  map->set_name("other");
  map->set_key("k");
  EXPECT_EQ(Error(), "configmap \"other\" not found");
  map->set_name("settings");
  EXPECT_EQ(Error(), "couldn't find key k in ConfigMap default/settings");
  map->set_optional(true);
  auto* secret = Add("B").mutable_value_from()->mutable_secret_key_ref();
  secret->set_name("keys");
  secret->set_key("k");
  EXPECT_EQ(Error(), "couldn't find key k in Secret default/keys");
  secret->set_optional(true);
  container().add_env_from()->mutable_secret_ref()->set_name("gone");
  EXPECT_EQ(Error(), "secret \"gone\" not found");
  container().mutable_env_from(0)->mutable_secret_ref()->set_optional(true);

  const auto resolved = Resolve();

  ASSERT_TRUE(resolved.ok()) << resolved.status();
  EXPECT_TRUE(resolved->variables.empty());
}

TEST_F(EnvironmentTest, SkipsKeysThatAreNoNamesAndSaysSo) {
  container().add_env_from()->set_prefix("a=");
  container().mutable_env_from(0)->mutable_config_map_ref()->set_name("settings");

  const auto resolved = Resolve();

  ASSERT_TRUE(resolved.ok()) << resolved.status();
  EXPECT_TRUE(resolved->variables.empty());
  EXPECT_THAT(resolved->skipped,
              ElementsAre("Keys [a=COLOR, a=SIZE] from the EnvFrom configMap default/settings were "
                          "skipped since they are considered invalid environment variable names."));
}

TEST_F(EnvironmentTest, RefusesValuesThatAreNoText) {
  auto* ref = Add("B").mutable_value_from()->mutable_secret_key_ref();
  ref->set_name("keys");
  ref->set_key("bytes");

  EXPECT_THAT(Error(), HasSubstr("environment variable B"));
}

TEST_F(EnvironmentTest, QuotesMapsAsGoDoes) {
  EXPECT_EQ(MapText(pod.metadata().annotations()), "note=\"two \\\"words\\\"\\nand a line\"");
}

}  // namespace
}  // namespace mesh::agent
