// SPDX-License-Identifier: Apache-2.0
#include "dataplane/bpf/kernel_map.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <algorithm>
#include <cerrno>

#include "dataplane/bpf/errors.h"
#include "fmt/format.h"

namespace mesh::dataplane {

absl::StatusOr<KernelMapBase> KernelMapBase::Adopt(int fd, uint32_t key_size, uint32_t value_size,
                                                   uint32_t values_per_row) {
  bpf_map_info info{};
  uint32_t length = sizeof(info);
  if (bpf_obj_get_info_by_fd(fd, &info, &length) != 0) {
    return BpfErrnoStatus(errno, "read map information");
  }
  if (info.key_size != key_size || info.value_size != value_size) {
    return absl::InternalError(fmt::format("map {}: rows of {}+{} bytes, want {}+{}", info.name,
                                           info.key_size, info.value_size, key_size, value_size));
  }
  KernelMapBase map;
  map.fd_ = fd;
  map.key_size_ = key_size;
  map.value_size_ = value_size * values_per_row;
  map.max_entries_ = info.max_entries;
  map.name_ = info.name;
  return map;
}

namespace {

// Of values read at once, but for the fullest bucket.
constexpr uint32_t kBatchBytes = 4 << 20;

// The kernel's answer to a batch on a kind of map that has none.
bool IsNoBatch(int error) { return error == 524 /* ENOTSUPP */ || error == EOPNOTSUPP; }

}  // namespace

absl::Status KernelMapBase::WriteError(int error) const {
  if (error == E2BIG || error == ENOSPC) {
    return absl::ResourceExhaustedError(
        fmt::format("map {}: full, limit {} rows", name_, max_entries_));
  }
  return BpfErrnoStatus(error, fmt::format("map {}: write", name_));
}

absl::Status KernelMapBase::Upsert(const void* key, const void* value) {
  if (bpf_map_update_elem(fd_, key, value, BPF_ANY) == 0) return absl::OkStatus();
  return WriteError(errno);
}

absl::Status KernelMapBase::UpsertBatch(const void* keys, const void* values, uint32_t count) {
  if (bpf_map_update_batch(fd_, keys, values, &count, nullptr) == 0) return absl::OkStatus();
  if (IsNoBatch(errno)) return absl::UnimplementedError("no batches");
  return WriteError(errno);
}

absl::Status KernelMapBase::RemoveBatch(const void* keys, uint32_t count) {
  const char* at = static_cast<const char*>(keys);
  while (count > 0) {
    uint32_t done = count;
    if (bpf_map_delete_batch(fd_, at, &done, nullptr) == 0) return absl::OkStatus();
    if (IsNoBatch(errno)) return absl::UnimplementedError("no batches");
    // It ends at the first absent row.
    if (errno != ENOENT) return BpfErrnoStatus(errno, fmt::format("map {}: remove", name_));
    at += size_t{done + 1} * key_size_;
    count -= done + 1;
  }
  return absl::OkStatus();
}

absl::Status KernelMapBase::Erase(const void* key) {
  if (bpf_map_delete_elem(fd_, key) == 0) return absl::OkStatus();
  return BpfErrnoStatus(errno, fmt::format("map {}: remove", name_));
}

absl::Status KernelMapBase::Lookup(const void* key, void* value) const {
  if (bpf_map_lookup_elem(fd_, key, value) == 0) return absl::OkStatus();
  return BpfErrnoStatus(errno, fmt::format("map {}: read", name_));
}

absl::Status KernelMapBase::ForEachBatch(
    const std::function<void(const char*, const char*, uint32_t)>& rows) const {
  std::string cursor;
  do {
    if (absl::Status status = ReadBatch(cursor, rows); !status.ok()) return status;
  } while (!cursor.empty());
  return absl::OkStatus();
}

absl::Status KernelMapBase::ReadBatch(
    std::string& cursor,
    const std::function<void(const char*, const char*, uint32_t)>& rows) const {
  // Position: a bucket number for hashes, a key for tries.
  const size_t position_size = std::max<size_t>(key_size_, sizeof(uint32_t));
  std::string next(position_size, '\0');
  // A batch ends between buckets of the hash: it must be able to hold the fullest one (ENOSPC).
  for (uint32_t capacity = std::clamp(kBatchBytes / value_size_, 16U, 4096U);; capacity *= 2) {
    std::string keys(size_t{capacity} * key_size_, '\0');
    std::string values(size_t{capacity} * value_size_, '\0');
    uint32_t count = capacity;
    const int result =
        bpf_map_lookup_batch(fd_, cursor.empty() ? nullptr : cursor.data(), next.data(),
                             keys.data(), values.data(), &count, nullptr);
    if (result != 0 && errno == ENOSPC) continue;
    if (result != 0 && errno != ENOENT) {
      return BpfErrnoStatus(errno, fmt::format("map {}: list", name_));
    }
    cursor = result == 0 ? next : std::string();
    rows(keys.data(), values.data(), count);
    return absl::OkStatus();
  }
}

absl::StatusOr<int> PossibleCpus() {
  const int count = libbpf_num_possible_cpus();
  if (count <= 0) return BpfErrnoStatus(-count, "count the possible CPUs");
  return count;
}

absl::Status LookupPerCpu(int fd, const void* key, void* values) {
  if (bpf_map_lookup_elem(fd, key, values) == 0) return absl::OkStatus();
  return BpfErrnoStatus(errno, "read a per-CPU map");
}

}  // namespace mesh::dataplane
