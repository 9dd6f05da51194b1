// SPDX-License-Identifier: Apache-2.0
#include "api/flows/flow_filter.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "common/status.h"
#include "fmt/format.h"
#include "fmt/ranges.h"

namespace mesh {
namespace {

using Match = FlowFilter::Match;

Match Or(Match a, Match b) {
  if (a == Match::kYes || b == Match::kYes) return Match::kYes;
  return a == Match::kUnknown || b == Match::kUnknown ? Match::kUnknown : Match::kNo;
}

Match And(Match a, Match b) {
  if (a == Match::kNo || b == Match::kNo) return Match::kNo;
  return a == Match::kUnknown || b == Match::kUnknown ? Match::kUnknown : Match::kYes;
}

Match Is(bool yes) { return yes ? Match::kYes : Match::kNo; }

absl::Status Wrong(const char* field, const std::string& value, const std::string& why) {
  return absl::InvalidArgumentError(fmt::format("{}: \"{}\" {}", field, value, why));
}

bool IsAlphanumeric(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

// Of the parts of a name between dots.
bool IsLabel(std::string_view text) {
  return !text.empty() && text.size() <= 63 && IsAlphanumeric(text.front()) &&
         IsAlphanumeric(text.back()) &&
         std::ranges::all_of(text, [](char c) { return IsAlphanumeric(c) || c == '-'; });
}

// Of names of Kubernetes: what else stands there can match nothing.
bool IsName(std::string_view text) {
  if (text.size() > 253) return false;
  while (true) {
    const size_t dot = text.find('.');
    if (!IsLabel(text.substr(0, dot))) return false;
    if (dot == std::string_view::npos) return true;
    text.remove_prefix(dot + 1);
  }
}

// What a name of pods may begin with.
bool IsPrefix(std::string_view text) {
  return text.empty() || IsName(text) || IsName(std::string(text) + "0");
}

// Numbers with dots between them, or anything with a colon: whoever writes that means an address,
// or forgot a part of it.
bool LooksLikeAddress(std::string_view text) {
  return text.find(':') != std::string_view::npos ||
         (text.find('.') != std::string_view::npos &&
          std::ranges::all_of(text, [](char c) { return (c >= '0' && c <= '9') || c == '.'; }));
}

absl::StatusOr<IpPrefix> ParseRange(const char* field, const std::string& text) {
  const auto ip = IpAddress::Parse(text.substr(0, text.find('/')));
  if (!ip.ok()) return Wrong(field, text, "is no address and no range (10.244.1.0/24)");
  if (text.find('/') == std::string::npos) return IpPrefix::Of(*ip);
  const auto range = IpPrefix::Parse(text);
  if (!range.ok())
    return Wrong(field, text,
                 fmt::format("is no range: {}", std::string(range.status().message())));
  return *range;
}

absl::StatusOr<std::set<std::string>> OneOf(
    const char* field, const google::protobuf::RepeatedPtrField<std::string>& values,
    const std::vector<std::string>& known) {
  std::set<std::string> out;
  for (const std::string& value : values) {
    if (std::ranges::find(known, value) == known.end())
      return Wrong(field, value, fmt::format("is none of {}", fmt::join(known, ", ")));
    out.insert(value);
  }
  return out;
}

bool Holds(const IpPrefix& range, const std::string& address) {
  const auto ip = IpAddress::Parse(address);
  return ip.ok() && range.Contains(*ip);
}

// Nobody known has the address.
bool IsNameless(const v1::FlowEnd& end) { return end.pod().empty() && end.node().empty(); }

}  // namespace

absl::StatusOr<FlowFilter::EndPattern> FlowFilter::ParseEnd(const char* field,
                                                            const std::string& text,
                                                            const std::string& ns, bool pods_only) {
  EndPattern out;
  const size_t slash = text.find('/');
  const std::string head = text.substr(0, slash);
  if (!pods_only) {
    if (text == "outside") {
      out.kind = EndPattern::Kind::kOutside;
      return out;
    }
    if (LooksLikeAddress(head)) {
      out.kind = EndPattern::Kind::kRange;
      ASSIGN_OR_RETURN(out.range, ParseRange(field, text));
      return out;
    }
    if (head == "node" && slash != std::string::npos) {
      out.kind = EndPattern::Kind::kNode;
      out.name = text.substr(slash + 1);
      if (!IsName(out.name)) return Wrong(field, text, "names no node: want node/NAME");
      return out;
    }
  }
  out.ns = slash == std::string::npos ? ns : head;
  out.name = slash == std::string::npos ? text : text.substr(slash + 1);
  if (out.name.ends_with('*')) {
    out.prefix = true;
    out.name.pop_back();
  }
  const bool name_ok = out.prefix ? IsPrefix(out.name) : IsName(out.name);
  if (name_ok && (slash == std::string::npos || IsLabel(out.ns))) return out;
  return Wrong(field, text,
               pods_only ? "is no pod: want NAME, NAMESPACE/NAME or NAMESPACE/PREFIX*"
                         : "is no end of a flow: want a pod (NAME, NAMESPACE/NAME, "
                           "NAMESPACE/PREFIX*), an address or range, node/NAME, or outside");
}

absl::StatusOr<std::vector<FlowFilter::EndPattern>> FlowFilter::ParseEnds(
    const char* field, const google::protobuf::RepeatedPtrField<std::string>& texts,
    const std::string& ns, bool pods_only) {
  std::vector<EndPattern> out;
  for (const std::string& text : texts) {
    ASSIGN_OR_RETURN(EndPattern pattern, ParseEnd(field, text, ns, pods_only));
    out.push_back(std::move(pattern));
  }
  return out;
}

absl::StatusOr<FlowFilter> FlowFilter::Parse(const v1::FlowFilter& filter) {
  FlowFilter out;
  out.ns_ = filter.namespace_();
  if (!out.ns_.empty() && !IsLabel(out.ns_))
    return Wrong("namespace", out.ns_, "is no name of a namespace");
  ASSIGN_OR_RETURN(out.pods_, ParseEnds("pod", filter.pods(), out.ns_, /*pods_only=*/true));
  ASSIGN_OR_RETURN(out.from_, ParseEnds("from", filter.from(), out.ns_, /*pods_only=*/false));
  ASSIGN_OR_RETURN(out.to_, ParseEnds("to", filter.to(), out.ns_, /*pods_only=*/false));
  for (const std::string& text : filter.services()) {
    const size_t slash = text.find('/');
    ServicePattern pattern{slash == std::string::npos ? out.ns_ : text.substr(0, slash),
                           slash == std::string::npos ? text : text.substr(slash + 1)};
    if (!IsLabel(pattern.name) || (slash != std::string::npos && !IsLabel(pattern.ns)))
      return Wrong("service", text, "is no Service: want NAME or NAMESPACE/NAME");
    out.services_.push_back(std::move(pattern));
  }
  ASSIGN_OR_RETURN(out.verdicts_,
                   OneOf("verdict", filter.verdicts(), {"forwarded", "dropped", "refused"}));
  ASSIGN_OR_RETURN(out.protocols_, OneOf("proto", filter.protocols(), {"TCP", "UDP", "ICMP"}));
  out.reasons_ = {filter.reasons().begin(), filter.reasons().end()};
  for (const uint32_t port : filter.ports()) {
    if (port == 0 || port > 65535)
      return Wrong("port", std::to_string(port), "is no port: want 1 to 65535");
    out.ports_.insert(port);
  }
  for (const std::string& text : filter.ips()) {
    ASSIGN_OR_RETURN(const IpPrefix range, ParseRange("ip", text));
    out.ips_.push_back(range);
  }
  return out;
}

std::vector<FlowFilter::NamedNode> FlowFilter::Nodes() const {
  std::vector<NamedNode> out;
  const auto add = [&](const char* field, const std::vector<EndPattern>& patterns) {
    for (const EndPattern& pattern : patterns)
      if (pattern.kind == EndPattern::Kind::kNode) out.push_back({field, pattern.name});
  };
  add("from", from_);
  add("to", to_);
  return out;
}

Match FlowFilter::MatchesEnd(const EndPattern& pattern, const v1::FlowEnd& end,
                             const std::function<bool(const v1::FlowEnd&)>& may_have_name) {
  const bool unknown = IsNameless(end) && may_have_name && may_have_name(end);
  switch (pattern.kind) {
    case EndPattern::Kind::kRange:
      return Is(Holds(pattern.range, end.address()));
    case EndPattern::Kind::kNode:
      return unknown ? Match::kUnknown : Is(end.node() == pattern.name);
    case EndPattern::Kind::kOutside:
      return unknown ? Match::kUnknown : Is(IsNameless(end) && end.namespace_().empty());
    case EndPattern::Kind::kPod:
      break;
  }
  if (unknown) return Match::kUnknown;
  return Is(!end.pod().empty() && (pattern.ns.empty() || end.namespace_() == pattern.ns) &&
            (pattern.prefix ? end.pod().starts_with(pattern.name) : end.pod() == pattern.name));
}

Match FlowFilter::AnyEnd(const std::vector<EndPattern>& patterns, const v1::FlowEnd& end,
                         const std::function<bool(const v1::FlowEnd&)>& may_have_name) {
  Match out = Match::kNo;
  for (const EndPattern& pattern : patterns) out = Or(out, MatchesEnd(pattern, end, may_have_name));
  return out;
}

bool FlowFilter::MatchesNumbers(const v1::Flow& flow) const {
  if (!verdicts_.empty() && !verdicts_.contains(flow.verdict())) return false;
  if (!reasons_.empty() && !reasons_.contains(flow.reason())) return false;
  if (!protocols_.empty() && !protocols_.contains(flow.protocol())) return false;
  if (!ports_.empty() && !ports_.contains(flow.source().port()) &&
      !ports_.contains(flow.destination().port()) && !ports_.contains(flow.dialled_port()))
    return false;
  return ips_.empty() || std::ranges::any_of(ips_, [&](const IpPrefix& range) {
           return Holds(range, flow.source().address()) ||
                  Holds(range, flow.destination().address()) ||
                  Holds(range, flow.dialled_address());
         });
}

bool FlowFilter::MatchesService(const v1::Flow& flow) const {
  return services_.empty() || std::ranges::any_of(services_, [&](const ServicePattern& pattern) {
           return flow.service() == pattern.name &&
                  (pattern.ns.empty() || flow.service_namespace() == pattern.ns);
         });
}

Match FlowFilter::Matches(const v1::Flow& flow,
                          const std::function<bool(const v1::FlowEnd&)>& may_have_name) const {
  if (!MatchesNumbers(flow) || !MatchesService(flow)) return Match::kNo;
  Match out = Match::kYes;
  if (!from_.empty()) out = And(out, AnyEnd(from_, flow.source(), may_have_name));
  if (!to_.empty()) out = And(out, AnyEnd(to_, flow.destination(), may_have_name));
  if (!pods_.empty()) {
    out = And(out, Or(AnyEnd(pods_, flow.source(), may_have_name),
                      AnyEnd(pods_, flow.destination(), may_have_name)));
  }
  // Patterns with a namespace of their own mean that one.
  if (ns_.empty() || flow.service_namespace() == ns_) return out;
  const auto in_namespace = [&](const v1::FlowEnd& end) {
    if (end.namespace_() == ns_) return Match::kYes;
    const bool unknown =
        IsNameless(end) && end.namespace_().empty() && may_have_name && may_have_name(end);
    return unknown ? Match::kUnknown : Match::kNo;
  };
  return And(out, Or(in_namespace(flow.source()), in_namespace(flow.destination())));
}

}  // namespace mesh
