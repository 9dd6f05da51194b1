// SPDX-License-Identifier: Apache-2.0
#include "dataplane/net/tcx.h"

#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "common/status.h"
#include "dataplane/bpf/errors.h"
#include "dataplane/net/tc.h"
#include "fmt/format.h"

namespace mesh::dataplane {
namespace {

// Of Linux 6.6's <linux/bpf.h>; libbpf 1.1 and the headers of the floor do not have them.
constexpr auto kTcxIngress = static_cast<bpf_attach_type>(46);
constexpr uint32_t kReplace = 1U << 2, kBefore = 1U << 3, kAfter = 1U << 4;
constexpr size_t kMostPrograms = 64;
struct AttachCommand {
  uint32_t ifindex, program_fd, type, flags, replaced_fd, relative_fd;
  uint64_t revision;
};

absl::StatusOr<UniqueFd> OpenId(uint32_t id) {
  UniqueFd program(bpf_prog_get_fd_by_id(id));
  if (!program) return BpfErrnoStatus(errno, fmt::format("open BPF program {}", id));
  return program;
}

}  // namespace

absl::StatusOr<std::vector<TcxProgram>> TcxPrograms(int ifindex) {
  std::array<uint32_t, kMostPrograms> ids{};
  auto count = static_cast<uint32_t>(ids.size());
  if (bpf_prog_query(ifindex, kTcxIngress, 0, nullptr, ids.data(), &count) != 0) {
    if (errno == ENOENT) return std::vector<TcxProgram>();
    if (errno == EINVAL) return absl::UnimplementedError("this kernel has no tcx");
    return BpfErrnoStatus(errno, fmt::format("list the programs at interface {}", ifindex));
  }
  std::vector<TcxProgram> out;
  for (uint32_t i = 0; i < count; ++i) {
    absl::StatusOr<std::string> name = ProgramName(ids[i]);
    if (absl::IsNotFound(name.status())) continue;  // it went away in between
    if (!name.ok()) return name.status();
    out.push_back({ids[i], *std::move(name)});
  }
  return out;
}

absl::Status TcxAttach(int ifindex, int program_fd, const TcxPlace& place) {
  AttachCommand command{};
  command.ifindex = static_cast<uint32_t>(ifindex);
  command.program_fd = static_cast<uint32_t>(program_fd);
  command.type = kTcxIngress;
  UniqueFd other;
  if (place.instead != 0) {
    ASSIGN_OR_RETURN(other, OpenId(place.instead));
    command.flags = kReplace;
    command.replaced_fd = static_cast<uint32_t>(other.get());
  } else if (place.behind != 0) {
    ASSIGN_OR_RETURN(other, OpenId(place.behind));
    command.flags = kAfter;
    command.relative_fd = static_cast<uint32_t>(other.get());
  } else {
    command.flags = kBefore;
  }
  if (syscall(SYS_bpf, BPF_PROG_ATTACH, &command, sizeof(command)) == 0) return absl::OkStatus();
  return BpfErrnoStatus(errno, fmt::format("attach a program to interface {}", ifindex));
}

absl::Status TcxDetach(int ifindex, uint32_t program_id) {
  const UniqueFd program(bpf_prog_get_fd_by_id(program_id));
  if (!program) {
    if (errno == ENOENT) return absl::OkStatus();
    return BpfErrnoStatus(errno, fmt::format("open BPF program {}", program_id));
  }
  if (bpf_prog_detach2(program.get(), ifindex, kTcxIngress) == 0 || errno == ENOENT)
    return absl::OkStatus();
  return BpfErrnoStatus(errno, fmt::format("take a program off interface {}", ifindex));
}

}  // namespace mesh::dataplane
