// SPDX-License-Identifier: Apache-2.0
#include "cli/output/flow_rows.h"

#include "fmt/format.h"

namespace mesh::cli {
namespace {

std::string OrDash(const std::string& text) { return text.empty() ? "-" : text; }

std::string WithPort(const std::string& address, uint32_t port) {
  if (port == 0 || address.empty()) return OrDash(address);
  const bool ipv6 = address.find(':') != std::string::npos;
  return fmt::format(fmt::runtime(ipv6 ? "[{}]:{}" : "{}:{}"), address, port);
}

std::string IdentityText(uint32_t identity) {
  return identity == 0 ? "-" : std::to_string(identity);
}

}  // namespace

std::string FlowEndText(const v1::FlowEnd& end) {
  std::string name;
  if (!end.pod().empty()) {
    name = fmt::format("{}/{}", end.namespace_(), end.pod());
  } else if (!end.node().empty()) {
    name = "node/" + end.node();
  } else {
    return WithPort(end.address(), end.port());
  }
  return end.port() == 0 ? name : fmt::format("{}:{}", name, end.port());
}

std::vector<std::string> FlowHeaders(bool wide) {
  std::vector<std::string> out = {"TIME",  "NODE",   "EVENT",       "VERDICT", "REASON",
                                  "PROTO", "SOURCE", "DESTINATION", "SERVICE"};
  if (wide)
    out.insert(out.end(), {"DIALLED", "TARGET", "TCP", "PACKETS", "BYTES", "IDENTITIES", "POLICY"});
  return out;
}

std::vector<std::string> TypicalFlowRow() {
  const std::string end = "namespace/deployment-1a2b3c4d5e-6f7g8:40000";
  return {"00:00:00.000", "node", "opened", "forwarded", "no_backend", "ICMP", end, end, ""};
}

std::vector<std::string> FlowRow(const v1::Flow& flow, bool wide, absl::TimeZone zone) {
  const absl::Time time =
      absl::FromUnixSeconds(flow.time().seconds()) + absl::Nanoseconds(flow.time().nanos());
  std::vector<std::string> out = {
      absl::FormatTime("%H:%M:%E3S", time, zone),
      flow.node(),
      flow.event(),
      flow.verdict(),
      OrDash(flow.reason()),
      OrDash(flow.protocol()),
      FlowEndText(flow.source()),
      FlowEndText(flow.destination()),
      flow.service().empty() ? "-"
                             : fmt::format("{}/{}", flow.service_namespace(), flow.service())};
  if (!wide) return out;
  out.insert(out.end(),
             {WithPort(flow.dialled_address(), flow.dialled_port()), OrDash(flow.target()),
              OrDash(flow.tcp_flags().empty() ? flow.state() : flow.tcp_flags()),
              std::to_string(flow.packets()), std::to_string(flow.bytes()),
              fmt::format("{}>{}", IdentityText(flow.source_identity()),
                          IdentityText(flow.destination_identity())),
              OrDash(flow.policy())});
  return out;
}

std::string FlowLossText(const std::string& node, const v1::FlowLoss& lost) {
  std::string out;
  const auto add = [&](uint64_t count, const char* text) {
    if (count > 0) out += fmt::format("warning: {}: {} {}\n", node, count, text);
  };
  add(lost.ring(), "events were lost: the node's ring was full");
  add(lost.queue(), "events were lost: they came faster than they were read");
  add(lost.suppressed(), "dropped packets were counted and not told: too many at once");
  return out;
}

}  // namespace mesh::cli
