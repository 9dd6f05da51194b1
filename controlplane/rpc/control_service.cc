// SPDX-License-Identifier: Apache-2.0
#include "controlplane/rpc/control_service.h"

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "api/schema/schema.h"
#include "common/status.h"
#include "common/version.h"
#include "controlplane/inspect/policy_answer.h"
#include "controlplane/inspect/why.h"
#include "controlplane/rpc/flows_proxy.h"
#include "controlplane/rpc/node_proxy.h"
#include "controlplane/rpc/status.h"
#include "controlplane/rpc/watch_reactor.h"
#include "controlplane/state/object_rules.h"
#include "fmt/format.h"

namespace mesh::controlplane {
namespace {

// For calls that end on the loop: puts the result where gRPC wants it.
template <typename Response>
auto Answer(grpc::ServerUnaryReactor* reactor, Response* response) {
  return [reactor, response](absl::StatusOr<Response> result) {
    if (result.ok()) *response = *std::move(result);
    reactor->Finish(ToGrpc(result.status()));
  };
}

grpc::ServerUnaryReactor* FinishNow(grpc::CallbackServerContext* context,
                                    const absl::Status& status) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpc(status));
  return reactor;
}

absl::Status LoadInto(const WatchCache& cache, const v1::ObjectName& name, v1::Resource* response) {
  if (name.kind() == v1::KIND_UNSPECIFIED || !v1::Kind_IsValid(name.kind())) {
    return absl::InvalidArgumentError("name.kind: Required value");
  }
  const auto resource = cache.Load(name.kind(), {name.namespace_(), name.name()});
  if (resource == nullptr) return NotFoundFor(name.kind(), name.name());
  *response = *resource;
  return absl::OkStatus();
}

absl::Status ListInto(const WatchCache& cache, const v1::ListRequest& request,
                      v1::ListResponse* response) {
  if (request.kind() == v1::KIND_UNSPECIFIED || !v1::Kind_IsValid(request.kind())) {
    return absl::InvalidArgumentError("kind: Required value");
  }
  ASSIGN_OR_RETURN(const schema::Selector selector,
                   schema::Selector::Parse(request.label_selector()));
  const std::string ns = schema::Info(request.kind()).namespaced ? request.namespace_() : "";
  const WatchCache::Listing listing = cache.List(request.kind(), ns);
  response->set_revision(listing.revision);
  for (const auto& item : listing.items) {
    if (selector.Matches(MetaOf(*item).labels())) *response->add_items() = *item;
  }
  return absl::OkStatus();
}

}  // namespace

struct ControlService::Watches {
  std::set<WatchReactor*> open;
  bool closed = false;
};

size_t ControlService::open_watches() const { return watches_->open.size(); }

ControlService::ControlService(EventLoop& loop, WatchCache& cache, Api& api, NodeChannels& channels,
                               ClusterRanges ranges)
    : loop_(loop),
      cache_(cache),
      api_(api),
      channels_(channels),
      ranges_(std::move(ranges)),
      watches_(std::make_shared<Watches>()) {}

ControlService::~ControlService() = default;

void ControlService::CloseWatches() {
  watches_->closed = true;
  for (WatchReactor* watch : watches_->open) {
    watch->Close(absl::UnavailableError("meshd is stopping"));
  }
}

grpc::ServerUnaryReactor* ControlService::Apply(grpc::CallbackServerContext* context,
                                                const v1::ApplyRequest* request,
                                                v1::ApplyResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  loop_.Post(
      [this, reactor, request, response] { api_.Apply(*request, Answer(reactor, response)); });
  return reactor;
}

grpc::ServerUnaryReactor* ControlService::Create(grpc::CallbackServerContext* context,
                                                 const v1::CreateRequest* request,
                                                 v1::Resource* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  loop_.Post(
      [this, reactor, request, response] { api_.Create(*request, Answer(reactor, response)); });
  return reactor;
}

grpc::ServerUnaryReactor* ControlService::Get(grpc::CallbackServerContext* context,
                                              const v1::GetRequest* request,
                                              v1::Resource* response) {
  return FinishNow(context, LoadInto(cache_, request->name(), response));
}

grpc::ServerUnaryReactor* ControlService::List(grpc::CallbackServerContext* context,
                                               const v1::ListRequest* request,
                                               v1::ListResponse* response) {
  return FinishNow(context, ListInto(cache_, *request, response));
}

grpc::ServerUnaryReactor* ControlService::Update(grpc::CallbackServerContext* context,
                                                 const v1::UpdateRequest* request,
                                                 v1::Resource* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  loop_.Post(
      [this, reactor, request, response] { api_.Update(*request, Answer(reactor, response)); });
  return reactor;
}

grpc::ServerUnaryReactor* ControlService::Delete(grpc::CallbackServerContext* context,
                                                 const v1::DeleteRequest* request,
                                                 v1::Resource* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  loop_.Post(
      [this, reactor, request, response] { api_.Delete(*request, Answer(reactor, response)); });
  return reactor;
}

grpc::ServerUnaryReactor* ControlService::Scale(grpc::CallbackServerContext* context,
                                                const v1::ScaleRequest* request,
                                                v1::Resource* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  loop_.Post(
      [this, reactor, request, response] { api_.Scale(*request, Answer(reactor, response)); });
  return reactor;
}

grpc::ServerWriteReactor<v1::WatchEvent>* ControlService::Watch(grpc::CallbackServerContext*,
                                                                const v1::WatchRequest* request) {
  auto* reactor = new WatchReactor(loop_, cache_);
  loop_.Post([watches = watches_, reactor, request = *request] {
    if (watches->closed) return reactor->Close(absl::UnavailableError("meshd is stopping"));
    watches->open.insert(reactor);
    reactor->OnGone([watches, reactor] { watches->open.erase(reactor); });
    reactor->Start(request);
  });
  return reactor;
}

grpc::ServerWriteReactor<v1::LogsChunk>* ControlService::Logs(grpc::CallbackServerContext*,
                                                              const v1::LogsRequest* request) {
  return ProxyLogs(channels_.ForPod(request->namespace_(), request->pod()), *request);
}

grpc::ServerBidiReactor<v1::ExecInput, v1::ExecOutput>* ControlService::Exec(
    grpc::CallbackServerContext*) {
  return ProxyExec(channels_);
}

namespace {

// A node counts the flows of other nodes' pods too, and knows those by their addresses only.
void NameFlowOwners(const WatchCache& cache, const std::string& ns,
                    v1::ListDataplaneResponse* response) {
  const auto unnamed = [](const v1::FlowOwnerRow& row) {
    return row.pod().empty() && !row.address().empty();
  };
  const auto& nodes = response->nodes();
  if (std::none_of(nodes.begin(), nodes.end(), [&](const v1::DataplaneNode& node) {
        return std::any_of(node.flow_owners().begin(), node.flow_owners().end(), unnamed);
      })) {
    return;
  }
  std::map<std::string, std::shared_ptr<const v1::Resource>> by_ip;
  for (const auto& pod : cache.List(v1::KIND_POD, "").items) {
    by_ip[pod->pod().status().pod_ip()] = pod;
    for (const v1::PodIP& ip : pod->pod().status().pod_ips()) by_ip[ip.ip()] = pod;
  }
  for (v1::DataplaneNode& node : *response->mutable_nodes()) {
    for (v1::FlowOwnerRow& row : *node.mutable_flow_owners()) {
      const auto pod = unnamed(row) ? by_ip.find(row.address()) : by_ip.end();
      if (pod == by_ip.end()) continue;
      row.set_namespace_(MetaOf(*pod->second).namespace_());
      row.set_pod(MetaOf(*pod->second).name());
    }
    if (ns.empty()) continue;
    auto* rows = node.mutable_flow_owners();
    rows->erase(std::remove_if(rows->begin(), rows->end(),
                               [&](const v1::FlowOwnerRow& row) { return row.namespace_() != ns; }),
                rows->end());
  }
}

// The one that is asked for, or all.
std::vector<std::string> NodesOf(const WatchCache& cache, const std::string& wanted) {
  if (!wanted.empty()) return {wanted};
  std::vector<std::string> out;
  for (const auto& node : cache.List(v1::KIND_NODE, "").items) out.push_back(MetaOf(*node).name());
  return out;
}

}  // namespace

grpc::ServerUnaryReactor* ControlService::ListDataplane(grpc::CallbackServerContext* context,
                                                        const v1::ListDataplaneRequest* request,
                                                        v1::ListDataplaneResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  ProxyListDataplane(channels_, NodesOf(cache_, request->node()), *request,
                     [this, ns = request->namespace_(), done = Answer(reactor, response)](
                         absl::StatusOr<v1::ListDataplaneResponse> gathered) {
                       if (gathered.ok()) NameFlowOwners(cache_, ns, &*gathered);
                       done(std::move(gathered));
                     });
  return reactor;
}

grpc::ServerUnaryReactor* ControlService::TraceHop(grpc::CallbackServerContext* context,
                                                   const v1::TraceHopRequest* request,
                                                   v1::TraceHopResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  ProxyTraceHop(channels_, *request,
                [this, done = Answer(reactor, response)](absl::StatusOr<v1::TraceHopResponse> hop) {
                  loop_.Post([this, done, hop = std::move(hop)]() mutable {
                    if (hop.ok()) ExplainPolicies(cache_.state(), &*hop);
                    done(std::move(hop));
                  });
                });
  return reactor;
}

grpc::ServerWriteReactor<v1::FlowsChunk>* ControlService::Flows(grpc::CallbackServerContext*,
                                                                const v1::FlowsRequest* request) {
  return ProxyFlows(channels_, NodesOf(cache_, request->node()), *request, FlowEndNamer(cache_));
}

namespace {

absl::StatusOr<v1::WhyResponse> AnswerOf(absl::StatusOr<WhyAnswer> answer) {
  if (!answer.ok()) return answer.status();
  return std::move(answer->response);
}

}  // namespace

grpc::ServerUnaryReactor* ControlService::Why(grpc::CallbackServerContext* context,
                                              const v1::WhyRequest* request,
                                              v1::WhyResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  loop_.Post([=, this, done = Answer(reactor, response)] {
    std::vector<std::string> nodes = NodesThatRefusePolicies(cache_.state());
    if (nodes.empty()) return AnswerWhy(*request, {}, done);
    v1::ListDataplaneRequest stats;
    stats.set_table(v1::DATAPLANE_TABLE_POLICY_STATS);
    ProxyListDataplane(channels_, std::move(nodes), stats,
                       [=, this](const absl::StatusOr<v1::ListDataplaneResponse>& gathered) {
                         Refusals refusals;
                         for (int i = 0; gathered.ok() && i < gathered->nodes_size(); ++i) {
                           const v1::DataplaneNode& node = gathered->nodes(i);
                           if (node.has_refusal()) refusals[node.node()] = node.refusal();
                         }
                         loop_.Post([=, this] {
                           AnswerWhy(*request, {.listeners = {}, .refusals = refusals}, done);
                         });
                       });
  });
  return reactor;
}

void ControlService::AnswerWhy(const v1::WhyRequest& request, const Known& known,
                               const std::function<void(absl::StatusOr<v1::WhyResponse>)>& done) {
  auto answer = controlplane::Why(cache_.state(), ranges_, request, known, loop_.Now());
  if (!answer.ok() || answer->wanted.empty()) return done(AnswerOf(std::move(answer)));
  // Once more, with the sockets that only the nodes know.
  GatherListeners(
      channels_, answer->wanted, [=, this, refusals = known.refusals](ListenersByPod listeners) {
        loop_.Post([=, this, listeners = std::move(listeners)] {
          done(AnswerOf(controlplane::Why(cache_.state(), ranges_, request,
                                          {.listeners = listeners, .refusals = refusals},
                                          loop_.Now())));
        });
      });
}

grpc::ServerUnaryReactor* ControlService::Probe(grpc::CallbackServerContext* context,
                                                const v1::ProbeRequest* request,
                                                v1::ProbeResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  ProxyProbe(channels_.ForNode(request->node()), *request, Answer(reactor, response));
  return reactor;
}

grpc::ServerUnaryReactor* ControlService::Version(grpc::CallbackServerContext* context,
                                                  const v1::VersionRequest*,
                                                  v1::VersionResponse* response) {
  response->set_version(kVersion);
  response->set_revision(cache_.revision());
  return FinishNow(context, absl::OkStatus());
}

}  // namespace mesh::controlplane
