// SPDX-License-Identifier: Apache-2.0
#include "agent/network/policy_translation.h"

#include "common/status.h"

namespace mesh::agent {

absl::StatusOr<dataplane::PolicySet> TranslatePolicySet(const v1::PolicySetState& state) {
  dataplane::PolicySet out;
  for (const v1::PolicyRuleState& rule : state.rules()) {
    dataplane::PolicyRule translated{.id = rule.id(), .about_everybody = rule.about_everybody()};
    translated.selectors = {rule.selectors().begin(), rule.selectors().end()};
    const auto range = [&](const std::string& text) -> absl::StatusOr<IpPrefix> {
      auto parsed = IpPrefix::Parse(text);
      if (parsed.ok()) return parsed;
      const bool named = rule.policy() < static_cast<uint32_t>(state.policies_size());
      return Annotate(parsed.status(),
                      "policy " + (named ? state.policies(static_cast<int>(rule.policy())) : ""));
    };
    for (const v1::AddressBlockState& block : rule.blocks()) {
      dataplane::AddressBlock parsed;
      ASSIGN_OR_RETURN(parsed.cidr, range(block.cidr()));
      for (const std::string& text : block.except()) {
        ASSIGN_OR_RETURN(const IpPrefix hole, range(text));
        parsed.except.push_back(hole);
      }
      translated.blocks.push_back(std::move(parsed));
    }
    for (const v1::PortRangeState& ports : rule.ports()) {
      translated.ports.push_back({.protocol = static_cast<uint8_t>(ports.protocol()),
                                  .first = static_cast<uint16_t>(ports.first()),
                                  .last = static_cast<uint16_t>(ports.last())});
    }
    out.rules.push_back(std::move(translated));
  }
  return out;
}

}  // namespace mesh::agent
