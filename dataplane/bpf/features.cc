// SPDX-License-Identifier: Apache-2.0
#include "dataplane/bpf/features.h"

#include <linux/capability.h>
#include <linux/magic.h>
#include <sys/statfs.h>
#include <sys/utsname.h>

#include <cerrno>
#include <cstdio>
#include <fstream>

#include "common/status.h"
#include "fmt/format.h"

namespace mesh::dataplane {
namespace {

constexpr int kMajor = 6, kMinor = 1;

bool Has(uint64_t capabilities, int bit) { return (capabilities >> bit & 1) != 0; }

}  // namespace

absl::Status ReadEnvironment(const std::string& bpf_root, Environment* out) {
  utsname name{};
  if (uname(&name) != 0) return ErrnoStatus(errno, "read the kernel's version");
  std::sscanf(name.release, "%d.%d", &out->kernel_major, &out->kernel_minor);

  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    unsigned long long bits = 0;
    if (std::sscanf(line.c_str(), "CapEff: %llx", &bits) == 1) out->capabilities = bits;
  }

  struct statfs fs {};
  out->bpffs = statfs(bpf_root.c_str(), &fs) == 0 && fs.f_type == BPF_FS_MAGIC;
  return absl::OkStatus();
}

absl::Status CheckEnvironment(const Environment& environment, const std::string& bpf_root) {
  if (std::pair(environment.kernel_major, environment.kernel_minor) < std::pair(kMajor, kMinor)) {
    return absl::FailedPreconditionError(
        fmt::format("kernel {}.{}: the dataplane needs {}.{} or newer", environment.kernel_major,
                    environment.kernel_minor, kMajor, kMinor));
  }
  const bool admin = Has(environment.capabilities, CAP_SYS_ADMIN);
  if (!Has(environment.capabilities, CAP_BPF) && !admin) {
    return absl::FailedPreconditionError(
        "missing privilege CAP_BPF: cannot load BPF programs; run the agent as root");
  }
  if (!Has(environment.capabilities, CAP_NET_ADMIN)) {
    return absl::FailedPreconditionError(
        "missing privilege CAP_NET_ADMIN: cannot make network interfaces; run the agent as root");
  }
  if (!environment.bpffs) {
    return absl::FailedPreconditionError(fmt::format(
        "{0} is not on a BPF filesystem: nowhere to pin maps; run: mount -t bpf bpf {0}",
        bpf_root));
  }
  return absl::OkStatus();
}

}  // namespace mesh::dataplane
