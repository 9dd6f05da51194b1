// SPDX-License-Identifier: Apache-2.0
// meshd's services over real gRPC in one process: a memory store, a loop on its own thread, a
// server on a free port of the loopback, and an agent's NodeService on another.
#include "controlplane/rpc/control_service.h"

#include <chrono>
#include <thread>

#include "absl/synchronization/notification.h"
#include "common/real_loop.h"
#include "controlplane/rpc/node_sessions.h"
#include "controlplane/rpc/node_sync_service.h"
#include "controlplane/rpc/server.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/server.h"
#include "grpcpp/server_builder.h"
#include "tests/unit/controlplane/state/world.h"

namespace mesh::controlplane {
namespace {

using grpc::StatusCode;
using ::testing::HasSubstr;

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
    return request->container() == "none" ? grpc::Status(StatusCode::NOT_FOUND, "no such container")
                                          : grpc::Status::OK;
  }

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
    response->add_nodes()->set_revision(42);
    return grpc::Status::OK;
  }

  absl::Notification follow_ended;
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
  ControlService control_{loop_, cache_, api_, channels_};
  NodeSyncService node_sync_{loop_, sessions_};
  std::thread thread_;
  std::unique_ptr<RpcServer> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Control::Stub> stub_;
  FakeNodeService node_service_;
  std::unique_ptr<grpc::Server> agent_;
};

TEST_F(ControlServiceTest, CreatesConfiguresAndLeavesAlone) {
  v1::ApplyResponse response;
  ASSERT_TRUE(Apply({ADeployment("web", 2)}, &response).ok());
  EXPECT_EQ(response.results(0).outcome(), v1::ApplyResult::CREATED);
  EXPECT_EQ(MetaOf(response.results(0).resource()).generation(), 1);

  ASSERT_TRUE(Apply({ADeployment("web", 2)}, &response).ok());
  EXPECT_EQ(response.results(0).outcome(), v1::ApplyResult::UNCHANGED);

  ASSERT_TRUE(Apply({ADeployment("web", 3)}, &response).ok());
  EXPECT_EQ(response.results(0).outcome(), v1::ApplyResult::CONFIGURED);
  EXPECT_EQ(MetaOf(response.results(0).resource()).generation(), 2);
  EXPECT_EQ(response.results(0).resource().deployment().spec().strategy().type(), "RollingUpdate");
}

TEST_F(ControlServiceTest, RemovesWhatTheFileDroppedAndKeepsWhatOthersSet) {
  v1::ApplyResponse response;
  v1::Resource file = ADeployment("web", 2);
  (*MutableMetaOf(&file)->mutable_labels())["mine"] = "1";
  ASSERT_TRUE(Apply({file}, &response).ok());
  v1::UpdateRequest update;
  *update.mutable_resource() = response.results(0).resource();
  (*MutableMetaOf(update.mutable_resource())->mutable_labels())["theirs"] = "2";
  v1::Resource updated;
  ASSERT_TRUE(stub_->Update(Call(), update, &updated).ok());

  ASSERT_TRUE(Apply({ADeployment("web", 2)}, &response).ok());

  const auto& labels = MetaOf(response.results(0).resource()).labels();
  EXPECT_FALSE(labels.contains("mine"));
  EXPECT_EQ(labels.at("theirs"), "2");
}

TEST_F(ControlServiceTest, ChangesNothingWhenOneObjectIsInvalid) {
  v1::ApplyResponse response;
  v1::Resource broken = ADeployment("broken", 1);
  broken.mutable_deployment()
      ->mutable_spec()
      ->mutable_template_()
      ->mutable_spec()
      ->mutable_containers(0)
      ->add_ports()
      ->set_container_port(70000);

  const grpc::Status status = Apply({ADeployment("fine", 1), broken}, &response);

  EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("Deployment \"broken\" is invalid"));
  v1::ValidationFailure failure;
  ASSERT_TRUE(failure.ParseFromString(status.error_details()));
  EXPECT_EQ(failure.problems(0).object_index(), 1);
  EXPECT_EQ(failure.problems(0).path(), "spec.template.spec.containers[0].ports[0].containerPort");
  EXPECT_EQ(Count(v1::KIND_DEPLOYMENT), 0);
}

TEST_F(ControlServiceTest, RefusesTheSameObjectTwice) {
  v1::ApplyResponse response;
  v1::Resource implicit = ADeployment("web", 1);
  MutableMetaOf(&implicit)->clear_namespace_();

  const grpc::Status status = Apply({ADeployment("web", 2), implicit}, &response);

  EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("twice"));
  EXPECT_EQ(Count(v1::KIND_DEPLOYMENT), 0);
}

TEST_F(ControlServiceTest, RefusesAnImmutableFieldBeforeItWritesAnything) {
  v1::ApplyResponse response;
  ASSERT_TRUE(Apply({ADeployment("web", 1)}, &response).ok());
  v1::Resource changed = ADeployment("web", 1);
  auto* spec = changed.mutable_deployment()->mutable_spec();
  (*spec->mutable_selector()->mutable_match_labels())["app"] = "other";
  (*spec->mutable_template_()->mutable_metadata()->mutable_labels())["app"] = "other";

  const grpc::Status status = Apply({ADeployment("new", 1), changed}, &response);

  EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("field is immutable"));
  EXPECT_EQ(Count(v1::KIND_DEPLOYMENT), 1);
}

TEST_F(ControlServiceTest, TakesAnObjectTogetherWithItsNamespaceInAnyOrder) {
  v1::ApplyResponse response;
  EXPECT_EQ(Apply({AService("web", "", "shop")}, &response).error_message(),
            "namespaces \"shop\" not found");

  const grpc::Status status = Apply({AService("web", "", "shop"), ANamespace("shop")}, &response);

  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_TRUE(response.results(0).resource().has_service());
  EXPECT_TRUE(response.results(1).resource().has_namespace_());
}

TEST_F(ControlServiceTest, ShowsADryRunAndWritesNothing) {
  v1::ApplyResponse response;

  ASSERT_TRUE(Apply({ADeployment("web", 1)}, &response, /*dry_run=*/true).ok());

  EXPECT_EQ(response.results(0).outcome(), v1::ApplyResult::CREATED);
  EXPECT_EQ(Count(v1::KIND_DEPLOYMENT), 0);
}

TEST_F(ControlServiceTest, WarnsOfAServiceThatSelectsNothingAndRecordsIt) {
  v1::ApplyResponse response;

  ASSERT_TRUE(Apply({AService("alone")}, &response).ok());
  ASSERT_EQ(response.results(0).warnings_size(), 1);
  EXPECT_THAT(response.results(0).warnings(0), HasSubstr("matches no pod"));
  ASSERT_TRUE(Apply({AService("web"), ADeployment("web", 1)}, &response).ok());
  EXPECT_EQ(response.results(0).warnings_size(), 0) << "its pods come with the same request";

  v1::ListRequest request;
  request.set_kind(v1::KIND_EVENT);
  v1::ListResponse events;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (events.items_size() == 0 && std::chrono::steady_clock::now() < deadline) {
    ASSERT_TRUE(stub_->List(Call(), request, &events).ok());
  }
  ASSERT_EQ(events.items_size(), 1);
  EXPECT_EQ(events.items(0).event().reason(), "SelectorMatchesNothing");
  EXPECT_EQ(events.items(0).event().involved_object().kind(), "Service");
}

TEST_F(ControlServiceTest, ListsBySelectorAndNamespace) {
  v1::ApplyResponse response;
  v1::Resource labelled = AService("a");
  (*MutableMetaOf(&labelled)->mutable_labels())["tier"] = "front";
  ASSERT_TRUE(
      Apply({labelled, AService("b"), ANamespace("shop"), AService("c", "", "shop")}, &response)
          .ok());
  v1::ListRequest request;
  request.set_kind(v1::KIND_SERVICE);
  request.set_namespace_("default");
  request.set_label_selector("tier in (front)");
  v1::ListResponse list;

  ASSERT_TRUE(stub_->List(Call(), request, &list).ok());
  ASSERT_EQ(list.items_size(), 1);
  EXPECT_EQ(MetaOf(list.items(0)).name(), "a");
  request.clear_label_selector();
  ASSERT_TRUE(stub_->List(Call(), request, &list).ok());
  EXPECT_EQ(list.items_size(), 2);
  request.set_label_selector("=(");
  EXPECT_EQ(stub_->List(Call(), request, &list).error_code(), StatusCode::INVALID_ARGUMENT);
}

TEST_F(ControlServiceTest, UpdatesOnlyTheVersionThatWasRead) {
  v1::ApplyResponse response;
  ASSERT_TRUE(Apply({ADeployment("web", 1)}, &response).ok());
  v1::UpdateRequest request;
  *request.mutable_resource() = response.results(0).resource();
  request.mutable_resource()->mutable_deployment()->mutable_spec()->set_replicas(5);
  v1::Resource updated;

  ASSERT_TRUE(stub_->Update(Call(), request, &updated).ok());
  EXPECT_EQ(updated.deployment().spec().replicas(), 5);
  const grpc::Status stale = stub_->Update(Call(), request, &updated);
  EXPECT_EQ(stale.error_code(), StatusCode::ABORTED);
  MutableMetaOf(request.mutable_resource())->clear_resource_version();
  EXPECT_TRUE(stub_->Update(Call(), request, &updated).ok()) << "without a version, unconditional";
}

TEST_F(ControlServiceTest, ScalesFromTheExpectedSizeOnly) {
  v1::ApplyResponse response;
  ASSERT_TRUE(Apply({ADeployment("web", 2)}, &response).ok());
  v1::ScaleRequest request;
  request.mutable_name()->set_kind(v1::KIND_DEPLOYMENT);
  request.mutable_name()->set_namespace_("default");
  request.mutable_name()->set_name("web");
  request.set_replicas(4);
  request.set_current_replicas(3);
  v1::Resource scaled;

  const grpc::Status refused = stub_->Scale(Call(), request, &scaled);
  EXPECT_EQ(refused.error_code(), StatusCode::ABORTED);
  EXPECT_EQ(refused.error_message(), "Expected replicas to be 3, was 2");
  request.set_current_replicas(2);
  ASSERT_TRUE(stub_->Scale(Call(), request, &scaled).ok());
  EXPECT_EQ(scaled.deployment().spec().replicas(), 4);
}

TEST_F(ControlServiceTest, ProtectsTheNamespacesEveryClusterHas) {
  v1::DeleteRequest request;
  request.mutable_name()->set_kind(v1::KIND_NAMESPACE);
  request.mutable_name()->set_name("default");
  v1::Resource deleted;

  const grpc::Status status = stub_->Delete(Call(), request, &deleted);

  EXPECT_EQ(status.error_code(), StatusCode::PERMISSION_DENIED);
  EXPECT_THAT(status.error_message(), HasSubstr("this namespace may not be deleted"));
}

TEST_F(ControlServiceTest, SaysInKubernetesWordsWhatIsNotFound) {
  v1::GetRequest request;
  request.mutable_name()->set_kind(v1::KIND_DEPLOYMENT);
  request.mutable_name()->set_namespace_("default");
  request.mutable_name()->set_name("web");
  v1::Resource out;

  const grpc::Status status = stub_->Get(Call(), request, &out);

  EXPECT_EQ(status.error_code(), StatusCode::NOT_FOUND);
  EXPECT_EQ(status.error_message(), "deployments.apps \"web\" not found");
}

TEST_F(ControlServiceTest, WatchesFromNowAndResumesWithoutGap) {
  v1::ApplyResponse response;
  ASSERT_TRUE(Apply({AService("a")}, &response).ok());
  v1::WatchRequest request;
  request.set_kind(v1::KIND_SERVICE);
  v1::WatchEvent event;
  int64_t seen = 0;
  {
    Call call;
    auto stream = stub_->Watch(call, request);
    ASSERT_TRUE(stream->Read(&event));
    EXPECT_EQ(event.type(), v1::WatchEvent::ADDED);
    ASSERT_TRUE(stream->Read(&event));
    EXPECT_EQ(event.type(), v1::WatchEvent::BOOKMARK);
    ASSERT_TRUE(Apply({AService("b")}, &response).ok());
    ASSERT_TRUE(stream->Read(&event));
    EXPECT_EQ(MetaOf(event.resource()).name(), "b");
    seen = event.revision();
    call.context.TryCancel();
    stream->Finish();
  }
  ASSERT_TRUE(Apply({AService("c")}, &response).ok());

  request.set_from_revision(seen);
  Call call;
  auto stream = stub_->Watch(call, request);
  ASSERT_TRUE(stream->Read(&event));

  EXPECT_EQ(event.type(), v1::WatchEvent::ADDED);
  EXPECT_EQ(MetaOf(event.resource()).name(), "c");
  v1::DeleteRequest removal;
  removal.mutable_name()->set_kind(v1::KIND_SERVICE);
  removal.mutable_name()->set_namespace_("default");
  removal.mutable_name()->set_name("a");
  v1::Resource deleted;
  ASSERT_TRUE(stub_->Delete(Call(), removal, &deleted).ok());
  do {
    ASSERT_TRUE(stream->Read(&event));
  } while (event.type() == v1::WatchEvent::BOOKMARK);
  EXPECT_EQ(event.type(), v1::WatchEvent::DELETED);
  EXPECT_EQ(MetaOf(event.resource()).name(), "a");
  call.context.TryCancel();
  stream->Finish();
}

TEST_F(ControlServiceTest, SendsAWatchFromTooLongAgoBackToList) {
  v1::WatchRequest request;
  request.set_kind(v1::KIND_SERVICE);
  request.set_from_revision(-5);
  Call call;
  auto stream = stub_->Watch(call, request);
  v1::WatchEvent event;

  EXPECT_FALSE(stream->Read(&event));
  EXPECT_EQ(stream->Finish().error_code(), StatusCode::OUT_OF_RANGE);
}

TEST_F(ControlServiceTest, EndsWatchesWhenItStops) {
  v1::WatchRequest request;
  request.set_kind(v1::KIND_SERVICE);
  Call call;
  auto stream = stub_->Watch(call, request);
  v1::WatchEvent event;
  ASSERT_TRUE(stream->Read(&event));

  OnLoop([&] { control_.CloseWatches(); });

  EXPECT_FALSE(stream->Read(&event));
  EXPECT_EQ(stream->Finish().error_code(), StatusCode::UNAVAILABLE);
}

TEST_F(ControlServiceTest, PassesLogsOnFromTheNode) {
  StartAgent();
  v1::LogsRequest request;
  request.set_namespace_("default");
  request.set_pod("web");
  Call call;
  auto stream = stub_->Logs(call, request);
  std::string text;
  v1::LogsChunk chunk;

  while (stream->Read(&chunk)) text += chunk.data();

  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_EQ(text, "web:one\nweb:two\nweb:three\n");
}

TEST_F(ControlServiceTest, EndsTheNodesCallWhenTheClientLeaves) {
  StartAgent();
  v1::LogsRequest request;
  request.set_namespace_("default");
  request.set_pod("web");
  request.set_follow(true);
  Call call;
  auto stream = stub_->Logs(call, request);
  v1::LogsChunk chunk;
  ASSERT_TRUE(stream->Read(&chunk));

  call.context.TryCancel();
  stream->Finish();

  EXPECT_TRUE(node_service_.follow_ended.WaitForNotificationWithTimeout(absl::Seconds(10)));
}

TEST_F(ControlServiceTest, PassesTheNodesErrorOn) {
  StartAgent();
  v1::LogsRequest request;
  request.set_namespace_("default");
  request.set_pod("web");
  request.set_container("none");
  Call call;
  auto stream = stub_->Logs(call, request);
  v1::LogsChunk chunk;
  while (stream->Read(&chunk)) {
  }

  EXPECT_EQ(stream->Finish().error_message(), "no such container");
}

TEST_F(ControlServiceTest, NamesTheNodeThatDoesNotAnswer) {
  AddNode("gone", "127.0.0.1:1");
  v1::CreateRequest create;
  *create.mutable_resource() = APod("lost", "gone");
  v1::Resource created;
  ASSERT_TRUE(stub_->Create(Call(), create, &created).ok());
  v1::LogsRequest request;
  request.set_namespace_("default");
  request.set_pod("lost");
  Call call;
  auto stream = stub_->Logs(call, request);
  v1::LogsChunk chunk;
  EXPECT_FALSE(stream->Read(&chunk));

  const grpc::Status status = stream->Finish();

  EXPECT_EQ(status.error_code(), StatusCode::UNAVAILABLE);
  EXPECT_THAT(status.error_message(), HasSubstr("node \"gone\""));
}

v1::ExecInput StartOf(const std::string& command) {
  v1::ExecInput input;
  input.mutable_start()->set_namespace_("default");
  input.mutable_start()->set_pod("web");
  input.mutable_start()->add_command(command);
  return input;
}

TEST_F(ControlServiceTest, PassesExecOnInBothDirections) {
  StartAgent();
  Call call;
  auto stream = stub_->Exec(call);
  v1::ExecInput input;
  v1::ExecOutput output;

  ASSERT_TRUE(stream->Write(StartOf("cat")));
  for (int i = 0; i < 50; ++i) {
    input.set_stdin("line " + std::to_string(i));
    ASSERT_TRUE(stream->Write(input));
    ASSERT_TRUE(stream->Read(&output));
    EXPECT_EQ(output.stdout(), "line " + std::to_string(i));
  }
  input.set_stdin_closed(true);
  ASSERT_TRUE(stream->Write(input));
  ASSERT_TRUE(stream->Read(&output));
  EXPECT_EQ(output.exit_code(), 7);
  EXPECT_FALSE(stream->Read(&output));
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(ControlServiceTest, EndsAnExecWhoseCommandEndsWhileInputIsOpen) {
  StartAgent();
  for (int i = 0; i < 50; ++i) {
    Call call;
    auto stream = stub_->Exec(call);
    v1::ExecOutput output;
    ASSERT_TRUE(stream->Write(StartOf("exit")));

    ASSERT_TRUE(stream->Read(&output));
    EXPECT_EQ(output.exit_code(), 7);
    EXPECT_FALSE(stream->Read(&output));
    EXPECT_TRUE(stream->Finish().ok());
  }
}

TEST_F(ControlServiceTest, EndsAnExecWhoseClientVanishes) {
  StartAgent();
  for (int i = 0; i < 20; ++i) {
    Call call;
    auto stream = stub_->Exec(call);
    ASSERT_TRUE(stream->Write(StartOf("cat")));
    call.context.TryCancel();
    EXPECT_EQ(stream->Finish().error_code(), StatusCode::CANCELLED);
  }
}

TEST_F(ControlServiceTest, RefusesAnExecIntoAnUnknownPod) {
  Call call;
  auto stream = stub_->Exec(call);
  stream->Write(StartOf("cat"));
  v1::ExecOutput output;
  EXPECT_FALSE(stream->Read(&output));
  EXPECT_EQ(stream->Finish().error_message(), "pods \"web\" not found");
}

TEST_F(ControlServiceTest, GathersTheDataplaneOfAllNodesAndNamesThoseThatFail) {
  StartAgent();
  AddNode("gone", "127.0.0.1:1");
  v1::ListDataplaneRequest request;
  v1::ListDataplaneResponse response;

  ASSERT_TRUE(stub_->ListDataplane(Call(), request, &response).ok());

  ASSERT_EQ(response.nodes_size(), 2);
  EXPECT_EQ(response.nodes(0).node(), "gone");
  EXPECT_THAT(response.nodes(0).error(), HasSubstr("does not answer"));
  EXPECT_EQ(response.nodes(1).node(), "n1");
  EXPECT_EQ(response.nodes(1).revision(), 42);
  request.set_node("nobody");
  EXPECT_EQ(stub_->ListDataplane(Call(), request, &response).error_code(), StatusCode::NOT_FOUND);
}

TEST_F(ControlServiceTest, HoldsASyncStreamWithANode) {
  auto sync = v1::NodeSync::NewStub(channel_);
  Call call;
  auto stream = sync->Sync(call);
  v1::AgentMessage hello;
  hello.mutable_hello()->set_node_name("n1");
  ASSERT_TRUE(stream->Write(hello));
  v1::ControlMessage message;

  ASSERT_TRUE(stream->Read(&message));
  EXPECT_EQ(message.welcome().pod_cidr(), "10.244.0.0/24");
  ASSERT_TRUE(stream->Read(&message));
  EXPECT_TRUE(message.update().full());
  v1::ApplyResponse response;
  ASSERT_TRUE(Apply({AService("web")}, &response).ok());
  ASSERT_TRUE(stream->Read(&message));
  EXPECT_EQ(message.update().services(0).name(), "web");
  stream->WritesDone();
  EXPECT_FALSE(stream->Read(&message));
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(ControlServiceTest, SaysWhichAddressAServerCannotTake) {
  const std::string address = "127.0.0.1:" + std::to_string(server_->ports()[0]);
  NodeSyncService other(loop_, sessions_);

  auto second = RpcServer::Start({.listen = {address}, .unix_socket = ""}, {&other});

  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(std::string(second.status().message()),
            "cannot listen on " + address + ": Address already in use");
}

}  // namespace
}  // namespace mesh::controlplane
