// SPDX-License-Identifier: Apache-2.0
// The pure cores that run on every change, at the sizes that they are built for: the scheduler over
// 5,000 nodes, the map planner over 10,000 Services of 10 endpoints. Processor time counts: they
// wait for nothing.
#include <benchmark/benchmark.h>

#include <cstdio>

#include "controlplane/scheduler/scheduler.h"
#include "dataplane/plan/plan.h"
#include "fmt/format.h"
#include "tests/bench/figures.h"

namespace mesh::bench {
namespace {

controlplane::ClusterState Cluster(int nodes, int pods) {
  controlplane::ClusterState state;
  state.revision = 1;
  v1::Resource resource;
  auto* space = resource.mutable_namespace_();
  space->mutable_metadata()->set_name("default");
  space->mutable_status()->set_phase("Active");
  space->mutable_status()->set_identity(256);
  state.Put(resource);
  for (int i = 0; i < nodes; ++i) {
    resource.Clear();
    auto* node = resource.mutable_node();
    node->mutable_metadata()->set_name(fmt::format("n{:05}", i));
    node->mutable_metadata()->set_resource_version("1");
    node->mutable_spec()->set_pod_cidr(fmt::format("10.{}.{}.0/24", 64 + i / 256, i % 256));
    auto& allocatable = *node->mutable_status()->mutable_allocatable();
    allocatable["cpu"].set_text("64");
    allocatable["memory"].set_text("256Gi");
    allocatable["pods"].set_text("110");
    auto* ready = node->mutable_status()->add_conditions();
    ready->set_type("Ready");
    ready->set_status("True");
    state.Put(resource);
  }
  for (int i = 0; i < pods; ++i) {
    resource.Clear();
    auto* pod = resource.mutable_pod();
    pod->mutable_metadata()->set_namespace_("default");
    pod->mutable_metadata()->set_name(fmt::format("p{:06}", i));
    pod->mutable_metadata()->set_uid(fmt::format("uid-{}", i));
    pod->mutable_metadata()->set_resource_version("1");
    auto* owner = pod->mutable_metadata()->add_owner_references();
    owner->set_kind("ReplicaSet");
    owner->set_uid(fmt::format("rs-{}", i / 100));
    owner->set_controller(true);
    auto* container = pod->mutable_spec()->add_containers();
    container->set_name("c");
    container->set_image("localhost/app:1");
    (*container->mutable_resources()->mutable_requests())["cpu"].set_text("100m");
    (*container->mutable_resources()->mutable_requests())["memory"].set_text("64Mi");
    state.Put(resource);
  }
  return state;
}

void BM_SchedulePods(benchmark::State& run) {
  const int pods = static_cast<int>(run.range(1));
  const auto state = Cluster(static_cast<int>(run.range(0)), pods);
  for (auto _ : run) {
    controlplane::Scheduler scheduler;
    auto result = scheduler.Schedule(state, absl::FromUnixSeconds(1'700'000'000), pods);
    int bound = 0;
    for (const auto& write : result.writes) bound += write.type == controlplane::Write::Type::kBind;
    if (bound != pods) {
      run.SkipWithError("not every pod was bound");
      return;
    }
  }
  run.counters["pods_per_second"] =
      benchmark::Counter(static_cast<double>(pods), benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK(BM_SchedulePods)
    ->Args({5000, 5000})
    ->Name("schedule_5000_nodes")
    ->Unit(benchmark::kMillisecond);

dataplane::DesiredState Services(int services, int backends) {
  dataplane::DesiredState desired;
  desired.complete = true;
  desired.revision = 1;
  for (int i = 0; i < services; ++i) {
    dataplane::Service service;
    service.ns = "default";
    service.name = fmt::format("s{:05}", i);
    service.cluster_ip = IpAddress::V4(0x0a600000u + static_cast<uint32_t>(i) + 20);
    service.identity = 256;
    dataplane::ServicePort port{.name = "http", .port = 80};
    for (int j = 0; j < backends; ++j) {
      const uint32_t pod = static_cast<uint32_t>(i * backends + j);
      port.backends.push_back({.ip = IpAddress::V4(0x0af40000u + pod), .port = 8080});
    }
    service.ports.push_back(port);
    desired.services["default/" + service.name] = service;
  }
  return desired;
}

dataplane::NodeConfig Config() {
  dataplane::NodeConfig config;
  config.node_name = "n1";
  config.node_ip = *IpAddress::Parse("192.0.2.1");
  config.pod_cidr = *IpPrefix::Parse("10.64.0.0/24");
  config.cluster_cidr = *IpPrefix::Parse("10.64.0.0/10");
  config.service_cidr = *IpPrefix::Parse("10.96.0.0/12");
  config.gateway = *IpAddress::Parse("10.64.0.1");
  return config;
}

void BM_PlanOneChangedEndpoint(benchmark::State& run) {
  auto desired = Services(static_cast<int>(run.range(0)), static_cast<int>(run.range(1)));
  dataplane::Observed observed;
  dataplane::Planner planner(Config());
  for (const auto& action : planner.Compute(desired, observed).actions) Perform(action, observed);
  desired.services.begin()->second.ports[0].backends.pop_back();
  desired.changed_services = {desired.services.begin()->first};
  for (auto _ : run) {
    auto plan = planner.Compute(desired, observed);
    if (plan.actions.size() != 2) {
      run.SkipWithError("one endpoint less is one service and one backend");
      return;
    }
  }
}
BENCHMARK(BM_PlanOneChangedEndpoint)
    ->Args({10'000, 10})
    ->Name("plan_one_endpoint_of_10000x10")
    ->Unit(benchmark::kMillisecond);

// Prints figures in the form that all benchmarks of this folder have.
class FigureReporter : public benchmark::BenchmarkReporter {
 public:
  bool ReportContext(const Context&) override { return true; }
  void ReportRuns(const std::vector<Run>& runs) override {
    for (const Run& run : runs) {
      if (run.error_occurred) {
        failed_ = true;
        std::fprintf(stderr, "pure: error: %s: %s\n", run.benchmark_name().c_str(),
                     run.error_message.c_str());
        continue;
      }
      const std::string name = run.benchmark_name().substr(0, run.benchmark_name().find('/'));
      Print({.name = name + "_cpu_time", .value = run.GetAdjustedCPUTime(), .unit = "ms"});
      for (const auto& [counter, value] : run.counters)
        Print({.name = name + "_" + counter, .value = value.value, .unit = "1/s"});
    }
  }
  bool failed() const { return failed_; }

 private:
  static void Print(const Figure& figure) { std::printf("%s\n", ToJson(figure).c_str()); }
  bool failed_ = false;
};

}  // namespace
}  // namespace mesh::bench

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  mesh::bench::FigureReporter reporter;
  benchmark::RunSpecifiedBenchmarks(&reporter);
  return reporter.failed() ? 1 : 0;
}
