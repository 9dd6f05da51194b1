// SPDX-License-Identifier: Apache-2.0
#include "dataplane/carry_flows.h"

#include <bpf/bpf.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "common/status.h"
#include "dataplane/bpf/errors.h"
#include "dataplane/bpf/kernel_map.h"
#include "dataplane/tables/flow_rows.h"

namespace mesh::dataplane {
namespace {

// The second finds entries that the old program made, behind the place the first had reached, for
// flows that the first had not reached yet.
constexpr int kPasses = 2;

template <typename F>
class FlowCarrier {
 public:
  using Key = typename F::FlowKey;
  using Value = typename F::FlowValue;

  FlowCarrier(int from_fd, int to_fd, uint64_t begun_ns, RowTranslation rows)
      : from_fd_(from_fd), to_fd_(to_fd), begun_ns_(begun_ns), rows_(std::move(rows)) {}

  absl::Status Carry(const std::string& from_key, Carried* carried) {
    Key key;
    Value flow;
    ASSIGN_OR_RETURN(bool there, Read(from_key, &key, &flow));
    if (!there) return absl::OkStatus();  // the old program has ended it
    const Key partner = PartnerKey<F>(key, flow);
    if (!GivesWay(key, partner, flow) || !GivesWay(partner, key, flow)) {
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
    Value again;
    ASSIGN_OR_RETURN(there, Read(from_key, &key, &again));
    if (!there) {
      bpf_map_delete_elem(to_fd_, &key);
    } else if (!SameBytes(PartnerKey<F>(key, again), partner)) {
      bpf_map_update_elem(to_fd_, &key, &again, BPF_EXIST);
    }
    return absl::OkStatus();
  }

 private:
  // False when the new table has `key` with another answer than `partner`. One that is over for
  // `flow`, which has its place since, goes.
  bool GivesWay(const Key& key, const Key& partner, const Value& flow) {
    Value other;
    if (bpf_map_lookup_elem(to_fd_, &key, &other) != 0) return true;
    const Key other_partner = PartnerKey<F>(key, other);
    if (SameBytes(other_partner, partner)) return true;
    if (other.last_seen_ns >= std::min<uint64_t>(flow.last_seen_ns, begun_ns_)) return false;
    bpf_map_delete_elem(to_fd_, &key);
    bpf_map_delete_elem(to_fd_, &other_partner);
    return true;
  }

  // False when the old table does not have it, or when it does not fit.
  absl::StatusOr<bool> Read(const std::string& from_key, Key* key, Value* flow) {
    value_.resize(rows_.from().value_bytes);
    if (bpf_map_lookup_elem(from_fd_, from_key.data(), value_.data()) != 0) return false;
    return rows_.Apply(from_key.data(), value_.data(), reinterpret_cast<char*>(key),
                       reinterpret_cast<char*>(flow));
  }

  const int from_fd_, to_fd_;
  const uint64_t begun_ns_;
  const RowTranslation rows_;
  std::string value_;
};

}  // namespace

template <typename F>
absl::StatusOr<Carried> CarryFlows(int from_fd, int to_fd, uint64_t begun_ns) {
  ASSIGN_OR_RETURN(RowLayout from, RowLayout::Of(from_fd));
  ASSIGN_OR_RETURN(RowLayout to, RowLayout::Of(to_fd));
  if (to.key_bytes != sizeof(typename F::FlowKey) ||
      to.value_bytes != sizeof(typename F::FlowValue)) {
    return absl::InternalError("the connection table's rows are not those of this build");
  }
  const uint32_t key_bytes = from.key_bytes;
  ASSIGN_OR_RETURN(const KernelMapBase source,
                   KernelMapBase::Adopt(from_fd, key_bytes, from.value_bytes));
  ASSIGN_OR_RETURN(RowTranslation rows, RowTranslation::Make(std::move(from), std::move(to), {}));
  FlowCarrier<F> carrier(from_fd, to_fd, begun_ns, std::move(rows));
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

template absl::StatusOr<Carried> CarryFlows<V4>(int from_fd, int to_fd, uint64_t begun_ns);
template absl::StatusOr<Carried> CarryFlows<V6>(int from_fd, int to_fd, uint64_t begun_ns);

}  // namespace mesh::dataplane
