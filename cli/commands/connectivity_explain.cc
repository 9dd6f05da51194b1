// SPDX-License-Identifier: Apache-2.0
#include "cli/commands/connectivity_explain.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "cli/output/why.h"
#include "cli/trace/frame.h"
#include "cli/trace/place.h"
#include "cli/trace/walk.h"
#include "common/status.h"
#include "fmt/format.h"

namespace mesh::cli {
namespace {

constexpr char kIndent[] = "           ";
// A port of its own: the flow of the probe itself may still be known.
constexpr uint16_t kTracePort = 55555;

void Why(const Check& check, ControlClient& client, std::ostream& out) {
  v1::WhyRequest request;
  v1::WhyConnection& connection = *request.mutable_connection();
  connection.mutable_from()->set_namespace_(check.from_ns);
  connection.mutable_from()->set_name(check.from_pod);
  connection.set_host(check.request.dial().address());
  connection.set_port(check.request.dial().port());
  connection.set_protocol(check.request.dial().protocol());
  const auto response = client.Why(request);
  if (!response.ok()) return;
  for (const v1::Finding& finding : response->findings()) {
    if (finding.verdict() != v1::Finding::OK) out << kIndent << FindingText(finding);
  }
}

absl::StatusOr<v1::TraceReport> Trace(const Check& check, ControlClient& client) {
  const v1::ProbeDial& dial = check.request.dial();
  ASSIGN_OR_RETURN(
      const TraceOrigin origin,
      FindOrigin(fmt::format("{}/{}", check.from_ns, check.from_pod), check.from_ns, "", client));
  ASSIGN_OR_RETURN(const std::vector<v1::Node> nodes, ListNodes(client));
  FrameSpec spec;
  ASSIGN_OR_RETURN(spec.destination, IpAddress::Parse(dial.address()));
  const auto from = std::ranges::find_if(
      origin.ips, [&](const IpAddress& ip) { return ip.is_v4() == spec.destination.is_v4(); });
  if (from == origin.ips.end())
    return absl::NotFoundError(fmt::format("{} has no address of this family", origin.text));
  spec.source = *from;
  spec.source_port = kTracePort;
  spec.destination_port = static_cast<uint16_t>(dial.port());
  spec.protocol = dial.protocol() == "UDP" ? kUdp : kTcp;
  ASSIGN_OR_RETURN(spec.tcp_flags, ParseTcpFlags(spec.protocol == kTcp ? "syn" : "none"));
  return WalkPacket(origin, spec.source, MakeFrame(spec), nodes, client);
}

}  // namespace

void ExplainBroken(const Check& check, ControlClient& client, std::ostream& out) {
  if (!check.request.has_dial()) return;
  if (check.expected == v1::ProbeResponse::ANSWERED) Why(check, client, out);
  const absl::StatusOr<v1::TraceReport> report = Trace(check, client);
  if (!report.ok()) {
    out << kIndent << fmt::format("no trace: {}\n", std::string(report.status().message()));
    return;
  }
  const std::string text =
      fmt::format("trace {}/{}: {}", check.from_ns, check.from_pod, ReportText(*report));
  for (const std::string& line :
       std::vector<std::string>(absl::StrSplit(text, '\n', absl::SkipEmpty())))
    out << kIndent << line << '\n';
}

}  // namespace mesh::cli
