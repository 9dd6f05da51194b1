// SPDX-License-Identifier: Apache-2.0
#include "cli/commands/why_subject.h"

#include <charconv>
#include <string_view>

#include "api/schema/validate.h"
#include "cli/command.h"
#include "common/ip_address.h"
#include "common/socket_address.h"
#include "common/status.h"
#include "fmt/format.h"
#include "fmt/ranges.h"

namespace mesh::cli {
namespace {

constexpr std::string_view kArrow = "->";

std::string Trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return "";
  return std::string(text.substr(begin, text.find_last_not_of(" \t") - begin + 1));
}

absl::Status ParsePort(std::string_view text, const std::string& whole, WhySubject* out) {
  const bool is_number = text.find_first_not_of("0123456789") == std::string_view::npos;
  if (!is_number && schema::CheckDnsLabel(text).empty()) {
    out->port = 0;
    out->port_name = text;
    return absl::OkStatus();
  }
  unsigned port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size() || port == 0 || port > 65535)
    return UsageError(fmt::format("\"{}\": port \"{}\" is no number from 1 to 65535{}", whole, text,
                                  is_number ? "" : ", and no name of a port"));
  out->port = static_cast<uint16_t>(port);
  return absl::OkStatus();
}

// Who is no pod has no program to look into; a packet of his can be traced.
absl::Status CheckAsker(const std::string& from, const Target& target, const std::string& to) {
  const bool is_node = target.type.kind == v1::KIND_NODE;
  if (!is_node && !IpAddress::Parse(target.name).ok()) return absl::OkStatus();
  return UsageError(
      fmt::format("why knows requests of pods, and {} is none; what becomes of a "
                  "packet from there tells: meshctl trace {} {}{}",
                  from, from, to, is_node ? "" : " --via NODE"));
}

absl::Status ParseDestination(const std::string& whole, WhySubject* out) {
  std::string_view text = whole;
  uint16_t usual_port = 0;
  if (const size_t scheme = text.find("://"); scheme != std::string_view::npos) {
    const std::string_view name = text.substr(0, scheme);
    if (name == "udp") {
      out->protocol = "UDP";
    } else if (name == "http") {
      usual_port = 80;
    } else if (name == "https") {
      usual_port = 443;
    } else if (name != "tcp") {
      return UsageError(
          fmt::format("\"{}\": \"{}\" is none of tcp, udp, http, https", whole, name));
    }
    text.remove_prefix(scheme + 3);
    if (usual_port != 0) text = text.substr(0, text.find('/'));  // a path changes nothing
  }
  const absl::StatusOr<HostAndPort> split = SplitHostPort(text);
  if (!split.ok())
    return UsageError(fmt::format("\"{}\": {}", whole, std::string(split.status().message())));
  const std::string_view host = split->host;
  if (host.empty()) return UsageError(fmt::format("\"{}\": what is asked for is missing", whole));
  out->port = usual_port;
  if (split->port.has_value()) {
    RETURN_IF_ERROR(ParsePort(*split->port, whole, out));
  }
  const size_t slash = host.find('/');
  if (slash == std::string_view::npos) {
    out->host = host;
    return absl::OkStatus();
  }
  const std::string_view ns = host.substr(0, slash), name = host.substr(slash + 1);
  if (ns.empty() || name.empty() || name.find('/') != std::string_view::npos)
    return UsageError(
        fmt::format("\"{}\" is neither NAMESPACE/NAME[:PORT] nor HOST[:PORT]", whole));
  out->to_ns = ns;
  out->to_name = name;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<WhySubject> ParseWhySubject(const std::vector<std::string>& args,
                                           const std::string& ns) {
  if (args.empty())
    return UsageError(
        "say what it is about: a pod, a service, or a request as \"POD -> NAME:PORT\"");
  WhySubject out;
  const std::string all = fmt::format("{}", fmt::join(args, " "));
  std::string from, to;
  if (const size_t arrow = all.find(kArrow); arrow != std::string::npos) {
    from = Trimmed(std::string_view(all).substr(0, arrow));
    to = Trimmed(std::string_view(all).substr(arrow + kArrow.size()));
    if (to.find(' ') != std::string::npos || from.find(' ') != std::string::npos)
      return UsageError(fmt::format("\"{}\" is not POD -> NAME:PORT", all));
    if (to.empty()) return UsageError("what is asked for is missing after \"->\"");
  } else if (args.size() == 2 && !FindType(args[0]).ok()) {
    from = args[0];
    to = args[1];
  }
  if (!to.empty()) {
    out.is_request = true;
    if (from.empty()) return UsageError("the pod that asks is missing before \"->\"");
    ASSIGN_OR_RETURN(out.target, ParsePodAnywhere(from, ns));
    RETURN_IF_ERROR(CheckAsker(from, out.target, to));
    RETURN_IF_ERROR(ParseDestination(to, &out));
    return out;
  }
  if (args.size() == 2) {
    ASSIGN_OR_RETURN(std::vector<Target> targets, ParseTargets(args, ns, false));
    out.target = targets.front();
  } else if (args.size() == 1) {
    ASSIGN_OR_RETURN(out.target, ParsePodAnywhere(args[0], ns));
  } else {
    return UsageError(fmt::format("\"{}\": one pod, service or request at a time", all));
  }
  if (out.target.name.empty()) return UsageError(fmt::format("\"{}\": a name is missing", all));
  return out;
}

}  // namespace mesh::cli
