// SPDX-License-Identifier: Apache-2.0
// Rows of any map in words, by the types that the kernel keeps of it (BTF).
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

struct btf;

namespace mesh::dataplane {

// Fields as "name=value", in the order of the struct; those of structs within as "outer.name".
// Padding is left out. By the names of types and fields: __be32 and mesh_in6 are addresses, __be16
// is a port, "proto" a protocol, "..mac" a MAC address.
class RowText {
 public:
  // Types of the map with that number. Without any, text is hex.
  static absl::StatusOr<RowText> Load(uint32_t btf_id, uint32_t key_type, uint32_t value_type,
                                      uint32_t key_bytes, uint32_t value_bytes);
  RowText(RowText&&) = default;

  std::string Key(const void* key) const;
  std::string Value(const void* value) const;

 private:
  struct Free {
    void operator()(btf* types) const;
  };
  RowText() = default;

  std::unique_ptr<btf, Free> types_;
  uint32_t key_type_ = 0, value_type_ = 0;
  uint32_t key_bytes_ = 0, value_bytes_ = 0;
};

// What of `type` of `types` stands at `data`.
std::string TextOf(const btf& types, uint32_t type, const void* data);
// "0a 00 ff".
std::string HexText(const void* data, uint32_t bytes);

}  // namespace mesh::dataplane
