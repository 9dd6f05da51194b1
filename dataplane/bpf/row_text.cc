// SPDX-License-Identifier: Apache-2.0
#include "dataplane/bpf/row_text.h"

#include <arpa/inet.h>
#include <bpf/btf.h>

#include <cerrno>
#include <cstring>
#include <string_view>
#include <vector>

#include "dataplane/bpf/errors.h"
#include "fmt/format.h"
#include "fmt/ranges.h"

namespace mesh::dataplane {
namespace {

// Of an integer of at most 8 bytes, as this machine stores them.
uint64_t ReadInteger(const char* data, uint32_t bytes) {
  uint64_t value = 0;
  std::memcpy(&value, data, bytes);
  return value;
}

int64_t SignExtended(uint64_t value, uint32_t bytes) {
  const uint32_t unused = 64 - 8 * bytes;
  return static_cast<int64_t>(value << unused) >> unused;
}

std::string AddressText(int family, const char* data) {
  char text[INET6_ADDRSTRLEN] = {};
  inet_ntop(family, data, text, sizeof(text));
  return text;
}

std::string ProtocolText(uint64_t number) {
  switch (number) {
    case 1:
      return "ICMP";
    case 6:
      return "TCP";
    case 17:
      return "UDP";
    case 58:
      return "ICMPv6";
    default:
      return std::to_string(number);
  }
}

class Writer {
 public:
  explicit Writer(const btf& types) : types_(types) {}

  // `name`: of the field, with those it stands in; empty for a whole row.
  void Write(uint32_t type, const std::string& name, const char* data) {
    std::string_view alias;
    const btf_type* t = btf__type_by_id(&types_, type);
    while (t != nullptr && (btf_is_mod(t) || btf_is_typedef(t))) {
      // The nearest to what it is: __be32 is a typedef of __u32.
      if (btf_is_typedef(t) && alias.empty()) alias = btf__name_by_offset(&types_, t->name_off);
      type = t->type;
      t = btf__type_by_id(&types_, type);
    }
    if (t == nullptr) return Add(name, "?");
    if (btf_is_composite(t)) return WriteStruct(t, name, data);
    if (btf_is_array(t)) return WriteArray(t, name, data);
    const int64_t bytes = btf__resolve_size(&types_, type);
    if (bytes < 1 || bytes > 8) return Add(name, "?");
    WriteInteger(t, alias, name, data, static_cast<uint32_t>(bytes));
  }

  std::string Text() const { return fmt::format("{}", fmt::join(fields_, " ")); }

 private:
  void Add(const std::string& name, const std::string& value) {
    fields_.push_back(name.empty() ? value : name + "=" + value);
  }

  void WriteStruct(const btf_type* t, const std::string& name, const char* data) {
    if (std::string_view(btf__name_by_offset(&types_, t->name_off)) == "mesh_in6")
      return Add(name, AddressText(AF_INET6, data));
    const btf_member* members = btf_members(t);
    for (uint32_t i = 0; i < btf_vlen(t); ++i) {
      const std::string member = btf__name_by_offset(&types_, members[i].name_off);
      if (member.starts_with("pad")) continue;
      const std::string full = name.empty() ? member : member.empty() ? name : name + "." + member;
      const uint32_t offset = btf_member_bit_offset(t, i);
      if (const uint32_t bits = btf_member_bitfield_size(t, i); bits != 0) {
        WriteBits(full, data, offset, bits);
      } else {
        Write(members[i].type, full, data + offset / 8);
      }
    }
  }

  void WriteBits(const std::string& name, const char* data, uint32_t offset, uint32_t bits) {
    uint64_t value = 0;
    for (uint32_t i = 0; i < bits; ++i) {
      const uint32_t at = offset + i;
      value |= static_cast<uint64_t>(data[at / 8] >> (at % 8) & 1) << i;
    }
    Add(name, std::to_string(value));
  }

  void WriteArray(const btf_type* t, const std::string& name, const char* data) {
    const struct btf_array* array = btf_array(t);
    const int64_t bytes = btf__resolve_size(&types_, array->type);
    if (bytes == 1) return WriteBytes(array, name, data);
    std::vector<std::string> parts;
    for (uint32_t i = 0; i < array->nelems; ++i) {
      Writer part(types_);
      part.Write(array->type, "", data + i * static_cast<size_t>(bytes));
      parts.push_back(part.Text());
    }
    Add(name, fmt::format("[{}]", fmt::join(parts, ", ")));
  }

  void WriteBytes(const struct btf_array* array, const std::string& name, const char* data) {
    if (IsCharacter(array->type)) return Add(name, std::string(data, strnlen(data, array->nelems)));
    std::vector<uint8_t> bytes(data, data + array->nelems);
    Add(name, fmt::format("{:02x}", fmt::join(bytes, name.ends_with("mac") ? ":" : " ")));
  }

  bool IsCharacter(uint32_t type) const {
    const btf_type* t = btf__type_by_id(&types_, type);
    while (t != nullptr && btf_is_mod(t)) t = btf__type_by_id(&types_, t->type);
    return t != nullptr && btf_is_int(t) &&
           std::string_view(btf__name_by_offset(&types_, t->name_off)) == "char";
  }

  void WriteInteger(const btf_type* t, std::string_view alias, const std::string& name,
                    const char* data, uint32_t bytes) {
    const uint64_t value = ReadInteger(data, bytes);
    if (alias == "__be32") return Add(name, AddressText(AF_INET, data));
    if (alias == "__be16") return Add(name, std::to_string(ntohs(static_cast<uint16_t>(value))));
    if (name == "proto" || name.ends_with(".proto")) return Add(name, ProtocolText(value));
    const bool is_signed = btf_is_int(t) && (btf_int_encoding(t) & BTF_INT_SIGNED) != 0;
    Add(name, is_signed ? std::to_string(SignExtended(value, bytes)) : std::to_string(value));
  }

  const btf& types_;
  std::vector<std::string> fields_;
};

}  // namespace

std::string TextOf(const btf& types, uint32_t type, const void* data) {
  Writer writer(types);
  writer.Write(type, "", static_cast<const char*>(data));
  return writer.Text();
}

std::string HexText(const void* data, uint32_t bytes) {
  const auto* begin = static_cast<const uint8_t*>(data);
  return fmt::format("{:02x}", fmt::join(begin, begin + bytes, " "));
}

void RowText::Free::operator()(btf* types) const { btf__free(types); }

absl::StatusOr<RowText> RowText::Load(uint32_t btf_id, uint32_t key_type, uint32_t value_type,
                                      uint32_t key_bytes, uint32_t value_bytes) {
  RowText out;
  out.key_bytes_ = key_bytes;
  out.value_bytes_ = value_bytes;
  if (btf_id == 0) return out;
  out.types_.reset(btf__load_from_kernel_by_id(btf_id));
  if (out.types_ == nullptr) return BpfErrnoStatus(errno, "read the types of a map");
  out.key_type_ = key_type;
  out.value_type_ = value_type;
  return out;
}

std::string RowText::Key(const void* key) const {
  return key_type_ == 0 ? HexText(key, key_bytes_) : TextOf(*types_, key_type_, key);
}

std::string RowText::Value(const void* value) const {
  return value_type_ == 0 ? HexText(value, value_bytes_) : TextOf(*types_, value_type_, value);
}

}  // namespace mesh::dataplane
