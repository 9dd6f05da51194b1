// SPDX-License-Identifier: Apache-2.0
#include "controlplane/rpc/node_proxy.h"

#include <atomic>
#include <chrono>
#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "controlplane/rpc/status.h"
#include "controlplane/rpc/stream_proxy.h"
#include "fmt/format.h"
#include "grpcpp/client_context.h"

namespace mesh::controlplane {

grpc::Status NamedStatus(const std::string& node, const grpc::Status& status) {
  if (status.error_code() == grpc::StatusCode::UNAVAILABLE ||
      status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) {
    return grpc::Status(
        grpc::StatusCode::UNAVAILABLE,
        fmt::format("node \"{}\": its agent does not answer: {}", node, status.error_message()));
  }
  return status;
}

namespace {

constexpr std::chrono::seconds kListDeadline{5};

// Server side and client side of one Logs call; a chunk is read only when the one before is
// written.
class LogsProxy : public grpc::ServerWriteReactor<v1::LogsChunk> {
 public:
  LogsProxy(absl::StatusOr<NodeChannels::Target> target, const v1::LogsRequest& request)
      : request_(request), reader_(this) {
    if (!target.ok()) {
      Finish(ToGrpc(target.status()));
      return;
    }
    target_ = *std::move(target);
    target_.stub->async()->Logs(&context_, &request_, &reader_);
    reader_.StartRead(&chunk_);
    reader_.StartCall();
  }

  void OnWriteDone(bool ok) override {
    if (ok) {
      reader_.StartRead(&chunk_);
    } else {
      context_.TryCancel();
    }
    reader_.RemoveHold();
  }
  void OnCancel() override { context_.TryCancel(); }
  void OnDone() override { delete this; }

 private:
  class Reader : public grpc::ClientReadReactor<v1::LogsChunk> {
   public:
    explicit Reader(LogsProxy* proxy) : proxy_(proxy) {}
    void OnReadDone(bool ok) override {
      if (ok) proxy_->Forward();
    }
    void OnDone(const grpc::Status& status) override { proxy_->NodeDone(status); }

   private:
    LogsProxy* proxy_;
  };

  // The hold keeps the node's side from ending while the write is on its way.
  void Forward() {
    reader_.AddHold();
    StartWrite(&chunk_);
  }
  void NodeDone(const grpc::Status& status) { Finish(NamedStatus(target_.node, status)); }

  const v1::LogsRequest request_;
  NodeChannels::Target target_;
  grpc::ClientContext context_;
  v1::LogsChunk chunk_;
  Reader reader_;
};

// One ListDataplane to many nodes; the last answer completes it.
struct Gathering {
  struct Part {
    grpc::ClientContext context;
    v1::ListDataplaneResponse response;
    grpc::Status status;
  };

  Gathering(std::vector<std::string> n, const v1::ListDataplaneRequest& r)
      : nodes(std::move(n)), request(r), parts(nodes.size()) {
    for (auto& part : parts) part = std::make_unique<Part>();
  }

  void PartDone() {
    if (left.fetch_sub(1) != 1) return;
    v1::ListDataplaneResponse out;
    for (size_t i = 0; i < nodes.size(); ++i) {
      if (!parts[i]->status.ok()) {
        v1::DataplaneNode* node = out.add_nodes();
        node->set_node(nodes[i]);
        node->set_error(parts[i]->status.error_message());
        continue;
      }
      for (v1::DataplaneNode& node : *parts[i]->response.mutable_nodes()) {
        if (node.node().empty()) node.set_node(nodes[i]);
        *out.add_nodes() = std::move(node);
      }
    }
    if (!request.node().empty() && !parts[0]->status.ok()) {
      const grpc::Status& status = parts[0]->status;
      done(
          absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message()));
    } else {
      done(std::move(out));
    }
  }

  const std::vector<std::string> nodes;  // in the order of the answer
  const v1::ListDataplaneRequest request;
  std::vector<std::unique_ptr<Part>> parts;
  std::atomic<size_t> left;
  std::function<void(absl::StatusOr<v1::ListDataplaneResponse>)> done;
};

}  // namespace

void ProxyListDataplane(NodeChannels& channels, std::vector<std::string> nodes,
                        const v1::ListDataplaneRequest& request,
                        std::function<void(absl::StatusOr<v1::ListDataplaneResponse>)> done) {
  if (nodes.empty()) return done(v1::ListDataplaneResponse());
  auto gathering = std::make_shared<Gathering>(std::move(nodes), request);
  gathering->done = std::move(done);
  gathering->left = gathering->nodes.size();
  for (size_t i = 0; i < gathering->nodes.size(); ++i) {
    Gathering::Part& part = *gathering->parts[i];
    const std::string& node = gathering->nodes[i];
    absl::StatusOr<NodeChannels::Target> target = channels.ForNode(node);
    if (!target.ok()) {
      part.status = ToGrpc(target.status());
      gathering->PartDone();
      continue;
    }
    part.context.set_deadline(std::chrono::system_clock::now() + kListDeadline +
                              std::chrono::milliseconds(request.measure_ms()));
    target->stub->async()->ListDataplane(
        &part.context, &gathering->request, &part.response,
        [gathering, &part, &node, stub = target->stub](const grpc::Status& status) {
          part.status = NamedStatus(node, status);
          gathering->PartDone();
        });
  }
}

void ProxyTraceHop(NodeChannels& channels, const v1::TraceHopRequest& request,
                   std::function<void(absl::StatusOr<v1::TraceHopResponse>)> done) {
  struct Asked {
    grpc::ClientContext context;
    v1::TraceHopRequest request;
    v1::TraceHopResponse response;
    NodeChannels::Target target;
  };
  if (request.node().empty()) return done(absl::InvalidArgumentError("trace: no node"));
  absl::StatusOr<NodeChannels::Target> target = channels.ForNode(request.node());
  if (!target.ok()) return done(target.status());
  auto asked = std::make_shared<Asked>();
  asked->request = request;
  asked->target = *std::move(target);
  asked->context.set_deadline(std::chrono::system_clock::now() + kListDeadline);
  asked->target.stub->async()->TraceHop(
      &asked->context, &asked->request, &asked->response,
      [asked, done = std::move(done)](const grpc::Status& answer) {
        const grpc::Status status = NamedStatus(asked->target.node, answer);
        if (status.ok()) return done(std::move(asked->response));
        done(absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                          status.error_message()));
      });
}

namespace {

// One ListListeners to each of some pods; the last answer completes it.
struct ListenersGathering {
  struct Part {
    grpc::ClientContext context;
    v1::ListListenersRequest request;
    v1::ListListenersResponse response;
  };

  void PartDone(const ObjectKey& pod, absl::StatusOr<v1::ListListenersResponse> answer) {
    {
      absl::MutexLock lock(&mutex);
      answers.insert_or_assign(pod, std::move(answer));
      if (answers.size() < count) return;
    }
    done(std::move(answers));
  }

  size_t count = 0;
  std::map<ObjectKey, Part> parts;
  absl::Mutex mutex;
  ListenersByPod answers;
  std::function<void(ListenersByPod)> done;
};

}  // namespace

void GatherListeners(NodeChannels& channels, const std::set<ObjectKey>& pods,
                     std::function<void(ListenersByPod)> done) {
  if (pods.empty()) return done({});
  auto gathering = std::make_shared<ListenersGathering>();
  gathering->count = pods.size();
  gathering->done = std::move(done);
  for (const ObjectKey& pod : pods) gathering->parts[pod];
  for (const ObjectKey& pod : pods) {
    absl::StatusOr<NodeChannels::Target> target = channels.ForPod(pod.ns, pod.name);
    if (!target.ok()) {
      gathering->PartDone(pod, target.status());
      continue;
    }
    ListenersGathering::Part& part = gathering->parts.at(pod);
    part.request.set_namespace_(pod.ns);
    part.request.set_pod(pod.name);
    part.context.set_deadline(std::chrono::system_clock::now() + kListDeadline);
    target->stub->async()->ListListeners(
        &part.context, &part.request, &part.response,
        [gathering, &part, pod, target = *target](const grpc::Status& status) {
          if (status.ok()) return gathering->PartDone(pod, std::move(part.response));
          const grpc::Status named = NamedStatus(target.node, status);
          gathering->PartDone(pod, absl::Status(static_cast<absl::StatusCode>(named.error_code()),
                                                named.error_message()));
        });
  }
}

void ProxyProbe(absl::StatusOr<NodeChannels::Target> target, const v1::ProbeRequest& request,
                std::function<void(absl::StatusOr<v1::ProbeResponse>)> done) {
  if (!target.ok()) return done(target.status());
  struct Call {
    grpc::ClientContext context;
    v1::ProbeRequest request;
    v1::ProbeResponse response;
  };
  auto call = std::make_shared<Call>();
  call->request = request;
  const auto steps = std::chrono::milliseconds(
      std::max(request.dial().timeout_ms(), 2 * request.resolve().timeout_ms()));
  call->context.set_deadline(std::chrono::system_clock::now() + kListDeadline + steps);
  target->stub->async()->Probe(
      &call->context, &call->request, &call->response,
      [call, target = *target, done = std::move(done)](const grpc::Status& status) {
        if (status.ok()) return done(std::move(call->response));
        const grpc::Status named = NamedStatus(target.node, status);
        done(
            absl::Status(static_cast<absl::StatusCode>(named.error_code()), named.error_message()));
      });
}

grpc::ServerWriteReactor<v1::LogsChunk>* ProxyLogs(absl::StatusOr<NodeChannels::Target> target,
                                                   const v1::LogsRequest& request) {
  return new LogsProxy(std::move(target), request);
}

grpc::ServerBidiReactor<v1::ExecInput, v1::ExecOutput>* ProxyExec(NodeChannels& channels) {
  return new StreamProxy<v1::ExecInput, v1::ExecOutput>(StreamRoute<v1::ExecInput, v1::ExecOutput>{
      .find = [&channels](const v1::ExecInput& first) -> absl::StatusOr<NodeChannels::Target> {
        if (!first.has_start())
          return absl::InvalidArgumentError("exec: the first message must be `start`");
        return channels.ForPod(first.start().namespace_(), first.start().pod());
      },
      .open =
          [](const NodeChannels::Target& target, grpc::ClientContext* context,
             grpc::ClientBidiReactor<v1::ExecInput, v1::ExecOutput>* reactor) {
            target.stub->async()->Exec(context, reactor);
          }});
}

}  // namespace mesh::controlplane
