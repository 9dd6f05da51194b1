// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "cni/protocol.h"
#include "mesh/v1/cni.pb.h"

namespace mesh::cni {

// One request to the agent and its answer, over a unix socket; blocks up to 10 s.
//   netns_fd  goes along when >= 0, so that the agent needs no path into the caller's mount
//             namespace
// Code 11 when no agent answers, 5 when the frames are broken.
std::optional<Error> CallAgent(const std::string& socket_path, const v1::CniRequest& request,
                               int netns_fd, v1::CniReply* reply);

}  // namespace mesh::cni
