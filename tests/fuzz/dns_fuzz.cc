// SPDX-License-Identifier: Apache-2.0
// The resolver's parser and its answers on any bytes.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "agent/network/dns_message.h"

namespace dns = mesh::agent::dns;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view packet(reinterpret_cast<const char*>(data), size);
  const dns::ParsedQuery parsed = dns::ParseQuery(packet);
  if (!parsed.query.has_value()) {
    if (parsed.refusal.has_value()) {
      if (size < dns::kHeaderBytes) std::abort();  // nothing to answer to
      const std::string refusal = dns::BuildRefusal(packet, *parsed.refusal);
      if (refusal.size() < dns::kHeaderBytes) std::abort();
    }
    return 0;
  }
  const dns::Query& query = *parsed.query;
  if (query.question_end > size || query.udp_bytes > dns::kMaxUdpBytes) std::abort();
  dns::Answer answer;
  answer.authoritative = true;
  std::string name;
  for (const std::string& label : query.name) name += (name.empty() ? "" : ".") + label;
  for (int i = 0; i < 40; ++i) answer.answers.push_back({name, dns::kA, 5, dns::EncodeV4(i)});
  answer.additional.push_back(
      {"a.b", dns::kSrv, 5, dns::EncodeSrv(1, 2, 3, "web.shop.svc.cluster.local")});
  const std::string response = dns::BuildResponse(packet, query, answer, query.udp_bytes);
  if (response.size() > query.udp_bytes || !dns::Answers(response, packet)) std::abort();
  if (dns::IdOf(response) != query.id) std::abort();
  return 0;
}
