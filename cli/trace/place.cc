// SPDX-License-Identifier: Apache-2.0
#include "cli/trace/place.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_split.h"
#include "cli/command.h"
#include "cli/commands/targets.h"
#include "common/socket_address.h"
#include "common/status.h"
#include "fmt/format.h"

namespace mesh::cli {
namespace {

void AddAddress(const std::string& text, std::vector<IpAddress>* out) {
  const auto ip = IpAddress::Parse(text);
  if (ip.ok() && std::find(out->begin(), out->end(), *ip) == out->end()) out->push_back(*ip);
}

std::vector<IpAddress> PodAddresses(const v1::Pod& pod) {
  std::vector<IpAddress> out;
  AddAddress(pod.status().pod_ip(), &out);
  for (const v1::PodIP& ip : pod.status().pod_ips()) AddAddress(ip.ip(), &out);
  return out;
}

std::string PodText(const v1::Pod& pod) {
  return fmt::format("pod {}/{}", pod.metadata().namespace_(), pod.metadata().name());
}

absl::Status CheckBound(const v1::Pod& pod) {
  if (!pod.spec().node_name().empty() && !PodAddresses(pod).empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      fmt::format("{} has no node and address yet: see meshctl describe", PodText(pod)));
}

absl::StatusOr<v1::Resource> GetOf(v1::Kind kind, const std::string& ns, const std::string& name,
                                   ControlClient& client) {
  v1::GetRequest request;
  request.mutable_name()->set_kind(kind);
  request.mutable_name()->set_namespace_(ns);
  request.mutable_name()->set_name(name);
  return client.Get(request);
}

bool IsType(const std::string& word) { return FindType(word).ok(); }

absl::StatusOr<v1::Pod> FindPodOf(const std::string& word, const std::string& ns,
                                  ControlClient& client) {
  std::string note;  // which of several: the text names it
  ASSIGN_OR_RETURN(const Target target, ParsePodAnywhere(word, ns));
  return FindPod(target, client, &note);
}

absl::StatusOr<TraceOrigin> OriginOfNode(const v1::Node& node) {
  TraceOrigin out{.kind = TraceOrigin::Kind::kNode, .node = node.metadata().name()};
  out.ips = AddressesOf(node);
  out.text = fmt::format("node {}", out.node);
  return out;
}

absl::StatusOr<TraceOrigin> OriginOfPod(const v1::Pod& pod) {
  RETURN_IF_ERROR(CheckBound(pod));
  TraceOrigin out{.kind = TraceOrigin::Kind::kPod, .node = pod.spec().node_name()};
  out.ips = PodAddresses(pod);
  out.text = PodText(pod);
  return out;
}

absl::StatusOr<TraceOrigin> OriginOutside(std::vector<IpAddress> ips, const std::string& via,
                                          const std::vector<v1::Node>& nodes) {
  const std::string what = ips.empty() ? "outside" : ips.front().ToString();
  if (via.empty() && ips.empty())
    return absl::InvalidArgumentError(
        "outside: give the node that receives the packets with --via NODE");
  if (via.empty()) {
    return absl::InvalidArgumentError(fmt::format(
        "{}: no pod and no node has this address; give the node that receives the packet with "
        "--via NODE",
        what));
  }
  for (const v1::Node& node : nodes) {
    if (node.metadata().name() != via) continue;
    return TraceOrigin{TraceOrigin::Kind::kOutside, via, std::move(ips),
                       what == "outside" ? what : fmt::format("outside {}", what)};
  }
  return absl::NotFoundError(fmt::format("--via: nodes \"{}\" not found", via));
}

// The port of the Service that `port` names; the only one of `protocol` when it is empty.
absl::StatusOr<uint16_t> PortOf(const v1::Service& service, const std::string& port,
                                const std::string& protocol) {
  std::vector<std::string> known;
  std::vector<uint16_t> numbers;
  for (const v1::ServicePort& entry : service.spec().ports()) {
    const std::string of = entry.protocol().empty() ? "TCP" : entry.protocol();
    known.push_back(
        fmt::format("{}{}/{}", entry.name().empty() ? "" : entry.name() + " ", entry.port(), of));
    if (!port.empty() && entry.name() == port) {
      if (of == protocol) return static_cast<uint16_t>(entry.port());
      return absl::InvalidArgumentError(fmt::format(
          "Service {}/{} serves port \"{}\" for {}, not for {}: trace it with --proto {}",
          service.metadata().namespace_(), service.metadata().name(), port, of, protocol,
          absl::AsciiStrToLower(of)));
    }
    if (of == protocol) numbers.push_back(static_cast<uint16_t>(entry.port()));
  }
  if (port.empty() && numbers.size() == 1) return numbers.front();
  std::string list;
  for (const std::string& entry : known) list += (list.empty() ? "" : ", ") + entry;
  const std::string name =
      fmt::format("Service {}/{}", service.metadata().namespace_(), service.metadata().name());
  if (port.empty()) {
    return absl::InvalidArgumentError(
        fmt::format("{}: which port? it has {}; give it as TO:PORT", name, list));
  }
  return absl::InvalidArgumentError(
      fmt::format("{} has no port named \"{}\"; it has {}", name, port, list));
}

absl::StatusOr<uint16_t> NumberOf(const std::string& port) {
  uint32_t number = 0;
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
  if (error != std::errc() || end != port.data() + port.size() || number == 0 || number > 65535) {
    return absl::InvalidArgumentError(
        fmt::format("TO: \"{}\" is no port: give a number from 1 to 65535", port));
  }
  return static_cast<uint16_t>(number);
}

bool IsNumber(const std::string& text) {
  return !text.empty() && std::all_of(text.begin(), text.end(),
                                      [](unsigned char c) { return c >= '0' && c <= '9'; });
}

absl::StatusOr<TraceAim> AimAtService(const v1::Service& service, const std::string& port,
                                      const std::string& protocol) {
  TraceAim out;
  out.text =
      fmt::format("Service {}/{}", service.metadata().namespace_(), service.metadata().name());
  if (service.spec().type() == "ExternalName") {
    return absl::InvalidArgumentError(
        fmt::format("{} is an ExternalName: it is a name for {}, not an address", out.text,
                    service.spec().external_name()));
  }
  if (service.spec().cluster_ip() == "None") {
    return absl::InvalidArgumentError(
        fmt::format("{} is headless: it has no address; trace to one of its pods", out.text));
  }
  AddAddress(service.spec().cluster_ip(), &out.ips);
  for (const std::string& ip : service.spec().cluster_ips()) AddAddress(ip, &out.ips);
  if (out.ips.empty()) {
    return absl::FailedPreconditionError(fmt::format("{} has no address yet", out.text));
  }
  if (IsNumber(port)) {
    ASSIGN_OR_RETURN(out.port, NumberOf(port));
  } else if (protocol != "ICMP") {
    ASSIGN_OR_RETURN(out.port, PortOf(service, port, protocol));
  }
  return out;
}

absl::StatusOr<TraceAim> AimAtPod(const v1::Pod& pod, const std::string& port) {
  RETURN_IF_ERROR(CheckBound(pod));
  TraceAim out{.ips = PodAddresses(pod), .text = PodText(pod)};
  if (!port.empty()) {
    ASSIGN_OR_RETURN(out.port, NumberOf(port));
  }
  return out;
}

absl::StatusOr<TraceAim> AimAtName(const std::string& ns, const std::string& name,
                                   const std::string& port, const std::string& protocol,
                                   ControlClient& client) {
  const auto service = GetOf(v1::KIND_SERVICE, ns, name, client);
  if (service.ok()) return AimAtService(service->service(), port, protocol);
  if (!IsServerNotFound(service.status())) return service.status();
  const auto pod = GetOf(v1::KIND_POD, ns, name, client);
  if (pod.ok()) return AimAtPod(pod->pod(), port);
  if (!IsServerNotFound(pod.status())) return pod.status();
  return absl::NotFoundError(
      fmt::format("TO: there is no Service and no pod \"{}\" in namespace \"{}\"", name, ns));
}

}  // namespace

absl::StatusOr<std::vector<v1::Node>> ListNodes(ControlClient& client) {
  ASSIGN_OR_RETURN(const v1::ListResponse list, ListObjects(v1::KIND_NODE, "", "", client));
  std::vector<v1::Node> out;
  for (const v1::Resource& item : list.items()) out.push_back(item.node());
  return out;
}

std::vector<IpAddress> AddressesOf(const v1::Node& node) {
  std::vector<IpAddress> out;
  for (const v1::NodeAddress& address : node.status().addresses()) {
    if (address.type() == "InternalIP") AddAddress(address.address(), &out);
  }
  return out;
}

absl::StatusOr<TraceOrigin> FindOrigin(std::string_view word, const std::string& ns,
                                       const std::string& via, ControlClient& client) {
  ASSIGN_OR_RETURN(const std::vector<v1::Node> nodes, ListNodes(client));
  if (word == "outside") return OriginOutside({}, via, nodes);
  if (const auto ip = IpAddress::Parse(word); ip.ok()) {
    if (!via.empty()) return OriginOutside({*ip}, via, nodes);
    const auto has = [&](const std::vector<IpAddress>& ips) {
      return std::find(ips.begin(), ips.end(), *ip) != ips.end();
    };
    for (const v1::Node& node : nodes) {
      if (has(AddressesOf(node))) return OriginOfNode(node);
    }
    ASSIGN_OR_RETURN(const v1::ListResponse pods, ListObjects(v1::KIND_POD, "", "", client));
    for (const v1::Resource& item : pods.items()) {
      if (has(PodAddresses(item.pod()))) return OriginOfPod(item.pod());
    }
    return OriginOutside({*ip}, via, nodes);
  }
  if (!via.empty()) {
    return absl::InvalidArgumentError(fmt::format(
        "--via is for packets from outside the cluster; {} is known to be on its node", word));
  }
  const std::vector<std::string> parts = absl::StrSplit(std::string(word), '/');
  if (parts.size() == 2 && (parts[0] == "node" || parts[0] == "nodes" || parts[0] == "no")) {
    for (const v1::Node& node : nodes) {
      if (node.metadata().name() == parts[1]) return OriginOfNode(node);
    }
    return absl::NotFoundError(fmt::format("FROM: nodes \"{}\" not found", parts[1]));
  }
  ASSIGN_OR_RETURN(const v1::Pod pod, FindPodOf(std::string(word), ns, client));
  return OriginOfPod(pod);
}

absl::StatusOr<TraceAim> FindAim(std::string_view word, const std::string& ns,
                                 const std::string& protocol, ControlClient& client) {
  const absl::StatusOr<HostAndPort> split = SplitHostPort(word);
  RETURN_IF_ERROR(Annotate(split.status(), "TO"));
  const std::string& place = split->host;
  const std::string port = split->port.value_or("");
  if (split->port == "")
    return absl::InvalidArgumentError(fmt::format("TO: \"{}\" has no port behind its colon", word));
  if (const auto ip = IpAddress::Parse(place); ip.ok()) {
    TraceAim out{.ips = {*ip}, .text = place};
    if (!port.empty()) {
      ASSIGN_OR_RETURN(out.port, NumberOf(port));
    }
    return out;
  }
  const std::vector<std::string> parts = absl::StrSplit(place, '/');
  if (parts.size() == 1 && place.find('.') != std::string::npos) {
    const std::vector<std::string> labels = absl::StrSplit(place, '.');
    if (labels.size() > 2 && labels[2] != "svc") {
      return absl::InvalidArgumentError(fmt::format(
          "TO: \"{}\" is not the name of a Service (NAME.NAMESPACE.svc...); give an address",
          place));
    }
    ASSIGN_OR_RETURN(const v1::Resource object,
                     GetOf(v1::KIND_SERVICE, labels[1], labels[0], client));
    return AimAtService(object.service(), port, protocol);
  }
  if (parts.size() == 1) return AimAtName(ns, place, port, protocol, client);
  if (parts.size() != 2 || parts[0].empty() || parts[1].empty()) {
    return absl::InvalidArgumentError(
        fmt::format("TO: \"{}\" is neither TYPE/NAME nor NAMESPACE/NAME", place));
  }
  if (!IsType(parts[0])) return AimAtName(parts[0], parts[1], port, protocol, client);
  ASSIGN_OR_RETURN(const TypeRef type, FindType(parts[0]));
  if (type.kind == v1::KIND_SERVICE) {
    ASSIGN_OR_RETURN(const v1::Resource object, GetOf(v1::KIND_SERVICE, ns, parts[1], client));
    return AimAtService(object.service(), port, protocol);
  }
  if (type.kind == v1::KIND_NODE) {
    ASSIGN_OR_RETURN(const std::vector<v1::Node> nodes, ListNodes(client));
    for (const v1::Node& node : nodes) {
      if (node.metadata().name() != parts[1]) continue;
      TraceAim out{.ips = AddressesOf(node), .text = fmt::format("node {}", parts[1])};
      if (!port.empty()) {
        ASSIGN_OR_RETURN(out.port, NumberOf(port));
      }
      return out;
    }
    return absl::NotFoundError(fmt::format("TO: nodes \"{}\" not found", parts[1]));
  }
  ASSIGN_OR_RETURN(const v1::Pod pod, FindPodOf(place, ns, client));
  return AimAtPod(pod, port);
}

}  // namespace mesh::cli
