// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/time/time.h"
#include "google/protobuf/timestamp.pb.h"
#include "mesh/v1/core.pb.h"

namespace mesh::cli {

// kubectl's HumanDuration: "45s", "3m20s", "47m", "5h10m", "30h", "3d4h", "40d", "2y10d", "9y";
// "<invalid>" when more than a second negative.
std::string HumanDuration(absl::Duration duration);

absl::Time ToTime(const google::protobuf::Timestamp& timestamp);
// Oldest first. Times are whole seconds: those of one second in the order of their last writes.
bool EventBefore(const v1::Event& a, const v1::Event& b);
// HumanDuration since `timestamp`; "<unknown>" when it is not set.
std::string AgeSince(bool set, const google::protobuf::Timestamp& timestamp, absl::Time now);
// "Fri, 20 Nov 2026 10:00:00 +0000", as describe has it.
std::string Rfc1123(const google::protobuf::Timestamp& timestamp);

}  // namespace mesh::cli
