// SPDX-License-Identifier: Apache-2.0
#include "dataplane/trace/kernel_tracer.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/status.h"
#include "common/unique_fd.h"
#include "dataplane/bpf/errors.h"
#include "dataplane/bpf/prog_run.h"
#include "dataplane/tables/encode.h"
#include "dataplane/tables/family.h"
#include "fmt/format.h"
#include "mesh/shared/metrics_map.h"
#include "mesh/shared/moving.h"
#include "mesh/shared/trace.h"
// After the headers with its types.
#include "from_pod6_trace.skel.h"
#include "from_pod_trace.skel.h"
#include "node6_trace.skel.h"
#include "node_trace.skel.h"
#include "overlay6_trace.skel.h"
#include "overlay_trace.skel.h"
#include "uplink6_trace.skel.h"
#include "uplink_trace.skel.h"

namespace mesh::dataplane {
namespace {

// A packet meets a handful of rows, or two for each source port that it finds taken.
constexpr uint32_t kOwnRows = 128;
constexpr size_t kOuterBytes = 50;
constexpr std::string_view kLive = "_live";

struct ObjectDeleter {
  void operator()(bpf_object* object) const { bpf_object__close(object); }
};

std::string_view ObjectBytes(TracePacket::Hook hook, bool ipv6) {
  size_t size = 0;
  const void* data = nullptr;
  switch (hook) {
    case TracePacket::Hook::kFromPod:
      data = ipv6 ? from_pod6_trace_bpf__elf_bytes(&size) : from_pod_trace_bpf__elf_bytes(&size);
      break;
    case TracePacket::Hook::kNode:
      data = ipv6 ? node6_trace_bpf__elf_bytes(&size) : node_trace_bpf__elf_bytes(&size);
      break;
    case TracePacket::Hook::kOverlay:
      data = ipv6 ? overlay6_trace_bpf__elf_bytes(&size) : overlay_trace_bpf__elf_bytes(&size);
      break;
    case TracePacket::Hook::kUplink:
      data = ipv6 ? uplink6_trace_bpf__elf_bytes(&size) : uplink_trace_bpf__elf_bytes(&size);
      break;
  }
  return {static_cast<const char*>(data), size};
}

// Writes a variable of the object's read-only data; nothing when it has none of that name.
template <typename T>
absl::Status Configure(bpf_object* object, const char* variable, const T& value) {
  const btf* types = bpf_object__btf(object);
  bpf_map* rodata = bpf_object__find_map_by_name(object, ".rodata");
  if (types == nullptr || rodata == nullptr) return absl::InternalError("trace: no .rodata");
  const int id = btf__find_by_name_kind(types, ".rodata", BTF_KIND_DATASEC);
  if (id < 0) return absl::InternalError("trace: no types of .rodata");
  size_t size = 0;
  auto* data = static_cast<char*>(
      const_cast<void*>(static_cast<const void*>(bpf_map__initial_value(rodata, &size))));
  const btf_type* section = btf__type_by_id(types, static_cast<uint32_t>(id));
  const btf_var_secinfo* entry = btf_var_secinfos(section);
  for (int i = 0; i < btf_vlen(section); ++i, ++entry) {
    const btf_type* type = btf__type_by_id(types, entry->type);
    if (std::strcmp(btf__name_by_offset(types, type->name_off), variable) != 0) continue;
    if (data == nullptr || entry->size != sizeof(T) || entry->offset + entry->size > size) break;
    std::memcpy(data + entry->offset, &value, sizeof(T));
    return absl::OkStatus();
  }
  return absl::InternalError(fmt::format("trace: {} is not in .rodata as expected", variable));
}

template <typename F>
TraceWay DecodeWay(const mesh_trace_value& told) {
  typename F::FlowValue flow;
  std::memcpy(&flow, told.flow, sizeof(flow));
  TraceWay out;
  out.target = flow.target;
  if (flow.target == 0) return out;
  out.source = F::Decode(flow.saddr);
  out.destination = F::Decode(flow.daddr);
  out.source_port = DecodePort(flow.sport);
  out.destination_port = DecodePort(flow.dport);
  out.ifindex = flow.out_ifindex;
  if (flow.out_peer != 0) out.peer = DecodeIp(flow.out_peer);
  out.vni = flow.vni;
  out.service_id = flow.service_id;
  out.backend_id = flow.backend_id;
  out.flags = flow.flags;
  return out;
}

class KernelTracer : public Tracer {
 public:
  KernelTracer(std::map<std::string, UniqueFd> live, const mesh_config& config,
               std::optional<mesh_config6> config6)
      : live_(std::move(live)), config_(config), config6_(config6) {}

  absl::StatusOr<TraceOutcome> Trace(const TracePacket& packet) override;
  absl::Status Prepare() override;

 private:
  // Addresses of the backends that `notes` are about.
  template <typename F>
  std::map<uint32_t, TraceBackend> Backends(const std::vector<TraceNote>& notes) const;
  // One program with its own maps.
  struct Loaded {
    std::unique_ptr<bpf_object, ObjectDeleter> object;
    int program = -1;
    int told = -1;          // its .bss
    std::vector<int> rows;  // hashes of its own
  };

  absl::StatusOr<Loaded*> Load(TracePacket::Hook hook, bool ipv6)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status PlaceMaps(bpf_object* object, bool ipv6, std::vector<bpf_map*>* own) const;
  // The live map that the program of that family calls `name`; -1: none.
  int Live(std::string name, bool ipv6) const;

  const std::map<std::string, UniqueFd> live_;
  const mesh_config config_;
  const std::optional<mesh_config6> config6_;
  absl::Mutex mutex_;
  std::map<std::pair<TracePacket::Hook, bool>, Loaded> loaded_ ABSL_GUARDED_BY(mutex_);
};

template <typename F>
std::map<uint32_t, TraceBackend> KernelTracer::Backends(const std::vector<TraceNote>& notes) const {
  std::map<uint32_t, TraceBackend> out;
  const int map = Live("mesh_backend", F::kFamily == Family::kV6);
  for (const TraceNote& note : notes) {
    std::vector<uint32_t> ids;
    if (note.step == MESH_TRACE_BACKEND || note.step == MESH_TRACE_AFFINITY) ids = {note.a};
    if (note.step == MESH_TRACE_LOADS) ids = {note.a, note.b};
    for (const uint32_t id : ids) {
      const mesh_backend_key key{id};
      typename F::BackendValue value;
      if (bpf_map_lookup_elem(map, &key, &value) != 0) continue;  // gone since
      out[id] = {F::Decode(value.ip), DecodePort(value.port)};
    }
  }
  return out;
}

int KernelTracer::Live(std::string name, bool ipv6) const {
  if (name.ends_with(kLive)) name.resize(name.size() - kLive.size());
  auto it = ipv6 ? live_.find(name + "6") : live_.end();
  if (it == live_.end()) it = live_.find(name);
  return it == live_.end() ? -1 : it->second.get();
}

absl::Status KernelTracer::PlaceMaps(bpf_object* object, bool ipv6,
                                     std::vector<bpf_map*>* own) const {
  // Names change when a map is shared: all of them first.
  std::map<std::string, bpf_map*> maps;
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, object) maps[bpf_map__name(map)] = map;
  const auto has_live = [&](std::string name) {
    if (ipv6 && name.ends_with('6')) name.pop_back();
    return maps.contains(name + std::string(kLive));
  };
  for (const auto& [name, place] : maps) {
    if (name.starts_with(MESH_TURNOUT_MAP_NAME) || name.starts_with(MESH_FLOW_WAS_MAP_NAME)) {
      bpf_map__set_autocreate(place, false);
    } else if (has_live(name)) {
      // Nothing is to give way to anything while a packet is on its way.
      bpf_map__set_type(place, BPF_MAP_TYPE_HASH);
      bpf_map__set_map_flags(place, BPF_F_NO_PREALLOC);
      bpf_map__set_max_entries(place, kOwnRows);
      own->push_back(place);
    } else if (name.find('.') != std::string::npos || name == "mesh_scratch" ||
               name == MESH_METRICS_MAP_NAME) {
      continue;  // its own
    } else {
      const int live = Live(name, ipv6);
      if (live < 0) return absl::InternalError(fmt::format("trace: no live map for {}", name));
      if (bpf_map__reuse_fd(place, live) != 0) {
        return BpfErrnoStatus(errno, fmt::format("trace: share map {}", name));
      }
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<KernelTracer::Loaded*> KernelTracer::Load(TracePacket::Hook hook, bool ipv6) {
  if (const auto it = loaded_.find({hook, ipv6}); it != loaded_.end()) return &it->second;
  LogLibbpf();
  const std::string_view bytes = ObjectBytes(hook, ipv6);
  bpf_object_open_opts options{};
  options.sz = sizeof(options);
  options.object_name = "mesh_trace";
  Loaded out;
  out.object.reset(bpf_object__open_mem(bytes.data(), bytes.size(), &options));
  if (out.object == nullptr) return BpfErrnoStatus(errno, "trace: open BPF object");
  bpf_object* object = out.object.get();
  RETURN_IF_ERROR(Configure(object, "mesh_config", config_));
  if (ipv6) RETURN_IF_ERROR(Configure(object, "mesh_config6", *config6_));
  std::vector<bpf_map*> own;
  RETURN_IF_ERROR(PlaceMaps(object, ipv6, &own));
  if (const int result = bpf_object__load(object); result != 0) {
    return BpfErrnoStatus(-result, "trace: the kernel refused the program");
  }
  for (bpf_map* map : own) out.rows.push_back(bpf_map__fd(map));
  bpf_map* told = bpf_object__find_map_by_name(object, ".bss");
  bpf_program* program = bpf_object__next_program(object, nullptr);
  if (told == nullptr || program == nullptr ||
      bpf_map__value_size(told) != sizeof(mesh_trace_value)) {
    return absl::InternalError("trace: the program tells something else than expected");
  }
  out.told = bpf_map__fd(told);
  out.program = bpf_program__fd(program);
  return &(loaded_[{hook, ipv6}] = std::move(out));
}

absl::Status KernelTracer::Prepare() {
  for (const bool ipv6 : {false, true}) {
    if (ipv6 && !config6_.has_value()) continue;
    for (const TracePacket::Hook hook :
         {TracePacket::Hook::kFromPod, TracePacket::Hook::kOverlay}) {
      absl::MutexLock lock(&mutex_);  // anew for each: who traces meanwhile waits for one
      RETURN_IF_ERROR(Load(hook, ipv6).status());
    }
  }
  return absl::OkStatus();
}

// Deletes all rows of a hash.
absl::Status Empty(int map) {
  std::array<char, 64> key;  // of the longest
  while (bpf_map_get_next_key(map, nullptr, key.data()) == 0) {
    if (bpf_map_delete_elem(map, key.data()) != 0) {
      return BpfErrnoStatus(errno, "trace: empty a map");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<TraceOutcome> KernelTracer::Trace(const TracePacket& packet) {
  constexpr size_t kEtherType = 12, kEthernet = 14;
  if (packet.frame.size() < kEthernet) {
    return absl::InvalidArgumentError(fmt::format(
        "trace: a frame of {} bytes, an Ethernet header has {}", packet.frame.size(), kEthernet));
  }
  const bool ipv6 = packet.frame[kEtherType] == '\x86' && packet.frame[kEtherType + 1] == '\xdd';
  if (ipv6 && !config6_.has_value()) {
    return absl::InvalidArgumentError("trace: this node has no ranges of IPv6");
  }
  absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(Loaded * loaded, Load(packet.hook, ipv6));

  mesh_trace_value told{};
  told.vni = packet.vni;
  if (packet.hook == TracePacket::Hook::kOverlay) told.peer = EncodeIp(packet.peer);
  const uint32_t zero = 0;
  if (bpf_map_update_elem(loaded->told, &zero, &told, BPF_ANY) != 0) {
    return BpfErrnoStatus(errno, "trace: tell the program");
  }
  ProgRunRequest request;
  request.packet = packet.frame;
  switch (packet.hook) {
    case TracePacket::Hook::kFromPod:
      request.ifindex = packet.ifindex;
      break;
    case TracePacket::Hook::kNode:
      request.ifindex = static_cast<int>(config_.net_ifindex);
      break;
    case TracePacket::Hook::kOverlay:
      request.ifindex = static_cast<int>(config_.vxlan_ifindex);
      break;
    case TracePacket::Hook::kUplink:
      request.ifindex = static_cast<int>(config_.uplink_ifindex);
      break;
  }
  if (request.ifindex == 0) return absl::InvalidArgumentError("trace: this node has no uplink");
  absl::StatusOr<ProgRunResult> ran = ProgRun(loaded->program, request);
  for (const int map : loaded->rows) RETURN_IF_ERROR(Empty(map));
  if (!ran.ok()) return Annotate(ran.status(), "trace");
  if (bpf_map_lookup_elem(loaded->told, &zero, &told) != 0) {
    return BpfErrnoStatus(errno, "trace: read what the program tells");
  }

  TraceOutcome out;
  out.verdict = ran->verdict;
  out.frame = std::move(ran->packet);
  out.way = ipv6 ? DecodeWay<V6>(told) : DecodeWay<V4>(told);
  for (uint32_t i = 0; i < told.count && i < MESH_TRACE_MAX_NOTES; ++i) {
    const mesh_trace_note& note = told.notes[i];
    out.notes.push_back({note.step, note.a, note.b, note.c});
    if (note.step == MESH_TRACE_ENCAPSULATED && out.frame.size() > kOuterBytes) {
      out.frame.erase(0, kOuterBytes);
    }
  }
  out.backends = ipv6 ? Backends<V6>(out.notes) : Backends<V4>(out.notes);
  return out;
}

}  // namespace

absl::StatusOr<std::shared_ptr<Tracer>> NewTracer(const Programs& programs) {
  ASSIGN_OR_RETURN(auto live, programs.CopyMaps());
  return std::make_shared<KernelTracer>(std::move(live), programs.config(), programs.config6());
}

}  // namespace mesh::dataplane
