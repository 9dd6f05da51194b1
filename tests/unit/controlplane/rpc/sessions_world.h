// SPDX-License-Identifier: Apache-2.0
// Streams of nodes without a network: what an agent says, and what it has been told.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "controlplane/rpc/node_sessions.h"
#include "tests/unit/controlplane/state/world.h"

namespace mesh::controlplane {

// An agent's end of a stream. It takes one message at a time, when told to.
class FakeAgent : public NodeLink {
 public:
  FakeAgent(World& world, NodeSessions& sessions) : world_(world), sessions_(sessions) {
    id_ = sessions_.Open(this);
  }
  ~FakeAgent() override { sessions_.OnClosed(id_); }

  void Send(v1::ControlMessage message) override {
    EXPECT_FALSE(in_flight_) << "two messages at once";
    in_flight_ = true;
    received_.push_back(std::move(message));
  }
  void Close(const absl::Status& status) override { closed_ = status; }

  void Say(const v1::AgentMessage& message) {
    sessions_.OnMessage(id_, message);
    world_.Settle();
  }
  void Hello(const std::string& name, const std::string& ip = "192.168.0.1",
             const std::string& ip6 = "", const std::string& pod_cidr = "") {
    v1::AgentMessage message;
    message.mutable_hello()->set_node_name(name);
    v1::Node* node = message.mutable_hello()->mutable_node();
    node->mutable_spec()->set_pod_cidr(pod_cidr);
    v1::NodeAddress* address = node->mutable_status()->add_addresses();
    address->set_type("InternalIP");
    address->set_address(ip);
    if (!ip6.empty()) {
      v1::NodeAddress* second = node->mutable_status()->add_addresses();
      second->set_type("InternalIP");
      second->set_address(ip6);
    }
    node->mutable_status()->set_agent_endpoint(ip + ":6441");
    Say(message);
  }
  void Ack(int64_t revision, const std::string& error = "") {
    v1::AgentMessage message;
    message.mutable_ack()->set_revision(revision);
    message.mutable_ack()->set_error(error);
    Say(message);
  }
  void Heartbeat(const std::string& ready = "True") {
    v1::AgentMessage message;
    v1::Condition* condition = message.mutable_heartbeat()->add_conditions();
    condition->set_type("Ready");
    condition->set_status(ready);
    Say(message);
  }
  // Takes messages until none comes.
  void Drain() {
    while (in_flight_) {
      in_flight_ = false;
      sessions_.OnSent(id_);
      world_.Settle();
    }
  }
  // The last update, after taking all.
  const v1::NodeUpdate& Update() {
    Drain();
    EXPECT_TRUE(!received_.empty() && received_.back().has_update());
    return received_.back().update();
  }

  NodeSessions::Id id() const { return id_; }
  const std::vector<v1::ControlMessage>& received() const { return received_; }
  const std::optional<absl::Status>& closed() const { return closed_; }

 private:
  World& world_;
  NodeSessions& sessions_;
  NodeSessions::Id id_;
  bool in_flight_ = false;
  std::vector<v1::ControlMessage> received_;
  std::optional<absl::Status> closed_;
};

class NodeSessionsTest : public ::testing::Test {
 protected:
  const v1::Node& Node(const std::string& name) {
    const auto it = world_.cache.state().nodes.find({"", name});
    EXPECT_NE(it, world_.cache.state().nodes.end());
    return *it->second;
  }
  const v1::Pod* Pod(const std::string& name) {
    const auto it = world_.cache.state().pods.find({"default", name});
    return it == world_.cache.state().pods.end() ? nullptr : it->second.get();
  }
  v1::AgentMessage Report(const std::string& name, const std::string& phase) {
    v1::AgentMessage message;
    v1::PodReport* report = message.mutable_pod();
    report->set_namespace_("default");
    report->set_name(name);
    report->set_uid(Pod(name)->metadata().uid());
    report->mutable_status()->set_phase(phase);
    return message;
  }

  World world_;
  NodeSessions sessions_{world_.loop, world_.cache, world_.writer, {}};
};

}  // namespace mesh::controlplane
