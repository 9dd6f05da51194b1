// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "mesh/v1/meta.pb.h"

namespace mesh::schema {

using LabelMap = google::protobuf::Map<std::string, std::string>;

// Requirements on labels, all of which must hold. A value.
class Selector {
 public:
  enum class Operator : uint8_t { kIn, kNotIn, kExists, kDoesNotExist, kGreater, kLess };
  struct Requirement {
    std::string key;
    Operator op = Operator::kExists;
    std::vector<std::string> values;  // sorted
    bool operator==(const Requirement&) const = default;
  };

  // Matches everything.
  Selector() = default;
  // kubectl's -l text: "a=b,c==d,e!=f,g in (h,i),j notin (k),l,!m,n>1". Empty matches everything.
  // INVALID_ARGUMENT naming the place.
  static absl::StatusOr<Selector> Parse(std::string_view text);
  // INVALID_ARGUMENT for an unknown operator or values that do not fit it.
  static absl::StatusOr<Selector> From(const v1::LabelSelector& selector);
  // Every pair must be there.
  static Selector From(const LabelMap& labels);

  bool Matches(const LabelMap& labels) const;
  bool empty() const { return requirements_.empty(); }
  const std::vector<Requirement>& requirements() const { return requirements_; }
  // In the form that Parse reads: "a=b,c in (d,e),!f".
  std::string ToString() const;

 private:
  std::vector<Requirement> requirements_;
};

// One-shot forms without a copy. An unknown operator matches nothing.
bool Matches(const v1::LabelSelector& selector, const LabelMap& labels);
// A Service's or node selector: every pair of `wanted` is in `labels`. Empty matches everything
// (a Service with an empty selector selects nothing: the caller's rule).
bool MatchesAll(const LabelMap& wanted, const LabelMap& labels);

}  // namespace mesh::schema
