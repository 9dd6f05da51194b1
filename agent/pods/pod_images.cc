// SPDX-License-Identifier: Apache-2.0
// How PodReconciler gets the image of a container: what the pull policy asks for, as whom the pod's
// pull secrets say. Pulls hold no slot: several go on at once, and hold up no start of others.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "agent/pods/pod_tracked.h"
#include "agent/pods/pull_secrets.h"

namespace mesh::agent {
namespace {

std::string PullPolicy(const v1::Container& container) {
  if (!container.image_pull_policy().empty()) return container.image_pull_policy();
  const std::string& image = container.image();
  if (image.find('@') != std::string::npos) return "IfNotPresent";
  const size_t slash = image.rfind('/');
  const size_t colon = image.rfind(':');
  const bool tagged = colon != std::string::npos && (slash == std::string::npos || colon > slash);
  return !tagged || image.substr(colon + 1) == "latest" ? "Always" : "IfNotPresent";
}

}  // namespace

struct PodReconciler::Pull {
  std::string uid;
  RunContainer action;
  std::string image;
  absl::Time begun;
  std::vector<cri::AuthConfig> tries;
  size_t next = 0;
  std::vector<std::string> errors;  // each once
};

void PodReconciler::CheckImage(const std::string& uid, const RunContainer& action) {
  Tracked* t = Find(uid);
  const v1::Container* spec = t == nullptr ? nullptr : FindContainer(*t->pod, action.name);
  if (spec == nullptr) return Finish(uid, RunKey(action.name));
  const std::string image = spec->image();
  if (absl::Status valid = CheckImageReference(image); !valid.ok()) {
    Emit(*t, "Warning", "InspectFailed", Text(valid));
    Emit(*t, "Warning", "Failed", "Error: InvalidImageName");
    return StartFailed(uid, action.name, "InvalidImageName", Text(valid), kPullDelayFirst,
                       kPullDelayMax);
  }
  const std::string policy = PullPolicy(*spec);
  if (policy == "Always") return PullImage(uid, action, image);
  auto done = [this, uid, action, image,
               policy](const absl::StatusOr<std::optional<cri::Image>>& present) {
    if (!present.ok()) {
      return StartFailed(uid, action.name, "ImageInspectError", Text(present.status()),
                         kCreateDelayFirst, kPullDelayMax);
    }
    if (present->has_value()) return ImagePresent(uid, action, image, (*present)->id());
    if (policy != "Never") return PullImage(uid, action, image);
    const std::string why =
        fmt::format("Container image \"{}\" is not present with pull policy of Never", image);
    if (Tracked* found = Find(uid)) {
      Emit(*found, "Warning", "ErrImageNeverPull", why);
      Emit(*found, "Warning", "Failed", "Error: ErrImageNeverPull");
    }
    StartFailed(uid, action.name, "ErrImageNeverPull", why, kPullDelayFirst, kPullDelayMax);
  };
  cri_->ImageStatus(image, Posted(done));
}

void PodReconciler::ImagePresent(const std::string& uid, const RunContainer& action,
                                 const std::string& image, const std::string& image_ref) {
  if (Tracked* t = Find(uid)) {
    Emit(*t, "Normal", "Pulled",
         fmt::format("Container image \"{}\" already present on machine", image));
  }
  CreateContainer(uid, action, image_ref);
}

void PodReconciler::PullImage(const std::string& uid, const RunContainer& action,
                              const std::string& image) {
  Tracked* t = Find(uid);
  if (t == nullptr || t->ending()) return Finish(uid, RunKey(action.name));
  Emit(*t, "Normal", "Pulling", fmt::format("Pulling image \"{}\"", image));
  auto pull = std::make_shared<Pull>();
  pull->uid = uid;
  pull->action = action;
  pull->image = image;
  pull->begun = loop_->Now();
  const absl::StatusOr<PullCredentials> credentials = CredentialsFor(*t->pod, image, *state_);
  if (!credentials.ok()) return PullFailed(*pull, Text(credentials.status()));
  if (!credentials->missing.empty()) {
    Emit(*t, "Warning", "FailedToRetrieveImagePullSecret",
         fmt::format("Unable to retrieve some image pull secrets ({}); attempting to pull the "
                     "image may not succeed.",
                     fmt::join(credentials->missing, ", ")));
  }
  pull->tries = credentials->tries;
  if (pull->tries.empty()) pull->tries.emplace_back();
  NextTry(std::move(pull));
}

void PodReconciler::NextTry(std::shared_ptr<Pull> pull) {
  Tracked* t = Find(pull->uid);
  if (t == nullptr || t->ending()) return Finish(pull->uid, RunKey(pull->action.name));
  auto done = [this, pull](const absl::StatusOr<std::string>& ref) {
    Tracked* found = Find(pull->uid);
    if (found == nullptr) return;
    found->cancel_pull = nullptr;
    if (ref.ok()) {
      Emit(*found, "Normal", "Pulled",
           fmt::format("Successfully pulled image \"{}\" in {}ms", pull->image,
                       absl::ToInt64Milliseconds(loop_->Now() - pull->begun)));
      return CreateContainer(pull->uid, pull->action, *ref);
    }
    if (found->ending() || !runtime_up_) return Finish(pull->uid, RunKey(pull->action.name));
    std::string why = Text(ref.status());
    if (std::find(pull->errors.begin(), pull->errors.end(), why) == pull->errors.end())
      pull->errors.push_back(std::move(why));
    if (++pull->next < pull->tries.size()) return NextTry(pull);
    PullFailed(*pull, pull->errors.size() == 1
                          ? pull->errors.front()
                          : fmt::format("[{}]", fmt::join(pull->errors, ", ")));
  };
  t->cancel_pull = cri_->PullImage(pull->image, BuildSandboxConfig(*t->pod, 0, ConfigOptions()),
                                   pull->tries[pull->next], Posted(done));
}

void PodReconciler::PullFailed(const Pull& pull, const std::string& why) {
  if (Tracked* t = Find(pull.uid)) {
    Emit(*t, "Warning", "Failed", fmt::format("Failed to pull image \"{}\": {}", pull.image, why));
    Emit(*t, "Warning", "Failed", "Error: ErrImagePull");
    Emit(*t, "Normal", "BackOff", fmt::format("Back-off pulling image \"{}\"", pull.image));
    Emit(*t, "Warning", "Failed", "Error: ImagePullBackOff");
  }
  StartFailed(pull.uid, pull.action.name, "ErrImagePull", why, kPullDelayFirst, kPullDelayMax);
}

}  // namespace mesh::agent
