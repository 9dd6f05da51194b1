// SPDX-License-Identifier: Apache-2.0
// Network::Start over any dataplane; tests give a fake one.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "agent/network/desired_state.h"
#include "agent/network/network.h"
#include "common/unique_fd.h"
#include "dataplane/dataplane.h"

namespace mesh::agent {

struct DataplaneSource {
  // FAILED_PRECONDITION with the way out when a dataplane cannot be had on this machine at all.
  std::function<absl::Status()> probe;
  // Called on the net thread as soon as the node's ranges are known.
  std::function<absl::StatusOr<std::unique_ptr<dataplane::Dataplane>>(const dataplane::NodeConfig&)>
      open;
  // Whether an agent before this one has left programs that forward. Null: none ever has.
  std::function<bool()> left_behind;
  // Of the resolver on the gateway address.
  uint16_t resolver_port = 53;
  // Deletes the pod's interface, if it is there; called on several threads. Calls `gone` once, on
  // any thread, when it is there no more or cannot be deleted, while the kernel may still be busy
  // with it. Null: the dataplane's Detach does, on the net thread.
  std::function<absl::Status(const std::string& container_id, const std::string& ifname,
                             const std::function<void()>& gone)>
      remove_link;
  // The interface that carries NetworkOptions::node_ip.
  std::function<absl::StatusOr<Uplink>()> uplink;
  // Its MTU as it is now. Called when `link_events` is readable: when a link of the node has
  // changed; null: nobody follows it.
  std::function<absl::StatusOr<int>(const std::string& uplink)> uplink_mtu;
  std::function<absl::StatusOr<UniqueFd>()> link_events;
  // Who listens in the node's network namespace. Called while Services name external addresses:
  // every NetworkOptions::quota_interval, and when one does so anew. Null: nobody.
  std::function<absl::StatusOr<NodeListeners>()> listeners;
  // Tells the neighbours on `uplink` that these addresses are here. Null: nobody is told.
  std::function<absl::Status(const std::string& uplink, const std::vector<IpAddress>& addresses)>
      announce;
};

absl::StatusOr<std::unique_ptr<Network>> StartNetwork(NetworkOptions options, NodeStatePtr initial,
                                                      DataplaneSource source);

}  // namespace mesh::agent
