// SPDX-License-Identifier: Apache-2.0
#include "cli/local/image_reference.h"

#include <algorithm>

#include "absl/status/status.h"
#include "fmt/format.h"

namespace mesh::cli::local {
namespace {

constexpr size_t kMaxTag = 128;

bool IsLower(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }
bool IsWord(char c) { return IsLower(c) || (c >= 'A' && c <= 'Z') || c == '_'; }

bool IsDomain(std::string_view part) {
  return part == "localhost" || part.find('.') != std::string_view::npos ||
         part.find(':') != std::string_view::npos;
}

// "library/redis": lower-case parts joined by '/', with '.', '_' and '-' inside.
bool IsPath(std::string_view path) {
  bool expect_word = true;
  for (const char c : path) {
    if (IsLower(c)) {
      expect_word = false;
    } else if (c == '/' || c == '.' || c == '_' || c == '-') {
      if (expect_word && c != '_' && c != '-') return false;
      expect_word = true;
    } else {
      return false;
    }
  }
  return !expect_word;
}

bool IsTag(std::string_view tag) {
  return !tag.empty() && tag.size() <= kMaxTag && IsWord(tag.front()) &&
         std::all_of(tag.begin(), tag.end(),
                     [](char c) { return IsWord(c) || c == '.' || c == '-'; });
}

}  // namespace

absl::StatusOr<std::string> NormalizeImageReference(std::string_view reference) {
  const auto invalid = [&] {
    return absl::InvalidArgumentError(fmt::format(
        "image reference \"{}\" is not of the form [HOST[:PORT]/]NAME[:TAG]", reference));
  };
  std::string_view rest = reference;
  std::string_view digest;
  if (const size_t at = rest.find('@'); at != std::string_view::npos) {
    digest = rest.substr(at);
    rest = rest.substr(0, at);
    constexpr std::string_view kSha256 = "@sha256:";
    if (digest.substr(0, kSha256.size()) != kSha256 || digest.size() != kSha256.size() + 64) {
      return invalid();
    }
  }
  std::string_view domain = "docker.io";
  if (const size_t slash = rest.find('/');
      slash != std::string_view::npos && IsDomain(rest.substr(0, slash))) {
    domain = rest.substr(0, slash);
    rest = rest.substr(slash + 1);
  }
  if (domain == "index.docker.io") domain = "docker.io";
  std::string_view tag = "latest";
  if (const size_t colon = rest.find(':'); colon != std::string_view::npos) {
    tag = rest.substr(colon + 1);
    rest = rest.substr(0, colon);
    if (!IsTag(tag)) return invalid();
  } else if (!digest.empty()) {
    tag = {};
  }
  if (!IsPath(rest)) return invalid();
  const bool official = domain == "docker.io" && rest.find('/') == std::string_view::npos;
  return fmt::format("{}/{}{}{}{}{}", domain, official ? "library/" : "", rest,
                     tag.empty() || !digest.empty() ? "" : ":", digest.empty() ? tag : "", digest);
}

}  // namespace mesh::cli::local
