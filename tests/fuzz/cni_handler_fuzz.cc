// SPDX-License-Identifier: Apache-2.0
// What any process that reaches the agent's CNI socket may send: CNI_ARGS in the first line, the
// network configuration behind it. Every command is answered once; what ADD makes its own result
// passes CHECK, and DEL succeeds and leaves nothing, whatever came before.
#include <stdlib.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "agent/network/cni_handler.h"
#include "dataplane/fake_dataplane.h"
#include "spdlog/spdlog.h"

namespace mesh::agent {
namespace {

void Require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "not so: %s\n", what);
  std::abort();
}

dataplane::NodeConfig Config() {
  dataplane::NodeConfig config;
  config.node_name = "node-1";
  config.pod_cidr = *IpPrefix::Parse("10.244.1.0/24");
  config.cluster_cidr = *IpPrefix::Parse("10.244.0.0/16");
  config.gateway = *IpAddress::Parse("10.244.1.1");
  return config;
}

NodeStatePtr State() {
  auto state = std::make_shared<NodeState>();
  v1::Pod& pod = state->pods["uid-1"].Mutable();
  pod.mutable_metadata()->set_namespace_("shop");
  pod.mutable_metadata()->set_name("web-1");
  pod.mutable_metadata()->set_uid("uid-1");
  pod.mutable_status()->set_pod_ip("10.244.1.20");
  pod.mutable_status()->set_identity(300);
  return state;
}

class Node {
 public:
  Node() : attachments_(Open()), handler_(&attachments_) {
    handler_.SetState(State());
    Require(handler_.SetDataplane(&dataplane_, Config()).ok(), "a dataplane");
    handler_.SetNotReady("");
  }
  ~Node() { std::filesystem::remove_all(folder_); }

  v1::CniReply Call(const std::string& command, const std::string& args,
                    const std::string& config) {
    v1::CniRequest request;
    request.set_command(command);
    request.set_container_id("container");
    request.set_netns("/run/netns/container");
    request.set_ifname("eth0");
    request.set_args(args);
    request.set_config(config);
    v1::CniReply out;
    int replies = 0;
    handler_.Handle(request, -1, [&](const v1::CniReply& reply) {
      out = reply;
      ++replies;
    });
    Require(replies == 1, "one reply");
    return out;
  }
  bool IsEmpty() const { return attachments_.all().empty() && dataplane_.Endpoints()->empty(); }

 private:
  Attachments Open() {
    Require(mkdtemp(folder_) != nullptr, "a folder");
    std::string dropped;
    auto out = Attachments::Open(folder_, &dropped);
    Require(out.ok(), "notes");
    return *std::move(out);
  }

  char folder_[32] = "/tmp/mesh-fuzz-XXXXXX";
  Attachments attachments_;
  dataplane::FakeDataplane dataplane_{Config()};
  CniHandler handler_;
};

}  // namespace
}  // namespace mesh::agent

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using mesh::agent::Require;
  static const bool quiet = (spdlog::set_level(spdlog::level::off), true);
  Require(quiet, "no log");
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const size_t end = std::min(text.find('\n'), text.size());
  const std::string args(text.substr(0, end)), config(text.substr(std::min(end + 1, text.size())));

  mesh::agent::Node node;
  for (const char* command : {"STATUS", "VERSION", "CHECK", "GC"}) node.Call(command, args, config);
  Require(node.IsEmpty(), "nothing made before ADD");
  const mesh::v1::CniReply added = node.Call("ADD", args, config);
  if (added.code() != 0) {
    Require(node.IsEmpty() && !added.message().empty(), "a failed ADD says why and leaves nothing");
    return 0;
  }
  Require(node.Call("ADD", args, config).code() != 0, "a DEL must come before another ADD");
  const size_t open = config.find('{');
  const mesh::v1::CniReply checked =
      node.Call("CHECK", args,
                config.substr(0, open + 1) + "\"prevResult\":" + added.result() + "," +
                    config.substr(open + 1));
  // A configuration with a prevResult of its own has two of them, and versions before 0.4.0 know
  // no CHECK.
  if (config.find("prevResult") == std::string::npos && config.find('\\') == std::string::npos) {
    Require(checked.code() <= 1, checked.message().c_str());
  }
  for (int i = 0; i < 2; ++i) Require(node.Call("DEL", args, config).code() == 0, "DEL");
  Require(node.IsEmpty(), "nothing left after DEL");
  return 0;
}
