// SPDX-License-Identifier: Apache-2.0
// The text of HTTP/1.1 as far as a probe needs it. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "agent/probes/probe_client.h"

namespace mesh::agent {

// As much of an answer is read; what is longer counts as read.
inline constexpr size_t kHttpAnswerMax = 10 << 10;

// "GET /healthz HTTP/1.1" with its headers and the empty line.
std::string HttpRequestText(const HttpQuestion& question);

struct HttpAnswer {
  int status = 0;
  std::string location;
  std::string body;  // as it came; chunked ones with their marks
};

// What has come so far: nullopt until it is whole. `closed`: nothing more comes.
// `status` 0: it is no answer in HTTP.
std::optional<HttpAnswer> ParseHttpAnswer(std::string_view bytes, bool closed);

// The question that a redirect asks for, or nullopt: it leads to another host, or nowhere that is
// understood.
std::optional<HttpQuestion> FollowRedirect(const HttpQuestion& from, const std::string& location);

}  // namespace mesh::agent
