// SPDX-License-Identifier: Apache-2.0
#include "agent/pods/pod_fields.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <optional>

#include "common/quantity.h"
#include "common/status.h"

namespace mesh::agent {
namespace {

using StringMap = google::protobuf::Map<std::string, std::string>;

std::string Lookup(const StringMap& map, const std::string& key) {
  auto it = map.find(key);
  return it == map.end() ? "" : it->second;
}

// "metadata.labels['app']" asked for "metadata.labels": "app".
std::optional<std::string> Subscript(std::string_view path, std::string_view of) {
  if (!path.starts_with(of) || !path.ends_with("']")) return std::nullopt;
  path.remove_prefix(of.size());
  if (!path.starts_with("['") || path.size() < 4) return std::nullopt;
  return std::string(path.substr(2, path.size() - 4));
}

std::vector<std::string> PodIps(const v1::Pod& pod) {
  std::vector<std::string> out;
  for (const v1::PodIP& ip : pod.status().pod_ips()) out.push_back(ip.ip());
  if (out.empty() && !pod.status().pod_ip().empty()) out.push_back(pod.status().pod_ip());
  return out;
}

// As Go's %q.
std::string Quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    switch (c) {
      case '"':
      case '\\':
        out += '\\';
        out += c;
        break;
      case '\n':
        out += "\\n";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\r':
        out += "\\r";
        break;
      default:
        if (byte < 0x20 || byte == 0x7f) {
          out += fmt::format("\\x{:02x}", byte);
        } else {
          out += c;
        }
    }
  }
  return out + "\"";
}

int64_t DividedUp(int64_t value, int64_t by) { return value / by + (value % by > 0 ? 1 : 0); }

}  // namespace

std::string MapText(const StringMap& map) {
  std::vector<std::string> lines;
  for (const auto& [key, value] : std::map<std::string, std::string>(map.begin(), map.end())) {
    lines.push_back(fmt::format("{}={}", key, Quoted(value)));
  }
  return fmt::format("{}", fmt::join(lines, "\n"));
}

absl::StatusOr<std::string> PodField(const v1::Pod& pod, std::string_view path,
                                     const NodeFacts& node) {
  const v1::ObjectMeta& meta = pod.metadata();
  if (const auto key = Subscript(path, "metadata.labels")) return Lookup(meta.labels(), *key);
  if (const auto key = Subscript(path, "metadata.annotations")) {
    return Lookup(meta.annotations(), *key);
  }
  if (path == "metadata.name") return meta.name();
  if (path == "metadata.namespace") return meta.namespace_();
  if (path == "metadata.uid") return meta.uid();
  if (path == "metadata.labels") return MapText(meta.labels());
  if (path == "metadata.annotations") return MapText(meta.annotations());
  if (path == "spec.nodeName") return pod.spec().node_name();
  if (path == "spec.serviceAccountName") {
    const std::string& name = pod.spec().service_account_name();
    return name.empty() ? "default" : name;
  }
  if (path == "status.podIP") {
    const std::vector<std::string> ips = PodIps(pod);
    return ips.empty() ? "" : ips.front();
  }
  if (path == "status.podIPs") return fmt::format("{}", fmt::join(PodIps(pod), ","));
  if (path == "status.hostIP") return node.ips.empty() ? "" : node.ips.front();
  if (path == "status.hostIPs") return fmt::format("{}", fmt::join(node.ips, ","));
  return absl::InvalidArgumentError(fmt::format("unsupported fieldPath: {}", path));
}

absl::StatusOr<std::string> ContainerResource(const v1::Container& container,
                                              const v1::ResourceFieldSelector& selector,
                                              const NodeFacts& node) {
  const std::string& resource = selector.resource();
  const bool is_limit = resource == "limits.cpu" || resource == "limits.memory";
  const bool is_cpu = resource == "limits.cpu" || resource == "requests.cpu";
  if (!is_limit && !is_cpu && resource != "requests.memory") {
    return absl::InvalidArgumentError(fmt::format("unsupported container resource : {}", resource));
  }
  const auto& values = is_limit ? container.resources().limits() : container.resources().requests();
  const std::string text = selector.divisor().text();
  const bool plain = text.empty() || text == "0";
  int64_t value = 0, divisor = 1;
  const auto it = values.find(is_cpu ? "cpu" : "memory");
  if (is_cpu) {
    if (it != values.end()) {
      ASSIGN_OR_RETURN(value, ParseQuantityMilli(it->second.text()));
    } else if (is_limit) {
      value = node.cpu_milli;
    }
    divisor = 1000;
    if (!plain) {
      ASSIGN_OR_RETURN(divisor, ParseQuantityMilli(text));
    }
  } else {
    if (it != values.end()) {
      ASSIGN_OR_RETURN(value, ParseQuantity(it->second.text()));
    } else if (is_limit) {
      value = node.memory_bytes;
    }
    if (!plain) {
      ASSIGN_OR_RETURN(divisor, ParseQuantity(text));
    }
  }
  return fmt::format("{}", DividedUp(value, std::max<int64_t>(divisor, 1)));
}

const v1::Container* FindContainer(const v1::PodSpec& spec, std::string_view name) {
  for (const auto* list : {&spec.containers(), &spec.init_containers()}) {
    for (const v1::Container& container : *list) {
      if (container.name() == name) return &container;
    }
  }
  return nullptr;
}

}  // namespace mesh::agent
