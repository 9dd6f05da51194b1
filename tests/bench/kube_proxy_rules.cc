// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/kube_proxy_rules.h"

#include <utility>
#include <vector>

#include "fmt/format.h"

namespace mesh::bench {
namespace {

struct Target {
  std::string ip;
  uint16_t port;
};

struct Entry {
  std::string vip;
  uint16_t port;
  std::vector<Target> targets;
};

std::string Numbered(const char* prefix, int index) {
  return fmt::format("{}.{}.{}", prefix, (index >> 8) & 255, index & 255);
}

std::vector<Entry> Entries(const ProxyRules& rules) {
  std::vector<Entry> entries;
  for (int i = 0; i + 1 < rules.services; ++i) {
    Entry entry{Numbered("10.97", i), 80, {}};
    for (int j = 0; j < rules.endpoints; ++j)
      entry.targets.push_back({Numbered("10.200", i * rules.endpoints + j), 8080});
    entries.push_back(std::move(entry));
  }
  entries.push_back({rules.vip, rules.port, {{rules.backend, rules.backend_port}}});
  return entries;
}

}  // namespace

std::string IptablesRules(const ProxyRules& rules) {
  const std::vector<Entry> entries = Entries(rules);
  std::string chains, body;
  for (size_t i = 0; i < entries.size(); ++i) {
    const Entry& entry = entries[i];
    const std::string service = fmt::format("KUBE-SVC-{:06}", i);
    chains += fmt::format(":{} - [0:0]\n", service);
    body += fmt::format("-A KUBE-SERVICES -d {}/32 -p tcp -m tcp --dport {} -j {}\n", entry.vip,
                        entry.port, service);
    for (size_t j = 0; j < entry.targets.size(); ++j) {
      const Target& target = entry.targets[j];
      const std::string endpoint = fmt::format("KUBE-SEP-{:06}-{:03}", i, j);
      chains += fmt::format(":{} - [0:0]\n", endpoint);
      const size_t left = entry.targets.size() - j;
      const std::string chance =
          left == 1 ? ""
                    : fmt::format("-m statistic --mode random --probability {:.10f} ",
                                  1.0 / static_cast<double>(left));
      body += fmt::format("-A {} {}-j {}\n", service, chance, endpoint);
      body += fmt::format("-A {} -s {}/32 -j KUBE-MARK-MASQ\n", endpoint, target.ip);
      body += fmt::format("-A {} -p tcp -m tcp -j DNAT --to-destination {}:{}\n", endpoint,
                          target.ip, target.port);
    }
  }
  return "*nat\n:KUBE-SERVICES - [0:0]\n:KUBE-POSTROUTING - [0:0]\n:KUBE-MARK-MASQ - [0:0]\n" +
         chains +
         "-A PREROUTING -j KUBE-SERVICES\n-A OUTPUT -j KUBE-SERVICES\n"
         "-A POSTROUTING -j KUBE-POSTROUTING\n"
         "-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN\n"
         "-A KUBE-POSTROUTING -j MASQUERADE\n-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000\n" +
         body + "COMMIT\n";
}

std::string NftablesRules(const ProxyRules& rules) {
  const std::vector<Entry> entries = Entries(rules);
  std::string map, chains;
  for (size_t i = 0; i < entries.size(); ++i) {
    const Entry& entry = entries[i];
    map += fmt::format("    {} . tcp . {} : goto service-{:06},\n", entry.vip, entry.port, i);
    std::string choices;
    for (size_t j = 0; j < entry.targets.size(); ++j) {
      const Target& target = entry.targets[j];
      chains += fmt::format(
          "  chain endpoint-{0:06}-{1:03} {{\n    ip saddr {2} meta mark set mark or 0x4000\n"
          "    meta l4proto tcp dnat to {2}:{3}\n  }}\n",
          i, j, target.ip, target.port);
      choices += fmt::format("{0} : goto endpoint-{1:06}-{0:03}, ", j, i);
    }
    chains += fmt::format("  chain service-{:06} {{\n    numgen random mod {} vmap {{ {}}}\n  }}\n",
                          i, entry.targets.size(), choices);
  }
  return "table ip kube-proxy {\n" + chains +
         "  map service-ips {\n    type ipv4_addr . inet_proto . inet_service : verdict\n"
         "    elements = {\n" +
         map +
         "    }\n  }\n"
         "  chain services { ip daddr . meta l4proto . th dport vmap @service-ips; }\n"
         "  chain prerouting { type nat hook prerouting priority dstnat; jump services; }\n"
         "  chain output { type nat hook output priority -100; jump services; }\n"
         "  chain postrouting { type nat hook postrouting priority srcnat;\n"
         "    mark and 0x4000 == 0 return\n    masquerade\n  }\n}\n";
}

}  // namespace mesh::bench
