// SPDX-License-Identifier: Apache-2.0
#include "tests/support/policy/policy_table.h"

#include <sstream>

#include "fmt/format.h"

namespace mesh::testing {
namespace {

// "*", "x/*", "*/a", "x/a"
bool FitsOne(const std::string& pattern, const std::string& pod) {
  if (pattern == "*") return true;
  return (pattern[0] == '*' || pattern[0] == pod[0]) && (pattern[2] == '*' || pattern[2] == pod[2]);
}

bool Fits(const std::string& patterns, const std::string& pod) {
  std::istringstream in(patterns);
  for (std::string pattern; std::getline(in, pattern, ',');) {
    if (FitsOne(pattern, pod)) return true;
  }
  return false;
}

}  // namespace

bool TableAllows(const TableCase& one, const std::string& from, const std::string& to, bool v6,
                 uint8_t protocol, uint16_t port) {
  if (from == to) return true;
  bool allowed = true;
  for (const std::string& line : one.expected) {
    std::istringstream in(line);
    std::string verdict, senders, receivers;
    in >> verdict >> senders >> receivers;
    bool fits = Fits(senders, from) && Fits(receivers, to);
    for (std::string word; in >> word;) {
      fits = fits && word == (word[0] == 'v'   ? (v6 ? "v6" : "v4")
                              : word[0] >= 'a' ? (protocol == 6 ? "tcp" : "udp")
                                               : std::to_string(port));
    }
    if (fits) allowed = verdict == "+";
  }
  return allowed;
}

std::string TableManifest(const TableCase& one,
                          const std::map<std::string, std::string>& addresses) {
  std::string out;
  for (const std::string& policy : one.policies) {
    std::istringstream in(policy);
    std::string ns, name, spec;
    in >> ns >> name >> std::ws;
    std::getline(in, spec);
    for (size_t at = 0; (at = spec.find('$')) != std::string::npos;) {
      const size_t size = spec[at + 1] == '6' ? 4 : 3;
      spec.replace(at, size + 1, addresses.at(spec.substr(at + 1, size)));
    }
    out += fmt::format(
        "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {}, "
        "namespace: \"{}\"}}\nspec: {}\n",
        name, ns, spec);
  }
  return out;
}

ModelPod TablePod(const std::string& name) {
  ModelPod pod;
  pod.ns = name.substr(0, 1);
  pod.labels = {{"pod", name.substr(2)}};
  for (const uint16_t port : kTablePorts) {
    pod.ports.push_back({fmt::format("serve-{}-tcp", port), 6, port});
    pod.ports.push_back({fmt::format("serve-{}-udp", port), 17, port});
  }
  const char which = name[2];
  pod.ports.push_back({"web", static_cast<uint8_t>(which == 'c' ? 17 : 6),
                       static_cast<uint16_t>(which == 'b' ? 81 : 80)});
  return pod;
}

}  // namespace mesh::testing
