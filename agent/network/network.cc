// SPDX-License-Identifier: Apache-2.0
#include "agent/network/network.h"

#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "agent/network/announcer.h"
#include "agent/network/attachments.h"
#include "agent/network/cni_handler.h"
#include "agent/network/cni_server.h"
#include "agent/network/dataplane_rows.h"
#include "agent/network/desired_state.h"
#include "agent/network/dns_rows.h"
#include "agent/network/files.h"
#include "agent/network/fixed_config.h"
#include "agent/network/flow_hub.h"
#include "agent/network/flow_rows.h"
#include "agent/network/flow_stream.h"
#include "agent/network/health_server.h"
#include "agent/network/install.h"
#include "agent/network/network_figures.h"
#include "agent/network/network_impl.h"
#include "agent/network/policy_refusal.h"
#include "agent/network/port_watch.h"
#include "agent/network/problem_teller.h"
#include "agent/network/quota_watch.h"
#include "agent/network/resolver.h"
#include "agent/network/settler.h"
#include "agent/network/trace_hop.h"
#include "agent/network/uplink.h"
#include "agent/network/uplink_watch.h"
#include "agent/network/workers.h"
#include "common/backoff.h"
#include "common/check.h"
#include "common/log.h"
#include "common/real_loop.h"
#include "common/status.h"
#include "fmt/format.h"

namespace mesh::agent {
namespace {

using Done = std::function<void(int64_t, absl::Status)>;

constexpr absl::Duration kGarbageInterval = absl::Seconds(1);
constexpr absl::Duration kTracerDelay = absl::Seconds(5);
// Deletions wait for the kernel, not for the processor, and do so together.
constexpr int kLinkThreads = 4;
// How long the runs of programs are counted at most.
constexpr absl::Duration kMeasureMax = absl::Seconds(10);
std::string BesideThisExecutable(const char* name) {
  char path[4096];
  const ssize_t n = ::readlink("/proc/self/exe", path, sizeof path);
  const std::string self(path, n < 0 ? 0 : static_cast<size_t>(n));
  return self.substr(0, self.rfind('/') + 1) + name;
}

// Everything below `loop_` in the class is touched on the net thread only.
class NetworkImpl : public Network {
 public:
  NetworkImpl(NetworkOptions options, DataplaneSource source)
      : options_(std::move(options)), source_(std::move(source)) {
    thread_ = std::thread([this] {
      ::pthread_setname_np(::pthread_self(), "net");
      loop_.Run();
    });
  }

  // CNI goes first: whoever asks from now on hears "not ready" rather than nothing.
  ~NetworkImpl() override {
    closed_.Notify();
    Call([this] {
      server_.reset();
      resolver_.reset();
      health_.reset();
      announcer_.reset();
      if (link_events_) loop_.Unwatch(link_events_.get());
      uplink_watch_.reset();
      closing_ = true;
      settler_.reset();
    });
    workers_.reset();
    loop_.Stop();
    thread_.join();
  }

  absl::Status Begin(NodeStatePtr initial) {
    absl::Status status;
    if (initial != nullptr) kept_revision_ = initial->revision;
    if (initial != nullptr && !initial->config.node_name().empty() && source_.left_behind &&
        source_.left_behind()) {
      // meshd hears of this node meanwhile, or it would take it for dead.
      taking_over_ = true;
      Call([&] { status = BeginOnLoop(nullptr); });
      if (status.ok()) Apply(std::move(initial), nullptr);
      return status;
    }
    Call([&] { status = BeginOnLoop(std::move(initial)); });
    return status;
  }

  void Apply(NodeStatePtr state, Done done) override {
    bool first;
    {
      absl::MutexLock lock(&mutex_);
      first = arrived_state_ == nullptr;
      arrived_state_ = std::move(state);
      arrived_done_.push_back(std::move(done));
    }
    if (first) loop_.Post([this] { TakeArrived(); });
  }

  std::string PodNameServer() const override {
    absl::MutexLock lock(&mutex_);
    return name_server_;
  }

  bool Ready() const override { return ready_; }

  bool TakingOver() const override { return taking_over_; }

  std::string Shortfall() const override {
    absl::MutexLock lock(&mutex_);
    return shortfall_;
  }

  std::string UplinkTrouble() const override {
    absl::MutexLock lock(&mutex_);
    return uplink_trouble_;
  }

  std::string PolicyTrouble() const override {
    absl::MutexLock lock(&mutex_);
    return policy_trouble_;
  }

  void OnWarning(std::function<void(const NetworkWarning&)> told) override {
    problem_teller_.SetTold(std::move(told));
  }

  absl::StatusOr<std::string> PodNetns(const std::string& ns, const std::string& pod) override {
    absl::StatusOr<std::string> out = Network::PodNetns(ns, pod);
    Call([&] {
      if (attachments_ == nullptr) return;
      for (const auto& [key, attachment] : attachments_->all())
        if (attachment.ns == ns && attachment.pod == pod) out = attachment.netns;
    });
    return out;
  }

  v1::DataplaneNode ListDataplane(const v1::ListDataplaneRequest& request) override {
    if (request.table() == v1::DATAPLANE_TABLE_PROGRAM && request.measure_ms() != 0)
      return MeasurePrograms(request);
    return ListOnce(request);
  }

  NetworkFigures Figures() override {
    NetworkFigures out;
    const dataplane::Dataplane* dataplane = nullptr;
    Call([&] {
      out = FiguresOnLoop();
      dataplane = dataplane_.get();
    });
    if (dataplane == nullptr) return out;
    const absl::Status counted = CountMaps(*dataplane, &out.rows);
    if (!counted.ok()) Call([&] { WarnOfFigures(counted); });
    return out;
  }

  // The programs run on the caller's thread: nobody else waits for the verifier.
  absl::StatusOr<v1::TraceHopResponse> TraceHop(const v1::TraceHopRequest& request) override {
    absl::StatusOr<std::shared_ptr<dataplane::Tracer>> tracer;
    absl::StatusOr<std::vector<dataplane::Endpoint>> endpoints;
    dataplane::RefusedPolicies refused;
    NodeStatePtr state;
    const dataplane::Dataplane* dataplane = nullptr;
    std::vector<IpAddress> own;
    Call([&] {
      dataplane = dataplane_.get();
      if (dataplane == nullptr) {
        tracer = absl::FailedPreconditionError("the dataplane is not set up yet");
        return;
      }
      tracer = dataplane_->PacketTracer();
      endpoints = dataplane_->Endpoints();
      refused = dataplane_->PolicyProblems();
      state = state_;
      own = {config_.node_ip, config_.node_ip6};
    });
    RETURN_IF_ERROR(tracer.status());
    RETURN_IF_ERROR(endpoints.status());
    const TraceView view = {.endpoints = *endpoints,
                            .refused = refused,
                            .state = state.get(),
                            .own = own,
                            .routes = [&](const IpAddress& to, uint8_t protocol, uint16_t port) {
                              return dataplane->RouteOf(to, protocol, port);
                            }};
    ASSIGN_OR_RETURN(v1::TraceHopResponse out, mesh::agent::TraceHop(request, **tracer, view));
    out.set_node(options_.node_name);
    return out;
  }

  absl::Status Flows(const v1::FlowsRequest& request,
                     const std::function<bool(const v1::FlowsChunk&)>& write,
                     const std::function<bool()>& cancelled) override {
    std::shared_ptr<FlowHub> hub;
    const dataplane::Dataplane* dataplane = nullptr;
    Call([&] {
      hub = flow_hub_;
      dataplane = dataplane_.get();
    });
    if (hub == nullptr)
      return absl::FailedPreconditionError("the dataplane is not set up yet, or tells no flows");
    FlowStreamHooks hooks;
    hooks.names = [this] { return NamesNow(); };
    hooks.conntrack = [dataplane] { return dataplane->Conntrack(); };
    hooks.write = write;
    hooks.cancelled = [&] { return closed_.HasBeenNotified() || cancelled(); };
    return StreamFlows(request, *hub, hooks);
  }

 private:
  // On the caller's thread: pods and names do not wait for large maps to be counted.
  static absl::Status CountMaps(const dataplane::Dataplane& dataplane, v1::DataplaneNode* out) {
    v1::ListDataplaneRequest request;
    request.set_table(v1::DATAPLANE_TABLE_MAP);
    return ListRows(request, dataplane, nullptr, out);
  }

  void WarnOfFigures(const absl::Status& status) {
    if (!status.ok() && status != last_figures_status_)
      spdlog::warn("figures: {}", std::string(status.message()));
    last_figures_status_ = status;
  }

  std::shared_ptr<const FlowNamer> NamesNow() {
    std::shared_ptr<const FlowNamer> out;
    Call([&] { out = NamesOnLoop(); });
    return out;
  }

  std::shared_ptr<const FlowNamer> NamesOnLoop() const {
    std::vector<dataplane::Endpoint> endpoints;
    if (auto rows = dataplane_->Endpoints(); rows.ok()) endpoints = *std::move(rows);
    std::vector<IpAddress> own = {config_.node_ip, config_.gateway};
    if (config_.has_ipv6()) own.insert(own.end(), {config_.node_ip6, config_.gateway6});
    return std::make_shared<const FlowNamer>(state_.get(), endpoints, options_.node_name, own);
  }

  // The rows with the runs of the time in between. The caller waits, the net thread does not.
  v1::DataplaneNode MeasurePrograms(const v1::ListDataplaneRequest& request) {
    UniqueFd counting;
    absl::Status status;
    Call([&] {
      if (dataplane_ == nullptr) return;  // ListOnce tells
      auto begun = dataplane_->CountRuns();
      status = begun.status();
      if (begun.ok()) counting = *std::move(begun);
    });
    const absl::Time begin = absl::Now();
    const v1::DataplaneNode before = ListOnce(request);
    if (!status.ok() || !before.error().empty()) {
      v1::DataplaneNode out = before;
      if (!status.ok()) out.set_error(std::string(status.message()));
      return out;
    }
    closed_.WaitForNotificationWithTimeout(
        std::min(absl::Milliseconds(request.measure_ms()), kMeasureMax));
    v1::DataplaneNode out = ListOnce(request);
    SubtractRuns(before, absl::Now() - begin, &out);
    return out;
  }

  NetworkFigures FiguresOnLoop() {
    NetworkFigures out;
    out.ready = ready_;
    out.newest_revision = state_ == nullptr ? 0 : state_->revision;
    out.applied_revision = applied_revision_;
    out.applied_at = applied_at_;
    out.applies = applies_;
    out.failed_applies = failed_applies_;
    out.apply_time = apply_time_;
    if (resolver_ != nullptr) {
      v1::ListDataplaneRequest dns;
      dns.set_table(v1::DATAPLANE_TABLE_DNS_STATS);
      ListDns(dns, *resolver_, &out.rows);
    }
    if (dataplane_ == nullptr) return out;
    const absl::Status status = FillFigures(*dataplane_, state_.get(), &policy_drops_, &out);
    if (!status.ok()) WarnOfFigures(status);
    return out;
  }

  // What of the tables may be long is read on the caller's thread.
  v1::DataplaneNode ListOnce(const v1::ListDataplaneRequest& request) {
    v1::DataplaneNode out;
    out.set_node(options_.node_name);
    std::function<absl::Status()> read_here;
    Call([&] {
      out.set_revision(applied_revision_);
      if (request.table() == v1::DATAPLANE_TABLE_DNS ||
          request.table() == v1::DATAPLANE_TABLE_DNS_STATS) {
        if (resolver_ == nullptr) {
          out.set_error("the resolver is not set up yet");
        } else {
          ListDns(request, *resolver_, &out);
        }
        return;
      }
      if (dataplane_ == nullptr) {
        out.set_error("the dataplane is not set up yet");
        return;
      }
      const dataplane::Dataplane* const dataplane = dataplane_.get();
      if (request.table() == v1::DATAPLANE_TABLE_MAP) {
        read_here = [&out, dataplane] { return CountMaps(*dataplane, &out); };
        return;
      }
      absl::Status status;
      if (request.table() == v1::DATAPLANE_TABLE_CONNTRACK) {
        auto pods = dataplane->Endpoints();
        status = pods.status();
        if (pods.ok()) {
          read_here = [&request, &out, dataplane, state = state_, pods = *std::move(pods)] {
            return ListConntrack(request, *dataplane, pods, state.get(), &out);
          };
        }
      } else {
        status = ListRows(request, *dataplane, state_.get(), &out);
      }
      if (!status.ok()) out.set_error(std::string(status.message()));
    });
    if (read_here == nullptr) return out;
    if (absl::Status status = read_here(); !status.ok())
      out.set_error(std::string(status.message()));
    return out;
  }

  // Runs `task` on the loop and waits for its end.
  void Call(const std::function<void()>& task) {
    MESH_CHECK(std::this_thread::get_id() != thread_.get_id()) << "would wait for itself";
    absl::Notification done;
    loop_.Post([&] {
      task();
      done.Notify();
    });
    done.WaitForNotification();
  }

  std::string SocketPath() const { return CniServer::PathIn(options_.run_dir); }

  absl::Status BeginOnLoop(NodeStatePtr initial) {
    std::string dropped;
    auto attachments = Attachments::Open(options_.run_dir + "/attachments", &dropped);
    if (!attachments.ok()) return attachments.status();
    if (!dropped.empty()) spdlog::warn("cni: removed unreadable notes: {}", dropped);
    attachments_ = std::make_unique<Attachments>(*std::move(attachments));
    handler_ = std::make_unique<CniHandler>(attachments_.get());
    workers_ = std::make_unique<Workers>("net-link", kLinkThreads);
    settler_ = std::make_unique<Settler>(&loop_, [this](Settler::Done done) {
      workers_->Run([this, dataplane = dataplane_.get(), done = std::move(done)] {
        loop_.Post([this, done, more = dataplane->Settle()] {
          if (!closing_) done(more);
        });
      });
    });
    if (source_.remove_link) {
      handler_->SetRemoveLink([this](const std::string& container_id, const std::string& ifname,
                                     std::function<void()> done) {
        workers_->Run([this, container_id, ifname, done = std::move(done)] {
          const absl::Status status =
              source_.remove_link(container_id, ifname, [&] { loop_.Post(done); });
          if (!status.ok()) spdlog::warn("network: {}", std::string(status.message()));
        });
      });
    }
    auto server = CniServer::Listen(
        &loop_, SocketPath(),
        [this](const v1::CniRequest& request, int netns_fd, CniServer::Reply reply) {
          // What has arrived but waits its turn counts: a pod may be started from it.
          TakeArrived();
          if (request.command() == "DEL") settler_->Touch();
          handler_->Handle(request, netns_fd, std::move(reply));
          if (request.command() == "ADD" && dataplane_ != nullptr) settler_->Attached();
        });
    if (!server.ok()) return server.status();
    server_ = *std::move(server);
    ScheduleGarbageCollection();
    ScheduleQuotaWatch();
    if (initial == nullptr || initial->config.node_name().empty()) return absl::OkStatus();

    state_ = std::move(initial);
    handler_->SetState(state_);
    Program();
    // Without a dataplane nothing that follows can work; anything else is tried again.
    return dataplane_ == nullptr ? last_status_ : absl::OkStatus();
  }

  void TakeArrived() {
    std::vector<Done> dones;
    NodeStatePtr arrived;
    {
      absl::MutexLock lock(&mutex_);
      if (arrived_state_ == nullptr) return;
      arrived = std::exchange(arrived_state_, nullptr);
      dones.swap(arrived_done_);
    }
    NoteDropsBefore(*arrived);
    state_ = std::move(arrived);
    handler_->SetState(state_);
    Program();
    for (const Done& done : dones) {
      if (done) done(applied_revision_, last_status_);
    }
    last_done_ = std::move(dones.back());
  }

  // What a set of policies has counted goes with the set.
  void NoteDropsBefore(const NodeState& next) {
    if (dataplane_ == nullptr || state_ == nullptr) return;
    bool any_goes = false;
    state_->policy_sets.ForEachChangeTo(
        next.policy_sets,
        [&](uint32_t, const auto* was, const auto*) { any_goes = any_goes || was != nullptr; });
    if (!any_goes) return;
    if (const auto drops = dataplane_->DropsOfPolicies(); drops.ok())
      policy_drops_.Note(*drops, *state_);
  }

  // Brings everything to `state_`; what fails is tried again with growing delays until it works.
  void Program() {
    loop_.Cancel(retry_);
    absl::Status status = SetUp();
    if (dataplane_ != nullptr) {
      const Translation& translation = builder_->Build(state_);
      if (builder_->AsksForListenersAnew()) LookAtListeners();
      std::set<std::string> skipped(translation.skipped.begin(), translation.skipped.end());
      for (const std::string& line : translation.skipped) {
        if (!skipped_.contains(line)) spdlog::warn("network: {}", line);
        if (status.ok()) status = absl::InvalidArgumentError(line);
      }
      skipped_ = std::move(skipped);
      if (!waiting_.empty() && status.ok()) status = absl::InvalidArgumentError(waiting_);
      const absl::Time begin = absl::Now();
      absl::Status applied = dataplane_->Apply(translation.desired);
      apply_time_ += absl::Now() - begin;
      ++applies_;
      handler_->SetUnwritten(dataplane_->UnwrittenNamespaces(), std::string(applied.message()));
      TellOfProblems();
      // After the maps: who is told asks at once.
      // A welcome alone, with other ranges, is no word about the Services.
      if (state_->revision != kept_revision_) kept_revision_ = -1;
      if (announcer_ != nullptr)
        announcer_->SetState(translation.desired, kept_revision_ < 0 ? Announcer::Word::kMeshds
                                                                     : Announcer::Word::kKept);
      // What cannot be programmed as it is stays out for good, and the rest holds: pods go on.
      const bool reached = applied.ok() || absl::IsInvalidArgument(applied);
      if (reached) applied_at_ = absl::Now();
      if (!reached) ++failed_applies_;
      if (reached) failing_since_ = absl::InfiniteFuture();
      if (!reached && failing_since_ == absl::InfiniteFuture()) failing_since_ = absl::Now();
      // Nor do pods wait for ever for what is tried again: each gets its own network when it
      // starts.
      if (reached || absl::Now() - failing_since_ >= options_.pods_wait)
        applied_revision_ = state_->revision;
      if (!applied.ok() && (!reached || status.ok() || absl::IsInvalidArgument(status)))
        status = applied;
    }
    if (resolver_ != nullptr) resolver_->SetState(state_);
    const bool failed = !status.ok() && !absl::IsInvalidArgument(status);
    if (health_ != nullptr) {
      health_->SetHealthy(!failed);
      health_->SetState(state_);
    }
    if (!status.ok() && status != last_status_)
      spdlog::error("network: {}", std::string(status.message()));
    if (status.ok() && !last_status_.ok())
      spdlog::info("network: revision {} holds", state_->revision);
    last_status_ = std::move(status);
    if (!failed) {
      backoff_.Reset();
      return;
    }
    retry_ = loop_.RunAfter(backoff_.Next(random_), [this] {
      Program();
      if (last_done_) last_done_(applied_revision_, last_status_);
    });
  }

  void TellOfProblems() {
    const dataplane::RefusedPolicies refused = dataplane_->PolicyProblems();
    std::vector<dataplane::Endpoint> endpoints;
    if (!refused.shut.empty()) {
      if (auto rows = dataplane_->Endpoints(); rows.ok()) endpoints = *std::move(rows);
    }
    const auto refusal = NameRefusal(refused, endpoints, state_.get());
    problem_teller_.Tell(ProblemsOf(*builder_, *dataplane_, refusal));
    absl::MutexLock lock(&mutex_);
    policy_trouble_ = RefusalText(refusal);
  }

  // Each step once; the first that fails is the answer, and ADD waits for all of them.
  absl::Status SetUp() {
    absl::Status status = SetUpSteps();
    handler_->SetNotReady(std::string(status.message()));
    if (dataplane_ != nullptr) {
      absl::MutexLock lock(&mutex_);
      shortfall_ = dataplane_->Shortfall();
    }
    ready_ = status.ok();
    taking_over_ = false;
    return status;
  }

  absl::Status SetUpSteps() {
    Uplink uplink{.name = config_.uplink, .mtu = config_.uplink_mtu, .xdp = config_.xdp};
    if (dataplane_ == nullptr) {
      ASSIGN_OR_RETURN(uplink, source_.uplink());
    }
    ASSIGN_OR_RETURN(dataplane::NodeConfig config,
                     BuildNodeConfig(state_->config, options_.node_name, options_.node_ip,
                                     options_.node_ip6, uplink));
    config.own_ports = options_.own_ports;
    if (dataplane_ != nullptr) {
      ASSIGN_OR_RETURN(waiting_, CheckFixed(config_, config));
    }
    if (dataplane_ == nullptr) {
      ASSIGN_OR_RETURN(std::unique_ptr<dataplane::Dataplane> opened, source_.open(config));
      RETURN_IF_ERROR(handler_->SetDataplane(opened.get(), config));
      dataplane_ = std::move(opened);
      config_ = config;
      auto events = dataplane_->OpenEvents();
      if (events.ok()) flow_hub_ = std::make_shared<FlowHub>(*std::move(events));
      if (!events.ok() && !absl::IsUnimplemented(events.status()))
        spdlog::warn("flows: {}", std::string(events.status().message()));
      builder_ = std::make_unique<DesiredStateBuilder>(config);
      PrepareTracer();
      std::vector<IpAddress> addresses = {config.node_ip};
      if (config.node_ip6 != IpAddress()) addresses.push_back(config.node_ip6);
      health_ = std::make_unique<HealthServer>(&loop_, std::move(addresses));
      if (source_.announce) {
        announcer_ = std::make_unique<Announcer>(&loop_, [this](const std::vector<IpAddress>& ips) {
          return source_.announce(config_.uplink, ips);
        });
      }
      WatchUplink();
      spdlog::info("network: pods {}, gateway {}, uplink {} with MTU {}",
                   config.pod_cidr.ToString(), config.gateway.ToString(), config.uplink,
                   config.uplink_mtu);
      if (config.has_ipv6()) {
        spdlog::info("network: pods {}, gateway {}", config.pod_cidr6.ToString(),
                     config.gateway6.ToString());
      }
    }
    if (resolver_ == nullptr) {
      std::vector<IpAddress> addresses = {config_.gateway};
      if (config_.has_ipv6()) addresses.push_back(config_.gateway6);
      auto resolver = Resolver::Listen(&loop_, std::move(addresses), source_.resolver_port,
                                       options_.resolv_conf);
      if (!resolver.ok()) return resolver.status();
      resolver_ = *std::move(resolver);
      absl::MutexLock lock(&mutex_);
      name_server_ = config_.gateway.ToString();
    }
    if (!installed_) {
      RETURN_IF_ERROR(
          InstallCni({.binary = options_.cni_binary.empty() ? BesideThisExecutable("mesh-cni")
                                                            : options_.cni_binary,
                      .bin_dir = options_.cni_bin_dir,
                      .conf_dir = options_.cni_conf_dir,
                      .socket = SocketPath()}));
      installed_ = true;
    }
    return absl::OkStatus();
  }

  void WatchUplink() {
    if (!source_.link_events) return;
    UplinkWatch::Hooks hooks;
    hooks.read = [this] { return source_.uplink_mtu(config_.uplink); };
    hooks.apply = [this](int mtu) -> absl::Status {
      std::vector<dataplane::PodInterface> pods;
      for (const auto& [key, attachment] : attachments_->all())
        pods.push_back({attachment.container_id, attachment.ifname, attachment.netns});
      const absl::Status status = dataplane_->SetUplinkMtu(mtu, pods);
      const int now = dataplane_->uplink_mtu();
      handler_->SetUplinkMtu(now);
      if (std::exchange(config_.uplink_mtu, now) == now) return status;
      Program();
      PrepareTracer();
      return status;
    };
    hooks.tell = [this](const std::string& trouble) {
      absl::MutexLock lock(&mutex_);
      uplink_trouble_ = trouble;
    };
    absl::StatusOr<UniqueFd> events = source_.link_events();
    if (!events.ok()) {
      spdlog::warn("network: {}", std::string(events.status().message()));
      return hooks.tell(std::string(events.status().message()));
    }
    link_events_ = *std::move(events);
    uplink_watch_ = std::make_unique<UplinkWatch>(&loop_, config_.uplink, std::move(hooks));
    loop_.WatchReadable(link_events_.get(), [this] {
      DrainLinkEvents(link_events_.get());
      uplink_watch_->Look();
    });
  }

  // The first trace does not wait for the verifier then; a start that is busy does not either.
  void PrepareTracer() {
    loop_.RunAfter(kTracerDelay, [this] {
      if (dataplane_ == nullptr) return;
      auto tracer = dataplane_->PacketTracer();
      if (!tracer.ok()) return;  // who traces is told why
      workers_->Run([tracer = *std::move(tracer)] {
        const absl::Status status = tracer->Prepare();
        if (!status.ok()) spdlog::warn("{}", std::string(status.message()));
      });
    });
  }

  void ScheduleGarbageCollection() {
    loop_.RunAfter(kGarbageInterval, [this] {
      ScheduleGarbageCollection();
      if (dataplane_ == nullptr) return;
      // Pods that have come since are shut too.
      if (!PolicyTrouble().empty()) TellOfProblems();
      auto ended = dataplane_->CollectGarbage();
      if (ended.status() == last_garbage_status_) return;
      last_garbage_status_ = ended.status();
      if (!ended.ok()) spdlog::error("conntrack: {}", std::string(ended.status().message()));
    });
  }

  void ScheduleQuotaWatch() {
    loop_.RunAfter(options_.quota_interval, [this] {
      ScheduleQuotaWatch();
      if (dataplane_ == nullptr) return;
      if (builder_->AsksForListeners() && LookAtListeners()) Program();
      TellOfPorts();
      const auto usage = dataplane_->FlowOwners();
      if (!usage.ok()) return;  // who lists them is told why
      const std::set<IpAddress> refused =
          flow_hub_ == nullptr ? std::set<IpAddress>() : flow_hub_->ReleaseQuotaRefusals();
      for (const dataplane::FlowOwner& owner : quota_watch_.Reached(*usage, refused)) {
        problem_teller_.TellOne(
            {owner.ns, owner.pod, {}, "FlowQuotaReached", QuotaText(owner, *usage)});
      }
    });
  }

  // True: there is something new to program.
  bool LookAtListeners() {
    if (!source_.listeners) return false;
    const absl::StatusOr<NodeListeners> now = source_.listeners();
    if (now.status() != last_listeners_status_ && !now.ok())
      spdlog::warn("network: who listens on the node: {}", std::string(now.status().message()));
    last_listeners_status_ = now.status();
    return now.ok() && builder_->SetListeners(*now);
  }

  void TellOfPorts() {
    if (flow_hub_ == nullptr) return;
    const auto due = port_watch_.Due(flow_hub_->ReleasePortRefusals(), absl::Now());
    if (due.empty()) return;
    const auto names = NamesOnLoop();
    for (const dataplane::FlowEvent& event : due) {
      const NetworkWarning warning = PortWarning(event, names->FromEvent(event, absl::Now(), 0));
      if (warning.pod.empty() && warning.service.empty()) {
        spdlog::warn("network: {}", warning.message);
      } else {
        problem_teller_.TellOne(warning);
      }
    }
  }

  const NetworkOptions options_;
  const DataplaneSource source_;
  ProblemTeller problem_teller_;
  std::atomic<bool> ready_ = false, taking_over_ = false;
  mutable absl::Mutex mutex_;
  NodeStatePtr arrived_state_ ABSL_GUARDED_BY(mutex_);
  std::vector<Done> arrived_done_ ABSL_GUARDED_BY(mutex_);
  std::string name_server_ ABSL_GUARDED_BY(mutex_);
  std::string shortfall_ ABSL_GUARDED_BY(mutex_);
  std::string uplink_trouble_ ABSL_GUARDED_BY(mutex_);
  std::string policy_trouble_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
  absl::Notification closed_;

  RealLoop loop_;
  NodeStatePtr state_;  // newest
  int64_t applied_revision_ = 0;
  absl::Time applied_at_ = absl::InfinitePast();
  uint64_t applies_ = 0, failed_applies_ = 0;
  absl::Duration apply_time_;
  absl::Status last_figures_status_;
  absl::Time failing_since_ = absl::InfiniteFuture();  // the dataplane's Apply()
  std::set<std::string> skipped_;                      // logged while they stay
  absl::Status last_status_;
  absl::Status last_garbage_status_, last_listeners_status_;
  Done last_done_;
  Random random_ = Random::FromEntropy();
  Backoff backoff_{BackoffPolicy{}};
  TimerId retry_ = 0;
  bool installed_ = false;
  dataplane::NodeConfig config_;
  std::string waiting_;  // what meshd has changed and the next agent will see; empty: nothing
  std::unique_ptr<dataplane::Dataplane> dataplane_;
  std::shared_ptr<FlowHub> flow_hub_;  // null: nobody tells
  PolicyDropTotals policy_drops_;
  std::unique_ptr<DesiredStateBuilder> builder_;  // what it says goes to `dataplane_` only
  std::unique_ptr<Attachments> attachments_;
  std::unique_ptr<CniHandler> handler_;
  std::unique_ptr<CniServer> server_;
  std::unique_ptr<Resolver> resolver_;
  std::unique_ptr<HealthServer> health_;
  std::unique_ptr<Announcer> announcer_;
  UniqueFd link_events_;
  std::unique_ptr<UplinkWatch> uplink_watch_;
  // Of the state kept from the last run, until meshd has sent another one; else -1.
  int64_t kept_revision_ = -1;
  std::unique_ptr<Settler> settler_;
  QuotaWatch quota_watch_;
  PortWatch port_watch_;
  std::unique_ptr<Workers> workers_;
  bool closing_ = false;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Network>> StartNetwork(NetworkOptions options, NodeStatePtr initial,
                                                      DataplaneSource source) {
  RETURN_IF_ERROR(source.probe());
  RETURN_IF_ERROR(MakeDirectories(options.run_dir, 0755));
  auto network = std::make_unique<NetworkImpl>(std::move(options), std::move(source));
  RETURN_IF_ERROR(network->Begin(std::move(initial)));
  return network;
}

}  // namespace mesh::agent
