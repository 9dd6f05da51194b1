// SPDX-License-Identifier: Apache-2.0
// Goal: connections end each direction on its own, and what cannot be is said with kubectl's words.
// Method: the real server; the pod's end of a connection is a socket of the test.
#include "agent/access_service.h"

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include "agent/cri/fake_cri.h"
#include "agent/node_service.h"
#include "common/sim_loop.h"
#include "mesh/v1/access.grpc.pb.h"

namespace mesh::agent {
namespace {

class AccessServiceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    directory["default/web"].log_directory = "/logs";
    directory["default/web"].containers = {
        {.name = "app", .id = "c1", .running = true},
        {.name = "side", .id = "c2", .running = false, .waiting = "CrashLoopBackOff"}};
    AccessHooks hooks;
    hooks.directory = [this] { return std::make_shared<const PodDirectory>(directory); };
    hooks.dial = [this](const std::string& ns, const std::string& pod, const PodEntry& entry,
                        uint16_t port) -> absl::StatusOr<UniqueFd> {
      dialled = ns + "/" + pod + ":" + std::to_string(port) + " " + entry.log_directory;
      if (!pod_end) return absl::FailedPreconditionError("nothing answers at port 81 of the pod");
      return std::move(pod_end);
    };
    hooks.import_images = {"sh", "-c", "cat > /dev/null; exit 1"};
    hooks.cri = &cri;
    auto started =
        NodeServer::Start("127.0.0.1:0", NodeServiceHooks(), NewAccessService(std::move(hooks)));
    ASSERT_TRUE(started.ok()) << started.status();
    server = *std::move(started);
    stub = v1::Access::NewStub(grpc::CreateChannel("127.0.0.1:" + std::to_string(server->port()),
                                                   grpc::InsecureChannelCredentials()));
  }

  struct Connection {
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientReaderWriter<v1::StreamInput, v1::StreamOutput>> stream;
  };
  std::unique_ptr<Connection> Open(const v1::StreamStart& start) {
    auto out = std::make_unique<Connection>();
    out->stream = stub->Stream(&out->context);
    v1::StreamInput input;
    *input.mutable_start() = start;
    input.mutable_start()->set_namespace_("default");
    input.mutable_start()->set_pod("web");
    out->stream->Write(input);
    return out;
  }
  std::unique_ptr<Connection> Connect(uint32_t port) {
    v1::StreamStart start;
    start.set_port(port);
    return Open(start);
  }
  std::string AttachError(const std::string& container, bool stdin) {
    v1::StreamStart start;
    start.set_container(container);
    start.set_stdin(stdin);
    return Open(start)->stream->Finish().error_message();
  }

  SimLoop loop;
  FakeCri cri{&loop};
  UniqueFd pod_end;  // what the next connection to a port reaches
  std::string dialled;
  PodDirectory directory;
  std::unique_ptr<NodeServer> server;
  std::unique_ptr<v1::Access::Stub> stub;
};

TEST_F(AccessServiceTest, RefusesToAttachWhereItCannot) {
  EXPECT_EQ(AttachError("app", true),
            "container app of pod web reads no standard input: it has no `stdin: true`");
  EXPECT_EQ(AttachError("side", false),
            "container side of pod web is not running: CrashLoopBackOff");
  EXPECT_EQ(AttachError("none", false), "container none is not valid for pod web");
}

TEST_F(AccessServiceTest, CarriesAConnectionUntilBothEndsAreDone) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  pod_end.reset(ends[0]);
  UniqueFd server_end(ends[1]);
  const auto connection = Connect(80);

  v1::StreamInput input;
  input.mutable_data()->set_stdin("ask");
  ASSERT_TRUE(connection->stream->Write(input));
  char text[4] = {};
  ASSERT_EQ(::recv(server_end.get(), text, 3, MSG_WAITALL), 3);
  EXPECT_STREQ(text, "ask");
  EXPECT_EQ(dialled, "default/web:80 /logs");
  // The client has said all: the pod sees the end, and may still answer.
  input.mutable_data()->set_stdin_closed(true);
  ASSERT_TRUE(connection->stream->Write(input));
  EXPECT_EQ(::recv(server_end.get(), text, 1, 0), 0);
  ASSERT_EQ(::send(server_end.get(), "answer", 6, 0), 6);
  server_end.reset();

  v1::StreamOutput output;
  std::string answer;
  while (connection->stream->Read(&output) && output.data().has_stdout())
    answer += output.data().stdout();
  EXPECT_EQ(answer, "answer");
  EXPECT_TRUE(output.closed());
  ASSERT_TRUE(connection->stream->Read(&output));
  EXPECT_TRUE(output.data().has_exit_code());
  EXPECT_TRUE(connection->stream->Finish().ok());
}

TEST_F(AccessServiceTest, LetsTheClientSpeakOnAfterThePodHasEndedItsSide) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  pod_end.reset(ends[0]);
  const UniqueFd server_end(ends[1]);
  const auto connection = Connect(80);
  ASSERT_EQ(::shutdown(server_end.get(), SHUT_WR), 0);
  v1::StreamOutput output;
  ASSERT_TRUE(connection->stream->Read(&output));
  EXPECT_TRUE(output.closed());

  v1::StreamInput input;
  input.mutable_data()->set_stdin("late");
  ASSERT_TRUE(connection->stream->Write(input));
  char text[5] = {};
  ASSERT_EQ(::recv(server_end.get(), text, 4, MSG_WAITALL), 4);
  EXPECT_STREQ(text, "late");
  connection->stream->WritesDone();
  EXPECT_EQ(::recv(server_end.get(), text, 1, 0), 0);
  ASSERT_TRUE(connection->stream->Read(&output));
  EXPECT_TRUE(output.data().has_exit_code());
}

TEST_F(AccessServiceTest, EndsTheConnectionOfAClientThatIsGone) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  pod_end.reset(ends[0]);
  const UniqueFd server_end(ends[1]);
  auto connection = Connect(80);
  v1::StreamInput input;
  input.mutable_data()->set_stdin("x");
  ASSERT_TRUE(connection->stream->Write(input));
  char text[1];
  ASSERT_EQ(::recv(server_end.get(), text, 1, 0), 1);

  connection->context.TryCancel();

  EXPECT_EQ(::recv(server_end.get(), text, 1, 0), 0);
  connection->stream->Finish();
}

TEST_F(AccessServiceTest, SaysThatNothingAnswersAtAPort) {
  const auto connection = Connect(81);
  const grpc::Status status = connection->stream->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(status.error_message(), "nothing answers at port 81 of the pod");
  EXPECT_EQ(Connect(70'000)->stream->Finish().error_message(), "port 70000 is not one of TCP");
}

TEST_F(AccessServiceTest, MeasuresTheNode) {
  v1::StatsRequest request;
  request.set_node("n1");
  request.set_measure_ms(1);
  v1::StatsResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(stub->Stats(&context, request, &response).ok());
  EXPECT_EQ(response.node(), "n1");
  EXPECT_GT(response.memory_capacity_bytes(), response.memory_bytes());
  EXPECT_GT(response.cpu_capacity_milli(), 0U);
}

TEST_F(AccessServiceTest, RefusesAnArchiveThatBreaksOff) {
  grpc::ClientContext context;
  auto stream = stub->LoadImage(&context);
  v1::LoadImageInput input;
  input.set_node("n1");
  stream->Write(input);
  input.set_data("half");
  stream->Write(input);
  stream->WritesDone();
  EXPECT_EQ(stream->Finish().error_message(), "the archive broke off");
}

}  // namespace
}  // namespace mesh::agent
