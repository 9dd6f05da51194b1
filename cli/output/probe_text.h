// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "mesh/v1/core.pb.h"

namespace mesh::cli {

// As kubectl writes it: "http-get http://:8080/healthz delay=0s timeout=1s period=10s #success=1
// #failure=3".
std::string ProbeText(const v1::Probe& probe);
// "exec [nginx -s quit]", "http-get http://:8080/drain", "sleep 5s".
std::string HookText(const v1::LifecycleHandler& hook);

}  // namespace mesh::cli
