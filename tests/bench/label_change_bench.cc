// SPDX-License-Identifier: Apache-2.0
// How long a label change of one pod takes from the write to the maps, in a cluster of --policies
// NetworkPolicies and --pods pods on 100 nodes whose objects are made up. All else is the real
// thing, in one process on virtual time (nothing waits): writer, admission, watch cache, node
// sessions; the messages as bytes; the agent's state, its translation and the kernel's maps of two
// nodes, the pod's own and another one. The other nodes take and acknowledge at once.
//
// The order is that of a cluster: the others learn the new identity, all acknowledge it, the own
// node is told of the pod. What is not there: the disk of meshd, gRPC and the network, and that
// nodes work at the same time (here one after the other).
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "agent/network/desired_state.h"
#include "agent/state/node_state.h"
#include "api/schema/defaults.h"
#include "common/sim_loop.h"
#include "common/status.h"
#include "controlplane/policy/pod_traits.h"
#include "controlplane/rpc/node_sessions.h"
#include "controlplane/store/commit_queue.h"
#include "controlplane/store/keys.h"
#include "controlplane/store/memory_store.h"
#include "fmt/format.h"
#include "fmt/ranges.h"
#include "google/protobuf/text_format.h"
#include "mesh/shared/endpoint_map.h"
#include "mesh/shared/identity_map.h"
#include "mesh/shared/policy_map.h"
#include "spdlog/spdlog.h"
#include "tests/bench/figures.h"
#include "tests/bench/node.h"
#include "tests/bench/topology.h"
#include "tests/support/network/network.h"

namespace mesh::bench {
namespace {

namespace cp = ::mesh::controlplane;

constexpr int kNodes = 100, kAppsOfANamespace = 20;
constexpr int kOwn = 1, kOther = 2;  // the nodes with maps

struct Options {
  int policies = 1000, pods = 10'000, rounds = 101;
  int alike = 10;  // pods of the same labels
};

double Milliseconds(std::chrono::steady_clock::time_point since) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - since)
      .count();
}
std::chrono::steady_clock::time_point Now() { return std::chrono::steady_clock::now(); }

std::string NodeName(int node) { return fmt::format("n{}", node); }

// --- the cluster's objects ---

class Objects {
 public:
  explicit Objects(const Options& options) : options_(options) {}

  // Pod number `i`: of app i / alike; those of one app are on nodes that follow each other.
  int AppOf(int pod) const { return pod / options_.alike; }
  int NodeOf(int pod) const { return 1 + (AppOf(pod) + pod % options_.alike) % kNodes; }
  static std::string NamespaceOfApp(int app) {
    return fmt::format("team-{}", app / kAppsOfANamespace);
  }
  cp::ObjectKey KeyOf(int pod) const {
    return {NamespaceOfApp(AppOf(pod)), fmt::format("pod-{}", pod)};
  }
  std::string AddressOf(int pod) const {
    return fmt::format("10.244.{}.{}", NodeOf(pod), 2 + places_.at(static_cast<size_t>(pod)));
  }

  absl::Status Put(cp::MemoryStore* store) {
    std::map<int, int> used;
    for (int i = 0; i < options_.pods; ++i) places_.push_back(used[NodeOf(i)]++);
    const int apps = AppOf(options_.pods - 1) + 1;
    uint32_t number = 256;
    for (int app = 0; app < apps; app += kAppsOfANamespace) {
      const std::string name = NamespaceOfApp(app);
      RETURN_IF_ERROR(Add(fmt::format(
          R"(namespace {{ metadata {{ name: "{0}" uid: "{0}"
                                      labels {{ key: "team" value: "{0}" }} }}
               status {{ phase: "Active" identity: {1} }} }})",
          name, number++)));
    }
    for (int node = 1; node <= kNodes; ++node) {
      RETURN_IF_ERROR(Add(fmt::format(
          R"(node {{ metadata {{ name: "{}" uid: "node-{}" }} spec {{ pod_cidr: "10.244.{}.0/24" }}
               status {{ addresses {{ type: "InternalIP" address: "192.0.2.{}" }} }} }})",
          NodeName(node), node, node, node)));
    }
    std::map<std::string, uint32_t> identities;  // by what they stand for
    for (int i = 0; i < options_.pods; ++i) {
      v1::Resource pod;
      RETURN_IF_ERROR(Parse(fmt::format(
                                R"(pod {{ metadata {{ namespace: "{}" name: "{}" uid: "pod-{}"
                     labels {{ key: "app" value: "app-{}" }}
                     labels {{ key: "track" value: "stable" }} }}
                   spec {{ node_name: "{}" containers {{ name: "main" image: "web:1"
                       ports {{ name: "web" container_port: 8080 protocol: "TCP" }} }} }}
                   status {{ phase: "Running" pod_ip: "{}" pod_ips {{ ip: "{}" }} }} }})",
                                KeyOf(i).ns, KeyOf(i).name, i, AppOf(i), NodeName(NodeOf(i)),
                                AddressOf(i), AddressOf(i)),
                            &pod));
      const auto [it, is_new] = identities.try_emplace(cp::IdentityText(pod.pod()), number);
      if (is_new) ++number;
      pod.mutable_pod()->mutable_status()->set_identity(it->second);
      Add(pod);
    }
    for (int i = 0; i < options_.policies; ++i) RETURN_IF_ERROR(Add(PolicyText(i, apps)));
    return store->Commit(transaction_).status();
  }

 private:
  static absl::Status Parse(const std::string& text, v1::Resource* out) {
    if (!google::protobuf::TextFormat::ParseFromString(text, out))
      return absl::InternalError("no object: " + text);
    schema::ApplyDefaults(out);
    return absl::OkStatus();
  }
  absl::Status Add(const std::string& text) {
    v1::Resource resource;
    RETURN_IF_ERROR(Parse(text, &resource));
    Add(resource);
    return absl::OkStatus();
  }
  void Add(const v1::Resource& resource) {
    transaction_.operations.push_back(
        {.type = cp::Operation::Type::kPut,
         .key = cp::EncodeKey(cp::KindOf(resource), cp::KeyOf(resource)),
         .value = resource.SerializeAsString()});
  }

  // Who may talk to an app: its neighbour in the namespace, one of another namespace, a range; half
  // of them also say whom the app may talk to.
  static std::string PolicyText(int i, int apps) {
    const int app = i % apps;
    const int near = app / kAppsOfANamespace * kAppsOfANamespace + (app + 1) % kAppsOfANamespace;
    const int far = (app + kAppsOfANamespace) % apps;
    std::string egress;
    if (i % 2 == 0) {
      egress = fmt::format(
          R"(policy_types: "Egress" egress {{ ports {{ protocol: "TCP" port {{ int_value: 8080 }} }}
               to {{ pod_selector {{ match_labels {{ key: "app" value: "app-{}" }} }} }} }})",
          near);
    }
    return fmt::format(
        R"(network_policy {{ metadata {{ namespace: "{}" name: "p-{}" uid: "p-{}" }} spec {{
             pod_selector {{ match_labels {{ key: "app" value: "app-{}" }} }}
             policy_types: "Ingress"
             ingress {{ ports {{ protocol: "TCP" port {{ string_value: "web" }} }}
               from {{ pod_selector {{ match_labels {{ key: "app" value: "app-{}" }} }} }} }}
             ingress {{ ports {{ protocol: "TCP" port {{ int_value: 8000 }} end_port: 8099 }}
               from {{ namespace_selector {{ match_labels {{ key: "team" value: "{}" }} }}
                       pod_selector {{ match_labels {{ key: "app" value: "app-{}" }} }} }} }}
             ingress {{ ports {{ protocol: "TCP" port {{ int_value: 443 }} }}
               from {{ ip_block {{ cidr: "172.16.{}.0/24" except: "172.16.{}.128/25" }} }} }}
             {} }} }})",
        NamespaceOfApp(app), i, i, app, near, NamespaceOfApp(far), far, i % 256, i % 256, egress);
  }

  const Options& options_;
  std::vector<int> places_;  // of pods on their node
  cp::Transaction transaction_;
};

// --- the nodes ---

class Node : public cp::NodeLink {
 public:
  Node(EventLoop& loop, cp::NodeSessions& sessions, int number)
      : loop_(loop), sessions_(sessions), number_(number), id_(sessions.Open(this)) {
    v1::AgentMessage message;
    message.mutable_hello()->set_node_name(NodeName(number));
    v1::Node* node = message.mutable_hello()->mutable_node();
    node->mutable_spec()->set_pod_cidr(fmt::format("10.244.{}.0/24", number));
    v1::NodeAddress* address = node->mutable_status()->add_addresses();
    address->set_type("InternalIP");
    address->set_address(fmt::format("192.0.2.{}", number));
    sessions_.OnMessage(id_, message);
  }
  ~Node() override { sessions_.OnClosed(id_); }

  void Send(v1::ControlMessage message) override {
    OnSend();
    auto bytes = std::make_shared<std::string>(message.SerializeAsString());
    loop_.Post([this, bytes] { Take(*bytes); });
  }
  void Close(const absl::Status& status) override {
    std::fprintf(stderr, "%s: closed: %s\n", NodeName(number_).c_str(),
                 std::string(status.message()).c_str());
    std::exit(1);
  }

 protected:
  virtual void OnSend() {}
  // Brings it into the maps.
  virtual absl::Status Program(const v1::NodeUpdate&) { return absl::OkStatus(); }
  virtual void Welcome(const v1::Welcome&) {}

 private:
  void Take(const std::string& bytes) {
    sessions_.OnSent(id_);
    v1::ControlMessage message;
    // Most nodes do no more here than a node's end of the stream does for them.
    message.ParseFromString(bytes);
    if (message.has_welcome()) return Welcome(message.welcome());
    if (!message.has_update()) return;
    const absl::Status status = Program(message.update());
    if (!status.ok()) return Close(status);
    v1::AgentMessage ack;
    ack.mutable_ack()->set_revision(message.update().revision());
    sessions_.OnMessage(id_, ack);
  }

  EventLoop& loop_;
  cp::NodeSessions& sessions_;
  const int number_;
  const cp::NodeSessions::Id id_;
};

// What one change cost, in the order of its parts.
struct Sample {
  double control = 0;  // from the write to the first message
  double other = 0;    // the other node: bytes -> maps
  double own = 0;      // the pod's
  double whole = 0;
  size_t rows = 0;  // of both nodes that are different after it
};

// One with the kernel's maps, and the agent's way to them.
class RealNode : public Node {
 public:
  using Part = std::function<void(double)>;
  RealNode(EventLoop& loop, cp::NodeSessions& sessions, int number, BenchNode node,
           std::function<void()> on_send)
      : Node(loop, sessions, number),
        node_(std::move(node)),
        on_send_(std::move(on_send)),
        builder_(NodeNumber(number)) {}

  double spent() const { return spent_; }
  void Begin() { spent_ = 0; }
  BenchNode& node() { return node_; }

  // What the maps of policies and of pods say, one text for each row.
  absl::StatusOr<std::set<std::string>> Rows() const {
    std::set<std::string> out;
    for (const char* map :
         {MESH_POLICY_PEER_MAP_NAME, MESH_POLICY_BLOCK_MAP_NAME, MESH_POLICY_PORT_MAP_NAME,
          MESH_POD_NAMESPACE_MAP_NAME, MESH_IDENTITY_MAP_NAME, MESH_ENDPOINT_MAP_NAME}) {
      ASSIGN_OR_RETURN(const dataplane::MapRows rows, node_.dataplane->RowsOf(map, 1'000'000));
      for (const dataplane::MapEntryText& row : rows.rows) {
        out.insert(fmt::format("{} {} {}", map, row.key, fmt::join(row.values, " ")));
      }
    }
    return out;
  }

 private:
  void OnSend() override { on_send_(); }
  void Welcome(const v1::Welcome& welcome) override {
    auto next = std::make_shared<agent::NodeState>(*state_);
    next->config = welcome;
    state_ = std::move(next);
  }
  absl::Status Program(const v1::NodeUpdate& update) override {
    const auto start = Now();
    auto next = std::make_shared<agent::NodeState>(*state_);
    RETURN_IF_ERROR(next->Merge(update));
    state_ = std::move(next);
    const agent::Translation& translation = builder_.Build(state_);
    if (!translation.skipped.empty()) return absl::InternalError(translation.skipped.front());
    RETURN_IF_ERROR(
        Inside(node_.netns, [&] { return node_.dataplane->Apply(translation.desired); }));
    spent_ += Milliseconds(start);
    return absl::OkStatus();
  }

  BenchNode node_;
  std::function<void()> on_send_;
  agent::DesiredStateBuilder builder_;
  agent::NodeStatePtr state_ = std::make_shared<agent::NodeState>();
  double spent_ = 0;
};

// --- the measurement ---

class Cluster {
 public:
  explicit Cluster(const Options& options) : options_(options), objects_(options) {}

  absl::Status Start(Namespaces& spaces, const std::string& bpf_root) {
    RETURN_IF_ERROR(objects_.Put(&store_));
    RETURN_IF_ERROR(cache_.Start());
    sessions_ =
        std::make_unique<cp::NodeSessions>(loop_, cache_, writer_, cp::NodeSessions::Options{});
    for (int i = 1; i <= kNodes; ++i) {
      if (i != kOwn && i != kOther) {
        nodes_.push_back(std::make_unique<Node>(loop_, *sessions_, i));
        continue;
      }
      ASSIGN_OR_RETURN(auto node, MakeReal(spaces, bpf_root, i));
      real_[i] = node.get();
      nodes_.push_back(std::move(node));
    }
    loop_.RunFor(absl::Seconds(60));
    return AttachPods(spaces);
  }

  // One pod of the first node gets label `key`=`value`.
  absl::StatusOr<Sample> Change(int pod, const std::string& key, const std::string& value) {
    RealNode &own = *real_.at(kOwn), &other = *real_.at(kOther);
    ASSIGN_OR_RETURN(const auto own_before, own.Rows());
    ASSIGN_OR_RETURN(const auto other_before, other.Rows());
    const auto current = cache_.Find(v1::KIND_POD, objects_.KeyOf(pod));
    if (current == nullptr) return absl::NotFoundError("no pod " + objects_.KeyOf(pod).ToString());
    v1::Resource next = *current;
    (*next.mutable_pod()->mutable_metadata()->mutable_labels())[key] = value;

    Sample out;
    own.Begin();
    other.Begin();
    sent_.reset();
    absl::Status written = absl::UnavailableError("not written");
    const auto start = Now();
    writer_.Submit({cp::Write::Type::kUpdate, std::move(next), {}},
                   [&](const absl::StatusOr<cp::Written>& result) { written = result.status(); });
    // All that is due; nothing in it waits for time to pass.
    loop_.RunFor(absl::ZeroDuration());
    out.whole = Milliseconds(start);
    RETURN_IF_ERROR(written);
    if (!sent_) return absl::InternalError("no node was told");
    out.control = std::chrono::duration<double, std::milli>(*sent_ - start).count();
    out.own = own.spent();
    out.other = other.spent();
    ASSIGN_OR_RETURN(const auto own_after, own.Rows());
    ASSIGN_OR_RETURN(const auto other_after, other.Rows());
    out.rows = Different(own_before, own_after) + Different(other_before, other_after);
    RETURN_IF_ERROR(CheckIsInForce(pod));
    // The identity that nobody has any more goes.
    loop_.RunFor(absl::Seconds(60));
    return out;
  }

  // Of the pod's namespace; not the one of the round before.
  int AnotherApp(int pod, int round) const {
    const int own = objects_.AppOf(pod);
    return own / kAppsOfANamespace * kAppsOfANamespace + (own + 1 + round) % kAppsOfANamespace;
  }

  // Pods of the first node.
  std::vector<int> Pods() const {
    std::vector<int> out;
    for (int i = 0; i < options_.pods; ++i) {
      if (objects_.NodeOf(i) == kOwn) out.push_back(i);
    }
    return out;
  }
  size_t RowsOf(int node) const {
    const auto rows = real_.at(node)->Rows();
    return rows.ok() ? rows->size() : 0;
  }

 private:
  static size_t Different(const std::set<std::string>& a, const std::set<std::string>& b) {
    std::vector<std::string> out;
    std::set_symmetric_difference(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(out));
    return out.size();
  }

  absl::StatusOr<std::unique_ptr<RealNode>> MakeReal(Namespaces& spaces,
                                                     const std::string& bpf_root, int number) {
    ASSIGN_OR_RETURN(const std::string netns, spaces.Add(NodeName(number)));
    const dataplane::NodeConfig config = NodeNumber(number);
    RETURN_IF_ERROR(
        Run({"ip", "-n", netns, "address", "add", config.node_ip.ToString() + "/32", "dev", "lo"}));
    ASSIGN_OR_RETURN(BenchNode node, StartNode(netns, bpf_root + "/" + NodeName(number), config,
                                               dataplane::DesiredState()));
    return std::make_unique<RealNode>(loop_, *sessions_, number, std::move(node), [this] {
      if (!sent_) sent_ = Now();
    });
  }

  // The pods whose labels change have their interface.
  absl::Status AttachPods(Namespaces& spaces) {
    for (const int pod : ChangingPods()) {
      ASSIGN_OR_RETURN(const std::string netns, spaces.Add(fmt::format("pod-{}", pod)));
      const auto found = cache_.Find(v1::KIND_POD, objects_.KeyOf(pod));
      RETURN_IF_ERROR(AddPod(real_.at(kOwn)->node(), netns, objects_.AddressOf(pod), "",
                             found->pod().status().identity())
                          .status());
    }
    return absl::OkStatus();
  }

  // The row of its interface has its present identity.
  absl::Status CheckIsInForce(int pod) {
    const uint32_t identity =
        cache_.Find(v1::KIND_POD, objects_.KeyOf(pod))->pod().status().identity();
    ASSIGN_OR_RETURN(const auto endpoints, real_.at(kOwn)->node().dataplane->Endpoints());
    for (const dataplane::Endpoint& endpoint : endpoints) {
      if (endpoint.ip.ToString() != objects_.AddressOf(pod)) continue;
      if (endpoint.identity == identity) return absl::OkStatus();
      return absl::InternalError(fmt::format("pod {} has identity {} in the maps, not {}", pod,
                                             endpoint.identity, identity));
    }
    return absl::InternalError(fmt::format("pod {} is not in the maps", pod));
  }

 public:
  std::vector<int> ChangingPods() const {
    std::vector<int> pods = Pods();
    pods.resize(std::min<size_t>(pods.size(), 8));
    return pods;
  }

 private:
  const Options options_;
  Objects objects_;
  SimLoop loop_;
  cp::MemoryStore store_{{.loop = &loop_}};
  cp::WatchCache cache_{loop_, store_};
  std::unique_ptr<cp::CommitQueue> commits_ = cp::NewLoopCommitQueue(loop_, store_);
  cp::Writer writer_{loop_, cache_, *commits_, Random(7), {}};
  std::unique_ptr<cp::NodeSessions> sessions_;
  std::vector<std::unique_ptr<Node>> nodes_;
  std::map<int, RealNode*> real_;
  std::optional<std::chrono::steady_clock::time_point> sent_;
};

void Report(const std::string& name, const std::vector<Sample>& samples) {
  const auto series = [&](auto part) {
    std::vector<double> out;
    for (const Sample& sample : samples) out.push_back(part(sample));
    return out;
  };
  const auto print = [&](const char* what, const char* unit, std::vector<double> values) {
    std::printf("%s\n",
                ToJson({.name = name + what, .value = Median(values), .unit = unit}).c_str());
    std::printf("%s\n", ToJson({.name = name + what + std::string("_max"),
                                .value = *std::max_element(values.begin(), values.end()),
                                .unit = unit})
                            .c_str());
  };
  print("", "ms", series([](const Sample& sample) { return sample.whole; }));
  print("_control_plane", "ms", series([](const Sample& sample) { return sample.control; }));
  print("_other_node", "ms", series([](const Sample& sample) { return sample.other; }));
  print("_own_node", "ms", series([](const Sample& sample) { return sample.own; }));
  print("_rows", "rows",
        series([](const Sample& sample) { return static_cast<double>(sample.rows); }));
}

absl::Status Measure(const Options& options) {
  Namespaces spaces;
  ASSIGN_OR_RETURN(const std::string bpf_root, mesh::testing::PrivateBpffs());
  Cluster cluster(options);
  const auto start = Now();
  RETURN_IF_ERROR(cluster.Start(spaces, bpf_root));
  std::printf(
      "%d pods, %d policies, %d nodes: all known after %.0f ms; rows of two nodes: %zu, %zu\n",
      options.pods, options.policies, kNodes, Milliseconds(start), cluster.RowsOf(kOwn),
      cluster.RowsOf(kOther));
  // Another identity of which all say the same; and one that other policies select.
  std::vector<Sample> alike, moved;
  const std::vector<int> pods = cluster.ChangingPods();
  for (int round = 0; round < options.rounds; ++round) {
    const int pod = pods[static_cast<size_t>(round) % pods.size()];
    ASSIGN_OR_RETURN(const Sample one,
                     cluster.Change(pod, "track", fmt::format("canary-{}", round)));
    alike.push_back(one);
    const int app = cluster.AnotherApp(pod, round);
    ASSIGN_OR_RETURN(const Sample two, cluster.Change(pod, "app", fmt::format("app-{}", app)));
    moved.push_back(two);
  }
  Report("label_change", alike);
  Report("label_change_other_policies", moved);
  return absl::OkStatus();
}

bool ParseOptions(int argc, char** argv, Options* options) {
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i];
    char* end = nullptr;
    const long number = std::strtol(argv[i + 1], &end, 10);
    if (end == argv[i + 1] || *end != '\0') return false;
    int* value = name == "--policies" ? &options->policies
                 : name == "--pods"   ? &options->pods
                 : name == "--alike"  ? &options->alike
                 : name == "--rounds" ? &options->rounds
                                      : nullptr;
    if (value == nullptr || number < 1 || number > 20'000) return false;
    *value = static_cast<int>(number);
  }
  return argc % 2 == 1 && options->alike <= kNodes && options->pods >= 1000;
}

}  // namespace
}  // namespace mesh::bench

int main(int argc, char** argv) {
  mesh::bench::Options options;
  if (!mesh::bench::ParseOptions(argc, argv, &options)) {
    std::fprintf(stderr,
                 "usage: label_change_bench [--policies 1..20000] [--pods 1000..20000] "
                 "[--alike 1..100] [--rounds N]\n");
    return 2;
  }
  spdlog::set_level(spdlog::level::warn);
  const absl::Status status = mesh::bench::Measure(options);
  if (!status.ok()) {
    std::fprintf(stderr, "label_change: error: %s\n", std::string(status.message()).c_str());
    return 1;
  }
  return 0;
}
