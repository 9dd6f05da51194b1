// SPDX-License-Identifier: Apache-2.0
#include "controlplane/rpc/status.h"

#include <string>

namespace mesh::controlplane {

absl::Status InvalidObjects(const v1::ValidationFailure& failure, std::string_view message) {
  absl::Status status = absl::InvalidArgumentError(std::string(message));
  status.SetPayload(kValidationPayload, absl::Cord(failure.SerializeAsString()));
  return status;
}

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  std::string details;
  if (auto payload = status.GetPayload(kValidationPayload)) details = std::string(*payload);
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()),
                      details);
}

}  // namespace mesh::controlplane
