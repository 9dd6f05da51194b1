// SPDX-License-Identifier: Apache-2.0
#include "agent/probes/http_message.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "common/version.h"

namespace mesh::agent {
namespace {

std::string HostText(const HttpQuestion& question) {
  const bool v6 = question.host.find(':') != std::string::npos;
  return v6 ? fmt::format("[{}]:{}", question.host, question.port)
            : fmt::format("{}:{}", question.host, question.port);
}

std::optional<int> Number(std::string_view text) {
  int out = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return out;
}

// The value of a header, or nullopt. `head`: all lines, each with its end.
std::optional<std::string> Header(std::string_view head, std::string_view name) {
  size_t at = head.find('\n');
  while (at != std::string_view::npos) {
    const size_t end = head.find('\n', at + 1);
    const std::string_view line =
        head.substr(at + 1, end == std::string_view::npos ? std::string_view::npos : end - at - 1);
    const size_t colon = line.find(':');
    if (colon != std::string_view::npos &&
        absl::EqualsIgnoreCase(absl::string_view(line.data(), colon),
                               absl::string_view(name.data(), name.size()))) {
      return std::string(absl::StripAsciiWhitespace(
          absl::string_view(line.data(), line.size()).substr(colon + 1)));
    }
    at = end;
  }
  return std::nullopt;
}

}  // namespace

std::string HttpRequestText(const HttpQuestion& question) {
  const std::string path = question.path.starts_with('/') ? question.path : "/" + question.path;
  std::string out = fmt::format("GET {} HTTP/1.1\r\n", path.substr(0, path.find('#')));
  std::vector<std::pair<std::string, std::string>> own = {
      {"Host", HostText(question)},
      {"User-Agent", fmt::format("kube-probe/mesh-{}", kVersion)},
      {"Accept", "*/*"},
      {"Connection", "close"}};
  for (const auto& [name, value] : own) {
    const bool given = std::any_of(
        question.headers.begin(), question.headers.end(),
        [&, &key = name](const auto& header) { return absl::EqualsIgnoreCase(header.first, key); });
    if (!given) out += fmt::format("{}: {}\r\n", name, value);
  }
  for (const auto& [name, value] : question.headers) {
    if (!value.empty()) out += fmt::format("{}: {}\r\n", name, value);
  }
  return out + "\r\n";
}

std::optional<HttpAnswer> ParseHttpAnswer(std::string_view bytes, bool closed) {
  HttpAnswer out;
  if (bytes.size() >= 5 && !bytes.starts_with("HTTP/")) return out;
  const size_t end = bytes.find("\r\n\r\n");
  if (end == std::string_view::npos) {
    if (closed || bytes.size() >= kHttpAnswerMax) return out;
    return std::nullopt;
  }
  const std::string_view head = bytes.substr(0, end);
  const size_t space = head.find(' ');
  if (space == std::string_view::npos) return out;
  const auto status = Number(head.substr(space + 1, 3));
  if (!status) return out;
  const std::string_view body = bytes.substr(end + 4);
  // "100 Continue" and the like come before the answer itself.
  if (*status >= 100 && *status < 200 && *status != 101) return ParseHttpAnswer(body, closed);
  const auto length = Header(head, "Content-Length");
  const auto coding = Header(head, "Transfer-Encoding");
  const bool empty = *status == 204 || *status == 304 || *status == 101;
  const bool whole =
      closed || empty || bytes.size() >= kHttpAnswerMax ||
      (coding ? body.ends_with("0\r\n\r\n")
              : length && Number(*length) && body.size() >= static_cast<size_t>(*Number(*length)));
  if (!whole) return std::nullopt;
  out.status = *status;
  out.location = Header(head, "Location").value_or("");
  out.body = std::string(body);
  return out;
}

std::optional<HttpQuestion> FollowRedirect(const HttpQuestion& from, const std::string& location) {
  HttpQuestion out = from;
  if (location.empty()) return std::nullopt;
  if (location.starts_with('/') && !location.starts_with("//")) {
    out.path = location;
    return out;
  }
  std::string_view rest = location;
  const size_t scheme_end = rest.find("://");
  if (scheme_end == std::string_view::npos && !rest.starts_with("//")) {
    // Relative to the folder of the path.
    const std::string folder = from.path.substr(0, from.path.find('?'));
    out.path = folder.substr(0, folder.rfind('/') + 1) + location;
    return out;
  }
  if (scheme_end != std::string_view::npos) {
    const std::string_view scheme = rest.substr(0, scheme_end);
    if (scheme != "http" && scheme != "https") return std::nullopt;
    out.tls = scheme == "https";
    rest = rest.substr(scheme_end + 3);
  } else {
    rest = rest.substr(2);
  }
  const size_t path_at = rest.find_first_of("/?#");
  std::string_view authority = rest.substr(0, path_at);
  out.path = path_at == std::string_view::npos ? "/" : std::string(rest.substr(path_at));
  out.port = out.tls ? 443 : 80;
  const size_t colon = authority.rfind(':');
  if (colon != std::string_view::npos && authority.find(']', colon) == std::string_view::npos) {
    const auto port = Number(authority.substr(colon + 1));
    if (!port || *port < 1 || *port > 65535) return std::nullopt;
    out.port = static_cast<uint16_t>(*port);
    authority = authority.substr(0, colon);
  }
  if (authority.starts_with('[') && authority.ends_with(']'))
    authority = authority.substr(1, authority.size() - 2);
  if (authority != from.host) return std::nullopt;
  return out;
}

}  // namespace mesh::agent
