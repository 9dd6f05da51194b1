// SPDX-License-Identifier: Apache-2.0
#include "agent/network/problem_teller.h"

#include <string>
#include <utility>

namespace mesh::agent {
namespace {

// Between two tellings of one problem; and how many are told at once: no more than wait for meshd.
constexpr absl::Duration kTellAgain = absl::Minutes(10);
constexpr int kTellMax = 500;

}  // namespace

std::set<NetworkWarning> ProblemsOf(const DesiredStateBuilder& builder,
                                    const dataplane::Dataplane& dataplane,
                                    const std::optional<v1::PolicyRefusal>& refusal) {
  std::set<NetworkWarning> out = builder.HostPortProblems();
  out.merge(builder.ServiceProblems());
  for (dataplane::ServiceProblem& problem : dataplane.ServiceProblems()) {
    // Of a host port: its pod is told.
    if (problem.service.find('/') != std::string::npos) continue;
    out.insert({std::move(problem.ns),
                {},
                std::move(problem.service),
                "NotServed",
                std::move(problem.text)});
  }
  if (!refusal.has_value()) return out;
  for (const std::string& policy : refusal->policies()) {
    const size_t slash = policy.find('/');
    out.insert({.ns = policy.substr(0, slash),
                .reason = "NotInForce",
                .message = refusal->reason(),
                .policy = policy.substr(slash + 1)});
  }
  return out;
}

void ProblemTeller::SetTold(Told told) {
  absl::MutexLock lock(&mutex_);
  tell_ = std::move(told);
}

void ProblemTeller::Tell(const std::set<NetworkWarning>& now) {
  absl::MutexLock lock(&mutex_);
  if (tell_ == nullptr) return;
  std::erase_if(told_, [&](const auto& told) { return !now.contains(told.first); });
  int count = 0;
  for (const NetworkWarning& warning : now) {
    absl::Time& told = told_.try_emplace(warning, absl::InfinitePast()).first->second;
    if (absl::Now() - told < kTellAgain) continue;
    if (++count > kTellMax) break;  // with the next state
    told = absl::Now();
    tell_(warning);
  }
}

void ProblemTeller::TellOne(const NetworkWarning& warning) {
  absl::MutexLock lock(&mutex_);
  if (tell_ != nullptr) tell_(warning);
}

}  // namespace mesh::agent
