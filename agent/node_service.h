// SPDX-License-Identifier: Apache-2.0
// What the agent serves to meshd: logs, exec and rows of the kernel maps.
//
// Thread: gRPC's. Logs and exec block on files and sockets, so each call has its own thread (two
// for an exec, one per direction).
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "agent/cri/cri_client.h"
#include "agent/network/network.h"
#include "agent/pods/pod_reconciler.h"

namespace grpc {
class Service;
}

namespace mesh::agent {

struct NodeServiceHooks {
  std::function<std::shared_ptr<const PodDirectory>()> directory;                    // thread-safe
  std::function<v1::DataplaneNode(const v1::ListDataplaneRequest&)> list_dataplane;  // thread-safe
  std::function<absl::StatusOr<v1::TraceHopResponse>(const v1::TraceHopRequest&)>
      trace_hop;  // thread-safe
  std::function<absl::Status(const v1::FlowsRequest&,
                             const std::function<bool(const v1::FlowsChunk&)>& write,
                             const std::function<bool()>& cancelled)>
      flows;  // thread-safe
  std::function<absl::StatusOr<v1::ListListenersResponse>(const std::string& ns,
                                                          const std::string& pod)>
      list_listeners;                                                               // thread-safe
  std::function<absl::StatusOr<v1::ProbeResponse>(const v1::ProbeRequest&)> probe;  // thread-safe
  CriClient* cri = nullptr;
};

class NodeServer {
 public:
  // `listen`: "host:port"; port 0 takes a free one.
  // `access`: served beside it (NewAccessService), or null.
  // FAILED_PRECONDITION when the address is taken or not of this machine.
  static absl::StatusOr<std::unique_ptr<NodeServer>> Start(
      const std::string& listen, NodeServiceHooks hooks,
      std::unique_ptr<grpc::Service> access = nullptr);
  // Ends the calls that run, within a second.
  virtual ~NodeServer() = default;
  virtual int port() const = 0;
};

}  // namespace mesh::agent
