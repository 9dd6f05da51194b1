// SPDX-License-Identifier: Apache-2.0
#include "agent/pods/pod_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <optional>

#include "agent/cri/cri_client.h"
#include "agent/pods/pod_plan.h"
#include "common/ip_address.h"
#include "common/quantity.h"

namespace mesh::agent {
namespace {

constexpr int64_t kCpuPeriodUs = 100'000;
constexpr int64_t kCpuQuotaUsMin = 1'000;  // of the kernel
constexpr int64_t kCpuSharesMin = 2;       // of the kernel
constexpr int64_t kCpuSharesMax = 262'144;
// A million processors: no limit to any machine, and its quota is one that the kernel takes.
constexpr int64_t kCpuMilliMax = 1'000'000'000;

std::optional<int64_t> CpuMilli(const google::protobuf::Map<std::string, v1::Quantity>& from) {
  auto it = from.find("cpu");
  if (it == from.end()) return std::nullopt;
  auto value = ParseQuantityMilli(it->second.text());
  return value.ok() ? std::optional(std::min(*value, kCpuMilliMax)) : std::nullopt;
}

std::optional<int64_t> MemoryBytes(const google::protobuf::Map<std::string, v1::Quantity>& from) {
  auto it = from.find("memory");
  if (it == from.end()) return std::nullopt;
  auto value = ParseQuantity(it->second.text());
  return value.ok() ? std::optional(*value) : std::nullopt;
}

// Pods that ask for nothing are the first to go; the more memory was asked for, the later.
int64_t OomScoreAdj(const v1::Container& container, const PodConfigOptions& options) {
  const auto request = MemoryBytes(container.resources().requests());
  const auto limit = MemoryBytes(container.resources().limits());
  const int64_t asked = request.value_or(limit.value_or(0));
  int64_t out = 1000;
  if (asked > 0 && options.memory_capacity_bytes > 0) {
    const double share =
        static_cast<double>(asked) / static_cast<double>(options.memory_capacity_bytes);
    out = std::clamp<int64_t>(1000 - static_cast<int64_t>(1000 * share), 3, 999);
  }
  return std::max(out, options.oom_score_adj_min);
}

void FillResources(const v1::Container& container, const PodConfigOptions& options,
                   cri::LinuxContainerResources* out) {
  const auto& resources = container.resources();
  const auto limit = CpuMilli(resources.limits());
  const auto request = CpuMilli(resources.requests());
  const int64_t share_milli = request.value_or(limit.value_or(0));
  out->set_cpu_shares(std::clamp(share_milli * 1024 / 1000, kCpuSharesMin, kCpuSharesMax));
  if (limit && *limit > 0) {
    out->set_cpu_period(kCpuPeriodUs);
    out->set_cpu_quota(std::max(*limit * kCpuPeriodUs / 1000, kCpuQuotaUsMin));
  }
  if (const auto memory = MemoryBytes(resources.limits())) out->set_memory_limit_in_bytes(*memory);
  out->set_oom_score_adj(OomScoreAdj(container, options));
}

void FillLabels(const v1::Pod& pod, google::protobuf::Map<std::string, std::string>* labels) {
  for (const auto& [key, value] : pod.metadata().labels()) (*labels)[key] = value;
  (*labels)[kPodNameLabel] = pod.metadata().name();
  (*labels)[kPodNamespaceLabel] = pod.metadata().namespace_();
  (*labels)[kPodUidLabel] = pod.metadata().uid();
}

// The kernel keeps 64 characters with the end; Kubernetes cuts at 63.
std::string Hostname(const v1::Pod& pod) {
  const std::string& wanted = pod.spec().hostname();
  std::string out = (wanted.empty() ? pod.metadata().name() : wanted).substr(0, 63);
  while (!out.empty() && (out.back() == '-' || out.back() == '.')) out.pop_back();
  return out;
}

bool IsNameChar(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '.' || c == '-';
}
bool IsLowerAlnum(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

// Lower-case letters and digits, with single separators . _ __ - between them.
bool IsPathComponent(std::string_view text) {
  if (text.empty() || !IsLowerAlnum(text.front()) || !IsLowerAlnum(text.back())) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (IsLowerAlnum(c) || c == '-') continue;
    if (c != '.' && c != '_') return false;
    if (c == '_' && text[i + 1] == '_') ++i;
    if (text[i + 1] == '.' || text[i + 1] == '_' || text[i + 1] == '-') return false;
  }
  return true;
}

}  // namespace

std::vector<std::string> PeerNameServers(
    const std::string& node_name, const SharedMap<std::string, Shared<v1::PeerNode>>& peers) {
  constexpr size_t kMost = 2;  // resolv.conf(5) takes three
  std::vector<std::string> out;
  auto it = peers.lower_bound(node_name);  // never this node
  for (size_t i = 0; i < peers.size() && out.size() < kMost; ++i, ++it) {
    if (it == peers.end()) it = peers.begin();
    const auto range = IpPrefix::Parse(it->second->pod_cidr());
    if (!range.ok()) continue;
    // Every node's resolver answers on the first address of its range.
    if (const auto gateway = range->At(1)) out.push_back(gateway->ToString());
  }
  return out;
}

std::string PodLogDirectory(const PodConfigOptions& options, const std::string& ns,
                            const std::string& name, const std::string& uid) {
  return fmt::format("{}/{}_{}_{}", options.log_root, ns, name, uid);
}

std::string PodFilesDirectory(const PodConfigOptions& options, const std::string& uid) {
  return fmt::format("{}/{}", options.files_root, uid);
}

std::string HostsPath(const PodConfigOptions& options, const std::string& uid) {
  return PodFilesDirectory(options, uid) + "/hosts";
}

std::string HostsFile(const v1::Pod& pod, const PodConfigOptions& options) {
  std::string out =
      "# Written by mesh-agent for this pod\n"
      "127.0.0.1\tlocalhost\n"
      "::1\tlocalhost ip6-localhost ip6-loopback\n"
      "fe00::0\tip6-localnet\n"
      "fe00::0\tip6-mcastprefix\n"
      "fe00::1\tip6-allnodes\n"
      "fe00::2\tip6-allrouters\n";
  std::string names = Hostname(pod);
  if (const std::string& subdomain = pod.spec().subdomain(); !subdomain.empty()) {
    names = fmt::format("{0}.{1}.{2}.svc.{3} {0}", names, subdomain, pod.metadata().namespace_(),
                        options.cluster_domain);
  }
  const v1::PodStatus& status = pod.status();
  for (const v1::PodIP& ip : status.pod_ips()) out += fmt::format("{}\t{}\n", ip.ip(), names);
  if (status.pod_ips().empty() && !status.pod_ip().empty())
    out += fmt::format("{}\t{}\n", status.pod_ip(), names);
  return out;
}

std::string ContainerLogPath(const std::string& container, uint32_t attempt) {
  return fmt::format("{}/{}.log", container, attempt);
}

cri::PodSandboxConfig BuildSandboxConfig(const v1::Pod& pod, uint32_t attempt,
                                         const PodConfigOptions& options) {
  cri::PodSandboxConfig out;
  const v1::ObjectMeta& meta = pod.metadata();
  out.mutable_metadata()->set_name(meta.name());
  out.mutable_metadata()->set_namespace_(meta.namespace_());
  out.mutable_metadata()->set_uid(meta.uid());
  out.mutable_metadata()->set_attempt(attempt);
  out.set_hostname(Hostname(pod));
  out.set_log_directory(PodLogDirectory(options, meta.namespace_(), meta.name(), meta.uid()));
  if (!options.name_servers.empty()) {
    cri::DNSConfig* dns = out.mutable_dns_config();
    for (const std::string& server : options.name_servers) dns->add_servers(server);
    dns->add_searches(fmt::format("{}.svc.{}", meta.namespace_(), options.cluster_domain));
    dns->add_searches(fmt::format("svc.{}", options.cluster_domain));
    dns->add_searches(options.cluster_domain);
    dns->add_options("ndots:5");
    if (options.name_servers.size() > 1) {
      // The C library waits five seconds for a silent server; an agent is back in one.
      dns->add_options("timeout:1");
      dns->add_options("attempts:3");
    }
  }
  FillLabels(pod, out.mutable_labels());
  for (const auto& [key, value] : meta.annotations()) (*out.mutable_annotations())[key] = value;
  cri::LinuxPodSandboxConfig* config = out.mutable_linux();
  config->set_cgroup_parent(options.cgroup_parent);
  cri::LinuxSandboxSecurityContext* security = config->mutable_security_context();
  security->mutable_namespace_options()->set_pid(cri::CONTAINER);
  security->mutable_seccomp()->set_profile_type(cri::SecurityProfile::RuntimeDefault);
  return out;
}

cri::ContainerConfig BuildContainerConfig(const v1::Pod& pod, const v1::Container& container,
                                          uint32_t attempt, const std::string& image_ref,
                                          const PodInputs& inputs,
                                          const PodConfigOptions& options) {
  cri::ContainerConfig out;
  out.mutable_metadata()->set_name(container.name());
  out.mutable_metadata()->set_attempt(attempt);
  out.mutable_image()->set_image(image_ref);
  out.mutable_image()->set_user_specified_image(container.image());
  std::map<std::string, std::string> known;
  for (const auto& [name, value] : inputs.environment) {
    known[name] = value;
    cri::KeyValue* entry = out.add_envs();
    entry->set_key(name);
    entry->set_value(value);
  }
  for (const std::string& word : container.command()) out.add_command(ExpandVariables(word, known));
  for (const std::string& word : container.args()) out.add_args(ExpandVariables(word, known));
  out.set_working_dir(container.working_dir());
  const bool own_hosts =
      std::any_of(inputs.mounts.begin(), inputs.mounts.end(),
                  [](const cri::Mount& mount) { return mount.container_path() == "/etc/hosts"; });
  if (!own_hosts) {
    cri::Mount* hosts = out.add_mounts();
    hosts->set_container_path("/etc/hosts");
    hosts->set_host_path(HostsPath(options, pod.metadata().uid()));
  }
  for (const cri::Mount& mount : inputs.mounts) *out.add_mounts() = mount;
  FillLabels(pod, out.mutable_labels());
  (*out.mutable_labels())[kContainerNameLabel] = container.name();
  (*out.mutable_annotations())[kSpecHashAnnotation] = SpecHash(container);
  out.set_log_path(ContainerLogPath(container.name(), attempt));
  FillResources(container, options, out.mutable_linux()->mutable_resources());
  cri::LinuxContainerSecurityContext* security = out.mutable_linux()->mutable_security_context();
  security->mutable_namespace_options()->set_pid(cri::CONTAINER);
  security->mutable_seccomp()->set_profile_type(cri::SecurityProfile::RuntimeDefault);
  for (const char* path : {"/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys",
                           "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
                           "/proc/sched_debug", "/proc/scsi", "/sys/firmware"}) {
    security->add_masked_paths(path);
  }
  for (const char* path :
       {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}) {
    security->add_readonly_paths(path);
  }
  return out;
}

std::vector<std::pair<std::string, std::string>> ServiceEnvironment(
    const SharedMap<std::string, Shared<v1::ServiceState>>& services, const std::string& ns) {
  std::vector<std::pair<std::string, std::string>> out;
  const auto to_name = [](std::string text) {
    for (char& c : text) c = c == '-' ? '_' : static_cast<char>(std::toupper(c));
    return text;
  };
  for (const auto& [key, shared] : services) {
    const v1::ServiceState& service = *shared;
    if (service.namespace_() != ns || service.ports().empty()) continue;
    if (service.cluster_ip().empty() || service.cluster_ip() == "None") continue;
    const std::string name = to_name(service.name());
    const std::string& ip = service.cluster_ip();
    out.emplace_back(name + "_SERVICE_HOST", ip);
    out.emplace_back(name + "_SERVICE_PORT", std::to_string(service.ports(0).port()));
    for (const v1::ServicePortState& port : service.ports()) {
      if (port.name().empty()) continue;
      out.emplace_back(name + "_SERVICE_PORT_" + to_name(port.name()), std::to_string(port.port()));
    }
    for (const v1::ServicePortState& port : service.ports()) {
      const std::string protocol = port.protocol() == 17 ? "udp" : "tcp";
      const std::string url = fmt::format("{}://{}:{}", protocol, ip, port.port());
      const std::string prefix = fmt::format("{}_PORT_{}_{}", name, port.port(), to_name(protocol));
      if (&port == &service.ports(0)) out.emplace_back(name + "_PORT", url);
      out.emplace_back(prefix, url);
      out.emplace_back(prefix + "_PROTO", protocol);
      out.emplace_back(prefix + "_PORT", std::to_string(port.port()));
      out.emplace_back(prefix + "_ADDR", ip);
    }
  }
  return out;
}

std::string ExpandVariables(std::string_view text,
                            const std::map<std::string, std::string>& known) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '$' || i + 1 == text.size()) {
      out += text[i];
      continue;
    }
    if (text[i + 1] == '$') {
      out += '$';
      ++i;
      continue;
    }
    const size_t end = text[i + 1] == '(' ? text.find(')', i) : std::string_view::npos;
    if (end == std::string_view::npos) {
      out += '$';
      continue;
    }
    const std::string name(text.substr(i + 2, end - i - 2));
    auto it = known.find(name);
    out += it != known.end() ? it->second : std::string(text.substr(i, end - i + 1));
    i = end;
  }
  return out;
}

absl::Status CheckImageReference(std::string_view image) {
  const auto broken = [&] {
    return absl::InvalidArgumentError(fmt::format(
        "Failed to apply default image tag \"{}\": couldn't parse image name \"{}\": invalid "
        "reference format",
        image, image));
  };
  std::string_view rest = image;
  if (const size_t at = rest.find('@'); at != std::string_view::npos) {
    const std::string_view digest = rest.substr(at + 1);
    const size_t colon = digest.find(':');
    if (colon == std::string_view::npos || colon == 0 || digest.size() - colon < 33)
      return broken();
    rest = rest.substr(0, at);
  }
  const size_t slash = rest.rfind('/');
  if (const size_t colon = rest.rfind(':');
      colon != std::string_view::npos && (slash == std::string_view::npos || colon > slash)) {
    const std::string_view tag = rest.substr(colon + 1);
    if (tag.empty() || tag.size() > 128 || tag[0] == '.' || tag[0] == '-') return broken();
    if (!std::all_of(tag.begin(), tag.end(), IsNameChar)) return broken();
    rest = rest.substr(0, colon);
  }
  if (rest.empty() || rest.size() > 255) return broken();
  bool first = true;
  while (true) {
    const size_t end = rest.find('/');
    const std::string_view part = rest.substr(0, end);
    const bool is_host = first && end != std::string_view::npos &&
                         (part == "localhost" || part.find_first_of(".:[") != part.npos);
    if (is_host) {
      const bool fine = !part.empty() && std::all_of(part.begin(), part.end(), [](char c) {
        return IsNameChar(c) || c == ':' || c == '[' || c == ']';
      });
      if (!fine) return broken();
    } else if (!IsPathComponent(part)) {
      return broken();
    }
    if (end == std::string_view::npos) return absl::OkStatus();
    rest = rest.substr(end + 1);
    first = false;
  }
}

}  // namespace mesh::agent
