// SPDX-License-Identifier: Apache-2.0
#include "controlplane/inspect/node_addresses.h"

#include "fmt/format.h"

namespace mesh::controlplane {

std::optional<IpAddress> NodeAddressOf(const v1::Node& node, bool is_v4) {
  for (const v1::NodeAddress& own : node.status().addresses()) {
    const auto address = IpAddress::Parse(own.address());
    if (address.ok() && address->is_v4() == is_v4) return *address;
  }
  return std::nullopt;
}

std::optional<IpAddress> GatewayOf(const v1::Node& node, bool is_v4) {
  const auto first = [&](const std::string& text) -> std::optional<IpAddress> {
    const auto range = IpPrefix::Parse(text);
    if (!range.ok() || range->base().is_v4() != is_v4) return std::nullopt;
    return range->At(1);
  };
  for (const std::string& text : node.spec().pod_cidrs()) {
    if (const auto address = first(text)) return address;
  }
  return first(node.spec().pod_cidr());
}

const v1::Node* NodeWith(const ClusterState& state, const IpAddress& address) {
  for (const auto& [key, node] : state.nodes) {
    for (const v1::NodeAddress& own : node->status().addresses()) {
      const auto has = IpAddress::Parse(own.address());
      if (has.ok() && *has == address) return node.get();
    }
  }
  return nullptr;
}

const v1::Node* NodeWithGateway(const ClusterState& state, const IpAddress& address) {
  for (const auto& [key, node] : state.nodes) {
    if (GatewayOf(*node, address.is_v4()) == address) return node.get();
  }
  return nullptr;
}

std::optional<SeenSource> SourceSeen(const v1::Node& from, const v1::Node& asked,
                                     const std::string& backend_node, bool is_v4) {
  const bool there = backend_node == asked.metadata().name();
  const auto address = there ? NodeAddressOf(from, is_v4) : GatewayOf(asked, is_v4);
  if (!address) return std::nullopt;
  return SeenSource{.title = fmt::format("{} ({} {})", address->ToString(),
                                         there ? "node" : "the gateway of node",
                                         (there ? from : asked).metadata().name()),
                    .address = *address};
}

}  // namespace mesh::controlplane
