// SPDX-License-Identifier: Apache-2.0
// Delivers committed batches to the watches of a store, in order, on the store's loop.
//
// Thread-safe. A store calls Publish() and Add() under the lock that orders its commits: that is
// what makes a watch free of gaps.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/event_loop.h"
#include "controlplane/store/store.h"

namespace mesh::controlplane {

using SharedBatch = std::shared_ptr<const StoreBatch>;

class WatchHub {
 public:
  explicit WatchHub(EventLoop& loop);
  // REQUIRES: the loop runs no more tasks of this hub at the same time.
  ~WatchHub();

  void Publish(const SharedBatch& batch);
  // `backlog`: what was committed since the revision the watch begins at, unfiltered.
  std::unique_ptr<StoreWatch> Add(std::string_view prefix, const std::vector<SharedBatch>& backlog,
                                  std::function<void(const StoreBatch&)> on_batch);

 private:
  struct Core;
  class Watch;
  std::shared_ptr<Core> core_;
};

}  // namespace mesh::controlplane
