// SPDX-License-Identifier: Apache-2.0
// The wire format of DNS (RFC 1035, EDNS of RFC 6891), as much as a server of one zone and a relay
// need: questions in, answers out. Answers of upstream servers are relayed as bytes; only those
// that continue a CNAME of the cluster are decoded (ReadAnswers). Own code rather than ldns: what
// we need of it is these three functions, and its parser allocates for records that nobody reads.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mesh::agent::dns {

enum Type : uint16_t {
  kA = 1,
  kNs = 2,
  kCname = 5,
  kSoa = 6,
  kPtr = 12,
  kTxt = 16,
  kAaaa = 28,
  kSrv = 33,
  kOpt = 41,
  kIxfr = 251,
  kAxfr = 252,
  kAny = 255,
};
enum Rcode : uint8_t {
  kNoError = 0,
  kFormErr = 1,
  kServFail = 2,
  kNxDomain = 3,
  kNotImp = 4,
  kRefused = 5,
};
inline constexpr uint8_t kBadVersion = 16;  // extended, needs EDNS
inline constexpr uint16_t kClassIn = 1;
inline constexpr size_t kHeaderBytes = 12;
// Without EDNS; and what is offered and taken over UDP with it (no fragments on any path).
inline constexpr size_t kPlainUdpBytes = 512;
inline constexpr size_t kMaxUdpBytes = 1232;

struct Query {
  uint16_t id = 0;
  bool recursion_desired = false;
  // Lower case, one label per element, no root: "Web.shop." is {"web", "shop"}.
  std::vector<std::string> name;
  uint16_t type = 0;
  uint16_t qclass = 0;
  bool edns = false;
  uint8_t edns_version = 0;
  size_t udp_bytes = kPlainUdpBytes;  // what the client takes over UDP, within our limits
  size_t question_end = 0;            // offset behind the question in the packet
};

struct ParsedQuery {
  std::optional<Query> query;
  // Without `query`: what to answer; nullopt: nothing (a response, or not even a header).
  std::optional<uint8_t> refusal;
};
// Never reads outside `packet`, for any bytes.
ParsedQuery ParseQuery(std::string_view packet);

struct Record {
  std::string name;  // "web.shop.svc.cluster.local", no dot at the end
  uint16_t type = 0;
  uint32_t ttl = 0;
  std::string data;  // wire form
};

struct Answer {
  uint8_t rcode = kNoError;
  bool authoritative = false;
  std::vector<Record> answers, authority, additional;
  // Not on the wire: the name that the CNAME at the end of `answers` leads to, when it is not of
  // the cluster and the question is about what stands there.
  std::string continues_at;
};

// The response to the query in `packet`; longer than `limit` (or with an additional section that
// does not fit) it is cut and marked truncated. Records of the question's name point to it.
std::string BuildResponse(std::string_view packet, const Query& query, const Answer& answer,
                          size_t limit);
// A response that has only a header: for packets that could not be parsed. REQUIRES: kHeaderBytes.
std::string BuildRefusal(std::string_view packet, uint8_t rcode);

// True when `response` answers `query`: same id, a response, and the same question.
bool Answers(std::string_view response, std::string_view query);
bool IsTruncated(std::string_view response);
// The A, AAAA and CNAME records of the answer section, CNAMEs with their names in full; others and
// what follows a broken record are left out. Never reads outside `response`, for any bytes.
std::vector<Record> ReadAnswers(std::string_view response);
// The question `query` about another name and from us: recursion desired, no EDNS. Empty when
// `name` is none.
std::string BuildQuery(const Query& query, std::string_view name);
uint8_t RcodeOf(std::string_view response);
// REQUIRES: at least 2 bytes.
uint16_t IdOf(std::string_view packet);
void SetId(std::string* packet, uint16_t id);

// Wire forms for Record::data. A name with a label over 63 characters gives an empty string.
std::string EncodeName(std::string_view name);
std::string EncodeV4(uint32_t host_order);
std::string EncodeV6(const std::array<uint8_t, 16>& bytes);
std::string EncodeSrv(uint16_t priority, uint16_t weight, uint16_t port, std::string_view target);
std::string EncodeSoa(std::string_view server, std::string_view mailbox, uint32_t serial,
                      uint32_t minimum);

}  // namespace mesh::agent::dns
