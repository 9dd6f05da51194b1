// SPDX-License-Identifier: Apache-2.0
#include "dataplane/bpf/kernel_maglev.h"

#include <bpf/bpf.h>

#include <cerrno>

#include "common/status.h"
#include "common/unique_fd.h"
#include "dataplane/bpf/errors.h"
#include "fmt/format.h"

namespace mesh::dataplane {
namespace {

// Tables that are made before they are entered together; each holds a file descriptor until then.
constexpr size_t kTogether = 256;

using Places = MaglevTables::Places;

std::string Name(uint32_t set_id) { return fmt::format("Maglev table {}", set_id); }

// Of the table of a set; NOT_FOUND.
absl::StatusOr<UniqueFd> Open(int outer, uint32_t set_id) {
  uint32_t id = 0;
  if (bpf_map_lookup_elem(outer, &set_id, &id) != 0) return BpfErrnoStatus(errno, Name(set_id));
  UniqueFd fd(bpf_map_get_fd_by_id(id));
  if (!fd) return BpfErrnoStatus(errno, Name(set_id));
  return fd;
}

absl::StatusOr<Places> Read(int fd, uint32_t set_id) {
  bpf_map_info info{};
  uint32_t length = sizeof(info);
  if (bpf_obj_get_info_by_fd(fd, &info, &length) != 0) return BpfErrnoStatus(errno, Name(set_id));
  Places places(info.max_entries), indices(info.max_entries);
  uint32_t count = info.max_entries, position = 0;
  // The whole array in one batch: the kernel says ENOENT at its end.
  if (bpf_map_lookup_batch(fd, nullptr, &position, indices.data(), places.data(), &count,
                           nullptr) != 0 &&
      errno != ENOENT) {
    return BpfErrnoStatus(errno, Name(set_id));
  }
  if (count != info.max_entries) {
    return absl::DataLossError(
        fmt::format("{}: read {} of {} places", Name(set_id), count, info.max_entries));
  }
  return places;
}

absl::Status Write(int fd, uint32_t set_id, const Places& indices, const Places& places) {
  uint32_t count = static_cast<uint32_t>(indices.size());
  if (count == 0 || bpf_map_update_batch(fd, indices.data(), places.data(), &count, nullptr) == 0) {
    return absl::OkStatus();
  }
  return BpfErrnoStatus(errno, Name(set_id) + ": write");
}

absl::StatusOr<UniqueFd> Make(uint32_t set_id, const Places& places) {
  LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = BPF_F_INNER_MAP);
  UniqueFd fd(bpf_map_create(BPF_MAP_TYPE_ARRAY, "mesh_mgl_table", sizeof(uint32_t),
                             sizeof(uint32_t), static_cast<uint32_t>(places.size()), &options));
  if (!fd) return BpfErrnoStatus(errno, Name(set_id) + ": make");
  Places indices(places.size());
  for (uint32_t i = 0; i < indices.size(); ++i) indices[i] = i;
  RETURN_IF_ERROR(Write(fd.get(), set_id, indices, places));
  return fd;
}

absl::Status Enter(int outer, const std::vector<uint32_t>& set_ids,
                   const std::vector<UniqueFd>& tables) {
  if (set_ids.empty()) return absl::OkStatus();
  std::vector<int> fds;
  for (const UniqueFd& table : tables) fds.push_back(table.get());
  uint32_t count = static_cast<uint32_t>(fds.size());
  if (bpf_map_update_batch(outer, set_ids.data(), fds.data(), &count, nullptr) == 0) {
    return absl::OkStatus();
  }
  return BpfErrnoStatus(errno, Name(set_ids[0]) + ": enter");
}

}  // namespace

absl::Status KernelMaglevTables::Put(const std::vector<std::pair<uint32_t, Places>>& tables) {
  std::vector<uint32_t> set_ids;
  std::vector<UniqueFd> made;
  for (const auto& [set_id, places] : tables) {
    absl::StatusOr<UniqueFd> fd = Open(fd_, set_id);
    if (!fd.ok() && !absl::IsNotFound(fd.status())) return fd.status();
    if (fd.ok()) {
      ASSIGN_OR_RETURN(const Places old, Read(fd->get(), set_id));
      if (old.size() == places.size()) {
        Places indices, values;
        for (uint32_t i = 0; i < places.size(); ++i) {
          if (old[i] == places[i]) continue;
          indices.push_back(i);
          values.push_back(places[i]);
        }
        RETURN_IF_ERROR(Write(fd->get(), set_id, indices, values));
        continue;
      }
    }
    ASSIGN_OR_RETURN(UniqueFd table, Make(set_id, places));
    set_ids.push_back(set_id);
    made.push_back(std::move(table));
    if (made.size() < kTogether) continue;
    RETURN_IF_ERROR(Enter(fd_, set_ids, made));
    set_ids.clear();
    made.clear();
  }
  return Enter(fd_, set_ids, made);
}

absl::StatusOr<Places> KernelMaglevTables::Get(uint32_t set_id) const {
  ASSIGN_OR_RETURN(const UniqueFd fd, Open(fd_, set_id));
  return Read(fd.get(), set_id);
}

absl::Status KernelMaglevTables::Remove(const std::vector<uint32_t>& set_ids) {
  std::vector<uint32_t> there;
  for (const uint32_t set_id : set_ids) {
    uint32_t id = 0;
    if (bpf_map_lookup_elem(fd_, &set_id, &id) == 0) there.push_back(set_id);
  }
  if (there.empty()) return absl::OkStatus();
  uint32_t count = static_cast<uint32_t>(there.size());
  if (bpf_map_delete_batch(fd_, there.data(), &count, nullptr) == 0) return absl::OkStatus();
  return BpfErrnoStatus(errno, Name(there[0]) + ": remove");
}

absl::StatusOr<std::vector<uint32_t>> KernelMaglevTables::List() const {
  std::vector<uint32_t> out;
  uint32_t key = 0;
  const uint32_t* previous = nullptr;
  while (bpf_map_get_next_key(fd_, previous, &key) == 0) {
    out.push_back(key);
    previous = &out.back();
  }
  if (errno != ENOENT) return BpfErrnoStatus(errno, "list the Maglev tables");
  return out;
}

}  // namespace mesh::dataplane
