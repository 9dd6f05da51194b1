// SPDX-License-Identifier: Apache-2.0
// Files of captured packets: pcap (both byte orders, micro- and nanoseconds) and pcapng. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace mesh::cli {

// The frames of `file`, Ethernet; packets of captures without a link layer get a header.
// INVALID_ARGUMENT, with the number of the packet (from 1) it concerns: the file or a packet is
// cut, the link type is another one, or it is no capture at all.
absl::StatusOr<std::vector<std::string>> ReadCapture(std::string_view file);

}  // namespace mesh::cli
