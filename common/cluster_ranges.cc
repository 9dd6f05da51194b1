// SPDX-License-Identifier: Apache-2.0
#include "common/cluster_ranges.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "absl/types/span.h"
#include "common/ip_address.h"
#include "common/status.h"

namespace mesh {
namespace {

absl::StatusOr<IpPrefix> ParseRange(const char* flag, const std::string& text) {
  absl::StatusOr<IpPrefix> range = IpPrefix::Parse(text);
  if (!range.ok()) return Annotate(range.status(), flag);
  return range;
}

// Of one family: no smaller than /`longest`.
absl::Status CheckLength(const char* flag, const IpPrefix& range, int longest) {
  if (range.length() <= longest) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format("{} {}: must be an {} range of /{} or larger", flag,
                                                range.ToString(),
                                                range.base().is_v4() ? "IPv4" : "IPv6", longest));
}

absl::Status CheckUsable(const char* flag, const IpPrefix& range) {
  static constexpr std::array kKept4 = {"0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16",
                                        "224.0.0.0/4"};
  static constexpr std::array kKept6 = {"::/8", "fe80::/10", "ff00::/8"};
  const bool is_v4 = range.base().is_v4();
  for (const char* kept : is_v4 ? absl::MakeConstSpan(kKept4) : absl::MakeConstSpan(kKept6)) {
    if (!range.Overlaps(*IpPrefix::Parse(kept))) continue;
    return absl::InvalidArgumentError(fmt::format(
        "{} {}: overlaps {}, which is not for hosts; use a range of {} or one that is routed to "
        "you",
        flag, range.ToString(), kept, is_v4 ? "10.0.0.0/8" : "fd00::/8"));
  }
  return absl::OkStatus();
}

absl::StatusOr<DualRange> ParseDual(const char* flag, const std::string& text, int longest4,
                                    int longest6) {
  const size_t comma = text.find(',');
  ASSIGN_OR_RETURN(const IpPrefix first, ParseRange(flag, text.substr(0, comma)));
  DualRange out{.v4 = first, .v6 = std::nullopt};
  if (comma == std::string::npos) {
    if (!first.base().is_v4()) {
      return absl::InvalidArgumentError(
          fmt::format("{} {}: must be an IPv4 range, or an IPv4 range, a comma and an IPv6 range: "
                      "nodes reach each other by IPv4",
                      flag, text));
    }
    RETURN_IF_ERROR(CheckLength(flag, first, longest4));
    RETURN_IF_ERROR(CheckUsable(flag, first));
    return out;
  }
  ASSIGN_OR_RETURN(const IpPrefix second, ParseRange(flag, text.substr(comma + 1)));
  if (first.base().is_v4() == second.base().is_v4()) {
    return absl::InvalidArgumentError(
        fmt::format("{} {}: two ranges of {}; give one of IPv4 and one of IPv6", flag, text,
                    first.base().is_v4() ? "IPv4" : "IPv6"));
  }
  if (!first.base().is_v4()) {
    return absl::InvalidArgumentError(fmt::format("{} {}: give the IPv4 range first: {},{}", flag,
                                                  text, second.ToString(), first.ToString()));
  }
  out.v6 = second;
  RETURN_IF_ERROR(CheckLength(flag, first, longest4));
  RETURN_IF_ERROR(CheckLength(flag, second, longest6));
  RETURN_IF_ERROR(CheckUsable(flag, first));
  RETURN_IF_ERROR(CheckUsable(flag, second));
  return out;
}

}  // namespace

bool DualRange::Contains(const IpAddress& address) const {
  return v4.Contains(address) || (v6 && v6->Contains(address));
}

std::string DualRange::ToString() const {
  return v6 ? fmt::format("{},{}", v4.ToString(), v6->ToString()) : v4.ToString();
}

absl::StatusOr<ClusterRanges> ParseClusterRanges(const std::string& cluster_cidr,
                                                 const std::string& service_cidr) {
  ClusterRanges out;
  ASSIGN_OR_RETURN(
      out.pods, ParseDual("--cluster-cidr", cluster_cidr, kNodePrefixLength, kNodePrefixLength6));
  ASSIGN_OR_RETURN(out.services, ParseDual("--service-cidr", service_cidr, 28, 124));
  if (out.pods.v6.has_value() != out.services.v6.has_value()) {
    const bool pods = out.pods.v6.has_value();
    return absl::InvalidArgumentError(fmt::format(
        "{} {} has an IPv6 range, {} {} has none; give both or neither",
        pods ? "--cluster-cidr" : "--service-cidr", pods ? cluster_cidr : service_cidr,
        pods ? "--service-cidr" : "--cluster-cidr", pods ? service_cidr : cluster_cidr));
  }
  const bool overlap = out.pods.v4.Overlaps(out.services.v4) ||
                       (out.dual_stack() && out.pods.v6->Overlaps(*out.services.v6));
  if (overlap) {
    return absl::InvalidArgumentError(
        fmt::format("--cluster-cidr {} and --service-cidr {} overlap", cluster_cidr, service_cidr));
  }
  if (out.dual_stack()) {
    const uint64_t nodes = out.pods.v4.SubrangeCount(kNodePrefixLength);
    const uint64_t nodes6 = out.pods.v6->SubrangeCount(kNodePrefixLength6);
    if (nodes6 < nodes) {
      return absl::InvalidArgumentError(fmt::format(
          "--cluster-cidr {}: {} has room for {} nodes (/{} each), {} for {} (/{} each); give a "
          "/{} or larger of IPv6",
          cluster_cidr, out.pods.v4.ToString(), nodes, kNodePrefixLength, out.pods.v6->ToString(),
          nodes6, kNodePrefixLength6,
          kNodePrefixLength6 - (kNodePrefixLength - out.pods.v4.length())));
    }
  }
  return out;
}

absl::Status CheckClusterRanges(const std::string& cluster_cidr, const std::string& service_cidr) {
  return ParseClusterRanges(cluster_cidr, service_cidr).status();
}

absl::Status CheckClusterDomain(const std::string& text) {
  // 253 bytes of a name, less those of "SERVICE.NAMESPACE.svc." with labels of 63.
  constexpr size_t kDomainMax = 253 - (64 + 64 + 4);
  constexpr size_t kLabelMax = 63;
  const auto refuse = [&](const std::string& why) {
    return absl::InvalidArgumentError(fmt::format("--cluster-domain \"{}\": {}", text, why));
  };
  if (text.size() > kDomainMax) {
    return refuse(fmt::format("must be no more than {} bytes", kDomainMax));
  }
  const auto is_alnum = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  for (size_t begin = 0; begin <= text.size();) {
    const std::string label = text.substr(begin, text.find('.', begin) - begin);
    const bool fits =
        !label.empty() && label.size() <= kLabelMax && is_alnum(label.front()) &&
        is_alnum(label.back()) &&
        std::all_of(label.begin(), label.end(), [&](char c) { return is_alnum(c) || c == '-'; });
    if (!fits) {
      return refuse(
          "must be labels of lower-case letters, digits and '-' with a dot between them, such as "
          "cluster.local");
    }
    begin += label.size() + 1;
  }
  return absl::OkStatus();
}

absl::Status CheckNonMasqueradeRanges(const std::vector<std::string>& ranges, bool dual_stack) {
  for (const std::string& text : ranges) {
    const absl::StatusOr<IpPrefix> range = IpPrefix::Parse(text);
    if (!range.ok()) return Annotate(range.status(), "--non-masquerade-cidrs");
    if (!range->base().is_v4() && !dual_stack) {
      return absl::InvalidArgumentError(
          fmt::format("--non-masquerade-cidrs: {} is of IPv6, and the cluster has none", text));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<PortRange> ParseNodePortRange(const std::string& text) {
  PortRange out;
  const char* const end = text.data() + text.size();
  const auto [dash, error] = std::from_chars(text.data(), end, out.first);
  bool fits = error == std::errc() && dash != end && *dash == '-';
  if (fits) {
    const auto [rest, last_error] = std::from_chars(dash + 1, end, out.last);
    fits = last_error == std::errc() && rest == end;
  }
  if (!fits || out.first < 1 || out.last > 65535 || out.first > out.last) {
    return absl::InvalidArgumentError(
        fmt::format("--node-port-range \"{}\": must be FIRST-LAST within 1-65535", text));
  }
  if (out.last >= kMasqueradePortFirst && out.first <= kMasqueradePortLast) {
    return absl::InvalidArgumentError(
        fmt::format("--node-port-range {}: overlaps {}-{}, the source ports of masqueraded "
                    "connections",
                    text, kMasqueradePortFirst, kMasqueradePortLast));
  }
  return out;
}

}  // namespace mesh
