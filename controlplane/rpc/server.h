// SPDX-License-Identifier: Apache-2.0
// The gRPC server of meshd: its addresses, limits and keepalives.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace grpc {
class Service;
}

namespace mesh::controlplane {

class RpcServer {
 public:
  struct Options {
    std::vector<std::string> listen;  // "host:port", "[v6]:port"; port 0 picks a free one
    std::string unix_socket;          // path; empty: none. Mode 0600; a dead one is replaced.
  };
  // The services outlive the server. FAILED_PRECONDITION `cannot listen on 10.0.0.1:6440: Address
  // already in use`.
  static absl::StatusOr<std::unique_ptr<RpcServer>> Start(
      const Options& options, const std::vector<grpc::Service*>& services);
  virtual ~RpcServer() = default;

  // As bound, in the order of Options::listen.
  virtual std::vector<int> ports() const = 0;
  // Takes no more calls, cancels those that have not ended within `patience`, returns when all
  // have.
  virtual void Shutdown(absl::Duration patience) = 0;
};

}  // namespace mesh::controlplane
