// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace mesh::dataplane {

// Our two places at the ingress of an interface. Programs of IPv4 are asked first and leave what is
// of IPv6 to the others. Where the kernel has tcx (tcx.h) they stand there; else they are filters
// of the interface's clsact with handle 1 and these priorities, as those of builds before tcx,
// which are found and replaced there.
inline constexpr uint32_t kPriority4 = 1, kPriority6 = 2;

// Puts `program_fd` at the ingress of an interface, in the place of what this project had there: no
// packet goes past unseen in between. Where nothing is, IPv6's first.
absl::Status AttachIngress(int ifindex, int program_fd, uint32_t priority = kPriority4);

// Programs of both families. Those of IPv6 first: what stands before them leaves packets to them.
// Without `program6` that of a node that had IPv6 before is taken off.
absl::Status AttachBothFamilies(int ifindex, int program4, std::optional<int> program6);

// The same at an interface that is not up yet and has nothing of ours. They go into its clsact,
// with tcx too: the kernel would hold its lock of all links until every packet that is on its way
// has left it (RCU), some 10 ms for each program. MoveToTcx() does that when nobody waits.
absl::Status AttachToNewLink(int ifindex, int program4, std::optional<int> program6);
// Puts them where AttachBothFamilies() would have, if they are not there: each packet is judged
// once all the time. UNIMPLEMENTED: the kernel has no tcx, they stay. Thread-safe.
absl::Status MoveToTcx(int ifindex, int program4, std::optional<int> program6);

// Kernel's id of our program at the ingress; NOT_FOUND when there is none.
absl::StatusOr<uint32_t> IngressProgramId(int ifindex, uint32_t priority = kPriority4);

// Name of a loaded program by the kernel's id; NOT_FOUND when there is none.
absl::StatusOr<std::string> ProgramName(uint32_t id);
// Of our program at the ingress.
absl::StatusOr<std::string> IngressProgramName(int ifindex, uint32_t priority = kPriority4);

// Takes our program off. Idempotent.
absl::Status DetachIngress(int ifindex, uint32_t priority = kPriority4);
// With all filters at it.
absl::Status RemoveClsact(int ifindex);

// Kernel's id of a loaded program.
absl::StatusOr<uint32_t> ProgramId(int program_fd);

}  // namespace mesh::dataplane
