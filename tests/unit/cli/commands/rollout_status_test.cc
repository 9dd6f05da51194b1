// SPDX-License-Identifier: Apache-2.0
#include "cli/commands/rollout_status.h"

#include "gtest/gtest.h"
#include "tests/unit/cli/output/objects.h"

namespace mesh::cli {
namespace {

absl::StatusOr<RolloutState> Of(const std::string& status) {
  return RolloutStatus(Parse<v1::Deployment>(
      "metadata { name: 'web' generation: 2 } spec { replicas: 3 } status { " + status + " }"));
}

TEST(RolloutStatus, WaitsForTheControllerToSeeTheSpec) {
  auto state = Of("observed_generation: 1 updated_replicas: 3 available_replicas: 3 replicas: 3");

  EXPECT_EQ(state->message, "Waiting for deployment spec update to be observed...\n");
  EXPECT_FALSE(state->done);
}

TEST(RolloutStatus, CountsNewReplicasThenOldOnesThenAvailableOnes) {
  EXPECT_EQ(Of("observed_generation: 2 updated_replicas: 1 replicas: 4")->message,
            "Waiting for deployment \"web\" rollout to finish: 1 out of 3 new replicas have been "
            "updated...\n");
  EXPECT_EQ(Of("observed_generation: 2 updated_replicas: 3 replicas: 4")->message,
            "Waiting for deployment \"web\" rollout to finish: 1 old replicas are pending "
            "termination...\n");
  EXPECT_EQ(
      Of("observed_generation: 2 updated_replicas: 3 replicas: 3 available_replicas: 2")->message,
      "Waiting for deployment \"web\" rollout to finish: 2 of 3 updated replicas are "
      "available...\n");
}

TEST(RolloutStatus, IsDoneWhenAllAreAvailable) {
  auto state = Of("observed_generation: 2 updated_replicas: 3 replicas: 3 available_replicas: 3");

  EXPECT_EQ(state->message, "deployment \"web\" successfully rolled out\n");
  EXPECT_TRUE(state->done);
}

TEST(RolloutStatus, FailsPastTheProgressDeadline) {
  auto state =
      Of("observed_generation: 2 conditions { type: 'Progressing' status: 'False' reason: "
         "'ProgressDeadlineExceeded' }");

  EXPECT_EQ(state.status().message(), "deployment \"web\" exceeded its progress deadline");
}

}  // namespace
}  // namespace mesh::cli
