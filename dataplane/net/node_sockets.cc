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
#include <utility>
#include <vector>

#include "common/status.h"
#include "common/unique_fd.h"
#include "dataplane/bpf/errors.h"
#include "dataplane/bpf/programs.h"
#include "fmt/format.h"
#include "sock.skel.h"

namespace mesh::dataplane {
namespace {

struct Deleter {
  void operator()(sock_bpf* skeleton) const { sock_bpf__destroy(skeleton); }
};

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

}  // namespace

absl::Status AttachNodeSockets(const NodeSockets& options) {
  LogLibbpf();
  ASSIGN_OR_RETURN(const UniqueFd root, OpenControlGroups());
  ASSIGN_OR_RETURN(const uint64_t cookie, NetnsCookie());
  const std::unique_ptr<sock_bpf, Deleter> skeleton(sock_bpf__open());
  if (skeleton == nullptr) return BpfErrnoStatus(errno, "open BPF object sock");
  std::memcpy(const_cast<mesh_config*>(
                  reinterpret_cast<const volatile mesh_config*>(&skeleton->rodata->mesh_config)),
              &options.config, sizeof(options.config));
  skeleton->rodata->mesh_netns_cookie = cookie;
  if (mkdir(options.pin_dir.c_str(), 0700) != 0 && errno != EEXIST) {
    return ErrnoStatus(errno, fmt::format("make folder {}", options.pin_dir));
  }
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, skeleton->obj) {
    const std::string name = bpf_map__name(map);
    if (name == "mesh_dialled") {
      RETURN_IF_ERROR(ReuseDialled(map, options.pin_dir + "/" + name));
    } else if (name == "mesh_service") {
      if (bpf_map__reuse_fd(map, options.service_map) != 0) {
        return BpfErrnoStatus(errno, "share map mesh_service");
      }
    } else if (name.find('.') == std::string::npos) {
      bpf_map__set_autocreate(map, false);  // of other programs
    }
  }
  if (const int result = sock_bpf__load(skeleton.get()); result != 0) {
    return Cannot(-result, "load BPF object sock");
  }
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, skeleton->obj) {
    const absl::Status placed = Place(
        program, root.get(), fmt::format("{}/{}", options.pin_dir, bpf_program__name(program)));
    if (placed.ok()) continue;
    // All or none: an address that is rewritten and not named back would be seen.
    DetachNodeSockets(options.pin_dir).IgnoreError();  // the first error is the one to tell
    return placed;
  }
  return absl::OkStatus();
}

absl::Status DetachNodeSockets(const std::string& pin_dir) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(pin_dir, error)) {
    const UniqueFd pin(bpf_obj_get(entry.path().c_str()));
    // At once: after the last pin is gone the kernel takes its time. What is no link (the map) or
    // has no control group any more does not mind.
    if (pin) bpf_link_detach(pin.get());
  }
  std::filesystem::remove_all(pin_dir, error);
  if (error) return ErrnoStatus(error.value(), fmt::format("remove {}", pin_dir));
  return absl::OkStatus();
}

}  // namespace mesh::dataplane
