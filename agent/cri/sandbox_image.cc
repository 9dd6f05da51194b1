// SPDX-License-Identifier: Apache-2.0
#include "agent/cri/sandbox_image.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/synchronization/notification.h"

namespace mesh::agent {

// The runtime's configuration is JSON inside a text; the image is one word of it.
std::string SandboxImageName(const cri::StatusResponse& verbose_status) {
  const auto config = verbose_status.info().find("config");
  if (config == verbose_status.info().end()) return "";
  const auto json = nlohmann::json::parse(config->second, nullptr, /*allow_exceptions=*/false);
  return json.is_object() ? json.value("sandboxImage", "") : "";
}

std::string SandboxImageId(CriClient& cri) {
  absl::Notification told;
  std::string name;
  cri.VerboseStatus([&](absl::StatusOr<cri::StatusResponse> status) {
    if (status.ok()) name = SandboxImageName(*status);
    told.Notify();
  });
  told.WaitForNotification();
  if (name.empty()) return "";
  absl::Notification found;
  std::string id;
  cri.ImageStatus(name, [&](absl::StatusOr<std::optional<cri::Image>> image) {
    if (image.ok() && image->has_value()) id = (*image)->id();
    found.Notify();
  });
  found.WaitForNotification();
  return id;
}

}  // namespace mesh::agent
