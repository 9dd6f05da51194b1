// SPDX-License-Identifier: Apache-2.0
// The commands that get at what runs on nodes (mesh.v1.Access).
#pragma once

#include "cli/command.h"

namespace mesh::cli {

Command AttachCommand();
Command CpCommand();
Command ImageCommand();
Command PortForwardCommand();
Command TopCommand();

}  // namespace mesh::cli
