// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/bpf/map.h"

namespace mesh::dataplane {

// The untyped part of KernelMap: libbpf stays in its .cc. `fd` is borrowed.
class KernelMapBase {
 public:
  // INTERNAL when the map's sizes are not `key_size` and `value_size`. `values_per_row`: the number
  // of possible CPUs for a per-CPU map.
  static absl::StatusOr<KernelMapBase> Adopt(int fd, uint32_t key_size, uint32_t value_size,
                                             uint32_t values_per_row = 1);

  absl::Status Upsert(const void* key, const void* value);
  absl::Status Erase(const void* key);
  absl::Status Lookup(const void* key, void* value) const;
  // Packed rows. UNIMPLEMENTED: this kind of map has no batches; nothing is written.
  absl::Status UpsertBatch(const void* keys, const void* values, uint32_t count);
  // Absent ones are fine.
  absl::Status RemoveBatch(const void* keys, uint32_t count);
  // Calls back with up to some thousand rows at a time: keys and values, packed.
  absl::Status ForEachBatch(
      const std::function<void(const char* keys, const char* values, uint32_t count)>& rows) const;
  // One batch after `cursor`: see Map::ReadSome.
  absl::Status ReadBatch(
      std::string& cursor,
      const std::function<void(const char* keys, const char* values, uint32_t count)>& rows) const;
  uint32_t max_entries() const { return max_entries_; }
  int fd() const { return fd_; }

 private:
  absl::Status WriteError(int error) const;

  int fd_ = -1;
  uint32_t key_size_ = 0, max_entries_ = 0;
  uint32_t value_size_ = 0;  // of a row: all its values
  std::string name_;
};

absl::StatusOr<int> PossibleCpus();
absl::Status LookupPerCpu(int fd, const void* key, void* values);

template <MapPod K, MapPod V>
class KernelMap : public Map<K, V> {
 public:
  KernelMap() = default;  // to be assigned to
  static absl::StatusOr<KernelMap> Adopt(int fd) {
    absl::StatusOr<KernelMapBase> base = KernelMapBase::Adopt(fd, sizeof(K), sizeof(V));
    if (!base.ok()) return base.status();
    return KernelMap(*std::move(base));
  }

  absl::Status Upsert(const K& key, const V& value) override { return base_.Upsert(&key, &value); }
  absl::Status Erase(const K& key) override { return base_.Erase(&key); }
  absl::StatusOr<V> Lookup(const K& key) const override {
    V value;
    if (absl::Status status = base_.Lookup(&key, &value); !status.ok()) return status;
    return value;
  }
  absl::StatusOr<std::vector<std::pair<K, V>>> Dump() const override {
    std::vector<std::pair<K, V>> out;
    absl::Status status =
        base_.ForEachBatch([&](const char* keys, const char* values, uint32_t count) {
          for (uint32_t i = 0; i < count; ++i) {
            std::pair<K, V>& row = out.emplace_back();
            __builtin_memcpy(&row.first, keys + i * sizeof(K), sizeof(K));
            __builtin_memcpy(&row.second, values + i * sizeof(V), sizeof(V));
          }
        });
    if (!status.ok()) return status;
    return out;
  }
  absl::Status ReadSome(std::string& cursor, std::vector<std::pair<K, V>>& rows) const override {
    return base_.ReadBatch(cursor, [&](const char* keys, const char* values, uint32_t count) {
      for (uint32_t i = 0; i < count; ++i) {
        std::pair<K, V>& row = rows.emplace_back();
        __builtin_memcpy(&row.first, keys + i * sizeof(K), sizeof(K));
        __builtin_memcpy(&row.second, values + i * sizeof(V), sizeof(V));
      }
    });
  }
  uint32_t max_entries() const override { return base_.max_entries(); }
  absl::Status UpsertAll(const std::vector<std::pair<K, V>>& rows) override {
    if (rows.size() < 2) return Map<K, V>::UpsertAll(rows);
    std::vector<K> keys;
    std::vector<V> values;
    keys.reserve(rows.size());
    values.reserve(rows.size());
    for (const auto& [key, value] : rows) {
      keys.push_back(key);
      values.push_back(value);
    }
    absl::Status status =
        base_.UpsertBatch(keys.data(), values.data(), static_cast<uint32_t>(rows.size()));
    return absl::IsUnimplemented(status) ? Map<K, V>::UpsertAll(rows) : status;
  }
  absl::Status RemoveAll(const std::vector<K>& keys) override {
    if (keys.size() < 2) return Map<K, V>::RemoveAll(keys);
    absl::Status status = base_.RemoveBatch(keys.data(), static_cast<uint32_t>(keys.size()));
    return absl::IsUnimplemented(status) ? Map<K, V>::RemoveAll(keys) : status;
  }

 private:
  explicit KernelMap(KernelMapBase base) : base_(std::move(base)) {}
  KernelMapBase base_;
};

// A hash of which every CPU has its own values.
template <MapPod K, MapPod V>
class KernelPerCpuHash {
 public:
  static_assert(sizeof(V) % 8 == 0, "the kernel rounds values of per-CPU maps up to 8 bytes");

  KernelPerCpuHash() = default;  // to be assigned to
  static absl::StatusOr<KernelPerCpuHash> Adopt(int fd) {
    absl::StatusOr<int> cpus = PossibleCpus();
    if (!cpus.ok()) return cpus.status();
    absl::StatusOr<KernelMapBase> base =
        KernelMapBase::Adopt(fd, sizeof(K), sizeof(V), static_cast<uint32_t>(*cpus));
    if (!base.ok()) return base.status();
    return KernelPerCpuHash(*std::move(base), static_cast<size_t>(*cpus));
  }

  // Calls back with one value per possible CPU. Rows that come or go meanwhile may be missed.
  absl::Status ForEach(const std::function<void(const K&, const std::vector<V>&)>& row) const {
    std::vector<V> per_cpu(cpus_);
    return base_.ForEachBatch([&](const char* keys, const char* values, uint32_t count) {
      for (uint32_t i = 0; i < count; ++i) {
        K key;
        __builtin_memcpy(&key, keys + i * sizeof(K), sizeof(K));
        __builtin_memcpy(per_cpu.data(), values + i * cpus_ * sizeof(V), cpus_ * sizeof(V));
        row(key, per_cpu);
      }
    });
  }
  // Absent ones are fine.
  absl::Status RemoveAll(const std::vector<K>& keys) {
    return base_.RemoveBatch(keys.data(), static_cast<uint32_t>(keys.size()));
  }

 private:
  KernelPerCpuHash(KernelMapBase base, size_t cpus) : base_(std::move(base)), cpus_(cpus) {}
  KernelMapBase base_;
  size_t cpus_ = 0;
};

// An array of which every CPU has its own.
template <MapPod V>
class KernelPerCpuArray {
 public:
  static_assert(sizeof(V) % 8 == 0, "the kernel rounds values of per-CPU maps up to 8 bytes");
  // `fd` is borrowed.
  explicit KernelPerCpuArray(int fd) : fd_(fd) {}

  // One value per possible CPU.
  absl::StatusOr<std::vector<V>> Lookup(uint32_t index) const {
    absl::StatusOr<int> cpus = PossibleCpus();
    if (!cpus.ok()) return cpus.status();
    std::vector<V> out(*cpus);
    if (absl::Status status = LookupPerCpu(fd_, &index, out.data()); !status.ok()) return status;
    return out;
  }

 private:
  int fd_;
};

}  // namespace mesh::dataplane
