// SPDX-License-Identifier: Apache-2.0
#include "cli/commands/node_taints.h"

#include <algorithm>
#include <utility>

#include "api/schema/validate.h"
#include "common/status.h"
#include "fmt/format.h"
#include "fmt/ranges.h"

namespace mesh::cli {
namespace {

absl::Status Invalid(const std::string& text, const std::string& why = "") {
  return absl::InvalidArgumentError(
      fmt::format("invalid taint spec: {}{}{}", text, why.empty() ? "" : ", ", why));
}

// "key", "key:effect" or "key=value:effect".
absl::StatusOr<v1::Taint> ParseTaint(const std::string& text) {
  v1::Taint out;
  const size_t colon = text.find(':');
  std::string name = text.substr(0, colon);
  if (colon != std::string::npos) {
    out.set_effect(text.substr(colon + 1));
    if (out.effect() != "NoSchedule" && out.effect() != "PreferNoSchedule" &&
        out.effect() != "NoExecute") {
      return absl::InvalidArgumentError(
          fmt::format("invalid taint effect: {}, unsupported taint effect", out.effect()));
    }
    if (const size_t equals = name.find('='); equals != std::string::npos) {
      out.set_value(name.substr(equals + 1));
      name.resize(equals);
      if (const std::string why = schema::CheckLabelValue(out.value()); !why.empty())
        return Invalid(text, why);
    }
  }
  if (const std::string why = schema::CheckQualifiedName(name); !why.empty())
    return Invalid(text, why);
  out.set_key(name);
  return out;
}

bool SamePlace(const v1::Taint& a, const v1::Taint& b) {
  return a.key() == b.key() && a.effect() == b.effect();
}

std::string TextOf(const v1::Taint& taint) {
  return taint.effect().empty() ? taint.key() : taint.key() + ":" + taint.effect();
}

}  // namespace

std::string TaintChanges::Done() const {
  if (added.empty()) return "untainted";
  return removed.empty() ? "tainted" : "modified";
}

absl::StatusOr<TaintChanges> TakeTaintChanges(std::vector<std::string>* args) {
  TaintChanges out;
  std::vector<std::string> rest;
  for (const std::string& arg : *args) {
    const bool removes = arg.ends_with('-');
    if (!removes && arg.find(':') == std::string::npos) {
      if (!out.empty()) {
        return absl::InvalidArgumentError(
            fmt::format("all resources must be specified before taint changes: {}", arg));
      }
      rest.push_back(arg);
      continue;
    }
    ASSIGN_OR_RETURN(v1::Taint taint, ParseTaint(removes ? arg.substr(0, arg.size() - 1) : arg));
    auto& list = removes ? out.removed : out.added;
    if (std::any_of(list.begin(), list.end(),
                    [&](const v1::Taint& other) { return SamePlace(other, taint); })) {
      return absl::InvalidArgumentError(
          fmt::format("duplicated taints with the same key and effect: {}", TextOf(taint)));
    }
    list.push_back(std::move(taint));
  }
  *args = std::move(rest);
  return out;
}

absl::Status ApplyTaintChanges(const TaintChanges& changes, bool overwrite, v1::Node* node) {
  std::vector<v1::Taint> taints(node->spec().taints().begin(), node->spec().taints().end());
  const auto find = [&](const v1::Taint& wanted) {
    return std::find_if(taints.begin(), taints.end(),
                        [&](const v1::Taint& taint) { return SamePlace(taint, wanted); });
  };
  std::vector<std::string> there;
  for (const v1::Taint& taint : changes.added) {
    if (find(taint) != taints.end()) there.push_back(taint.key());
  }
  if (!there.empty() && !overwrite) {
    return absl::InvalidArgumentError(
        fmt::format("node {} already has {} taint(s) with same effect(s) and --overwrite is false",
                    node->metadata().name(), fmt::join(there, ",")));
  }
  for (const v1::Taint& taint : changes.removed) {
    const size_t gone = std::erase_if(taints, [&](const v1::Taint& other) {
      return other.key() == taint.key() &&
             (taint.effect().empty() || other.effect() == taint.effect());
    });
    if (gone == 0) return absl::NotFoundError(fmt::format("taint \"{}\" not found", TextOf(taint)));
  }
  for (const v1::Taint& taint : changes.added) {
    const auto old = find(taint);
    if (old == taints.end()) {
      taints.push_back(taint);
    } else if (old->value() != taint.value()) {
      *old = taint;  // another one: pods stay for their seconds again
    }
  }
  node->mutable_spec()->mutable_taints()->Assign(taints.begin(), taints.end());
  return absl::OkStatus();
}

}  // namespace mesh::cli
