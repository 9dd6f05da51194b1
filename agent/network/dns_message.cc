// SPDX-License-Identifier: Apache-2.0
#include "agent/network/dns_message.h"

#include <algorithm>

#include "common/check.h"

namespace mesh::agent::dns {
namespace {

constexpr uint8_t kFlagResponse = 0x80, kFlagAuthoritative = 0x04, kFlagTruncated = 0x02,
                  kFlagRecursionDesired = 0x01;    // third byte
constexpr uint8_t kFlagRecursionAvailable = 0x80;  // fourth byte
constexpr size_t kOptBytes = 11;
constexpr size_t kMaxNameBytes = 255;

// Reads big-endian numbers until the end; afterwards `ok` is false and everything is zero.
class Reader {
 public:
  explicit Reader(std::string_view bytes, size_t at = 0) : bytes_(bytes), at_(at) {}

  bool ok() const { return ok_; }
  size_t at() const { return at_; }

  uint8_t U8() {
    if (!Has(1)) return 0;
    return static_cast<uint8_t>(bytes_[at_++]);
  }
  uint16_t U16() {
    const uint8_t high = U8();
    return static_cast<uint16_t>(high << 8 | U8());
  }
  void Skip(size_t count) {
    if (Has(count)) at_ += count;
  }
  std::string_view Take(size_t count) {
    if (!Has(count)) return {};
    at_ += count;
    return bytes_.substr(at_ - count, count);
  }
  // A name in another section: a pointer ends it, and nobody follows that.
  void SkipName() {
    for (uint8_t length = U8(); ok_ && length != 0; length = U8()) {
      if ((length & 0xc0) == 0xc0) return Skip(1);
      if ((length & 0xc0) != 0) return Fail();
      Skip(length);
    }
  }
  // The name of a question: no pointers, there is nothing before it to point to.
  std::vector<std::string> Name() {
    std::vector<std::string> labels;
    size_t total = 1;
    for (uint8_t length = U8(); ok_ && length != 0; length = U8()) {
      total += length + 1u;
      if (length > 63 || total > kMaxNameBytes) {
        Fail();
        return {};
      }
      std::string label(Take(length));
      std::transform(label.begin(), label.end(), label.begin(),
                     [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
      labels.push_back(std::move(label));
    }
    return labels;
  }

 private:
  bool Has(size_t count) {
    if (ok_ && bytes_.size() - at_ >= count) return true;
    Fail();
    return false;
  }
  void Fail() {
    ok_ = false;
    at_ = bytes_.size();
  }

  std::string_view bytes_;
  size_t at_;
  bool ok_ = true;
};

void PutU16(std::string* out, uint16_t value) {
  out->push_back(static_cast<char>(value >> 8));
  out->push_back(static_cast<char>(value));
}

void PutU32(std::string* out, uint32_t value) {
  PutU16(out, static_cast<uint16_t>(value >> 16));
  PutU16(out, static_cast<uint16_t>(value));
}

uint8_t Byte(std::string_view packet, size_t at) { return static_cast<uint8_t>(packet[at]); }

std::string Join(const std::vector<std::string>& labels) {
  std::string out;
  for (const std::string& label : labels) {
    if (!out.empty()) out += '.';
    out += label;
  }
  return out;
}

// False, and nothing written, when it would go beyond `limit`.
bool PutRecord(const Record& record, const std::string& question_name, size_t limit,
               std::string* out) {
  std::string bytes;
  if (record.name == question_name) {
    PutU16(&bytes, 0xc000 | kHeaderBytes);
  } else {
    bytes = EncodeName(record.name);
  }
  PutU16(&bytes, record.type);
  PutU16(&bytes, kClassIn);
  PutU32(&bytes, record.ttl);
  PutU16(&bytes, static_cast<uint16_t>(record.data.size()));
  bytes += record.data;
  if (out->size() + bytes.size() > limit) return false;
  *out += bytes;
  return true;
}

void SetCount(std::string* packet, size_t at, size_t count) {
  (*packet)[at] = static_cast<char>(count >> 8);
  (*packet)[at + 1] = static_cast<char>(count);
}

// A name with its pointers followed; moves `at` behind it. Pointers lead backwards only, so that it
// ends. nullopt for what is no name, and for labels that have no text form here.
std::optional<std::string> ReadName(std::string_view packet, size_t* at) {
  std::string out;
  size_t position = *at, first_pointer = packet.size();
  bool jumped = false;
  while (position < packet.size()) {
    const uint8_t length = Byte(packet, position);
    if (length == 0) {
      if (!jumped) *at = position + 1;
      return out;
    }
    if ((length & 0xc0) == 0xc0) {
      if (position + 1 >= packet.size()) return std::nullopt;
      const size_t target = (length & 0x3fU) << 8 | Byte(packet, position + 1);
      if (target >= std::min(position, first_pointer)) return std::nullopt;
      if (!jumped) *at = position + 2;
      jumped = true;
      first_pointer = position = target;
      continue;
    }
    if (length > 63 || position + 1 + length > packet.size()) return std::nullopt;
    const std::string_view label = packet.substr(position + 1, length);
    if (label.find('.') != std::string_view::npos) return std::nullopt;
    if (!out.empty()) out += '.';
    out += label;
    if (out.size() > kMaxNameBytes - 2) return std::nullopt;
    position += 1 + length;
  }
  return std::nullopt;
}

// End of the question of a packet with exactly one; 0 when there is no such thing.
size_t QuestionEnd(std::string_view packet) {
  if (packet.size() < kHeaderBytes || Reader(packet, 4).U16() != 1) return 0;
  Reader reader(packet, kHeaderBytes);
  reader.Name();
  reader.Skip(4);
  return reader.ok() ? reader.at() : 0;
}

}  // namespace

ParsedQuery ParseQuery(std::string_view packet) {
  if (packet.size() < kHeaderBytes || (Byte(packet, 2) & kFlagResponse) != 0) return {};
  if ((Byte(packet, 2) >> 3 & 0xf) != 0) return {.query = {}, .refusal = kNotImp};

  Query query;
  Reader reader(packet);
  query.id = reader.U16();
  query.recursion_desired = (reader.U16() & 0x0100) != 0;
  const uint16_t questions = reader.U16();
  const size_t others = static_cast<size_t>(reader.U16()) + reader.U16();
  const size_t additional = reader.U16();
  if (questions != 1) return {.query = {}, .refusal = kFormErr};
  query.name = reader.Name();
  query.type = reader.U16();
  query.qclass = reader.U16();
  query.question_end = reader.at();

  for (size_t i = 0; i < others + additional && reader.ok(); ++i) {
    reader.SkipName();
    const uint16_t type = reader.U16();
    const uint16_t field = reader.U16();  // OPT: the client's UDP payload size
    reader.U8();                          // OPT: upper bits of the rcode
    const uint8_t version = reader.U8();
    reader.Skip(2);
    reader.Skip(reader.U16());
    if (type != kOpt || i < others || !reader.ok()) continue;
    if (query.edns) return {.query = {}, .refusal = kFormErr};
    query.edns = true;
    query.edns_version = version;
    query.udp_bytes = std::clamp<size_t>(field, kPlainUdpBytes, kMaxUdpBytes);
  }
  if (!reader.ok()) return {.query = {}, .refusal = kFormErr};
  return {.query = std::move(query), .refusal = {}};
}

std::string BuildResponse(std::string_view packet, const Query& query, const Answer& answer,
                          size_t limit) {
  std::string out(packet.substr(0, query.question_end));
  const size_t opt_bytes = query.edns ? kOptBytes : 0;
  uint8_t flags = kFlagResponse;
  if (answer.authoritative) flags |= kFlagAuthoritative;
  if (query.recursion_desired) flags |= kFlagRecursionDesired;
  std::fill(out.begin() + 6, out.begin() + kHeaderBytes, '\0');

  const std::string name = Join(query.name);
  size_t answers = 0, authority = 0, additional = 0;
  const size_t room = limit > opt_bytes ? limit - opt_bytes : 0;
  auto put = [&](const std::vector<Record>& records, size_t* count) {
    for (const Record& record : records) {
      if (!PutRecord(record, name, room, &out)) return false;
      ++*count;
    }
    return true;
  };
  // Additional records are a courtesy: leaving them out is no truncation (RFC 2181, 9).
  if (put(answer.answers, &answers) && put(answer.authority, &authority)) {
    put(answer.additional, &additional);
  } else {
    flags |= kFlagTruncated;
  }
  if (query.edns) {
    out.push_back('\0');
    PutU16(&out, kOpt);
    PutU16(&out, kMaxUdpBytes);
    out.push_back(static_cast<char>(answer.rcode >> 4));
    out.append(5, '\0');  // version, flags, length
    ++additional;
  }
  out[2] = static_cast<char>(flags);
  out[3] = static_cast<char>(kFlagRecursionAvailable | (answer.rcode & 0xf));
  SetCount(&out, 6, answers);
  SetCount(&out, 8, authority);
  SetCount(&out, 10, additional);
  return out;
}

std::string BuildRefusal(std::string_view packet, uint8_t rcode) {
  MESH_CHECK(packet.size() >= kHeaderBytes) << packet.size();
  std::string out(packet.substr(0, 2));
  const uint8_t kept = Byte(packet, 2) & (0x78 | kFlagRecursionDesired);
  out.push_back(static_cast<char>(kFlagResponse | kept));
  out.push_back(static_cast<char>(rcode & 0xf));
  out.append(8, '\0');
  return out;
}

bool Answers(std::string_view response, std::string_view query) {
  if (response.size() < kHeaderBytes || query.size() < kHeaderBytes) return false;
  if (IdOf(response) != IdOf(query) || (Byte(response, 2) & kFlagResponse) == 0) return false;
  const size_t end = QuestionEnd(query);
  // A server that could not parse our question may send it back without one.
  if (Reader(response, 4).U16() == 0) return RcodeOf(response) != kNoError;
  if (end == 0 || QuestionEnd(response) != end) return false;
  auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  return std::equal(query.begin() + kHeaderBytes, query.begin() + static_cast<long>(end),
                    response.begin() + kHeaderBytes,
                    [&](char a, char b) { return lower(a) == lower(b); });
}

bool IsTruncated(std::string_view response) {
  return response.size() >= kHeaderBytes && (Byte(response, 2) & kFlagTruncated) != 0;
}

std::vector<Record> ReadAnswers(std::string_view response) {
  std::vector<Record> out;
  size_t at = QuestionEnd(response);
  if (at == 0) return out;
  const uint16_t count = Reader(response, 6).U16();
  for (uint16_t i = 0; i < count; ++i) {
    const auto name = ReadName(response, &at);
    if (!name) return out;
    Reader reader(response, at);
    Record record{.name = *name, .type = reader.U16(), .ttl = 0, .data = ""};
    const uint16_t record_class = reader.U16();
    record.ttl = static_cast<uint32_t>(reader.U16()) << 16;
    record.ttl |= reader.U16();
    const uint16_t length = reader.U16();
    size_t data_at = reader.at();
    record.data = reader.Take(length);
    if (!reader.ok()) return out;
    at = reader.at();
    if (record_class != kClassIn) continue;
    if (record.type == kCname) {
      const auto target = ReadName(response, &data_at);
      if (!target || data_at != at) return out;
      record.data = EncodeName(*target);
    } else if (!(record.type == kA && length == 4) && !(record.type == kAaaa && length == 16)) {
      continue;
    }
    out.push_back(std::move(record));
  }
  return out;
}

std::string BuildQuery(const Query& query, std::string_view name) {
  const std::string encoded = EncodeName(name);
  if (encoded.empty() || encoded.size() > kMaxNameBytes) return "";
  std::string out;
  PutU16(&out, query.id);
  out.push_back(static_cast<char>(kFlagRecursionDesired));
  out.push_back('\0');
  PutU16(&out, 1);
  out.append(6, '\0');
  out += encoded;
  PutU16(&out, query.type);
  PutU16(&out, query.qclass);
  return out;
}

uint8_t RcodeOf(std::string_view response) {
  return response.size() < kHeaderBytes ? static_cast<uint8_t>(kServFail)
                                        : static_cast<uint8_t>(Byte(response, 3) & 0xf);
}

uint16_t IdOf(std::string_view packet) { return Reader(packet).U16(); }

void SetId(std::string* packet, uint16_t id) { SetCount(packet, 0, id); }

std::string EncodeName(std::string_view name) {
  std::string out;
  while (!name.empty()) {
    const size_t dot = name.find('.');
    const std::string_view label = name.substr(0, dot);
    if (label.empty() || label.size() > 63) return "";
    out.push_back(static_cast<char>(label.size()));
    out += label;
    name = dot == std::string_view::npos ? "" : name.substr(dot + 1);
  }
  out.push_back('\0');
  return out;
}

std::string EncodeV4(uint32_t host_order) {
  std::string out;
  PutU32(&out, host_order);
  return out;
}

std::string EncodeV6(const std::array<uint8_t, 16>& bytes) {
  return std::string(bytes.begin(), bytes.end());
}

std::string EncodeSrv(uint16_t priority, uint16_t weight, uint16_t port, std::string_view target) {
  std::string out;
  PutU16(&out, priority);
  PutU16(&out, weight);
  PutU16(&out, port);
  return out + EncodeName(target);
}

std::string EncodeSoa(std::string_view server, std::string_view mailbox, uint32_t serial,
                      uint32_t minimum) {
  std::string out = EncodeName(server) + EncodeName(mailbox);
  PutU32(&out, serial);
  PutU32(&out, 7200);  // refresh, retry, expire: nobody transfers this zone
  PutU32(&out, 1800);
  PutU32(&out, 86400);
  PutU32(&out, minimum);
  return out;
}

}  // namespace mesh::agent::dns
