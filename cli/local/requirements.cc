// SPDX-License-Identifier: Apache-2.0
#include "cli/local/requirements.h"

#include <linux/capability.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <charconv>

#include "cli/local/process.h"
#include "fmt/format.h"

namespace mesh::cli::local {
namespace {

constexpr int kMinMajor = 6, kMinMinor = 1;

bool AtLeastFloor(std::string_view release) {
  int major = 0, minor = 0;
  const char* end = release.data() + release.size();
  const auto [dot, error] = std::from_chars(release.data(), end, major);
  if (error != std::errc() || dot == end || *dot != '.') return false;
  std::from_chars(dot + 1, end, minor);
  return major > kMinMajor || (major == kMinMajor && minor >= kMinMinor);
}

}  // namespace

MachineFacts ReadMachineFacts(const std::vector<std::string>& own_files) {
  MachineFacts facts;
  facts.root = ::geteuid() == 0;
  if (const auto status = ReadFile("/proc/self/status"); status.ok()) {
    constexpr std::string_view kKey = "CapEff:\t";
    if (const size_t at = status->find(kKey); at != std::string::npos) {
      const char* start = status->data() + at + kKey.size();
      std::from_chars(start, start + 16, facts.capabilities, 16);
    }
  }
  utsname name{};
  if (::uname(&name) == 0) facts.kernel_release = name.release;
  if (const auto list = ReadFile("/proc/filesystems"); list.ok()) facts.filesystems = *list;
  facts.containerd = FindProgram("containerd").has_value();
  facts.ctr = FindProgram("ctr").has_value();
  facts.shim = FindProgram("containerd-shim-runc-v2").has_value();
  facts.ip = FindProgram("ip").has_value();
  facts.runtime = FindProgram("runc").has_value() || FindProgram("crun").has_value();
  for (const std::string& file : own_files) {
    if (::access(file.c_str(), R_OK) != 0) facts.missing_files.push_back(file);
  }
  return facts;
}

std::vector<std::string> MissingRequirements(const MachineFacts& facts) {
  if (!facts.root) return {"this needs root: run it with sudo"};
  std::vector<std::string> missing;
  struct Need {
    int bit;
    const char* name;
  };
  constexpr Need kNeeds[] = {{CAP_SYS_ADMIN, "CAP_SYS_ADMIN"},
                             {CAP_NET_ADMIN, "CAP_NET_ADMIN"},
                             {CAP_BPF, "CAP_BPF"},
                             {CAP_PERFMON, "CAP_PERFMON"}};
  for (const Need& need : kNeeds) {
    if ((facts.capabilities >> need.bit & 1) != 0) continue;
    missing.push_back(
        fmt::format("capability {} is missing: in a container, start it privileged", need.name));
  }
  if (!AtLeastFloor(facts.kernel_release)) {
    missing.push_back(fmt::format("kernel {} is older than {}.{}: boot a newer one",
                                  facts.kernel_release, kMinMajor, kMinMinor));
  }
  for (const char* type : {"bpf", "tmpfs"}) {
    if (facts.filesystems.find(fmt::format("\t{}\n", type)) == std::string::npos) {
      missing.push_back(fmt::format("the kernel has no {} file system", type));
    }
  }
  constexpr char kBootstrap[] = "run scripts/bootstrap, or install it";
  if (!facts.containerd)
    missing.push_back(fmt::format("containerd is not installed: {}", kBootstrap));
  if (!facts.ctr)
    missing.push_back(fmt::format("ctr, containerd's client, is not installed: {}", kBootstrap));
  if (!facts.shim) {
    missing.push_back(fmt::format("containerd-shim-runc-v2 is not installed: {}", kBootstrap));
  }
  if (!facts.runtime)
    missing.push_back(fmt::format("neither runc nor crun is installed: {}", kBootstrap));
  if (!facts.ip) missing.push_back(fmt::format("ip (iproute2) is not installed: {}", kBootstrap));
  for (const std::string& file : facts.missing_files) {
    missing.push_back(fmt::format("{} is not there: build it first (cmake --build build)", file));
  }
  return missing;
}

absl::Status CheckRequirements(const MachineFacts& facts) {
  const std::vector<std::string> missing = MissingRequirements(facts);
  if (missing.empty()) return absl::OkStatus();
  if (missing.size() == 1) return absl::FailedPreconditionError(missing.front());
  std::string text = "this machine cannot run a local cluster:";
  for (const std::string& line : missing) text += "\n  - " + line;
  return absl::FailedPreconditionError(text);
}

}  // namespace mesh::cli::local
