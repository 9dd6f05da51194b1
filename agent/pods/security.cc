// SPDX-License-Identifier: Apache-2.0
#include "agent/pods/security.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string>

#include "api/schema/capability.h"

namespace mesh::agent {
namespace {

namespace cri = ::runtime::v1;

// The container's word, else the pod's.
std::optional<int64_t> User(const v1::PodSpec& pod, const v1::Container& container) {
  const v1::SecurityContext& own = container.security_context();
  if (own.has_run_as_user()) return own.run_as_user();
  const v1::PodSecurityContext& all = pod.security_context();
  return all.has_run_as_user() ? std::optional(all.run_as_user()) : std::nullopt;
}

std::optional<int64_t> Group(const v1::PodSpec& pod, const v1::Container& container) {
  const v1::SecurityContext& own = container.security_context();
  if (own.has_run_as_group()) return own.run_as_group();
  const v1::PodSecurityContext& all = pod.security_context();
  return all.has_run_as_group() ? std::optional(all.run_as_group()) : std::nullopt;
}

bool NonRoot(const v1::PodSpec& pod, const v1::Container& container) {
  const v1::SecurityContext& own = container.security_context();
  return own.has_run_as_non_root() ? own.run_as_non_root()
                                   : pod.security_context().run_as_non_root();
}

bool IsPrivileged(const v1::PodSpec& pod) {
  const auto privileged = [](const v1::Container& container) {
    return container.security_context().privileged();
  };
  return std::any_of(pod.containers().begin(), pod.containers().end(), privileged) ||
         std::any_of(pod.init_containers().begin(), pod.init_containers().end(), privileged);
}

void FillNamespaces(const v1::PodSpec& pod, cri::NamespaceOption* out) {
  out->set_network(pod.host_network() ? cri::NODE : cri::POD);
  out->set_ipc(pod.host_ipc() ? cri::NODE : cri::POD);
  out->set_pid(pod.host_pid()                  ? cri::NODE
               : pod.share_process_namespace() ? cri::POD
                                               : cri::CONTAINER);
}

cri::SecurityProfile::ProfileType Seccomp(const std::string& type) {
  return type == "Unconfined" ? cri::SecurityProfile::Unconfined
                              : cri::SecurityProfile::RuntimeDefault;
}

// "name_namespace(uid)"
std::string PodTitle(const v1::Pod& pod) {
  return fmt::format("{}_{}({})", pod.metadata().name(), pod.metadata().namespace_(),
                     pod.metadata().uid());
}

}  // namespace

bool NeedsImageUser(const v1::PodSpec& pod, const v1::Container& container) {
  if (User(pod, container)) return false;
  return NonRoot(pod, container) || Group(pod, container).has_value();
}

absl::Status CheckImageUser(const v1::Pod& pod, const v1::Container& container,
                            const cri::Image& image) {
  if (!NonRoot(pod.spec(), container)) return absl::OkStatus();
  const auto where = [&] {
    return fmt::format("(pod: \"{}\", container: {})", PodTitle(pod), container.name());
  };
  if (const auto user = User(pod.spec(), container)) {
    if (*user != 0) return absl::OkStatus();
    return absl::InvalidArgumentError(
        fmt::format("container's runAsUser breaks non-root policy {}", where()));
  }
  if (!image.has_uid() && !image.username().empty()) {
    return absl::InvalidArgumentError(
        fmt::format("container has runAsNonRoot and image has non-numeric user ({}), cannot verify "
                    "user is non-root {}",
                    image.username(), where()));
  }
  if (image.uid().value() != 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("container has runAsNonRoot and image will run as root {}", where()));
}

void FillContainerSecurity(const v1::PodSpec& pod, const v1::Container& container,
                           const cri::Image& image, cri::LinuxContainerSecurityContext* out) {
  const v1::SecurityContext& own = container.security_context();
  const v1::PodSecurityContext& all = pod.security_context();
  FillNamespaces(pod, out->mutable_namespace_options());
  const auto group = Group(pod, container);
  if (const auto user = User(pod, container)) {
    out->mutable_run_as_user()->set_value(*user);
  } else if (group) {
    // The runtime takes a group only beside a user.
    if (!image.username().empty())
      out->set_run_as_username(image.username());
    else
      out->mutable_run_as_user()->set_value(image.uid().value());
  }
  if (group) out->mutable_run_as_group()->set_value(*group);
  if (all.has_fs_group()) out->add_supplemental_groups(all.fs_group());
  for (const int64_t extra : all.supplemental_groups()) {
    if (all.has_fs_group() && extra == all.fs_group()) continue;
    out->add_supplemental_groups(extra);
  }
  out->set_privileged(own.privileged());
  out->set_readonly_rootfs(own.read_only_root_filesystem());
  out->set_no_new_privs(own.has_allow_privilege_escalation() && !own.allow_privilege_escalation());
  for (const std::string& name : own.capabilities().add())
    out->mutable_capabilities()->add_add_capabilities(schema::CapabilityName(name));
  for (const std::string& name : own.capabilities().drop())
    out->mutable_capabilities()->add_drop_capabilities(schema::CapabilityName(name));
  const std::string& profile =
      own.has_seccomp_profile() ? own.seccomp_profile().type() : all.seccomp_profile().type();
  // A privileged container has no profile whatever it says: so does Kubernetes.
  out->mutable_seccomp()->set_profile_type(own.privileged() ? cri::SecurityProfile::Unconfined
                                                            : Seccomp(profile));
  if (own.proc_mount() == "Unmasked" || own.privileged()) return;
  for (const char* path : {"/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys",
                           "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
                           "/proc/sched_debug", "/proc/scsi", "/sys/firmware"}) {
    out->add_masked_paths(path);
  }
  for (const char* path :
       {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}) {
    out->add_readonly_paths(path);
  }
}

void FillSandboxSecurity(const v1::PodSpec& pod, cri::LinuxPodSandboxConfig* out) {
  cri::LinuxSandboxSecurityContext* security = out->mutable_security_context();
  FillNamespaces(pod, security->mutable_namespace_options());
  security->set_privileged(IsPrivileged(pod));
  security->mutable_seccomp()->set_profile_type(
      IsPrivileged(pod) ? cri::SecurityProfile::Unconfined : cri::SecurityProfile::RuntimeDefault);
  for (const v1::Sysctl& sysctl : pod.security_context().sysctls())
    (*out->mutable_sysctls())[sysctl.name()] = sysctl.value();
}

}  // namespace mesh::agent
