// SPDX-License-Identifier: Apache-2.0
#include <set>

#include "api/schema/rules.h"
#include "common/ip_address.h"

namespace mesh::schema::internal {
namespace {

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

void CheckClusterIp(const std::string& text, const std::string& path, Problems* problems) {
  if (text.empty()) return;
  if (text == "None") {
    return Add(problems, path,
               "Unsupported value: \"None\": headless Services are not supported yet");
  }
  const auto address = IpAddress::Parse(text);
  if (!address.ok()) {
    return Add(problems, path, "{}", InvalidText(text, "must be a valid IP address"));
  }
  if (!address->is_v4()) {
    Add(problems, path, "{}", InvalidText(text, "IPv6 is not supported yet"));
  }
}

}  // namespace

void CheckService(const v1::Service& object, Problems* problems) {
  const v1::ServiceSpec& spec = object.spec();
  std::set<std::string> names;
  for (int i = 0; i < spec.ports_size(); ++i) {
    const v1::ServicePort& port = spec.ports(i);
    const std::string path = fmt::format("spec.ports[{}]", i);
    if (port.name().empty()) {
      if (spec.ports_size() > 1) Add(problems, path + ".name", "Required value");
    } else if (!names.insert(port.name()).second) {
      Add(problems, path + ".name", "{}", DuplicateText(port.name()));
    }
    CheckTargetPort(port.target_port(), path + ".targetPort", problems);
  }
  CheckClusterIp(spec.cluster_ip(), "spec.clusterIP", problems);
  if (spec.cluster_ips_size() > 1) {
    Add(problems, "spec.clusterIPs", "a second address is not supported yet");
  } else if (spec.cluster_ips_size() == 1 && spec.cluster_ips(0) != spec.cluster_ip()) {
    Add(problems, "spec.clusterIPs[0]", "Invalid value: \"{}\": must match `clusterIP`",
        spec.cluster_ips(0));
  }
}

void WarnService(const v1::Service& object, Problems* problems) {
  if (object.spec().selector().empty()) {
    Add(problems, "spec.selector",
        "a Service without a selector has no endpoints; endpoints written by hand are not "
        "supported "
        "yet");
  }
}

}  // namespace mesh::schema::internal
