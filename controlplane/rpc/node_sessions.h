// SPDX-License-Identifier: Apache-2.0
// The nodes' sync streams, without gRPC: registration, updates coalesced per node, reports,
// acknowledgements, heartbeats. The simulator drives the same class over its own network.
//
// A pod that is to stop is told so only after every connected node has acknowledged that no Service
// sends new flows to it any more (at most Options::stop_hold later): that is how rollouts and
// scale-downs lose no request.
//
// A pod that is to run is told to its node only after every connected node has acknowledged its
// identity (at most Options::identity_hold later), and so is another identity of a pod that runs:
// nothing is ever judged by one that is not known.
//
// Thread: loop only.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common/cluster_ranges.h"
#include "common/event_loop.h"
#include "controlplane/policy/policy_view.h"
#include "controlplane/rpc/node_events.h"
#include "controlplane/snapshot/cluster_view.h"
#include "controlplane/snapshot/node_snapshot.h"
#include "controlplane/snapshot/referred.h"
#include "controlplane/state/watch_cache.h"
#include "controlplane/state/writer.h"
#include "mesh/v1/node_sync.pb.h"

namespace mesh::controlplane {

// meshd's end of one stream. Neither call may call back into NodeSessions.
class NodeLink {
 public:
  virtual ~NodeLink() = default;
  // Takes one message; the next only after NodeSessions::OnSent.
  virtual void Send(v1::ControlMessage message) = 0;
  // Ends the stream; OnClosed follows.
  virtual void Close(const absl::Status& status) = 0;
};

class NodeSessions {
 public:
  struct Options {
    // As ParseClusterRanges takes them.
    std::string cluster_cidr = "10.244.0.0/16";
    std::string service_cidr = "10.96.0.0/16";
    std::string cluster_domain = "cluster.local";
    // Both inclusive.
    uint32_t node_port_first = 30000;
    uint32_t node_port_last = 32767;
    // Destinations outside the cluster that see the pods' own addresses.
    std::vector<std::string> non_masquerade_cidrs;
    // Of Services that have no annotation mesh.io/return-path.
    v1::ServiceState::ReturnPath return_path = v1::ServiceState::SNAT;
    v1::Welcome::Routing routing = v1::Welcome::VXLAN;
    // What agents are asked for.
    absl::Duration heartbeat = absl::Seconds(1);
    // How often the status of a node that has no news is written, and one whose acknowledged
    // revision has moved on.
    absl::Duration status_rest = absl::Seconds(10);
    absl::Duration ack_rest = absl::Seconds(1);
    // A node that does not acknowledge holds up the stop of a pod no longer than this.
    absl::Duration stop_hold = absl::Seconds(2);
    // And the start of a pod no longer than this: until the node knows it, the pod is to it one
    // that no policy allows.
    absl::Duration identity_hold = absl::Seconds(2);
  };
  using Id = uint64_t;

  // All outlive this. REQUIRES: the ranges parse (main.cc checked them).
  NodeSessions(EventLoop& loop, WatchCache& cache, Writer& writer, Options options);
  ~NodeSessions();

  // `link` lives until OnClosed.
  Id Open(NodeLink* link);
  void OnMessage(Id id, const v1::AgentMessage& message);
  void OnSent(Id id);
  void OnClosed(Id id);
  // Ends all streams; agents come back when meshd does.
  void CloseAll(const absl::Status& status);

  // The newest revision that the node's maps hold; 0 while it has no stream.
  Revision AckedRevision(const std::string& node) const;
  size_t connected() const { return by_node_.size(); }
  // Connected nodes that have been sent what they have not acknowledged yet, and by how many
  // revisions the slowest is behind.
  struct Lag {
    size_t nodes = 0;
    Revision revisions_max = 0;
  };
  Lag lag() const;
  bool IsConnected(const std::string& node) const { return by_node_.contains(node); }

 private:
  struct Session {
    Id id = 0;
    NodeLink* link = nullptr;
    std::string node;   // empty before Hello
    bool live = false;  // registered and welcomed
    bool sending = false;
    std::optional<v1::Welcome> welcome;  // to send
    v1::Welcome welcomed;                // the last one
    std::optional<v1::NodeUpdate> pending;
    v1::NodeUpdate pods;       // as of the last flush
    ReferredObjects referred;  // likewise
    Revision sent = 0;
    Revision acked = 0;
    // Status to write.
    std::vector<v1::Condition> conditions;
    bool status_dirty = false;
    bool status_writing = false;
    absl::Time status_written = absl::InfinitePast();
    absl::Duration status_rest = absl::InfiniteDuration();  // while status_dirty
    TimerId status_timer = 0;
  };

  void OnHello(Session& session, const v1::Hello& hello);
  void GoLive(Session& session, const v1::Node& node);
  v1::Welcome WelcomeOf(const v1::Node& node) const;
  // Welcomes the node of the change anew when what it was told of itself is no longer so. One that
  // was deleted is made to register again: nothing that it says would find its object.
  void NoteNode(const Change& change);
  // A revision is reached though a part of it never can be: what is left out is told, and nobody
  // waits for it.
  void OnAck(Session& session, const v1::Ack& ack);
  void OnReport(const Session& session, const v1::PodReport& report);
  void WriteReport(const std::string& node, const v1::PodReport& report);
  void OnVolumeReport(const Session& session, const v1::VolumeReport& report);
  void OnHeartbeat(Session& session, const v1::NodeHeartbeat& heartbeat);
  void ScheduleStatus(Session& session, absl::Duration rest);
  void WriteStatus(Id id);
  bool IsDoubted(const std::string& node) const;

  // A pod that is to stop and whose node does not know yet.
  struct Held {
    std::string node;
    std::vector<std::string> ips;
    absl::Time until;
    Revision quiet_since = 0;  // no Service sends it new flows since this; 0: some still do
    TimerId timer = 0;
  };
  // What nodes have been told and not all of them have acknowledged.
  struct Introduced {
    Revision revision = 0;
    absl::Time until;
  };
  using NodePods = std::map<ObjectKey, std::shared_ptr<const v1::Pod>>;

  void OnChanges(const ChangeBatch& batch);
  void NotePod(const Change& change);
  void NoteReferred(const Change& change);
  void PostFlush();
  void Flush();
  void ReleaseHeld();
  // Remembers what `shared` tells of identities and pods for the first time.
  void Introduce(const v1::NodeUpdate& shared);
  // Forgets what all nodes know by now; their pods are told.
  void ReleaseIntroduced();
  // The identity of the pod that its node may hear of; 0: none yet.
  uint32_t IdentityToTell(const v1::Pod& pod) const;
  bool IsIntroducing() const { return !new_identities_.empty() || !new_addresses_.empty(); }
  void ScheduleLook();
  bool AllAcked(Revision revision) const;
  v1::NodeUpdate PodPart(const std::string& node);
  void SendNext(Session& session);

  EventLoop& loop_;
  WatchCache& cache_;
  Writer& writer_;
  const Options options_;
  const ClusterRanges ranges_;
  Id next_id_ = 1;
  std::map<Id, Session> sessions_;
  std::map<std::string, Id> by_node_;
  NodeEvents events_;
  // What all live sessions have been given, or have in `pending`.
  ClusterView view_;
  PolicyView policies_;
  std::set<uint32_t> known_identities_;
  std::map<uint32_t, Introduced> new_identities_;
  std::map<std::string, Introduced> new_addresses_;  // of pods
  std::map<std::string, std::string> waiting_;       // uids of pods, with their nodes
  std::map<std::string, uint32_t> told_;             // identities of pods, by uid
  TimerId look_timer_ = 0;
  // Reports of pods, by uid, one on its way at a time: each is compared with what is stored, which
  // the one before may be about to change. With the newest that waits, and its node.
  std::map<std::string, std::optional<std::pair<std::string, v1::PodReport>>> reports_;
  Revision flushed_ = 0;  // what view_ and all Session::pods reflect
  bool flush_posted_ = false;
  std::map<std::string, NodePods> pods_;
  ReferenceIndex references_;         // of pods_
  std::map<std::string, Held> held_;  // by uid
  std::set<std::string> dirty_nodes_;
  WatchCache::Subscription subscription_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace mesh::controlplane
