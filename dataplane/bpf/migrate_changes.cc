// SPDX-License-Identifier: Apache-2.0
// What has changed its meaning from one version of the ABI to the next. A change is known by the
// fields that the old rows have, so that it also works over several versions.
#include <bpf/bpf.h>

#include <cerrno>

#include "dataplane/bpf/errors.h"
#include "dataplane/bpf/migrate.h"
#include "mesh/shared/service_map.h"
#include "mesh/shared/set_map.h"
#include "mesh/shared/slot_map.h"

namespace mesh::dataplane {
namespace {

// Version 1: a frontend was a Service port, and its row named the slots.
RowChange ServicesOfOne(int sets_fd) {
  RowChange change;
  change.apply = [sets_fd](const RowLayout& from, const char*, const char* from_value,
                           const RowLayout& to, char*, char* value) {
    const auto id = static_cast<uint32_t>(Read(from.value, "service_id", from_value).value_or(0));
    const mesh_set_key key{MESH_SET_ID(id, MESH_SCOPE_INTERNAL)};
    mesh_set_value set{};
    set.generation = static_cast<uint32_t>(*Read(from.value, "generation", from_value));
    set.count = static_cast<uint32_t>(*Read(from.value, "count", from_value));
    set.algorithm = MESH_ALGORITHM_RANDOM;
    if (bpf_map_update_elem(sets_fd, &key, &set, BPF_NOEXIST) != 0 && errno != EEXIST) {
      return BpfErrnoStatus(errno, "map " MESH_SET_MAP_NAME ": write");
    }
    Write(to.value, "set_id", key.set_id, value);
    return absl::OkStatus();
  };
  return change;
}

// Version 1: slots belonged to a Service port.
RowChange SlotsOfOne() {
  RowChange change;
  change.supplied = {"set_id"};
  change.apply = [](const RowLayout& from, const char* from_key, const char*, const RowLayout& to,
                    char* key, char*) {
    const auto id = static_cast<uint32_t>(*Read(from.key, "service_id", from_key));
    Write(to.key, "set_id", MESH_SET_ID(id, MESH_SCOPE_INTERNAL), key);
    return absl::OkStatus();
  };
  return change;
}

bool Has(const std::vector<RowField>& fields, std::string_view name) {
  for (const RowField& field : fields) {
    if (field.name == name) return true;
  }
  return false;
}

}  // namespace

std::optional<RowChange> ChangeOf(const std::string& map, const RowLayout& from,
                                  const RowLayout& to,
                                  const std::function<int(const std::string&)>& find) {
  if (map == MESH_SERVICE_MAP_NAME && Has(from.value, "generation") && Has(from.value, "count") &&
      Has(to.value, "set_id")) {
    return ServicesOfOne(find(MESH_SET_MAP_NAME));
  }
  if (map == MESH_SLOT_MAP_NAME && Has(from.key, "service_id") && Has(to.key, "set_id")) {
    return SlotsOfOne();
  }
  return std::nullopt;
}

}  // namespace mesh::dataplane
