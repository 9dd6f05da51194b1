// SPDX-License-Identifier: Apache-2.0
#include "dataplane/net/tc.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <cerrno>
#include <vector>

#include "common/status.h"
#include "common/unique_fd.h"
#include "dataplane/bpf/errors.h"
#include "dataplane/net/tcx.h"
#include "fmt/format.h"

namespace mesh::dataplane {
namespace {

bpf_tc_hook Hook(int ifindex) {
  bpf_tc_hook hook{};
  hook.sz = sizeof(hook);
  hook.ifindex = ifindex;
  hook.attach_point = BPF_TC_INGRESS;
  return hook;
}

bpf_tc_opts Place(uint32_t priority) {
  bpf_tc_opts options{};
  options.sz = sizeof(options);
  options.handle = 1;
  options.priority = priority;
  return options;
}

bool IsOurs(const std::string& name, uint32_t priority) {
  const bool ipv6 = name.find('6') != std::string::npos;
  return name.starts_with("mesh_") && ipv6 == (priority == kPriority6);
}

// Ours for the family of `priority`; 0: none.
uint32_t FindOurs(const std::vector<TcxProgram>& programs, uint32_t priority) {
  for (const TcxProgram& program : programs) {
    if (IsOurs(program.name, priority)) return program.id;
  }
  return 0;
}

// Kernel's id of the filter in our place of the clsact; 0: none.
uint32_t FilterProgramId(int ifindex, uint32_t priority) {
  bpf_tc_hook hook = Hook(ifindex);
  bpf_tc_opts options = Place(priority);
  return bpf_tc_query(&hook, &options) == 0 ? options.prog_id : 0;
}

absl::Status AttachFilter(int ifindex, int program_fd, uint32_t priority) {
  bpf_tc_hook hook = Hook(ifindex);
  if (const int result = bpf_tc_hook_create(&hook); result != 0 && result != -EEXIST) {
    return BpfErrnoStatus(-result, fmt::format("add clsact to interface {}", ifindex));
  }
  bpf_tc_opts options = Place(priority);
  options.prog_fd = program_fd;
  options.flags = BPF_TC_F_REPLACE;
  if (const int result = bpf_tc_attach(&hook, &options); result != 0) {
    return BpfErrnoStatus(-result, fmt::format("attach program to interface {}", ifindex));
  }
  return absl::OkStatus();
}

// Only ours.
absl::Status DetachFilter(int ifindex, uint32_t priority) {
  const uint32_t id = FilterProgramId(ifindex, priority);
  if (id == 0) return absl::OkStatus();
  const absl::StatusOr<std::string> name = ProgramName(id);
  if (!name.ok() || !name->starts_with("mesh_")) return absl::OkStatus();
  bpf_tc_hook hook = Hook(ifindex);
  bpf_tc_opts options = Place(priority);
  const int result = bpf_tc_detach(&hook, &options);
  if (result == 0 || result == -ENOENT || result == -EINVAL) return absl::OkStatus();
  return BpfErrnoStatus(-result, fmt::format("take the program off interface {}", ifindex));
}

}  // namespace

absl::Status AttachIngress(int ifindex, int program_fd, uint32_t priority) {
  const absl::StatusOr<std::vector<TcxProgram>> present = TcxPrograms(ifindex);
  if (absl::IsUnimplemented(present.status())) return AttachFilter(ifindex, program_fd, priority);
  if (!present.ok()) return present.status();
  const uint32_t four = FindOurs(*present, kPriority4), ours = FindOurs(*present, priority);
  // A build before this one has put IPv4's into the clsact, behind where this one would go: it
  // would meet the packets of IPv4.
  if (priority == kPriority6 && four == 0 && FilterProgramId(ifindex, kPriority4) != 0)
    return AttachFilter(ifindex, program_fd, priority);
  ASSIGN_OR_RETURN(const uint32_t id, ProgramId(program_fd));
  if (id != ours) {
    RETURN_IF_ERROR(TcxAttach(ifindex, program_fd,
                              {.behind = priority == kPriority6 ? four : 0, .instead = ours}));
  }
  // That build's is not asked any more.
  return DetachFilter(ifindex, priority);
}

absl::Status AttachBothFamilies(int ifindex, int program4, std::optional<int> program6) {
  if (program6.has_value()) RETURN_IF_ERROR(AttachIngress(ifindex, *program6, kPriority6));
  RETURN_IF_ERROR(AttachIngress(ifindex, program4, kPriority4));
  if (!program6.has_value()) return DetachIngress(ifindex, kPriority6);
  // Where a build before had both in the clsact it could not go before the other.
  return AttachIngress(ifindex, *program6, kPriority6);
}

absl::Status AttachToNewLink(int ifindex, int program4, std::optional<int> program6) {
  // In this order the second one changes nothing for packets, and the kernel does not wait for any.
  RETURN_IF_ERROR(AttachFilter(ifindex, program4, kPriority4));
  return program6.has_value() ? AttachFilter(ifindex, *program6, kPriority6) : absl::OkStatus();
}

absl::Status MoveToTcx(int ifindex, int program4, std::optional<int> program6) {
  if (absl::Status status = TcxPrograms(ifindex).status(); !status.ok()) return status;
  // A program in the list is asked before the filters, and its verdict stands. In between, what
  // IPv4 leaves to the others goes through its filter, which leaves it too, to that of IPv6.
  RETURN_IF_ERROR(AttachIngress(ifindex, program4, kPriority4));
  return program6.has_value() ? AttachIngress(ifindex, *program6, kPriority6) : absl::OkStatus();
}

absl::StatusOr<uint32_t> IngressProgramId(int ifindex, uint32_t priority) {
  const auto in_list = [&]() -> uint32_t {
    const absl::StatusOr<std::vector<TcxProgram>> present = TcxPrograms(ifindex);
    return present.ok() ? FindOurs(*present, priority) : 0;
  };
  uint32_t id = in_list();
  if (id == 0) id = FilterProgramId(ifindex, priority);
  // It may have moved from the second to the first in between, never back.
  if (id == 0) id = in_list();
  if (id == 0)
    return absl::NotFoundError(fmt::format("interface {} has no program at its ingress", ifindex));
  return id;
}

absl::StatusOr<std::string> IngressProgramName(int ifindex, uint32_t priority) {
  ASSIGN_OR_RETURN(const uint32_t id, IngressProgramId(ifindex, priority));
  return ProgramName(id);
}

absl::StatusOr<std::string> ProgramName(uint32_t id) {
  const UniqueFd program(bpf_prog_get_fd_by_id(id));
  bpf_prog_info info{};
  uint32_t length = sizeof(info);
  if (!program || bpf_obj_get_info_by_fd(program.get(), &info, &length) != 0) {
    // It went away in between.
    if (errno == ENOENT) return absl::NotFoundError(fmt::format("no BPF program {}", id));
    return BpfErrnoStatus(errno, fmt::format("read information of BPF program {}", id));
  }
  return std::string(info.name);
}

absl::Status DetachIngress(int ifindex, uint32_t priority) {
  const absl::StatusOr<std::vector<TcxProgram>> present = TcxPrograms(ifindex);
  if (present.ok()) {
    const uint32_t ours = FindOurs(*present, priority);
    if (ours != 0) RETURN_IF_ERROR(TcxDetach(ifindex, ours));
  } else if (!absl::IsUnimplemented(present.status()) && !absl::IsNotFound(present.status())) {
    return present.status();
  }
  return DetachFilter(ifindex, priority);
}

absl::Status RemoveClsact(int ifindex) {
  bpf_tc_hook hook = Hook(ifindex);
  hook.attach_point = static_cast<bpf_tc_attach_point>(BPF_TC_INGRESS | BPF_TC_EGRESS);
  const int result = bpf_tc_hook_destroy(&hook);
  if (result == 0 || result == -ENOENT || result == -EINVAL) return absl::OkStatus();
  return BpfErrnoStatus(-result, fmt::format("remove the clsact of interface {}", ifindex));
}

absl::StatusOr<uint32_t> ProgramId(int program_fd) {
  bpf_prog_info info{};
  uint32_t length = sizeof(info);
  if (bpf_obj_get_info_by_fd(program_fd, &info, &length) != 0) {
    return BpfErrnoStatus(errno, "read program information");
  }
  return info.id;
}

}  // namespace mesh::dataplane
