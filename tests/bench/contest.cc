// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/contest.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <utility>

#include "common/status.h"
#include "fmt/format.h"
#include "tests/bench/figures.h"
#include "tests/bench/topology.h"

namespace mesh::bench {
namespace {

// "a,b": none of them may be empty.
bool ParseNames(std::string_view list, std::set<std::string>* names) {
  for (;;) {
    const size_t comma = list.find(',');
    const std::string_view one = list.substr(0, comma);
    if (one.empty()) return false;
    names->emplace(one);
    if (comma == std::string_view::npos) return true;
    list.remove_prefix(comma + 1);
  }
}

}  // namespace

bool ParseContestOption(const std::string& name, const std::string& value,
                        ContestOptions* options) {
  if (name == "--only") return ParseNames(value, &options->only);
  if (name == "--loads") {
    static const std::set<std::string> kLoads = {"tcp_rr", "tcp_crr", "udp_rr", "tcp_stream"};
    return ParseNames(value, &options->loads) &&
           std::includes(kLoads.begin(), kLoads.end(), options->loads.begin(),
                         options->loads.end());
  }
  char* end = nullptr;
  const double number = std::strtod(value.c_str(), &end);
  if (end == value.c_str() || *end != '\0' || !(number >= 0)) return false;
  if (name == "--rounds" && number >= 1 && number <= 1000) {
    options->rounds = static_cast<int>(number);
  } else if (name == "--seconds" && number > 0 && number <= 60) {
    options->seconds = number;
  } else if (name == "--cpu" && number < 1024) {
    options->cpu = static_cast<int>(number);
  } else {
    return false;
  }
  return true;
}

absl::StatusOr<Contest> Contest::Run(const std::vector<Way>& all, ContestOptions options) {
  std::vector<Way> ways;
  std::set<std::string> unknown = options.only;
  for (const Way& way : all) {
    if (options.only.empty() || options.only.count(way.name) > 0) ways.push_back(way);
    unknown.erase(way.name);
  }
  if (!unknown.empty())
    return absl::InvalidArgumentError(fmt::format("there is no way \"{}\"", *unknown.begin()));
  if (options.cpu < 0) options.cpu = static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN)) - 1;
  std::vector<EchoServer> servers;
  for (const Way& way : ways) {
    ASSIGN_OR_RETURN(EchoServer server,
                     EchoServer::Start(Namespaces::PathOf(way.server_netns), kPort, options.cpu));
    servers.push_back(std::move(server));
  }
  Contest contest;
  for (int round = 0; round < options.rounds; ++round) {
    // To and fro: what gets slower or faster during a round hits both ends of the row.
    for (size_t i = 0; i < ways.size(); ++i) {
      const size_t at = round % 2 == 0 ? i : ways.size() - 1 - i;
      RETURN_IF_ERROR(contest.Sample(ways[at], servers[at], options));
    }
  }
  return contest;
}

absl::Status Contest::Sample(const Way& way, const EchoServer& server,
                             const ContestOptions& options) {
  const auto run = [&](LoadKind kind) -> absl::StatusOr<LoadResult> {
    const auto port = static_cast<uint16_t>(kind == LoadKind::kStream ? way.port + 1 : way.port);
    ASSIGN_OR_RETURN(const LoadResult result,
                     RunLoad(Namespaces::PathOf(way.client_netns), way.address, port, kind,
                             options.seconds, options.cpu));
    if (result.errors > 0)
      return absl::DataLossError(fmt::format("{}: {} requests failed", way.name, result.errors));
    return result;
  };
  Samples& samples = samples_[way.name];
  const auto note = [&](const char* what, const char* unit, double value) {
    samples[what].unit = unit;
    samples[what].values.push_back(value);
  };
  const auto wanted = [&](const char* load) {
    return options.loads.empty() || options.loads.count(load) > 0;
  };
  std::printf("%-10s", way.name.c_str());
  if (wanted("tcp_rr")) {
    ASSIGN_OR_RETURN(const LoadResult rr, run(LoadKind::kRequestResponse));
    note("tcp_rr_p50", "us", rr.p50_us);
    std::printf("  TCP_RR p50 %6.2f us  p99 %6.2f us", rr.p50_us, rr.p99_us);
  }
  if (wanted("tcp_crr")) {
    const double server_before = server.processor_seconds();
    ASSIGN_OR_RETURN(const LoadResult crr, run(LoadKind::kConnectRequestResponse));
    const double processor_us =
        (crr.processor_seconds + server.processor_seconds() - server_before) * 1e6 /
        static_cast<double>(crr.operations);
    note("tcp_crr", "1/s", crr.operations_per_second);
    note("tcp_crr_p50", "us", crr.p50_us);
    note("tcp_crr_processor", "us", processor_us);
    std::printf("  TCP_CRR %6.0f/s  p50 %6.2f us  processor %6.2f us", crr.operations_per_second,
                crr.p50_us, processor_us);
  }
  if (wanted("udp_rr") && !way.tcp_only) {
    ASSIGN_OR_RETURN(const LoadResult udp, run(LoadKind::kDatagram));
    note("udp_rr_p50", "us", udp.p50_us);
    std::printf("  UDP_RR p50 %6.2f us", udp.p50_us);
  }
  if (wanted("tcp_stream") && !way.tcp_only) {
    ASSIGN_OR_RETURN(const LoadResult stream, run(LoadKind::kStream));
    note("tcp_stream", "Gbit/s", stream.gigabits_per_second);
    std::printf("  stream %5.1f Gbit/s", stream.gigabits_per_second);
  }
  std::printf("\n");
  std::fflush(stdout);
  return absl::OkStatus();
}

void Contest::Report(const std::string& name, const std::string& reference) const {
  const auto measured = samples_.find(name), against = samples_.find(reference);
  if (measured == samples_.end() || against == samples_.end()) return;
  const Samples& others = against->second;
  for (const auto& [what, series] : measured->second) {
    Figure figure{.name = name + "_" + what, .value = Median(series.values), .unit = series.unit};
    if (name != reference) {
      const auto other = others.find(what);
      if (other == others.end()) continue;
      figure.reference = reference;
      figure.ratio = MedianRatio(series.values, other->second.values);
    }
    std::printf("%s\n", ToJson(figure).c_str());
  }
}

}  // namespace mesh::bench
