// SPDX-License-Identifier: Apache-2.0
// What CNI ADD made on this node and DEL has not taken away: one small file each, so that a
// restarted agent knows them, and the addresses of attachments made by hand.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/ip_address.h"

namespace mesh::agent {

struct Attachment {
  std::string container_id;
  std::string ifname;
  std::string network;  // name of the CNI network it belongs to
  std::string netns;    // as the runtime gave it
  IpAddress ip;
  IpAddress ip6;  // unset: none
  uint32_t identity = 0;
  std::string ns, pod, uid;  // empty for an attachment made by hand
  // Bits a second, 0: no limit. Of the ADD alone, not noted: the queues stay with the interface.
  uint64_t egress_bandwidth = 0, ingress_bandwidth = 0;
  friend bool operator==(const Attachment&, const Attachment&) = default;
};

// The upper sixteenth of the node's range, without the last address, is never given to a pod of the
// control plane. The lowest free address after `last` (wrapping around), so that one is not reused
// at once; nullopt when all are taken.
std::optional<IpAddress> PickManualAddress(const IpPrefix& pod_cidr,
                                           const std::set<IpAddress>& used,
                                           const std::optional<IpAddress>& last);

// Thread: the net loop.
class Attachments {
 public:
  using Key = std::pair<std::string, std::string>;  // container id, ifname

  // Reads what an earlier agent left in `dir`, which is made when missing. Files that do not parse
  // are removed and named in `*dropped`.
  static absl::StatusOr<Attachments> Open(std::string dir, std::string* dropped);

  const Attachment* Find(const std::string& container_id, const std::string& ifname) const;
  const std::map<Key, Attachment>& all() const { return all_; }
  // Written aside and renamed; not fsynced, because namespaces do not outlive the kernel either.
  absl::Status Put(const Attachment& attachment);
  // OK when there is none.
  absl::Status Remove(const std::string& container_id, const std::string& ifname);

 private:
  explicit Attachments(std::string dir) : dir_(std::move(dir)) {}
  std::string PathOf(const Key& key) const;

  std::string dir_;
  std::map<Key, Attachment> all_;
};

}  // namespace mesh::agent
