// SPDX-License-Identifier: Apache-2.0
#include "agent/network/cluster_zone.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "fmt/format.h"

namespace mesh::agent {
namespace {

using dns::Query;
using dns::Record;

constexpr const char* kDefaultDomain = "cluster.local";

std::vector<std::string> Split(std::string_view name) {
  std::vector<std::string> out;
  while (!name.empty()) {
    const size_t dot = name.find('.');
    if (dot != 0) out.emplace_back(name.substr(0, dot));
    if (dot == std::string_view::npos) break;
    name.remove_prefix(dot + 1);
  }
  return out;
}

bool EndsWith(const std::vector<std::string>& name, const std::vector<std::string>& suffix) {
  return name.size() >= suffix.size() && std::equal(suffix.rbegin(), suffix.rend(), name.rbegin());
}

bool Wants(const Query& query, uint16_t type) {
  return query.type == type || query.type == dns::kAny;
}

// The address in "4.3.2.1.in-addr.arpa"; nullopt for anything else.
std::optional<IpAddress> ReverseAddress(const std::vector<std::string>& name) {
  if (name.size() != 6 || name[4] != "in-addr" || name[5] != "arpa") return std::nullopt;
  uint32_t value = 0;
  for (int i = 3; i >= 0; --i) {
    const std::string& label = name[static_cast<size_t>(i)];
    unsigned octet = 0;
    const char* end = label.data() + label.size();
    const auto [at, error] = std::from_chars(label.data(), end, octet);
    if (error != std::errc() || at != end || octet > 255) return std::nullopt;
    value = value << 8 | octet;
  }
  return IpAddress::V4(value);
}

}  // namespace

ClusterZone::ClusterZone(NodeStatePtr state) : state_(std::move(state)) {
  std::string domain = state_ == nullptr ? "" : state_->config.cluster_domain();
  if (domain.empty()) domain = kDefaultDomain;
  std::transform(domain.begin(), domain.end(), domain.begin(), [](unsigned char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : static_cast<char>(c);
  });
  domain_ = Split(domain);
  domain_text_ = fmt::format("{}", fmt::join(domain_, "."));
  if (state_ == nullptr) return;
  if (auto cidr = IpPrefix::Parse(state_->config.service_cidr()); cidr.ok()) service_cidr_ = *cidr;
  for (const auto& [identity, ns] : state_->namespaces) namespaces_.insert(ns.name());
  for (const auto& [key, service] : state_->services) {
    namespaces_.insert(service->namespace_());
    if (auto ip = IpAddress::Parse(service->cluster_ip()); ip.ok()) by_address_[*ip] = &*service;
  }
}

std::optional<dns::Answer> ClusterZone::Answer(const Query& query) const {
  const bool ours = EndsWith(query.name, domain_);
  if (!ours) return AnswerReverse(query);
  if (query.qclass != dns::kClassIn || query.type == dns::kAxfr || query.type == dns::kIxfr)
    return dns::Answer{.rcode = dns::kRefused, .answers = {}, .authority = {}, .additional = {}};
  if (state_ == nullptr || !state_->complete)
    return dns::Answer{.rcode = dns::kServFail, .answers = {}, .authority = {}, .additional = {}};
  const std::vector<std::string> relative(query.name.begin(),
                                          query.name.end() - static_cast<long>(domain_.size()));
  return AnswerForward(query, relative);
}

dns::Answer ClusterZone::Negative(uint8_t rcode) const {
  dns::Answer out;
  out.rcode = rcode;
  out.authoritative = true;
  out.authority.push_back(
      {domain_text_, dns::kSoa, kDnsTtlSeconds,
       dns::EncodeSoa("ns.dns." + domain_text_, "hostmaster." + domain_text_,
                      state_ == nullptr ? 0 : static_cast<uint32_t>(state_->revision),
                      kDnsTtlSeconds)});
  return out;
}

const v1::ServiceState* ClusterZone::Find(const std::string& service, const std::string& ns) const {
  // A label may hold any byte; with a '/' it could name the key of another service.
  if (service.find('/') != std::string::npos) return nullptr;
  const auto it = state_->services.find(ns + "/" + service);
  return it == state_->services.end() ? nullptr : &*it->second;
}

void ClusterZone::AddAddresses(const v1::ServiceState& service, const std::string& name,
                               std::vector<Record>* out) const {
  auto add = [&](const std::string& text) {
    auto ip = IpAddress::Parse(text);
    if (!ip.ok() || !ip->is_v4()) return false;
    out->push_back({name, dns::kA, kDnsTtlSeconds, dns::EncodeV4(ip->v4())});
    return true;
  };
  if (add(service.cluster_ip())) return;
  std::set<std::string> backends;
  for (const v1::ServicePortState& port : service.ports()) {
    for (const v1::BackendState& backend : port.backends()) {
      if (backend.state() != v1::BackendState::DRAINING) backends.insert(backend.ip());
    }
  }
  for (const std::string& ip : backends) add(ip);
}

dns::Answer ClusterZone::AnswerForward(const Query& query,
                                       const std::vector<std::string>& relative) const {
  // relative: [_port, _proto,] [service,] [namespace,] ["svc"]
  if (relative.empty()) {
    dns::Answer out = Negative(dns::kNoError);
    if (Wants(query, dns::kSoa)) out.answers = std::exchange(out.authority, {});
    return out;
  }
  if (relative.back() != "svc" || relative.size() > 5 || relative.size() == 4)
    return Negative(dns::kNxDomain);
  if (relative.size() == 1) return Negative(dns::kNoError);
  const std::string& ns = relative[relative.size() - 2];
  if (relative.size() == 2)
    return Negative(namespaces_.contains(ns) ? dns::kNoError : dns::kNxDomain);

  const v1::ServiceState* service = Find(relative[relative.size() - 3], ns);
  if (service == nullptr) return Negative(dns::kNxDomain);
  if (relative.size() == 5) return AnswerPort(query, *service);
  dns::Answer out;
  out.authoritative = true;
  if (Wants(query, dns::kA))
    AddAddresses(*service, fmt::format("{}", fmt::join(query.name, ".")), &out.answers);
  if (out.answers.empty()) return Negative(dns::kNoError);
  return out;
}

dns::Answer ClusterZone::AnswerPort(const Query& query, const v1::ServiceState& service) const {
  const std::string &port_name = query.name[0], &protocol = query.name[1];
  const std::string target =
      fmt::format("{}.{}.svc.{}", service.name(), service.namespace_(), domain_text_);
  for (const v1::ServicePortState& port : service.ports()) {
    const char* wanted = port.protocol() == 17 ? "_udp" : "_tcp";
    if (port.name().empty() || "_" + port.name() != port_name || protocol != wanted) continue;
    if (!Wants(query, dns::kSrv)) return Negative(dns::kNoError);
    dns::Answer out;
    out.authoritative = true;
    out.answers.push_back({fmt::format("{}", fmt::join(query.name, ".")), dns::kSrv, kDnsTtlSeconds,
                           dns::EncodeSrv(0, 100, static_cast<uint16_t>(port.port()), target)});
    AddAddresses(service, target, &out.additional);
    return out;
  }
  return Negative(dns::kNxDomain);
}

std::optional<dns::Answer> ClusterZone::AnswerReverse(const Query& query) const {
  const auto ip = ReverseAddress(query.name);
  if (!ip || !service_cidr_ || !service_cidr_->Contains(*ip) || query.qclass != dns::kClassIn)
    return std::nullopt;
  if (!state_->complete)
    return dns::Answer{.rcode = dns::kServFail, .answers = {}, .authority = {}, .additional = {}};
  const auto it = by_address_.find(*ip);
  if (it == by_address_.end()) return Negative(dns::kNxDomain);
  if (!Wants(query, dns::kPtr)) return Negative(dns::kNoError);
  dns::Answer out;
  out.authoritative = true;
  out.answers.push_back({fmt::format("{}", fmt::join(query.name, ".")), dns::kPtr, kDnsTtlSeconds,
                         dns::EncodeName(fmt::format("{}.{}.svc.{}", it->second->name(),
                                                     it->second->namespace_(), domain_text_))});
  return out;
}

}  // namespace mesh::agent
