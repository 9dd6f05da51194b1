// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/sim_cluster.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "api/schema/defaults.h"
#include "common/check.h"
#include "common/log.h"
#include "controlplane/controllers/endpoints_controller.h"
#include "controlplane/controllers/objects.h"
#include "controlplane/controllers/rollout.h"
#include "controlplane/rpc/node_sessions.h"
#include "fmt/format.h"
#include "tests/sim/sim_parts.h"

namespace mesh::sim {
namespace {

constexpr absl::Duration kHeartbeat = absl::Seconds(1);
constexpr char kRanges6[] = "10.244.0.0/16,fd00:10:244::/56";
constexpr char kServices6[] = "10.96.0.0/16,fd00:10:96::/108";
constexpr char kSilentImage[] = "broken";  // never becomes ready

v1::IntOrString Amount(const std::string& text) {
  v1::IntOrString out;
  if (!text.empty() && text.back() == '%')
    out.set_string_value(text);
  else
    out.set_int_value(std::stoi(text));
  return out;
}

}  // namespace

void SimCluster::Stream::Send(v1::ControlMessage message) {
  SimLoop& loop = cluster_->loop_;
  last_down = std::max(last_down, loop.Now() + cluster_->Delay(20));
  loop.RunAt(last_down, [self = shared_from_this(), message = std::move(message)] {
    SimCluster* cluster = self->cluster_;
    if (self->open && self->agent_->epoch == self->epoch)
      cluster->Receive(self->agent_, self, message);
    if (self->open && cluster->control_ != nullptr && cluster->incarnation_ == self->incarnation)
      cluster->control_->sessions->OnSent(self->id);
  });
}

void SimCluster::Stream::Close(const absl::Status&) {
  if (!std::exchange(open, false)) return;
  cluster_->loop_.Post([self = shared_from_this()] {
    SimCluster* cluster = self->cluster_;
    if (cluster->control_ != nullptr && cluster->incarnation_ == self->incarnation)
      cluster->control_->sessions->OnClosed(self->id);
    if (self->agent_->stream == self) cluster->ConnectSoon(self->agent_);
  });
}

SimCluster::SimCluster(uint64_t seed, int nodes)
    : random_(seed),
      seed_(seed),
      dual_stack_(seed % 2 == 0),
      store_(cp::MemoryStore::Options{.loop = &loop_}) {
  // A life of minutes logs more than anybody reads; MESH_SIM_SEED is for looking closer.
  if (std::getenv("MESH_SIM_SEED") == nullptr) spdlog::set_level(spdlog::level::off);
  observer_ = std::make_unique<cp::WatchCache>(loop_, store_);
  MESH_CHECK(observer_->Start().ok());
  observation_ = observer_->Subscribe([this](const cp::ChangeBatch& batch) { Observe(batch); });
  StartControl();
  for (int i = 0; i < nodes; ++i) AddNode(i);
}

SimCluster::~SimCluster() {
  StopControl();
  observation_.Reset();
  observer_.reset();
}

// --- the control plane ---

void SimCluster::StartControl() {
  ++incarnation_;
  control_ = std::make_unique<Control>();
  control_->cache = std::make_unique<cp::WatchCache>(loop_, store_);
  MESH_CHECK(control_->cache->Start().ok());
  control_->commits = std::make_unique<CrashingCommitQueue>(loop_, store_);
  cp::Writer::Options writing;
  cp::NodeSessions::Options sessions;
  if (dual_stack_) {
    writing.admission.cluster_cidr = sessions.cluster_cidr = kRanges6;
    writing.admission.service_cidr = sessions.service_cidr = kServices6;
    sessions.routing = v1::Welcome::NATIVE;
  }
  control_->writer = std::make_unique<cp::Writer>(loop_, *control_->cache, *control_->commits,
                                                  Random(seed_ * 1000 + incarnation_), writing);
  control_->sessions = std::make_unique<cp::NodeSessions>(loop_, *control_->cache,
                                                          *control_->writer, std::move(sessions));
  control_->writer->EnsureBaseObjects({});
  control_->runtime = cp::StartControllers(&loop_, control_->cache.get(), control_->writer.get(),
                                           {.seed = seed_ + incarnation_});
  for (const auto& agent : agents_)
    if (agent->alive) ConnectSoon(agent.get());
}

void SimCluster::StopControl() { control_.reset(); }

void SimCluster::CrashControl(absl::Duration downtime) {
  if (control_ == nullptr) return;
  StopControl();
  loop_.RunAfter(downtime, [this] {
    if (control_ == nullptr) StartControl();
  });
}

void SimCluster::CrashControlAfter(int commits, absl::Duration downtime) {
  if (control_ == nullptr) return;
  const bool after = random_.Below(2) == 0;
  control_->commits->Arm(commits, after, [this, downtime, incarnation = incarnation_] {
    loop_.Post([this, downtime, incarnation] {
      if (incarnation == incarnation_) CrashControl(downtime);
    });
  });
}

// --- users ---

void SimCluster::User(std::function<void(Message)> attempt) {
  auto finished = std::make_shared<bool>(false);
  if (control_ != nullptr && control_->cache->state().namespaces.contains({"", "default"}))
    attempt([finished] { *finished = true; });
  // The answer comes at once or, when the control plane died over it, never.
  loop_.RunAfter(absl::Milliseconds(200), [this, finished, attempt = std::move(attempt)] {
    if (!*finished) User(attempt);
  });
}

void SimCluster::CreateDeployment(const std::string& name, int replicas,
                                  const std::string& strategy, const std::string& max_surge,
                                  const std::string& max_unavailable) {
  v1::Resource resource;
  v1::Deployment* deployment = resource.mutable_deployment();
  deployment->mutable_metadata()->set_name(name);
  deployment->mutable_metadata()->set_namespace_("default");
  auto* spec = deployment->mutable_spec();
  spec->set_replicas(replicas);
  (*spec->mutable_selector()->mutable_match_labels())["app"] = name;
  (*spec->mutable_template_()->mutable_metadata()->mutable_labels())["app"] = name;
  v1::Container* container = spec->mutable_template_()->mutable_spec()->add_containers();
  container->set_name("main");
  container->set_image("registry.local/app:1");
  v1::ContainerPort* port = container->add_ports();
  port->set_name("http");
  port->set_container_port(8080);
  spec->mutable_strategy()->set_type(strategy);
  if (strategy == "RollingUpdate") {
    *spec->mutable_strategy()->mutable_rolling_update()->mutable_max_surge() = Amount(max_surge);
    *spec->mutable_strategy()->mutable_rolling_update()->mutable_max_unavailable() =
        Amount(max_unavailable);
  }
  schema::ApplyDefaults(&resource);
  User([this, resource](Message done) {
    control_->writer->Create(resource, [done](const auto& written) {
      if (written.ok() || absl::IsAlreadyExists(written.status())) done();
    });
  });
}

void SimCluster::CreateService(const std::string& name) {
  v1::Resource resource;
  v1::Service* service = resource.mutable_service();
  service->mutable_metadata()->set_name(name);
  service->mutable_metadata()->set_namespace_("default");
  (*service->mutable_spec()->mutable_selector())["app"] = name;
  service->mutable_spec()->set_ip_family_policy("PreferDualStack");
  v1::ServicePort* port = service->mutable_spec()->add_ports();
  port->set_port(80);
  port->mutable_target_port()->set_string_value("http");
  schema::ApplyDefaults(&resource);
  User([this, resource](Message done) {
    control_->writer->Create(resource, [done](const auto& written) {
      if (written.ok() || absl::IsAlreadyExists(written.status())) done();
    });
  });
}

void SimCluster::UpdateDeployment(const std::string& name,
                                  std::function<void(v1::Deployment*)> change) {
  User([this, name, change = std::move(change)](Message done) {
    const auto current = control_->cache->Find(v1::KIND_DEPLOYMENT, {"default", name});
    if (current == nullptr) return;  // its creation is still under way
    v1::Resource next = *current;
    change(next.mutable_deployment());
    control_->writer->Submit({cp::Write::Type::kUpdate, next, {}}, [done](const auto& written) {
      if (written.ok()) done();
    });
  });
}

void SimCluster::Scale(const std::string& deployment, int replicas) {
  UpdateDeployment(deployment,
                   [replicas](v1::Deployment* d) { d->mutable_spec()->set_replicas(replicas); });
}

void SimCluster::SetImage(const std::string& deployment, const std::string& image) {
  UpdateDeployment(deployment, [image](v1::Deployment* d) {
    d->mutable_spec()->mutable_template_()->mutable_spec()->mutable_containers(0)->set_image(image);
  });
}

void SimCluster::Delete(v1::Kind kind, const cp::ObjectKey& key) {
  User([this, kind, key](Message done) {
    control_->writer->Delete(kind, key, {}, [done](const auto& written) {
      if (written.ok() || absl::IsNotFound(written.status())) done();
    });
  });
}

// --- agents ---

absl::Duration SimCluster::Delay(int max_ms) {
  return absl::Microseconds(static_cast<int64_t>(random_.Below(max_ms * 1000) + 1));
}

void SimCluster::AddNode(int index) {
  auto agent = std::make_unique<Agent>();
  agent->name = fmt::format("node-{}", index);
  agent->index = index;
  agents_.push_back(std::move(agent));
  Connect(agents_.back().get());
}

void SimCluster::ConnectSoon(Agent* agent) {
  loop_.RunAfter(Delay(500), [this, agent, epoch = agent->epoch] {
    const bool connected = agent->stream != nullptr && agent->stream->open &&
                           agent->stream->incarnation == incarnation_;
    if (agent->alive && agent->epoch == epoch && !connected) Connect(agent);
  });
}

void SimCluster::Connect(Agent* agent) {
  if (control_ == nullptr) return;  // its start makes everybody connect
  auto stream = std::make_shared<Stream>(this, agent);
  stream->incarnation = incarnation_;
  stream->epoch = agent->epoch;
  stream->id = control_->sessions->Open(stream.get());
  control_->streams.push_back(stream);
  agent->stream = stream;
  v1::AgentMessage message;
  v1::Hello* hello = message.mutable_hello();
  hello->set_node_name(agent->name);
  v1::NodeStatus* status = hello->mutable_node()->mutable_status();
  (*status->mutable_capacity())["cpu"].set_text("4");
  (*status->mutable_capacity())["memory"].set_text("8Gi");
  (*status->mutable_capacity())["pods"].set_text("110");
  v1::NodeAddress* address = status->add_addresses();
  address->set_type("InternalIP");
  address->set_address(fmt::format("192.0.2.{}", agent->index + 1));
  for (const auto& [uid, pod] : agent->pods) hello->add_running_pod_uids(uid);
  Send(stream, std::move(message));
  Heartbeat(agent, stream);
  // What the last control plane was told may have died with it.
  for (const auto& [uid, pod] : agent->pods) Report(agent, uid);
}

void SimCluster::Heartbeat(Agent* agent, const std::shared_ptr<Stream>& stream) {
  if (agent->stream != stream || !stream->open || agent->epoch != stream->epoch) return;
  v1::AgentMessage message;
  message.mutable_heartbeat();
  Send(stream, std::move(message));
  loop_.RunAfter(kHeartbeat, [this, agent, stream] { Heartbeat(agent, stream); });
}

void SimCluster::Send(const std::shared_ptr<Stream>& stream, v1::AgentMessage message) {
  stream->last_up = std::max(stream->last_up, loop_.Now() + Delay(20));
  loop_.RunAt(stream->last_up, [this, stream, message = std::move(message)] {
    if (stream->open && control_ != nullptr && incarnation_ == stream->incarnation &&
        stream->agent_->epoch == stream->epoch)
      control_->sessions->OnMessage(stream->id, message);
  });
}

void SimCluster::Receive(Agent* agent, const std::shared_ptr<Stream>& stream,
                         const v1::ControlMessage& message) {
  if (agent->stream != stream || !message.has_update()) return;
  OnUpdate(agent, message.update());
  v1::AgentMessage ack;
  ack.mutable_ack()->set_revision(message.update().revision());
  Send(stream, std::move(ack));
}

void SimCluster::OnUpdate(Agent* agent, const v1::NodeUpdate& update) {
  if (update.full()) {
    std::set<std::string> listed;
    for (const v1::Pod& pod : update.pods()) listed.insert(pod.metadata().uid());
    std::erase_if(agent->pods, [&](const auto& pod) { return !listed.contains(pod.first); });
    agent->services.clear();
    agent->identities.clear();
  }
  for (const std::string& ip : update.removed_pod_ips()) agent->identities.erase(ip);
  for (const v1::PodIdentity& row : update.pod_identities()) {
    agent->identities[row.ip()] = row.identity();
  }
  for (const v1::Pod& pod : update.pods()) OnPod(agent, pod);
  for (const std::string& uid : update.removed_pod_uids()) agent->pods.erase(uid);
  for (const v1::ServiceState& service : update.services())
    agent->services[service.namespace_() + "/" + service.name()] = service;
  for (const std::string& service : update.removed_services()) agent->services.erase(service);
}

void SimCluster::OnPod(Agent* agent, const v1::Pod& pod) {
  if (!cp::IsBound(pod)) return;
  const std::string& uid = pod.metadata().uid();
  auto [it, fresh] = agent->pods.try_emplace(uid);
  Agent::LocalPod& local = it->second;
  local.pod = pod;
  if (cp::IsTerminating(pod.metadata())) {
    if (fresh) {
      local.stopping = local.stopped = true;  // nothing of it runs here
      Report(agent, uid);
    } else if (!local.stopping) {
      StopPod(agent, uid, pod.metadata().deletion_grace_period_seconds());
    }
  } else if (fresh) {
    Report(agent, uid);
    StartPod(agent, uid);
  }
}

void SimCluster::StartPod(Agent* agent, const std::string& uid) {
  loop_.RunAfter(Delay(800), [this, agent, uid, epoch = agent->epoch] {
    if (!agent->alive || agent->epoch != epoch) return;
    auto it = agent->pods.find(uid);
    if (it == agent->pods.end() || it->second.stopping) return;
    if (it->second.pod.spec().containers(0).image() == kSilentImage) return;
    it->second.ready = true;
    it->second.ready_since = loop_.Now();
    Report(agent, uid);
  });
}

void SimCluster::StopPod(Agent* agent, const std::string& uid, int64_t grace_seconds) {
  agent->pods[uid].stopping = true;
  const int limit_ms = static_cast<int>(std::clamp<int64_t>(grace_seconds * 1000, 1, 2000));
  loop_.RunAfter(Delay(limit_ms), [this, agent, uid, epoch = agent->epoch] {
    if (!agent->alive || agent->epoch != epoch || !agent->pods.contains(uid)) return;
    agent->pods[uid].ready = false;
    agent->pods[uid].stopped = true;
    Report(agent, uid);
  });
}

void SimCluster::Report(Agent* agent, const std::string& uid) {
  if (agent->stream == nullptr) return;
  const Agent::LocalPod& local = agent->pods.at(uid);
  v1::AgentMessage message;
  v1::PodReport* report = message.mutable_pod();
  report->set_namespace_(local.pod.metadata().namespace_());
  report->set_name(local.pod.metadata().name());
  report->set_uid(uid);
  report->set_terminated(local.stopped);
  v1::PodStatus* status = report->mutable_status();
  status->set_phase(local.ready || local.restarts > 0 ? "Running" : "Pending");
  v1::Condition* ready = status->add_conditions();
  ready->set_type("Ready");
  ready->set_status(local.ready ? "True" : "False");
  if (local.ready) *ready->mutable_last_transition_time() = cp::ToTimestamp(local.ready_since);
  Send(agent->stream, std::move(message));
}

// The stream's other end notices later.
void SimCluster::Die(Agent* agent) {
  agent->alive = false;
  ++agent->epoch;
  std::shared_ptr<Stream> stream = std::exchange(agent->stream, nullptr);
  if (stream == nullptr) return;
  loop_.RunAfter(Delay(4000), [stream] { stream->Close(absl::UnavailableError("gone")); });
}

void SimCluster::KillAgent(int node, absl::Duration downtime) {
  Agent* agent = agents_[node].get();
  if (!agent->alive) return;
  Die(agent);
  loop_.RunAfter(downtime, [this, agent, epoch = agent->epoch] {
    if (agent->epoch == epoch) Wake(agent);
  });
}

void SimCluster::Wake(Agent* agent) {
  if (agent->alive) return;
  agent->alive = true;
  ++agent->epoch;
  // What was half done is found half done and taken up again.
  for (auto& [uid, pod] : agent->pods) {
    if (pod.stopped) continue;
    if (pod.stopping)
      StopPod(agent, uid, 1);
    else if (!pod.ready)
      StartPod(agent, uid);
  }
  Connect(agent);
}

void SimCluster::KillNode(int node) {
  Agent* agent = agents_[node].get();
  Die(agent);
  agent->pods.clear();
  agent->services.clear();
  agent->identities.clear();
}

void SimCluster::ReviveNode(int node) { Wake(agents_[node].get()); }

void SimCluster::CrashContainer(int node) {
  Agent* agent = agents_[node].get();
  if (!agent->alive) return;
  for (auto& [uid, pod] : agent->pods) {
    if (!pod.ready || pod.stopping) continue;
    pod.ready = false;
    ++pod.restarts;
    Report(agent, uid);
    StartPod(agent, uid);
    return;
  }
}

bool SimCluster::RunUntil(const std::function<bool()>& done, absl::Duration limit) {
  return loop_.RunUntil([&] { return !violation_.empty() || done(); }, limit) && violation_.empty();
}

}  // namespace mesh::sim
