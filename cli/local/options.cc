// SPDX-License-Identifier: Apache-2.0
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "cli/local/cluster.h"
#include "common/cluster_ranges.h"
#include "common/ip_address.h"
#include "common/status.h"
#include "fmt/format.h"

namespace mesh::cli::local {
namespace {

constexpr char kPods[] = "10.244.0.0/16", kPods6[] = "fd00:10:244::/48";
constexpr char kServices[] = "10.96.0.0/16", kServices6[] = "fd00:10:96::/112";
// The nodes' link; see Layout.
constexpr char kLink[] = "10.89.0.0/24", kLink6[] = "fd00:10:89::/64";
constexpr char kPool[] = "10.89.0.200-10.89.0.250";
constexpr char kPool6[] = "fd00:10:89::200-fd00:10:89::250";

bool HasTwo(const std::string& ranges) { return ranges.find(',') != std::string::npos; }

// Whether every address of "FIRST-LAST" or a range is on the link.
bool IsOnLink(absl::string_view text) {
  for (const char* range : {kLink, kLink6}) {
    const IpPrefix link = *IpPrefix::Parse(range);
    const std::vector<std::string> ends = absl::StrSplit(text, absl::MaxSplits('-', 1));
    if (const auto whole = IpPrefix::Parse(ends[0]); whole.ok() && ends.size() == 1)
      if (link.Contains(whole->base()) && whole->length() >= link.length()) return true;
    const auto first = IpAddress::Parse(ends.front()), last = IpAddress::Parse(ends.back());
    if (first.ok() && last.ok() && link.Contains(*first) && link.Contains(*last)) return true;
  }
  return false;
}

// Others are found by nobody; what else may be wrong with them meshd says.
absl::Status CheckPool(const std::string& pools) {
  for (const absl::string_view pool : absl::StrSplit(pools, ',', absl::SkipEmpty())) {
    if (IsOnLink(pool)) continue;
    return absl::InvalidArgumentError(
        fmt::format("--load-balancer-pool {}: not addresses of the nodes' link: give FIRST-LAST "
                    "or a range of {} or {}, such as {}",
                    std::string(pool), kLink, kLink6, kPool));
  }
  return absl::OkStatus();
}

std::string Default(const char* v4, const char* v6, bool dual) {
  return dual ? fmt::format("{},{}", v4, v6) : v4;
}

}  // namespace

absl::StatusOr<UpOptions> Resolve(const UpOptions& given, bool kernel_has_ipv6) {
  UpOptions out = given;
  const std::string& told = given.cluster_cidr.empty() ? given.service_cidr : given.cluster_cidr;
  bool dual = told.empty() ? kernel_has_ipv6 : HasTwo(told);
  if (given.families != IpFamilies::kAsGiven) {
    const bool wanted = given.families == IpFamilies::kDual;
    if (!told.empty() && dual != wanted) {
      return absl::InvalidArgumentError(
          fmt::format("--ip-family {} and the range {} do not go together: give {} in "
                      "--cluster-cidr and in --service-cidr, or none",
                      wanted ? "dual" : "ipv4", told,
                      wanted ? "an IPv4 range, a comma and an IPv6 range" : "one IPv4 range"));
    }
    dual = wanted;
  }
  if (dual && !kernel_has_ipv6) {
    return absl::FailedPreconditionError(
        "this kernel has no IPv6: boot it without ipv6.disable=1, or give --ip-family ipv4");
  }
  if (out.cluster_cidr.empty()) out.cluster_cidr = Default(kPods, kPods6, dual);
  if (out.service_cidr.empty()) out.service_cidr = Default(kServices, kServices6, dual);
  if (!out.load_balancer_pool) out.load_balancer_pool = Default(kPool, kPool6, dual);
  RETURN_IF_ERROR(CheckClusterRanges(out.cluster_cidr, out.service_cidr));
  RETURN_IF_ERROR(CheckPool(*out.load_balancer_pool));
  return out;
}

Settings SettingsOf(const UpOptions& options) {
  return {{"--nodes", fmt::format("{}", options.nodes)},
          {"--runtime", options.runtime},
          {"--ip-family", options.dual() ? "dual" : "ipv4"},
          {"--routing", options.routing},
          {"--cluster-cidr", options.cluster_cidr},
          {"--service-cidr", options.service_cidr},
          {"--load-balancer-pool", *options.load_balancer_pool},
          {"--xdp", options.xdp},
          {"--log-level", options.log_level}};
}

absl::Status CheckSame(const std::string& cluster, const Settings& running,
                       const UpOptions& wanted) {
  const auto shown = [](const std::string& value) { return value.empty() ? "\"\"" : value; };
  std::vector<std::string> differences;
  for (const auto& [flag, value] : SettingsOf(wanted)) {
    const auto now = running.find(flag);
    if (!wanted.asked.contains(flag) || now == running.end() || now->second == value) continue;
    differences.push_back(fmt::format("{} {}, not {}", flag, shown(now->second), shown(value)));
  }
  if (differences.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      fmt::format("cluster \"{0}\" runs already with {1}: leave the option out to keep it, or run "
                  "`meshctl local down --name {0}` first",
                  cluster, fmt::join(differences, "; ")));
}

}  // namespace mesh::cli::local
