// SPDX-License-Identifier: Apache-2.0
#include "dataplane/bpf/errors.h"

#include <cerrno>
#include <cstring>

#include "common/status.h"
#include "fmt/format.h"

namespace mesh::dataplane {

absl::Status BpfErrnoStatus(int error, std::string_view what) {
  constexpr int kKernelNotSupported = 524;
  switch (error) {
    case E2BIG:
    case ENOSPC:
      return absl::ResourceExhaustedError(fmt::format("{}: the map is full", what));
    case ENOENT:
      return absl::NotFoundError(fmt::format("{}: no such entry", what));
    case EEXIST:
      return absl::AlreadyExistsError(fmt::format("{}: entry exists", what));
    case ENOMEM:
      return absl::ResourceExhaustedError(fmt::format("{}: out of kernel memory", what));
    case EBUSY:
      return absl::UnavailableError(fmt::format("{}: busy", what));
    case EPERM:
      return absl::FailedPreconditionError(
          fmt::format("{}: not permitted; run as root or with CAP_BPF and CAP_NET_ADMIN", what));
    case kKernelNotSupported:
    case EOPNOTSUPP:
      return absl::FailedPreconditionError(
          fmt::format("{}: not supported by this kernel; 6.1 or newer is needed", what));
    default:
      return ErrnoStatus(error, what);
  }
}

}  // namespace mesh::dataplane
