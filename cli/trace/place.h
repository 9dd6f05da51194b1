// SPDX-License-Identifier: Apache-2.0
// Who sends a packet that is to be traced, and to whom: FROM and TO of `meshctl trace`.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/client.h"
#include "common/ip_address.h"
#include "mesh/v1/control.pb.h"

namespace mesh::cli {

struct TraceOrigin {
  enum class Kind : uint8_t { kPod, kNode, kOutside };
  Kind kind = Kind::kPod;
  std::string node;            // where the packet comes in
  std::vector<IpAddress> ips;  // that it may come from; none: "outside"
  std::string text;            // "pod shop/web", "node n1", "outside 198.51.100.7"
};

struct TraceAim {
  std::vector<IpAddress> ips;  // one of each family at most
  uint16_t port = 0;           // 0: none was said
  std::string text;            // "Service pay/api", "pod pay/api-1", "10.96.0.10"
};

// FROM: a pod ("NAME", "NS/NAME", "TYPE/NAME" as exec takes it), "node/NAME", an address of a pod
// or node, or with `via` (the node that receives it) one outside of the cluster, or "outside".
// NOT_FOUND, INVALID_ARGUMENT.
absl::StatusOr<TraceOrigin> FindOrigin(std::string_view word, const std::string& ns,
                                       const std::string& via, ControlClient& client);

// TO: "svc/NAME", "pod/NAME", "NS/NAME" (a Service, else a pod), the DNS name of a Service
// ("NAME.NS", "NAME.NS.svc..."), an address; all with ":PORT" behind it, of a Service also the
// port's name. A Service with one port of `protocol` needs none.
absl::StatusOr<TraceAim> FindAim(std::string_view word, const std::string& ns,
                                 const std::string& protocol, ControlClient& client);

// All of the cluster's.
absl::StatusOr<std::vector<v1::Node>> ListNodes(ControlClient& client);
// Its addresses ("InternalIP").
std::vector<IpAddress> AddressesOf(const v1::Node& node);

}  // namespace mesh::cli
