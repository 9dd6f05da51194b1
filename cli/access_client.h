// SPDX-License-Identifier: Apache-2.0
// meshctl's side of mesh.v1.Access: streams, ports, use and images. Over a connection of its own to
// the server that a ControlClient has found.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "cli/client.h"
#include "mesh/v1/access.pb.h"

namespace mesh::cli {

// Thread-safe. Errors as those of ControlClient.
class AccessClient {
 public:
  // `server`: ControlClient::server().
  static std::unique_ptr<AccessClient> New(const std::string& server);
  virtual ~AccessClient() = default;

  // An output without a value says that the pod has ended its direction.
  virtual absl::StatusOr<std::unique_ptr<ExecStream>> Stream(const v1::StreamStart& start) = 0;
  virtual absl::StatusOr<v1::StatsResponse> Stats(const v1::StatsRequest& request) = 0;
  virtual absl::StatusOr<v1::ListImagesResponse> ListImages(
      const v1::ListImagesRequest& request) = 0;
  virtual absl::StatusOr<v1::RemoveImageResponse> RemoveImage(
      const v1::RemoveImageRequest& request) = 0;
  // `next` gives the archive piece by piece, an empty one at its end.
  virtual absl::StatusOr<v1::LoadImageOutput> LoadImage(
      const std::string& node, const std::function<absl::StatusOr<std::string>()>& next) = 0;
};

}  // namespace mesh::cli
