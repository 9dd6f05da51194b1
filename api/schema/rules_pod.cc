// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <map>
#include <set>

#include "api/schema/rules.h"
#include "api/schema/schema.h"
#include "common/quantity.h"

namespace mesh::schema::internal {
namespace {

using QuantityMap = google::protobuf::Map<std::string, v1::Quantity>;

// Sorted, so that two runs report in one order.
std::map<std::string, std::string> Sorted(const QuantityMap& map) {
  std::map<std::string, std::string> out;
  for (const auto& [name, quantity] : map) out[name] = quantity.text();
  return out;
}

void CheckResourceName(const std::string& name, const std::string& path, Problems* problems) {
  if (name == "cpu" || name == "memory") return;
  const bool known = name == "ephemeral-storage" || name == "storage" ||
                     name.starts_with("hugepages-") || name.find('/') != std::string::npos;
  if (known) return Add(problems, path, "not supported yet");
  const auto near = NearestWord(name, {"cpu", "memory"});
  Add(problems, path, "Unsupported value: \"{}\": supported values: \"cpu\", \"memory\"{}", name,
      near ? fmt::format("; did you mean \"{}\"?", *near) : "");
}

void CheckResources(const v1::ResourceRequirements& resources, const std::string& path,
                    Problems* problems) {
  const auto limits = Sorted(resources.limits());
  const auto requests = Sorted(resources.requests());
  for (const auto& [name, text] : limits) {
    CheckResourceName(name, fmt::format("{}.limits[{}]", path, name), problems);
  }
  for (const auto& [name, text] : requests) {
    // One complaint per name: a request that defaulting took from the limit says nothing new.
    if (!limits.contains(name)) {
      CheckResourceName(name, fmt::format("{}.requests[{}]", path, name), problems);
    }
    const auto limit = limits.find(name);
    if (limit == limits.end()) continue;
    const auto request_milli = ParseQuantityMilli(text);
    const auto limit_milli = ParseQuantityMilli(limit->second);
    if (request_milli.ok() && limit_milli.ok() && *request_milli > *limit_milli) {
      Add(problems, fmt::format("{}.requests[{}]", path, name),
          "Invalid value: \"{}\": must be less than or equal to {} limit of {}", text, name,
          limit->second);
    }
  }
}

void CheckContainer(const v1::Container& container, const std::string& path, Problems* problems) {
  if (!container.image().empty()) {
    if (const std::string why = CheckImageReference(container.image()); !why.empty()) {
      Add(problems, path + ".image", "{}", InvalidText(container.image(), why));
    }
  }
  std::set<std::string> port_names;
  for (int i = 0; i < container.ports_size(); ++i) {
    const std::string& name = container.ports(i).name();
    if (!name.empty() && !port_names.insert(name).second) {
      Add(problems, fmt::format("{}.ports[{}].name", path, i), "{}", DuplicateText(name));
    }
  }
  CheckResources(container.resources(), path + ".resources", problems);
  CheckProbes(container, path, problems);
}

// Each port of the node once per address and protocol.
void CheckHostPorts(const v1::PodSpec& spec, const std::string& path, Problems* problems) {
  std::set<std::string> seen;
  for (int i = 0; i < spec.containers_size(); ++i) {
    const v1::Container& container = spec.containers(i);
    for (int j = 0; j < container.ports_size(); ++j) {
      const v1::ContainerPort& port = container.ports(j);
      const std::string here = fmt::format("{}.containers[{}].ports[{}]", path, i, j);
      if (port.host_port() == 0) continue;
      const std::string protocol = port.protocol().empty() ? "TCP" : port.protocol();
      std::string text = fmt::format("{}/{}/{}", protocol, port.host_ip(), port.host_port());
      if (!seen.insert(text).second) {
        Add(problems, here + ".hostPort", "{}", DuplicateText(text));
      }
    }
  }
}

}  // namespace

void CheckPodSpec(const v1::PodSpec& spec, const std::string& path, Problems* problems) {
  const auto check = [&](const v1::Container& container, const std::string& here) {
    CheckContainer(container, here, problems);
    CheckLifecycle(container, spec.termination_grace_period_seconds(), here, problems);
  };
  for (int i = 0; i < spec.containers_size(); ++i) {
    check(spec.containers(i), fmt::format("{}.containers[{}]", path, i));
  }
  for (int i = 0; i < spec.init_containers_size(); ++i) {
    check(spec.init_containers(i), fmt::format("{}.initContainers[{}]", path, i));
  }
  CheckInitContainers(spec, path, problems);
  CheckHostPorts(spec, path, problems);
  CheckPodSources(spec, path, problems);
  CheckPodSecurity(spec, path, problems);
  CheckPlacement(spec, path, problems);
}

void CheckBandwidth(const google::protobuf::Map<std::string, std::string>& annotations,
                    const std::string& path, Problems* problems) {
  for (const char* name : {"kubernetes.io/egress-bandwidth", "kubernetes.io/ingress-bandwidth"}) {
    const auto it = annotations.find(name);
    if (it == annotations.end()) continue;
    const absl::StatusOr<int64_t> bits = ParseQuantity(it->second);
    // 1k to 1P, as everywhere.
    if (bits.ok() && *bits >= 1'000 && *bits <= 1'000'000'000'000'000) continue;
    Add(problems, fmt::format("{}.annotations[{}]", path, name), "{}",
        InvalidText(it->second, "must be a number of bits a second between 1k and 1P"));
  }
}

void WarnPodSpec(const v1::PodSpec& spec, const std::string& path, Problems* problems) {
  WarnPodSecurity(spec, path, problems);
  // Containers of a pod share one network: two cannot listen on one port.
  std::map<std::pair<int, std::string>, std::string> listeners;
  for (int i = 0; i < spec.containers_size(); ++i) {
    const v1::Container& container = spec.containers(i);
    std::set<std::string> names;
    for (int j = 0; j < container.env_size(); ++j) {
      const std::string& name = container.env(j).name();
      if (!names.insert(name).second) {
        Add(problems, fmt::format("{}.containers[{}].env[{}]", path, i, j),
            "hides previous definition of \"{}\"", name);
      }
    }
    for (int j = 0; j < container.ports_size(); ++j) {
      const v1::ContainerPort& port = container.ports(j);
      const std::string here = fmt::format("{}.containers[{}].ports[{}]", path, i, j);
      const std::string protocol = port.protocol().empty() ? "TCP" : port.protocol();
      const auto [it, inserted] = listeners.insert({{port.container_port(), protocol}, here});
      if (!inserted) Add(problems, here, "duplicate port definition with {}", it->second);
    }
  }
}

}  // namespace mesh::schema::internal
