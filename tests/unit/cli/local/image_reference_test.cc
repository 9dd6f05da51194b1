// SPDX-License-Identifier: Apache-2.0
#include "cli/local/image_reference.h"

#include <gtest/gtest.h>

#include <string>

namespace mesh::cli::local {
namespace {

TEST(NormalizeImageReference, CompletesShortNamesAsRuntimesDo) {
  const struct {
    const char *given, *full;
  } kCases[] = {
      {"redis", "docker.io/library/redis:latest"},
      {"redis:6.0.5", "docker.io/library/redis:6.0.5"},
      {"docker.io/redis:6.0.5", "docker.io/library/redis:6.0.5"},
      {"index.docker.io/redis:6", "docker.io/library/redis:6"},
      {"team/web:v1", "docker.io/team/web:v1"},
      {"local/x:1", "docker.io/local/x:1"},
      {"localhost/x:1", "localhost/x:1"},
      {"localhost:5000/x", "localhost:5000/x:latest"},
      {"registry.k8s.io/redis:e2e", "registry.k8s.io/redis:e2e"},
      {"us-docker.pkg.dev/google-samples/containers/gke/gb-frontend:v5",
       "us-docker.pkg.dev/google-samples/containers/gke/gb-frontend:v5"},
      {"gcr.io/google_samples/gb-redisslave:v1", "gcr.io/google_samples/gb-redisslave:v1"},
  };
  for (const auto& c : kCases) {
    const auto full = NormalizeImageReference(c.given);
    ASSERT_TRUE(full.ok()) << full.status();
    EXPECT_EQ(*full, c.full);
  }
}

TEST(NormalizeImageReference, PrefersTheDigestToTheTag) {
  const std::string digest = "@sha256:" + std::string(64, 'a');

  EXPECT_EQ(NormalizeImageReference("redis" + digest).value(), "docker.io/library/redis" + digest);
  EXPECT_EQ(NormalizeImageReference("redis:6" + digest).value(),
            "docker.io/library/redis" + digest);
}

TEST(NormalizeImageReference, RefusesWhatIsNoReference) {
  for (const char* bad :
       {"", "Redis", "a b", "x:", "x:!", "/x", "x/", "x@sha256:1", "x.", "a//b", "x:y:z"}) {
    EXPECT_FALSE(NormalizeImageReference(bad).ok()) << bad;
  }
}

}  // namespace
}  // namespace mesh::cli::local
