// SPDX-License-Identifier: Apache-2.0
// How long a change of Services takes from the desired state to the last write into the kernel's
// maps, at 10,000 Services of 10 endpoints: everything from empty maps, one endpoint, and what a
// restarted agent reads. Needs root; touches no interface. The programs are loaded, their maps are
// nobody else's. Beside the time of the whole, that of the processor: on a busy machine the first
// also counts what others do.
#include <time.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/kernel_maps.h"
#include "dataplane/plan/plan.h"
#include "dataplane/tables/fake_host_routes.h"
#include "fmt/format.h"
#include "tests/bench/figures.h"

namespace mesh::bench {
namespace {

using dataplane::DesiredState;
using dataplane::Observed;

constexpr int kServices = 10'000, kBackends = 10, kRounds = 201;

DesiredState Services(bool external) {
  DesiredState desired;
  desired.complete = true;
  for (int i = 0; i < kServices; ++i) {
    dataplane::Service service;
    service.ns = "default";
    service.name = fmt::format("s{:05}", i);
    service.cluster_ip = IpAddress::V4(0x0a600000u + static_cast<uint32_t>(i) + 20);
    service.identity = 256;
    dataplane::ServicePort port{.name = "http", .port = 80};
    if (external) port.node_port = static_cast<uint16_t>(30000 + i);
    for (int j = 0; j < kBackends; ++j) {
      const uint32_t pod = static_cast<uint32_t>(i * kBackends + j);
      port.backends.push_back({.ip = IpAddress::V4(0x0af40000u + pod), .port = 8080});
    }
    service.ports.push_back(std::move(port));
    desired.services.emplace("default/" + service.name, std::move(service));
  }
  return desired;
}

// Milliseconds of processor that this process has had.
double ProcessorTime() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) / 1e6;
}

class Dataplane {
 public:
  bool Load() {
    auto programs = dataplane::Programs::Load(mesh_config{}, {});
    if (!programs.ok()) return Fail(programs.status());
    programs_ = *std::move(programs);
    auto maps = dataplane::KernelMaps::Adopt(*programs_);
    if (!maps.ok()) return Fail(maps.status());
    maps_ = *std::move(maps);
    return true;
  }
  // Milliseconds; negative after an error. `actions`: how many there must be, 0: any.
  double Apply(const DesiredState& desired, size_t actions) {
    const auto begin = std::chrono::steady_clock::now();
    const dataplane::Plan plan = planner_.Compute(desired, observed_);
    const absl::Status written = tables().Execute(plan.actions, observed_);
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begin;
    if (!written.ok() || !plan.problem.ok()) {
      return Fail(written.ok() ? plan.problem : written) - 1.0;
    }
    if (actions != 0 && plan.actions.size() != actions) {
      return Fail(absl::InternalError(
                 fmt::format("{} actions, want {}", plan.actions.size(), actions))) -
             1.0;
    }
    return took.count();
  }
  double Read() {
    const auto begin = std::chrono::steady_clock::now();
    const absl::StatusOr<Observed> observed = tables().Load();
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begin;
    if (!observed.ok()) return Fail(observed.status()) - 1.0;
    if (*observed != observed_) return Fail(absl::InternalError("other rows than written")) - 1.0;
    return took.count();
  }

 private:
  static bool Fail(const absl::Status& status) {
    std::fprintf(stderr, "planner: error: %s\n", std::string(status.message()).c_str());
    return false;
  }
  dataplane::ServiceTables tables() {
    return dataplane::ServiceTables(maps_->ForServices(routes_));
  }

  std::unique_ptr<dataplane::Programs> programs_;
  std::unique_ptr<dataplane::KernelMaps> maps_;
  dataplane::FakeHostRoutes routes_;
  dataplane::Planner planner_{dataplane::NodeConfig{}};
  Observed observed_;
};

void Print(const std::string& name, double milliseconds) {
  std::printf("%s\n", ToJson({.name = name, .value = milliseconds, .unit = "ms"}).c_str());
}

bool Measure(const std::string& name, bool external) {
  DesiredState desired = Services(external);
  Dataplane node;
  if (!node.Load()) return false;
  const double before_full = ProcessorTime();
  const double full = node.Apply(desired, 0);
  if (full < 0) return false;
  Print(name + "_full_sync_of_10000x10", full);
  Print(name + "_full_sync_of_10000x10_processor", ProcessorTime() - before_full);

  // An endpoint leaves and comes back, of another Service each time.
  std::vector<double> rounds;
  for (int i = 0; i < kRounds; ++i) {
    auto it = desired.services.begin();
    std::advance(it, i / 2 * 37 % kServices);
    auto& backends = it->second.ports[0].backends;
    if (i % 2 == 0) {
      backends.pop_back();
    } else {
      dataplane::Backend back = backends.back();
      back.ip = IpAddress::V4(back.ip.v4() + 1);
      backends.push_back(back);
    }
    desired.changed_services = {it->first};
    const double took = node.Apply(desired, external ? 3 : 2);
    if (took < 0) return false;
    rounds.push_back(took);
  }
  Print(name + "_one_endpoint_of_10000x10", Median(rounds));
  std::sort(rounds.begin(), rounds.end());
  Print(name + "_one_endpoint_of_10000x10_p99", rounds[rounds.size() * 99 / 100]);
  const double before_read = ProcessorTime();
  const double read = node.Read();
  if (read < 0) return false;
  Print(name + "_read_back_10000x10", read);
  Print(name + "_read_back_10000x10_processor", ProcessorTime() - before_read);
  return true;
}

}  // namespace
}  // namespace mesh::bench

int main() {
  return mesh::bench::Measure("cluster_ip", false) && mesh::bench::Measure("node_port_maglev", true)
             ? 0
             : 1;
}
