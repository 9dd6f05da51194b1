// SPDX-License-Identifier: Apache-2.0
// What `meshctl why` is asked about. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/commands/targets.h"

namespace mesh::cli {

struct WhySubject {
  // What it is about, or who asks: a pod unless the type says otherwise.
  Target target;
  // Set when it is about a request.
  bool is_request = false;
  std::string host;  // empty: `to_ns` and `to_name` say it
  std::string to_ns, to_name;
  uint16_t port = 0;      // 0: not given
  std::string port_name;  // instead of the number
  std::string protocol = "TCP";
  friend bool operator==(const WhySubject&, const WhySubject&) = default;
};

// "web-1", "pod/web-1", "svc web", "shop/web-1" (namespace and pod), and requests:
// "shop/web -> pay/api:8080", the same as three arguments, or as two without the arrow. What is
// asked for may be NAMESPACE/NAME, a name as programs write it, an address, each with ":PORT", and
// with "tcp://", "udp://", "http://" or "https://" before it. UsageError for anything else.
absl::StatusOr<WhySubject> ParseWhySubject(const std::vector<std::string>& args,
                                           const std::string& ns);

}  // namespace mesh::cli
