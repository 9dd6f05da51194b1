// SPDX-License-Identifier: Apache-2.0
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "cli/local/cluster.h"
#include "cli/local/layout.h"
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

// REQUIRES: IsOnLink(pool).
bool Holds(absl::string_view pool, const IpAddress& address) {
  const std::vector<std::string> ends = absl::StrSplit(pool, absl::MaxSplits('-', 1));
  if (ends.size() == 1) {
    const auto whole = IpPrefix::Parse(ends[0]);
    return whole.ok() && whole->Contains(address);
  }
  const auto first = IpAddress::Parse(ends[0]), last = IpAddress::Parse(ends[1]);
  return first.ok() && last.ok() && first->is_v4() == address.is_v4() && *first <= address &&
         address <= *last;
}

// Whose address it is, of those that stand on the link already; "" when it is free of them.
std::string OwnerIn(absl::string_view pool, int nodes) {
  for (const std::string& outside : {Layout::OutsideAddress(), Layout::OutsideAddress6()}) {
    if (Holds(pool, *IpAddress::Parse(outside))) return outside + ", of the outside";
  }
  for (int i = 0; i < nodes; ++i) {
    for (const std::string& node : {Layout::NodeAddress(i), Layout::NodeAddress6(i)}) {
      if (Holds(pool, *IpAddress::Parse(node))) return fmt::format("{}, of node n{}", node, i + 1);
    }
  }
  return "";
}

// Others are found by nobody; what else may be wrong with them meshd says.
absl::Status CheckPool(const std::string& pools, bool dual, int nodes) {
  for (const absl::string_view pool : absl::StrSplit(pools, ',', absl::SkipEmpty())) {
    if (!IsOnLink(pool)) {
      return absl::InvalidArgumentError(
          fmt::format("--load-balancer-pool {}: not addresses of the nodes' link: give FIRST-LAST "
                      "or a range of {} or {}, such as {}",
                      std::string(pool), kLink, kLink6, kPool));
    }
    if (!dual && pool.find(':') != absl::string_view::npos) {
      return absl::InvalidArgumentError(
          fmt::format("--load-balancer-pool {}: the cluster has no IPv6: leave it out, or "
                      "--ip-family ipv4",
                      std::string(pool)));
    }
    if (const std::string owner = OwnerIn(pool, nodes); !owner.empty()) {
      return absl::InvalidArgumentError(
          fmt::format("--load-balancer-pool {}: has {}: give others, such as {}", std::string(pool),
                      owner, kPool));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckApartFromLink(const char* flag, const std::string& ranges) {
  for (const absl::string_view text : absl::StrSplit(ranges, ',')) {
    const auto range = IpPrefix::Parse(std::string(text));
    for (const char* link : {kLink, kLink6}) {
      if (!range.ok() || !range->Overlaps(*IpPrefix::Parse(link))) continue;
      return absl::InvalidArgumentError(
          fmt::format("{} {}: overlaps {}, the nodes' link", flag, std::string(text), link));
    }
  }
  return absl::OkStatus();
}

std::string Default(const char* v4, const char* v6, bool dual) {
  return dual ? fmt::format("{},{}", v4, v6) : v4;
}

}  // namespace

absl::StatusOr<UpOptions> Resolve(const UpOptions& given, bool kernel_has_ipv6) {
  UpOptions out = given;
  if (given.nodes < 1 || given.nodes > kMaxNodes) {
    return absl::InvalidArgumentError(
        fmt::format("--nodes {}: give a number from 1 to {}", given.nodes, kMaxNodes));
  }
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
  RETURN_IF_ERROR(CheckApartFromLink("--cluster-cidr", out.cluster_cidr));
  RETURN_IF_ERROR(CheckApartFromLink("--service-cidr", out.service_cidr));
  RETURN_IF_ERROR(CheckPool(*out.load_balancer_pool, out.dual(), out.nodes));
  RETURN_IF_ERROR(CheckNonMasqueradeRanges(out.non_masquerade_cidrs, out.dual()));
  if (out.xdp == "on") {
    return absl::InvalidArgumentError(
        "--xdp on: the uplinks of these nodes are veths, whose other end leaves checksums to be "
        "filled in; XDP forwards on a network card: leave the option out");
  }
  return out;
}

Settings SettingsOf(const UpOptions& options) {
  return {
      {"--nodes", fmt::format("{}", options.nodes)},
      {"--runtime", options.runtime},
      {"--ip-family", options.dual() ? "dual" : "ipv4"},
      {"--routing", options.routing},
      {"--cluster-cidr", options.cluster_cidr},
      {"--service-cidr", options.service_cidr},
      {"--load-balancer-pool", *options.load_balancer_pool},
      {"--non-masquerade-cidrs", fmt::format("{}", fmt::join(options.non_masquerade_cidrs, ","))},
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
