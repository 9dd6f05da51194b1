// SPDX-License-Identifier: Apache-2.0
// Which flows somebody wants to see. meshctl checks a filter with it, agents leave out what does
// not match, and meshd decides about ends that only it has names for. Pure.
#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/ip_address.h"
#include "mesh/v1/flows.pb.h"

namespace mesh {

class FlowFilter {
 public:
  // INVALID_ARGUMENT begins with the field: `from: "a/b/c" is ...`. Reasons are not looked at.
  static absl::StatusOr<FlowFilter> Parse(const v1::FlowFilter& filter);

  // The nodes that it speaks of, and in which field: whether they exist is not known here.
  struct NamedNode {
    std::string field, node;
  };
  std::vector<NamedNode> Nodes() const;

  enum class Match : uint8_t { kNo, kYes, kUnknown };
  // `may_have_name`: whether an end without a pod and node may be one after all; then what depends
  // on it is kUnknown. Null: it is not.
  Match Matches(const v1::Flow& flow,
                const std::function<bool(const v1::FlowEnd&)>& may_have_name = nullptr) const;

 private:
  // A pod, a range of addresses, a node, or what is outside of the cluster.
  struct EndPattern {
    enum class Kind : uint8_t { kPod, kRange, kNode, kOutside };
    Kind kind = Kind::kPod;
    std::string ns, name;  // of a pod: ns empty: any
    bool prefix = false;   // the name goes on
    IpPrefix range;
  };
  struct ServicePattern {
    std::string ns, name;
  };
  static absl::StatusOr<EndPattern> ParseEnd(const char* field, const std::string& text,
                                             const std::string& ns, bool pods_only);
  static absl::StatusOr<std::vector<EndPattern>> ParseEnds(
      const char* field, const google::protobuf::RepeatedPtrField<std::string>& texts,
      const std::string& ns, bool pods_only);

  static Match MatchesEnd(const EndPattern& pattern, const v1::FlowEnd& end,
                          const std::function<bool(const v1::FlowEnd&)>& may_have_name);
  static Match AnyEnd(const std::vector<EndPattern>& patterns, const v1::FlowEnd& end,
                      const std::function<bool(const v1::FlowEnd&)>& may_have_name);
  bool MatchesNumbers(const v1::Flow& flow) const;
  bool MatchesService(const v1::Flow& flow) const;

  std::string ns_;
  std::vector<EndPattern> pods_, from_, to_;
  std::vector<ServicePattern> services_;
  std::set<std::string> verdicts_, reasons_, protocols_;
  std::set<uint32_t> ports_;
  std::vector<IpPrefix> ips_;
};

}  // namespace mesh
