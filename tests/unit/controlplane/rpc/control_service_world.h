// SPDX-License-Identifier: Apache-2.0
// meshd's services over real gRPC in one process: a memory store, a loop on its own thread, a
// server on a free port of the loopback, and an agent's NodeService on another.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "common/real_loop.h"
#include "controlplane/rpc/control_service.h"
#include "controlplane/rpc/node_sessions.h"
#include "controlplane/rpc/node_sync_service.h"
#include "controlplane/rpc/server.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/server.h"
#include "grpcpp/server_builder.h"
#include "tests/unit/controlplane/state/world.h"

namespace mesh::controlplane {

// What an agent serves, in small: logs of three chunks, an exec that echoes until its input ends.
class FakeNodeService : public v1::NodeService::Service {
 public:
  grpc::Status Logs(grpc::ServerContext* context, const v1::LogsRequest* request,
                    grpc::ServerWriter<v1::LogsChunk>* writer) override {
    v1::LogsChunk chunk;
    for (const char* line : {"one\n", "two\n", "three\n"}) {
      chunk.set_data(request->pod() + ":" + line);
      writer->Write(chunk);
    }
    while (request->follow() && !context->IsCancelled()) std::this_thread::yield();
    if (request->follow()) follow_ended.Notify();
    return request->container() == "none"
               ? grpc::Status(grpc::StatusCode::NOT_FOUND, "no such container")
               : grpc::Status::OK;
  }

  // What is in `flows`, then, with follow, nothing until the caller leaves.
  grpc::Status Flows(grpc::ServerContext* context, const v1::FlowsRequest* request,
                     grpc::ServerWriter<v1::FlowsChunk>* writer) override {
    if (request->filter().reasons_size() > 0)
      return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "reason: \"x\" is none");
    writer->Write(v1::FlowsChunk());
    for (const v1::FlowsChunk& chunk : flows) writer->Write(chunk);
    while (request->follow() && !context->IsCancelled()) std::this_thread::yield();
    if (request->follow()) follow_ended.Notify();
    return grpc::Status::OK;
  }
  std::vector<v1::FlowsChunk> flows;

  grpc::Status Exec(grpc::ServerContext*,
                    grpc::ServerReaderWriter<v1::ExecOutput, v1::ExecInput>* stream) override {
    v1::ExecInput input;
    v1::ExecOutput output;
    std::string command;
    while (stream->Read(&input)) {
      if (input.has_start()) command = input.start().command(0);
      if (command == "exit") break;
      if (input.has_stdin()) {
        output.set_stdout(input.stdin());
        stream->Write(output);
      }
      if (input.stdin_closed()) break;
    }
    output.set_exit_code(7);
    stream->Write(output);
    return grpc::Status::OK;
  }

  grpc::Status ListDataplane(grpc::ServerContext*, const v1::ListDataplaneRequest*,
                             v1::ListDataplaneResponse* response) override {
    v1::DataplaneNode* node = response->add_nodes();
    node->set_revision(42);
    *node->mutable_flow_owners() = flow_owners;
    return grpc::Status::OK;
  }

  grpc::Status TraceHop(grpc::ServerContext*, const v1::TraceHopRequest* request,
                        v1::TraceHopResponse* response) override {
    if (request->pod_address() == "10.244.1.99") return {grpc::StatusCode::NOT_FOUND, "no pod"};
    response->set_node("n1");
    response->set_frame(request->frame());
    return grpc::Status::OK;
  }

  absl::Notification follow_ended;
  google::protobuf::RepeatedPtrField<v1::FlowOwnerRow> flow_owners;
};

class ControlServiceTest : public ::testing::Test {
 protected:
  ControlServiceTest() {
    EXPECT_TRUE(cache_.Start().ok());
    thread_ = std::thread([this] { loop_.Run(); });
    absl::Notification base;
    OnLoop([&] { writer_.EnsureBaseObjects([&] { base.Notify(); }); });
    base.WaitForNotification();
    auto server =
        RpcServer::Start({.listen = {"127.0.0.1:0"}, .unix_socket = ""}, {&control_, &node_sync_});
    EXPECT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    channel_ = grpc::CreateChannel("127.0.0.1:" + std::to_string(server_->ports()[0]),
                                   grpc::InsecureChannelCredentials());
    stub_ = v1::Control::NewStub(channel_);
  }
  ~ControlServiceTest() override {
    OnLoop([&] {
      sessions_.CloseAll(absl::UnavailableError("meshd is stopping"));
      control_.CloseWatches();
    });
    server_->Shutdown(absl::Milliseconds(100));
    if (agent_ != nullptr) agent_->Shutdown(absl::ToChronoTime(absl::Now()));
    loop_.Stop();
    thread_.join();
  }

  void OnLoop(const Task& task) {
    absl::Notification done;
    loop_.Post([&] {
      task();
      done.Notify();
    });
    done.WaitForNotification();
  }

  struct Call {
    Call() { context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20)); }
    operator grpc::ClientContext*() { return &context; }  // NOLINT(google-explicit-constructor)
    grpc::ClientContext context;
  };

  grpc::Status Apply(const std::vector<v1::Resource>& resources, v1::ApplyResponse* response,
                     bool dry_run = false) {
    v1::ApplyRequest request;
    for (const auto& resource : resources) *request.add_resources() = resource;
    request.set_dry_run(dry_run);
    return stub_->Apply(Call(), request, response);
  }
  absl::StatusCode Get(v1::Kind kind, const std::string& name, v1::Resource* out,
                       const std::string& ns = "default") {
    v1::GetRequest request;
    request.mutable_name()->set_kind(kind);
    request.mutable_name()->set_namespace_(ns);
    request.mutable_name()->set_name(name);
    return static_cast<absl::StatusCode>(stub_->Get(Call(), request, out).error_code());
  }
  int Count(v1::Kind kind) {
    v1::ListRequest request;
    request.set_kind(kind);
    v1::ListResponse response;
    EXPECT_TRUE(stub_->List(Call(), request, &response).ok());
    return response.items_size();
  }

  // A node "n1" with an agent that serves, and a pod "web" on it.
  void StartAgent() {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&node_service_);
    agent_ = builder.BuildAndStart();
    AddNode("n1", "127.0.0.1:" + std::to_string(port));
    v1::CreateRequest request;
    *request.mutable_resource() = APod("web", "n1");
    v1::Resource created;
    const grpc::Status status = stub_->Create(Call(), request, &created);
    ASSERT_TRUE(status.ok()) << status.error_message();
  }
  void AddNode(const std::string& name, const std::string& endpoint) {
    v1::Resource node = ANode(name);
    node.mutable_node()->mutable_status()->set_agent_endpoint(endpoint);
    absl::Notification done;
    OnLoop([&] {
      writer_.Create(node, [&](const absl::StatusOr<Written>& written) {
        EXPECT_TRUE(written.ok()) << written.status();
        done.Notify();
      });
    });
    done.WaitForNotification();
  }

  RealLoop loop_;
  MemoryStore store_;
  WatchCache cache_{loop_, store_};
  std::unique_ptr<CommitQueue> commits_ = NewThreadCommitQueue(loop_, store_);
  Writer writer_{loop_, cache_, *commits_, Random(5), {}};
  NodeSessions sessions_{loop_, cache_, writer_, {}};
  Api api_{cache_, writer_};
  NodeChannels channels_{cache_};
  ControlService control_{loop_, cache_, api_, channels_,
                          ParseClusterRanges("10.244.0.0/16", "10.96.0.0/16").value()};
  NodeSyncService node_sync_{loop_, sessions_};
  std::thread thread_;
  std::unique_ptr<RpcServer> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Control::Stub> stub_;
  FakeNodeService node_service_;
  std::unique_ptr<grpc::Server> agent_;
};

}  // namespace mesh::controlplane
