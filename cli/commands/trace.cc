// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <ostream>
#include <utility>

#include "cli/client.h"
#include "cli/commands/commands.h"
#include "cli/output/structured.h"
#include "cli/trace/capture.h"
#include "cli/trace/frame.h"
#include "cli/trace/place.h"
#include "cli/trace/walk.h"
#include "common/socket_address.h"
#include "common/status.h"
#include "fmt/format.h"

namespace mesh::cli {
namespace {

// What a process of a node sends to its own node is written so at the socket, when somebody is
// served there (docs/adr/0019): 169.254.64.4 and fd6d:6573:6800::4.
constexpr char kOwnAddress[] = "169.254.64.4", kOwnAddress6[] = "fd6d:6573:6800::4";

struct Flags {
  std::string from, to;
  std::string proto;
  std::string tcp_flags;
  std::string pcap;
  std::string via;
  std::string output = "text";
  std::optional<int> port, source_port;
  bool ipv6 = false;
};

struct Pair {
  IpAddress source, destination;
};

// Addresses of one family: IPv4 unless IPv6 is asked for or all there is.
absl::StatusOr<Pair> ChooseAddresses(const TraceOrigin& origin, const TraceAim& aim, bool ipv6) {
  for (const bool v4 : {!ipv6, ipv6}) {
    if (ipv6 && v4) break;
    const auto of_family = [&](const std::vector<IpAddress>& ips) -> const IpAddress* {
      const auto it = std::find_if(ips.begin(), ips.end(),
                                   [&](const IpAddress& ip) { return ip.is_v4() == v4; });
      return it == ips.end() ? nullptr : &*it;
    };
    const IpAddress *source = of_family(origin.ips), *destination = of_family(aim.ips);
    if (source != nullptr && destination != nullptr) return Pair{*source, *destination};
  }
  if (ipv6) {
    return absl::InvalidArgumentError(
        fmt::format("-6: {} or {} has no IPv6 address", origin.text, aim.text));
  }
  return absl::InvalidArgumentError(
      fmt::format("{} and {} have no address of one family", origin.text, aim.text));
}

absl::StatusOr<uint16_t> Port(const char* flag, int value) {
  if (value > 0 && value <= 65535) return static_cast<uint16_t>(value);
  return absl::InvalidArgumentError(
      fmt::format("{}: {} is no port: give a number from 1 to 65535", flag, value));
}

absl::StatusOr<FrameSpec> SpecOf(const Flags& flags, const TraceOrigin& origin,
                                 ControlClient& client, const std::string& ns) {
  FrameSpec spec;
  std::string protocol = flags.proto.empty() ? "tcp" : flags.proto;
  for (char& c : protocol) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  if (protocol == "TCP") {
    spec.protocol = kTcp;
  } else if (protocol == "UDP") {
    spec.protocol = kUdp;
  } else if (protocol == "ICMP") {
    spec.protocol = kIcmp;
  } else {
    return absl::InvalidArgumentError(
        fmt::format("--proto: \"{}\" is none of tcp, udp, icmp", flags.proto));
  }
  if (!flags.tcp_flags.empty() && spec.protocol != kTcp)
    return UsageError(fmt::format("--tcp-flags are of TCP, and --proto is {}", flags.proto));
  std::string to = flags.to;
  const absl::StatusOr<HostAndPort> split = SplitHostPort(to);
  RETURN_IF_ERROR(Annotate(split.status(), "TO"));
  if (spec.protocol == kIcmp && (flags.port || split->port.has_value()))
    return UsageError("ICMP has no ports: leave --port and the one behind TO out");
  if (flags.port) {
    RETURN_IF_ERROR(Port("--port", *flags.port).status());
    if (split->port.has_value())
      return UsageError("the port is given twice: with --port and behind TO");
    const bool colons = split->host.find(':') != std::string::npos;
    to = fmt::format(fmt::runtime(colons ? "[{}]:{}" : "{}:{}"), split->host, *flags.port);
  }
  ASSIGN_OR_RETURN(const TraceAim aim, FindAim(to, ns, protocol, client));
  if (origin.ips.empty()) {
    return absl::InvalidArgumentError("outside: give the sender's address, or a capture by --pcap");
  }
  ASSIGN_OR_RETURN(const Pair pair, ChooseAddresses(origin, aim, flags.ipv6));
  spec.source = pair.source;
  spec.destination = pair.destination;
  if (origin.kind == TraceOrigin::Kind::kNode &&
      std::find(origin.ips.begin(), origin.ips.end(), spec.destination) != origin.ips.end()) {
    spec.destination = *IpAddress::Parse(spec.destination.is_v4() ? kOwnAddress : kOwnAddress6);
  }
  if (spec.protocol != kIcmp && aim.port == 0) {
    return absl::InvalidArgumentError(
        fmt::format("{}: which port? give it as TO:PORT or with --port", aim.text));
  }
  spec.destination_port = spec.protocol == kIcmp ? uint16_t{0} : aim.port;
  ASSIGN_OR_RETURN(spec.source_port, Port("--source-port", flags.source_port.value_or(55555)));
  if (spec.protocol == kTcp) {
    ASSIGN_OR_RETURN(spec.tcp_flags,
                     ParseTcpFlags(flags.tcp_flags.empty() ? "syn" : flags.tcp_flags));
  }
  return spec;
}

absl::StatusOr<std::vector<std::string>> FramesOf(const std::string& path) {
  // It would open, and throw when it is read.
  if (std::error_code error; std::filesystem::is_directory(path, error))
    return absl::InvalidArgumentError(fmt::format("--pcap: {} is a directory", path));
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError(fmt::format("--pcap: cannot read {}", path));
  const std::string bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  absl::StatusOr<std::vector<std::string>> frames = ReadCapture(bytes);
  if (!frames.ok()) {
    return absl::InvalidArgumentError(
        fmt::format("--pcap: {}: {}", path, std::string(frames.status().message())));
  }
  if (frames->empty())
    return absl::InvalidArgumentError(fmt::format("--pcap: {}: no packet", path));
  for (size_t i = 0; i < frames->size(); ++i) {
    if (const std::string cut = WhyCut((*frames)[i]); !cut.empty())
      return absl::InvalidArgumentError(
          fmt::format("--pcap: {}: packet {} is not whole: {}", path, i + 1, cut));
  }
  return frames;
}

absl::Status CheckFlags(const Flags& flags) {
  if (flags.output != "text" && flags.output != "json" && flags.output != "yaml") {
    return absl::InvalidArgumentError(
        fmt::format("unable to match a printer suitable for the output format \"{}\", allowed "
                    "formats are: json,text,yaml",
                    flags.output));
  }
  if (flags.pcap.empty() && flags.to.empty()) {
    return UsageError("whom the packet is for is missing: give TO, or a capture with --pcap");
  }
  if (!flags.pcap.empty() && (!flags.to.empty() || !flags.proto.empty() || flags.port ||
                              flags.source_port || !flags.tcp_flags.empty() || flags.ipv6)) {
    return UsageError("--pcap: the packets of a capture have their own addresses, ports and flags");
  }
  return absl::OkStatus();
}

absl::StatusOr<int> Run(const Flags& flags, Context& context) {
  RETURN_IF_ERROR(CheckFlags(flags));
  std::vector<std::string> frames;
  if (!flags.pcap.empty()) {
    ASSIGN_OR_RETURN(frames, FramesOf(flags.pcap));
  }
  ASSIGN_OR_RETURN(ControlClient * client, context.client());
  ASSIGN_OR_RETURN(const TraceOrigin origin,
                   FindOrigin(flags.from, context.ns(), flags.via, *client));
  ASSIGN_OR_RETURN(const std::vector<v1::Node> nodes, ListNodes(*client));
  // Of a capture: any of the pod's, all lead to its interface.
  IpAddress from = origin.ips.empty() ? IpAddress() : origin.ips.front();
  if (frames.empty()) {
    ASSIGN_OR_RETURN(const FrameSpec spec, SpecOf(flags, origin, *client, context.ns()));
    from = spec.source;
    frames = {MakeFrame(spec)};
  }
  v1::TraceReports reports;
  for (size_t i = 0; i < frames.size(); ++i) {
    absl::StatusOr<v1::TraceReport> report = WalkPacket(origin, from, frames[i], nodes, *client);
    if (!report.ok() && !flags.pcap.empty()) {
      return Annotate(report.status(), fmt::format("packet {}", i + 1));
    }
    RETURN_IF_ERROR(report.status());
    if (flags.output == "text") {
      if (frames.size() > 1) context.out << fmt::format("{}packet {}: ", i > 0 ? "\n" : "", i + 1);
      if (frames.size() == 1) context.out << origin.text << ": ";
      context.out << ReportText(*report);
      context.out.flush();
    }
    *reports.add_packets() = *std::move(report);
  }
  if (flags.output != "text") {
    const std::string json = MessageJson(reports, {"frame"});
    context.out << (flags.output == "json" ? PrettyJson(json) : YamlFromJson(json));
  }
  return 0;
}

}  // namespace

Command TraceCommand() {
  return {.name = "trace",
          .summary = "What becomes of a packet, and why, asked of the nodes' programs and maps",
          .group = kGroupNetwork,
          .usage =
              "FROM TO[:PORT] [--proto tcp|udp|icmp] [--tcp-flags FLAGS] [-6]\n"
              "  meshctl trace FROM --pcap FILE",
          .examples =
              "  meshctl trace shop/web-1 pay/api:8080\n"
              "  meshctl trace deployment/web 10.96.0.10:80 --proto udp -n shop\n"
              "  meshctl trace node/n1 svc/web:http\n"
              "  meshctl trace 198.51.100.7 192.0.2.10:443 --via n2\n"
              "  meshctl trace pod/web-1 --pcap web.pcap\n",
          .define = [](CLI::App& app, Context& context) -> Action {
            auto flags = std::make_shared<Flags>();
            app.add_option("from", flags->from,
                           "A pod (NAME, NAMESPACE/NAME, TYPE/NAME), node/NAME, or an address")
                ->required();
            app.add_option("to", flags->to,
                           "svc/NAME, pod/NAME, NAMESPACE/NAME, a Service's DNS name or an "
                           "address, with :PORT");
            app.add_option("--port", flags->port, "The port, where TO has none");
            app.add_option("--source-port", flags->source_port,
                           "The sender's port, of ICMP the echo's id; 55555 when absent");
            app.add_option("--proto", flags->proto, "tcp (default), udp or icmp (echo)");
            app.add_option("--tcp-flags", flags->tcp_flags,
                           "Of fin,syn,rst,psh,ack,urg, or none; syn when absent")
                ->check([](const std::string& given) {
                  return given.empty() ? "give some, or none" : "";
                });
            app.add_flag("-6,--ipv6", flags->ipv6, "Between the IPv6 addresses");
            app.add_option("--via", flags->via,
                           "The node that receives a packet from outside the cluster");
            app.add_option("--pcap", flags->pcap, "Trace each packet of a capture (pcap, pcapng)");
            app.add_option("-o,--output", flags->output, "text, json or yaml");
            return [flags, &context] { return Run(*flags, context); };
          }};
}

}  // namespace mesh::cli
