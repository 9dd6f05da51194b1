// SPDX-License-Identifier: Apache-2.0
#include "dataplane/bpf/programs.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/check.h"
#include "common/log.h"
#include "common/status.h"
#include "dataplane/bpf/errors.h"
#include "fmt/format.h"
#include "from_pod.skel.h"
#include "from_pod6.skel.h"
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

}  // namespace

void LogLibbpf() { libbpf_set_print(Print); }

struct Programs::Skeletons {
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

  absl::Status Open(const Options& options);
  absl::Status OpenIpv6();
  // Fills the read-only data.
  void Configure(const mesh_config& config, const Options& options);
  std::vector<bpf_object*> Objects() const {
    std::vector<bpf_object*> out = {from_pod->obj, node->obj, overlay->obj, uplink->obj,
                                    uplink_xdp->obj};
    if (from_pod6 != nullptr) {
      out.insert(out.end(), {from_pod6->obj, node6->obj, overlay6->obj, uplink6->obj});
    }
    return out;
  }
};

absl::Status Programs::Skeletons::OpenIpv6() {
  from_pod6.reset(from_pod6_bpf__open());
  RETURN_IF_ERROR(CheckOpen(from_pod6.get(), "from_pod6"));
  node6.reset(node6_bpf__open());
  RETURN_IF_ERROR(CheckOpen(node6.get(), "node6"));
  overlay6.reset(overlay6_bpf__open());
  RETURN_IF_ERROR(CheckOpen(overlay6.get(), "overlay6"));
  uplink6.reset(uplink6_bpf__open());
  return CheckOpen(uplink6.get(), "uplink6");
}

absl::Status Programs::Skeletons::Open(const Options& options) {
  LogLibbpf();
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
  return options.ipv6.has_value() ? OpenIpv6() : absl::OkStatus();
}

void Programs::Skeletons::Configure(const mesh_config& config, const Options& options) {
  const auto fill = [&](auto* rodata) {
    std::memcpy(&rodata->mesh_config, &config, sizeof(config));
    rodata->mesh_taking_over = options.before.has_value() ? 1 : 0;
  };
  const auto fill6 = [&](auto* rodata) {
    fill(rodata);
    std::memcpy(&rodata->mesh_config6, &*options.ipv6, sizeof(*options.ipv6));
    rodata->mesh_taking_over = options.before6.has_value() ? 1 : 0;
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

Programs::Programs(std::unique_ptr<Skeletons> skeletons) : skeletons_(std::move(skeletons)) {}
Programs::~Programs() = default;

int Programs::from_pod() const {
  return bpf_program__fd(skeletons_->from_pod->progs.mesh_from_pod);
}
int Programs::node() const { return bpf_program__fd(skeletons_->node->progs.mesh_node); }
int Programs::overlay() const { return bpf_program__fd(skeletons_->overlay->progs.mesh_overlay); }
int Programs::uplink() const { return bpf_program__fd(skeletons_->uplink->progs.mesh_uplink); }
int Programs::uplink_xdp() const {
  return bpf_program__fd(skeletons_->uplink_xdp->progs.mesh_uplink_xdp);
}

bool Programs::has_ipv6() const { return skeletons_->from_pod6 != nullptr; }
int Programs::from_pod6() const {
  return bpf_program__fd(skeletons_->from_pod6->progs.mesh_from_pod6);
}
int Programs::node6() const { return bpf_program__fd(skeletons_->node6->progs.mesh_node6); }
int Programs::overlay6() const {
  return bpf_program__fd(skeletons_->overlay6->progs.mesh_overlay6);
}
int Programs::uplink6() const { return bpf_program__fd(skeletons_->uplink6->progs.mesh_uplink6); }

int Programs::map(const std::string& name) const {
  const auto it = maps_.find(name);
  MESH_CHECK(it != maps_.end()) << "no map " << name;
  return it->second;
}

std::vector<Programs::Size> Programs::Sizes() const {
  std::vector<Size> out;
  for (bpf_object* object : skeletons_->Objects()) {
    bpf_program* program = nullptr;
    bpf_object__for_each_program(program, object) {
      bpf_prog_info info{};
      uint32_t length = sizeof(info);
      bpf_obj_get_info_by_fd(bpf_program__fd(program), &info, &length);
      out.push_back({bpf_program__name(program),
                     static_cast<uint32_t>(bpf_program__insn_cnt(program)), info.verified_insns});
    }
  }
  return out;
}

absl::StatusOr<std::vector<Programs::MapShape>> Programs::Shapes(const Options& options) {
  Skeletons skeletons;
  RETURN_IF_ERROR(skeletons.Open(options));
  std::map<std::string, MapShape> shapes;
  for (bpf_object* object : skeletons.Objects()) {
    bpf_map* map = nullptr;
    bpf_object__for_each_map(map, object) {
      const char* name = bpf_map__name(map);
      if (!Shared(name) || (OfIpv6(name) && !options.ipv6.has_value())) continue;
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
  auto programs = std::unique_ptr<Programs>(new Programs(std::make_unique<Skeletons>()));
  Skeletons& skeletons = *programs->skeletons_;
  RETURN_IF_ERROR(skeletons.Open(options));
  skeletons.Configure(config, options);

  if (!options.pin_dir.empty() && mkdir(options.pin_dir.c_str(), 0700) != 0 && errno != EEXIST) {
    return ErrnoStatus(errno, fmt::format("make folder {}", options.pin_dir));
  }
  for (bpf_object* object : skeletons.Objects()) {
    bpf_map* map = nullptr;
    // A map that is reused gets the name of the other one: mesh_flow_was becomes mesh_flow.
    std::vector<std::pair<std::string, bpf_map*>> shared;
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
      shared.emplace_back(name, map);
      Resize(map, options);
      if (const auto it = programs->maps_.find(name); it != programs->maps_.end()) {
        // Shared with the object loaded before.
        if (bpf_map__reuse_fd(map, it->second) != 0) {
          return BpfErrnoStatus(errno, fmt::format("share map {}", name));
        }
      } else if (!options.pin_dir.empty()) {
        bpf_map__set_pin_path(map, fmt::format("{}/{}", options.pin_dir, name).c_str());
      }
    }
    last_words.clear();
    if (const int result = bpf_object__load(object); result != 0) {
      if (result == -EPERM) return BpfErrnoStatus(EPERM, "load BPF programs");
      return absl::FailedPreconditionError(
          fmt::format("load BPF object {}: the kernel refused it: {}: {}", bpf_object__name(object),
                      std::strerror(-result), last_words));
    }
    for (const auto& [name, of_object] : shared) {
      programs->maps_.emplace(name, bpf_map__fd(of_object));
    }
  }
  return programs;
}

}  // namespace mesh::dataplane
