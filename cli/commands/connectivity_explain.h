// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ostream>

#include "cli/client.h"
#include "cli/commands/connectivity_plan.h"

namespace mesh::cli {

// Prints what is known of a broken promise, indented: what `why` finds (it reasons from objects),
// and what the nodes' programs do with a packet of its kind, as `trace` shows it. Nothing of names.
void ExplainBroken(const Check& check, ControlClient& client, std::ostream& out);

}  // namespace mesh::cli
