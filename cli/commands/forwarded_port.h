// SPDX-License-Identifier: Apache-2.0
// What `meshctl port-forward` is asked for; pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "mesh/v1/core.pb.h"
#include "mesh/v1/pod.pb.h"

namespace mesh::cli {

// "8080:80", "8080:http", "80" (both), ":80" (any free one here: local 0). `remote` is a number or
// a name.
struct ForwardedPort {
  uint16_t local = 0;
  std::string remote;
  friend bool operator==(const ForwardedPort&, const ForwardedPort&) = default;
};
absl::StatusOr<ForwardedPort> ParseForwardedPort(const std::string& text);

// The port of the pod that is meant: a number as it is, a name as one of its containers' ports.
absl::StatusOr<uint16_t> PodPort(const v1::Pod& pod, const std::string& port);
// The same for a port of a Service: its targetPort in that pod.
absl::StatusOr<uint16_t> ServicePodPort(const v1::Service& service, const v1::Pod& pod,
                                        const std::string& port);
// Where "80" alone would listen here for a Service whose port 80 has a name: 80; of a name the
// number it stands for.
absl::StatusOr<uint16_t> ServicePortNumber(const v1::Service& service, const std::string& port);

// "localhost" is both loopback addresses. INVALID_ARGUMENT for what is no address.
absl::StatusOr<std::vector<std::string>> ListenAddresses(const std::vector<std::string>& flags);

}  // namespace mesh::cli
