// SPDX-License-Identifier: Apache-2.0
#include "common/cluster_ranges.h"

#include <fmt/format.h>

#include <charconv>

#include "common/ip_address.h"
#include "common/status.h"

namespace mesh {
namespace {

absl::Status CheckRange(const char* flag, const std::string& text, int length_max) {
  const absl::StatusOr<IpPrefix> range = IpPrefix::Parse(text);
  if (!range.ok()) return Annotate(range.status(), flag);
  if (!range->base().is_v4() || range->length() > length_max) {
    return absl::InvalidArgumentError(
        fmt::format("{} {}: must be an IPv4 range of /{} or larger", flag, text, length_max));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckClusterRanges(const std::string& cluster_cidr, const std::string& service_cidr) {
  RETURN_IF_ERROR(CheckRange("--cluster-cidr", cluster_cidr, 24));
  RETURN_IF_ERROR(CheckRange("--service-cidr", service_cidr, 28));
  const IpPrefix pods = *IpPrefix::Parse(cluster_cidr);
  const IpPrefix services = *IpPrefix::Parse(service_cidr);
  if (pods.Contains(services.base()) || services.Contains(pods.base())) {
    return absl::InvalidArgumentError(
        fmt::format("--cluster-cidr {} and --service-cidr {} overlap", cluster_cidr, service_cidr));
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
