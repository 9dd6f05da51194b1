// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <set>
#include <vector>

#include "api/schema/rules.h"
#include "common/ip_address.h"

namespace mesh::schema::internal {
namespace {

constexpr int32_t kMaxAffinitySeconds = 86400;
constexpr char kBalancingAnnotation[] = "mesh.io/load-balancing";
constexpr char kReturnPathAnnotation[] = "mesh.io/return-path";

bool HasNodePorts(const v1::ServiceSpec& spec) {
  return spec.type() == "NodePort" || spec.type() == "LoadBalancer";
}

bool IsExternallyAccessible(const v1::ServiceSpec& spec) {
  return HasNodePorts(spec) || (spec.type() == "ClusterIP" && spec.external_ips_size() > 0);
}

void CheckTargetPort(const v1::IntOrString& target, const std::string& path, Problems* problems) {
  if (target.has_int_value()) {
    if (target.int_value() < 1 || target.int_value() > 65535) {
      Add(problems, path, "Invalid value: {}: must be between 1 and 65535, inclusive",
          target.int_value());
    }
  } else if (target.has_string_value()) {
    if (target.string_value().empty()) {
      Add(problems, path, "Required value");
    } else if (const std::string why = CheckPortName(target.string_value()); !why.empty()) {
      Add(problems, path, "{}", InvalidText(target.string_value(), why));
    }
  }
}

void CheckPorts(const v1::ServiceSpec& spec, Problems* problems) {
  const bool needed = spec.cluster_ip() != "None" && spec.type() != "ExternalName";
  if (spec.ports().empty() && needed) Add(problems, "spec.ports", "Required value");
  std::set<std::string> names;
  std::set<std::pair<int32_t, std::string>> node_ports;
  for (int i = 0; i < spec.ports_size(); ++i) {
    const v1::ServicePort& port = spec.ports(i);
    const std::string path = fmt::format("spec.ports[{}]", i);
    if (port.name().empty()) {
      if (spec.ports_size() > 1) Add(problems, path + ".name", "Required value");
    } else if (!names.insert(port.name()).second) {
      Add(problems, path + ".name", "{}", DuplicateText(port.name()));
    }
    CheckTargetPort(port.target_port(), path + ".targetPort", problems);
    if (!port.app_protocol().empty()) {
      if (const std::string why = CheckQualifiedName(port.app_protocol()); !why.empty()) {
        Add(problems, path + ".appProtocol", "{}", InvalidText(port.app_protocol(), why));
      }
    }
    if (port.node_port() == 0) continue;
    if (!HasNodePorts(spec)) {
      Add(problems, path + ".nodePort", "Forbidden: may not be used when `type` is '{}'",
          spec.type());
    } else if (!node_ports.insert({port.node_port(), port.protocol()}).second) {
      Add(problems, path + ".nodePort", "Duplicate value: {}", port.node_port());
    }
  }
}

// The address, or what is wrong with it.
void CheckClusterIp(const v1::ServiceSpec& spec, int i, Problems* problems) {
  const std::string& text = spec.cluster_ips(i);
  const std::string path = i == 0 ? "spec.clusterIP" : fmt::format("spec.clusterIPs[{}]", i);
  if (text == "None") {
    Add(problems, path, "{}", InvalidText(text, "'None' must be the first and only value"));
    return;
  }
  const auto address = IpAddress::Parse(text);
  if (!address.ok()) {
    Add(problems, path, "{}", InvalidText(text, "must be a valid IP address"));
  } else if (i < spec.ip_families_size() && address->is_v4() != (spec.ip_families(i) == "IPv4")) {
    Add(problems, path, "{}",
        InvalidText(text, fmt::format("expected an {} value as indicated by `ipFamilies[{}]`{}",
                                      spec.ip_families(i), i,
                                      i == 0 ? "; to change the first family of a Service delete "
                                               "it and apply it again"
                                             : "")));
  }
}

void CheckClusterIps(const v1::ServiceSpec& spec, Problems* problems) {
  const std::string& text = spec.cluster_ip();
  const int count = spec.cluster_ips_size();
  if (count > 0 && spec.cluster_ips(0) != text) {
    return Add(problems, "spec.clusterIPs[0]", "Invalid value: \"{}\": must match `clusterIP`",
               spec.cluster_ips(0));
  }
  if (text.empty()) return;
  if (spec.type() == "ExternalName") {
    return Add(problems, "spec.clusterIP", "Forbidden: may not be set for ExternalName services");
  }
  if (count > 2) {
    return Add(problems, "spec.clusterIPs", "Invalid value: {}: may only hold up to 2 values",
               ListText(spec.cluster_ips()));
  }
  if (text == "None") {
    if (HasNodePorts(spec)) {
      Add(problems, "spec.clusterIP", "{}",
          InvalidText(text, fmt::format("may not be set to 'None' for {} services; leave clusterIP "
                                        "out, and delete a Service that was applied with it first",
                                        spec.type())));
    }
    if (count > 1) {
      Add(problems, "spec.clusterIPs", "Invalid value: {}: 'None' must be the first and only value",
          ListText(spec.cluster_ips()));
    }
    return;
  }
  for (int i = 0; i < count; ++i) CheckClusterIp(spec, i, problems);
  if (count < 2) return;
  const auto first = IpAddress::Parse(spec.cluster_ips(0));
  const auto second = IpAddress::Parse(spec.cluster_ips(1));
  if (first.ok() && second.ok() && first->is_v4() == second->is_v4()) {
    Add(problems, "spec.clusterIPs",
        "Invalid value: {}: may specify no more than one IP for each IP family",
        ListText(spec.cluster_ips()));
  }
}

void CheckFamilies(const v1::ServiceSpec& spec, Problems* problems) {
  if (spec.type() == "ExternalName") {
    if (!spec.ip_families().empty()) {
      Add(problems, "spec.ipFamilies", "Forbidden: may not be set for ExternalName services");
    }
    if (!spec.ip_family_policy().empty()) {
      Add(problems, "spec.ipFamilyPolicy", "Forbidden: may not be set for ExternalName services");
    }
    return;
  }
  std::set<std::string> seen;
  for (int i = 0; i < spec.ip_families_size(); ++i) {
    const std::string path = fmt::format("spec.ipFamilies[{}]", i);
    const std::string& family = spec.ip_families(i);
    if (family != "IPv4" && family != "IPv6") {
      Add(problems, path, "Unsupported value: \"{}\": supported values: \"IPv4\", \"IPv6\"",
          family);
    } else if (!seen.insert(family).second) {
      Add(problems, path, "{}", DuplicateText(family));
    }
  }
  // Not given: SingleStack, but where somebody else keeps the endpoints.
  const bool foreign = spec.cluster_ip() == "None" && spec.selector().empty();
  const std::string& policy = spec.ip_family_policy();
  if (policy != "SingleStack" && !(policy.empty() && !foreign)) return;
  for (const auto& [name, count] : {std::pair{"ipFamilies", spec.ip_families_size()},
                                    std::pair{"clusterIPs", spec.cluster_ips_size()}}) {
    if (count < 2) continue;
    Add(problems, "spec.ipFamilyPolicy",
        "Invalid value: \"SingleStack\": must be RequireDualStack or PreferDualStack when multiple "
        "'{}' are specified",
        name);
  }
}

void CheckAffinity(const v1::ServiceSpec& spec, Problems* problems) {
  const std::string path = "spec.sessionAffinityConfig";
  if (spec.session_affinity() != "ClientIP") {
    if (spec.has_session_affinity_config()) {
      Add(problems, path, "Forbidden: must not be set when session affinity is None");
    }
    return;
  }
  const v1::ClientIPConfig& client_ip = spec.session_affinity_config().client_ip();
  if (client_ip.timeout_seconds() < 1 || client_ip.timeout_seconds() > kMaxAffinitySeconds) {
    Add(problems, path + ".clientIP.timeoutSeconds",
        "Invalid value: {}: must be greater than 0 and less than or equal to {}",
        client_ip.timeout_seconds(), kMaxAffinitySeconds);
  }
}

void CheckExternalName(const v1::ServiceSpec& spec, Problems* problems) {
  if (spec.type() != "ExternalName") return;
  std::string name = spec.external_name();
  if (name.ends_with('.')) name.pop_back();
  if (name.empty()) return Add(problems, "spec.externalName", "Required value");
  if (const std::string why = CheckDnsSubdomain(name); !why.empty()) {
    Add(problems, "spec.externalName", "{}", InvalidText(spec.external_name(), why));
  }
}

void CheckLoadBalancer(const v1::ServiceSpec& spec, Problems* problems) {
  const bool is_balancer = spec.type() == "LoadBalancer";
  const auto only_for_balancers = [&](const char* path) {
    Add(problems, path, "Forbidden: may only be used when `type` is 'LoadBalancer'");
  };
  if (!is_balancer) {
    if (!spec.load_balancer_source_ranges().empty()) {
      only_for_balancers("spec.loadBalancerSourceRanges");
    }
    if (!spec.load_balancer_class().empty()) only_for_balancers("spec.loadBalancerClass");
    if (spec.has_allocate_load_balancer_node_ports()) {
      only_for_balancers("spec.allocateLoadBalancerNodePorts");
    }
  }
  for (int i = 0; i < spec.load_balancer_source_ranges_size(); ++i) {
    const std::string& text = spec.load_balancer_source_ranges(i);
    const std::string why = WhyNotRange(text);
    if (why.empty()) continue;
    Add(problems, fmt::format("spec.loadBalancerSourceRanges[{}]", i), "{}",
        InvalidText(text, why));
  }
  if (const std::string& name = spec.load_balancer_class(); !name.empty()) {
    if (const std::string why = CheckQualifiedName(name); !why.empty()) {
      Add(problems, "spec.loadBalancerClass", "{}", InvalidText(name, why));
    }
  }
  if (spec.health_check_node_port() != 0 &&
      !(is_balancer && spec.external_traffic_policy() == "Local")) {
    Add(problems, "spec.healthCheckNodePort",
        "Invalid value: {}: may only be set when `type` is 'LoadBalancer' and "
        "`externalTrafficPolicy` is 'Local'",
        spec.health_check_node_port());
  }
}

void CheckChoice(const v1::ObjectMeta& meta, const char* name,
                 const std::vector<std::string_view>& allowed, Problems* problems) {
  auto it = meta.annotations().find(name);
  if (it == meta.annotations().end()) return;
  std::string list;
  for (const std::string_view value : allowed) {
    if (it->second == value) return;
    list += fmt::format("{}\"{}\"", list.empty() ? "" : ", ", value);
  }
  Add(problems, fmt::format("metadata.annotations[{}]", name),
      "Unsupported value: \"{}\": supported values: {}", it->second, list);
}

}  // namespace

std::string WhyNotRange(const std::string& text) {
  if (IpPrefix::Parse(text).ok()) return "";
  const std::string::size_type slash = text.find('/');
  const auto address = IpAddress::Parse(text.substr(0, slash));
  if (address.ok() && slash != std::string::npos) {
    // A range that has host bits differs from a good one in them only.
    const int bits = address->is_v4() ? 32 : 128;
    std::array<uint8_t, 16> bytes = address->bytes();
    for (int host = 1; host <= bits; ++host) {
      bytes[static_cast<size_t>(128 - host) / 8] &=
          static_cast<uint8_t>(0xff << ((host - 1) % 8 + 1));
      const std::string base = IpAddress::FromBytes(bytes).ToString() + text.substr(slash);
      if (!IpPrefix::Parse(base).ok()) continue;
      return fmt::format("has bits set beyond its length: give {}, or {} for the one address", base,
                         IpPrefix::Of(*address).ToString());
    }
  }
  return "must be a valid address range, e.g. 10.9.8.0/24 or 2001:db8::/64";
}

std::string ListText(const google::protobuf::RepeatedPtrField<std::string>& items) {
  std::string out;
  for (const std::string& item : items) {
    out += fmt::format("{}\"{}\"", out.empty() ? "" : ", ", item);
  }
  return "[" + out + "]";
}

std::string WhyNotUnicast(const IpAddress& address) {
  const auto in = [&](const char* range) { return IpPrefix::Parse(range)->Contains(address); };
  if (in("0.0.0.0/32") || in("::/128")) return "may not be unspecified (0.0.0.0 or ::)";
  if (in("127.0.0.0/8") || in("::1/128")) {
    return "may not be in the loopback range (127.0.0.0/8, ::1/128)";
  }
  if (in("169.254.0.0/16") || in("fe80::/10")) {
    return "may not be in the link-local range (169.254.0.0/16, fe80::/10)";
  }
  if (in("224.0.0.0/24") || in("ff02::/16")) {
    return "may not be in the link-local multicast range (224.0.0.0/24, ff02::/16)";
  }
  if (in("224.0.0.0/3") || in("ff00::/8")) return "must be a unicast address";
  return "";
}

void CheckService(const v1::Service& object, Problems* problems) {
  const v1::ServiceSpec& spec = object.spec();
  CheckPorts(spec, problems);
  CheckClusterIps(spec, problems);
  CheckFamilies(spec, problems);
  CheckAffinity(spec, problems);
  CheckExternalName(spec, problems);
  CheckLoadBalancer(spec, problems);
  for (int i = 0; i < spec.external_ips_size(); ++i) {
    const auto address = IpAddress::Parse(spec.external_ips(i));
    const std::string why =
        address.ok() ? WhyNotUnicast(*address) : "must be a valid IP address, (e.g. 10.9.8.7)";
    if (!why.empty()) {
      Add(problems, fmt::format("spec.externalIPs[{}]", i), "{}",
          InvalidText(spec.external_ips(i), why));
    }
  }
  if (!spec.external_traffic_policy().empty() && !IsExternallyAccessible(spec)) {
    Add(problems, "spec.externalTrafficPolicy",
        "Invalid value: \"{}\": may only be set for externally-accessible services",
        spec.external_traffic_policy());
  }
  CheckChoice(object.metadata(), kBalancingAnnotation, {"random", "maglev", "least-loaded"},
              problems);
  CheckChoice(object.metadata(), kReturnPathAnnotation, {"snat", "direct"}, problems);
}

void WarnService(const v1::Service& object, Problems* problems) {
  const v1::ServiceSpec& spec = object.spec();
  if (spec.type() != "LoadBalancer" && !spec.load_balancer_ip().empty()) {
    Add(problems, "spec.loadBalancerIP", "has no effect when `type` is '{}'", spec.type());
  }
  if (spec.type() != "ExternalName" && !spec.external_name().empty()) {
    Add(problems, "spec.externalName", "has no effect when `type` is '{}'", spec.type());
  }
  if (spec.type() == "ExternalName" && !spec.selector().empty()) {
    Add(problems, "spec.selector", "has no effect when `type` is 'ExternalName'");
  }
}

}  // namespace mesh::schema::internal
