// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cctype>
#include <tuple>

#include "api/schema/schema.h"
#include "common/edit_distance.h"

namespace mesh::schema {
namespace {

constexpr size_t kMaxWord = 64;

std::string Lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

// Letters that both begin with, and that both end with.
size_t CommonEnds(std::string_view a, std::string_view b) {
  const size_t size = std::min(a.size(), b.size());
  size_t front = 0;
  while (front < size && a[front] == b[front]) ++front;
  size_t back = 0;
  while (back < size - front && a[a.size() - 1 - back] == b[b.size() - 1 - back]) ++back;
  return front + back;
}

}  // namespace

std::optional<std::string> NearestWord(std::string_view word,
                                       const std::vector<std::string>& candidates) {
  if (word.size() > kMaxWord) return std::nullopt;
  const std::string lower = Lower(word);
  const size_t allowed = word.size() >= 8 ? 3 : std::max<size_t>(1, word.size() / 3);

  // Less is nearer: letters, letters with their case, lengths, letters that are out of place.
  using Score = std::tuple<size_t, size_t, size_t, size_t>;
  std::optional<std::string> found;
  Score best;
  for (const std::string& candidate : candidates) {
    const size_t apart =
        std::max(word.size(), candidate.size()) - std::min(word.size(), candidate.size());
    if (apart > allowed) continue;
    const size_t distance = EditDistance(lower, Lower(candidate));
    if (distance > allowed) continue;
    const Score score = {
        distance, EditDistance(word, candidate), apart,
        candidate.size() - std::min(candidate.size(), CommonEnds(word, candidate))};
    if (!found || score < best) {
      best = score;
      found = candidate;
    }
  }
  return found;
}

}  // namespace mesh::schema
