// SPDX-License-Identifier: Apache-2.0
// Of one Service port: what its maps should hold. Pure; a part of the planner.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/plan/observed.h"

namespace mesh::dataplane {

// A frontend that a Service port asks for.
struct Claim {
  Frontend frontend;
  FrontendKind kind = FrontendKind::kUnknown;
  Scope scope() const {
    return kind == FrontendKind::kClusterIp ? Scope::kInternal : Scope::kExternal;
  }
};

// In order of rank: the address that identifies a port over restarts first. What cannot be served
// is told in `problems`, a line each.
std::vector<Claim> ClaimsOf(const std::string& key, const Service& service, const ServicePort& port,
                            std::vector<std::string>* problems);

// Whether an address is one, and of that family.
bool IsOf(Family family, const IpAddress& ip);

// Slots of a set: every backend as often as its share, in the order given. More than 1024 slots in
// all only for more than 512 backends: shares are rounded then, nobody's to nothing.
// Scopes in which each of `backends` gets new flows: as an active one, or as one that stops where
// nobody is active.
std::vector<uint8_t> ServedScopes(const std::vector<const Backend*>& backends);

std::vector<uint32_t> SlotsOf(const std::vector<std::pair<uint32_t, uint16_t>>& weights);

Algorithm AlgorithmOf(const Service& service, Scope scope);

// "NodePort 30080/TCP", "10.96.0.10:80/TCP".
std::string Describe(const Frontend& frontend);

}  // namespace mesh::dataplane
