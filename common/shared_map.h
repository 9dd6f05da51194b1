// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace mesh {

// A sorted map whose copies share what none of them has changed since: its entries are in chunks of
// at most kChunkEntries. With n entries a copy costs n / kChunkEntries reference counts at most
// (sixteen times that after removals that left little everywhere), a change the copies of the
// chunks that it falls into, and ForEachChangeTo() skips chunks that both maps share.
//
// T should be cheap to copy: Shared<...> where it is not.
// Thread-safe as std::shared_ptr is: each copy belongs to one thread, the chunks to all.
template <typename Key, typename T>
class SharedMap {
 public:
  static constexpr size_t kChunkEntries = 64;

  using key_type = Key;
  using mapped_type = T;
  using value_type = std::pair<Key, T>;
  // In place of a value: none.
  using Changes = std::map<Key, std::optional<T>>;

 private:
  using Chunk = std::vector<value_type>;  // sorted, never empty
  using Chunks = std::vector<std::shared_ptr<const Chunk>>;

 public:
  class const_iterator {
   public:
    using iterator_category = std::forward_iterator_tag;
    using value_type = SharedMap::value_type;
    using difference_type = std::ptrdiff_t;
    using pointer = const value_type*;
    using reference = const value_type&;

    const_iterator() = default;
    reference operator*() const { return (*(*chunks_)[chunk_])[at_]; }
    pointer operator->() const { return &**this; }
    const_iterator& operator++() {
      if (++at_ == (*chunks_)[chunk_]->size()) SkipChunk();
      return *this;
    }
    const_iterator operator++(int) {
      const_iterator old = *this;
      ++*this;
      return old;
    }
    friend bool operator==(const const_iterator&, const const_iterator&) = default;

   private:
    friend class SharedMap;
    const_iterator(const Chunks* chunks, size_t chunk, size_t at)
        : chunks_(chunks), chunk_(chunk), at_(at) {}
    void SkipChunk() {
      ++chunk_;
      at_ = 0;
    }
    // The chunk that begins here; null inside of one and at the end.
    const Chunk* Begins() const {
      return at_ == 0 && chunk_ < chunks_->size() ? (*chunks_)[chunk_].get() : nullptr;
    }

    const Chunks* chunks_ = nullptr;
    size_t chunk_ = 0, at_ = 0;
  };
  using iterator = const_iterator;

  const_iterator begin() const { return {&chunks_, 0, 0}; }
  const_iterator end() const { return {&chunks_, chunks_.size(), 0}; }
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }

  const_iterator find(const Key& key) const {
    const const_iterator at = lower_bound(key);
    return at == end() || key < at->first ? end() : at;
  }
  // The first that is not before `key`.
  const_iterator lower_bound(const Key& key) const {
    const size_t chunk = ChunkOf(key);
    if (chunk == chunks_.size()) return begin();
    const auto at = LowerBound(*chunks_[chunk], key);
    if (at == chunks_[chunk]->end()) return {&chunks_, chunk + 1, 0};
    return {&chunks_, chunk, static_cast<size_t>(at - chunks_[chunk]->begin())};
  }
  bool contains(const Key& key) const { return find(key) != end(); }

  // REQUIRES: contains(key).
  const T& at(const Key& key) const { return find(key)->second; }

  // The value under `key`, a new one where there is none, to be changed before the next call. For
  // single changes: each call copies a chunk.
  T& operator[](const Key& key) {
    if (!contains(key)) Update({{key, T()}});
    const const_iterator at = find(key);
    auto own = std::make_shared<Chunk>(*chunks_[at.chunk_]);
    T& out = (*own)[at.at_].second;
    chunks_[at.chunk_] = std::move(own);
    return out;
  }
  void erase(const Key& key) {
    if (contains(key)) Update({{key, std::nullopt}});
  }
  void clear() { *this = SharedMap(); }

  // Puts and removes; each chunk is copied once.
  void Update(Changes changes);

  // True: equal. False: unknown.
  bool SameAs(const SharedMap& other) const { return chunks_ == other.chunks_; }
  friend bool operator==(const SharedMap& a, const SharedMap& b) {
    return a.SameAs(b) || (a.size_ == b.size_ && std::equal(a.begin(), a.end(), b.begin()));
  }

  // Calls `change(key, was, is)` for each key under which this and `now` may differ, in order, with
  // null for what is not there. Values that have SameAs() are compared by it.
  template <typename Change>
  void ForEachChangeTo(const SharedMap& now, const Change& change) const {
    const_iterator was = begin(), is = now.begin();
    const const_iterator was_end = end(), is_end = now.end();
    while (was != was_end || is != is_end) {
      if (was.Begins() != nullptr && was.Begins() == is.Begins()) {
        was.SkipChunk();
        is.SkipChunk();
      } else if (is == is_end || (was != was_end && was->first < is->first)) {
        change(was->first, &was->second, static_cast<const T*>(nullptr));
        ++was;
      } else if (was == was_end || is->first < was->first) {
        change(is->first, static_cast<const T*>(nullptr), &is->second);
        ++is;
      } else {
        if (!Same(was->second, is->second)) change(is->first, &was->second, &is->second);
        ++was;
        ++is;
      }
    }
  }

 private:
  // Fewer are joined with their neighbours when one of them is changed.
  static constexpr size_t kFewEntries = kChunkEntries / 4;

  static bool Same(const T& a, const T& b) {
    if constexpr (requires { a.SameAs(b); }) {
      return a.SameAs(b);
    } else {
      return a == b;
    }
  }
  static auto LowerBound(const Chunk& chunk, const Key& key) {
    return std::lower_bound(chunk.begin(), chunk.end(), key,
                            [](const value_type& entry, const Key& k) { return entry.first < k; });
  }
  // The only one that may have it; chunks_.size() where none may.
  size_t ChunkOf(const Key& key) const {
    const auto after =
        std::upper_bound(chunks_.begin(), chunks_.end(), key,
                         [](const Key& k, const auto& chunk) { return k < chunk->front().first; });
    return after == chunks_.begin() ? chunks_.size()
                                    : static_cast<size_t>(after - chunks_.begin()) - 1;
  }
  // `entries` in chunks of about the same size, and none of them left.
  static void Emit(Chunk* entries, Chunks* out);

  Chunks chunks_;  // sorted
  size_t size_ = 0;
};

template <typename Key, typename T>
void SharedMap<Key, T>::Emit(Chunk* entries, Chunks* out) {
  const size_t count = (entries->size() + kChunkEntries - 1) / kChunkEntries;
  auto from = std::make_move_iterator(entries->begin());
  for (size_t i = 0; i < count; ++i) {
    const auto to = std::make_move_iterator(
        entries->begin() + static_cast<std::ptrdiff_t>(entries->size() * (i + 1) / count));
    out->push_back(std::make_shared<const Chunk>(from, to));
    from = to;
  }
  entries->clear();
}

template <typename Key, typename T>
void SharedMap<Key, T>::Update(Changes changes) {
  if (changes.empty()) return;
  Chunks out;
  out.reserve(chunks_.size() + 1);
  Chunk own;  // what has been changed and stands behind `out`
  auto change = changes.begin();
  const auto put = [&] {
    if (change->second.has_value()) own.emplace_back(change->first, *std::move(change->second));
    ++change;
  };
  for (size_t i = 0; i < chunks_.size(); ++i) {
    const Chunk& chunk = *chunks_[i];
    const bool last = i + 1 == chunks_.size();
    const auto falls_here = [&] {
      return change != changes.end() && (last || change->first < chunks_[i + 1]->front().first);
    };
    if (!falls_here() && (own.empty() || own.size() >= kFewEntries)) {
      Emit(&own, &out);
      out.push_back(chunks_[i]);
      continue;
    }
    for (const value_type& entry : chunk) {
      while (change != changes.end() && change->first < entry.first) put();
      if (change != changes.end() && !(entry.first < change->first)) {
        put();
      } else {
        own.push_back(entry);
      }
    }
    while (falls_here()) put();
  }
  while (change != changes.end()) put();
  Emit(&own, &out);
  chunks_ = std::move(out);
  size_ = 0;
  for (const auto& chunk : chunks_) size_ += chunk->size();
}

}  // namespace mesh
