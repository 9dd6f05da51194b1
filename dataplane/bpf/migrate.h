// SPDX-License-Identifier: Apache-2.0
// Rows of one map to another whose rows are laid out differently, by the names of their fields
// (BTF): what was added is zero, what is gone is left behind. The programs may use both maps
// meanwhile.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace mesh::dataplane {

// A field of a map's key or value; of a structure in a structure the innermost ones
// ("outer.inner").
struct RowField {
  std::string name;  // empty: the whole is one number
  uint32_t offset = 0;
  uint32_t bytes = 0;
  friend bool operator==(const RowField&, const RowField&) = default;
};

struct RowLayout {
  uint32_t type = 0;  // BPF_MAP_TYPE_*
  uint32_t key_bytes = 0, value_bytes = 0, max_entries = 0;
  std::vector<RowField> key, value;

  // Of a map as the kernel describes it. NOT_FOUND when it has no description (maps of maps and of
  // programs have none).
  static absl::StatusOr<RowLayout> Of(int map_fd);
};

// One number of a row, or nullopt when the row has no such field.
std::optional<uint64_t> Read(const std::vector<RowField>& fields, std::string_view name,
                             const char* bytes);
// False when there is no such field.
bool Write(const std::vector<RowField>& fields, std::string_view name, uint64_t number,
           char* bytes);

// Where the meaning has changed and not only the layout: looks at a row of before and puts right
// the row made of it. Both as bytes of their layouts.
struct RowChange {
  // Fields of the new key that this supplies.
  std::vector<std::string> supplied;
  std::function<absl::Status(const RowLayout& from, const char* from_key, const char* from_value,
                             const RowLayout& to, char* key, char* value)>
      apply;
};

// Makes rows of one layout from those of another.
class RowTranslation {
 public:
  // FAILED_PRECONDITION when the new key has a field that neither the old one nor `change` has:
  // such rows cannot be carried.
  static absl::StatusOr<RowTranslation> Make(RowLayout from, RowLayout to, RowChange change);

  // False when a number is too large for its field.
  absl::StatusOr<bool> Apply(const char* from_key, const char* from_value, char* key,
                             char* value) const;
  const RowLayout& from() const { return from_; }
  const RowLayout& to() const { return to_; }

 private:
  struct Move {
    uint32_t from, to, bytes, from_bytes;
  };
  static std::vector<Move> Moves(const std::vector<RowField>& from, const std::vector<RowField>& to,
                                 std::vector<std::string>* missing);
  static bool Copy(const std::vector<Move>& moves, const char* from, char* to);

  RowLayout from_, to_;
  RowChange change_;
  std::vector<Move> keys_, values_;
};

struct Carried {
  uint64_t rows = 0;     // written
  uint64_t present = 0;  // the other map had them already
  uint64_t refused = 0;  // did not fit: the map is full, or a number is too large for its field
};

// Copies every row of `from_fd` whose key `to_fd` does not hold. Rows of arrays are copied where
// the other's are zero; those of per-CPU arrays are added up.
// FAILED_PRECONDITION as RowTranslation::Make. Cost: a system call per row.
absl::StatusOr<Carried> CarryRows(int from_fd, int to_fd, const RowChange& change = {});

// The change of a map between versions of the ABI, if there is one. `find` gives the file
// descriptor of another new map.
std::optional<RowChange> ChangeOf(const std::string& map, const RowLayout& from,
                                  const RowLayout& to,
                                  const std::function<int(const std::string&)>& find);

}  // namespace mesh::dataplane
