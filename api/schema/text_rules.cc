// SPDX-License-Identifier: Apache-2.0
// Rules of names, in the words of Kubernetes' validation.
#include <algorithm>

#include "api/schema/validate.h"
#include "fmt/format.h"

namespace mesh::schema {
namespace {

constexpr size_t kLabelMax = 63;
constexpr size_t kSubdomainMax = 253;
constexpr size_t kPortNameMax = 15;

bool IsLower(char c) { return c >= 'a' && c <= 'z'; }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsLowerAlnum(char c) { return IsLower(c) || IsDigit(c); }
bool IsAlnum(char c) { return IsLowerAlnum(c) || (c >= 'A' && c <= 'Z'); }

std::string TooLong(size_t limit) {
  return fmt::format("must be no more than {} characters", limit);
}

bool IsLabel(std::string_view text) {
  return !text.empty() && IsLowerAlnum(text.front()) && IsLowerAlnum(text.back()) &&
         std::all_of(text.begin(), text.end(), [](char c) { return IsLowerAlnum(c) || c == '-'; });
}

bool IsSubdomain(std::string_view text) {
  while (true) {
    const std::string_view label = text.substr(0, text.find('.'));
    if (!IsLabel(label)) return false;
    if (label.size() == text.size()) return true;
    text.remove_prefix(label.size() + 1);
  }
}

bool IsNamePart(std::string_view text) {
  return !text.empty() && IsAlnum(text.front()) && IsAlnum(text.back()) &&
         std::all_of(text.begin(), text.end(),
                     [](char c) { return IsAlnum(c) || c == '-' || c == '_' || c == '.'; });
}

}  // namespace

std::string CheckDnsLabel(std::string_view text) {
  if (text.size() > kLabelMax) return TooLong(kLabelMax);
  if (IsLabel(text)) return "";
  return "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
         "and "
         "must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex "
         "used "
         "for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
}

std::string CheckDnsLabel1035(std::string_view text) {
  if (text.size() > kLabelMax) return TooLong(kLabelMax);
  if (IsLabel(text) && IsLower(text.front())) return "";
  return "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with "
         "an "
         "alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or "
         "'abc-123', "
         "regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
}

std::string CheckDnsSubdomain(std::string_view text) {
  if (text.size() > kSubdomainMax) return TooLong(kSubdomainMax);
  if (IsSubdomain(text)) return "";
  return "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' "
         "or "
         "'.', and must start and end with an alphanumeric character (e.g. 'example.com', regex "
         "used "
         "for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
}

std::string CheckPortName(std::string_view text) {
  if (text.size() > kPortNameMax) return TooLong(kPortNameMax);
  if (!std::all_of(text.begin(), text.end(), [](char c) { return IsLowerAlnum(c) || c == '-'; })) {
    return "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)";
  }
  if (!std::any_of(text.begin(), text.end(), IsLower)) {
    return "must contain at least one letter (a-z)";
  }
  if (text.find("--") != std::string_view::npos) return "must not contain consecutive hyphens";
  if (text.front() == '-' || text.back() == '-') return "must not begin or end with a hyphen";
  return "";
}

std::string CheckEnvName(std::string_view text) {
  const bool fits = !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return c >= 0x20 && c < 0x7f && c != '=';
  });
  if (fits) return "";
  return "a valid environment variable name must consist only of printable ASCII characters other "
         "than '='";
}

std::string CheckQualifiedName(std::string_view text) {
  std::string_view name = text;
  if (const size_t slash = text.find('/'); slash != std::string_view::npos) {
    const std::string_view prefix = text.substr(0, slash);
    name = text.substr(slash + 1);
    if (name.find('/') != std::string_view::npos) {
      return "a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must "
             "start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or "
             "'123-abc') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
    }
    if (prefix.empty()) return "prefix part must be non-empty";
    if (const std::string why = CheckDnsSubdomain(prefix); !why.empty())
      return "prefix part " + why;
  }
  if (name.empty()) return "name part must be non-empty";
  if (name.size() > kLabelMax) return "name part " + TooLong(kLabelMax);
  if (IsNamePart(name)) return "";
  return "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and "
         "end "
         "with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used "
         "for "
         "validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
}

std::string CheckLabelValue(std::string_view text) {
  if (text.size() > kLabelMax) return TooLong(kLabelMax);
  if (text.empty() || IsNamePart(text)) return "";
  return "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or "
         "'.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or "
         "'my_value',  "
         "or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
}

}  // namespace mesh::schema
