// SPDX-License-Identifier: Apache-2.0
#include "agent/pods/pod_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "agent/cri/cri_client.h"
#include "agent/pods/dns_config.h"
#include "agent/pods/pod_plan.h"
#include "agent/pods/resources.h"
#include "agent/pods/security.h"
#include "common/ip_address.h"

namespace mesh::agent {
namespace {

// Of the kernel.
constexpr size_t kHostnameMax = 64;

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

// What the pod is called below the headless Service of its spec.subdomain; empty: it names none.
std::string QualifiedName(const v1::Pod& pod, const PodConfigOptions& options) {
  const std::string& subdomain = pod.spec().subdomain();
  if (subdomain.empty()) return "";
  return fmt::format("{}.{}.{}.svc.{}", Hostname(pod), subdomain, pod.metadata().namespace_(),
                     options.cluster_domain);
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
  if (const std::string whole = QualifiedName(pod, options); !whole.empty())
    names = whole + " " + names;
  const v1::PodStatus& status = pod.status();
  for (const v1::PodIP& ip : status.pod_ips()) out += fmt::format("{}\t{}\n", ip.ip(), names);
  if (status.pod_ips().empty() && !status.pod_ip().empty())
    out += fmt::format("{}\t{}\n", status.pod_ip(), names);
  return out + HostAliasLines(pod.spec());
}

std::string TerminationFile(const PodConfigOptions& options, const std::string& uid,
                            const std::string& container, uint32_t attempt) {
  return fmt::format("{}/containers/{}/{}", PodFilesDirectory(options, uid), container, attempt);
}

std::string ContainerLogPath(const std::string& container, uint32_t attempt) {
  return fmt::format("{}/{}.log", container, attempt);
}

absl::Status CheckHostname(const v1::Pod& pod, const PodConfigOptions& options) {
  const std::string whole = QualifiedName(pod, options);
  if (!pod.spec().set_hostname_as_fqdn() || whole.size() <= kHostnameMax) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("Failed to construct FQDN from Pod hostname and cluster domain, FQDN {} is too "
                  "long (64 characters is the max, {} characters requested)",
                  whole, whole.size()));
}

cri::PodSandboxConfig BuildSandboxConfig(const v1::Pod& pod, uint32_t attempt,
                                         const PodConfigOptions& options) {
  cri::PodSandboxConfig out;
  const v1::ObjectMeta& meta = pod.metadata();
  out.mutable_metadata()->set_name(meta.name());
  out.mutable_metadata()->set_namespace_(meta.namespace_());
  out.mutable_metadata()->set_uid(meta.uid());
  out.mutable_metadata()->set_attempt(attempt);
  const std::string whole = QualifiedName(pod, options);
  out.set_hostname(pod.spec().set_hostname_as_fqdn() && !whole.empty() ? whole : Hostname(pod));
  out.set_log_directory(PodLogDirectory(options, meta.namespace_(), meta.name(), meta.uid()));
  if (HasDns(pod, options)) FillDns(pod, options, out.mutable_dns_config());
  FillLabels(pod, out.mutable_labels());
  for (const auto& [key, value] : meta.annotations()) (*out.mutable_annotations())[key] = value;
  cri::LinuxPodSandboxConfig* config = out.mutable_linux();
  config->set_cgroup_parent(options.cgroup_parent);
  FillSandboxSecurity(pod.spec(), config);
  return out;
}

cri::ContainerConfig BuildContainerConfig(const v1::Pod& pod, const v1::Container& container,
                                          uint32_t attempt, const std::string& image_ref,
                                          const PodInputs& inputs, const PodConfigOptions& options,
                                          const cri::Image& image) {
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
  out.set_stdin(container.stdin());
  out.set_stdin_once(container.stdin_once());
  out.set_tty(container.tty());
  // Where a volume has the same place it is the volume's.
  const auto add_file = [&](const std::string& container_path, const std::string& host_path) {
    for (const cri::Mount& mount : inputs.mounts) {
      if (mount.container_path() == container_path) return;
    }
    cri::Mount* added = out.add_mounts();
    added->set_container_path(container_path);
    added->set_host_path(host_path);
  };
  const std::string& uid = pod.metadata().uid();
  add_file("/etc/hosts", HostsPath(options, uid));
  for (const cri::Mount& mount : inputs.mounts) *out.add_mounts() = mount;
  if (const std::string& path = container.termination_message_path(); !path.empty())
    add_file(path, TerminationFile(options, uid, container.name(), attempt));
  FillLabels(pod, out.mutable_labels());
  (*out.mutable_labels())[kContainerNameLabel] = container.name();
  (*out.mutable_annotations())[kSpecHashAnnotation] = SpecHash(container);
  out.set_log_path(ContainerLogPath(container.name(), attempt));
  FillResources(pod.spec(), container, options, out.mutable_linux()->mutable_resources());
  FillContainerSecurity(pod.spec(), container, image,
                        out.mutable_linux()->mutable_security_context());
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
