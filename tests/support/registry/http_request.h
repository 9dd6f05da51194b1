// SPDX-License-Identifier: Apache-2.0
// One HTTP/1.1 request of a connection, and its answer: no more of HTTP than a registry's clients
// use when the server closes after each answer.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace mesh::testing {

struct HttpRequest {
  std::string method, path, query;
  std::map<std::string, std::string> headers;  // names in lower case
};

// nullopt: the client went away, or sent what is no request or is too long (64 KiB). The body is
// read and forgotten.
std::optional<HttpRequest> ReadRequest(int fd);

struct HttpAnswer {
  int status = 200;
  std::vector<std::pair<std::string, std::string>> headers;  // but length and connection
  std::string body;
};

// Without the body for HEAD; false: the client went away.
bool WriteAnswer(int fd, const HttpRequest& request, const HttpAnswer& answer);

}  // namespace mesh::testing
