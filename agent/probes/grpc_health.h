// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "agent/probes/probe_client.h"

namespace mesh::agent {

// Asks gRPC servers about their health, each time over a connection of its own, as kubelet does.
// Thread-safe. The destructor cancels what is under way and waits for it; it must not run on a
// thread of gRPC.
class GrpcHealth {
 public:
  GrpcHealth();
  ~GrpcHealth();
  // `address`: "10.0.0.7:9090", "[fd00::7]:9090".
  void Check(const std::string& address, const std::string& service, absl::Duration timeout,
             ProbeClient::Done done);
  // Frees what has ended; on no thread of gRPC: the last of a channel waits for them.
  void Sweep();

 private:
  struct Shared;
  const std::shared_ptr<Shared> shared_;
};

}  // namespace mesh::agent
