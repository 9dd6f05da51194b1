// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <string>

namespace mesh::agent {

// What a pod of this node, a Service or a NetworkPolicy runs into, for an event on it.
struct NetworkWarning {
  std::string ns, pod, service;  // one of the last two, or `policy`, is set
  std::string reason, message;   // in one word, and for people
  std::string policy = {};
  friend auto operator<=>(const NetworkWarning&, const NetworkWarning&) = default;
};

}  // namespace mesh::agent
