// SPDX-License-Identifier: Apache-2.0
#include "controlplane/rpc/flows_proxy.h"

#include <grpcpp/alarm.h>

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "api/schema/schema.h"
#include "controlplane/rpc/status.h"
#include "fmt/format.h"
#include "grpcpp/client_context.h"

namespace mesh::controlplane {
namespace {

constexpr absl::Duration kAgain = absl::Seconds(1);
constexpr absl::Duration kNamesLast = absl::Seconds(1);

using Namer = std::function<void(v1::FlowEnd&)>;

// The server side, and a client side for each node. Ends when no client side is left.
class FlowsProxy : public grpc::ServerWriteReactor<v1::FlowsChunk> {
 public:
  FlowsProxy(NodeChannels& channels, const std::vector<std::string>& nodes,
             const v1::FlowsRequest& request, FlowFilter filter, Namer name)
      : channels_(channels),
        request_(request),
        filter_(std::move(filter)),
        name_(std::move(name)),
        left_(nodes.size() + 1) {
    for (const std::string& node : nodes)
      nodes_.push_back(std::make_unique<NodeStream>(this, node));
    for (const auto& node : nodes_) node->Dial();
    OneLess();  // all are counted
  }

  void OnWriteDone(bool) override {
    NodeStream* from;
    {
      absl::MutexLock lock(&mutex_);
      from = pending_.front().from;
      pending_.pop_front();
      writing_ = false;
    }
    if (from != nullptr) from->ReadOn();
    WriteNext();
  }
  void OnCancel() override { CancelAll(grpc::Status::CANCELLED); }
  void OnDone() override { delete this; }

 private:
  // The stream of one node, dialled again when it ends while the flows are followed.
  class NodeStream {
   public:
    NodeStream(FlowsProxy* proxy, std::string node) : proxy_(proxy), node_(std::move(node)) {}

    void Dial() {
      absl::StatusOr<NodeChannels::Target> target = proxy_->channels_.ForNode(node_);
      if (!target.ok()) return Failed(ToGrpc(target.status()));
      auto call = std::make_unique<Call>(this);
      Call* const begun = call.get();
      begun->stub = target->stub;
      {
        absl::MutexLock lock(&proxy_->mutex_);
        if (proxy_->cancelled_) begun->context.TryCancel();
        call_ = std::move(call);
      }
      begun->stub->async()->Flows(&begun->context, &proxy_->request_, begun);
      begun->StartRead(&begun->chunk);
      begun->StartCall();
    }
    // The chunk before is written: on from the server's side.
    void ReadOn() {
      call_->StartRead(&call_->chunk);
      call_->RemoveHold();
    }
    void CancelLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(proxy_->mutex_) {
      if (call_ != nullptr) call_->context.TryCancel();
      alarm_.Cancel();
    }

   private:
    struct Call : public grpc::ClientReadReactor<v1::FlowsChunk> {
      explicit Call(NodeStream* s) : stream(s) {}
      void OnReadDone(bool ok) override {
        if (ok) stream->Came();
      }
      void OnDone(const grpc::Status& status) override { stream->Failed(status); }

      NodeStream* const stream;
      std::shared_ptr<v1::NodeService::Stub> stub;
      grpc::ClientContext context;
      v1::FlowsChunk chunk;
    };

    void Came() {
      said_.clear();
      v1::FlowsChunk chunk = std::move(call_->chunk);
      chunk.set_node(node_);
      const bool first = !std::exchange(came_, true);
      proxy_->Shape(&chunk);
      const bool empty = chunk.flows().empty() && !chunk.has_lost() && !chunk.more();
      if (empty && !first) return call_->StartRead(&call_->chunk);
      call_->AddHold();
      proxy_->Enqueue(this, std::move(chunk));
    }

    // The call is over, or could not be made.
    void Failed(const grpc::Status& status) {
      bool again = proxy_->NodeFailed(node_, status, came_, &said_);
      if (again) {
        absl::MutexLock lock(&proxy_->mutex_);
        again = !proxy_->cancelled_;
        if (again) {
          alarm_.Set(absl::ToChronoTime(absl::Now() + kAgain), [this](bool due) {
            if (due) return Dial();
            proxy_->OneLess();
          });
        }
      }
      // The last thing that is done here: the proxy may end with it.
      if (!again) proxy_->OneLess();
    }

    FlowsProxy* const proxy_;
    const std::string node_;
    std::unique_ptr<Call> call_;  // of the present try
    grpc::Alarm alarm_;
    bool came_ = false;
    std::string said_;  // the failure that was told
  };
  struct Pending {
    NodeStream* from;  // null: an error
    v1::FlowsChunk chunk;
  };

  // Names, and what of the flows is asked for.
  void Shape(v1::FlowsChunk* chunk) const {
    auto* flows = chunk->mutable_flows();
    for (v1::Flow& flow : *flows) {
      name_(*flow.mutable_source());
      name_(*flow.mutable_destination());
    }
    flows->erase(std::remove_if(flows->begin(), flows->end(),
                                [&](const v1::Flow& flow) {
                                  return filter_.Matches(flow) != FlowFilter::Match::kYes;
                                }),
                 flows->end());
  }

  void Enqueue(NodeStream* from, v1::FlowsChunk chunk) {
    {
      absl::MutexLock lock(&mutex_);
      pending_.push_back({from, std::move(chunk)});
    }
    WriteNext();
  }

  // If nothing is being written: the next chunk, or the end when there is none to come.
  void WriteNext() {
    const v1::FlowsChunk* chunk = nullptr;
    {
      absl::MutexLock lock(&mutex_);
      if (writing_ || finished_ || (pending_.empty() && left_ > 0)) return;
      if (pending_.empty()) {
        finished_ = true;
      } else {
        writing_ = true;
        chunk = &pending_.front().chunk;
      }
    }
    if (chunk != nullptr) {
      StartWrite(chunk);
    } else {
      Finish(status_);
    }
  }

  // Whether the node is to be asked again.
  bool NodeFailed(const std::string& node, const grpc::Status& status, bool came,
                  std::string* said) {
    if (status.ok() && !request_.follow()) return false;  // it has told all
    grpc::Status named = status;
    const bool gone = status.error_code() == grpc::StatusCode::UNAVAILABLE ||
                      status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED || status.ok();
    if (gone) {
      named =
          grpc::Status(grpc::StatusCode::UNAVAILABLE,
                       fmt::format("node \"{}\": its agent does not answer: {}", node,
                                   status.ok() ? "it has ended the call" : status.error_message()));
    }
    {
      absl::MutexLock lock(&mutex_);
      if (cancelled_) return false;
    }
    // The one that is asked; once it has told something its agent may come back.
    const bool only = !request_.node().empty() && !(came && gone);
    if (only || named.error_code() == grpc::StatusCode::INVALID_ARGUMENT) {
      CancelAll(named);
      return false;
    }
    if (*said != named.error_message()) {
      *said = named.error_message();
      v1::FlowsChunk chunk;
      chunk.set_node(node);
      chunk.set_error(named.error_message());
      Enqueue(nullptr, std::move(chunk));
    }
    return request_.follow() && named.error_code() != grpc::StatusCode::NOT_FOUND;
  }

  void CancelAll(const grpc::Status& status) {
    absl::MutexLock lock(&mutex_);
    if (std::exchange(cancelled_, true)) return;
    status_ = status;
    for (const auto& node : nodes_) node->CancelLocked();
  }

  void OneLess() {
    {
      absl::MutexLock lock(&mutex_);
      if (--left_ > 0) return;
    }
    WriteNext();
  }

  NodeChannels& channels_;
  const v1::FlowsRequest request_;
  const FlowFilter filter_;
  const Namer name_;
  std::vector<std::unique_ptr<NodeStream>> nodes_;
  absl::Mutex mutex_;
  std::deque<Pending> pending_ ABSL_GUARDED_BY(mutex_);  // the first is being written
  size_t left_ ABSL_GUARDED_BY(mutex_);                  // nodes, and one while they are dialled
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  grpc::Status status_;  // written before the last node is done
};

// By address; made anew when it is older than kNamesLast.
class PodNames {
 public:
  explicit PodNames(const WatchCache& cache) : cache_(cache) {}

  void Name(v1::FlowEnd& end) {
    if (!end.pod().empty() || !end.node().empty() || end.address().empty()) return;
    std::shared_ptr<const ByAddress> names = Fresh();
    const auto it = names->find(end.address());
    if (it == names->end()) return;
    end.set_namespace_(it->second.ns);
    end.set_pod(it->second.name);
  }

 private:
  using ByAddress = std::map<std::string, ObjectKey>;

  std::shared_ptr<const ByAddress> Fresh() {
    absl::MutexLock lock(&mutex_);
    const absl::Time now = absl::Now();
    if (names_ != nullptr && now < until_) return names_;
    auto fresh = std::make_shared<ByAddress>();
    for (const auto& pod : cache_.List(v1::KIND_POD, "").items) {
      const v1::ObjectMeta& meta = MetaOf(*pod);
      const ObjectKey key{meta.namespace_(), meta.name()};
      (*fresh)[pod->pod().status().pod_ip()] = key;
      for (const v1::PodIP& ip : pod->pod().status().pod_ips()) (*fresh)[ip.ip()] = key;
    }
    names_ = std::move(fresh);
    until_ = now + kNamesLast;
    return names_;
  }

  const WatchCache& cache_;
  absl::Mutex mutex_;
  std::shared_ptr<const ByAddress> names_ ABSL_GUARDED_BY(mutex_);
  absl::Time until_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
};

class Refusal : public grpc::ServerWriteReactor<v1::FlowsChunk> {
 public:
  explicit Refusal(const absl::Status& status) { Finish(ToGrpc(status)); }
  void OnDone() override { delete this; }
};

}  // namespace

std::function<void(v1::FlowEnd&)> FlowEndNamer(const WatchCache& cache) {
  return [names = std::make_shared<PodNames>(cache)](v1::FlowEnd& end) { names->Name(end); };
}

grpc::ServerWriteReactor<v1::FlowsChunk>* ProxyFlows(NodeChannels& channels,
                                                     std::vector<std::string> nodes,
                                                     const v1::FlowsRequest& request,
                                                     std::function<void(v1::FlowEnd&)> name) {
  absl::StatusOr<FlowFilter> filter = FlowFilter::Parse(request.filter());
  if (!filter.ok()) return new Refusal(filter.status());
  return new FlowsProxy(channels, nodes, request, *std::move(filter), std::move(name));
}

}  // namespace mesh::controlplane
