// SPDX-License-Identifier: Apache-2.0
#include "dataplane/bpf/programs.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <malloc.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "common/check.h"
#include "common/log.h"
#include "common/status.h"
#include "dataplane/bpf/errors.h"
#include "dataplane/bpf/migrate.h"
#include "fmt/format.h"
#include "from_pod.skel.h"
#include "from_pod6.skel.h"
#include "maps.skel.h"
#include "maps6.skel.h"
#include "mesh/shared/flow_map.h"
#include "mesh/shared/moving.h"
#include "node.skel.h"
#include "node6.skel.h"
#include "overlay.skel.h"
#include "overlay6.skel.h"
#include "uplink.skel.h"
#include "uplink6.skel.h"
#include "uplink_xdp.skel.h"

namespace mesh::dataplane {
namespace {

// The last lines libbpf said: the verifier's reason when a program is refused.
thread_local std::string last_words;

int Print(libbpf_print_level level, const char* format, va_list args) {
  if (level == LIBBPF_DEBUG) return 0;
  char line[2048];
  const int length = std::vsnprintf(line, sizeof(line), format, args);
  std::string_view text(line);
  while (!text.empty() && text.back() == '\n') text.remove_suffix(1);
  spdlog::debug("{}", text);
  last_words.append(text).append("; ");
  if (last_words.size() > 4096) last_words.erase(0, last_words.size() - 4096);
  return length;
}

struct Deleter {
  void operator()(maps_bpf* skeleton) const { maps_bpf__destroy(skeleton); }
  void operator()(maps6_bpf* skeleton) const { maps6_bpf__destroy(skeleton); }
  void operator()(from_pod_bpf* skeleton) const { from_pod_bpf__destroy(skeleton); }
  void operator()(node_bpf* skeleton) const { node_bpf__destroy(skeleton); }
  void operator()(overlay_bpf* skeleton) const { overlay_bpf__destroy(skeleton); }
  void operator()(uplink_bpf* skeleton) const { uplink_bpf__destroy(skeleton); }
  void operator()(uplink_xdp_bpf* skeleton) const { uplink_xdp_bpf__destroy(skeleton); }
  void operator()(from_pod6_bpf* skeleton) const { from_pod6_bpf__destroy(skeleton); }
  void operator()(node6_bpf* skeleton) const { node6_bpf__destroy(skeleton); }
  void operator()(overlay6_bpf* skeleton) const { overlay6_bpf__destroy(skeleton); }
  void operator()(uplink6_bpf* skeleton) const { uplink6_bpf__destroy(skeleton); }
};

bool IsNamed(const char* name, std::string_view map) { return name == map; }

// Maps of the way from other programs to these, of IPv4 and of IPv6.
bool OfTakeOver4(const char* name) {
  return IsNamed(name, MESH_TURNOUT_MAP_NAME) || IsNamed(name, MESH_FLOW_WAS_MAP_NAME);
}
bool OfTakeOver6(const char* name) {
  return IsNamed(name, MESH_TURNOUT_MAP_NAME "6") || IsNamed(name, MESH_FLOW_WAS_MAP_NAME "6");
}

// Internal maps (.rodata and the like) hold a dot; scratch memory is each program's own.
bool Shared(const char* name) {
  return std::strchr(name, '.') == nullptr && std::strcmp(name, "mesh_scratch") != 0 &&
         !OfTakeOver4(name) && !OfTakeOver6(name);
}

// With addresses of IPv6 in its rows.
bool OfIpv6(const char* name) { return std::string_view(name).ends_with('6'); }

template <typename T>
absl::Status CheckOpen(T* skeleton, const char* name) {
  if (skeleton != nullptr) return absl::OkStatus();
  return BpfErrnoStatus(errno, fmt::format("open BPF object {}", name));
}

// Whether programs may call the kernel's function `name`.
bool KernelHasFunction(const char* name) {
  btf* kernel = btf__load_vmlinux_btf();
  if (kernel == nullptr) return false;
  const bool found = btf__find_by_name_kind(kernel, name, BTF_KIND_FUNC) > 0;
  btf__free(kernel);
  return found;
}

void Resize(bpf_map* map, const Programs::Options& options) {
  const char* name = bpf_map__name(map);
  if (options.flow_max_entries == 0) return;
  if (IsNamed(name, MESH_FLOW_MAP_NAME) || IsNamed(name, MESH_FLOW6_MAP_NAME)) {
    bpf_map__set_max_entries(map, options.flow_max_entries);
  }
}

absl::Status PrepareTakeOver(bpf_map* map, const std::optional<Programs::Before>& before) {
  if (!before.has_value()) {
    bpf_map__set_autocreate(map, false);
    return absl::OkStatus();
  }
  const bool turnout = std::string_view(bpf_map__name(map)).starts_with(MESH_TURNOUT_MAP_NAME);
  if (bpf_map__reuse_fd(map, turnout ? before->turnout : before->flow_was) == 0) {
    return absl::OkStatus();
  }
  return BpfErrnoStatus(errno, fmt::format("share map {}", bpf_map__name(map)));
}

absl::StatusOr<UniqueFd> Another(int fd) {
  UniqueFd out(fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (!out) return ErrnoStatus(errno, "duplicate a file descriptor");
  return out;
}

absl::Status LoadObject(bpf_object* object) {
  last_words.clear();
  const int result = bpf_object__load(object);
  if (result == 0) return absl::OkStatus();
  if (result == -EPERM) return BpfErrnoStatus(EPERM, "load BPF programs");
  return absl::FailedPreconditionError(
      fmt::format("load BPF object {}: the kernel refused it: {}: {}", bpf_object__name(object),
                  std::strerror(-result), last_words));
}

// Most of it is the verifier, which needs one CPU for each program: all of them at once. The first
// failure, in the order of the objects.
absl::Status LoadAll(const std::vector<bpf_object*>& objects) {
  std::vector<absl::Status> results(objects.size());
  std::atomic<size_t> next = 0;
  const auto work = [&] {
    for (size_t i = next++; i < objects.size(); i = next++) results[i] = LoadObject(objects[i]);
  };
  const size_t threads = std::min<size_t>(std::thread::hardware_concurrency(), objects.size());
  std::vector<std::jthread> others;
  for (size_t i = 1; i < threads; ++i) others.emplace_back(work);
  work();
  others.clear();
  for (absl::Status& result : results) RETURN_IF_ERROR(std::move(result));
  return absl::OkStatus();
}

}  // namespace

void LogLibbpf() { libbpf_set_print(Print); }

// Gone once the programs are loaded: they hold the objects' files and types.
struct Programs::Skeletons {
  // Without programs.
  std::unique_ptr<maps_bpf, Deleter> maps;
  std::unique_ptr<maps6_bpf, Deleter> maps6;  // null without IPv6

  std::unique_ptr<from_pod_bpf, Deleter> from_pod;
  std::unique_ptr<node_bpf, Deleter> node;
  std::unique_ptr<overlay_bpf, Deleter> overlay;
  std::unique_ptr<uplink_bpf, Deleter> uplink;
  std::unique_ptr<uplink_xdp_bpf, Deleter> uplink_xdp;

  // Null without IPv6.
  std::unique_ptr<from_pod6_bpf, Deleter> from_pod6;
  std::unique_ptr<node6_bpf, Deleter> node6;
  std::unique_ptr<overlay6_bpf, Deleter> overlay6;
  std::unique_ptr<uplink6_bpf, Deleter> uplink6;

  absl::Status OpenMaps(const Options& options);
  absl::Status OpenPrograms(const Options& options);
  absl::Status OpenProgramsOfIpv6();
  // Fills the read-only data.
  void Configure(const mesh_config& config, const Options& options, const Programs& programs);
  std::vector<bpf_object*> MapObjects() const {
    std::vector<bpf_object*> out = {maps->obj};
    if (maps6 != nullptr) out.push_back(maps6->obj);
    return out;
  }
  std::vector<bpf_object*> ProgramObjects() const {
    std::vector<bpf_object*> out = {from_pod->obj, node->obj, overlay->obj, uplink->obj,
                                    uplink_xdp->obj};
    if (from_pod6 != nullptr) {
      out.insert(out.begin(), {from_pod6->obj, node6->obj, overlay6->obj, uplink6->obj});
    }
    return out;
  }
};

absl::Status Programs::Skeletons::OpenMaps(const Options& options) {
  LogLibbpf();
  maps.reset(maps_bpf__open());
  RETURN_IF_ERROR(CheckOpen(maps.get(), "maps"));
  if (!options.ipv6.has_value()) return absl::OkStatus();
  maps6.reset(maps6_bpf__open());
  return CheckOpen(maps6.get(), "maps6");
}

absl::Status Programs::Skeletons::OpenProgramsOfIpv6() {
  from_pod6.reset(from_pod6_bpf__open());
  RETURN_IF_ERROR(CheckOpen(from_pod6.get(), "from_pod6"));
  node6.reset(node6_bpf__open());
  RETURN_IF_ERROR(CheckOpen(node6.get(), "node6"));
  overlay6.reset(overlay6_bpf__open());
  RETURN_IF_ERROR(CheckOpen(overlay6.get(), "overlay6"));
  uplink6.reset(uplink6_bpf__open());
  return CheckOpen(uplink6.get(), "uplink6");
}

absl::Status Programs::Skeletons::OpenPrograms(const Options& options) {
  from_pod.reset(from_pod_bpf__open());
  RETURN_IF_ERROR(CheckOpen(from_pod.get(), "from_pod"));
  node.reset(node_bpf__open());
  RETURN_IF_ERROR(CheckOpen(node.get(), "node"));
  overlay.reset(overlay_bpf__open());
  RETURN_IF_ERROR(CheckOpen(overlay.get(), "overlay"));
  uplink.reset(uplink_bpf__open());
  RETURN_IF_ERROR(CheckOpen(uplink.get(), "uplink"));
  uplink_xdp.reset(uplink_xdp_bpf__open());
  RETURN_IF_ERROR(CheckOpen(uplink_xdp.get(), "uplink_xdp"));
  return options.ipv6.has_value() ? OpenProgramsOfIpv6() : absl::OkStatus();
}

// How programs take over flows of `before` into their own table.
uint32_t TakingOver(const std::optional<Programs::Before>& before, int flow_fd) {
  if (!before.has_value()) return 0;
  const absl::StatusOr<RowLayout> was = RowLayout::Of(before->flow_was);
  const absl::StatusOr<RowLayout> now = RowLayout::Of(flow_fd);
  const bool alike = was.ok() && now.ok() && was->value_bytes == now->value_bytes &&
                     was->key == now->key && was->value == now->value;
  return alike ? MESH_TAKING_OVER_ALIKE : MESH_TAKING_OVER;
}

void Programs::Skeletons::Configure(const mesh_config& config, const Options& options,
                                    const Programs& programs) {
  const auto fill = [&](auto* rodata) {
    std::memcpy(&rodata->mesh_config, &config, sizeof(config));
    rodata->mesh_taking_over = TakingOver(options.before, programs.map(MESH_FLOW_MAP_NAME));
  };
  const auto fill6 = [&](auto* rodata) {
    fill(rodata);
    std::memcpy(&rodata->mesh_config6, &*options.ipv6, sizeof(*options.ipv6));
    rodata->mesh_taking_over = TakingOver(options.before6, programs.map(MESH_FLOW6_MAP_NAME));
  };
  fill(from_pod->rodata);
  fill(node->rodata);
  fill(overlay->rodata);
  fill(uplink->rodata);
  // It knows nothing of other programs: a flow that is not in its table is left to tc.
  std::memcpy(&uplink_xdp->rodata->mesh_config, &config, sizeof(config));
  if (!options.ipv6.has_value()) return;
  std::memcpy(&uplink_xdp->rodata->mesh_config6, &*options.ipv6, sizeof(*options.ipv6));
  fill6(from_pod6->rodata);
  fill6(node6->rodata);
  fill6(overlay6->rodata);
  fill6(uplink6->rodata);
}

Programs::Programs() = default;
Programs::~Programs() = default;

int Programs::program(const char* name) const {
  const auto it = programs_.find(name);
  MESH_CHECK(it != programs_.end()) << "no program " << name;
  return it->second.get();
}

int Programs::from_pod() const { return program("mesh_from_pod"); }
int Programs::node() const { return program("mesh_node"); }
int Programs::overlay() const { return program("mesh_overlay"); }
int Programs::uplink() const { return program("mesh_uplink"); }
int Programs::uplink_xdp() const { return program("mesh_uplink_xdp"); }

bool Programs::has_ipv6() const { return programs_.contains("mesh_from_pod6"); }
int Programs::from_pod6() const { return program("mesh_from_pod6"); }
int Programs::node6() const { return program("mesh_node6"); }
int Programs::overlay6() const { return program("mesh_overlay6"); }
int Programs::uplink6() const { return program("mesh_uplink6"); }

int Programs::map(const std::string& name) const {
  const auto it = maps_.find(name);
  MESH_CHECK(it != maps_.end()) << "no map " << name;
  return it->second.get();
}

absl::StatusOr<std::map<std::string, UniqueFd>> Programs::CopyMaps() const {
  std::map<std::string, UniqueFd> out;
  for (const auto& [name, fd] : maps_) {
    ASSIGN_OR_RETURN(out[name], Another(fd.get()));
  }
  return out;
}

absl::StatusOr<std::vector<Programs::MapShape>> Programs::Shapes(const Options& options) {
  Skeletons skeletons;
  RETURN_IF_ERROR(skeletons.OpenMaps(options));
  std::map<std::string, MapShape> shapes;
  for (bpf_object* object : skeletons.MapObjects()) {
    bpf_map* map = nullptr;
    bpf_object__for_each_map(map, object) {
      const char* name = bpf_map__name(map);
      if (!Shared(name)) continue;
      Resize(map, options);
      shapes[name] = {name,
                      bpf_map__type(map),
                      bpf_map__key_size(map),
                      bpf_map__value_size(map),
                      bpf_map__max_entries(map),
                      bpf_map__map_flags(map)};
    }
  }
  std::vector<MapShape> out;
  for (auto& [name, shape] : shapes) out.push_back(std::move(shape));
  return out;
}

absl::StatusOr<std::unique_ptr<Programs>> Programs::Load(const mesh_config& node, Options options) {
  mesh_config config = node;
  config.kernel_context =
      options.use_kernel_functions && KernelHasFunction("bpf_cast_to_kern_ctx") ? 1 : 0;
  config.ipv6 = options.ipv6.has_value() ? 1 : 0;
  auto programs = std::unique_ptr<Programs>(new Programs());
  programs->config_ = config;
  programs->config6_ = options.ipv6;
  Skeletons skeletons;
  RETURN_IF_ERROR(skeletons.OpenMaps(options));
  if (!options.pin_dir.empty() && mkdir(options.pin_dir.c_str(), 0700) != 0 && errno != EEXIST) {
    return ErrnoStatus(errno, fmt::format("make folder {}", options.pin_dir));
  }
  // Those of before belong to programs only. Taken, mesh_flow_was would be called mesh_flow, too.
  Options of_maps = options;
  of_maps.before.reset();
  of_maps.before6.reset();
  for (bpf_object* object : skeletons.MapObjects()) {
    RETURN_IF_ERROR(programs->ShareMaps(object, of_maps));
    RETURN_IF_ERROR(LoadObject(object));
    RETURN_IF_ERROR(programs->KeepMaps(object));
  }
  RETURN_IF_ERROR(skeletons.OpenPrograms(options));
  skeletons.Configure(config, options, *programs);
  for (bpf_object* object : skeletons.ProgramObjects()) {
    RETURN_IF_ERROR(programs->ShareMaps(object, options));
  }
  RETURN_IF_ERROR(LoadAll(skeletons.ProgramObjects()));
  for (bpf_object* object : skeletons.ProgramObjects()) {
    RETURN_IF_ERROR(programs->KeepPrograms(object));
  }
  skeletons = Skeletons();
  // Megabytes of the kernel's types and the objects', which nobody needs again.
  malloc_trim(0);
  return programs;
}

absl::Status Programs::KeepMaps(bpf_object* object) {
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, object) {
    const char* name = bpf_map__name(map);
    if (!Shared(name) || maps_.contains(name)) continue;
    ASSIGN_OR_RETURN(maps_[name], Another(bpf_map__fd(map)));
  }
  return absl::OkStatus();
}

absl::Status Programs::KeepPrograms(bpf_object* object) {
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, object) {
    const char* name = bpf_program__name(program);
    ASSIGN_OR_RETURN(programs_[name], Another(bpf_program__fd(program)));
    bpf_prog_info info{};
    uint32_t length = sizeof(info);
    if (bpf_obj_get_info_by_fd(bpf_program__fd(program), &info, &length) != 0) {
      return BpfErrnoStatus(errno, fmt::format("read information of BPF program {}", name));
    }
    sizes_.push_back(
        {name, static_cast<uint32_t>(bpf_program__insn_cnt(program)), info.verified_insns});
  }
  return absl::OkStatus();
}

// Before the object is loaded: maps that are there are taken, others get the place of their pin.
absl::Status Programs::ShareMaps(bpf_object* object, const Options& options) const {
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, object) {
    const char* name = bpf_map__name(map);
    if (OfTakeOver4(name) || OfTakeOver6(name)) {
      RETURN_IF_ERROR(PrepareTakeOver(map, OfTakeOver4(name) ? options.before : options.before6));
      continue;
    }
    if (OfIpv6(name) && !options.ipv6.has_value()) {
      // Of the program of both families, which then has no way that leads there.
      bpf_map__set_autocreate(map, false);
      continue;
    }
    if (!Shared(name)) continue;
    if (const auto it = maps_.find(name); it != maps_.end()) {
      if (bpf_map__reuse_fd(map, it->second.get()) != 0) {
        return BpfErrnoStatus(errno, fmt::format("share map {}", name));
      }
      continue;
    }
    Resize(map, options);
    if (!options.pin_dir.empty()) {
      bpf_map__set_pin_path(map, fmt::format("{}/{}", options.pin_dir, name).c_str());
    }
  }
  return absl::OkStatus();
}

}  // namespace mesh::dataplane
