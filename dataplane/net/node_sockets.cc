// SPDX-License-Identifier: Apache-2.0
#include "dataplane/net/node_sockets.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "common/status.h"
#include "common/unique_fd.h"
#include "dataplane/bpf/errors.h"
#include "dataplane/bpf/programs.h"
#include "dataplane/net/node_links.h"
#include "fmt/format.h"
#include "mesh/shared/service_map.h"
#include "sock.skel.h"
#include "sock6.skel.h"

namespace mesh::dataplane {
namespace {

struct Deleter {
  void operator()(sock_bpf* skeleton) const { sock_bpf__destroy(skeleton); }
  void operator()(sock6_bpf* skeleton) const { sock6_bpf__destroy(skeleton); }
};

template <typename T>
void WriteReadOnly(const volatile T& to, const T& from) {
  std::memcpy(const_cast<T*>(&to), &from, sizeof(from));
}

void WriteHostName(const volatile char (&to)[16]) {
  static_assert(sizeof(kHostName) <= sizeof(to));
  std::memcpy(const_cast<char*>(&to[0]), kHostName, sizeof(kHostName));
}

absl::Status Cannot(int error, const std::string& what) {
  return absl::FailedPreconditionError(fmt::format("{}: {}", what, std::strerror(error)));
}

// The root of version 2 of the control groups, as far up as the caller may see. Mounted for this
// call only, and nowhere: hybrid machines have it at various places, nodes of a local cluster at
// none.
absl::StatusOr<UniqueFd> OpenControlGroups() {
  const UniqueFd context(static_cast<int>(syscall(SYS_fsopen, "cgroup2", FSOPEN_CLOEXEC)));
  if (!context) return Cannot(errno, "control groups of version 2");
  if (syscall(SYS_fsconfig, context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) {
    return Cannot(errno, "control groups of version 2");
  }
  UniqueFd root(static_cast<int>(syscall(SYS_fsmount, context.get(), FSMOUNT_CLOEXEC, 0)));
  if (!root) return Cannot(errno, "mount control groups of version 2");
  return root;
}

absl::StatusOr<uint64_t> NetnsCookie() {
  const UniqueFd any(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  uint64_t cookie = 0;
  socklen_t size = sizeof(cookie);
  if (!any || getsockopt(any.get(), SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &size) != 0) {
    return Cannot(errno, "cookie of the network namespace");
  }
  return cookie;
}

// Sockets keep what they have dialled: the map of a former agent goes on, unless its rows are
// others.
absl::Status ReuseDialled(bpf_map* map, const std::string& path) {
  const UniqueFd kept(bpf_obj_get(path.c_str()));
  bpf_map_info info{};
  uint32_t length = sizeof(info);
  if (kept && bpf_obj_get_info_by_fd(kept.get(), &info, &length) == 0) {
    if (info.type == bpf_map__type(map) && info.value_size == bpf_map__value_size(map)) {
      if (bpf_map__reuse_fd(map, kept.get()) == 0) return absl::OkStatus();
      return BpfErrnoStatus(errno, "take over what sockets have dialled");
    }
    unlink(path.c_str());
  }
  bpf_map__set_pin_path(map, path.c_str());
  return absl::OkStatus();
}

absl::Status Place(const bpf_program* program, int root, const std::string& path) {
  const UniqueFd present(bpf_obj_get(path.c_str()));
  if (present && bpf_link_update(present.get(), bpf_program__fd(program), nullptr) == 0) {
    return absl::OkStatus();
  }
  // None, or one whose control group is gone.
  unlink(path.c_str());
  bpf_link* const link = bpf_program__attach_cgroup(program, root);
  if (link == nullptr) {
    return Cannot(errno, fmt::format("attach {}", bpf_program__name(program)));
  }
  const int pinned = bpf_link__pin(link, path.c_str());
  // The pin holds it.
  bpf_link__destroy(link);
  return pinned == 0 ? absl::OkStatus() : BpfErrnoStatus(-pinned, fmt::format("pin {}", path));
}

// Of one family: its programs with the Services of `service_map`. Adds the names of their pins.
absl::Status PlaceAll(bpf_object* object, int service_map, int root, const std::string& pin_dir,
                      std::set<std::string>* pins) {
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, object) {
    const std::string name = bpf_map__name(map);
    if (name.starts_with("mesh_dialled")) {
      RETURN_IF_ERROR(ReuseDialled(map, pin_dir + "/" + name));
      pins->insert(name);
    } else if (name == MESH_SERVICE_MAP_NAME || name == MESH_SERVICE6_MAP_NAME) {
      if (bpf_map__reuse_fd(map, service_map) != 0) {
        return BpfErrnoStatus(errno, fmt::format("share map {}", name));
      }
    } else if (name.find('.') == std::string::npos) {
      bpf_map__set_autocreate(map, false);  // of other programs
    }
  }
  if (const int result = bpf_object__load(object); result != 0) {
    return Cannot(-result, fmt::format("load BPF object {}", bpf_object__name(object)));
  }
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, object) {
    const std::string name = bpf_program__name(program);
    RETURN_IF_ERROR(Place(program, root, pin_dir + "/" + name));
    pins->insert(name);
  }
  return absl::OkStatus();
}

absl::Status PlaceBoth(const NodeSockets& options, int root, uint64_t cookie,
                       std::set<std::string>* pins) {
  const std::unique_ptr<sock_bpf, Deleter> skeleton(sock_bpf__open());
  if (skeleton == nullptr) return BpfErrnoStatus(errno, "open BPF object sock");
  WriteReadOnly(skeleton->rodata->mesh_config, options.config);
  skeleton->rodata->mesh_netns_cookie = cookie;
  WriteHostName(skeleton->rodata->mesh_host_name);
  RETURN_IF_ERROR(PlaceAll(skeleton->obj, options.service_map, root, options.pin_dir, pins));
  if (!options.config6.has_value()) return absl::OkStatus();
  const std::unique_ptr<sock6_bpf, Deleter> skeleton6(sock6_bpf__open());
  if (skeleton6 == nullptr) return BpfErrnoStatus(errno, "open BPF object sock6");
  WriteReadOnly(skeleton6->rodata->mesh_config, options.config);
  WriteReadOnly(skeleton6->rodata->mesh_config6, *options.config6);
  skeleton6->rodata->mesh_netns_cookie = cookie;
  WriteHostName(skeleton6->rodata->mesh_host_name);
  return PlaceAll(skeleton6->obj, options.service_map6, root, options.pin_dir, pins);
}

// At once: after the last pin is gone the kernel takes its time. What is no link (a map) or has no
// control group any more does not mind.
void Detach(const std::filesystem::path& path) {
  const UniqueFd pin(bpf_obj_get(path.c_str()));
  if (pin) bpf_link_detach(pin.get());
  unlink(path.c_str());
}

}  // namespace

absl::Status AttachNodeSockets(const NodeSockets& options) {
  LogLibbpf();
  ASSIGN_OR_RETURN(const UniqueFd root, OpenControlGroups());
  ASSIGN_OR_RETURN(const uint64_t cookie, NetnsCookie());
  if (mkdir(options.pin_dir.c_str(), 0700) != 0 && errno != EEXIST) {
    return ErrnoStatus(errno, fmt::format("make folder {}", options.pin_dir));
  }
  std::set<std::string> pins;
  if (absl::Status placed = PlaceBoth(options, root.get(), cookie, &pins); !placed.ok()) {
    // All or none: an address that is rewritten and not named back would be seen.
    DetachNodeSockets(options.pin_dir).IgnoreError();  // the first error is the one to tell
    return placed;
  }
  // Of an agent that had more of them: this node has no IPv6 any more.
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(options.pin_dir, error)) {
    if (!pins.contains(entry.path().filename())) Detach(entry.path());
  }
  return absl::OkStatus();
}

absl::Status DetachNodeSockets(const std::string& pin_dir) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(pin_dir, error)) {
    Detach(entry.path());
  }
  std::filesystem::remove_all(pin_dir, error);
  if (error) return ErrnoStatus(error.value(), fmt::format("remove {}", pin_dir));
  return absl::OkStatus();
}

}  // namespace mesh::dataplane
