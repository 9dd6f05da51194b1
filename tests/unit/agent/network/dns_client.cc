// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/agent/network/dns_client.h"

#include <arpa/inet.h>

#include "fmt/format.h"

namespace mesh::agent::dns {
namespace {

void Put16(std::string* out, unsigned value) {
  out->push_back(static_cast<char>(value >> 8));
  out->push_back(static_cast<char>(value));
}

const char* TypeName(int type) {
  switch (type) {
    case 1:
      return "A";
    case 5:
      return "CNAME";
    case 6:
      return "SOA";
    case 12:
      return "PTR";
    case 28:
      return "AAAA";
    case 33:
      return "SRV";
    case 41:
      return "OPT";
    default:
      return "?";
  }
}

struct Cursor {
  std::string_view packet;
  size_t at = 0;
  bool ok = true;

  unsigned U8() {
    if (at >= packet.size()) {
      ok = false;
      return 0;
    }
    return static_cast<uint8_t>(packet[at++]);
  }
  unsigned U16() {
    const unsigned high = U8();
    return high << 8 | U8();
  }
  unsigned U32() {
    const unsigned high = U16();
    return high << 16 | U16();
  }
  std::string Name() {
    std::string out;
    size_t resume = 0;
    for (int steps = 0; ok && steps < 64; ++steps) {
      const unsigned length = U8();
      if (length == 0) {
        if (resume != 0) at = resume;
        return out.empty() ? "." : out;
      }
      if (length >= 0xc0) {
        const size_t target = (length & 0x3f) << 8 | U8();
        if (resume == 0) resume = at;
        at = target;
        continue;
      }
      for (unsigned i = 0; i < length; ++i) out.push_back(static_cast<char>(U8()));
      out.push_back('.');
    }
    ok = false;
    return out;
  }
  std::string Record() {
    const std::string name = Name();
    const unsigned type = U16();
    const unsigned qclass = U16();
    const unsigned ttl = U32();
    const unsigned length = U16();
    const size_t end = at + length;
    std::string data;
    if (type == 1) {
      const unsigned a = U8(), b = U8(), c = U8(), d = U8();
      data = fmt::format(" {}.{}.{}.{}", a, b, c, d);
    } else if (type == 28) {
      char bytes[16], text[INET6_ADDRSTRLEN];
      for (char& byte : bytes) byte = static_cast<char>(U8());
      data = fmt::format(" {}", inet_ntop(AF_INET6, bytes, text, sizeof text));
    } else if (type == 5 || type == 12) {
      data = " " + Name();
    } else if (type == 33) {
      const unsigned priority = U16(), weight = U16(), port = U16();
      data = fmt::format(" {} {} {} {}", priority, weight, port, Name());
    } else if (type == 6) {
      const std::string server = Name();
      data = fmt::format(" {} {}", server, Name());
      at += 16;
      const unsigned minimum = U32();
      data += fmt::format(" {}", minimum);
    } else if (type == 41) {
      return fmt::format("OPT {} {}", qclass, ttl >> 24);
    }
    if (at != end) ok = false;
    return fmt::format("{} {} {}{}", name, ttl, TypeName(static_cast<int>(type)), data);
  }
};

}  // namespace

std::string MakeQuery(std::string_view name, QueryOptions options) {
  std::string out;
  Put16(&out, options.id);
  Put16(&out, 0x0100);
  Put16(&out, 1);
  Put16(&out, 0);
  Put16(&out, 0);
  Put16(&out, options.edns_bytes >= 0 ? 1 : 0);
  while (!name.empty()) {
    const size_t dot = name.find('.');
    const std::string_view label = name.substr(0, dot);
    out.push_back(static_cast<char>(label.size()));
    out += label;
    name = dot == std::string_view::npos ? "" : name.substr(dot + 1);
  }
  out.push_back('\0');
  Put16(&out, options.type);
  Put16(&out, options.qclass);
  if (options.edns_bytes >= 0) {
    out.push_back('\0');
    Put16(&out, 41);
    Put16(&out, static_cast<unsigned>(options.edns_bytes));
    out.push_back('\0');
    out.push_back(static_cast<char>(options.edns_version));
    Put16(&out, 0);
    Put16(&out, 0);
  }
  return out;
}

Decoded Decode(std::string_view packet) {
  Decoded out;
  Cursor cursor{packet};
  out.id = static_cast<uint16_t>(cursor.U16());
  const unsigned flags = cursor.U16();
  out.response = (flags & 0x8000) != 0;
  out.authoritative = (flags & 0x0400) != 0;
  out.truncated = (flags & 0x0200) != 0;
  out.recursion_available = (flags & 0x0080) != 0;
  out.rcode = static_cast<int>(flags & 0xf);
  const unsigned questions = cursor.U16(), answers = cursor.U16(), authority = cursor.U16(),
                 additional = cursor.U16();
  if (questions == 1) {
    out.question = cursor.Name();
    out.question += fmt::format(" {}", TypeName(static_cast<int>(cursor.U16())));
    cursor.U16();
  }
  for (unsigned i = 0; i < answers && cursor.ok; ++i) out.answers.push_back(cursor.Record());
  for (unsigned i = 0; i < authority && cursor.ok; ++i) out.authority.push_back(cursor.Record());
  for (unsigned i = 0; i < additional && cursor.ok; ++i) out.additional.push_back(cursor.Record());
  out.ok = cursor.ok && cursor.at == packet.size() && questions <= 1;
  return out;
}

}  // namespace mesh::agent::dns
