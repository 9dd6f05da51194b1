// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "dataplane/bpf/programs.h"
#include "dataplane/trace/trace.h"

namespace mesh::dataplane {

// Of loaded programs: their sources compiled once more with notes (bpf/lib/trace.h), over the same
// maps but for those that programs write to, of which it has its own. Nothing is loaded yet.
absl::StatusOr<std::shared_ptr<Tracer>> NewTracer(const Programs& programs);

}  // namespace mesh::dataplane
