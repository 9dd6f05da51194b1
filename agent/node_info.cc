// SPDX-License-Identifier: Apache-2.0
#include "agent/node_info.h"

#include <fmt/format.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <charconv>
#include <fstream>
#include <iterator>
#include <string_view>

#include "common/version.h"

namespace mesh::agent {
namespace {

std::string FirstLine(const char* path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// PRETTY_NAME of os-release(5), without its quotes.
std::string OsImage() {
  for (const char* path : {"/etc/os-release", "/usr/lib/os-release"}) {
    std::ifstream file(path);
    constexpr std::string_view kKey = "PRETTY_NAME=";
    for (std::string line; std::getline(file, line);) {
      if (!line.starts_with(kKey)) continue;
      std::string value = line.substr(kKey.size());
      if (value.size() >= 2 && (value.front() == '"' || value.front() == '\'')) {
        value = value.substr(1, value.size() - 2);
      }
      return value;
    }
  }
  return "Linux";
}

// Kubernetes names architectures as Go does.
std::string GoArchitecture(const std::string& machine) {
  if (machine == "x86_64") return "amd64";
  if (machine == "aarch64") return "arm64";
  return machine;
}

}  // namespace

int64_t MemoryCapacityBytes() {
  struct sysinfo info {};
  if (::sysinfo(&info) != 0) return 0;
  return static_cast<int64_t>(info.totalram) * info.mem_unit;
}

int64_t OwnOomScoreAdj() {
  const std::string text = FirstLine("/proc/self/oom_score_adj");
  int64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

v1::Node DescribeNode(const std::string& node_name, const std::vector<std::string>& node_ips,
                      const std::string& agent_endpoint, const std::string& runtime_version,
                      const std::map<std::string, std::string>& labels) {
  utsname uts{};
  ::uname(&uts);
  v1::Node node;
  node.mutable_metadata()->set_name(node_name);
  auto& all = *node.mutable_metadata()->mutable_labels();
  all["kubernetes.io/hostname"] = node_name;
  all["kubernetes.io/os"] = "linux";
  all["kubernetes.io/arch"] = GoArchitecture(uts.machine);
  for (const auto& [key, value] : labels) all[key] = value;

  v1::NodeStatus& status = *node.mutable_status();
  for (auto* resources : {status.mutable_capacity(), status.mutable_allocatable()}) {
    (*resources)["cpu"].set_text(std::to_string(::sysconf(_SC_NPROCESSORS_ONLN)));
    (*resources)["memory"].set_text(fmt::format("{}Ki", MemoryCapacityBytes() / 1024));
    (*resources)["pods"].set_text(std::to_string(kPodsPerNodeMax));
  }
  for (const std::string& ip : node_ips) {
    v1::NodeAddress* address = status.add_addresses();
    address->set_type("InternalIP");
    address->set_address(ip);
  }
  v1::NodeAddress* address = status.add_addresses();
  address->set_type("Hostname");
  address->set_address(node_name);
  v1::NodeSystemInfo& info = *status.mutable_node_info();
  info.set_boot_id(FirstLine("/proc/sys/kernel/random/boot_id"));
  info.set_machine_id(FirstLine("/etc/machine-id"));
  info.set_kernel_version(uts.release);
  info.set_os_image(OsImage());
  info.set_operating_system("linux");
  info.set_architecture(GoArchitecture(uts.machine));
  info.set_container_runtime_version(runtime_version);
  info.set_kubelet_version(kVersion);
  status.set_agent_endpoint(agent_endpoint);
  return node;
}

}  // namespace mesh::agent
