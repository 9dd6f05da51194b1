// SPDX-License-Identifier: Apache-2.0
#include "cli/commands/rollout_status.h"

#include "fmt/format.h"

namespace mesh::cli {

absl::StatusOr<RolloutState> RolloutStatus(const v1::Deployment& deployment) {
  const std::string& name = deployment.metadata().name();
  const v1::DeploymentStatus& status = deployment.status();
  if (deployment.metadata().generation() > status.observed_generation()) {
    return RolloutState{"Waiting for deployment spec update to be observed...\n", false};
  }
  for (const v1::Condition& condition : status.conditions()) {
    if (condition.type() == "Progressing" && condition.reason() == "ProgressDeadlineExceeded") {
      return absl::DeadlineExceededError(
          fmt::format("deployment \"{}\" exceeded its progress deadline", name));
    }
  }
  const std::string waiting =
      fmt::format("Waiting for deployment \"{}\" rollout to finish: ", name);
  if (status.updated_replicas() < deployment.spec().replicas()) {
    return RolloutState{
        waiting + fmt::format("{} out of {} new replicas have been updated...\n",
                              status.updated_replicas(), deployment.spec().replicas()),
        false};
  }
  if (status.replicas() > status.updated_replicas()) {
    return RolloutState{waiting + fmt::format("{} old replicas are pending termination...\n",
                                              status.replicas() - status.updated_replicas()),
                        false};
  }
  if (status.available_replicas() < status.updated_replicas()) {
    return RolloutState{
        waiting + fmt::format("{} of {} updated replicas are available...\n",
                              status.available_replicas(), status.updated_replicas()),
        false};
  }
  return RolloutState{fmt::format("deployment \"{}\" successfully rolled out\n", name), true};
}

}  // namespace mesh::cli
