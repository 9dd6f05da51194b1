// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/contest.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <utility>

#include "common/status.h"
#include "fmt/format.h"
#include "tests/bench/figures.h"
#include "tests/bench/load.h"
#include "tests/bench/topology.h"

namespace mesh::bench {

bool ParseContestOption(const std::string& name, const std::string& value,
                        ContestOptions* options) {
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

absl::StatusOr<Contest> Contest::Run(const std::vector<Way>& ways, ContestOptions options) {
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
      const Way& way = ways[round % 2 == 0 ? i : ways.size() - 1 - i];
      RETURN_IF_ERROR(contest.Sample(way, options));
    }
  }
  return contest;
}

absl::Status Contest::Sample(const Way& way, const ContestOptions& options) {
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
  ASSIGN_OR_RETURN(const LoadResult rr, run(LoadKind::kRequestResponse));
  ASSIGN_OR_RETURN(const LoadResult crr, run(LoadKind::kConnectRequestResponse));
  note("tcp_rr_p50", "us", rr.p50_us);
  note("tcp_crr", "1/s", crr.operations_per_second);
  note("tcp_crr_p50", "us", crr.p50_us);
  std::printf("%-10s TCP_RR p50 %6.2f us  p99 %6.2f us  TCP_CRR %6.0f/s  p50 %6.2f us",
              way.name.c_str(), rr.p50_us, rr.p99_us, crr.operations_per_second, crr.p50_us);
  if (!way.tcp_only) {
    ASSIGN_OR_RETURN(const LoadResult udp, run(LoadKind::kDatagram));
    ASSIGN_OR_RETURN(const LoadResult stream, run(LoadKind::kStream));
    note("udp_rr_p50", "us", udp.p50_us);
    note("tcp_stream", "Gbit/s", stream.gigabits_per_second);
    std::printf("  UDP_RR p50 %6.2f us  stream %5.1f Gbit/s", udp.p50_us,
                stream.gigabits_per_second);
  }
  std::printf("\n");
  std::fflush(stdout);
  return absl::OkStatus();
}

void Contest::Report(const std::string& name, const std::string& reference) const {
  const Samples& others = samples_.at(reference);
  for (const auto& [what, series] : samples_.at(name)) {
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
