// SPDX-License-Identifier: Apache-2.0
// Goal: calls and events go over the wire as containerd speaks them. Method: a CRI server of the
// test behind a unix socket.
#include "agent/cri/grpc_cri_client.h"

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <filesystem>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "agent/cri/containerd_events.grpc.pb.h"
#include "agent/cri/containerd_task_events.pb.h"
#include "agent/cri/containerd_tasks.grpc.pb.h"
#include "agent/cri/runtime_v1.grpc.pb.h"

namespace mesh::agent {
namespace {

namespace events = ::containerd::services::events::v1;
namespace tasks = ::containerd::services::tasks::v1;

// containerd's rules: only a task that has ended can be deleted; to kill one that has is NOT_FOUND.
class FakeTasks : public tasks::Tasks::Service {
 public:
  grpc::Status Kill(grpc::ServerContext* context, const tasks::KillRequest* request,
                    google::protobuf::Empty*) override {
    const auto ns = context->client_metadata().find("containerd-namespace");
    if (ns == context->client_metadata().end() || ns->second != "k8s.io") {
      return grpc::Status(grpc::StatusCode::FAILED_PRECONDITION, "namespace is required");
    }
    if (request->signal() != 9 || !request->all()) {
      return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "must be all of it, and for good");
    }
    calls.push_back("kill " + request->container_id());
    if (!running.contains(request->container_id())) {
      return grpc::Status(grpc::StatusCode::NOT_FOUND, "process already finished");
    }
    running[request->container_id()] = false;
    return grpc::Status::OK;
  }
  grpc::Status Wait(grpc::ServerContext*, const tasks::WaitRequest* request,
                    tasks::WaitResponse*) override {
    calls.push_back("wait " + request->container_id());
    return running.contains(request->container_id())
               ? grpc::Status::OK
               : grpc::Status(grpc::StatusCode::NOT_FOUND, "no such task");
  }
  grpc::Status Delete(grpc::ServerContext*, const tasks::DeleteTaskRequest* request,
                      tasks::DeleteResponse*) override {
    calls.push_back("delete " + request->container_id());
    if (running[request->container_id()]) {
      return grpc::Status(grpc::StatusCode::FAILED_PRECONDITION, "task must be stopped");
    }
    running.erase(request->container_id());
    return grpc::Status::OK;
  }

  std::map<std::string, bool> running;
  std::vector<std::string> calls;
};

class FakeContainerd : public cri::RuntimeService::Service, public events::Events::Service {
 public:
  explicit FakeContainerd(const std::string& socket) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("unix://" + socket, grpc::InsecureServerCredentials());
    builder.RegisterService(static_cast<cri::RuntimeService::Service*>(this));
    builder.RegisterService(static_cast<events::Events::Service*>(this));
    builder.RegisterService(&tasks);
    server_ = builder.BuildAndStart();
  }
  ~FakeContainerd() override { server_->Shutdown(absl::ToChronoTime(absl::Now())); }

  grpc::Status StopContainer(grpc::ServerContext*, const cri::StopContainerRequest* request,
                             cri::StopContainerResponse*) override {
    stop = *request;
    return grpc::Status(grpc::StatusCode::NOT_FOUND, "no such container");
  }
  grpc::Status StartContainer(grpc::ServerContext*, const cri::StartContainerRequest*,
                              cri::StartContainerResponse*) override {
    return grpc::Status(grpc::StatusCode::UNKNOWN, "exec format error");
  }
  grpc::Status ListContainers(grpc::ServerContext*, const cri::ListContainersRequest* request,
                              cri::ListContainersResponse* response) override {
    list = *request;
    response->add_containers()->set_id("c1");
    return grpc::Status::OK;
  }
  grpc::Status Subscribe(grpc::ServerContext* context, const events::SubscribeRequest*,
                         grpc::ServerWriter<events::Envelope>* writer) override {
    auto metadata = context->client_metadata().find("containerd-namespace");
    if (metadata != context->client_metadata().end()) {
      ns = std::string(metadata->second.data(), metadata->second.size());
    }
    const auto send = [&](const std::string& id, const std::string& process) {
      containerd::events::TaskExit exit;
      exit.set_container_id(id);
      exit.set_id(process);
      events::Envelope envelope;
      envelope.mutable_event()->set_type_url("containerd.events.TaskExit");
      envelope.mutable_event()->set_value(exit.SerializeAsString());
      writer->Write(envelope);
    };
    send("c1", "an-exec");  // of no interest
    send("c1", "c1");
    return grpc::Status::OK;
  }

  FakeTasks tasks;
  cri::StopContainerRequest stop;
  cri::ListContainersRequest list;
  std::string ns;

 private:
  std::unique_ptr<grpc::Server> server_;
};

class GrpcCriClientTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char folder[] = "/tmp/mesh-cri-XXXXXX";
    ASSERT_NE(::mkdtemp(folder), nullptr);
    folder_ = folder;
    server = std::make_unique<FakeContainerd>(folder_ + "/c.sock");
    client = NewGrpcCriClient(folder_ + "/c.sock");
  }
  void TearDown() override {
    client.reset();
    server.reset();
    std::filesystem::remove_all(folder_);
  }
  absl::Status Wait(const std::function<void(CriClient::DoneStatus)>& call) {
    absl::Notification done;
    absl::Status out;
    call([&](absl::Status status) {
      out = std::move(status);
      done.Notify();
    });
    done.WaitForNotification();
    return out;
  }

  std::string folder_;
  std::unique_ptr<FakeContainerd> server;
  std::unique_ptr<CriClient> client;
};

TEST_F(GrpcCriClientTest, StoppingWhatIsGoneSucceedsAndTheGraceIsRoundedUp) {
  EXPECT_TRUE(
      Wait([&](auto done) { client->StopContainer("c1", absl::Milliseconds(2100), done); }).ok());
  EXPECT_EQ(server->stop.timeout(), 3);
}

TEST_F(GrpcCriClientTest, EndsATaskAndWaitsForItsEnd) {
  server->tasks.running["c1"] = true;

  EXPECT_TRUE(Wait([&](auto done) { client->EndTask("c1", done); }).ok());

  EXPECT_EQ(server->tasks.calls, (std::vector<std::string>{"kill c1", "wait c1", "delete c1"}));
  EXPECT_TRUE(server->tasks.running.empty());
}

TEST_F(GrpcCriClientTest, HasNothingToEndWhereThereIsNoTask) {
  EXPECT_TRUE(Wait([&](auto done) { client->EndTask("c1", done); }).ok());
  EXPECT_EQ(server->tasks.calls, (std::vector<std::string>{"kill c1", "wait c1"}));
}

TEST_F(GrpcCriClientTest, PassesTheRuntimesWordsOn) {
  const absl::Status status = Wait([&](auto done) { client->StartContainer("c1", done); });
  EXPECT_EQ(std::string(status.message()), "exec format error");
}

TEST_F(GrpcCriClientTest, WaitsForARuntimeThatIsSlowToGreet) {
  // A listener whose connections nobody takes: how a server looks that gets no processor.
  const int listener = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  (folder_ + "/slow.sock").copy(address.sun_path, sizeof(address.sun_path) - 1);
  ASSERT_EQ(::bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(::listen(listener, 4), 0);

  auto slow = NewGrpcCriClient(folder_ + "/slow.sock");
  absl::Notification done;
  slow->StartContainer("c1", [&](absl::Status) { done.Notify(); });
  EXPECT_FALSE(done.WaitForNotificationWithTimeout(absl::Milliseconds(500)));

  ::close(listener);
  slow.reset();  // cancels
}

TEST_F(GrpcCriClientTest, SelectsByPodUid) {
  absl::Notification done;
  client->ListContainers("uid-1", [&](absl::StatusOr<std::vector<cri::Container>> list) {
    EXPECT_EQ(list->at(0).id(), "c1");
    done.Notify();
  });
  done.WaitForNotification();
  EXPECT_EQ(server->list.filter().label_selector().at("io.kubernetes.pod.uid"), "uid-1");
}

TEST_F(GrpcCriClientTest, TellsExitsOfContainersButNotOfExecs) {
  absl::Mutex mutex;
  std::vector<std::string> exits;
  absl::Notification ended;
  client->Subscribe(
      [&](const RuntimeEvent& event) {
        absl::MutexLock lock(&mutex);
        exits.push_back(event.container_id);
      },
      [&](const absl::Status&) { ended.Notify(); });
  ended.WaitForNotification();

  EXPECT_EQ(exits, std::vector<std::string>{"c1"});
  EXPECT_EQ(server->ns, "k8s.io");
}

TEST_F(GrpcCriClientTest, IsUnavailableWithoutARuntime) {
  server.reset();
  std::filesystem::remove(folder_ + "/c.sock");
  auto lonely = NewGrpcCriClient(folder_ + "/c.sock");
  const absl::Status status = Wait([&](auto done) { lonely->StartContainer("c1", done); });
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
}

TEST_F(GrpcCriClientTest, MayEndWhileGrpcStillLeavesItsLastCall) {
  // The answer is told before gRPC frees the call; ending here meets the call at every step of
  // that.
  for (int i = 0; i < 100; ++i) {
    auto brief = NewGrpcCriClient(folder_ + "/c.sock");
    ASSERT_TRUE(Wait([&](auto done) { brief->StopContainer("c1", absl::Seconds(1), done); }).ok());
    brief.reset();
  }
}

}  // namespace
}  // namespace mesh::agent
