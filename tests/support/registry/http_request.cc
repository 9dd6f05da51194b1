// SPDX-License-Identifier: Apache-2.0
#include "tests/support/registry/http_request.h"

#include <sys/socket.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <sstream>
#include <string_view>

#include "fmt/format.h"

namespace mesh::testing {
namespace {

constexpr size_t kLongest = 64 << 10;

bool SendAll(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

}  // namespace

std::optional<HttpRequest> ReadRequest(int fd) {
  std::string text;
  size_t end = std::string::npos;
  while ((end = text.find("\r\n\r\n")) == std::string::npos) {
    char buffer[4096];
    const ssize_t got = ::recv(fd, buffer, sizeof buffer, 0);
    if (got <= 0 || text.size() > kLongest) return std::nullopt;
    text.append(buffer, static_cast<size_t>(got));
  }
  std::istringstream lines(text.substr(0, end));
  HttpRequest out;
  std::string target, version, line;
  lines >> out.method >> target >> version;
  if (target.empty() || target[0] != '/') return std::nullopt;
  const size_t question = target.find('?');
  out.path = target.substr(0, question);
  if (question != std::string::npos) out.query = target.substr(question + 1);
  std::getline(lines, line);
  while (std::getline(lines, line)) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    const size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    std::string name = line.substr(0, colon);
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    const size_t value = line.find_first_not_of(' ', colon + 1);
    out.headers[name] = value == std::string::npos ? "" : line.substr(value);
  }
  // A server that closes with bytes unread takes its answer back.
  const auto length = out.headers.find("content-length");
  const size_t body =
      length == out.headers.end() ? 0 : std::strtoul(length->second.c_str(), nullptr, 10);
  if (body > kLongest) return std::nullopt;
  for (size_t got = text.size() - end - 4; got < body;) {
    char buffer[4096];
    const ssize_t more = ::recv(fd, buffer, sizeof buffer, 0);
    if (more <= 0) return std::nullopt;
    got += static_cast<size_t>(more);
  }
  return out;
}

bool WriteAnswer(int fd, const HttpRequest& request, const HttpAnswer& answer) {
  std::string head = fmt::format("HTTP/1.1 {} -\r\nContent-Length: {}\r\nConnection: close\r\n",
                                 answer.status, answer.body.size());
  for (const auto& [name, value] : answer.headers) head += fmt::format("{}: {}\r\n", name, value);
  return SendAll(fd, head + "\r\n") && (request.method == "HEAD" || SendAll(fd, answer.body));
}

}  // namespace mesh::testing
