// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/status.h"
#include "grpcpp/support/status.h"
#include "mesh/v1/control.pb.h"

namespace mesh::controlplane {

// Payload of an INVALID_ARGUMENT: the bytes of mesh.v1.ValidationFailure. They travel as the error
// details of the gRPC status.
inline constexpr char kValidationPayload[] = "mesh.v1.ValidationFailure";

absl::Status InvalidObjects(const v1::ValidationFailure& failure, std::string_view message);

// The codes are the same numbers.
grpc::Status ToGrpc(const absl::Status& status);

}  // namespace mesh::controlplane
