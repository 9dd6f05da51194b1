// SPDX-License-Identifier: Apache-2.0
#include "agent/container_use.h"

#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>
#include <vector>

namespace mesh::agent {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kKibibyte = 1024;

uint64_t ReadNumber(const fs::path& path) {
  std::ifstream in(path);
  uint64_t out = 0;
  in >> out;
  return out;
}

// "key value" lines.
uint64_t ReadKey(const fs::path& path, const std::string& wanted) {
  std::ifstream in(path);
  std::string key;
  for (uint64_t value; in >> key >> value;) {
    if (key == wanted) return value;
  }
  return 0;
}

uint64_t Less(uint64_t from, uint64_t what) { return from > what ? from - what : 0; }

// The id that a group is named after; empty: none of them.
std::string IdOf(const std::string& name, const std::set<std::string>& ids) {
  if (ids.contains(name)) return name;
  constexpr std::string_view kScope = ".scope";
  const size_t dash = name.rfind('-');
  if (dash == std::string::npos || !name.ends_with(kScope)) return "";
  std::string id = name.substr(dash + 1, name.size() - kScope.size() - dash - 1);
  return ids.contains(id) ? id : "";
}

// The groups of containers below `root`. What lies below one is the container's own.
void Visit(const fs::path& root, const std::set<std::string>& ids,
           const std::function<void(const std::string& id, const fs::path& group)>& found) {
  std::error_code error;
  fs::recursive_directory_iterator it(root, fs::directory_options::skip_permission_denied, error);
  // Groups come and go meanwhile: an error ends the walk of what is gone, not of the rest.
  for (; !error && it != fs::recursive_directory_iterator(); it.increment(error)) {
    std::error_code gone;
    if (!it->is_directory(gone) || it->is_symlink(gone)) continue;
    if (const std::string id = IdOf(it->path().filename(), ids); !id.empty()) {
      found(id, it->path());
      it.disable_recursion_pending();
    }
  }
}

// Of a version 1 hierarchy: "cpuacct", or "cpu,cpuacct" where the two are one.
fs::path Hierarchy(const fs::path& root, const std::vector<const char*>& names) {
  std::error_code ignored;
  for (const char* name : names) {
    if (fs::is_directory(root / name, ignored)) return root / name;
  }
  return {};
}

}  // namespace

std::map<std::string, Use> ReadContainerUse(const std::string& root,
                                            const std::set<std::string>& ids) {
  std::map<std::string, Use> out;
  if (ids.empty()) return out;
  if (fs::exists(root + "/cgroup.controllers")) {
    Visit(root, ids, [&](const std::string& id, const fs::path& group) {
      out[id] = {.cpu_ns = ReadKey(group / "cpu.stat", "usage_usec") * 1000,
                 .memory_bytes = Less(ReadNumber(group / "memory.current"),
                                      ReadKey(group / "memory.stat", "inactive_file"))};
    });
    return out;
  }
  if (const fs::path cpu = Hierarchy(root, {"cpuacct", "cpu,cpuacct"}); !cpu.empty()) {
    Visit(cpu, ids, [&](const std::string& id, const fs::path& group) {
      out[id].cpu_ns = ReadNumber(group / "cpuacct.usage");
    });
  }
  if (const fs::path memory = Hierarchy(root, {"memory"}); !memory.empty()) {
    Visit(memory, ids, [&](const std::string& id, const fs::path& group) {
      out[id].memory_bytes = Less(ReadNumber(group / "memory.usage_in_bytes"),
                                  ReadKey(group / "memory.stat", "total_inactive_file"));
    });
  }
  return out;
}

absl::StatusOr<NodeUse> ReadNodeUse(const std::string& proc) {
  NodeUse out;
  std::ifstream stat(proc + "/stat");
  const auto ticks = static_cast<uint64_t>(::sysconf(_SC_CLK_TCK));
  for (std::string line; std::getline(stat, line) && line.starts_with("cpu");) {
    std::istringstream words(line);
    std::string name;
    // proc(5); what guests use is in user and nice already.
    uint64_t user = 0, nice = 0, system = 0, idle = 0, wait = 0, irq = 0, soft = 0, steal = 0;
    words >> name >> user >> nice >> system >> idle >> wait >> irq >> soft >> steal;
    if (name != "cpu") {
      ++out.cpus;
    } else {
      out.cpu_ns = (user + nice + system + irq + soft + steal) * (1'000'000'000 / ticks);
    }
  }
  std::ifstream memory(proc + "/meminfo");
  uint64_t available = 0;
  for (std::string line; std::getline(memory, line);) {
    std::istringstream words(line);
    std::string name;
    uint64_t kibibytes = 0;
    words >> name >> kibibytes;
    if (name == "MemTotal:") out.memory_capacity_bytes = kibibytes * kKibibyte;
    if (name == "MemAvailable:") available = kibibytes * kKibibyte;
  }
  if (out.cpus == 0 || out.memory_capacity_bytes == 0) {
    return absl::NotFoundError(fmt::format("{} does not tell what the node uses", proc));
  }
  out.memory_bytes = Less(out.memory_capacity_bytes, available);
  return out;
}

uint64_t CpuMilli(uint64_t before_ns, uint64_t after_ns, absl::Duration between) {
  const int64_t elapsed = absl::ToInt64Nanoseconds(between);
  if (after_ns <= before_ns || elapsed <= 0) return 0;
  // Up: what works at all does not show as nothing.
  const auto span = static_cast<uint64_t>(elapsed);
  return ((after_ns - before_ns) * 1000 + span - 1) / span;
}

}  // namespace mesh::agent
