// SPDX-License-Identifier: Apache-2.0
#include "cli/commands/forwarded_port.h"

#include <charconv>
#include <optional>

#include "common/ip_address.h"
#include "common/status.h"
#include "fmt/format.h"

namespace mesh::cli {
namespace {

// 0..65535, or nullopt.
std::optional<uint16_t> Number(std::string_view text) {
  uint16_t out = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return out;
}

absl::StatusOr<const v1::ServicePort*> FindPort(const v1::Service& service,
                                                const std::string& port) {
  const auto number = Number(port);
  for (const v1::ServicePort& each : service.spec().ports()) {
    if (each.protocol() == "UDP") continue;
    if (number ? each.port() == *number : each.name() == port) return &each;
  }
  return absl::InvalidArgumentError(fmt::format("Service {} does not have a service port {} (TCP)",
                                                service.metadata().name(), port));
}

}  // namespace

absl::StatusOr<ForwardedPort> ParseForwardedPort(const std::string& text) {
  const auto broken = [&](std::string_view why) {
    return absl::InvalidArgumentError(fmt::format("invalid port format '{}': {}", text, why));
  };
  const size_t colon = text.find(':');
  ForwardedPort out;
  out.remote = colon == std::string::npos ? text : text.substr(colon + 1);
  const std::string local = colon == std::string::npos ? text : text.substr(0, colon);
  if (out.remote.empty() || out.remote.find(':') != std::string::npos)
    return broken("want [LOCAL:]REMOTE");
  if (Number(out.remote) == 0) return broken("the remote port must not be 0");
  const bool name =
      !Number(out.remote) && out.remote.find_first_not_of("0123456789") != std::string::npos;
  if (!Number(out.remote) && !name) return broken("the remote port is above 65535");
  if (colon != std::string::npos) {
    if (local.empty()) return out;  // ":80"
    const auto number = Number(local);
    if (!number) return broken("the local port is not a number up to 65535");
    out.local = *number;
  } else if (const auto number = Number(text)) {
    out.local = *number;
  }
  return out;
}

absl::StatusOr<uint16_t> PodPort(const v1::Pod& pod, const std::string& port) {
  if (const auto number = Number(port)) return *number;
  for (const v1::Container& container : pod.spec().containers()) {
    for (const v1::ContainerPort& each : container.ports()) {
      if (each.name() == port && each.protocol() != "UDP")
        return static_cast<uint16_t>(each.container_port());
    }
  }
  return absl::InvalidArgumentError(
      fmt::format("Pod '{}' does not have a named port '{}'", pod.metadata().name(), port));
}

absl::StatusOr<uint16_t> ServicePodPort(const v1::Service& service, const v1::Pod& pod,
                                        const std::string& port) {
  ASSIGN_OR_RETURN(const v1::ServicePort* found, FindPort(service, port));
  // Clients of a headless Service dial the pod itself.
  if (!found->has_target_port() || service.spec().cluster_ip() == "None")
    return static_cast<uint16_t>(found->port());
  const v1::IntOrString& target = found->target_port();
  if (!target.string_value().empty()) return PodPort(pod, target.string_value());
  return static_cast<uint16_t>(target.int_value() == 0 ? found->port() : target.int_value());
}

absl::StatusOr<uint16_t> ServicePortNumber(const v1::Service& service, const std::string& port) {
  ASSIGN_OR_RETURN(const v1::ServicePort* found, FindPort(service, port));
  return static_cast<uint16_t>(found->port());
}

absl::StatusOr<std::vector<std::string>> ListenAddresses(const std::vector<std::string>& flags) {
  std::vector<std::string> out;
  for (const std::string& flag : flags) {
    if (flag == "localhost") {
      out.emplace_back("127.0.0.1");
      out.emplace_back("::1");
    } else if (IpAddress::Parse(flag).ok()) {
      out.push_back(flag);
    } else {
      return absl::InvalidArgumentError(
          fmt::format("--address: \"{}\" is neither an address nor localhost", flag));
    }
  }
  return out;
}

}  // namespace mesh::cli
