// SPDX-License-Identifier: Apache-2.0
#include "dataplane/carry_flows.h"

#include <bpf/bpf.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "common/status.h"
#include "dataplane/bpf/errors.h"
#include "dataplane/bpf/kernel_map.h"
#include "mesh/shared/flow_map.h"

namespace mesh::dataplane {
namespace {

// The second finds entries that the old program made, behind the place the first had reached, for
// flows that the first had not reached yet.
constexpr int kPasses = 2;

mesh_flow_key Partner(const mesh_flow_key& key, const mesh_flow_value& flow) {
  mesh_flow_key out{};
  out.saddr = flow.daddr;
  out.daddr = flow.saddr;
  out.sport = flow.dport;
  out.dport = flow.sport;
  out.proto = key.proto;
  return out;
}

bool Same(const mesh_flow_key& a, const mesh_flow_key& b) {
  return std::memcmp(&a, &b, sizeof(a)) == 0;
}

class FlowCarrier {
 public:
  FlowCarrier(int from_fd, int to_fd, RowTranslation rows)
      : from_fd_(from_fd), to_fd_(to_fd), rows_(std::move(rows)) {}

  absl::Status Carry(const std::string& from_key, Carried* carried) {
    mesh_flow_key key;
    mesh_flow_value flow, other;
    ASSIGN_OR_RETURN(bool there, Read(from_key, &key, &flow));
    if (!there) return absl::OkStatus();  // the old program has ended it
    const mesh_flow_key partner = Partner(key, flow);
    if (bpf_map_lookup_elem(to_fd_, &partner, &other) == 0 && !Same(Partner(partner, other), key)) {
      ++carried->present;
      return absl::OkStatus();
    }
    if (bpf_map_update_elem(to_fd_, &key, &flow, BPF_NOEXIST) != 0) {
      if (errno == EEXIST) {
        ++carried->present;
      } else if (errno == E2BIG || errno == ENOSPC || errno == ENOMEM) {
        ++carried->refused;
      } else {
        return BpfErrnoStatus(errno, "write a flow");
      }
      return absl::OkStatus();
    }
    ++carried->rows;
    mesh_flow_value again;
    ASSIGN_OR_RETURN(there, Read(from_key, &key, &again));
    if (!there) {
      bpf_map_delete_elem(to_fd_, &key);
    } else if (!Same(Partner(key, again), partner)) {
      bpf_map_update_elem(to_fd_, &key, &again, BPF_EXIST);
    }
    return absl::OkStatus();
  }

 private:
  // False when the old table does not have it, or when it does not fit.
  absl::StatusOr<bool> Read(const std::string& from_key, mesh_flow_key* key,
                            mesh_flow_value* flow) {
    value_.resize(rows_.from().value_bytes);
    if (bpf_map_lookup_elem(from_fd_, from_key.data(), value_.data()) != 0) return false;
    return rows_.Apply(from_key.data(), value_.data(), reinterpret_cast<char*>(key),
                       reinterpret_cast<char*>(flow));
  }

  const int from_fd_, to_fd_;
  const RowTranslation rows_;
  std::string value_;
};

}  // namespace

absl::StatusOr<Carried> CarryFlows(int from_fd, int to_fd) {
  ASSIGN_OR_RETURN(RowLayout from, RowLayout::Of(from_fd));
  ASSIGN_OR_RETURN(RowLayout to, RowLayout::Of(to_fd));
  if (to.key_bytes != sizeof(mesh_flow_key) || to.value_bytes != sizeof(mesh_flow_value)) {
    return absl::InternalError("the connection table's rows are not those of this build");
  }
  const uint32_t key_bytes = from.key_bytes;
  ASSIGN_OR_RETURN(const KernelMapBase source,
                   KernelMapBase::Adopt(from_fd, key_bytes, from.value_bytes));
  ASSIGN_OR_RETURN(RowTranslation rows, RowTranslation::Make(std::move(from), std::move(to), {}));
  FlowCarrier carrier(from_fd, to_fd, std::move(rows));
  Carried carried;
  for (int pass = 0; pass < kPasses; ++pass) {
    absl::Status problem;
    RETURN_IF_ERROR(source.ForEachBatch([&](const char* keys, const char*, uint32_t count) {
      for (uint32_t i = 0; i < count && problem.ok(); ++i) {
        problem = carrier.Carry(std::string(keys + size_t{i} * key_bytes, key_bytes), &carried);
      }
    }));
    RETURN_IF_ERROR(problem);
  }
  return carried;
}

}  // namespace mesh::dataplane
