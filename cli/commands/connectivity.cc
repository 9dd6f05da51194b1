// SPDX-License-Identifier: Apache-2.0
// `meshctl connectivity test`: probes on every node, every promise between every pair of them.
#include <csignal>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <map>
#include <ostream>
#include <thread>

#include "absl/time/clock.h"
#include "cli/client.h"
#include "cli/commands/commands.h"
#include "cli/commands/connectivity_explain.h"
#include "cli/commands/connectivity_plan.h"
#include "cli/commands/flags.h"
#include "cli/commands/targets.h"
#include "cli/local/process.h"
#include "cli/output/pod_status.h"
#include "common/status.h"
#include "fmt/format.h"
#include "fmt/ranges.h"

namespace mesh::cli {
namespace {

constexpr int kThreads = 8;
constexpr absl::Duration kLook = absl::Milliseconds(200);  // between looks at objects
constexpr absl::Duration kCleanUp = absl::Seconds(60);
constexpr absl::Duration kBalancerPatience = absl::Seconds(15);
constexpr uint32_t kLeaseSeconds = 600;
// Of one promise; the rest is counted.
constexpr int kMostTold = 5;

struct Flags {
  std::string image;
  std::string prefix = "mesh-test";
  std::string timeout = "2m";
  std::string cluster_domain = "cluster.local";
  std::vector<std::string> nodes;
  bool verbose = false;
};

// Set by Ctrl-C, a polite kill and a pipe that is closed: the probes are taken away all the same.
std::atomic<bool> interrupted = false;
static_assert(std::atomic<bool>::is_always_lock_free, "written by a signal handler");

class CatchSignals {
 public:
  CatchSignals() {
    interrupted = false;
    struct sigaction action {};
    action.sa_handler = [](int) { interrupted = true; };
    action.sa_flags = SA_RESTART;
    for (const int signal : kSignals) sigaction(signal, &action, &before_[signal]);
  }
  ~CatchSignals() {
    for (const int signal : kSignals) sigaction(signal, &before_[signal], nullptr);
  }
  CatchSignals(const CatchSignals&) = delete;
  CatchSignals& operator=(const CatchSignals&) = delete;

 private:
  // SIGPIPE: who has read the beginning of the output wants no more of it.
  static constexpr int kSignals[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};
  std::map<int, struct sigaction> before_;
};

absl::Status Interrupted() { return absl::CancelledError("interrupted"); }

class Test {
 public:
  Test(const Flags& flags, Context& context, ControlClient& client, absl::Duration timeout)
      : flags_(flags), context_(context), client_(client), deadline_(absl::Now() + timeout) {}

  absl::StatusOr<int> Run() {
    RETURN_IF_ERROR(FindNodes());
    context_.out << fmt::format("probes on {} nodes, in namespaces {} and {}\n", plan_.nodes.size(),
                                plan_.ns_a, plan_.ns_b);
    context_.out.flush();
    absl::StatusOr<int> failed = RunBetween();
    const absl::Status cleaned = CleanUp();
    RETURN_IF_ERROR(failed.status());
    RETURN_IF_ERROR(cleaned);
    return *failed == 0 ? 0 : 1;
  }

 private:
  absl::Status FindNodes() {
    plan_.ns_a = flags_.prefix + "-a";
    plan_.ns_b = flags_.prefix + "-b";
    plan_.cluster_domain = flags_.cluster_domain;
    ASSIGN_OR_RETURN(const v1::ListResponse list, ListObjects(v1::KIND_NODE, "", "", client_));
    std::set<std::string> wanted(flags_.nodes.begin(), flags_.nodes.end());
    for (const v1::Resource& item : list.items()) {
      const v1::Node& node = item.node();
      const std::string& name = node.metadata().name();
      if (!flags_.nodes.empty() && wanted.erase(name) == 0) continue;
      if (!IsNodeReady(node)) {
        context_.err << fmt::format("node {} is not ready: it is left out\n", name);
        continue;
      }
      ProbeNode& probe = plan_.nodes.emplace_back();
      probe.name = name;
      for (const v1::NodeAddress& address : node.status().addresses())
        if (address.type() == "InternalIP") probe.addresses.push_back(address.address());
      ASSIGN_OR_RETURN(probe.image, ImageOf(name));
    }
    if (!wanted.empty())
      return absl::NotFoundError(fmt::format("there is no node {}", *wanted.begin()));
    if (plan_.nodes.empty()) return absl::FailedPreconditionError("no node is ready");
    return absl::OkStatus();
  }

  static bool IsNodeReady(const v1::Node& node) {
    return std::ranges::any_of(node.status().conditions(), [](const v1::Condition& condition) {
      return condition.type() == "Ready" && condition.status() == "True";
    });
  }

  // Every node has the image of its sandboxes; a program in it runs until it is stopped.
  absl::StatusOr<std::string> ImageOf(const std::string& node) {
    if (!flags_.image.empty()) return flags_.image;
    v1::ProbeRequest request;
    request.set_node(node);
    request.mutable_facts();
    ASSIGN_OR_RETURN(const v1::ProbeResponse facts, client_.Probe(request));
    if (facts.sandbox_image().empty())
      return absl::FailedPreconditionError(
          fmt::format("node {}: its container runtime does not tell the image of sandboxes; give "
                      "one with --image, whose program runs until it is stopped",
                      node));
    return facts.sandbox_image();
  }

  absl::StatusOr<int> RunBetween() {
    RETURN_IF_ERROR(Deploy());
    RETURN_IF_ERROR(AwaitPods());
    RETURN_IF_ERROR(StartServers());
    RETURN_IF_ERROR(AwaitServices());
    const absl::Time begin = absl::Now();
    ASSIGN_OR_RETURN(int failed, RunChecks(PlanChecks(plan_, found_)));
    RETURN_IF_ERROR(OpenNamespace());
    ASSIGN_OR_RETURN(const int failed_open, RunChecks(PlanOpenChecks(plan_, found_)));
    RETURN_IF_ERROR(PutPolicies());
    ASSIGN_OR_RETURN(const int failed_policy, RunChecks(PlanPolicyChecks(plan_, found_)));
    failed += failed_open + failed_policy;
    context_.out << fmt::format(
        "{} checks, {} failed, in {}\n", checks_, failed,
        absl::FormatDuration(absl::Trunc(absl::Now() - begin, absl::Milliseconds(100))));
    context_.out.flush();
    return failed;
  }

  absl::Status Deploy() {
    for (const v1::Resource& ns : ProbeNamespaces(plan_)) {
      v1::CreateRequest request;
      *request.mutable_resource() = ns;
      const absl::Status status = client_.Create(request).status();
      if (ServerReason(status) == "AlreadyExists")
        return absl::FailedPreconditionError(fmt::format(
            "namespace {} is there already: another test runs, or one was killed; delete it, or "
            "give another --namespace-prefix",
            ns.namespace_().metadata().name()));
      RETURN_IF_ERROR(status);
      made_.push_back(ns.namespace_().metadata().name());
    }
    v1::ApplyRequest request;
    for (v1::Resource& resource : ProbeObjects(plan_))
      *request.add_resources() = std::move(resource);
    return client_.Apply(request).status();
  }

  // Looks until `done`, which answers true, or why not yet.
  absl::Status Await(const std::function<absl::StatusOr<bool>(std::string* why)>& done) {
    while (true) {
      if (interrupted) return Interrupted();
      std::string why;
      ASSIGN_OR_RETURN(const bool is_done, done(&why));
      if (is_done) return absl::OkStatus();
      if (absl::Now() > deadline_)
        return absl::DeadlineExceededError(
            fmt::format("{}; more time is given with --timeout", why));
      local::WaitUntil(absl::Now() + kLook, [] { return interrupted.load(); });
    }
  }

  absl::Status AwaitPods() {
    return Await([this](std::string* why) -> absl::StatusOr<bool> {
      found_.pods.clear();
      for (const std::string& ns : {plan_.ns_a, plan_.ns_b}) {
        ASSIGN_OR_RETURN(v1::ListResponse list, ListObjects(v1::KIND_POD, ns, "", client_));
        for (v1::Resource& item : *list.mutable_items()) {
          if (!IsReady(item.pod()) && why->empty())
            *why = fmt::format("pod {}/{} on node {} does not become ready: {}", ns,
                               item.pod().metadata().name(), item.pod().spec().node_name(),
                               WhyNotReady(ns, item.pod().metadata().name()));
          found_.pods.push_back(std::move(*item.mutable_pod()));
        }
      }
      if (found_.pods.size() != 2 * plan_.nodes.size()) *why = "pods of the test are missing";
      return why->empty();
    });
  }

  std::string WhyNotReady(const std::string& ns, const std::string& pod) {
    if (absl::Now() < deadline_) return "";  // nobody will read it
    v1::WhyRequest request;
    request.mutable_pod()->set_namespace_(ns);
    request.mutable_pod()->set_name(pod);
    const auto response = client_.Why(request);
    if (!response.ok()) return std::string(response.status().message());
    for (const v1::Finding& finding : response->findings())
      if (finding.verdict() != v1::Finding::OK) return finding.text();
    return "";
  }

  absl::Status StartServers() {
    for (const v1::Pod& pod : found_.pods) {
      if (interrupted) return Interrupted();
      if (pod.metadata().namespace_() != plan_.ns_a) continue;
      v1::ProbeRequest request;
      request.set_node(pod.spec().node_name());
      request.set_namespace_(plan_.ns_a);
      request.set_pod(pod.metadata().name());
      request.mutable_serve()->set_port(kProbePort);
      request.mutable_serve()->set_lease_seconds(kLeaseSeconds);
      RETURN_IF_ERROR(client_.Probe(request).status());
      served_.push_back(request);
    }
    return absl::OkStatus();
  }

  // Backends in the slices, and every node's maps as new as they.
  absl::Status AwaitServices() {
    balancer_until_ = std::min(deadline_, absl::Now() + kBalancerPatience);
    return Await([this](std::string* why) -> absl::StatusOr<bool> {
      ASSIGN_OR_RETURN(v1::ListResponse list,
                       ListObjects(v1::KIND_SERVICE, plan_.ns_a, "", client_));
      found_.services.clear();
      for (v1::Resource& item : *list.mutable_items())
        found_.services.push_back(std::move(*item.mutable_service()));
      ASSIGN_OR_RETURN(const v1::ListResponse slices,
                       ListObjects(v1::KIND_ENDPOINT_SLICE, plan_.ns_a, "", client_));
      std::map<std::string, size_t> ready;
      for (const v1::Resource& item : slices.items()) {
        const v1::EndpointSlice& slice = item.endpoint_slice();
        revision_ = std::max(revision_, RevisionOf(slice.metadata()));
        if (slice.address_type() != "IPv4") continue;
        for (const v1::Endpoint& endpoint : slice.endpoints())
          ready[ServiceOf(slice)] += endpoint.conditions().ready();
      }
      for (const v1::Service& service : found_.services) {
        const std::string& name = service.metadata().name();
        const bool single = service.spec().selector().contains("probe");
        const size_t wanted = single ? 1 : name == "nobody" ? 0 : plan_.nodes.size();
        const auto& families = service.spec().ip_families();
        const bool has_v4 =
            families.empty() || std::ranges::find(families, "IPv4") != families.end();
        if (has_v4 && ready[name] < wanted)
          *why = fmt::format("service {}/{} has {} of {} backends", plan_.ns_a, name, ready[name],
                             wanted);
      }
      if (!why->empty() || BalancerMayCome()) return false;
      return NodesHold(revision_, why);
    });
  }

  // A cluster without a pool of addresses gives none, and that is no fault.
  bool BalancerMayCome() {
    const auto waits = [](const v1::Service& service) {
      return service.spec().type() == "LoadBalancer" &&
             service.status().load_balancer().ingress().empty();
    };
    if (!std::ranges::any_of(found_.services, waits)) return false;
    if (absl::Now() < balancer_until_) return true;
    if (!balancer_told_)
      context_.out << "-        load balancer address: left out, the cluster gives none\n";
    balancer_told_ = true;
    return false;
  }

  static std::string ServiceOf(const v1::EndpointSlice& slice) {
    const auto it = slice.metadata().labels().find("kubernetes.io/service-name");
    return it == slice.metadata().labels().end() ? "" : it->second;
  }
  static int64_t RevisionOf(const v1::ObjectMeta& meta) {
    return std::atoll(meta.resource_version().c_str());
  }

  absl::StatusOr<bool> NodesHold(int64_t revision, std::string* why) {
    ASSIGN_OR_RETURN(const v1::ListResponse list, ListObjects(v1::KIND_NODE, "", "", client_));
    for (const v1::Resource& item : list.items()) {
      const v1::Node& node = item.node();
      const bool ours = std::ranges::any_of(plan_.nodes, [&](const ProbeNode& probe) {
        return probe.name == node.metadata().name();
      });
      if (!ours || node.status().dataplane_revision() >= revision) continue;
      *why = fmt::format("the maps of node {} are at revision {}, the test's objects at {}",
                         node.metadata().name(), node.status().dataplane_revision(), revision);
      return false;
    }
    return true;
  }

  absl::Status OpenNamespace() {
    v1::GetRequest get;
    get.mutable_name()->set_kind(v1::KIND_NAMESPACE);
    get.mutable_name()->set_name(plan_.ns_a);
    ASSIGN_OR_RETURN(v1::Resource ns, client_.Get(get));
    (*ns.mutable_namespace_()->mutable_metadata()->mutable_annotations())["mesh.io/isolation"] =
        "open";
    v1::UpdateRequest update;
    *update.mutable_resource() = std::move(ns);
    ASSIGN_OR_RETURN(const v1::Resource opened, client_.Update(update));
    const int64_t revision = RevisionOf(opened.namespace_().metadata());
    return Await([&](std::string* why) { return NodesHold(revision, why); });
  }

  absl::Status PutPolicies() {
    int64_t revision = 0;
    for (v1::Resource& policy : ProbePolicies(plan_)) {
      v1::CreateRequest request;
      *request.mutable_resource() = std::move(policy);
      ASSIGN_OR_RETURN(const v1::Resource made, client_.Create(request));
      revision = std::max(revision, RevisionOf(made.network_policy().metadata()));
    }
    return Await([&](std::string* why) { return NodesHold(revision, why); });
  }

  // Several at a time; told by promise, in their order.
  absl::StatusOr<int> RunChecks(const std::vector<Check>& checks) {
    std::vector<std::string> broken(checks.size());
    std::atomic<size_t> next = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([&] {
        for (size_t at = next++; at < checks.size() && !interrupted; at = next++) {
          const auto response = client_.Probe(checks[at].request);
          broken[at] = response.ok() ? Broken(checks[at], *response)
                                     : std::string(response.status().message());
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    if (interrupted) return Interrupted();
    int failed = 0;
    for (size_t begin = 0; begin < checks.size();) {
      size_t end = begin;
      while (end < checks.size() && checks[end].promise == checks[begin].promise) ++end;
      failed += Tell(checks, broken, begin, end);
      begin = end;
    }
    checks_ += checks.size();
    return failed;
  }

  int Tell(const std::vector<Check>& checks, const std::vector<std::string>& broken, size_t begin,
           size_t end) {
    const auto bad =
        static_cast<int>(std::count_if(broken.begin() + static_cast<ptrdiff_t>(begin),
                                       broken.begin() + static_cast<ptrdiff_t>(end),
                                       [](const std::string& text) { return !text.empty(); }));
    context_.out << fmt::format("{:<8} {}: {} of {}\n", bad == 0 ? "ok" : "FAILED",
                                checks[begin].promise, end - begin - static_cast<size_t>(bad),
                                end - begin);
    int told = 0;
    for (size_t i = begin; i < end; ++i) {
      if (broken[i].empty() && !flags_.verbose) continue;
      if (!broken[i].empty() && ++told > kMostTold) continue;
      context_.out << fmt::format("         {} from {}/{} on {} to {}{}{}\n",
                                  broken[i].empty() ? "ok" : "FAILED", checks[i].from_ns,
                                  checks[i].from_pod, checks[i].from_node, checks[i].to,
                                  broken[i].empty() ? "" : ": ", broken[i]);
      if (!broken[i].empty()) ExplainBroken(checks[i], client_, context_.out);
    }
    if (told > kMostTold) context_.out << fmt::format("         and {} more\n", told - kMostTold);
    context_.out.flush();
    return bad;
  }

  absl::Status CleanUp() {
    for (v1::ProbeRequest& request : served_) {
      request.mutable_serve()->set_lease_seconds(0);
      client_.Probe(request).status().IgnoreError();  // its lease ends it
    }
    std::vector<v1::DeleteRequest> requests(made_.size());
    for (size_t i = 0; i < made_.size(); ++i) {
      requests[i].mutable_name()->set_kind(v1::KIND_NAMESPACE);
      requests[i].mutable_name()->set_name(made_[i]);
    }
    absl::Status result;
    for (const auto& answer : client_.DeleteAll(requests))
      if (!answer.ok() && !IsServerNotFound(answer.status())) result = answer.status();
    RETURN_IF_ERROR(result);
    // A second Ctrl-C: they go without us.
    interrupted = false;
    deadline_ = absl::Now() + kCleanUp;
    return Await([this](std::string* why) -> absl::StatusOr<bool> {
      ASSIGN_OR_RETURN(const v1::ListResponse list,
                       ListObjects(v1::KIND_NAMESPACE, "", "", client_));
      for (const v1::Resource& item : list.items()) {
        const std::string& name = item.namespace_().metadata().name();
        if (std::ranges::find(made_, name) == made_.end()) continue;
        *why = fmt::format("namespace {} of the test does not go away", name);
        return false;
      }
      return true;
    });
  }

  const Flags& flags_;
  Context& context_;
  ControlClient& client_;
  absl::Time deadline_;
  ProbePlan plan_;
  ProbeFound found_;
  int64_t revision_ = 0;
  absl::Time balancer_until_;
  bool balancer_told_ = false;
  size_t checks_ = 0;
  std::vector<std::string> made_;  // namespaces
  std::vector<v1::ProbeRequest> served_;
};

absl::StatusOr<int> Run(const Flags& flags, Context& context) {
  ASSIGN_OR_RETURN(const absl::Duration timeout, ParseDurationFlag(flags.timeout, "--timeout"));
  if (timeout <= absl::ZeroDuration())
    return UsageError(fmt::format("--timeout {} is not positive", flags.timeout));
  ASSIGN_OR_RETURN(ControlClient * client, context.client());
  const CatchSignals signals;
  return Test(flags, context, *client, timeout).Run();
}

Command TestCommand() {
  return {.name = "test",
          .summary = "Check every promise of the network between every pair of nodes",
          .usage = "[flags]",
          .examples =
              "  meshctl connectivity test\n"
              "  meshctl connectivity test --node n1 --node n2 --verbose\n",
          .define = [](CLI::App& app, Context& context) -> Action {
            auto flags = std::make_shared<Flags>();
            app.add_option("--image", flags->image,
                           "Image of the probes, whose program runs until it is stopped; each "
                           "node's own sandbox image when absent");
            app.add_option("--namespace-prefix", flags->prefix,
                           "The namespaces PREFIX-a and PREFIX-b are made, and removed at the end")
                ->capture_default_str();
            app.add_option("--node", flags->nodes, "Only these nodes; may be repeated")
                ->allow_extra_args(false)
                ->take_all();
            app.add_option("--timeout", flags->timeout, "How long the probes may take to start")
                ->capture_default_str();
            app.add_option("--cluster-domain", flags->cluster_domain,
                           "DNS suffix of the cluster, as meshd was told")
                ->capture_default_str();
            app.add_flag("-v,--verbose", flags->verbose, "Tell every check");
            return [flags, &context] { return Run(*flags, context); };
          }};
}

}  // namespace

Command ConnectivityCommand() {
  return {.name = "connectivity",
          .summary = "Test the network with probes on every node",
          .group = kGroupNetwork,
          .usage = "test [flags]",
          .children = {TestCommand()}};
}

}  // namespace mesh::cli
