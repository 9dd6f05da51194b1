// SPDX-License-Identifier: Apache-2.0
// What nodes' agents have to tell, as events of the objects that it is about. What several nodes
// tell of one object in the same words is told once, and what lasts is told again from time to
// time: events do not last.
//
// Thread: loop only.
#pragma once

#include <map>
#include <string>

#include "common/event_loop.h"
#include "controlplane/state/watch_cache.h"
#include "controlplane/state/writer.h"
#include "mesh/v1/node_sync.pb.h"

namespace mesh::controlplane {

class NodeEvents {
 public:
  // All outlive this.
  NodeEvents(EventLoop& loop, WatchCache& cache, Writer& writer)
      : loop_(loop), cache_(cache), writer_(writer) {}

  // Of a Service or policy that is gone: nothing.
  void Note(const std::string& node, const v1::NodeEvent& event);
  // What the node's maps cannot hold, with each revision; empty: they hold all.
  void NoteShortfall(const std::string& node, const std::string& error);
  // Its agent has left: what the next one says is news.
  void ForgetShortfall(const std::string& node) { shortfalls_.erase(node); }

 private:
  // Whether it is news of the object: many nodes tell the same, and each of them what only it has
  // (a port that a process of it listens on).
  bool IsNews(const ObjectKey& object, const std::string& node, const std::string& message);

  // Who tells this of an object, and when he did last.
  struct Teller {
    std::string node;
    absl::Time told;
  };
  using Tellers = std::map<std::string, Teller>;  // by message
  struct Shortfall {
    std::string error;
    absl::Time told = absl::InfinitePast();
  };

  EventLoop& loop_;
  WatchCache& cache_;
  Writer& writer_;
  std::map<ObjectKey, Tellers> tellers_;
  absl::Time tellers_cleared_ = absl::InfinitePast();
  std::map<std::string, Shortfall> shortfalls_;  // by node
};

}  // namespace mesh::controlplane
