// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/sim_cluster.h"

#include <algorithm>
#include <utility>

#include "api/schema/defaults.h"
#include "common/check.h"
#include "controlplane/controllers/endpoints_controller.h"
#include "controlplane/controllers/objects.h"
#include "controlplane/controllers/rollout.h"
#include "fmt/format.h"

namespace mesh::sim {
namespace {

constexpr absl::Duration kHeartbeat = absl::Seconds(1);
constexpr char kSilentImage[] = "broken";  // never becomes ready

bool IsMeaningful(const cp::Change& change) {
  const v1::Resource& any = change.after != nullptr ? *change.after : *change.before;
  return !any.has_node() && !any.has_event();
}

v1::IntOrString Amount(const std::string& text) {
  v1::IntOrString out;
  if (!text.empty() && text.back() == '%')
    out.set_string_value(text);
  else
    out.set_int_value(std::stoi(text));
  return out;
}

}  // namespace

// Stands between the writer and the store, where the machine can be switched off.
class SimCluster::CrashingCommitQueue : public cp::CommitQueue {
 public:
  CrashingCommitQueue(EventLoop& loop, cp::Store& store)
      : inner_(cp::NewLoopCommitQueue(loop, store)) {}

  void Arm(int commits, bool after, std::function<void()> on_crash) {
    left_ = commits;
    after_ = after;
    on_crash_ = std::move(on_crash);
  }

  void Commit(cp::Transaction transaction, Done done) override {
    if (off_) return;
    if (left_ > 0 && --left_ == 0) {
      off_ = true;
      // The power fails right before the write, or right after it and before anybody knows.
      if (after_) inner_->Commit(std::move(transaction), [](auto) {});
      on_crash_();
      return;
    }
    inner_->Commit(std::move(transaction), std::move(done));
  }

 private:
  std::unique_ptr<cp::CommitQueue> inner_;
  int left_ = 0;
  bool after_ = false;
  bool off_ = false;
  std::function<void()> on_crash_;
};

struct SimCluster::Control {
  std::unique_ptr<cp::WatchCache> cache;
  std::unique_ptr<CrashingCommitQueue> commits;
  std::unique_ptr<cp::Writer> writer;
  std::unique_ptr<cp::Runtime> runtime;
  cp::WatchCache::Subscription to_agents;
  std::set<std::string> connected;

  ~Control() {
    to_agents.Reset();
    runtime.reset();
    writer.reset();
    commits.reset();
    cache.reset();
  }
};

struct SimCluster::Agent {
  struct LocalPod {
    std::shared_ptr<const v1::Pod> pod;
    bool ready = false;
    bool stopping = false;
    bool stopped = false;
    int restarts = 0;
    absl::Time ready_since;
  };
  std::string name;
  int index = 0;
  bool alive = true;
  uint64_t epoch = 0;  // changes with every crash: what was under way is forgotten
  // Messages of one stream keep their order.
  absl::Time last_to_control, last_to_agent;
  std::map<std::string, LocalPod> pods;  // by uid
};

SimCluster::SimCluster(uint64_t seed, int nodes)
    : random_(seed), seed_(seed), store_(cp::MemoryStore::Options{.loop = &loop_}) {
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
  control_->writer =
      std::make_unique<cp::Writer>(loop_, *control_->cache, *control_->commits,
                                   Random(seed_ * 1000 + incarnation_), cp::Writer::Options());
  control_->to_agents = control_->cache->Subscribe([this](const cp::ChangeBatch& batch) {
    std::set<std::string> nodes;
    for (const cp::Change& change : batch.changes)
      cp::ForEachSide(change, [&](const v1::Resource& side) {
        if (side.has_pod()) nodes.insert(side.pod().spec().node_name());
      });
    for (const std::string& node : nodes) SendDesired(node);
  });
  control_->writer->EnsureBaseObjects({});
  control_->runtime = cp::StartControllers(&loop_, control_->cache.get(), control_->writer.get(),
                                           {.seed = seed_ + incarnation_});
  for (const auto& agent : agents_) {
    loop_.RunAfter(Delay(500), [this, agent = agent.get(), epoch = agent->epoch] {
      if (agent->alive && agent->epoch == epoch) Connect(agent);
    });
  }
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

// Messages of one direction arrive in order, some twice; those under way die with either end.
void SimCluster::ToControl(Agent* agent, Message message) {
  const absl::Time at = std::max(agent->last_to_control, loop_.Now() + Delay(20));
  agent->last_to_control = at;
  const int copies = random_.Below(10) == 0 ? 2 : 1;
  for (int i = 0; i < copies; ++i)
    loop_.RunAt(at, [this, message, incarnation = incarnation_] {
      if (control_ != nullptr && incarnation == incarnation_) message();
    });
}

void SimCluster::ToAgent(Agent* agent, Message message) {
  const absl::Time at = std::max(agent->last_to_agent, loop_.Now() + Delay(20));
  agent->last_to_agent = at;
  loop_.RunAt(at, [agent, message, epoch = agent->epoch] {
    if (agent->alive && agent->epoch == epoch) message();
  });
}

void SimCluster::Connect(Agent* agent) {
  if (control_ == nullptr) return;  // its start connects everybody
  ToControl(agent, [this, agent] {
    v1::Resource resource;
    v1::Node* node = resource.mutable_node();
    node->mutable_metadata()->set_name(agent->name);
    node->mutable_spec()->set_pod_cidr(fmt::format("10.244.{}.0/24", agent->index));
    (*node->mutable_status()->mutable_allocatable())["cpu"].set_text("4");
    (*node->mutable_status()->mutable_allocatable())["memory"].set_text("8Gi");
    (*node->mutable_status()->mutable_allocatable())["pods"].set_text("110");
    control_->writer->Create(resource, {});
    control_->connected.insert(agent->name);
    SendDesired(agent->name);
  });
  // What the last control plane was told may have died with it.
  for (const auto& [uid, pod] : agent->pods) Report(agent, uid, pod.stopped);
  Heartbeat(agent, agent->epoch);
}

void SimCluster::Heartbeat(Agent* agent, uint64_t epoch) {
  if (!agent->alive || agent->epoch != epoch || control_ == nullptr) return;
  ToControl(agent, [this, agent] {
    control_->writer->Change(
        v1::KIND_NODE, {"", agent->name},
        [this](const cp::ClusterState&,
               const std::shared_ptr<const v1::Resource>& current) -> absl::StatusOr<cp::Intent> {
          if (current == nullptr) return cp::Intent{};
          cp::Intent intent{.type = cp::Intent::Type::kPut, .resource = *current, .others = {}};
          v1::NodeStatus* status = intent.resource.mutable_node()->mutable_status();
          *status->mutable_last_heartbeat() = cp::ToTimestamp(loop_.Now());
          cp::SetCondition(status->mutable_conditions(), "Ready", "True", "AgentReady",
                           "Agent is posting node status.", loop_.Now());
          return intent;
        },
        {});
  });
  // One beat per connection: a new control plane is connected to anew.
  loop_.RunAfter(kHeartbeat, [this, agent, epoch, incarnation = incarnation_] {
    if (incarnation == incarnation_) Heartbeat(agent, epoch);
  });
}

void SimCluster::SendDesired(const std::string& node) {
  if (control_ == nullptr || !control_->connected.contains(node)) return;
  auto it = std::find_if(agents_.begin(), agents_.end(),
                         [&](const auto& agent) { return agent->name == node; });
  if (it == agents_.end()) return;
  std::vector<std::shared_ptr<const v1::Pod>> pods;
  for (const auto& [key, pod] : control_->cache->state().pods)
    if (pod->spec().node_name() == node && cp::IsBound(*pod)) pods.push_back(pod);
  Agent* agent = it->get();
  ToAgent(agent, [this, agent, pods] { OnDesired(agent, pods); });
}

void SimCluster::OnDesired(Agent* agent, const std::vector<std::shared_ptr<const v1::Pod>>& pods) {
  std::set<std::string> wanted;
  for (const auto& pod : pods) {
    const std::string& uid = pod->metadata().uid();
    wanted.insert(uid);
    const bool known = agent->pods.contains(uid);
    if (cp::IsTerminating(pod->metadata())) {
      if (!known) {
        agent->pods[uid].pod = pod;
        agent->pods[uid].stopping = true;
        agent->pods[uid].stopped = true;
        Report(agent, uid, true);  // nothing of it runs here
      } else if (!agent->pods[uid].stopping) {
        agent->pods[uid].pod = pod;
        StopPod(agent, uid, pod->metadata().deletion_grace_period_seconds());
      }
      continue;
    }
    if (known) continue;
    agent->pods[uid].pod = pod;
    Report(agent, uid, false);
    StartPod(agent, uid);
  }
  for (auto it = agent->pods.begin(); it != agent->pods.end();)
    it = wanted.contains(it->first) ? std::next(it) : agent->pods.erase(it);
}

void SimCluster::StartPod(Agent* agent, const std::string& uid) {
  loop_.RunAfter(Delay(800), [this, agent, uid, epoch = agent->epoch] {
    if (!agent->alive || agent->epoch != epoch) return;
    auto it = agent->pods.find(uid);
    if (it == agent->pods.end() || it->second.stopping) return;
    if (it->second.pod->spec().containers(0).image() == kSilentImage) return;
    it->second.ready = true;
    it->second.ready_since = loop_.Now();
    Report(agent, uid, false);
  });
}

void SimCluster::StopPod(Agent* agent, const std::string& uid, int64_t grace_seconds) {
  agent->pods[uid].stopping = true;
  const int limit_ms = static_cast<int>(std::clamp<int64_t>(grace_seconds * 1000, 1, 2000));
  loop_.RunAfter(Delay(limit_ms), [this, agent, uid, epoch = agent->epoch] {
    if (!agent->alive || agent->epoch != epoch || !agent->pods.contains(uid)) return;
    agent->pods[uid].ready = false;
    agent->pods[uid].stopped = true;
    Report(agent, uid, true);
  });
}

void SimCluster::Report(Agent* agent, const std::string& uid, bool terminated) {
  const Agent::LocalPod& local = agent->pods.at(uid);
  const cp::ObjectKey key = cp::KeyOfMeta(local.pod->metadata());
  ToControl(agent, [this, uid, key, terminated, ready = local.ready, since = local.ready_since,
                    restarts = local.restarts] {
    control_->writer->Change(
        v1::KIND_POD, key,
        [=, this](const cp::ClusterState&, const std::shared_ptr<const v1::Resource>& current)
            -> absl::StatusOr<cp::Intent> {
          if (current == nullptr || cp::MetaOf(*current).uid() != uid) return cp::Intent{};
          if (terminated) {
            if (!cp::IsTerminating(cp::MetaOf(*current))) return cp::Intent{};
            return cp::Intent{.type = cp::Intent::Type::kRemove, .resource = {}, .others = {}};
          }
          cp::Intent intent{.type = cp::Intent::Type::kPut, .resource = *current, .others = {}};
          v1::PodStatus* status = intent.resource.mutable_pod()->mutable_status();
          status->set_phase(ready || restarts > 0 ? "Running" : "Pending");
          if (cp::SetCondition(status->mutable_conditions(), "Ready", ready ? "True" : "False", "",
                               "", loop_.Now()) &&
              ready) {
            for (v1::Condition& c : *status->mutable_conditions())
              if (c.type() == "Ready") *c.mutable_last_transition_time() = cp::ToTimestamp(since);
          }
          return intent;
        },
        {});
  });
}

void SimCluster::KillAgent(int node, absl::Duration downtime) {
  Agent* agent = agents_[node].get();
  if (!agent->alive) return;
  agent->alive = false;
  ++agent->epoch;
  if (control_ != nullptr) control_->connected.erase(agent->name);
  loop_.RunAfter(downtime, [this, agent, epoch = agent->epoch] {
    if (agent->alive || agent->epoch != epoch) return;
    agent->alive = true;
    // What was half done is found half done and taken up again.
    for (auto& [uid, pod] : agent->pods) {
      if (pod.stopping)
        StopPod(agent, uid, 1);
      else if (!pod.ready)
        StartPod(agent, uid);
    }
    Connect(agent);
  });
}

void SimCluster::KillNode(int node) {
  Agent* agent = agents_[node].get();
  agent->alive = false;
  ++agent->epoch;
  agent->pods.clear();
  if (control_ != nullptr) control_->connected.erase(agent->name);
}

void SimCluster::ReviveNode(int node) {
  Agent* agent = agents_[node].get();
  if (agent->alive) return;
  agent->alive = true;
  ++agent->epoch;
  Connect(agent);
}

void SimCluster::CrashContainer(int node) {
  Agent* agent = agents_[node].get();
  if (!agent->alive) return;
  for (auto& [uid, pod] : agent->pods) {
    if (!pod.ready || pod.stopping) continue;
    pod.ready = false;
    ++pod.restarts;
    Report(agent, uid, false);
    StartPod(agent, uid);
    return;
  }
}

bool SimCluster::RunUntil(const std::function<bool()>& done, absl::Duration limit) {
  return loop_.RunUntil([&] { return !violation_.empty() || done(); }, limit) && violation_.empty();
}

// --- what must hold ---

void SimCluster::Violate(std::string what) {
  if (violation_.empty())
    violation_ = fmt::format("at revision {}, {}: {}", state().revision,
                             absl::FormatTime(loop_.Now(), absl::UTCTimeZone()), what);
}

void SimCluster::Observe(const cp::ChangeBatch& batch) {
  if (std::any_of(batch.changes.begin(), batch.changes.end(), IsMeaningful)) ++meaningful_commits_;
  for (const cp::Change& change : batch.changes) {
    const v1::Resource& any = change.after != nullptr ? *change.after : *change.before;
    trace_ = (trace_ ^ cp::HashText64(cp::CanonicalBytes(any))) * 1099511628211u;
  }
  CheckPods(batch);
  CheckDeployments();
}

void SimCluster::CheckPods(const cp::ChangeBatch& batch) {
  for (const cp::Change& change : batch.changes) {
    if (change.before == nullptr || change.after == nullptr || !change.after->has_pod()) continue;
    const v1::Pod& before = change.before->pod();
    const v1::Pod& after = change.after->pod();
    if (before.metadata().uid() != after.metadata().uid() || !cp::IsBound(before)) continue;
    if (before.spec().node_name() != after.spec().node_name() ||
        before.status().pod_ip() != after.status().pod_ip())
      Violate(fmt::format("pod {} was bound twice: {} {} then {} {}", after.metadata().name(),
                          before.spec().node_name(), before.status().pod_ip(),
                          after.spec().node_name(), after.status().pod_ip()));
  }
  std::map<std::string, std::string> by_ip;
  for (const auto& [key, pod] : state().pods) {
    const std::string& ip = pod->status().pod_ip();
    if (ip.empty()) continue;
    auto [it, fresh] = by_ip.emplace(ip, key.name);
    if (!fresh) Violate(fmt::format("{} is the address of {} and {}", ip, it->second, key.name));
  }
}

void SimCluster::CheckDeployments() {
  for (const auto& [key, deployment] : state().deployments) {
    const cp::Fenceposts posts = cp::FencepostsOf(*deployment);
    const int replicas = cp::ReplicasOf(*deployment);
    int active = 0, available = 0;
    for (const auto& [pod_key, pod] : state().pods) {
      auto app = pod->metadata().labels().find("app");
      if (app == pod->metadata().labels().end() || app->second != key.name) continue;
      if (!cp::IsActive(*pod)) continue;
      ++active;
      if (cp::IsPodConditionReady(*pod)) ++available;
    }
    const bool complete = available == replicas && active == replicas;
    int& limit = pod_limit_[key];
    if (complete) limit = 0;
    limit = std::max(limit, replicas + posts.max_surge);
    if (active > limit)
      Violate(fmt::format("deployment {} has {} pods, at most {} are allowed", key.name, active,
                          limit));
    if (complete) was_complete_.insert(key);
    if (require_availability_ && was_complete_.contains(key) &&
        available < replicas - posts.max_unavailable &&
        deployment->spec().strategy().type() == "RollingUpdate")
      Violate(fmt::format("deployment {} has {} available pods, at least {} are promised", key.name,
                          available, replicas - posts.max_unavailable));
  }
}

std::string SimCluster::Explain() const {
  if (!violation_.empty()) return violation_;
  if (control_ == nullptr) return "the control plane is down";
  if (!control_->runtime->idle()) return "the control loops are busy";
  const cp::ClusterState& s = state();
  for (const auto& [key, d] : s.deployments) {
    const int replicas = cp::ReplicasOf(*d);
    const v1::DeploymentStatus& status = d->status();
    if (status.observed_generation() != d->metadata().generation() ||
        status.replicas() != replicas || status.updated_replicas() != replicas ||
        status.available_replicas() != replicas)
      return fmt::format("deployment {}: {}", key.name, d->ShortDebugString());
  }
  for (const auto& [key, rs] : s.replica_sets) {
    const v1::OwnerReference* owner = cp::ControllerOf(rs->metadata());
    if (owner == nullptr || !s.deployments.contains({key.ns, owner->name()}))
      return fmt::format("replica set {} has no owner", key.name);
  }
  std::map<std::string, std::set<std::string>> ready_ips;
  for (const auto& [key, pod] : s.pods) {
    const v1::OwnerReference* owner = cp::ControllerOf(pod->metadata());
    if (cp::IsTerminating(pod->metadata())) return fmt::format("pod {} is terminating", key.name);
    if (!cp::IsPodReady(s, *pod)) return fmt::format("pod {} is not ready", key.name);
    if (owner == nullptr || !s.replica_sets.contains({key.ns, owner->name()}))
      return fmt::format("pod {} has no owner", key.name);
    ready_ips[pod->metadata().labels().at("app")].insert(pod->status().pod_ip());
  }
  std::map<std::string, std::set<std::string>> endpoint_ips;
  for (const auto& [key, slice] : s.endpoint_slices) {
    const std::string service = slice->metadata().labels().at(cp::kServiceNameLabel);
    if (!s.services.contains({key.ns, service}))
      return fmt::format("slice {} has no service", key.name);
    for (const v1::Endpoint& endpoint : slice->endpoints()) {
      if (!endpoint.conditions().ready())
        return fmt::format("endpoint {} of {} is not ready", endpoint.addresses(0), service);
      endpoint_ips[service].insert(endpoint.addresses(0));
    }
  }
  for (const auto& [key, service] : s.services)
    if (endpoint_ips[key.name] != ready_ips[key.name])
      return fmt::format("service {} has {} endpoints for {} pods", key.name,
                         endpoint_ips[key.name].size(), ready_ips[key.name].size());
  return "";
}

bool SimCluster::Converged() const { return Explain().empty(); }

}  // namespace mesh::sim
