// SPDX-License-Identifier: Apache-2.0
#include "dataplane/inspector.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <net/if.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <string_view>
#include <utility>

#include "common/status.h"
#include "dataplane/bpf/errors.h"
#include "dataplane/bpf/kernel_map.h"
#include "dataplane/bpf/row_text.h"
#include "dataplane/net/tc.h"
#include "dataplane/tables/metrics_table.h"
#include "fmt/format.h"
#include "fmt/ranges.h"
#include "mesh/shared/metrics_map.h"

namespace mesh::dataplane {
namespace {

// Bytes that the kernel accounts to a program or map.
uint64_t MemoryOf(int fd) {
  std::ifstream info(fmt::format("/proc/self/fdinfo/{}", fd));
  std::string word;
  uint64_t bytes = 0;
  while (info >> word) {
    if (word == "memlock:") info >> bytes;
  }
  return bytes;
}

// Loaded that long after the machine's start.
absl::Time BootTime(uint64_t ns) {
  timespec since_boot{};
  clock_gettime(CLOCK_BOOTTIME, &since_boot);
  return absl::Now() - absl::DurationFromTimespec(since_boot) +
         absl::Nanoseconds(static_cast<int64_t>(ns));
}

const char* FamilyName(const std::string& program) {
  // One program for both, where the device has room for one.
  if (program == "mesh_uplink_xdp") return "both";
  return program.find('6') == std::string::npos ? "IPv4" : "IPv6";
}

const char* HookName(uint32_t type) {
  switch (type) {
    case BPF_PROG_TYPE_SCHED_CLS:
      return "tc";
    case BPF_PROG_TYPE_XDP:
      return "xdp";
    case BPF_PROG_TYPE_CGROUP_SOCK_ADDR:
      return "cgroup";
    default:
      return libbpf_bpf_prog_type_str(static_cast<bpf_prog_type>(type));
  }
}

absl::StatusOr<ProgramRow> ReadProgram(const std::string& name, int fd) {
  bpf_prog_info info{};
  uint32_t length = sizeof(info);
  if (bpf_obj_get_info_by_fd(fd, &info, &length) != 0)
    return BpfErrnoStatus(errno, fmt::format("read information of BPF program {}", name));
  ProgramRow out;
  out.name = name;
  out.hook = HookName(info.type);
  out.family = FamilyName(name);
  out.tag = fmt::format("{:02x}", fmt::join(info.tag, ""));
  out.id = info.id;
  out.instructions = info.xlated_prog_len / sizeof(bpf_insn);
  out.machine_bytes = info.jited_prog_len;
  out.memory_bytes = MemoryOf(fd);
  out.runs = info.run_cnt;
  out.run_time_ns = info.run_time_ns;
  out.loaded = BootTime(info.load_time);
  return out;
}

absl::StatusOr<bpf_map_info> InfoOf(const std::string& name, int fd) {
  bpf_map_info info{};
  uint32_t length = sizeof(info);
  if (bpf_obj_get_info_by_fd(fd, &info, &length) != 0)
    return BpfErrnoStatus(errno, fmt::format("read information of BPF map {}", name));
  return info;
}

bool IsArray(uint32_t type) {
  return type == BPF_MAP_TYPE_ARRAY || type == BPF_MAP_TYPE_PERCPU_ARRAY;
}
bool IsPerCpu(uint32_t type) {
  return type == BPF_MAP_TYPE_PERCPU_ARRAY || type == BPF_MAP_TYPE_PERCPU_HASH ||
         type == BPF_MAP_TYPE_LRU_PERCPU_HASH;
}
// Bound to sockets, a ring: nothing that could be listed.
bool HasRows(uint32_t type) {
  return type != BPF_MAP_TYPE_SK_STORAGE && type != BPF_MAP_TYPE_RINGBUF;
}

absl::StatusOr<uint32_t> CountRows(int fd, const bpf_map_info& info) {
  if (IsArray(info.type)) return info.max_entries;
  if (!HasRows(info.type)) return 0;
  uint32_t rows = 0;
  if (!IsPerCpu(info.type)) {
    ASSIGN_OR_RETURN(const KernelMapBase map,
                     KernelMapBase::Adopt(fd, info.key_size, info.value_size));
    RETURN_IF_ERROR(
        map.ForEachBatch([&](const char*, const char*, uint32_t count) { rows += count; }));
    return rows;
  }
  std::vector<char> key(info.key_size), next(info.key_size);
  for (int result = bpf_map_get_next_key(fd, nullptr, next.data()); result == 0;
       result = bpf_map_get_next_key(fd, key.data(), next.data())) {
    // Rows that go while one looks may lead back to the first.
    if (++rows == info.max_entries) break;
    key.swap(next);
  }
  return rows;
}

// Index of mesh_metrics.
std::string MetricsKey(uint32_t index) {
  const MetricRow row = DecodeMetric(index, {});
  return fmt::format("reason={} direction={}", row.reason, row.direction);
}

}  // namespace

Inspector::Inspector(const Programs& programs, std::string uplink, std::string sockets_dir)
    : programs_(programs), uplink_(std::move(uplink)), sockets_dir_(std::move(sockets_dir)) {}

absl::StatusOr<std::vector<ProgramRow>> Inspector::LoadedPrograms() const {
  std::map<uint32_t, std::vector<std::string>> places;  // by program id
  std::unique_ptr<struct if_nameindex, decltype(&if_freenameindex)> links(if_nameindex(),
                                                                          if_freenameindex);
  if (links == nullptr) return ErrnoStatus(errno, "list interfaces");
  for (const struct if_nameindex* link = links.get(); link->if_index != 0; ++link) {
    const std::string name = link->if_name;
    if (!name.starts_with("mesh") && name != uplink_) continue;
    const int ifindex = static_cast<int>(link->if_index);
    for (uint32_t priority : {kPriority4, kPriority6}) {
      const auto id = IngressProgramId(ifindex, priority);
      if (id.ok()) places[*id].push_back(name);
    }
    uint32_t xdp = 0;
    if (bpf_xdp_query_id(ifindex, 0, &xdp) == 0 && xdp != 0) places[xdp].push_back(name);
  }
  std::vector<ProgramRow> out;
  for (const auto& [name, fd] : programs_.loaded()) {
    ASSIGN_OR_RETURN(ProgramRow row, ReadProgram(name, fd.get()));
    row.interfaces = places[row.id];
    std::ranges::sort(row.interfaces);
    out.push_back(std::move(row));
  }
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(sockets_dir_, error)) {
    const UniqueFd pin(bpf_obj_get(entry.path().c_str()));
    bpf_link_info link{};
    uint32_t length = sizeof(link);
    // Of what is no link (a map) the kernel writes other things.
    if (!pin || entry.path().filename().string().starts_with("mesh_dialled") ||
        bpf_obj_get_info_by_fd(pin.get(), &link, &length) != 0)
      continue;
    const UniqueFd program(bpf_prog_get_fd_by_id(link.prog_id));
    if (!program) continue;  // it has just been replaced
    ASSIGN_OR_RETURN(ProgramRow row, ReadProgram(entry.path().filename(), program.get()));
    out.push_back(std::move(row));
  }
  std::ranges::sort(out, {}, &ProgramRow::name);
  return out;
}

absl::StatusOr<UniqueFd> Inspector::CountRuns() const {
  UniqueFd out(bpf_enable_stats(BPF_STATS_RUN_TIME));
  if (!out) return BpfErrnoStatus(errno, "count the runs of BPF programs");
  return out;
}

std::vector<Inspector::NamedFd> Inspector::AllMaps(std::vector<UniqueFd>* opened) const {
  std::vector<NamedFd> out;
  for (const auto& [name, fd] : programs_.maps()) out.push_back({name, fd.get()});
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(sockets_dir_, error)) {
    const std::string name = entry.path().filename();
    if (!name.starts_with("mesh_dialled")) continue;
    UniqueFd fd(bpf_obj_get(entry.path().c_str()));
    if (!fd) continue;
    out.push_back({name, fd.get()});
    opened->push_back(std::move(fd));
  }
  std::ranges::sort(out, {}, &NamedFd::name);
  return out;
}

absl::StatusOr<std::vector<MapRow>> Inspector::LoadedMaps(
    const std::map<std::string, uint32_t>& counted) const {
  std::vector<UniqueFd> opened;
  std::vector<MapRow> out;
  for (const NamedFd& map : AllMaps(&opened)) {
    ASSIGN_OR_RETURN(const bpf_map_info info, InfoOf(map.name, map.fd));
    MapRow row;
    row.name = map.name;
    const char* type = libbpf_bpf_map_type_str(static_cast<bpf_map_type>(info.type));
    row.type = type == nullptr ? std::to_string(info.type) : type;
    row.key_bytes = info.key_size;
    row.value_bytes = info.value_size;
    if (const auto known = counted.find(map.name); known != counted.end()) {
      row.entries = known->second;
    } else {
      ASSIGN_OR_RETURN(row.entries, CountRows(map.fd, info));
    }
    row.max_entries = info.max_entries;
    row.memory_bytes = MemoryOf(map.fd);
    row.id = info.id;
    out.push_back(std::move(row));
  }
  return out;
}

absl::StatusOr<MapRows> Inspector::RowsOf(const std::string& map, uint32_t limit) const {
  std::vector<UniqueFd> opened;
  const std::vector<NamedFd> maps = AllMaps(&opened);
  const auto found = std::ranges::find(maps, map, &NamedFd::name);
  if (found == maps.end()) {
    std::vector<std::string> names;
    for (const NamedFd& other : maps) names.push_back(other.name);
    return absl::NotFoundError(
        fmt::format("map \"{}\" not found, there are: {}", map, fmt::join(names, ", ")));
  }
  ASSIGN_OR_RETURN(const bpf_map_info info, InfoOf(map, found->fd));
  if (!HasRows(info.type))
    return absl::FailedPreconditionError(
        fmt::format("map {}: rows of a {} cannot be listed", map,
                    libbpf_bpf_map_type_str(static_cast<bpf_map_type>(info.type))));
  ASSIGN_OR_RETURN(const RowText text,
                   RowText::Load(info.btf_id, info.btf_key_type_id, info.btf_value_type_id,
                                 info.key_size, info.value_size));
  // Each CPU's value is rounded up to 8 bytes.
  uint32_t cpus = 1, value_bytes = info.value_size;
  if (IsPerCpu(info.type)) {
    ASSIGN_OR_RETURN(const int possible, PossibleCpus());
    cpus = static_cast<uint32_t>(possible);
    value_bytes = (info.value_size + 7) / 8 * 8;
  }
  std::vector<char> key(info.key_size), next(info.key_size), value(size_t{cpus} * value_bytes);
  MapRows out;
  for (int result = bpf_map_get_next_key(found->fd, nullptr, next.data()); result == 0;
       result = bpf_map_get_next_key(found->fd, key.data(), next.data())) {
    key.swap(next);
    if (bpf_map_lookup_elem(found->fd, key.data(), value.data()) != 0) continue;  // gone meanwhile
    out.more = out.rows.size() == limit;
    if (out.more) break;
    MapEntryText& row = out.rows.emplace_back();
    uint32_t index = 0;
    std::memcpy(&index, key.data(), std::min(sizeof(index), key.size()));
    row.key = map == MESH_METRICS_MAP_NAME ? MetricsKey(index) : text.Key(key.data());
    for (uint32_t cpu = 0; cpu < cpus; ++cpu)
      row.values.push_back(text.Value(value.data() + size_t{cpu} * value_bytes));
  }
  return out;
}

}  // namespace mesh::dataplane
