// SPDX-License-Identifier: Apache-2.0
// A truth table of NetworkPolicies, its answers written by hand from the text of the Kubernetes
// documentation. Namespaces x, y, z (labels ns=x ...) with pods a, b, c each (labels pod=a ...),
// all of which serve 80 and 81 over TCP and UDP; their ports have names: serve-80-tcp,
// serve-81-tcp, serve-80-udp, serve-81-udp, and "web", which is 80/TCP of a pod a, 81/TCP of a
// pod b, and 80/UDP of a pod c.
#pragma once

#include <string>
#include <vector>

#include "tests/support/policy/policy_model.h"

namespace mesh::testing {

struct TableCase {
  const char* name;
  // Policies as "NAMESPACE NAME SPEC" with the spec in one line of YAML. "$x/a" is the IPv4 address
  // of a pod, "$6x/a" that of IPv6.
  std::vector<std::string> policies;
  // What differs from "everybody reaches everybody"; the last that fits a connection counts:
  // "- FROM TO [v4|v6] [tcp|udp] [PORT]", "+ ..." allows again. FROM and TO are lists as x/a,y/*,*
  std::vector<std::string> expected;
};

inline constexpr char kTableNamespaces[] = {'x', 'y', 'z'};
inline constexpr char kTablePods[] = {'a', 'b', 'c'};
inline constexpr uint8_t kTableProtocols[] = {6, 17};
inline constexpr uint16_t kTablePorts[] = {80, 81};

const std::vector<TableCase>& PolicyTable();

// What `expected` of a case says of a connection.
bool TableAllows(const TableCase& one, const std::string& from, const std::string& to, bool v6,
                 uint8_t protocol, uint16_t port);

// The policies of a case as manifests. `addresses`: "x/a" and "6x/a".
std::string TableManifest(const TableCase& one,
                          const std::map<std::string, std::string>& addresses);

// "x/a" with its labels and ports.
ModelPod TablePod(const std::string& name);

}  // namespace mesh::testing
