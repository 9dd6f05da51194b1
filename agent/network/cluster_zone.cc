// SPDX-License-Identifier: Apache-2.0
#include "agent/network/cluster_zone.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <set>
#include <utility>

#include "fmt/format.h"

namespace mesh::agent {
namespace {

using dns::Query;
using dns::Record;

constexpr const char* kDefaultDomain = "cluster.local";
// ExternalNames of the cluster that lead to each other.
constexpr int kMaxAliases = 8;

std::string Lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return text;
}

std::string Join(const std::vector<std::string>& labels) {
  return fmt::format("{}", fmt::join(labels, "."));
}

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

const char* ProtocolLabel(const v1::ServicePortState& port) {
  return port.protocol() == 17 ? "_udp" : "_tcp";
}

// nullopt for one that gets no new clients.
std::optional<IpAddress> ActiveAddress(const v1::BackendState& backend) {
  if (backend.state() == v1::BackendState::DRAINING) return std::nullopt;
  const auto ip = IpAddress::Parse(backend.ip());
  if (!ip.ok()) return std::nullopt;
  return *ip;
}

Record AddressRecord(const std::string& name, const IpAddress& ip) {
  if (ip.is_v4()) return {name, dns::kA, kDnsTtlSeconds, dns::EncodeV4(ip.v4())};
  return {name, dns::kAaaa, kDnsTtlSeconds, dns::EncodeV6(ip.bytes())};
}

// Those that `query` asks for.
void AddAddresses(const Query& query, const std::string& name, const std::set<IpAddress>& ips,
                  std::vector<Record>* out) {
  for (const IpAddress& ip : ips) {
    Record record = AddressRecord(name, ip);
    if (Wants(query, record.type)) out->push_back(std::move(record));
  }
}

std::vector<IpAddress> ClusterIps(const v1::ServiceState& service) {
  std::vector<IpAddress> out;
  const auto add = [&](const std::string& text) {
    if (auto ip = IpAddress::Parse(text); ip.ok()) out.push_back(*ip);
  };
  for (const std::string& text : service.cluster_ips()) add(text);
  if (out.empty()) add(service.cluster_ip());
  return out;
}

// What stands at the name of the Service.
std::set<IpAddress> Addresses(const v1::ServiceState& service) {
  std::set<IpAddress> out;
  if (service.cluster_ip() != "None") {
    for (const IpAddress& ip : ClusterIps(service)) out.insert(ip);
    return out;
  }
  for (const v1::ServicePortState& port : service.ports()) {
    for (const v1::BackendState& backend : port.backends()) {
      if (const auto ip = ActiveAddress(backend)) out.insert(*ip);
    }
  }
  return out;
}

// Its label below a headless Service.
std::string EndpointName(const v1::BackendState& backend, const IpAddress& ip) {
  if (!backend.hostname().empty()) return backend.hostname();
  std::string out = ip.ToString();
  std::replace(out.begin(), out.end(), ip.is_v4() ? '.' : ':', '-');
  return out;
}

// The address in "4.3.2.1.in-addr.arpa"; nullopt for anything else.
std::optional<IpAddress> ReverseAddress4(const std::vector<std::string>& name) {
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

// The address in "1.0.0. ... .0.d.f.ip6.arpa", a digit a label (RFC 3596).
std::optional<IpAddress> ReverseAddress6(const std::vector<std::string>& name) {
  constexpr size_t kDigits = 32;
  if (name.size() != kDigits + 2 || name[kDigits] != "ip6" || name[kDigits + 1] != "arpa")
    return std::nullopt;
  std::array<uint8_t, 16> bytes{};
  for (size_t i = 0; i < kDigits; ++i) {
    const std::string& label = name[kDigits - 1 - i];
    unsigned digit = 0;
    const char* end = label.data() + label.size();
    const auto [at, error] = std::from_chars(label.data(), end, digit, 16);
    if (label.size() != 1 || error != std::errc() || at != end) return std::nullopt;
    bytes[i / 2] = static_cast<uint8_t>(bytes[i / 2] << 4 | digit);
  }
  return IpAddress::FromBytes(bytes);
}

// Of a headless Service called `name`: clients dial the pods themselves.
std::vector<std::string> HeadlessTargets(const v1::ServicePortState& port,
                                         const std::string& name) {
  std::set<std::string> out;
  for (const v1::BackendState& backend : port.backends()) {
    if (const auto ip = ActiveAddress(backend))
      out.insert(fmt::format("{} {}.{}", backend.port(), EndpointName(backend, *ip), name));
  }
  return {out.begin(), out.end()};
}

std::optional<IpAddress> ReverseAddress(const std::vector<std::string>& name) {
  const auto v4 = ReverseAddress4(name);
  return v4 ? v4 : ReverseAddress6(name);
}

}  // namespace

ClusterZone::ClusterZone(NodeStatePtr state) : state_(std::move(state)) {
  std::string domain = state_ == nullptr ? "" : state_->config.cluster_domain();
  if (domain.empty()) domain = kDefaultDomain;
  domain_ = Split(Lower(domain));
  domain_text_ = Join(domain_);
  if (state_ == nullptr) return;
  const v1::Welcome& config = state_->config;
  for (const std::string& text : {config.service_cidr(), config.service_cidr6(),
                                  config.cluster_cidr(), config.cluster_cidr6()}) {
    if (auto cidr = IpPrefix::Parse(text); cidr.ok()) ranges_.push_back(*cidr);
  }
}

std::optional<dns::Answer> ClusterZone::Answer(const Query& query) const {
  const bool ours = EndsWith(query.name, domain_);
  if (!ours) return AnswerReverse(query);
  if (query.qclass != dns::kClassIn || query.type == dns::kAxfr || query.type == dns::kIxfr)
    return dns::Answer{.rcode = dns::kRefused, .answers = {}, .authority = {}, .additional = {}};
  if (state_ == nullptr || !state_->complete)
    return dns::Answer{.rcode = dns::kServFail, .answers = {}, .authority = {}, .additional = {}};
  return AnswerForward(query, 0);
}

std::vector<ZoneRecord> ClusterZone::Records(const std::string& ns,
                                             const std::string& service) const {
  std::vector<ZoneRecord> out;
  if (state_ == nullptr || !state_->complete) return out;
  for (const auto& [key, shared] : state_->services) {
    if (!ns.empty() && shared->namespace_() != ns) continue;
    if (!service.empty() && shared->name() != service) continue;
    AddRecords(*shared, &out);
  }
  return out;
}

void ClusterZone::AddRecords(const v1::ServiceState& service, std::vector<ZoneRecord>* out) const {
  const std::string name =
      fmt::format("{}.{}.svc.{}", service.name(), service.namespace_(), domain_text_);
  const auto add = [&](const std::string& at, const char* type, std::vector<std::string> values) {
    if (values.empty()) return;
    out->push_back({at, type, std::move(values), service.namespace_(), service.name()});
  };
  const auto add_addresses = [&](const std::string& at, const std::set<IpAddress>& ips) {
    std::vector<std::string> v4, v6;
    for (const IpAddress& ip : ips) (ip.is_v4() ? v4 : v6).push_back(ip.ToString());
    add(at, "A", std::move(v4));
    add(at, "AAAA", std::move(v6));
  };
  const bool headless = service.cluster_ip() == "None";
  if (service.external_name().empty()) {
    add_addresses(name, Addresses(service));
  } else {
    add(name, "CNAME", {service.external_name()});
  }
  std::map<std::string, std::set<IpAddress>> endpoints;
  for (const v1::ServicePortState& port : service.ports()) {
    if (!port.name().empty()) {
      const std::string& target = service.external_name().empty() ? name : service.external_name();
      const auto values = headless ? HeadlessTargets(port, name)
                                   : std::vector{fmt::format("{} {}", port.port(), target)};
      add(fmt::format("_{}.{}.{}", port.name(), ProtocolLabel(port), name), "SRV", values);
    }
    for (const v1::BackendState& backend : port.backends()) {
      const auto ip = ActiveAddress(backend);
      if (headless && ip)
        endpoints[fmt::format("{}.{}", EndpointName(backend, *ip), name)].insert(*ip);
    }
  }
  for (const auto& [at, ips] : endpoints) add_addresses(at, ips);
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

bool ClusterZone::HasNamespace(const std::string& ns) const {
  const auto it = state_->services.lower_bound(ns + "/");
  if (it != state_->services.end() && it->second->namespace_() == ns) return true;
  return std::any_of(state_->namespaces.begin(), state_->namespaces.end(),
                     [&](const auto& entry) { return entry.second->name() == ns; });
}

dns::Answer ClusterZone::AnswerForward(const Query& query, int depth) const {
  // relative: [_port, _proto, | hostname,] [service,] [namespace,] ["svc"]
  const std::vector<std::string> relative(query.name.begin(),
                                          query.name.end() - static_cast<long>(domain_.size()));
  if (relative.empty()) {
    dns::Answer out = Negative(dns::kNoError);
    if (Wants(query, dns::kSoa)) out.answers = std::exchange(out.authority, {});
    return out;
  }
  if (relative.back() != "svc" || relative.size() > 5) return Negative(dns::kNxDomain);
  if (relative.size() == 1) return Negative(dns::kNoError);
  const std::string& ns = relative[relative.size() - 2];
  if (relative.size() == 2) return Negative(HasNamespace(ns) ? dns::kNoError : dns::kNxDomain);

  const v1::ServiceState* service = Find(relative[relative.size() - 3], ns);
  if (service == nullptr) return Negative(dns::kNxDomain);
  if (relative.size() == 5) return AnswerPort(query, *service);
  if (relative.size() == 4) return AnswerEndpoint(query, *service);
  if (!service->external_name().empty()) return AnswerAlias(query, *service, depth);
  dns::Answer out;
  out.authoritative = true;
  AddAddresses(query, Join(query.name), Addresses(*service), &out.answers);
  if (out.answers.empty()) return Negative(dns::kNoError);
  return out;
}

dns::Answer ClusterZone::AnswerAlias(const Query& query, const v1::ServiceState& service,
                                     int depth) const {
  std::string target = service.external_name();
  if (target.ends_with('.')) target.pop_back();
  dns::Answer out;
  out.authoritative = true;
  out.answers.push_back({Join(query.name), dns::kCname, kDnsTtlSeconds, dns::EncodeName(target)});
  if (out.answers[0].data.empty()) return Negative(dns::kServFail);
  if (query.type == dns::kCname || query.type == dns::kAny) return out;
  Query next = query;
  next.name = Split(Lower(target));
  if (!EndsWith(next.name, domain_)) {
    out.continues_at = target;
    return out;
  }
  // Names that lead to each other in a ring.
  if (depth >= kMaxAliases) return Negative(dns::kServFail);
  dns::Answer rest = AnswerForward(next, depth + 1);
  rest.answers.insert(rest.answers.begin(), out.answers.begin(), out.answers.end());
  return rest;
}

dns::Answer ClusterZone::AnswerEndpoint(const Query& query, const v1::ServiceState& service) const {
  const std::string& name = query.name[0];
  // "_tcp" is there when something is below it.
  if (name == "_tcp" || name == "_udp") {
    for (const v1::ServicePortState& port : service.ports()) {
      if (!port.name().empty() && name == ProtocolLabel(port)) return Negative(dns::kNoError);
    }
    return Negative(dns::kNxDomain);
  }
  std::set<IpAddress> addresses;
  if (service.cluster_ip() == "None") {
    for (const v1::ServicePortState& port : service.ports()) {
      for (const v1::BackendState& backend : port.backends()) {
        const auto ip = ActiveAddress(backend);
        if (ip && EndpointName(backend, *ip) == name) addresses.insert(*ip);
      }
    }
  }
  if (addresses.empty()) return Negative(dns::kNxDomain);
  dns::Answer out;
  out.authoritative = true;
  AddAddresses(query, Join(query.name), addresses, &out.answers);
  return out.answers.empty() ? Negative(dns::kNoError) : out;
}

dns::Answer ClusterZone::AnswerPort(const Query& query, const v1::ServiceState& service) const {
  const std::string &port_name = query.name[0], &protocol = query.name[1];
  const std::string service_name =
      fmt::format("{}.{}.svc.{}", service.name(), service.namespace_(), domain_text_);
  for (const v1::ServicePortState& port : service.ports()) {
    if (port.name().empty() || "_" + port.name() != port_name || protocol != ProtocolLabel(port))
      continue;
    if (!Wants(query, dns::kSrv)) return Negative(dns::kNoError);
    dns::Answer out;
    out.authoritative = true;
    const auto add = [&](uint32_t number, const std::string& target) {
      out.answers.push_back({Join(query.name), dns::kSrv, kDnsTtlSeconds,
                             dns::EncodeSrv(0, 100, static_cast<uint16_t>(number), target)});
    };
    if (!service.external_name().empty()) {
      add(port.port(), service.external_name());
      return out;
    }
    if (service.cluster_ip() != "None") {
      add(port.port(), service_name);
      for (const IpAddress& ip : Addresses(service))
        out.additional.push_back(AddressRecord(service_name, ip));
      return out;
    }
    // A pod of both families that has a hostname is one answer.
    std::set<std::pair<uint32_t, std::string>> told;
    for (const v1::BackendState& backend : port.backends()) {
      const auto ip = ActiveAddress(backend);
      if (!ip) continue;
      const std::string target = fmt::format("{}.{}", EndpointName(backend, *ip), service_name);
      if (told.emplace(backend.port(), target).second) add(backend.port(), target);
      out.additional.push_back(AddressRecord(target, *ip));
    }
    return out.answers.empty() ? Negative(dns::kNoError) : out;
  }
  return Negative(dns::kNxDomain);
}

void ClusterZone::NameAddresses() const {
  by_address_.emplace();
  for (const auto& [key, shared] : state_->services) {
    const v1::ServiceState& service = *shared;
    const std::string name = fmt::format("{}.{}.svc", service.name(), service.namespace_());
    for (const IpAddress& address : ClusterIps(service)) (*by_address_)[address].insert(name);
    if (service.cluster_ip() != "None") continue;
    for (const v1::ServicePortState& port : service.ports()) {
      for (const v1::BackendState& backend : port.backends()) {
        if (const auto ip = ActiveAddress(backend))
          (*by_address_)[*ip].insert(fmt::format("{}.{}", EndpointName(backend, *ip), name));
      }
    }
  }
}

std::optional<dns::Answer> ClusterZone::AnswerReverse(const Query& query) const {
  const auto ip = ReverseAddress(query.name);
  if (!ip || state_ == nullptr || query.qclass != dns::kClassIn) return std::nullopt;
  const bool ours = std::any_of(ranges_.begin(), ranges_.end(),
                                [&](const IpPrefix& range) { return range.Contains(*ip); });
  if (!state_->complete) {
    if (!ours) return std::nullopt;
    return dns::Answer{.rcode = dns::kServFail, .answers = {}, .authority = {}, .additional = {}};
  }
  if (!by_address_.has_value()) NameAddresses();
  const auto it = by_address_->find(*ip);
  // Of a backend outside the cluster others may know a name.
  if (it == by_address_->end())
    return ours ? std::optional(Negative(dns::kNxDomain)) : std::nullopt;
  if (!Wants(query, dns::kPtr)) return Negative(dns::kNoError);
  dns::Answer out;
  out.authoritative = true;
  for (const std::string& name : it->second) {
    out.answers.push_back({Join(query.name), dns::kPtr, kDnsTtlSeconds,
                           dns::EncodeName(fmt::format("{}.{}", name, domain_text_))});
  }
  return out;
}

}  // namespace mesh::agent
