// SPDX-License-Identifier: Apache-2.0
// Goal: a registry is told who asks, as the pod's pull secrets say, and nobody else is.
#include "agent/pods/pull_secrets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/escaping.h"
#include "tests/unit/agent/pods/pod_builder.h"

namespace mesh::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

v1::Secret ASecret(const std::string& name, const std::string& config,
                   const std::string& type = "kubernetes.io/dockerconfigjson") {
  v1::Secret out;
  out.mutable_metadata()->set_namespace_("default");
  out.mutable_metadata()->set_name(name);
  out.set_type(type);
  const char* key = type == "kubernetes.io/dockercfg" ? ".dockercfg" : ".dockerconfigjson";
  (*out.mutable_data())[key] = absl::Base64Escape(config);
  return out;
}

std::string Entry(const std::string& registry, const std::string& user) {
  return "\"" + registry + "\":{\"username\":\"" + user + "\",\"password\":\"pw\"}";
}

// Who asks for the image, in order, when the pod names these Secrets.
absl::StatusOr<std::vector<std::string>> Users(const std::string& image,
                                               const std::vector<v1::Secret>& secrets) {
  NodeState state;
  v1::Pod pod = MakePod();
  for (const v1::Secret& secret : secrets) {
    state.secrets["default/" + secret.metadata().name()] = secret;
    pod.mutable_spec()->add_image_pull_secrets()->set_name(secret.metadata().name());
  }
  const auto found = CredentialsFor(pod, image, state);
  if (!found.ok()) return found.status();
  std::vector<std::string> out;
  for (const auto& auth : found->tries) out.push_back(auth.username() + ":" + auth.password());
  return out;
}

TEST(FullImageName, NamesTheRegistry) {
  EXPECT_EQ(FullImageName("nginx"), "docker.io/library/nginx");
  EXPECT_EQ(FullImageName("team/web:1.2"), "docker.io/team/web");
  EXPECT_EQ(FullImageName("quay.io/team/web@sha256:0123"), "quay.io/team/web");
  EXPECT_EQ(FullImageName("localhost/web"), "localhost/web");
  EXPECT_EQ(FullImageName("registry:5000/web:1"), "registry:5000/web");
}

TEST(RegistryMatches, ByLabelsPortAndPath) {
  struct {
    const char *pattern, *image;
    bool matches;
  } const cases[] = {
      {"quay.io", "quay.io/team/web", true},
      {"quay.io/team", "quay.io/team/web", true},
      {"quay.io/other", "quay.io/team/web", false},
      {"*.example.com", "eu.example.com/web", true},
      {"*.example.com", "example.com/web", false},
      {"*.example.com", "a.b.example.com/web", false},
      {"*.*.example.com", "a.b.example.com/web", true},
      {"r*.example.com", "registry.example.com/web", true},
      {"r?g.example.com", "reg.example.com/web", true},
      {"registry:5000", "registry:5000/web", true},
      {"registry", "registry:5000/web", false},
      {"registry:5000", "registry/web", false},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(RegistryMatches(c.pattern, c.image), c.matches) << c.pattern << " " << c.image;
  }
}

TEST(CredentialsFor, ReadsBothTypesOfSecrets) {
  EXPECT_THAT(*Users("quay.io/web", {ASecret("s", "{\"auths\":{" + Entry("quay.io", "u") + "}}")}),
              ElementsAre("u:pw"));
  EXPECT_THAT(*Users("quay.io/web", {ASecret("s", "{" + Entry("https://quay.io/v1/", "u") + "}",
                                             "kubernetes.io/dockercfg")}),
              ElementsAre("u:pw"));
  const std::string auth = absl::Base64Escape("someone:pass:word");
  EXPECT_THAT(*Users("quay.io/web",
                     {ASecret("s", "{\"auths\":{\"quay.io\":{\"auth\":\"" + auth + "\"}}}")}),
              ElementsAre("someone:pass:word"));
  // Another type says nothing of registries.
  EXPECT_THAT(*Users("quay.io/web", {ASecret("s", "{" + Entry("quay.io", "u") + "}", "Opaque")}),
              IsEmpty());
}

TEST(CredentialsFor, TriesAllThatMatchTheMostSpecialFirst) {
  const v1::Secret a = ASecret(
      "a", "{\"auths\":{" + Entry("quay.io", "wide") + "," + Entry("other.io", "no") + "}}");
  const v1::Secret b = ASecret(
      "b", "{\"auths\":{" + Entry("quay.io/team", "narrow") + "," + Entry("quay.io", "too") + "}}");
  EXPECT_THAT(*Users("quay.io/team/web", {a, b}), ElementsAre("narrow:pw", "wide:pw", "too:pw"));
  EXPECT_THAT(*Users("third.io/web", {a, b}), IsEmpty());
}

TEST(CredentialsFor, KnowsTheRegistryOfImagesThatNameNone) {
  const v1::Secret hub =
      ASecret("s", "{\"auths\":{" + Entry("https://index.docker.io/v1/", "u") + "}}");
  EXPECT_THAT(*Users("nginx", {hub}), ElementsAre("u:pw"));
  EXPECT_THAT(*Users("docker.io/team/web", {hub}), ElementsAre("u:pw"));
  EXPECT_THAT(*Users("quay.io/web", {hub}), IsEmpty());
}

TEST(CredentialsFor, SaysWhatIsWrongAndWhatIsMissing) {
  EXPECT_THAT(Users("quay.io/web", {ASecret("s", "{")}).status().message(),
              HasSubstr("pull secret s: .dockerconfigjson: is no JSON object"));
  EXPECT_THAT(Users("quay.io/web", {ASecret("s", "{\"auths\":{\"quay.io\":{\"auth\":\"eA==\"}}}")})
                  .status()
                  .message(),
              HasSubstr("must be formatted as base64(username:password)"));
  EXPECT_THAT(Users("quay.io/web", {ASecret("s", "{\"auths\":[]}")}).status().message(),
              HasSubstr("auths is no object"));

  v1::Pod pod = MakePod();
  pod.mutable_spec()->add_image_pull_secrets()->set_name("absent");
  const auto found = CredentialsFor(pod, "quay.io/web", NodeState());
  ASSERT_TRUE(found.ok());
  EXPECT_THAT(found->missing, ElementsAre("absent"));
  EXPECT_THAT(found->tries, IsEmpty());
}

}  // namespace
}  // namespace mesh::agent
