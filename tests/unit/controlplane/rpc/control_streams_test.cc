// SPDX-License-Identifier: Apache-2.0
// Goal: watches, and what is passed on to the nodes (logs, exec, maps, their sync streams), over
// the wire.
#include "tests/unit/controlplane/rpc/control_service_world.h"

namespace mesh::controlplane {
namespace {

using grpc::StatusCode;
using ::testing::HasSubstr;

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

TEST_F(ControlServiceTest, PassesATracedPacketOnToItsNode) {
  StartAgent();
  AddNode("gone", "127.0.0.1:1");
  v1::TraceHopRequest request;
  v1::TraceHopResponse response;
  request.set_node("n1");
  request.set_frame("bytes");
  ASSERT_TRUE(stub_->TraceHop(Call(), request, &response).ok());
  EXPECT_EQ(response.frame(), "bytes");
  request.set_pod_address("10.244.1.99");
  EXPECT_EQ(stub_->TraceHop(Call(), request, &response).error_code(), StatusCode::NOT_FOUND);
  request.set_node("gone");
  EXPECT_THAT(stub_->TraceHop(Call(), request, &response).error_message(),
              HasSubstr("node \"gone\": its agent does not answer"));
  request.set_node("nobody");
  EXPECT_EQ(stub_->TraceHop(Call(), request, &response).error_code(), StatusCode::NOT_FOUND);
  request.clear_node();
  EXPECT_EQ(stub_->TraceHop(Call(), request, &response).error_code(), StatusCode::INVALID_ARGUMENT);
}

TEST_F(ControlServiceTest, NamesThePodsOfOtherNodesAmongTheOwnersOfFlows) {
  StartAgent();
  v1::Resource pod = APod("far", "n2");
  pod.mutable_pod()->mutable_status()->set_pod_ip("10.244.2.7");
  absl::Notification made;
  OnLoop([&] {
    writer_.Create(pod, [&](const absl::StatusOr<Written>& written) {
      EXPECT_TRUE(written.ok()) << written.status();
      made.Notify();
    });
  });
  made.WaitForNotification();
  const auto add = [&](const std::string& address, const std::string& ns, const std::string& name) {
    v1::FlowOwnerRow* row = node_service_.flow_owners.Add();
    row->set_address(address);
    row->set_namespace_(ns);
    row->set_pod(name);
  };
  add("", "", "");  // the node itself
  add("10.244.1.5", "shop", "near");
  add("10.244.2.7", "", "");
  add("10.244.9.9", "", "");  // gone
  const auto owners = [&](const std::string& ns) {
    v1::ListDataplaneRequest request;
    request.set_table(v1::DATAPLANE_TABLE_FLOW_OWNERS);
    request.set_namespace_(ns);
    v1::ListDataplaneResponse response;
    EXPECT_TRUE(stub_->ListDataplane(Call(), request, &response).ok());
    std::vector<std::string> out;
    for (const v1::FlowOwnerRow& row : response.nodes(0).flow_owners()) {
      out.push_back(row.address() + " " + row.namespace_() + "/" + row.pod());
    }
    return out;
  };

  EXPECT_EQ(owners(""), (std::vector<std::string>{" /", "10.244.1.5 shop/near",
                                                  "10.244.2.7 default/far", "10.244.9.9 /"}));
  EXPECT_EQ(owners("default"), std::vector<std::string>{"10.244.2.7 default/far"});
}

// One chunk of flows: from this address of another node's pod, and dropped.
v1::FlowsChunk FlowFrom(const std::string& address) {
  v1::FlowsChunk out;
  v1::Flow* flow = out.add_flows();
  flow->mutable_source()->set_address(address);
  flow->set_verdict("dropped");
  return out;
}

TEST_F(ControlServiceTest, MergesTheFlowsOfAllNodesAndNamesThePods) {
  StartAgent();
  AddNode("gone", "127.0.0.1:1");
  v1::Resource pod = APod("far", "n2");
  pod.mutable_pod()->mutable_status()->set_pod_ip("10.244.2.7");
  absl::Notification made;
  OnLoop([&] {
    writer_.Create(pod, [&](const absl::StatusOr<Written>& written) {
      EXPECT_TRUE(written.ok()) << written.status();
      made.Notify();
    });
  });
  made.WaitForNotification();
  node_service_.flows = {FlowFrom("10.244.2.7"), FlowFrom("10.244.2.8")};
  node_service_.flows[1].mutable_lost()->set_ring(9);
  v1::FlowsRequest request;
  request.mutable_filter()->add_from("default/far");
  Call call;

  auto stream = stub_->Flows(call, request);
  std::vector<std::string> told;
  std::string error;
  uint64_t lost = 0;
  v1::FlowsChunk chunk;
  while (stream->Read(&chunk)) {
    if (!chunk.error().empty()) error = chunk.node() + " " + chunk.error();
    lost += chunk.lost().ring();
    for (const v1::Flow& flow : chunk.flows())
      told.push_back(chunk.node() + " " + flow.source().namespace_() + "/" + flow.source().pod());
  }

  EXPECT_TRUE(stream->Finish().ok());
  // The other has no name that fits; that something was lost is told all the same.
  EXPECT_EQ(told, std::vector<std::string>{"n1 default/far"});
  EXPECT_EQ(lost, 9u);
  EXPECT_THAT(error, HasSubstr("gone node \"gone\": its agent does not answer"));
}

TEST_F(ControlServiceTest, EndsTheNodesStreamsWhenWhoFollowsFlowsLeaves) {
  StartAgent();
  AddNode("gone", "127.0.0.1:1");
  node_service_.flows = {FlowFrom("10.244.1.5")};
  v1::FlowsRequest request;
  request.set_follow(true);
  Call call;
  auto stream = stub_->Flows(call, request);
  v1::FlowsChunk chunk;
  do {
    ASSERT_TRUE(stream->Read(&chunk));
  } while (chunk.flows().empty());

  call.context.TryCancel();
  stream->Finish();

  EXPECT_TRUE(node_service_.follow_ended.WaitForNotificationWithTimeout(absl::Seconds(10)));
}

TEST_F(ControlServiceTest, WhatCannotBeFollowedIsAnError) {
  StartAgent();
  AddNode("gone", "127.0.0.1:1");
  v1::FlowsChunk chunk;
  const auto error = [&](const v1::FlowsRequest& request) {
    Call call;
    auto stream = stub_->Flows(call, request);
    while (stream->Read(&chunk)) {
    }
    return stream->Finish();
  };
  v1::FlowsRequest request;
  request.set_follow(true);
  request.set_node("nobody");
  EXPECT_EQ(error(request).error_code(), StatusCode::NOT_FOUND);
  request.set_node("gone");
  EXPECT_THAT(error(request).error_message(), HasSubstr("node \"gone\": its agent does not"));
  request.clear_node();
  request.mutable_filter()->add_ips("nowhere");
  EXPECT_EQ(error(request).error_code(), StatusCode::INVALID_ARGUMENT);
  request.mutable_filter()->clear_ips();
  request.mutable_filter()->add_reasons("x");
  EXPECT_EQ(error(request).error_code(), StatusCode::INVALID_ARGUMENT);
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
