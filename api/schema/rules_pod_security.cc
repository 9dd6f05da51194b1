// SPDX-License-Identifier: Apache-2.0
// What a pod says about its rights, its names and the namespaces of the node that it shares.
#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "api/schema/capability.h"
#include "api/schema/rules.h"
#include "api/schema/schema.h"
#include "common/ip_address.h"

namespace mesh::schema::internal {
namespace {

constexpr int kMostNameServers = 3;  // of resolv.conf(5)
constexpr int kMostSearches = 32;
constexpr size_t kMostSearchCharacters = 2048;
constexpr int64_t kMaxId = 2147483647;

// capabilities(7), without the prefix.
const std::vector<std::string>& Capabilities() {
  static const auto* const all = new std::vector<std::string>{"ALL",
                                                              "AUDIT_CONTROL",
                                                              "AUDIT_READ",
                                                              "AUDIT_WRITE",
                                                              "BLOCK_SUSPEND",
                                                              "BPF",
                                                              "CHECKPOINT_RESTORE",
                                                              "CHOWN",
                                                              "DAC_OVERRIDE",
                                                              "DAC_READ_SEARCH",
                                                              "FOWNER",
                                                              "FSETID",
                                                              "IPC_LOCK",
                                                              "IPC_OWNER",
                                                              "KILL",
                                                              "LEASE",
                                                              "LINUX_IMMUTABLE",
                                                              "MAC_ADMIN",
                                                              "MAC_OVERRIDE",
                                                              "MKNOD",
                                                              "NET_ADMIN",
                                                              "NET_BIND_SERVICE",
                                                              "NET_BROADCAST",
                                                              "NET_RAW",
                                                              "PERFMON",
                                                              "SETFCAP",
                                                              "SETGID",
                                                              "SETPCAP",
                                                              "SETUID",
                                                              "SYSLOG",
                                                              "SYS_ADMIN",
                                                              "SYS_BOOT",
                                                              "SYS_CHROOT",
                                                              "SYS_MODULE",
                                                              "SYS_NICE",
                                                              "SYS_PACCT",
                                                              "SYS_PTRACE",
                                                              "SYS_RAWIO",
                                                              "SYS_RESOURCE",
                                                              "SYS_TIME",
                                                              "SYS_TTY_CONFIG",
                                                              "WAKE_ALARM"};
  return *all;
}

// Those that reach no other pod and not the node.
constexpr std::string_view kSafeSysctls[] = {
    "kernel.shm_rmid_forced",           "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports", "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",        "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",     "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",      "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",          "net.ipv4.tcp_wmem",
};

void CheckSeccomp(const v1::SeccompProfile& profile, const std::string& path, Problems* problems) {
  if (profile.type() == "Localhost") {
    Add(problems, path + ".type", "Unsupported value: \"Localhost\": not supported yet");
  } else if (!profile.localhost_profile().empty()) {
    Add(problems, path + ".localhostProfile", "{}",
        InvalidText(profile.localhost_profile(), "can only be set if seccomp type is Localhost"));
  }
}

void CheckCapability(const std::string& name, const std::string& path, Problems* problems) {
  const std::string bare = CapabilityName(name);
  const std::vector<std::string>& all = Capabilities();
  if (std::find(all.begin(), all.end(), bare) != all.end()) return;
  const auto near = NearestWord(bare, all);
  Add(problems, path, "Unsupported value: \"{}\": no such capability{}", name,
      near ? fmt::format("; did you mean \"{}\"?", *near) : "");
}

void CheckContainerSecurity(const v1::SecurityContext& context, const std::string& path,
                            Problems* problems) {
  const auto& add = context.capabilities().add();
  for (int i = 0; i < add.size(); ++i)
    CheckCapability(add[i], fmt::format("{}.capabilities.add[{}]", path, i), problems);
  const auto& drop = context.capabilities().drop();
  for (int i = 0; i < drop.size(); ++i)
    CheckCapability(drop[i], fmt::format("{}.capabilities.drop[{}]", path, i), problems);
  if (context.has_seccomp_profile())
    CheckSeccomp(context.seccomp_profile(), path + ".seccompProfile", problems);
  if (!context.has_allow_privilege_escalation() || context.allow_privilege_escalation()) return;
  if (context.privileged()) {
    Add(problems, path + ".allowPrivilegeEscalation",
        "Invalid value: false: cannot set `allowPrivilegeEscalation` to false and `privileged` to "
        "true");
  }
  for (const std::string& name : add) {
    if (CapabilityName(name) != "SYS_ADMIN") continue;
    Add(problems, path + ".allowPrivilegeEscalation",
        "Invalid value: false: cannot set `allowPrivilegeEscalation` to false and "
        "`capabilities.Add` CAP_SYS_ADMIN");
  }
}

void CheckSysctls(const v1::PodSpec& spec, const std::string& path, Problems* problems) {
  std::set<std::string> seen;
  const auto& sysctls = spec.security_context().sysctls();
  for (int i = 0; i < sysctls.size(); ++i) {
    const std::string& name = sysctls[i].name();
    const std::string here = fmt::format("{}.securityContext.sysctls[{}].name", path, i);
    if (name.empty()) continue;  // said already
    if (!seen.insert(name).second) {
      Add(problems, here, "{}", DuplicateText(name));
    } else if (std::find(std::begin(kSafeSysctls), std::end(kSafeSysctls), name) ==
               std::end(kSafeSysctls)) {
      Add(problems, here,
          "Forbidden: \"{}\" is not one of the sysctls that are safe for other pods and the node, "
          "and unsafe ones are not supported yet",
          name);
    } else if (spec.host_network() && name.starts_with("net.")) {
      Add(problems, here, "{}",
          InvalidText(name, "may not be specified when 'hostNetwork' is true"));
    } else if (spec.host_ipc() && name.starts_with("kernel.shm")) {
      Add(problems, here, "{}", InvalidText(name, "may not be specified when 'hostIPC' is true"));
    }
  }
}

void CheckPodContext(const v1::PodSpec& spec, const std::string& path, Problems* problems) {
  const v1::PodSecurityContext& context = spec.security_context();
  if (context.has_seccomp_profile())
    CheckSeccomp(context.seccomp_profile(), path + ".securityContext.seccompProfile", problems);
  for (int i = 0; i < context.supplemental_groups_size(); ++i) {
    const int64_t group = context.supplemental_groups(i);
    if (group >= 0 && group <= kMaxId) continue;
    Add(problems, fmt::format("{}.securityContext.supplementalGroups[{}]", path, i),
        "Invalid value: {}: must be between 0 and {}, inclusive", group, kMaxId);
  }
  CheckSysctls(spec, path, problems);
  if (spec.share_process_namespace() && spec.host_pid()) {
    Add(problems, path + ".shareProcessNamespace",
        "Invalid value: true: ShareProcessNamespace and HostPID cannot both be enabled");
  }
}

void CheckDns(const v1::PodSpec& spec, const std::string& path, Problems* problems) {
  const v1::PodDNSConfig& dns = spec.dns_config();
  const std::string here = path + ".dnsConfig";
  if (spec.dns_policy() == "None" && dns.nameservers().empty()) {
    Add(problems, here + ".nameservers",
        "Required value: must provide at least one DNS nameserver when `dnsPolicy` is None");
  }
  if (dns.nameservers_size() > kMostNameServers) {
    Add(problems, here + ".nameservers",
        "Invalid value: {}: must not have more than {} nameservers", ListText(dns.nameservers()),
        kMostNameServers);
  }
  for (int i = 0; i < dns.nameservers_size(); ++i) {
    if (IpAddress::Parse(dns.nameservers(i)).ok()) continue;
    Add(problems, fmt::format("{}.nameservers[{}]", here, i), "{}",
        InvalidText(dns.nameservers(i), "must be a valid IP address"));
  }
  size_t characters = 0;
  for (int i = 0; i < dns.searches_size(); ++i) {
    std::string search = dns.searches(i);
    characters += search.size() + 1;
    // As in a zone, the dot at the end says that the name is whole.
    if (search != "." && search.ends_with('.')) search.pop_back();
    const std::string why = search == "." ? "" : CheckDnsSubdomain(search);
    if (why.empty()) continue;
    Add(problems, fmt::format("{}.searches[{}]", here, i), "{}", InvalidText(dns.searches(i), why));
  }
  if (dns.searches_size() > kMostSearches || characters > kMostSearchCharacters + 1) {
    Add(problems, here + ".searches",
        "Invalid value: must not have more than {} search paths or {} characters", kMostSearches,
        kMostSearchCharacters);
  }
}

void CheckHostAliases(const v1::PodSpec& spec, const std::string& path, Problems* problems) {
  for (int i = 0; i < spec.host_aliases_size(); ++i) {
    const v1::HostAlias& alias = spec.host_aliases(i);
    for (int j = 0; j < alias.hostnames_size(); ++j) {
      const std::string why = CheckDnsSubdomain(alias.hostnames(j));
      if (why.empty()) continue;
      Add(problems, fmt::format("{}.hostAliases[{}].hostnames[{}]", path, i, j), "{}",
          InvalidText(alias.hostnames(j), why));
    }
  }
}

}  // namespace

void CheckPodSecurity(const v1::PodSpec& spec, const std::string& path, Problems* problems) {
  for (int i = 0; i < spec.init_containers_size(); ++i) {
    CheckContainerSecurity(spec.init_containers(i).security_context(),
                           fmt::format("{}.initContainers[{}].securityContext", path, i), problems);
  }
  for (int i = 0; i < spec.containers_size(); ++i) {
    CheckContainerSecurity(spec.containers(i).security_context(),
                           fmt::format("{}.containers[{}].securityContext", path, i), problems);
  }
  CheckPodContext(spec, path, problems);
  CheckDns(spec, path, problems);
  CheckHostAliases(spec, path, problems);
  if (!spec.service_account().empty() && !spec.service_account_name().empty() &&
      spec.service_account() != spec.service_account_name()) {
    Add(problems, path + ".serviceAccount", "{}",
        InvalidText(spec.service_account(),
                    "is the old name of serviceAccountName, which says something else"));
  }
}

void WarnPodSecurity(const v1::PodSpec& spec, const std::string& path, Problems* problems) {
  if (spec.automount_service_account_token()) {
    Add(problems, path + ".automountServiceAccountToken",
        "no token is mounted: there is no API yet that would take one");
  }
  const int room = spec.dns_policy() == "None" || spec.dns_policy() == "Default" ? 3 : 2;
  if (spec.dns_config().nameservers_size() > room) {
    Add(problems, path + ".dnsConfig.nameservers",
        "only the first {} are asked: the cluster's own resolver comes first, and a container "
        "takes "
        "{} in all",
        room, kMostNameServers);
  }
}

}  // namespace mesh::schema::internal
