// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "agent/cri/cri_client.h"

namespace mesh::agent {

// The image that the runtime makes sandboxes of, by name and by id; blocks. Empty when it does not
// say, or has not pulled it yet.
std::string SandboxImageName(const cri::StatusResponse& verbose_status);
std::string SandboxImageId(CriClient& cri);

}  // namespace mesh::agent
