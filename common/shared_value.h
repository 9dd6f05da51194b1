// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <utility>

namespace mesh {

// A value whose copies share one object until one of them is changed. Copying costs a reference
// count; SameAs tells without a look at the value that nothing can have changed.
// Thread-safe as std::shared_ptr is: each copy belongs to one thread, the object to all.
template <typename T>
class Shared {
 public:
  Shared() = default;
  Shared(T value)  // NOLINT(google-explicit-constructor): stands in for the value
      : value_(std::make_shared<const T>(std::move(value))) {}

  const T& operator*() const { return value_ == nullptr ? Empty() : *value_; }
  const T* operator->() const { return &**this; }
  // A value of its own from now on.
  T& Mutable() {
    auto own = std::make_shared<T>(**this);
    T& out = *own;
    value_ = std::move(own);
    return out;
  }
  // True: equal. False: unknown.
  bool SameAs(const Shared& other) const { return value_ == other.value_; }
  friend bool operator==(const Shared& a, const Shared& b) { return a.SameAs(b) || *a == *b; }

 private:
  static const T& Empty() {
    static const T empty{};
    return empty;
  }
  std::shared_ptr<const T> value_;
};

}  // namespace mesh
