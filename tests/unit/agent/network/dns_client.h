// SPDX-License-Identifier: Apache-2.0
// Queries and decoded responses for tests: an independent, strict reader of what the resolver
// sends.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mesh::agent::dns {

inline constexpr uint16_t kTypeA = 1, kTypeAaaa = 28, kTypeSrv = 33;

struct QueryOptions {
  uint16_t id = 0x1234;
  uint16_t type = 1;
  uint16_t qclass = 1;
  int edns_bytes = -1;  // UDP payload size; -1: no EDNS
  uint8_t edns_version = 0;
};
std::string MakeQuery(std::string_view name, QueryOptions options = {});

struct Decoded {
  bool ok = false;  // every byte was understood
  uint16_t id = 0;
  bool response = false, authoritative = false, truncated = false, recursion_available = false;
  int rcode = -1;
  std::string question;              // "web.shop. A", as sent
  std::vector<std::string> answers;  // "web.shop.svc.cluster.local. 5 A 10.96.0.10"
  std::vector<std::string> authority, additional;
};
Decoded Decode(std::string_view packet);

}  // namespace mesh::agent::dns
