// SPDX-License-Identifier: Apache-2.0
#include "api/schema/image.h"

#include <algorithm>

#include "api/schema/validate.h"
#include "fmt/format.h"

namespace mesh::schema {
namespace {

bool IsLower(char c) { return c >= 'a' && c <= 'z'; }
bool IsUpper(char c) { return c >= 'A' && c <= 'Z'; }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsAlnum(char c) { return IsLower(c) || IsUpper(c) || IsDigit(c); }

// [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*
bool IsPathComponent(std::string_view text) {
  size_t i = 0;
  while (true) {
    const size_t start = i;
    while (i < text.size() && (IsLower(text[i]) || IsDigit(text[i]))) ++i;
    if (i == start) return false;
    if (i == text.size()) return true;
    const char separator = text[i];
    const size_t first = i;
    while (i < text.size() && text[i] == separator) ++i;
    const size_t count = i - first;
    if (separator == '.' ? count != 1 : separator == '_' ? count > 2 : separator != '-')
      return false;
  }
}

bool IsDomain(std::string_view text) {
  const size_t colon = text.find(':');
  if (colon != std::string_view::npos) {
    const std::string_view port = text.substr(colon + 1);
    if (port.empty() || !std::all_of(port.begin(), port.end(), IsDigit)) return false;
    text = text.substr(0, colon);
  }
  while (true) {
    const std::string_view label = text.substr(0, text.find('.'));
    if (label.empty() || !IsAlnum(label.front()) || !IsAlnum(label.back())) return false;
    if (!std::all_of(label.begin(), label.end(), [](char c) { return IsAlnum(c) || c == '-'; })) {
      return false;
    }
    if (label.size() == text.size()) return true;
    text.remove_prefix(label.size() + 1);
  }
}

}  // namespace

ImageReference SplitImageReference(std::string_view text) {
  ImageReference out;
  if (const size_t at = text.find('@'); at != std::string_view::npos) {
    out.digest = text.substr(at + 1);
    text = text.substr(0, at);
  }
  // A colon before the last slash belongs to the registry's port.
  const size_t slash = text.rfind('/');
  const size_t colon = text.rfind(':');
  if (colon != std::string_view::npos && (slash == std::string_view::npos || colon > slash)) {
    out.tag = text.substr(colon + 1);
    text = text.substr(0, colon);
  }
  out.name = text;
  return out;
}

bool HasMovingTag(std::string_view text) {
  const ImageReference reference = SplitImageReference(text);
  return reference.digest.empty() && (reference.tag.empty() || reference.tag == "latest");
}

std::string CheckImageReference(std::string_view text) {
  const auto bad = [](std::string_view why) {
    return fmt::format("{} (an image is [registry/]name[:tag][@digest], e.g. 'nginx:1.27')", why);
  };
  if (text.find_first_of(" \t\r\n") != std::string_view::npos) {
    return bad("must not have white space");
  }
  const ImageReference reference = SplitImageReference(text);
  if (reference.name.empty()) return bad("the name part must not be empty");
  if (reference.name.size() > 255) return bad("the name part must be no more than 255 characters");

  std::string_view path = reference.name;
  if (const size_t slash = path.find('/'); slash != std::string_view::npos) {
    const std::string_view first = path.substr(0, slash);
    const bool is_domain = first.find_first_of(".:") != std::string_view::npos ||
                           first == "localhost" || std::any_of(first.begin(), first.end(), IsUpper);
    if (is_domain) {
      if (!IsDomain(first))
        return bad("the registry part must be a host name with an optional port");
      path.remove_prefix(slash + 1);
    }
  }
  while (true) {
    const std::string_view component = path.substr(0, path.find('/'));
    if (!IsPathComponent(component)) {
      return bad(
          "each part of the name must consist of lower case alphanumeric characters separated by "
          "'.', "
          "'_', '__' or '-'");
    }
    if (component.size() == path.size()) break;
    path.remove_prefix(component.size() + 1);
  }

  const std::string_view before_digest = text.substr(0, text.find('@'));
  if (before_digest.size() > reference.name.size()) {
    const std::string_view tag = reference.tag;
    const bool fits = !tag.empty() && tag.size() <= 128 && tag.front() != '.' &&
                      tag.front() != '-' && std::all_of(tag.begin(), tag.end(), [](char c) {
                        return IsAlnum(c) || c == '_' || c == '.' || c == '-';
                      });
    if (!fits) {
      return bad(
          "the tag must have 1 to 128 alphanumeric characters, '_', '.' or '-', and not start with "
          "'.' "
          "or '-'");
    }
  }
  if (text.find('@') != std::string_view::npos) {
    const size_t colon = reference.digest.find(':');
    const std::string_view hex =
        colon == std::string_view::npos ? "" : reference.digest.substr(colon + 1);
    const bool fits = colon != std::string_view::npos && colon > 0 && hex.size() >= 32 &&
                      std::all_of(hex.begin(), hex.end(),
                                  [](char c) { return IsDigit(c) || (c >= 'a' && c <= 'f'); }) &&
                      (reference.digest.substr(0, colon) != "sha256" || hex.size() == 64);
    if (!fits)
      return bad("the digest must be algorithm:hex, e.g. sha256 with 64 hexadecimal digits");
  }
  return "";
}

}  // namespace mesh::schema
