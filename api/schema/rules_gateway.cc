// SPDX-License-Identifier: Apache-2.0
// Gateway, GatewayClass, HTTPRoute, GRPCRoute: the rules that their CRDs state.
#include <algorithm>
#include <set>
#include <tuple>

#include "api/schema/rules_kinds.h"

namespace mesh::schema::internal {
namespace {

bool HasTls(const std::string& protocol) {
  return protocol != "HTTP" && protocol != "TCP" && protocol != "UDP";
}

void CheckListener(const v1::GatewayListener& listener, const std::string& path,
                   Problems* problems) {
  if (const std::string why = CheckDnsSubdomain(listener.name());
      !listener.name().empty() && !why.empty()) {
    Add(problems, path + ".name", "{}", InvalidText(listener.name(), why));
  }
  if (!listener.hostname().empty()) {
    if (const std::string why = CheckHostname(listener.hostname()); !why.empty()) {
      Add(problems, path + ".hostname", "{}", InvalidText(listener.hostname(), why));
    } else if (listener.protocol() == "TCP" || listener.protocol() == "UDP") {
      Add(problems, path + ".hostname",
          "Invalid value: \"{}\": hostname must not be specified for protocols ['TCP', 'UDP']",
          listener.hostname());
    }
  }
  if (!listener.has_tls()) return;
  const v1::ListenerTLSConfig& tls = listener.tls();
  if (!HasTls(listener.protocol())) {
    Add(problems, path + ".tls",
        "Invalid value: tls must not be specified for protocols ['HTTP', 'TCP', 'UDP']");
  } else if (listener.protocol() == "HTTPS" && tls.mode() == "Passthrough") {
    Add(problems, path + ".tls.mode",
        "Invalid value: \"Passthrough\": tls mode must be Terminate for protocol HTTPS");
  } else if (tls.mode() == "Terminate" && tls.certificate_refs().empty() && tls.options().empty()) {
    Add(problems, path + ".tls",
        "Invalid value: certificateRefs or options must be specified when mode is Terminate");
  }
}

void CheckHostnames(const google::protobuf::RepeatedPtrField<std::string>& hostnames,
                    Problems* problems) {
  for (int i = 0; i < hostnames.size(); ++i) {
    if (const std::string why = CheckHostname(hostnames[i]); !why.empty()) {
      Add(problems, fmt::format("spec.hostnames[{}]", i), "{}", InvalidText(hostnames[i], why));
    }
  }
}

template <typename Ref>
void CheckBackendRef(const Ref& ref, const std::string& path, Problems* problems) {
  if (ref.group().empty() && ref.kind() == "Service" && !ref.has_port()) {
    Add(problems, path + ".port", "Required value: must have port for Service reference");
  }
}

struct FilterMember {
  std::string_view type;
  std::string_view field;
  bool given;
};

void CheckFilterMembers(const std::string& type, const std::vector<FilterMember>& members,
                        const std::string& path, Problems* problems) {
  for (const FilterMember& member : members) {
    if (member.type == type && !member.given) {
      Add(problems, fmt::format("{}.{}", path, member.field),
          "Required value: must be specified for {} filter.type", type);
    } else if (member.type != type && member.given) {
      Add(problems, fmt::format("{}.{}", path, member.field),
          "Invalid value: must be nil if the filter.type is not {}", member.type);
    }
  }
}

void CheckModifier(const v1::HTTPPathModifier& modifier, const std::string& path,
                   Problems* problems) {
  const bool full = modifier.type() == "ReplaceFullPath";
  if (full && modifier.replace_full_path().empty()) {
    Add(problems, path + ".replaceFullPath",
        "Required value: must be specified when type is set to 'ReplaceFullPath'");
  }
  if (full && !modifier.replace_prefix_match().empty()) {
    Add(problems, path + ".replacePrefixMatch",
        "Invalid value: type must be 'ReplacePrefixMatch' when replacePrefixMatch is set");
  }
  if (modifier.type() == "ReplacePrefixMatch" && !modifier.replace_full_path().empty()) {
    Add(problems, path + ".replaceFullPath",
        "Invalid value: type must be 'ReplaceFullPath' when replaceFullPath is set");
  }
}

void CheckFilter(const v1::HTTPRouteFilter& filter, const std::string& path, Problems* problems) {
  CheckFilterMembers(
      filter.type(),
      {{"RequestHeaderModifier", "requestHeaderModifier", filter.has_request_header_modifier()},
       {"ResponseHeaderModifier", "responseHeaderModifier", filter.has_response_header_modifier()},
       {"RequestMirror", "requestMirror", filter.has_request_mirror()},
       {"RequestRedirect", "requestRedirect", filter.has_request_redirect()},
       {"URLRewrite", "urlRewrite", filter.has_url_rewrite()},
       {"ExtensionRef", "extensionRef", filter.has_extension_ref()},
       {"CORS", "cors", filter.has_cors()},
       {"ExternalAuth", "externalAuth", filter.has_external_auth()}},
      path, problems);
  if (filter.has_request_redirect()) {
    const v1::HTTPRequestRedirectFilter& redirect = filter.request_redirect();
    constexpr int kCodes[] = {301, 302, 303, 307, 308};
    if (std::find(std::begin(kCodes), std::end(kCodes), redirect.status_code()) ==
        std::end(kCodes)) {
      Add(problems, path + ".requestRedirect.statusCode",
          "Unsupported value: {}: supported values: 301, 302, 303, 307, 308",
          redirect.status_code());
    }
    if (redirect.has_path()) {
      CheckModifier(redirect.path(), path + ".requestRedirect.path", problems);
    }
  }
  if (filter.url_rewrite().has_path()) {
    CheckModifier(filter.url_rewrite().path(), path + ".urlRewrite.path", problems);
  }
  if (filter.has_request_mirror()) {
    CheckBackendRef(filter.request_mirror().backend_ref(), path + ".requestMirror.backendRef",
                    problems);
    if (filter.request_mirror().has_percent() && filter.request_mirror().has_fraction()) {
      Add(problems, path + ".requestMirror",
          "Invalid value: only one of percent or fraction may be specified in HTTPRequestMirror"
          "Filter");
    }
  }
}

void CheckHttpFilters(const google::protobuf::RepeatedPtrField<v1::HTTPRouteFilter>& filters,
                      const std::string& path, Problems* problems) {
  std::set<std::string> seen;
  bool redirect = false;
  bool rewrite = false;
  for (int i = 0; i < filters.size(); ++i) {
    const std::string& type = filters[i].type();
    const std::string here = fmt::format("{}[{}]", path, i);
    CheckFilter(filters[i], here, problems);
    redirect = redirect || type == "RequestRedirect";
    rewrite = rewrite || type == "URLRewrite";
    const bool repeats = type == "RequestMirror" || type == "ExtensionRef";
    if (!type.empty() && !repeats && !seen.insert(type).second) {
      Add(problems, here, "Invalid value: {} filter cannot be repeated", type);
    }
  }
  if (redirect && rewrite) {
    Add(problems, path,
        "Invalid value: may specify either httpRouteFilterRequestRedirect or "
        "httpRouteFilterRequestRewrite, but not both");
  }
}

void CheckPathMatch(const v1::HTTPPathMatch& match, const std::string& path, Problems* problems) {
  if (match.type() == "RegularExpression") return;
  const std::string& value = match.value();
  if (!value.starts_with('/')) {
    Add(problems, path + ".value",
        "Invalid value: \"{}\": value must be an absolute path and start with '/' when type one of "
        "['Exact', 'PathPrefix']",
        value);
  }
  for (const std::string_view part : {"//", "/./", "/../", "%2f", "%2F", "#"}) {
    if (value.find(part) == std::string::npos) continue;
    Add(problems, path + ".value",
        "Invalid value: \"{}\": must not contain '{}' when type one of ['Exact', 'PathPrefix']",
        value, part);
  }
}

// GEP-2257: up to four groups of at most five digits and h, m, s or ms.
bool IsDuration(std::string_view text) {
  constexpr int kMaxGroups = 4;
  constexpr size_t kMaxDigits = 5;
  int groups = 0;
  while (!text.empty()) {
    size_t digits = 0;
    while (digits < text.size() && text[digits] >= '0' && text[digits] <= '9') ++digits;
    if (digits == 0 || digits > kMaxDigits || ++groups > kMaxGroups) return false;
    text.remove_prefix(digits);
    if (text.starts_with("ms")) {
      text.remove_prefix(2);
    } else if (text.starts_with('h') || text.starts_with('m') || text.starts_with('s')) {
      text.remove_prefix(1);
    } else {
      return false;
    }
  }
  return groups > 0;
}

void CheckDuration(const std::string& text, const std::string& path, Problems* problems) {
  if (text.empty() || IsDuration(text)) return;
  Add(problems, path, "Invalid value: \"{}\": must be a duration like 10s, 1m30s or 500ms", text);
}

void CheckHttpRule(const v1::HTTPRouteRule& rule, const std::string& path, Problems* problems) {
  CheckHttpFilters(rule.filters(), path + ".filters", problems);
  bool redirect = false;
  for (const v1::HTTPRouteFilter& filter : rule.filters()) {
    redirect = redirect || filter.has_request_redirect();
  }
  if (redirect && !rule.backend_refs().empty()) {
    Add(problems, path,
        "Invalid value: RequestRedirect filter must not be used together with backendRefs");
  }
  for (int i = 0; i < rule.backend_refs_size(); ++i) {
    const std::string here = fmt::format("{}.backendRefs[{}]", path, i);
    CheckBackendRef(rule.backend_refs(i), here, problems);
    CheckHttpFilters(rule.backend_refs(i).filters(), here + ".filters", problems);
  }
  for (int i = 0; i < rule.matches_size(); ++i) {
    CheckPathMatch(rule.matches(i).path(), fmt::format("{}.matches[{}].path", path, i), problems);
  }
  CheckDuration(rule.timeouts().request(), path + ".timeouts.request", problems);
  CheckDuration(rule.timeouts().backend_request(), path + ".timeouts.backendRequest", problems);
  CheckDuration(rule.retry().backoff(), path + ".retry.backoff", problems);
}

}  // namespace

void CheckGatewayClass(const v1::GatewayClass& object, Problems* problems) {
  const std::string& name = object.spec().controller_name();
  if (name.empty()) return;
  if (const std::string why = CheckControllerName(name); !why.empty()) {
    Add(problems, "spec.controllerName", "{}", InvalidText(name, why));
  }
}

void CheckGateway(const v1::Gateway& object, Problems* problems) {
  std::set<std::tuple<int, std::string, std::string>> seen;
  for (int i = 0; i < object.spec().listeners_size(); ++i) {
    const v1::GatewayListener& listener = object.spec().listeners(i);
    const std::string path = fmt::format("spec.listeners[{}]", i);
    CheckListener(listener, path, problems);
    if (!seen.insert({listener.port(), listener.protocol(), listener.hostname()}).second) {
      Add(problems, path,
          "Invalid value: Combination of port, protocol and hostname must be unique for each "
          "listener");
    }
  }
}

void CheckHttpRoute(const v1::HTTPRoute& object, Problems* problems) {
  CheckHostnames(object.spec().hostnames(), problems);
  for (int i = 0; i < object.spec().rules_size(); ++i) {
    CheckHttpRule(object.spec().rules(i), fmt::format("spec.rules[{}]", i), problems);
  }
}

void CheckGrpcRoute(const v1::GRPCRoute& object, Problems* problems) {
  CheckHostnames(object.spec().hostnames(), problems);
  const auto check_filters = [&](const auto& filters, const std::string& path) {
    for (int i = 0; i < filters.size(); ++i) {
      const v1::GRPCRouteFilter& filter = filters[i];
      CheckFilterMembers(
          filter.type(),
          {{"RequestHeaderModifier", "requestHeaderModifier", filter.has_request_header_modifier()},
           {"ResponseHeaderModifier", "responseHeaderModifier",
            filter.has_response_header_modifier()},
           {"RequestMirror", "requestMirror", filter.has_request_mirror()},
           {"ExtensionRef", "extensionRef", filter.has_extension_ref()}},
          fmt::format("{}[{}]", path, i), problems);
    }
  };
  for (int i = 0; i < object.spec().rules_size(); ++i) {
    const v1::GRPCRouteRule& rule = object.spec().rules(i);
    const std::string path = fmt::format("spec.rules[{}]", i);
    check_filters(rule.filters(), path + ".filters");
    for (int j = 0; j < rule.backend_refs_size(); ++j) {
      const std::string here = fmt::format("{}.backendRefs[{}]", path, j);
      CheckBackendRef(rule.backend_refs(j), here, problems);
      check_filters(rule.backend_refs(j).filters(), here + ".filters");
    }
    for (int j = 0; j < rule.matches_size(); ++j) {
      const v1::GRPCRouteMatch& match = rule.matches(j);
      if (match.has_method() && match.method().service().empty() &&
          match.method().method().empty()) {
        Add(problems, fmt::format("{}.matches[{}].method", path, j),
            "Invalid value: one or both of 'service' or 'method' must be specified");
      }
    }
  }
}

}  // namespace mesh::schema::internal
