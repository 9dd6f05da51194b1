// SPDX-License-Identifier: Apache-2.0
#include "agent/agent.h"

#include <fmt/format.h>

#include <utility>

#include "agent/node_info.h"
#include "common/log.h"
#include "google/protobuf/util/message_differencer.h"

namespace mesh::agent {
namespace {

constexpr absl::Duration kHealthInterval = absl::Milliseconds(200);
constexpr absl::Duration kAddressInterval = absl::Seconds(2);
// A runtime that is there answers in milliseconds; without it the node registers as not ready.
constexpr absl::Duration kRuntimeWait = absl::Seconds(2);

v1::Condition MakeCondition(const char* type, bool value, std::string reason, std::string message) {
  v1::Condition out;
  out.set_type(type);
  out.set_status(value ? "True" : "False");
  out.set_reason(std::move(reason));
  out.set_message(std::move(message));
  return out;
}

}  // namespace

Agent::Agent(EventLoop* loop, Network* network, CriClient* cri, CheckpointWriter* checkpoint,
             AgentOptions options, NodeStatePtr initial)
    : loop_(loop),
      network_(network),
      checkpoint_(checkpoint),
      options_(std::move(options)),
      state_(std::move(initial)),
      runtime_status_(absl::UnavailableError("not asked yet")) {
  PodReconciler::Hooks pod_hooks;
  pod_hooks.report = [this](const v1::PodReport& report) { sync_->ReportPod(report); };
  pod_hooks.forget = [this](const std::string& uid) { sync_->ForgetPod(uid); };
  pod_hooks.event = [this](const v1::NodeEvent& event) { sync_->SendEvent(event); };
  pod_hooks.volume = [this](const v1::VolumeReport& report) { sync_->ReportVolume(report); };
  pod_hooks.forget_volume = [this](const std::string& name) { sync_->ForgetVolume(name); };
  pod_hooks.network_ready = [this] { return network_->Ready(); };
  pod_hooks.name_server = [this] { return network_->PodNameServer(); };
  pod_hooks.runtime = [this](const absl::StatusOr<std::string>& version) { OnRuntime(version); };
  pods_ = std::make_unique<PodReconciler>(loop_, cri, options_.pods, std::move(pod_hooks));

  SyncClient::Hooks sync_hooks;
  sync_hooks.hello = [this] { return MakeHello(); };
  sync_hooks.welcome = [this](const v1::Welcome& welcome) { OnWelcome(welcome); };
  sync_hooks.update = [this](const v1::NodeUpdate& update) { OnUpdate(update); };
  sync_hooks.connection = [this](const std::string& server, absl::Status status) {
    OnConnection(server, status);
  };
  sync_ = std::make_unique<SyncClient>(loop_, options_.sync, std::move(sync_hooks),
                                       Random::FromEntropy());
  network_->OnWarning(
      [this](const NetworkWarning& warning) { loop_->Post([this, warning] { Warn(warning); }); });
}

Agent::~Agent() { network_->OnWarning(nullptr); }

void Agent::Start() {
  if (state_->complete) pods_->SetDesired(state_, /*live=*/false);
  pods_->Start();
  CheckHealth();
  loop_->RunAfter(kRuntimeWait, [this] { StartSync(); });
}

void Agent::StartSync() {
  if (std::exchange(sync_started_, true)) return;
  // Both start together at boot; only one that stays away is worth a line.
  if (!runtime_status_.ok()) WarnOfRuntime();
  sync_->Start();
}

void Agent::Warn(const NetworkWarning& warning) {
  v1::NodeEvent event;
  event.set_namespace_(warning.ns);
  event.set_type("Warning");
  event.set_reason(warning.reason);
  event.set_message(warning.message);
  if (!warning.service.empty()) {
    event.set_service(warning.service);
    sync_->SendEvent(event);
    return;
  }
  if (!warning.policy.empty()) {
    event.set_network_policy(warning.policy);
    sync_->SendEvent(event);
    return;
  }
  event.set_pod(warning.pod);
  for (const auto& [uid, known] : state_->pods) {
    if (known->metadata().namespace_() != warning.ns || known->metadata().name() != warning.pod)
      continue;
    event.set_uid(uid);
    sync_->SendEvent(event);
  }
}

void Agent::WarnOfRuntime() const {
  spdlog::warn("container runtime at {} does not answer, waiting for it: {}",
               options_.containerd_socket, std::string(runtime_status_.message()));
}

void Agent::OnRuntime(const absl::StatusOr<std::string>& version) {
  const bool was_up = runtime_status_.ok();
  const std::string before = std::string(runtime_status_.message());
  runtime_status_ = version.status();
  if (version.ok()) {
    if (!was_up) spdlog::info("container runtime {} answers", *version);
    const bool news = std::exchange(runtime_version_, *version) != *version;
    if (news && sync_started_) sync_->Reconnect();
    StartSync();
  } else if (sync_started_ && before != runtime_status_.message()) {
    WarnOfRuntime();
  }
  CheckHealth();
}

void Agent::CheckHealth() {
  loop_->Cancel(health_timer_);
  health_timer_ = loop_->RunAfter(kHealthInterval, [this] { CheckHealth(); });
  // In this order: what is taken over is ready before it is taken over no more.
  const bool taking_over = network_->TakingOver();
  const bool network = network_->Ready() || taking_over;
  std::vector<v1::Condition> conditions;
  if (!runtime_status_.ok()) {
    conditions.push_back(MakeCondition(
        "Ready", false, "ContainerRuntimeNotReady",
        fmt::format("container runtime at {} does not answer: {}", options_.containerd_socket,
                    std::string(runtime_status_.message()))));
  } else if (!network) {
    conditions.push_back(MakeCondition("Ready", false, "NetworkNotReady",
                                       "the node's network is not programmed yet"));
  } else {
    conditions.push_back(
        MakeCondition("Ready", true, "KubeletReady", "mesh-agent is posting ready status"));
  }
  conditions.push_back(
      taking_over ? MakeCondition("NetworkReady", true, "DataplaneTakenOver",
                                  "packets are forwarded as the agent before this one was told")
      : network ? MakeCondition("NetworkReady", true, "DataplaneProgrammed", network_->Shortfall())
                : MakeCondition("NetworkReady", false, "DataplaneNotProgrammed", ""));
  const std::string addresses = AddressTrouble();
  conditions.push_back(addresses.empty()
                           ? MakeCondition("AddressesPresent", true, "AddressesFound", "")
                           : MakeCondition("AddressesPresent", false, "AddressMissing", addresses));
  const std::string uplink = network_->UplinkTrouble();
  conditions.push_back(uplink.empty()
                           ? MakeCondition("MtuFollowed", true, "UplinkFollowed", "")
                           : MakeCondition("MtuFollowed", false, "MtuNotFollowed", uplink));
  const std::string policies = network_->PolicyTrouble();
  conditions.push_back(policies.empty()
                           ? MakeCondition("PoliciesInForce", true, "PoliciesProgrammed", "")
                           : MakeCondition("PoliciesInForce", false, "PolicyNotInForce", policies));
  const absl::Status saved = checkpoint_->status();
  conditions.push_back(
      saved.ok()
          ? MakeCondition("StateSaved", true, "CheckpointWritten", "")
          : MakeCondition("StateSaved", false, "CheckpointNotWritten",
                          fmt::format("{}; what runs goes on, but if mesh-agent starts again while "
                                      "meshd is away it knows an older state: make room there, or "
                                      "make it writable",
                                      std::string(saved.message()))));
  sync_->SetConditions(std::move(conditions));
}

// The list of a node's addresses is long where it has many pods.
const std::string& Agent::AddressTrouble() {
  if (options_.address_trouble != nullptr && loop_->Now() >= next_address_check_) {
    const bool dual_stack = !state_->config.cluster_cidr6().empty();
    const std::string before =
        std::exchange(address_trouble_, options_.address_trouble(dual_stack));
    if (!address_trouble_.empty() && address_trouble_ != before)
      spdlog::warn("{}", address_trouble_);
    next_address_check_ = loop_->Now() + kAddressInterval;
  }
  return address_trouble_;
}

v1::Hello Agent::MakeHello() const {
  v1::Hello hello;
  hello.set_node_name(options_.node_name);
  *hello.mutable_node() = DescribeNode(options_.node_name, options_.node_ips,
                                       options_.agent_endpoint, runtime_version_, options_.labels);
  if (!options_.pods.volume_dir.empty()) {
    (*hello.mutable_node()->mutable_metadata()->mutable_annotations())["mesh.io/volume-dir"] =
        options_.pods.volume_dir;
  }
  hello.mutable_node()->mutable_spec()->set_pod_cidr(state_->config.pod_cidr());
  hello.set_last_revision(state_->complete ? state_->revision : 0);
  for (std::string& uid : pods_->RunningUids()) hello.add_running_pod_uids(std::move(uid));
  return hello;
}

void Agent::OnConnection(const std::string& server, const absl::Status& status) {
  if (status.ok()) {
    spdlog::info("meshd at {} welcomed node {}", server, options_.node_name);
    connected_ = true;
    last_connection_error_.clear();
    return;
  }
  std::string why = fmt::format("meshd at {}: {}", server, std::string(status.message()));
  if (connected_) {
    spdlog::warn("{}; what runs here stays as it is, trying again", why);
  } else if (why != last_connection_error_) {
    spdlog::warn("{}; trying again", why);
  }
  connected_ = false;
  last_connection_error_ = std::move(why);
}

void Agent::OnWelcome(const v1::Welcome& welcome) {
  const bool same = google::protobuf::util::MessageDifferencer::Equals(state_->config, welcome);
  auto next = std::make_shared<NodeState>(*state_);
  next->config = welcome;
  state_ = std::move(next);
  // Of a node that has its state nothing else may come for long.
  if (!same && state_->complete) Program();
}

void Agent::OnUpdate(const v1::NodeUpdate& update) {
  auto next = std::make_shared<NodeState>(*state_);
  if (absl::Status merged = next->Merge(update); !merged.ok()) {
    spdlog::error("an update of meshd cannot be merged, asking for the whole state: {}",
                  std::string(merged.message()));
    return sync_->Reconnect();
  }
  state_ = std::move(next);
  Program();
}

void Agent::Program() {
  checkpoint_->Save(state_);
  applying_.push_back(state_);
  network_->Apply(state_, [this](int64_t revision, absl::Status status) {
    loop_->Post([this, revision, status] { OnApplied(revision, status); });
  });
}

// The network coalesces: one answer may stand for several states.
void Agent::OnApplied(int64_t revision, const absl::Status& status) {
  NodeStatePtr reached;
  while (!applying_.empty() && applying_.front()->revision <= revision) {
    reached = std::move(applying_.front());
    applying_.pop_front();
  }
  const std::string problem(status.message());
  if (!status.ok() && problem != not_held_)
    spdlog::error("revision {}: the dataplane does not hold all of it: {}", revision, problem);
  not_held_ = problem;
  sync_->Acknowledge(revision, problem);
  if (reached != nullptr) pods_->SetDesired(reached, /*live=*/true);
}

}  // namespace mesh::agent
