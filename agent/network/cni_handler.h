// SPDX-License-Identifier: Apache-2.0
// The verbs of the CNI specification over a dataplane and the node's state. No sockets.
#pragma once

#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "agent/network/attachments.h"
#include "agent/state/node_state.h"
#include "cni/config.h"
#include "cni/protocol.h"
#include "dataplane/dataplane.h"
#include "mesh/v1/cni.pb.h"

namespace mesh::agent {

// Name of the network in the conflist that the agent installs.
inline constexpr const char* kNetworkName = "mesh";

// Who gets which address:
//  - with K8S_POD_* in CNI_ARGS: the pod of the control plane, with the address and identity that
//    the scheduler gave it; code 11 while this node has not heard of it
//  - without: an attachment made by hand, with an address of the node's reserved sixteenth and
//    kIdentityUnmanaged
// An ADD that fails leaves nothing behind. DEL never fails for what is not there.
// Thread: the net loop.
class CniHandler {
 public:
  // `attachments` outlives this.
  explicit CniHandler(Attachments* attachments) : attachments_(attachments) {}

  // The newest known state, programmed or not: pods start from it.
  void SetState(NodeStatePtr state) { state_ = std::move(state); }
  // `dataplane` outlives this. Forgets attachments whose interface did not outlive the last agent.
  absl::Status SetDataplane(dataplane::Dataplane* dataplane, const dataplane::NodeConfig& config);
  // It has changed since. REQUIRES: SetDataplane().
  void SetUplinkMtu(int mtu) { config_.uplink_mtu = mtu; }
  // Why ADD cannot be served, for STATUS; empty: it can.
  void SetNotReady(std::string why) { not_ready_ = std::move(why); }
  // Namespaces of which no pod may be attached: their isolation is not in the maps, and why.
  void SetUnwritten(std::set<std::string> namespaces, std::string why) {
    unwritten_ = std::move(namespaces);
    why_unwritten_ = std::move(why);
  }
  bool ready() const { return dataplane_ != nullptr && not_ready_.empty(); }
  // Deleting an interface takes the kernel some 30 ms, waiting for its own readers. Without this it
  // happens within Handle(); with it, DEL has `remove` do it elsewhere first and goes on when that
  // calls `done` on the loop, once the interface is not seen any more. Whether it worked makes no
  // difference: the dataplane looks.
  using RemoveLink = std::function<void(const std::string& container_id, const std::string& ifname,
                                        std::function<void()> done)>;
  void SetRemoveLink(RemoveLink remove) { remove_link_ = std::move(remove); }

  //   netns_fd  the namespace, when it came along; -1: by the path in the request
  //   reply     is called once, on the loop; only for DEL possibly after this has returned
  void Handle(const v1::CniRequest& request, int netns_fd,
              std::function<void(const v1::CniReply&)> reply);

 private:
  using MaybeError = std::optional<cni::Error>;

  void Answer(const v1::CniRequest& request, int netns_fd,
              const std::function<void(const v1::CniReply&)>& reply);
  MaybeError Dispatch(const v1::CniRequest& request, int netns_fd, std::string* result);
  MaybeError Add(const v1::CniRequest& request, const cni::NetworkConfig& config, int netns_fd,
                 std::string* result);
  MaybeError Del(const v1::CniRequest& request);
  MaybeError Check(const v1::CniRequest& request, const cni::NetworkConfig& config, int netns_fd);
  MaybeError Status() const;
  MaybeError CollectGarbage(const cni::NetworkConfig& config);

  MaybeError NotReady(uint32_t code) const;
  // Addresses, identity and names of the pod, or addresses of the reserved range.
  MaybeError Assign(const std::string& args, Attachment* out);
  MaybeError AssignPod(const std::string& who, const v1::Pod& pod, Attachment* out) const;
  MaybeError AssignManual(Attachment* out);
  // As a result and CHECK show them.
  std::vector<cni::Attachment::Address> AddressesOf(const Attachment& attachment) const;
  const v1::Pod* FindPod(const std::string& uid, const std::string& ns,
                         const std::string& name) const;
  dataplane::AttachRequest ToRequest(const Attachment& attachment, int netns_fd) const;
  absl::StatusOr<dataplane::Endpoint> Attach(const dataplane::AttachRequest& request);
  // Takes the address away from a sandbox that was never given a DEL.
  absl::Status EvictHolder(const dataplane::AttachRequest& request, bool* evicted);
  absl::Status Detach(const std::string& container_id, const std::string& ifname);
  cni::Dns PodDns(const std::string& ns) const;

  Attachments* attachments_;
  NodeStatePtr state_;
  dataplane::Dataplane* dataplane_ = nullptr;
  dataplane::NodeConfig config_;
  RemoveLink remove_link_;
  std::string not_ready_ = "the agent has no configuration from the control plane yet";
  std::set<std::string> unwritten_;
  std::string why_unwritten_;
  std::optional<IpAddress> last_manual_;
};

}  // namespace mesh::agent
