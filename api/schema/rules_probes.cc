// SPDX-License-Identifier: Apache-2.0
// Probes and hooks of containers, in the words of Kubernetes' validation.
#include <algorithm>
#include <charconv>
#include <set>
#include <string>
#include <vector>

#include "api/schema/rules.h"
#include "api/schema/schema.h"

namespace mesh::schema::internal {
namespace {

constexpr char kProbePeriodAnnotation[] = "mesh.io/probe-period-ms";
constexpr int kProbePeriodMsMin = 50;
constexpr int kProbePeriodMsMax = 3'600'000;

bool IsToken(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-';
  });
}

// What would end the line of the request.
bool HasControl(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

void CheckHost(const std::string& host, const std::string& path, Problems* problems) {
  if (host.empty() || host == "localhost" || IpAddress::Parse(host).ok()) return;
  Add(problems, path,
      "Unsupported value: \"{}\": names of hosts are not supported yet, only "
      "addresses",
      host);
}

void CheckPort(const v1::IntOrString& port, const v1::Container& container, const std::string& path,
               Problems* problems) {
  if (port.has_int_value()) {
    if (port.int_value() < 1 || port.int_value() > 65535) {
      Add(problems, path, "Invalid value: {}: must be between 1 and 65535, inclusive",
          port.int_value());
    }
    return;
  }
  if (!port.has_string_value()) return;  // "Required value" is said already
  const bool found = std::any_of(
      container.ports().begin(), container.ports().end(),
      [&](const v1::ContainerPort& candidate) { return candidate.name() == port.string_value(); });
  if (found) return;
  std::vector<std::string> names;
  for (const v1::ContainerPort& candidate : container.ports()) {
    if (!candidate.name().empty()) names.push_back(candidate.name());
  }
  const auto near = NearestWord(port.string_value(), names);
  Add(problems, path, "Invalid value: \"{}\": container {} has no port of this name{}",
      port.string_value(), container.name(),
      near ? fmt::format("; did you mean \"{}\"?", *near) : "");
}

void CheckExec(const v1::ExecAction& exec, const std::string& path, Problems* problems) {
  if (exec.command().empty()) Add(problems, path + ".command", "Required value");
}

void CheckHttpGet(const v1::HTTPGetAction& get, const v1::Container& container,
                  const std::string& path, Problems* problems) {
  CheckHost(get.host(), path + ".host", problems);
  CheckPort(get.port(), container, path + ".port", problems);
  if (HasControl(get.path()) || get.path().find(' ') != std::string::npos) {
    Add(problems, path + ".path", "{}",
        InvalidText(get.path(), "must not have spaces or control characters"));
  }
  for (int i = 0; i < get.http_headers_size(); ++i) {
    const v1::HTTPHeader& header = get.http_headers(i);
    const std::string here = fmt::format("{}.httpHeaders[{}]", path, i);
    if (!header.name().empty() && !IsToken(header.name())) {
      Add(problems, here + ".name", "{}",
          InvalidText(header.name(),
                      "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. "
                      "'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')"));
    }
    if (HasControl(header.value())) {
      Add(problems, here + ".value", "{}",
          InvalidText(header.value(), "must not have control characters"));
    }
  }
}

// One of `given`, which are the handlers that are there, with their paths.
void CheckOneHandler(const std::vector<std::string>& given, const std::string& path,
                     Problems* problems) {
  if (given.empty()) Add(problems, path, "Required value: must specify a handler type");
  for (size_t i = 1; i < given.size(); ++i) {
    Add(problems, fmt::format("{}.{}", path, given[i]),
        "Forbidden: may not specify more than 1 handler type");
  }
}

enum class Of : uint8_t { kStartup, kReadiness, kLiveness };

void CheckProbe(const v1::Probe& probe, Of of, const v1::Container& container,
                const std::string& path, Problems* problems) {
  std::vector<std::string> given;
  if (probe.has_exec()) given.emplace_back("exec");
  if (probe.has_http_get()) given.emplace_back("httpGet");
  if (probe.has_tcp_socket()) given.emplace_back("tcpSocket");
  if (probe.has_grpc()) given.emplace_back("grpc");
  CheckOneHandler(given, path, problems);
  if (probe.has_exec()) CheckExec(probe.exec(), path + ".exec", problems);
  if (probe.has_http_get()) CheckHttpGet(probe.http_get(), container, path + ".httpGet", problems);
  if (probe.has_tcp_socket()) {
    CheckHost(probe.tcp_socket().host(), path + ".tcpSocket.host", problems);
    CheckPort(probe.tcp_socket().port(), container, path + ".tcpSocket.port", problems);
  }
  if (of != Of::kReadiness && probe.success_threshold() > 1) {
    Add(problems, path + ".successThreshold", "Invalid value: {}: must be 1",
        probe.success_threshold());
  }
  if (of == Of::kReadiness && probe.has_termination_grace_period_seconds()) {
    Add(problems, path + ".terminationGracePeriodSeconds",
        "Invalid value: {}: must not be set for readinessProbes",
        probe.termination_grace_period_seconds());
  }
}

}  // namespace

void CheckProbes(const v1::Container& container, const std::string& path, Problems* problems) {
  if (container.has_startup_probe()) {
    CheckProbe(container.startup_probe(), Of::kStartup, container, path + ".startupProbe",
               problems);
  }
  if (container.has_readiness_probe()) {
    CheckProbe(container.readiness_probe(), Of::kReadiness, container, path + ".readinessProbe",
               problems);
  }
  if (container.has_liveness_probe()) {
    CheckProbe(container.liveness_probe(), Of::kLiveness, container, path + ".livenessProbe",
               problems);
  }
}

void CheckLifecycle(const v1::Container& container, int64_t grace_seconds, const std::string& path,
                    Problems* problems) {
  const v1::Lifecycle& lifecycle = container.lifecycle();
  const auto check = [&](const v1::LifecycleHandler& hook, const std::string& here) {
    std::vector<std::string> given;
    if (hook.has_exec()) given.emplace_back("exec");
    if (hook.has_http_get()) given.emplace_back("httpGet");
    if (hook.has_tcp_socket()) given.emplace_back("tcpSocket");
    if (hook.has_sleep()) given.emplace_back("sleep");
    CheckOneHandler(given, here, problems);
    if (hook.has_exec()) CheckExec(hook.exec(), here + ".exec", problems);
    if (hook.has_http_get()) CheckHttpGet(hook.http_get(), container, here + ".httpGet", problems);
    // Kubernetes takes it and fails when the hook is due.
    if (hook.has_tcp_socket())
      Add(problems, here + ".tcpSocket", "Forbidden: hooks are exec, httpGet or sleep");
    const int64_t seconds = hook.sleep().seconds();
    if (hook.has_sleep() && (seconds < 0 || seconds > grace_seconds)) {
      Add(problems, here + ".sleep",
          "Invalid value: {}: must be non-negative and less than terminationGracePeriodSeconds "
          "({})",
          seconds, grace_seconds);
    }
  };
  if (lifecycle.has_post_start()) check(lifecycle.post_start(), path + ".lifecycle.postStart");
  if (lifecycle.has_pre_stop()) check(lifecycle.pre_stop(), path + ".lifecycle.preStop");
}

void CheckInitContainers(const v1::PodSpec& spec, const std::string& path, Problems* problems) {
  std::set<std::string> names;
  for (int i = 0; i < spec.containers_size(); ++i) {
    const v1::Container& container = spec.containers(i);
    names.insert(container.name());
    if (!container.restart_policy().empty()) {
      Add(problems, fmt::format("{}.containers[{}].restartPolicy", path, i),
          "Forbidden: may not be set for non-init containers");
    }
  }
  for (int i = 0; i < spec.init_containers_size(); ++i) {
    const v1::Container& init = spec.init_containers(i);
    const std::string here = fmt::format("{}.initContainers[{}]", path, i);
    if (!init.name().empty() && !names.insert(init.name()).second)
      Add(problems, here + ".name", "{}", DuplicateText(init.name()));
    for (int j = 0; j < init.ports_size(); ++j) {
      if (init.ports(j).host_port() != 0)
        Add(problems, fmt::format("{}.ports[{}].hostPort", here, j), "not supported yet");
    }
    if (init.restart_policy() == "Always") continue;
    const auto forbid = [&](bool given, const char* field) {
      if (!given) return;
      Add(problems, fmt::format("{}.{}", here, field),
          "Forbidden: may not be set for init containers without restartPolicy=Always");
    };
    forbid(init.has_lifecycle(), "lifecycle");
    forbid(init.has_liveness_probe(), "livenessProbe");
    forbid(init.has_readiness_probe(), "readinessProbe");
    forbid(init.has_startup_probe(), "startupProbe");
  }
}

void CheckProbePeriod(const google::protobuf::Map<std::string, std::string>& annotations,
                      const std::string& path, Problems* problems) {
  const auto it = annotations.find(kProbePeriodAnnotation);
  if (it == annotations.end()) return;
  const std::string& text = it->second;
  int ms = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), ms);
  if (error == std::errc() && end == text.data() + text.size() && ms >= kProbePeriodMsMin &&
      ms <= kProbePeriodMsMax) {
    return;
  }
  Add(problems, fmt::format("{}.annotations[{}]", path, kProbePeriodAnnotation), "{}",
      InvalidText(text, fmt::format("must be a number of milliseconds between {} and {}",
                                    kProbePeriodMsMin, kProbePeriodMsMax)));
}

}  // namespace mesh::schema::internal
