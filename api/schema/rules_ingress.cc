// SPDX-License-Identifier: Apache-2.0
// Ingress and IngressClass.
#include "api/schema/rules_kinds.h"
#include "common/ip_address.h"

namespace mesh::schema::internal {
namespace {

constexpr char kClassAnnotation[] = "kubernetes.io/ingress.class";
constexpr size_t kMaxController = 250;

void CheckBackend(const v1::IngressBackend& backend, const std::string& path, Problems* problems) {
  if (backend.has_resource() && backend.has_service()) {
    return Add(problems, path, "Invalid value: cannot set both resource and service backends");
  }
  if (!backend.has_resource() && !backend.has_service()) {
    return Add(problems, path, "Required value: resource or service backend is required");
  }
  if (!backend.has_service()) return;
  const v1::IngressServiceBackend& service = backend.service();
  if (const std::string why = CheckDnsLabel1035(service.name());
      !service.name().empty() && !why.empty()) {
    Add(problems, path + ".service.name", "{}", InvalidText(service.name(), why));
  }
  const v1::ServiceBackendPort& port = service.port();
  if (!port.name().empty() && port.has_number()) {
    Add(problems, path, "Invalid value: cannot set both port name & port number");
  } else if (port.name().empty() && !port.has_number()) {
    Add(problems, path, "Required value: port name or number is required");
  } else if (!port.name().empty()) {
    if (const std::string why = CheckPortName(port.name()); !why.empty()) {
      Add(problems, path + ".service.port.name", "{}", InvalidText(port.name(), why));
    }
  }
}

void CheckPath(const v1::HTTPIngressPath& path, const std::string& here, Problems* problems) {
  if (path.path_type() == "Exact" || path.path_type() == "Prefix") {
    const std::string& text = path.path();
    if (!text.starts_with('/')) {
      Add(problems, here + ".path", "Invalid value: \"{}\": must be an absolute path", text);
    }
    for (const std::string_view part : {"//", "/./", "/../", "%2f", "%2F"}) {
      if (text.find(part) != std::string::npos) {
        Add(problems, here + ".path", "Invalid value: \"{}\": must not contain '{}'", text, part);
      }
    }
    for (const std::string_view end : {"/..", "/."}) {
      if (text.ends_with(end)) {
        Add(problems, here + ".path", "Invalid value: \"{}\": cannot end with '{}'", text, end);
      }
    }
  } else if (path.path_type() == "ImplementationSpecific") {
    if (!path.path().empty() && !path.path().starts_with('/')) {
      Add(problems, here + ".path", "Invalid value: \"{}\": must be an absolute path", path.path());
    }
  }
  if (path.has_backend()) CheckBackend(path.backend(), here + ".backend", problems);
}

void CheckHost(const std::string& host, const std::string& path, Problems* problems) {
  if (host.empty()) return;
  if (const std::string why = CheckHostname(host); !why.empty()) {
    Add(problems, path, "{}", InvalidText(host, why));
  }
}

}  // namespace

std::string CheckHostname(std::string_view text) {
  if (IpAddress::Parse(std::string(text)).ok()) return "must be a DNS name, not an IP address";
  if (!text.starts_with("*")) return CheckDnsSubdomain(text);
  if (text.starts_with("*.") && CheckDnsSubdomain(text.substr(2)).empty()) return "";
  return "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, "
         "which must consist of lower case alphanumeric characters, '-' or '.' and end with an "
         "alphanumeric character (e.g. '*.example.com', regex used for validation is "
         "'\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
}

std::string CheckControllerName(std::string_view text) {
  const size_t slash = text.find('/');
  const bool fits = slash != std::string_view::npos && slash + 1 < text.size() &&
                    CheckDnsSubdomain(text.substr(0, slash)).empty();
  return fits ? "" : "must be a domain-prefixed path (such as \"acme.io/foo\")";
}

void CheckIngress(const v1::Ingress& object, Problems* problems) {
  const v1::IngressSpec& spec = object.spec();
  if (!spec.has_default_backend() && spec.rules().empty()) {
    Add(problems, "spec", "Invalid value: either `defaultBackend` or `rules` must be specified");
  }
  if (spec.has_default_backend()) {
    CheckBackend(spec.default_backend(), "spec.defaultBackend", problems);
  }
  for (int i = 0; i < spec.rules_size(); ++i) {
    const std::string here = fmt::format("spec.rules[{}]", i);
    CheckHost(spec.rules(i).host(), here + ".host", problems);
    const auto& paths = spec.rules(i).http().paths();
    for (int j = 0; j < paths.size(); ++j) {
      CheckPath(paths[j], fmt::format("{}.http.paths[{}]", here, j), problems);
    }
  }
  for (int i = 0; i < spec.tls_size(); ++i) {
    const std::string here = fmt::format("spec.tls[{}]", i);
    for (int j = 0; j < spec.tls(i).hosts_size(); ++j) {
      CheckHost(spec.tls(i).hosts(j), fmt::format("{}.hosts[{}]", here, j), problems);
    }
    const std::string& secret = spec.tls(i).secret_name();
    if (const std::string why = CheckDnsSubdomain(secret); !secret.empty() && !why.empty()) {
      Add(problems, here + ".secretName", "{}", InvalidText(secret, why));
    }
  }
  if (!spec.ingress_class_name().empty()) {
    if (const std::string why = CheckDnsSubdomain(spec.ingress_class_name()); !why.empty()) {
      Add(problems, "spec.ingressClassName", "{}", InvalidText(spec.ingress_class_name(), why));
    }
    const auto& annotations = object.metadata().annotations();
    if (const auto it = annotations.find(kClassAnnotation); it != annotations.end()) {
      Add(problems, fmt::format("metadata.annotations[{}]", kClassAnnotation), "{}",
          InvalidText(it->second, "can not be set when the class field is also set"));
    }
  }
}

void CheckIngressClass(const v1::IngressClass& object, Problems* problems) {
  const v1::IngressClassSpec& spec = object.spec();
  if (spec.controller().empty()) {
    if (!object.has_spec()) Add(problems, "spec.controller", "Required value");
  } else if (spec.controller().size() > kMaxController) {
    Add(problems, "spec.controller", "Too long: may not be more than {} bytes", kMaxController);
  } else if (const std::string why = CheckControllerName(spec.controller()); !why.empty()) {
    Add(problems, "spec.controller", "{}", InvalidText(spec.controller(), why));
  }
  if (!spec.has_parameters()) return;
  const v1::IngressClassParametersReference& parameters = spec.parameters();
  if (parameters.scope() == "Namespace" && parameters.namespace_().empty()) {
    Add(problems, "spec.parameters.namespace",
        "Required value: `parameters.scope` is set to 'Namespace'");
  }
  if (parameters.scope() == "Cluster" && !parameters.namespace_().empty()) {
    Add(problems, "spec.parameters.namespace", "Forbidden: `parameters.scope` is set to 'Cluster'");
  }
}

}  // namespace mesh::schema::internal
