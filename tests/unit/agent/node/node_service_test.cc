// SPDX-License-Identifier: Apache-2.0
// Goal: logs and exec over gRPC, with kubectl's words for what cannot be. Method: the real server
// over a directory and log files of the test.
#include "agent/node_service.h"

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "agent/cri/fake_cri.h"
#include "common/sim_loop.h"
#include "mesh/v1/node.grpc.pb.h"

namespace mesh::agent {
namespace {

class NodeServiceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char folder[] = "/tmp/mesh-node-XXXXXX";
    ASSERT_NE(::mkdtemp(folder), nullptr);
    folder_ = folder;
    PodEntry& web = directory["default/web"];
    web.log_directory = folder_;
    web.containers = {
        {.name = "app", .id = "c2", .attempt = 1, .running = false, .waiting = "CrashLoopBackOff"},
        {.name = "side", .id = "", .waiting = "ImagePullBackOff"}};
    WriteLog("app/0.log", "2026-01-02T03:04:05Z stdout F before\n");
    WriteLog("app/1.log", "2026-01-02T03:04:06Z stdout F now\n2026-01-02T03:04:07Z stdout F end\n");
    NodeServiceHooks hooks;
    hooks.directory = [this] { return std::make_shared<const PodDirectory>(directory); };
    hooks.list_dataplane = [](const v1::ListDataplaneRequest& request) {
      v1::DataplaneNode node;
      node.set_node(request.node());
      return node;
    };
    hooks.trace_hop =
        [](const v1::TraceHopRequest& request) -> absl::StatusOr<v1::TraceHopResponse> {
      if (request.frame().empty()) return absl::InvalidArgumentError("no frame");
      v1::TraceHopResponse out;
      out.set_verdict("forwarded");
      return out;
    };
    hooks.cri = &cri;
    auto started = NodeServer::Start("127.0.0.1:0", std::move(hooks));
    ASSERT_TRUE(started.ok()) << started.status();
    server = *std::move(started);
    stub = v1::NodeService::NewStub(grpc::CreateChannel(
        "127.0.0.1:" + std::to_string(server->port()), grpc::InsecureChannelCredentials()));
  }
  void TearDown() override {
    server.reset();
    std::filesystem::remove_all(folder_);
  }
  void WriteLog(const std::string& path, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(folder_ + "/" + path).parent_path());
    std::ofstream(folder_ + "/" + path) << text;
  }
  // Everything that comes, or the error.
  std::string Logs(const std::string& pod, const std::string& container, bool previous = false,
                   bool follow = false) {
    v1::LogsRequest request;
    request.set_namespace_("default");
    request.set_pod(pod);
    request.set_container(container);
    request.set_previous(previous);
    request.set_follow(follow);
    grpc::ClientContext context;
    auto reader = stub->Logs(&context, request);
    std::string out;
    for (v1::LogsChunk chunk; reader->Read(&chunk);) out += chunk.data();
    const grpc::Status status = reader->Finish();
    return status.ok() ? out : "error: " + status.error_message();
  }
  std::string ExecError(const std::string& pod, const std::string& container,
                        const std::vector<std::string>& command) {
    grpc::ClientContext context;
    auto stream = stub->Exec(&context);
    v1::ExecInput input;
    input.mutable_start()->set_namespace_("default");
    input.mutable_start()->set_pod(pod);
    input.mutable_start()->set_container(container);
    for (const std::string& word : command) input.mutable_start()->add_command(word);
    stream->Write(input);
    v1::ExecOutput output;
    while (stream->Read(&output)) {
    }
    return stream->Finish().error_message();
  }

  SimLoop loop;
  FakeCri cri{&loop};
  PodDirectory directory;
  std::string folder_;
  std::unique_ptr<NodeServer> server;
  std::unique_ptr<v1::NodeService::Stub> stub;
};

TEST_F(NodeServiceTest, SendsTheLogOfTheNewestContainer) {
  EXPECT_EQ(Logs("web", "app"), "now\nend\n");
}

TEST_F(NodeServiceTest, SendsTheLogOfTheContainerBefore) {
  EXPECT_EQ(Logs("web", "app", /*previous=*/true), "before\n");
}

TEST_F(NodeServiceTest, EndsFollowingAContainerThatHasEnded) {
  EXPECT_EQ(Logs("web", "app", false, /*follow=*/true), "now\nend\n");
}

TEST_F(NodeServiceTest, SaysWhatIsMissing) {
  EXPECT_EQ(Logs("nobody", ""), "error: pods \"nobody\" not found");
  EXPECT_EQ(Logs("web", ""),
            "error: a container name must be specified for pod web, choose one of: [app side]");
  EXPECT_EQ(Logs("web", "x"), "error: container x is not valid for pod web");
  EXPECT_EQ(Logs("web", "side"),
            "error: container \"side\" in pod \"web\" is waiting to start: ImagePullBackOff");
  EXPECT_EQ(Logs("web", "side", /*previous=*/true),
            "error: previous terminated container \"side\" in pod \"web\" not found");
}

TEST_F(NodeServiceTest, RefusesToRunACommandWhereNothingRuns) {
  EXPECT_EQ(ExecError("web", "app", {"ls"}),
            "container app of pod web is not running: CrashLoopBackOff");
  EXPECT_EQ(ExecError("web", "app", {}), "you must specify at least one command for the container");
  EXPECT_EQ(ExecError("nobody", "", {"ls"}), "pods \"nobody\" not found");
}

TEST_F(NodeServiceTest, EndsAnExecWhoseClientSaysNothing) {
  grpc::ClientContext context;
  auto stream = stub->Exec(&context);
  stream->WritesDone();
  EXPECT_EQ(stream->Finish().error_message(), "exec: no start message");
}

TEST_F(NodeServiceTest, AsksTheNetworkForTheMaps) {
  v1::ListDataplaneRequest request;
  request.set_node("n1");
  v1::ListDataplaneResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(stub->ListDataplane(&context, request, &response).ok());
  EXPECT_EQ(response.nodes(0).node(), "n1");
}

TEST_F(NodeServiceTest, AsksTheNetworkForTheWayOfAPacket) {
  v1::TraceHopRequest request;
  v1::TraceHopResponse response;
  grpc::ClientContext first, second;
  EXPECT_EQ(stub->TraceHop(&first, request, &response).error_message(), "no frame");
  request.set_frame("bytes");
  ASSERT_TRUE(stub->TraceHop(&second, request, &response).ok());
  EXPECT_EQ(response.verdict(), "forwarded");
}

TEST_F(NodeServiceTest, SaysWhenItsAddressIsTaken) {
  const auto second =
      NodeServer::Start("127.0.0.1:" + std::to_string(server->port()), NodeServiceHooks());
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace mesh::agent
