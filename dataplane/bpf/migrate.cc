// SPDX-License-Identifier: Apache-2.0
#include "dataplane/bpf/migrate.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <linux/btf.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

#include "common/status.h"
#include "dataplane/bpf/errors.h"
#include "dataplane/bpf/kernel_map.h"
#include "fmt/format.h"

namespace mesh::dataplane {
namespace {

struct BtfDeleter {
  void operator()(btf* types) const { btf__free(types); }
};

const btf_type* Strip(const btf* types, uint32_t* id) {
  const btf_type* type = btf__type_by_id(types, *id);
  while (type != nullptr && (btf_is_mod(type) || btf_is_typedef(type))) {
    *id = type->type;
    type = btf__type_by_id(types, *id);
  }
  return type;
}

absl::Status Flatten(const btf* types, uint32_t id, const std::string& name, uint32_t offset,
                     std::vector<RowField>* out) {
  const btf_type* type = Strip(types, &id);
  if (type == nullptr) return absl::InternalError(fmt::format("type {} is not described", id));
  if (btf_is_struct(type)) {
    const btf_member* member = btf_members(type);
    for (int i = 0; i < btf_vlen(type); ++i, ++member) {
      if (btf_member_bitfield_size(type, i) != 0) {
        return absl::UnimplementedError(fmt::format("{} has a bit field", name));
      }
      const std::string field = btf__name_by_offset(types, member->name_off);
      RETURN_IF_ERROR(Flatten(types, member->type, name.empty() ? field : name + "." + field,
                              offset + btf_member_bit_offset(type, i) / 8, out));
    }
    return absl::OkStatus();
  }
  const int64_t bytes = btf__resolve_size(types, id);
  if (bytes < 0) return absl::InternalError(fmt::format("{}: its size is not known", name));
  out->push_back({name, offset, static_cast<uint32_t>(bytes)});
  return absl::OkStatus();
}

const RowField* Find(const std::vector<RowField>& fields, std::string_view name) {
  for (const RowField& field : fields) {
    if (field.name == name) return &field;
  }
  return nullptr;
}

// Padding has no meaning, whatever it is called.
bool IsPadding(const std::string& name) {
  return name.starts_with("pad") || name.find(".pad") != std::string::npos;
}

bool IsArray(uint32_t type) {
  return type == BPF_MAP_TYPE_ARRAY || type == BPF_MAP_TYPE_PERCPU_ARRAY;
}

// Adds the numbers of all CPUs.
absl::StatusOr<Carried> CarryCounters(int from_fd, const RowLayout& from, int to_fd,
                                      const RowLayout& to) {
  ASSIGN_OR_RETURN(const int cpus, PossibleCpus());
  const auto stride = [](uint32_t bytes) { return (bytes + 7) / 8 * 8; };
  std::string old_values(size_t{stride(from.value_bytes)} * cpus, '\0');
  std::string values(size_t{stride(to.value_bytes)} * cpus, '\0');
  Carried carried;
  for (uint32_t index = 0; index < std::min(from.max_entries, to.max_entries); ++index) {
    RETURN_IF_ERROR(LookupPerCpu(from_fd, &index, old_values.data()));
    RETURN_IF_ERROR(LookupPerCpu(to_fd, &index, values.data()));
    bool any = false;
    for (int cpu = 0; cpu < cpus; ++cpu) {
      for (const RowField& field : to.value) {
        char* value = values.data() + size_t{stride(to.value_bytes)} * cpu;
        const char* old_value = old_values.data() + size_t{stride(from.value_bytes)} * cpu;
        const uint64_t before = Read(from.value, field.name, old_value).value_or(0);
        if (before == 0) continue;
        Write(to.value, field.name, *Read(to.value, field.name, value) + before, value);
        any = true;
      }
    }
    if (!any) continue;
    if (bpf_map_update_elem(to_fd, &index, values.data(), BPF_ANY) != 0) {
      return BpfErrnoStatus(errno, "write counters");
    }
    ++carried.rows;
  }
  return carried;
}

}  // namespace

absl::StatusOr<RowLayout> RowLayout::Of(int map_fd) {
  bpf_map_info info{};
  uint32_t length = sizeof(info);
  if (bpf_obj_get_info_by_fd(map_fd, &info, &length) != 0) {
    return BpfErrnoStatus(errno, "read map information");
  }
  RowLayout layout;
  layout.type = info.type;
  layout.key_bytes = info.key_size;
  layout.value_bytes = info.value_size;
  layout.max_entries = info.max_entries;
  if (info.btf_id == 0 || info.btf_key_type_id == 0 || info.btf_value_type_id == 0) {
    return absl::NotFoundError(fmt::format("map {} does not describe its rows", info.name));
  }
  const std::unique_ptr<btf, BtfDeleter> types(btf__load_from_kernel_by_id(info.btf_id));
  if (types == nullptr) {
    return BpfErrnoStatus(errno, fmt::format("map {}: read the types of its rows", info.name));
  }
  RETURN_IF_ERROR(
      Annotate(Flatten(types.get(), info.btf_key_type_id, "", 0, &layout.key), info.name));
  RETURN_IF_ERROR(
      Annotate(Flatten(types.get(), info.btf_value_type_id, "", 0, &layout.value), info.name));
  return layout;
}

std::optional<uint64_t> Read(const std::vector<RowField>& fields, std::string_view name,
                             const char* bytes) {
  const RowField* field = Find(fields, name);
  if (field == nullptr || field->bytes > sizeof(uint64_t)) return std::nullopt;
  uint64_t number = 0;
  std::memcpy(&number, bytes + field->offset, field->bytes);
  return number;
}

bool Write(const std::vector<RowField>& fields, std::string_view name, uint64_t number,
           char* bytes) {
  const RowField* field = Find(fields, name);
  if (field == nullptr || field->bytes > sizeof(number)) return false;
  std::memcpy(bytes + field->offset, &number, field->bytes);
  return true;
}

absl::StatusOr<RowTranslation> RowTranslation::Make(RowLayout from, RowLayout to,
                                                    RowChange change) {
  RowTranslation out;
  std::vector<std::string> missing, added;
  out.keys_ = Moves(from.key, to.key, &missing);
  out.values_ = Moves(from.value, to.value, &added);
  for (const std::string& field : missing) {
    if (std::ranges::find(change.supplied, field) == change.supplied.end()) {
      return absl::FailedPreconditionError(
          fmt::format("the rows of before do not have the key's field {}", field));
    }
  }
  out.from_ = std::move(from);
  out.to_ = std::move(to);
  out.change_ = std::move(change);
  return out;
}

std::vector<RowTranslation::Move> RowTranslation::Moves(const std::vector<RowField>& from,
                                                        const std::vector<RowField>& to,
                                                        std::vector<std::string>* missing) {
  std::vector<Move> out;
  for (const RowField& field : to) {
    if (IsPadding(field.name)) continue;
    const RowField* source = Find(from, field.name);
    if (source == nullptr) {
      missing->push_back(field.name);
    } else {
      out.push_back(
          {source->offset, field.offset, std::min(source->bytes, field.bytes), source->bytes});
    }
  }
  return out;
}

bool RowTranslation::Copy(const std::vector<Move>& moves, const char* from, char* to) {
  for (const Move& move : moves) {
    std::memcpy(to + move.to, from + move.from, move.bytes);
    // Little endian: what is cut off are the high bytes.
    for (uint32_t i = move.bytes; i < move.from_bytes; ++i) {
      if (from[move.from + i] != 0) return false;
    }
  }
  return true;
}

absl::StatusOr<bool> RowTranslation::Apply(const char* from_key, const char* from_value, char* key,
                                           char* value) const {
  std::memset(key, 0, to_.key_bytes);
  std::memset(value, 0, to_.value_bytes);
  if (!Copy(keys_, from_key, key) || !Copy(values_, from_value, value)) return false;
  if (change_.apply) {
    RETURN_IF_ERROR(change_.apply(from_, from_key, from_value, to_, key, value));
  }
  return true;
}

absl::StatusOr<Carried> CarryRows(int from_fd, int to_fd, const RowChange& change) {
  ASSIGN_OR_RETURN(const RowLayout from, RowLayout::Of(from_fd));
  ASSIGN_OR_RETURN(const RowLayout to, RowLayout::Of(to_fd));
  if (from.type == BPF_MAP_TYPE_PERCPU_ARRAY && to.type == BPF_MAP_TYPE_PERCPU_ARRAY) {
    return CarryCounters(from_fd, from, to_fd, to);
  }
  ASSIGN_OR_RETURN(const RowTranslation translation, RowTranslation::Make(from, to, change));
  ASSIGN_OR_RETURN(const KernelMapBase source,
                   KernelMapBase::Adopt(from_fd, from.key_bytes, from.value_bytes));
  Carried carried;
  absl::Status problem;
  std::string key(to.key_bytes, '\0'), value(to.value_bytes, '\0'), now(to.value_bytes, '\0');
  const auto carry = [&](const char* from_key, const char* from_value) -> absl::Status {
    ASSIGN_OR_RETURN(const bool fits,
                     translation.Apply(from_key, from_value, key.data(), value.data()));
    if (!fits) {
      ++carried.refused;
      return absl::OkStatus();
    }
    if (IsArray(to.type)) {
      if (bpf_map_lookup_elem(to_fd, key.data(), now.data()) != 0) {
        ++carried.refused;  // beyond the end
        return absl::OkStatus();
      }
      if (now != std::string(now.size(), '\0')) {
        ++carried.present;
        return absl::OkStatus();
      }
    }
    const uint64_t flags = IsArray(to.type) ? BPF_ANY : BPF_NOEXIST;
    if (bpf_map_update_elem(to_fd, key.data(), value.data(), flags) == 0) {
      ++carried.rows;
    } else if (errno == EEXIST) {
      ++carried.present;
    } else if (errno == E2BIG || errno == ENOSPC) {
      ++carried.refused;
    } else {
      return BpfErrnoStatus(errno, "write a row");
    }
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(
      source.ForEachBatch([&](const char* from_keys, const char* from_values, uint32_t count) {
        for (uint32_t i = 0; i < count && problem.ok(); ++i) {
          problem = carry(from_keys + size_t{i} * from.key_bytes,
                          from_values + size_t{i} * from.value_bytes);
        }
      }));
  RETURN_IF_ERROR(problem);
  return carried;
}

}  // namespace mesh::dataplane
